"""What was still owed to a subscription when it was disabled: where a replay of what it missed begins."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0002_guards")]
    operations = [
        migrations.AddField(
            model_name="subscription",
            name="unsent_from",
            field=models.DateTimeField(
                editable=False, help_text="The oldest of the deliveries that waited when it was disabled.", null=True
            ),
        ),
        migrations.AddField(
            model_name="subscription",
            name="untold_from",
            field=models.DateTimeField(
                editable=False,
                help_text="The oldest of the events that had not been routed when it was disabled.",
                null=True,
            ),
        ),
    ]
