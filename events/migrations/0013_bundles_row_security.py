from django.db import migrations

from events.partitions import keep_small
from tenants.scope import enable_row_security


class Migration(migrations.Migration):
    dependencies = [("events", "0012_bundles"), ("tenants", "0002_row_security")]
    operations = [enable_row_security("events_bundle"), keep_small("events_bundle")]
