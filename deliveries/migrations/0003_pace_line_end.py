"""What waits because too many are under way stands in a line."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("deliveries", "0002_guards")]
    operations = [migrations.AddField("pace", "line_end", models.DateTimeField(null=True))]
