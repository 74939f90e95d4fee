"""Row-level security, and queues that stay small while they churn."""

from django.db import migrations

from events.partitions import keep_small
from tenants.scope import enable_row_security


class Migration(migrations.Migration):
    replaces = [
        ("deliveries", "0002_row_security"),
        ("deliveries", "0004_replay_row_security"),
        ("deliveries", "0010_lane_row_security"),
    ]
    dependencies = [("deliveries", "0001_tables"), ("tenants", "0002_guards")]
    operations = [
        enable_row_security("deliveries_delivery"),
        enable_row_security("deliveries_attempt"),
        enable_row_security("deliveries_outbox"),
        enable_row_security("deliveries_replay"),
        enable_row_security("deliveries_undecided"),
        enable_row_security("deliveries_pullqueue"),
        enable_row_security("deliveries_lane"),
        enable_row_security("deliveries_pace"),
        keep_small("deliveries_outbox"),
        keep_small("deliveries_undecided"),
        keep_small("deliveries_pullqueue"),
    ]
