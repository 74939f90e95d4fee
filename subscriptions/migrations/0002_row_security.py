from django.db import migrations

from tenants.scope import enable_row_security


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0001_initial"), ("tenants", "0002_row_security")]
    operations = [
        enable_row_security("subscriptions_subscription"),
        enable_row_security("subscriptions_signingsecret"),
        enable_row_security("subscriptions_notice"),
    ]
