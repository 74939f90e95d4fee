"""Row-level security, and an inbox that stays small while it churns."""

from django.db import migrations

from events.partitions import keep_small
from tenants.scope import enable_row_security


class Migration(migrations.Migration):
    dependencies = [("events", "0001_initial"), ("tenants", "0002_row_security")]
    operations = [
        enable_row_security("events_receipt"),
        enable_row_security("events_event"),
        enable_row_security("events_inbox"),
        keep_small("events_inbox"),
    ]
