import django.db.models.deletion
from django.db import migrations, models

from events.partitions import keep_small
from tenants.scope import enable_row_security


class Migration(migrations.Migration):
    dependencies = [
        ("deliveries", "0005_undecided"),
        ("subscriptions", "0008_challenge_and_pull"),
        ("tenants", "0002_row_security"),
    ]

    operations = [
        migrations.AlterField(
            model_name="delivery",
            name="kind",
            field=models.CharField(
                choices=[
                    ("event", "Event"),
                    ("test", "Test"),
                    ("confirmation", "Confirmation link"),
                    ("challenge", "Challenge"),
                ],
                default="event",
                max_length=12,
            ),
        ),
        migrations.CreateModel(
            name="PullQueue",
            fields=[
                (
                    "delivery",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="deliveries.delivery",
                    ),
                ),
                ("place", models.BigIntegerField(null=True)),
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
                "verbose_name_plural": "pull queue",
                "ordering": ["place", "delivery"],
                "indexes": [
                    models.Index(
                        models.F("subscription"), models.F("place"), models.F("delivery"), name="pull_queue_next"
                    )
                ],
            },
        ),
        enable_row_security("deliveries_pullqueue"),
        keep_small("deliveries_pullqueue"),
    ]
