import django.db.models.deletion
import django.db.models.functions.datetime
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import events.partitions
import tenants.ids


class Migration(migrations.Migration):
    replaces = [
        ("events", "0001_initial"),
        ("events", "0003_receipt_suppressed"),
        ("events", "0004_identity"),
        ("events", "0006_schemas"),
        ("events", "0008_alarms"),
        ("events", "0010_search"),
        ("events", "0011_event_body_is_data"),
        ("events", "0012_bundles"),
    ]

    initial = True

    dependencies = [
        ("sources", "0001_tables"),
        ("tenants", "0001_tables"),
        ("tenants", "__first__"),
    ]

    operations = [
        events.partitions.CreatePartitionedModel(
            name="Receipt",
            fields=[
                ("id", models.UUIDField(default=tenants.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("status", models.CharField(choices=[("accepted", "Accepted"), ("refused", "Refused")], max_length=8)),
                ("status_code", models.PositiveSmallIntegerField()),
                ("reason", models.CharField(blank=True, max_length=40)),
                ("detail", models.CharField(blank=True, max_length=500)),
                ("client_address", models.GenericIPAddressField(null=True)),
                ("headers", models.JSONField(default=list)),
                ("content_type", models.CharField(blank=True, max_length=200)),
                ("body", models.BinaryField(null=True)),
                ("body_size", models.PositiveIntegerField(default=0)),
                ("event_count", models.PositiveIntegerField(default=0)),
                ("suppressed", models.PositiveIntegerField(default=0)),
                ("evidence", models.JSONField(null=True)),
                ("body_packed", models.BooleanField(db_default=False, default=False)),
                (
                    "site",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.site",
                    ),
                ),
                (
                    "source",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="sources.source",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        editable=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
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
                        name="receipt_tenant_newest",
                    ),
                    models.Index(
                        models.F("source"),
                        models.OrderBy(models.F("id"), descending=True),
                        name="receipt_source_newest",
                    ),
                    models.Index(models.F("id"), condition=models.Q(("status_code", 401)), name="receipt_unproven"),
                    models.Index(
                        models.F("tenant"),
                        models.OrderBy(models.F("id"), descending=True),
                        condition=models.Q(("status", "refused")),
                        name="receipt_refused_newest",
                    ),
                ],
            },
        ),
        events.partitions.CreatePartitionedModel(
            name="Event",
            fields=[
                ("id", models.UUIDField(default=tenants.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("type", models.CharField(max_length=128)),
                (
                    "severity",
                    models.CharField(
                        choices=[("low", "Low"), ("medium", "Medium"), ("high", "High")], default="low", max_length=6
                    ),
                ),
                ("content_type", models.CharField(max_length=200)),
                ("body", models.BinaryField()),
                ("data", models.JSONField(null=True)),
                ("data_problem", models.CharField(blank=True, max_length=200)),
                ("body_is_data", models.BooleanField(db_default=False, default=False)),
                ("title", models.CharField(blank=True, max_length=200)),
                ("occurred_at", models.DateTimeField(null=True)),
                ("schema_version_id", models.UUIDField(null=True)),
                ("schema_problem", models.CharField(blank=True, max_length=300)),
                (
                    "receipt",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="events.receipt",
                    ),
                ),
                (
                    "site",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.site",
                    ),
                ),
                (
                    "source",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="sources.source",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        editable=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
                "indexes": [
                    models.Index(
                        models.F("tenant"), models.OrderBy(models.F("id"), descending=True), name="event_tenant_newest"
                    ),
                    models.Index(
                        models.F("source"), models.OrderBy(models.F("id"), descending=True), name="event_source_newest"
                    ),
                    models.Index(
                        models.F("source"),
                        models.OrderBy(models.F("id"), descending=True),
                        condition=models.Q(("schema_problem", ""), _negated=True),
                        name="event_unfit",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Alarm",
            fields=[
                ("id", models.UUIDField(default=tenants.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("silence", "No events"),
                            ("authentication", "Authentication"),
                            ("classification", "Schemas"),
                        ],
                        max_length=16,
                    ),
                ),
                ("enabled", models.BooleanField(default=True)),
                ("window_minutes", models.PositiveIntegerField()),
                ("min_count", models.PositiveIntegerField(null=True)),
                ("percent", models.PositiveSmallIntegerField(null=True)),
                (
                    "state",
                    models.CharField(
                        choices=[("ok", "OK"), ("alarm", "Alarm"), ("insufficient_data", "Insufficient data")],
                        default="insufficient_data",
                        editable=False,
                        max_length=17,
                    ),
                ),
                ("state_changed_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("watched_since", models.DateTimeField(editable=False, null=True)),
                ("configured_at", models.DateTimeField(editable=False, null=True)),
                (
                    "source",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="sources.source"
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
                        models.F("tenant"), models.OrderBy(models.F("id"), descending=True), name="alarm_tenant_newest"
                    ),
                    models.Index(models.F("tenant"), condition=models.Q(("state", "alarm")), name="alarm_ringing"),
                ],
                "constraints": [models.UniqueConstraint(models.F("source"), models.F("kind"), name="alarm_once")],
            },
        ),
        migrations.CreateModel(
            name="AlarmEpisode",
            fields=[
                ("id", models.UUIDField(default=tenants.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("opened_at", models.DateTimeField()),
                ("since", models.DateTimeField()),
                ("window_minutes", models.PositiveIntegerField()),
                ("min_count", models.PositiveIntegerField(null=True)),
                ("percent", models.PositiveSmallIntegerField(null=True)),
                ("counted", models.PositiveIntegerField(default=0)),
                ("failed", models.PositiveIntegerField(default=0)),
                ("cleared_at", models.DateTimeField(null=True)),
                (
                    "ended",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("recovered", "Recovered"),
                            ("changed", "The alarm was changed"),
                            ("switched_off", "The alarm was switched off"),
                            ("paused", "The source was paused"),
                            ("suspended", "The workspace was suspended"),
                            ("deleted", "The source was deleted"),
                            ("no_schemas", "The source has no schemas"),
                        ],
                        max_length=12,
                    ),
                ),
                (
                    "alarm",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="episodes", to="events.alarm"
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
                        models.F("alarm"), models.OrderBy(models.F("id"), descending=True), name="episode_newest"
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        models.F("alarm"), condition=models.Q(("cleared_at", None)), name="one_open_episode"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="AlarmMail",
            fields=[
                ("id", models.UUIDField(default=tenants.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("due_at", models.DateTimeField()),
                ("postings", models.PositiveSmallIntegerField(default=0)),
                ("sent_at", models.DateTimeField(null=True)),
                ("moment", models.CharField(choices=[("opened", "Opened"), ("cleared", "Cleared")], max_length=7)),
                (
                    "episode",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="mails", to="events.alarmepisode"
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
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
                "indexes": [
                    models.Index(models.F("due_at"), condition=models.Q(("sent_at", None)), name="alarm_mail_due")
                ],
                "constraints": [
                    models.UniqueConstraint(
                        models.F("episode"), models.F("user"), models.F("moment"), name="alarm_mail_once"
                    )
                ],
            },
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
            options={
                "ordering": ["receipt_id"],
            },
        ),
        migrations.CreateModel(
            name="Inbox",
            fields=[
                (
                    "event",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="events.event",
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
                "verbose_name_plural": "inbox",
                "ordering": ["event_id"],
            },
        ),
        migrations.CreateModel(
            name="OnceKey",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "source_id", "kind", "digest", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("source_id", models.UUIDField()),
                ("kind", models.CharField(choices=[("key", "Idempotency"), ("jti", "Token")], max_length=3)),
                ("digest", models.BinaryField(max_length=16)),
                ("receipt_id", models.UUIDField()),
                ("event_count", models.PositiveIntegerField()),
                ("expires_at", models.DateTimeField()),
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
                "ordering": ["expires_at"],
                "indexes": [models.Index(models.F("expires_at"), name="once_key_expiry")],
            },
        ),
        migrations.CreateModel(
            name="Schema",
            fields=[
                ("id", models.UUIDField(default=tenants.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=100)),
                (
                    "event_type",
                    models.CharField(
                        blank=True, help_text="The type of event it describes; empty for several.", max_length=128
                    ),
                ),
                ("description", models.CharField(blank=True, max_length=500)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("deleted_at", models.DateTimeField(editable=False, null=True)),
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
                "constraints": [
                    models.UniqueConstraint(
                        models.F("tenant"),
                        models.F("name"),
                        condition=models.Q(("deleted_at", None)),
                        name="schema_name_unique_in_tenant",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="SchemaAttachment",
            fields=[
                ("id", models.UUIDField(default=tenants.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("position", models.PositiveSmallIntegerField()),
                (
                    "schema",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="attachments", to="events.schema"
                    ),
                ),
                (
                    "source",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="sources.source"
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
                "ordering": ["position"],
                "constraints": [
                    models.UniqueConstraint(models.F("source"), models.F("schema"), name="schema_attached_once"),
                    models.UniqueConstraint(models.F("source"), models.F("position"), name="schema_position_once"),
                ],
            },
        ),
        migrations.CreateModel(
            name="SchemaVersion",
            fields=[
                ("id", models.UUIDField(default=tenants.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("number", models.PositiveIntegerField()),
                ("text", models.TextField()),
                (
                    "status",
                    models.CharField(
                        choices=[("draft", "Draft"), ("published", "Published")], default="draft", max_length=10
                    ),
                ),
                ("inferred_from", models.JSONField(null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("published_at", models.DateTimeField(null=True)),
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
                    "published_by",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "schema",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="versions", to="events.schema"
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
                "ordering": ["-number"],
                "constraints": [
                    models.UniqueConstraint(models.F("schema"), models.F("number"), name="schema_version_number_once"),
                    models.UniqueConstraint(
                        models.F("schema"), condition=models.Q(("status", "draft")), name="schema_one_draft"
                    ),
                ],
            },
        ),
    ]
