import django.db.models.deletion
from django.db import migrations, models

from events.partitions import keep_small
from tenants.scope import enable_row_security


class Migration(migrations.Migration):
    dependencies = [
        ("deliveries", "0004_replay_row_security"),
        ("events", "0013_bundles_row_security"),
        ("subscriptions", "0007_choice"),
        ("tenants", "0004_require_jwt"),
    ]

    operations = [
        migrations.CreateModel(
            name="Undecided",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "event_id", "subscription_id", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "event",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="events.event",
                    ),
                ),
                (
                    "subscription",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="subscriptions.subscription",
                    ),
                ),
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
            options={
                "verbose_name_plural": "undecided",
                "ordering": ["event_id"],
                "indexes": [models.Index(models.F("tenant"), models.F("event"), name="undecided_tenant_oldest")],
            },
        ),
        enable_row_security("deliveries_undecided"),
        keep_small("deliveries_undecided"),
    ]
