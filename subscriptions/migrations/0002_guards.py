"""Row-level security, and a table of breakers that stays small while it churns."""

from django.db import migrations

from events.partitions import keep_small
from tenants.scope import enable_row_security


class Migration(migrations.Migration):
    replaces = [("subscriptions", "0002_row_security")]
    dependencies = [("subscriptions", "0001_tables"), ("tenants", "0002_guards")]
    operations = [
        enable_row_security("subscriptions_subscription"),
        enable_row_security("subscriptions_signingsecret"),
        enable_row_security("subscriptions_notice"),
        enable_row_security("subscriptions_failing"),
        enable_row_security("subscriptions_failingmail"),
        keep_small("subscriptions_failing"),
    ]
