from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0003_signing_options")]
    operations = [
        migrations.AddField(
            "signingsecret",
            "public_key",
            models.CharField(blank=True, default="", editable=False, max_length=60),
        ),
    ]
