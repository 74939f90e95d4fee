"""What is disabled now knows since when: from then on it can be replayed what it missed."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0005_disabled_at")]
    operations = [
        migrations.RunSQL(
            """
            SELECT set_config('app.tenant', '*', true);
            UPDATE subscriptions_subscription SET disabled_at = state_changed_at WHERE state = 'disabled';
            SELECT set_config('app.tenant', '', true);
            """,
            migrations.RunSQL.noop,
        )
    ]
