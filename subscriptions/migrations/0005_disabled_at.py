from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0004_public_keys")]
    operations = [
        migrations.AddField(
            model_name="subscription",
            name="disabled_at",
            field=models.DateTimeField(
                editable=False, help_text="When it was last disabled; stays when it is enabled again.", null=True
            ),
        ),
    ]
