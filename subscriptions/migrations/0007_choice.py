import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("subscriptions", "0006_fill_disabled_at"),
    ]

    operations = [
        migrations.AddField(
            model_name="subscription",
            name="filter",
            field=models.TextField(blank=True, default=""),
        ),
        migrations.AddField(
            model_name="subscription",
            name="filter_error",
            field=models.CharField(blank=True, default="", editable=False, max_length=300),
        ),
        migrations.AddField(
            model_name="subscription",
            name="filter_error_event",
            field=models.UUIDField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="subscription",
            name="filter_errors",
            field=models.PositiveBigIntegerField(default=0, editable=False),
        ),
        migrations.AddField(
            model_name="subscription",
            name="sites",
            field=django.contrib.postgres.fields.ArrayField(base_field=models.UUIDField(), default=list, size=None),
        ),
        migrations.AddField(
            model_name="subscription",
            name="sources",
            field=django.contrib.postgres.fields.ArrayField(base_field=models.UUIDField(), default=list, size=None),
        ),
    ]
