from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("subscriptions", "0007_choice"),
    ]

    operations = [
        migrations.AddField(
            model_name="subscription",
            name="challenge_code",
            field=models.CharField(blank=True, default="", editable=False, max_length=5),
        ),
        migrations.AddField(
            model_name="subscription",
            name="challenge_notice",
            field=models.UUIDField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="subscription",
            name="challenged_at",
            field=models.DateTimeField(
                editable=False,
                help_text="When its receiver last answered a challenge; null since one has failed.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="subscription",
            name="delivery",
            field=models.CharField(
                choices=[("push", "Posted to its URL"), ("pull", "Polled by its receiver")],
                default="push",
                max_length=4,
            ),
        ),
        migrations.AddField(
            model_name="subscription",
            name="polled_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="subscription",
            name="pull_acknowledged",
            field=models.BigIntegerField(default=0, editable=False),
        ),
        migrations.AddField(
            model_name="subscription",
            name="pull_place",
            field=models.BigIntegerField(default=0, editable=False),
        ),
        migrations.AlterField(
            model_name="notice",
            name="kind",
            field=models.CharField(
                choices=[("confirmation", "Confirmation link"), ("test", "Test event"), ("challenge", "Challenge")],
                max_length=12,
            ),
        ),
        migrations.AlterField(
            model_name="subscription",
            name="verification",
            field=models.CharField(
                choices=[("link", "Confirmation link"), ("challenge", "Challenge")], default="link", max_length=10
            ),
        ),
    ]
