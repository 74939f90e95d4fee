"""Start-up checks on the database role (run by `manage.py check --database default`, and by `serve`)."""

from django.core.checks import Tags, Warning, register
from django.db import connections


@register(Tags.database)
def role_obeys_row_security(app_configs, databases, **kwargs):
    """Warn where row-level security would be no net at all: the role bypasses it."""
    return [warning for alias in databases or () for warning in _check(alias)]


def _check(alias: str) -> list[Warning]:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT rolname, rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
        role, bypasses = cursor.fetchone()
    if not bypasses:
        return []
    return [
        Warning(
            f'The database role "{role}" bypasses row-level security.',
            hint="Give DATABASE_URL a role that owns its database and is neither SUPERUSER nor BYPASSRLS; "
            "until then only the application's own filters keep tenants apart.",
            id="tenants.W001",
        )
    ]
