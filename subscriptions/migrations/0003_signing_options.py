from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0002_row_security")]
    operations = [
        migrations.AddField("subscription", "signing_options", models.JSONField(default=dict)),
    ]
