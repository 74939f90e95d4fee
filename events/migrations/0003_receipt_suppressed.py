"""A count of the refusals that followed a receipt and have no row of their own."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("events", "0002_row_security")]
    operations = [
        migrations.AddField("receipt", "suppressed", models.PositiveIntegerField(default=0)),
    ]
