"""Start-up checks on the database itself (run by `manage.py check --database default`, `migrate` and `serve`)."""

from django.core.checks import Error, Tags, register
from django.db import connections


@register(Tags.database)
def database_is_utf8(app_configs, databases, **kwargs):
    """Another encoding cannot hold what senders send; SQL_ASCII would take any bytes for text."""
    return [error for alias in databases or () if (error := _check(alias))]


def _check(alias: str) -> Error | None:
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
