"""Start-up checks on the database itself (run by `manage.py check --database default`, `migrate` and `serve`)."""

from django.core.checks import Error, Tags, register
from django.db import connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder


@register(Tags.database)
def database_is_utf8(app_configs, databases, **kwargs):
    """Another encoding cannot hold what senders send; SQL_ASCII would take any bytes for text."""
    return [error for alias in databases or () if (error := _other_encoding(alias))]


def _other_encoding(alias: str) -> Error | None:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT current_database(), current_setting('server_encoding')")
        name, encoding = cursor.fetchone()
    if encoding == "UTF8":
        return None
    return Error(
        f'The database "{name}" has the encoding {encoding}; Portcullis needs UTF8.',
        hint="Make another for it: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0.",
        id="config.E001",
    )


@register(Tags.database)
def migrations_are_whole(app_configs, databases, **kwargs):
    """Joined migrations replace all of the old ones or none. Of some, Django would say strange things, or nothing."""
    return [error for alias in databases or () for error in _half_replaced(alias)]


def _half_replaced(alias: str) -> list[Error]:
    loader = MigrationLoader(None, load=False)
    loader.load_disk()
    applied = set(MigrationRecorder(connections[alias]).applied_migrations())
    absent = []
    for migration in loader.disk_migrations.values():
        replaced = set(migration.replaces)
        if replaced & applied:
            absent += sorted(replaced - applied)
    if not absent:
        return []
    return [
        Error(
            f"The database was made by older migrations, and lacks {', '.join('.'.join(name) for name in absent)}.",
            hint="How it is brought up to date: docs/decisions/0025-migrations-are-joined.md.",
            id="config.E002",
        )
    ]
