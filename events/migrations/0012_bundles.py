import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    """Posts of very many events are kept in one piece until a worker has made their events; bodies may be compressed."""

    dependencies = [("events", "0011_event_body_is_data")]

    operations = [
        migrations.AddField(
            model_name="receipt", name="body_packed", field=models.BooleanField(default=False, db_default=False)
        ),
        migrations.CreateModel(
            name="Bundle",
            fields=[
                (
                    "receipt",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="events.receipt",
                    ),
                ),
                ("division", models.TextField()),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                ("due_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={"ordering": ["receipt_id"]},
        ),
    ]
