"""Row-level security, and an outbox that stays small while it churns."""

from django.db import migrations

from events.partitions import keep_small
from tenants.scope import enable_row_security


class Migration(migrations.Migration):
    dependencies = [("deliveries", "0001_initial"), ("tenants", "0002_row_security")]
    operations = [
        enable_row_security("deliveries_delivery"),
        enable_row_security("deliveries_attempt"),
        enable_row_security("deliveries_outbox"),
        keep_small("deliveries_outbox"),
    ]
