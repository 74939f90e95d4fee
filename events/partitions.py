"""Tables partitioned by day on the UUIDv7 itself: look-ups by id prune, retention is DROP TABLE."""

import logging
import uuid
from datetime import UTC, datetime, timedelta

from django.apps import apps
from django.db import OperationalError, connection, migrations, models, transaction
from django.utils import timezone

from tenants.ids import lowest_uuid7, uuid7
from tenants.models import Tenant
from tenants.scope import ScopedManager

DAYS_AHEAD = 14
DROP_PATIENCE = 2000  # milliseconds

logger = logging.getLogger(__name__)


class Partitioned(models.Model):
    """A tenant-owned table, partitioned by day. The id alone is the key, and it carries the time.

    No foreign key is enforced by the database: rows are written in bulk and dropped by the day.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(
        Tenant, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, editable=False, related_name="+"
    )

    objects = ScopedManager()

    class Meta:
        abstract = True


class CreatePartitionedModel(migrations.CreateModel):
    """CreateModel, but `PARTITION BY RANGE (id)`."""

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        plain = schema_editor.sql_create_table
        schema_editor.sql_create_table = plain + " PARTITION BY RANGE (id)"
        try:
            super().database_forwards(app_label, schema_editor, from_state, to_state)
        finally:
            schema_editor.sql_create_table = plain


def partitioned_models() -> list[type[models.Model]]:
    return [model for model in apps.get_models() if issubclass(model, Partitioned)]


def bounds(day: datetime) -> tuple[uuid.UUID, uuid.UUID]:
    """The half-open range of ids made on that UTC day."""
    start = day.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return lowest_uuid7(start), lowest_uuid7(start + timedelta(days=1))


def ensure_partitions(at: datetime | None = None, ahead: int = DAYS_AHEAD) -> list[str]:
    """Make what is missing from yesterday until `ahead` days from `at`. Returns the names made.

    Safe from several processes at once: an advisory lock lets one at a time look and make. Senders
    are not held up: ATTACH locks the parent against other schema changes only, where
    `CREATE TABLE … PARTITION OF` would wait for every reader and have all writers wait behind it.
    """
    at = at or timezone.now()
    days = [at + timedelta(days=offset) for offset in range(-1, ahead + 1)]
    made = []
    for table, name, day in _missing(days):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('partitions'))")
            if not _exists(cursor, name):
                _create(cursor, table, name, day)
                made.append(name)
    return made


def missing_partitions(at: datetime | None = None) -> list[str]:
    """Partitions for today and tomorrow that are not there: without them nothing can be kept."""
    at = at or timezone.now()
    return [name for _, name, _ in _missing([at, at + timedelta(days=1)])]


def _missing(days: list[datetime]) -> list[tuple[str, str, datetime]]:
    """(table, partition, day) of each that is not attached to its table."""
    tables = [model._meta.db_table for model in partitioned_models()]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
            " WHERE inhparent IN (SELECT to_regclass(name) FROM unnest(%s::text[]) AS name)",
            [tables],
        )
        present = {name for (name,) in cursor.fetchall()}
    wanted = [(table, _name(table, day), day) for table in tables for day in days]
    return [(table, name, day) for table, name, day in wanted if name not in present]


def _name(table: str, day: datetime) -> str:
    return f"{table}_{day.astimezone(UTC):%Y%m%d}"


def _exists(cursor, name: str) -> bool:
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [name])
    return cursor.fetchone()[0]


def _create(cursor, table: str, name: str, day: datetime) -> None:
    low, high = bounds(day)
    # A partition addressed by its own name does not see its parent's policy: row security without
    # a policy of its own shows nothing.
    cursor.execute(
        f"""
        CREATE TABLE {name} (LIKE {table} INCLUDING ALL);
        ALTER TABLE {name} ENABLE ROW LEVEL SECURITY;
        ALTER TABLE {name} FORCE ROW LEVEL SECURITY;
        ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{low}') TO ('{high}');
        """  # noqa: S608  (names come from our models, bounds from a clock)
    )


def drop_partitions_before(moment: datetime) -> list[str]:
    """Drop every partition whose whole day lies before `moment`. Returns the names dropped.

    DROP waits for readers of the whole table and has writers wait behind it, so it gives up after
    DROP_PATIENCE: what is left is dropped by the next run.
    """
    limit = f"{moment.astimezone(UTC):%Y%m%d}"
    dropped = []
    for name in _partitions():
        if name.rsplit("_", 1)[-1] >= limit:
            continue
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = {DROP_PATIENCE}")
                cursor.execute(f"DROP TABLE IF EXISTS {connection.ops.quote_name(name)}")
        except OperationalError as error:
            logger.warning("Could not drop %s now (%s); the next run tries again.", name, error)
        else:
            dropped.append(name)
    return dropped


def _partitions() -> list[str]:
    """Our daily partitions, oldest first by table."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
            " WHERE inhparent IN (SELECT to_regclass(name) FROM unnest(%s::text[]) AS name)"
            " AND relname ~ '_[0-9]{8}$' ORDER BY relname",
            [[model._meta.db_table for model in partitioned_models()]],
        )
        return [name for (name,) in cursor.fetchall()]


def keep_small(table: str) -> migrations.RunSQL:
    """A migration operation for a queue table: room for in-place updates, and a vacuum that does not wait."""
    return migrations.RunSQL(
        f"""
        ALTER TABLE {table} SET (
            fillfactor = 70,
            autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500,
            autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 5000,
            autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000,
            autovacuum_vacuum_cost_delay = 0
        )
        """,
        f"ALTER TABLE {table} RESET (fillfactor)",
    )
