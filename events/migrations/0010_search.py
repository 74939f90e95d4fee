from django.db import migrations, models


class Migration(migrations.Migration):
    """Refusals are few among many receipts: an index that accepted ones never touch finds them without the rest."""

    dependencies = [
        ("events", "0009_alarms_row_security"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="receipt",
            index=models.Index(
                "tenant",
                models.F("id").desc(),
                condition=models.Q(("status", "refused")),
                name="receipt_refused_newest",
            ),
        ),
    ]
