import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
import django.utils.timezone
from django.db import migrations, models

import events.partitions
import tenants.ids


class Migration(migrations.Migration):
    replaces = [
        ("deliveries", "0001_initial"),
        ("deliveries", "0003_replay"),
        ("deliveries", "0005_undecided"),
        ("deliveries", "0006_pull_queue"),
        ("deliveries", "0007_outbox_by_subscription"),
        ("deliveries", "0008_seen"),
        ("deliveries", "0009_lanes"),
    ]

    initial = True

    dependencies = [
        ("events", "0001_tables"),
        ("subscriptions", "0001_tables"),
        ("tenants", "0001_tables"),
    ]

    operations = [
        events.partitions.CreatePartitionedModel(
            name="Delivery",
            fields=[
                ("id", models.UUIDField(default=tenants.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                (
                    "kind",
                    models.CharField(
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
                ("event_type", models.CharField(max_length=128)),
                (
                    "message_id",
                    models.CharField(
                        help_text="The same for every attempt and every resend of an event.", max_length=64
                    ),
                ),
                ("shape", models.CharField(max_length=20)),
                ("signing", models.CharField(max_length=30)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("delivered", "Delivered"),
                            ("failed", "Failed"),
                            ("dead", "Dead"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="pending",
                        max_length=9,
                    ),
                ),
                ("reason", models.CharField(blank=True, max_length=200)),
                ("attempt_count", models.PositiveSmallIntegerField(default=0)),
                ("last_status_code", models.PositiveSmallIntegerField(null=True)),
                ("next_attempt_at", models.DateTimeField(null=True)),
                ("completed_at", models.DateTimeField(null=True)),
                (
                    "batch",
                    models.UUIDField(
                        help_text="Of those sent in one message: the first of them, which has the attempts.", null=True
                    ),
                ),
                (
                    "event",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="events.event",
                    ),
                ),
                (
                    "notice",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="subscriptions.notice",
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
                        editable=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "deliveries",
                "ordering": ["-id"],
                "indexes": [
                    models.Index(
                        models.F("tenant"),
                        models.OrderBy(models.F("id"), descending=True),
                        name="delivery_tenant_newest",
                    ),
                    models.Index(
                        models.F("subscription"),
                        models.OrderBy(models.F("id"), descending=True),
                        name="delivery_sub_newest",
                    ),
                    models.Index(models.F("event"), name="delivery_event"),
                    models.Index(models.F("notice"), name="delivery_notice"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Heartbeat",
            fields=[
                ("name", models.CharField(max_length=200, primary_key=True, serialize=False)),
                ("kind", models.CharField(choices=[("worker", "Worker"), ("sweep", "Sweep")], max_length=6)),
                ("processes", models.PositiveSmallIntegerField(default=1)),
                ("started_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("seen_at", models.DateTimeField()),
            ],
            options={
                "ordering": ["name"],
            },
        ),
        events.partitions.CreatePartitionedModel(
            name="Attempt",
            fields=[
                ("id", models.UUIDField(default=tenants.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("number", models.PositiveSmallIntegerField()),
                ("request_headers", models.JSONField(default=list)),
                (
                    "request_size",
                    models.PositiveIntegerField(help_text="Bytes of the body; null where none was made.", null=True),
                ),
                ("signed_at", models.DateTimeField()),
                ("status_code", models.PositiveSmallIntegerField(null=True)),
                ("response_headers", models.JSONField(default=list)),
                ("response_body", models.BinaryField(default=bytes)),
                ("response_truncated", models.BooleanField(default=False)),
                ("error", models.CharField(blank=True, max_length=20)),
                ("detail", models.CharField(blank=True, max_length=500)),
                (
                    "outcome",
                    models.CharField(
                        help_text="What the policy made of it: delivered, retry, failed, dead, disable, or late.",
                        max_length=10,
                    ),
                ),
                ("connect_ms", models.FloatField(null=True)),
                ("dns_ms", models.FloatField(help_text="Of connect_ms, until the name was resolved.", null=True)),
                ("tls_ms", models.FloatField(help_text="Of connect_ms, from TCP until TLS stood.", null=True)),
                (
                    "first_byte_ms",
                    models.FloatField(help_text="From the request until the answer's header.", null=True),
                ),
                ("total_ms", models.FloatField()),
                ("address", models.CharField(blank=True, max_length=60)),
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
                        editable=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
                (
                    "delivery",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="deliveries.delivery",
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
                "indexes": [
                    models.Index(models.F("delivery"), models.F("id"), name="attempt_delivery"),
                    models.Index(
                        models.F("subscription"),
                        models.OrderBy(models.F("id"), descending=True),
                        name="attempt_sub_newest",
                    ),
                    models.Index(
                        models.F("tenant"),
                        models.OrderBy(models.F("id"), descending=True),
                        name="attempt_tenant_newest",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Lane",
            fields=[
                (
                    "subscription",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="subscriptions.subscription",
                    ),
                ),
                ("due_at", models.DateTimeField(null=True)),
                ("lease_token", models.UUIDField(null=True)),
                ("added", models.BigIntegerField(default=0)),
                ("events", models.PositiveSmallIntegerField(default=1)),
                ("wait", models.FloatField(default=0)),
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
                "ordering": ["due_at"],
                "indexes": [
                    models.Index(models.F("due_at"), condition=models.Q(("due_at__isnull", False)), name="lane_due")
                ],
            },
        ),
        migrations.CreateModel(
            name="Pace",
            fields=[
                (
                    "subscription",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="subscriptions.subscription",
                    ),
                ),
                ("next_at", models.DateTimeField()),
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
        ),
        migrations.CreateModel(
            name="Replay",
            fields=[
                ("id", models.UUIDField(default=tenants.ids.uuid7, editable=False, primary_key=True, serialize=False)),
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
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="subscriptions.subscription"
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
                        models.F("tenant"), models.OrderBy(models.F("id"), descending=True), name="replay_tenant_newest"
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
        migrations.CreateModel(
            name="Outbox",
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
                ("due_at", models.DateTimeField(null=True)),
                ("attempt", models.PositiveSmallIntegerField(default=0)),
                ("lease_token", models.UUIDField(null=True)),
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
                "verbose_name_plural": "outbox",
                "ordering": ["due_at"],
                "indexes": [
                    models.Index(models.F("due_at"), name="outbox_due"),
                    models.Index(models.F("subscription"), models.F("due_at"), name="outbox_subscription_due"),
                    models.Index(
                        models.F("subscription"),
                        models.F("delivery"),
                        condition=models.Q(("due_at", None)),
                        name="outbox_line",
                    ),
                ],
            },
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
    ]
