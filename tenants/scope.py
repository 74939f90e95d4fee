"""Whose rows a transaction may see.

Two nets, one under the other. The managers here filter by the scope in force; below them PostgreSQL's
row-level security compares the same scope, a setting local to the transaction, with each row's tenant.
Where no scope is set, both show nothing.

    with tenant_scope(tenant.id): …      one tenant's rows
    with system_scope(): …               every tenant's: workers, intake, operators. Explicit and rare.

A process that stands still, because somebody or its machine stopped it, holds its locks as long as its transaction is
open, and others wait for them. So PostgreSQL ends a transaction in which nothing was asked for `idle` seconds; when the
process goes on, its next statement raises a `django.db.Error` and nothing of the transaction is kept.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID

from django.db import connection, migrations, models, transaction

EVERY_TENANT = "*"
IDLE = 30.0  # seconds; whoever asks somebody else within a transaction has an answer sooner
IDLE_WITH_LOCKS = 5.0  # where all others wait for what is locked

_scope: ContextVar[str] = ContextVar("tenant_scope", default="")
_idle: ContextVar[float] = ContextVar("idle", default=math.inf)


@contextmanager
def tenant_scope(tenant_id: UUID | str) -> Iterator[None]:
    """Open a transaction that sees the rows of one tenant."""
    with _scoped(str(tenant_id)):
        yield


@contextmanager
def system_scope(*, idle: float = IDLE) -> Iterator[None]:
    """Open a transaction that sees the rows of all tenants. Within another, the shorter `idle` holds."""
    with _scoped(EVERY_TENANT, idle):
        yield


def current_scope() -> str:
    """The tenant id in force, `*` for all, or an empty string for none."""
    return _scope.get()


def is_system(idle: float) -> bool:
    """Whether the transaction that is open sees the rows of all tenants, and ends when it stands still for so long."""
    return connection.in_atomic_block and _scope.get() == EVERY_TENANT and _idle.get() <= idle


@contextmanager
def _scoped(value: str, idle: float = IDLE) -> Iterator[None]:
    scope, still = _scope.set(value), _idle.set(min(idle, _idle.get()))
    try:
        with transaction.atomic():
            _tell_database()
            yield
    finally:
        _scope.reset(scope)
        _idle.reset(still)
    # A rolled back savepoint restores the outer settings by itself, a released one does not.
    if connection.in_atomic_block and not connection.needs_rollback:
        _tell_database()


def _tell_database() -> None:
    idle = _idle.get()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('app.tenant', %s, true), set_config('idle_in_transaction_session_timeout', %s, true)",
            [_scope.get(), "0" if idle == math.inf else f"{1000 * idle:.0f}"],
        )


class ScopedManager(models.Manager):
    """The default manager of every tenant-owned model. `scope_field` is what holds the tenant's id."""

    scope_field = "tenant_id"

    def get_queryset(self):
        queryset = super().get_queryset()
        scope = _scope.get()
        if not scope:
            return queryset.none()
        return queryset if scope == EVERY_TENANT else queryset.filter(**{self.scope_field: scope})


def enable_row_security(table: str, column: str = "tenant_id") -> migrations.RunSQL:
    """A migration operation: only rows of the tenant in force can be seen or written, by the owner too.

    The comparison is on text so that an unset or foreign setting is never a cast error, only no rows.
    """
    return migrations.RunSQL(
        f"""
        ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
        ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
        CREATE POLICY tenant_rows ON {table}
            USING (current_setting('app.tenant', true) IN ({column}::text, '{EVERY_TENANT}'))
            WITH CHECK (current_setting('app.tenant', true) IN ({column}::text, '{EVERY_TENANT}'));
        """,
        f"""
        DROP POLICY tenant_rows ON {table};
        ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY;
        ALTER TABLE {table} DISABLE ROW LEVEL SECURITY;
        """,
    )
