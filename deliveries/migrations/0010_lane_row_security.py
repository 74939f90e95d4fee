from django.db import migrations

from tenants.scope import enable_row_security


class Migration(migrations.Migration):
    dependencies = [("deliveries", "0009_lanes")]
    operations = [enable_row_security("deliveries_lane"), enable_row_security("deliveries_pace")]
