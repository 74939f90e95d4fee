from django.db import migrations, models

import tenants.models

HELP = "Whether it may have subscriptions, and is sent events. Operators switch that (S1)."


class Migration(migrations.Migration):
    """Who is a tenant already keeps what it has, whatever new ones get."""

    dependencies = [("tenants", "0004_require_jwt")]

    operations = [
        migrations.AddField("tenant", "webhooks", models.BooleanField(default=True, help_text=HELP)),
        migrations.AlterField(
            "tenant",
            "webhooks",
            models.BooleanField(default=tenants.models.webhooks_for_new_tenants, help_text=HELP),
        ),
    ]
