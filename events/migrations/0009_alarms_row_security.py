from django.db import migrations

from tenants.scope import enable_row_security


class Migration(migrations.Migration):
    dependencies = [("events", "0008_alarms"), ("tenants", "0002_row_security")]
    operations = [
        enable_row_security("events_alarm"),
        enable_row_security("events_alarmepisode"),
        enable_row_security("events_alarmmail"),
    ]
