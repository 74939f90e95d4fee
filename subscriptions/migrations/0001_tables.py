import django.contrib.postgres.fields
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import tenants.ids
import vault.fields


class Migration(migrations.Migration):
    replaces = [
        ("subscriptions", "0001_initial"),
        ("subscriptions", "0003_signing_options"),
        ("subscriptions", "0004_public_keys"),
        ("subscriptions", "0005_disabled_at"),
        ("subscriptions", "0006_fill_disabled_at"),
        ("subscriptions", "0007_choice"),
        ("subscriptions", "0008_challenge_and_pull"),
        ("subscriptions", "0009_receiver_auth"),
        ("subscriptions", "0010_policies_and_failing"),
        ("subscriptions", "0011_flow"),
    ]

    initial = True

    dependencies = [
        ("tenants", "0001_tables"),
        ("tenants", "__first__"),
    ]

    operations = [
        migrations.CreateModel(
            name="Subscription",
            fields=[
                ("id", models.UUIDField(default=tenants.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("url", vault.fields.Sealed()),
                (
                    "delivery",
                    models.CharField(
                        choices=[("push", "Posted to its URL"), ("pull", "Polled by its receiver")],
                        default="push",
                        max_length=4,
                    ),
                ),
                (
                    "verification",
                    models.CharField(
                        choices=[("link", "Confirmation link"), ("challenge", "Challenge")],
                        default="link",
                        max_length=10,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[("pending", "Pending"), ("idle", "Idle"), ("disabled", "Disabled")],
                        default="pending",
                        editable=False,
                        max_length=10,
                    ),
                ),
                ("state_reason", models.CharField(blank=True, editable=False, max_length=200)),
                ("state_changed_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "disabled_at",
                    models.DateTimeField(
                        editable=False,
                        help_text="When it was last disabled; stays when it is enabled again.",
                        null=True,
                    ),
                ),
                ("confirmed_at", models.DateTimeField(editable=False, null=True)),
                ("confirmation_digest", models.BinaryField(max_length=32, null=True, unique=True)),
                ("confirmation_expires_at", models.DateTimeField(editable=False, null=True)),
                (
                    "challenged_at",
                    models.DateTimeField(
                        editable=False,
                        help_text="When its receiver last answered a challenge; null since one has failed.",
                        null=True,
                    ),
                ),
                ("challenge_notice", models.UUIDField(editable=False, null=True)),
                ("challenge_code", models.CharField(blank=True, default="", editable=False, max_length=5)),
                ("deleted_at", models.DateTimeField(editable=False, null=True)),
                ("signing", models.CharField(default="standard_webhooks", max_length=30)),
                ("signing_options", models.JSONField(default=dict)),
                ("name", models.CharField(max_length=100)),
                ("hint", models.CharField(blank=True, max_length=200)),
                (
                    "event_types",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=128), default=list, size=None
                    ),
                ),
                (
                    "min_severity",
                    models.CharField(
                        choices=[("low", "Low"), ("medium", "Medium"), ("high", "High")], default="low", max_length=6
                    ),
                ),
                (
                    "sources",
                    django.contrib.postgres.fields.ArrayField(base_field=models.UUIDField(), default=list, size=None),
                ),
                (
                    "sites",
                    django.contrib.postgres.fields.ArrayField(base_field=models.UUIDField(), default=list, size=None),
                ),
                ("filter", models.TextField(blank=True, default="")),
                ("filter_errors", models.PositiveBigIntegerField(default=0, editable=False)),
                ("filter_error", models.CharField(blank=True, default="", editable=False, max_length=300)),
                ("filter_error_event", models.UUIDField(editable=False, null=True)),
                ("headers", vault.fields.SealedJSON(null=True)),
                (
                    "header_names",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=100), default=list, editable=False, size=None
                    ),
                ),
                ("auth_method", models.CharField(default="none", max_length=10)),
                ("auth_config", models.JSONField(default=dict)),
                ("auth_secrets", vault.fields.SealedJSON(null=True)),
                ("shape", models.CharField(default="envelope", max_length=20)),
                ("policy", models.CharField(default="standard", max_length=20)),
                (
                    "delays",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.PositiveIntegerField(), null=True, size=None
                    ),
                ),
                ("rules", models.JSONField(default=dict)),
                ("mode", models.CharField(default="parallel", max_length=10)),
                ("max_per_minute", models.PositiveIntegerField(blank=True, null=True)),
                ("max_in_flight", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("pull_place", models.BigIntegerField(default=0, editable=False)),
                ("pull_acknowledged", models.BigIntegerField(default=0, editable=False)),
                ("polled_at", models.DateTimeField(editable=False, null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
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
                        models.F("tenant"),
                        models.OrderBy(models.F("id"), descending=True),
                        name="subscription_tenant_newest",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="FailingMail",
            fields=[
                ("id", models.UUIDField(default=tenants.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("due_at", models.DateTimeField()),
                ("postings", models.PositiveSmallIntegerField(default=0)),
                ("sent_at", models.DateTimeField(null=True)),
                (
                    "moment",
                    models.CharField(
                        choices=[("day_1", "Day 1"), ("day_3", "Day 3"), ("disabled", "Disabled")], max_length=8
                    ),
                ),
                ("happened_at", models.DateTimeField()),
                ("since", models.DateTimeField(null=True)),
                ("reason", models.CharField(blank=True, max_length=200)),
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
                    models.Index(models.F("due_at"), condition=models.Q(("sent_at", None)), name="failing_mail_due")
                ],
                "constraints": [
                    models.UniqueConstraint(
                        models.F("subscription"),
                        models.F("user"),
                        models.F("moment"),
                        models.F("happened_at"),
                        name="failing_mail_once",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Notice",
            fields=[
                ("id", models.UUIDField(default=tenants.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("confirmation", "Confirmation link"),
                            ("test", "Test event"),
                            ("challenge", "Challenge"),
                        ],
                        max_length=12,
                    ),
                ),
                ("event_type", models.CharField(max_length=128)),
                ("payload", vault.fields.SealedJSON()),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("routed_at", models.DateTimeField(null=True)),
                (
                    "subscription",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="notices",
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
                    models.Index(models.F("id"), condition=models.Q(("routed_at", None)), name="notice_unrouted")
                ],
            },
        ),
        migrations.CreateModel(
            name="SigningSecret",
            fields=[
                ("id", models.UUIDField(default=tenants.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("key_id", models.CharField(editable=False, max_length=32)),
                ("value", vault.fields.Sealed(null=True)),
                ("digest", models.BinaryField(max_length=32, null=True)),
                ("last_four", models.CharField(editable=False, max_length=4)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("expires_at", models.DateTimeField(editable=False, null=True)),
                ("last_used_at", models.DateTimeField(editable=False, null=True)),
                ("public_key", models.CharField(blank=True, default="", editable=False, max_length=60)),
                (
                    "subscription",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="signing_secrets",
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
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="Failing",
            fields=[
                (
                    "subscription",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="failing",
                        serialize=False,
                        to="subscriptions.subscription",
                    ),
                ),
                ("state_changed_at", models.DateTimeField()),
                ("since", models.DateTimeField()),
                ("last_failed_at", models.DateTimeField()),
                ("warned_days", models.PositiveSmallIntegerField(default=0)),
                (
                    "recent",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.DateTimeField(), default=list, size=None
                    ),
                ),
                ("opened_at", models.DateTimeField(null=True)),
                ("open_until", models.DateTimeField(null=True)),
                ("cool_down", models.DurationField(null=True)),
                ("probe", models.UUIDField(null=True)),
                ("probe_until", models.DateTimeField(null=True)),
                ("line_end", models.DateTimeField(null=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "failing",
            },
        ),
    ]
