from django.db import migrations, models


class Migration(migrations.Migration):
    """Events whose body is their payload are marked instead of being kept twice.

    The default stays in the database: a door of the release before does not name the column.
    """

    dependencies = [("events", "0010_search")]

    operations = [
        migrations.AddField("event", "body_is_data", models.BooleanField(db_default=False, default=False)),
    ]
