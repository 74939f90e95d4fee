import django.contrib.postgres.fields
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import tenants.ids
from events.partitions import keep_small
from tenants.scope import enable_row_security


class Migration(migrations.Migration):
    dependencies = [
        ("subscriptions", "0009_receiver_auth"),
        ("tenants", "0004_require_jwt"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="subscription",
            name="delays",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.PositiveIntegerField(), null=True, size=None
            ),
        ),
        migrations.AddField(
            model_name="subscription",
            name="rules",
            field=models.JSONField(default=dict),
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
        enable_row_security("subscriptions_failing"),
        enable_row_security("subscriptions_failingmail"),
        keep_small("subscriptions_failing"),
    ]
