from django.db import migrations

from tenants.scope import enable_row_security


class Migration(migrations.Migration):
    dependencies = [("sources", "0001_initial"), ("tenants", "0002_row_security")]
    operations = [
        enable_row_security("sources_source"),
        enable_row_security("sources_sourcecredential"),
    ]
