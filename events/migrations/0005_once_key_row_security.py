from django.db import migrations

from tenants.scope import enable_row_security


class Migration(migrations.Migration):
    dependencies = [("events", "0004_identity"), ("tenants", "0002_row_security")]
    operations = [enable_row_security("events_oncekey")]
