"""Queue tables stay small while somebody's transaction is open.

Rows of a queue live for a moment. What is left of them is taken away by autovacuum, but nothing that died since the
oldest open transaction began: then a queue grows with all that passes through it, and every claim walks over it. What
is alive is little, so it is set aside, the table cut off, and the living put back. TRUNCATE heeds no snapshot.

Whoever waits for the table meanwhile looks at it afterwards, and finds what was there: at READ COMMITTED a statement
takes its snapshot when it has its locks. A transaction that has read the table with one snapshot for all of its
statements, as pg_dump does, holds a lock on it; then nothing is done, and the table grows until that has ended.
"""

import logging

import psycopg
from django.db import OperationalError, connection
from psycopg import sql

from tenants.scope import IDLE_WITH_LOCKS, system_scope

SMALL = 2_000_000  # bytes, indexes left out: nothing is done below
SPARSE = 1_000  # bytes for each row that is alive: several times what it needs
MOST = 20_000  # rows that are moved at once: about a tenth of a second
PATIENCE = "50ms"  # for the lock: as long as we wait for it, everybody waits behind us

logger = logging.getLogger(__name__)

_COMPACT = """
    DO $$
    DECLARE alive {table}[];
    BEGIN
        LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE;
        SELECT array_agg(kept) INTO alive FROM {table} AS kept;
        TRUNCATE {table};
        INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM unnest(alive);
    END $$
"""


def compact(table: str) -> bool:
    """Rewrite a queue table where it is large and next to empty. Returns whether that was done.

    `table` may be in a schema, and need not be there. In a transaction of its own. Nothing may refer to it by a foreign
    key.
    """
    name = sql.Identifier(*table.split("."))
    try:
        # Every tenant's rows: what is not seen here is lost.
        with system_scope(idle=IDLE_WITH_LOCKS), connection.cursor() as cursor:
            cursor.execute("SELECT pg_relation_size(to_regclass(%s))", [table])
            size = cursor.fetchone()[0]
            if size is None or size < SMALL:
                return False
            most = min(MOST, size // SPARSE)
            alive = sql.SQL("SELECT count(*) FROM (SELECT FROM {} LIMIT %s) AS alive").format(name)
            cursor.execute(alive, [most + 1])
            if cursor.fetchone()[0] > most:
                return False
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", [PATIENCE])
            cursor.execute(sql.SQL(_COMPACT).format(table=name))
    except OperationalError as error:
        if isinstance(error.__cause__, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected):
            return False  # somebody is at it for longer: the next time
        raise
    logger.info("%s was cut off: it had %.1f MB, next to all of it dead rows.", table, size / 1e6)
    return True
