from django.db import migrations, models

import vault.fields


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0008_challenge_and_pull")]
    operations = [
        migrations.AddField("subscription", "auth_method", models.CharField(default="none", max_length=10)),
        migrations.AddField("subscription", "auth_config", models.JSONField(default=dict)),
        migrations.AddField("subscription", "auth_secrets", vault.fields.SealedJSON(null=True)),
    ]
