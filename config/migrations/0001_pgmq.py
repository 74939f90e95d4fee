"""The default broker's queue functions, from the `pgmq` package's own SQL, so that PostgreSQL is the one service to run.

Skipped where a schema `pgmq` stands already (a deployment that has the extension).
"""

from django.db import migrations
from pgmq.install import get_embedded_install_sql


def install(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'pgmq'")
        if cursor.fetchone() is None:
            cursor.execute(get_embedded_install_sql())


def uninstall(apps, schema_editor):
    schema_editor.execute("DROP SCHEMA IF EXISTS pgmq CASCADE")


class Migration(migrations.Migration):
    dependencies = []
    operations = [migrations.RunPython(install, uninstall)]
