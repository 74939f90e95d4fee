from django.db import migrations

from tenants.scope import enable_row_security


class Migration(migrations.Migration):
    dependencies = [("deliveries", "0003_replay")]
    operations = [enable_row_security("deliveries_replay")]
