import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import sources.models
import tenants.ids
import vault.fields


class Migration(migrations.Migration):
    replaces = [("sources", "0001_initial"), ("sources", "0003_last_received"), ("sources", "0004_every_way_in")]

    initial = True

    dependencies = [
        ("tenants", "0001_tables"),
        ("tenants", "__first__"),
    ]

    operations = [
        migrations.CreateModel(
            name="Source",
            fields=[
                ("id", models.UUIDField(default=tenants.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=100)),
                (
                    "kind",
                    models.CharField(
                        choices=[("event", "Event"), ("incident", "Incident")], default="event", max_length=10
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[("active", "Active"), ("paused", "Paused")],
                        default="active",
                        editable=False,
                        max_length=10,
                    ),
                ),
                (
                    "ingest_key",
                    models.CharField(default=sources.models.new_ingest_key, editable=False, max_length=64, unique=True),
                ),
                ("auth_method", models.CharField(max_length=20)),
                ("auth_config", models.JSONField(default=dict)),
                ("preset", models.CharField(blank=True, max_length=32)),
                (
                    "stream_type",
                    models.CharField(
                        choices=[
                            ("auto", "Inferred"),
                            ("json", "JSON"),
                            ("lines", "Lines"),
                            ("json_array", "JSON array"),
                            ("xml", "XML"),
                        ],
                        default="auto",
                        max_length=12,
                    ),
                ),
                (
                    "event_type",
                    models.CharField(
                        blank=True, help_text="The type of its events where the payload names none.", max_length=128
                    ),
                ),
                ("reading", models.JSONField(blank=True, default=dict)),
                ("rules", models.JSONField(blank=True, default=dict)),
                (
                    "visibility",
                    models.CharField(
                        choices=[("everyone", "Everybody"), ("assigned", "Creator and assigned user")],
                        default="everyone",
                        max_length=10,
                    ),
                ),
                (
                    "reveal",
                    models.CharField(
                        choices=[
                            ("once", "Once, when it is made"),
                            ("holders", "By its creator and the assigned user, each look on record"),
                        ],
                        default="once",
                        max_length=10,
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("last_received_at", models.DateTimeField(editable=False, null=True)),
                ("deleted_at", models.DateTimeField(editable=False, null=True)),
                (
                    "assigned_to",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "created_by",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
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
                        models.F("tenant"), models.OrderBy(models.F("id"), descending=True), name="source_tenant_newest"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="SourceCredential",
            fields=[
                ("id", models.UUIDField(default=tenants.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("key_id", models.CharField(editable=False, max_length=32)),
                ("value", vault.fields.Sealed(null=True)),
                ("digest", models.BinaryField(max_length=32, null=True)),
                ("last_four", models.CharField(editable=False, max_length=4)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("expires_at", models.DateTimeField(editable=False, null=True)),
                ("last_used_at", models.DateTimeField(editable=False, null=True)),
                (
                    "source",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="credentials", to="sources.source"
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
                "abstract": False,
            },
        ),
    ]
