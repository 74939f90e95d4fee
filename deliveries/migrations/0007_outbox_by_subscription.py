"""The round from subscription to subscription, when one has more waiting than its share (deliveries/outbox.py)."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("deliveries", "0006_pull_queue")]

    operations = [
        migrations.AddIndex(
            model_name="outbox", index=models.Index("subscription", "due_at", name="outbox_subscription_due")
        )
    ]
