import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
import django.utils.timezone
from django.db import migrations, models

import tenants.ids


class Migration(migrations.Migration):
    dependencies = [
        ("deliveries", "0002_row_security"),
        ("subscriptions", "0005_disabled_at"),
        ("tenants", "0002_row_security"),
    ]

    operations = [
        migrations.CreateModel(
            name="Replay",
            fields=[
                (
                    "id",
                    models.UUIDField(default=tenants.ids.uuid7, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("deliveries", "A selection of deliveries"),
                            ("events", "Events since a moment"),
                            ("missed", "What it missed"),
                        ],
                        max_length=10,
                    ),
                ),
                ("since", models.DateTimeField(null=True)),
                ("selection", models.JSONField(default=dict)),
                ("before", models.UUIDField()),
                ("asked_by", models.CharField(max_length=254)),
                ("total", models.PositiveIntegerField(default=0)),
                ("total_is_exact", models.BooleanField(default=True)),
                ("done", models.PositiveIntegerField(default=0)),
                ("stage", models.PositiveSmallIntegerField(default=0)),
                ("cursor", models.UUIDField(null=True)),
                (
                    "waiting",
                    django.contrib.postgres.fields.ArrayField(base_field=models.UUIDField(), default=list, size=None),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("running", "Running"),
                            ("finished", "Finished"),
                            ("stopped", "Stopped"),
                            ("failed", "Failed"),
                        ],
                        default="running",
                        max_length=8,
                    ),
                ),
                ("reason", models.CharField(blank=True, max_length=200)),
                ("failures", models.PositiveSmallIntegerField(default=0)),
                ("due_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "subscription",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="subscriptions.subscription",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
                "indexes": [
                    models.Index(
                        models.F("tenant"),
                        models.OrderBy(models.F("id"), descending=True),
                        name="replay_tenant_newest",
                    ),
                    models.Index(
                        models.F("subscription"),
                        models.OrderBy(models.F("id"), descending=True),
                        name="replay_sub_newest",
                    ),
                    models.Index(models.F("due_at"), condition=models.Q(("state", "running")), name="replay_due"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        models.F("subscription"),
                        condition=models.Q(("state", "running")),
                        name="replay_one_running_each_subscription",
                    )
                ],
            },
        ),
    ]
