"""The outbox's statements: put deliveries in, claim what is due; take out, count. What ends is in `results`.

Each runs on the database's clock and none waits for another worker. The lease token fences: a statement that
does not hold the row's present token changes nothing.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import connection

from deliveries import lines
from deliveries.fairness import EVERYBODY, Others
from deliveries.keeping import New, columns, keeping
from deliveries.lines import Steps, only
from events.columns import Uuids

# Longer than any request may take, waiting for its turn included.
LEASE = timedelta(seconds=settings.DELIVERY_LEASE_SECONDS)
NEAR = 1000  # rows that are looked through for those whose turn it is
ROUND = 500  # subscriptions that are asked in one round
OF_EACH = 16  # of one subscription in a round
_FIRST = uuid.UUID(int=0)


class Claim(NamedTuple):
    """One delivery, ours for LEASE: attempt number `attempt` is to be made now."""

    delivery_id: uuid.UUID
    attempt: int
    token: uuid.UUID
    tenant_id: uuid.UUID
    subscription_id: uuid.UUID


@dataclass(frozen=True)
class Counted:
    """So many; at least so many where `is_exact` is false, because counting had to stop."""

    count: int
    is_exact: bool


_PUT = f"""
    {keeping("clock_timestamp()")}
    INSERT INTO deliveries_outbox (delivery_id, tenant_id, subscription_id, due_at, attempt)
    SELECT id, tenant_id, subscription_id, clock_timestamp(), 0 FROM row
"""  # noqa: S608 (a constant)


def put(deliveries: Sequence[New]) -> None:
    """Keep deliveries and their outbox rows, in the caller's transaction and scope."""
    if deliveries:
        lines.run(only(_PUT, columns(deliveries)))


# Not `clock_timestamp()`: by it the index could not be entered, and whatever waits for hours would be looked through.
_DUE = "due_at <= statement_timestamp() AND tenant_id <> ALL($4) AND subscription_id <> ALL($5)"
_LEASE = """
    UPDATE deliveries_outbox AS outbox SET lease_token = $2, due_at = clock_timestamp() + make_interval(secs => $3),
        attempt = least(attempt::int + 1, 32767)
    WHERE outbox.delivery_id = ANY(ARRAY(SELECT delivery_id FROM due))
    RETURNING outbox.delivery_id, outbox.attempt, outbox.tenant_id, outbox.subscription_id
"""
_CLAIM = f"""
    WITH due AS (
        SELECT delivery_id FROM deliveries_outbox WHERE {_DUE} ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
    ) {_LEASE}
"""  # noqa: S608 (constants)
_CLAIM_NEAR = f"""
    WITH due AS (
        SELECT delivery_id FROM deliveries_outbox WHERE {_DUE} AND due_at <= $6 ORDER BY due_at LIMIT $1
        FOR UPDATE SKIP LOCKED
    ) {_LEASE}
"""  # noqa: S608 (constants)
# From subscription to subscription by the index, `$7` rows of each: however much waits for one, the next is near.
_CLAIM_ROUND = f"""
    WITH RECURSIVE one AS (
        (SELECT subscription_id FROM deliveries_outbox WHERE subscription_id > $6 ORDER BY subscription_id LIMIT 1)
        UNION ALL
        SELECT following.subscription_id FROM one, LATERAL (
            SELECT subscription_id FROM deliveries_outbox WHERE subscription_id > one.subscription_id
            ORDER BY subscription_id LIMIT 1
        ) AS following
    ), asked AS (
        SELECT subscription_id FROM one LIMIT {ROUND}
    ), due AS (
        SELECT mine.delivery_id FROM asked, LATERAL (
            SELECT delivery_id FROM deliveries_outbox WHERE subscription_id = asked.subscription_id AND {_DUE}
            ORDER BY due_at LIMIT $7 FOR UPDATE SKIP LOCKED
        ) AS mine LIMIT $1
    ), leased AS ({_LEASE})
    SELECT leased.*, round.last FROM (
        SELECT CASE count(*) WHEN {ROUND} THEN max(subscription_id::text)::uuid END AS last FROM asked
    ) AS round LEFT JOIN leased ON true
"""  # noqa: S608 (constants)
_HORIZON = f"SELECT due_at FROM deliveries_outbox ORDER BY due_at OFFSET {NEAR} LIMIT 1"  # noqa: S608 (a constant)


def claim(limit: int) -> list[Claim]:
    """Lease up to `limit` due rows and count their attempt, in the caller's transaction: commit before sending."""
    return lines.run(Claiming().claiming(limit))


class Claiming:
    """Claims, fairly. Where somebody who has his share is passed over, the oldest are looked through only so far;
    what comes behind them is found by going round the subscriptions, from where the last round ended.
    """

    def __init__(self) -> None:
        self._round_from = _FIRST

    def claiming(self, limit: int, others: Others = EVERYBODY) -> Steps[list[Claim]]:
        """Lease up to `limit` due rows of these, and count their attempt."""
        token = uuid.uuid4()
        usual = [limit, token, LEASE.total_seconds(), Uuids(others.tenants), Uuids(others.subscriptions)]
        horizon = None
        if any(others):
            rows = yield _HORIZON, []
            horizon = rows[0][0] if rows else None
        if horizon is None:
            rows = yield _CLAIM, usual
        else:
            rows = yield _CLAIM_NEAR, [*usual, horizon]
        if horizon is not None and len(rows) < limit:
            wanted = limit - len(rows)
            more = yield _CLAIM_ROUND, [wanted, *usual[1:], self._round_from, OF_EACH]
            last = more[0][4]
            found = [row[:4] for row in more if row[0] is not None]
            self._round_from = max(row[3] for row in found) if len(found) == wanted else last or _FIRST
            rows = [*rows, *found]
        return [Claim(row[0], row[1], token, row[2], row[3]) for row in rows]


# What is in line has no time of its own, here and below.
_PUT_BACK = """
    UPDATE deliveries_outbox AS outbox SET lease_token = NULL, attempt = greatest(outbox.attempt - 1, 0),
        due_at = CASE WHEN outbox.due_at IS NOT NULL THEN clock_timestamp() END
    WHERE outbox.delivery_id = ANY($1) AND outbox.lease_token = $2
"""


def putting_back(claims: Sequence[Claim]) -> Steps[None]:
    """Of one lease: as if they had not been claimed."""
    if claims:
        yield _PUT_BACK, [Uuids([claim.delivery_id for claim in claims]), claims[0].token]


def now() -> datetime:
    """The database's time, one for all workers: a receiver refuses what is signed by a clock that is wrong."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]


def is_due() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM deliveries_outbox WHERE due_at <= statement_timestamp())"
            " OR EXISTS (SELECT FROM deliveries_lane WHERE due_at <= statement_timestamp())"
        )
        return cursor.fetchone()[0]


def hold(claims: Sequence[Claim], longest: timedelta) -> dict[uuid.UUID, datetime]:
    """Give claims back unused, to wait for `release`. Returns the deliveries that were still ours, with their time.

    The subscription's own id as the token marks them: no claimer ever draws that.
    """
    if not claims:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE deliveries_outbox AS outbox
            SET due_at = CASE WHEN outbox.due_at IS NOT NULL THEN clock_timestamp() + %s END,
                lease_token = outbox.subscription_id,
                attempt = greatest(outbox.attempt - 1, 0)
            FROM unnest(%s::uuid[], %s::uuid[]) AS ours(delivery_id, token)
            WHERE outbox.delivery_id = ours.delivery_id AND outbox.lease_token = ours.token
            RETURNING outbox.delivery_id, outbox.due_at
            """,
            [longest, [claim.delivery_id for claim in claims], [claim.token for claim in claims]],
        )
        return dict(cursor.fetchall())


def release(subscription_id: uuid.UUID) -> int:
    """Make due what is held for this subscription. Returns how many these were."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE deliveries_outbox
            SET due_at = CASE WHEN due_at IS NOT NULL THEN clock_timestamp() END, lease_token = NULL
            WHERE subscription_id = %s AND lease_token = %s
            """,
            [subscription_id, subscription_id],
        )
        return cursor.rowcount


def still_there(deliveries: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    """Those that have not ended yet: they wait for an attempt, or are under way."""
    if not deliveries:
        return []
    with connection.cursor() as cursor:
        cursor.execute("SELECT delivery_id FROM deliveries_outbox WHERE delivery_id = ANY(%s)", [list(deliveries)])
        return [row[0] for row in cursor.fetchall()]


def count_of(subscription_id: uuid.UUID, limit: int) -> Counted:
    """What waits for one subscription."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM (SELECT FROM deliveries_outbox WHERE subscription_id = %s LIMIT %s) AS waiting",
            [subscription_id, limit + 1],
        )
        number = cursor.fetchone()[0]
    return Counted(min(number, limit), is_exact=number <= limit)


def take_out(subscription_id: uuid.UUID, limit: int) -> list[uuid.UUID]:
    """Remove up to `limit` rows of one subscription, whoever holds their lease: its holder finds itself fenced.

    Rows that another transaction is just writing are passed over: two that wait for each other's rows would deadlock.
    (ARRAY and not IN, here as wherever rows are locked up to a limit: PostgreSQL may look into an IN once a row, and
    each time find others.)
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            DELETE FROM deliveries_outbox WHERE delivery_id = ANY(ARRAY(
                SELECT delivery_id FROM deliveries_outbox WHERE subscription_id = %s LIMIT %s FOR UPDATE SKIP LOCKED
            )) RETURNING delivery_id
            """,
            [subscription_id, limit],
        )
        return [row[0] for row in cursor.fetchall()]


def give_back(claims: Sequence[Claim], due: Sequence[datetime]) -> None:
    """Make rows due at these moments, as if they had not been claimed: no attempt was made."""
    if not claims:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE deliveries_outbox AS outbox
            SET due_at = CASE WHEN outbox.due_at IS NOT NULL THEN ours.due END, lease_token = NULL,
                attempt = greatest(outbox.attempt - 1, 0)
            FROM unnest(%s::uuid[], %s::uuid[], %s::timestamptz[]) AS ours(delivery_id, token, due)
            WHERE outbox.delivery_id = ours.delivery_id AND outbox.lease_token = ours.token
            """,
            [[claim.delivery_id for claim in claims], [claim.token for claim in claims], list(due)],
        )


def pull_forward(subscription_id: uuid.UUID, by: timedelta, limit: int) -> dict[uuid.UUID, datetime]:
    """Let up to `limit` rows of one subscription be due so much earlier, those that are first: each with its time.

    Only those that were never attempted: another's wait may be what its receiver asked for.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH first AS MATERIALIZED (
                SELECT delivery_id FROM deliveries_outbox
                WHERE subscription_id = %s AND attempt = 0 AND lease_token IS NULL AND due_at > clock_timestamp()
                ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED
            )
            UPDATE deliveries_outbox AS outbox SET due_at = greatest(due_at - %s, clock_timestamp())
            FROM first WHERE outbox.delivery_id = first.delivery_id
            RETURNING outbox.delivery_id, outbox.due_at
            """,
            [subscription_id, limit, by],
        )
        return dict(cursor.fetchall())


def make_due(subscription_id: uuid.UUID) -> uuid.UUID | None:
    """Let what is due first of one subscription be due now; None where nothing waits, or all of it is under way.

    What is in line is not meant: `lanes.make_due`.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE deliveries_outbox SET due_at = clock_timestamp() WHERE delivery_id = (
                SELECT delivery_id FROM deliveries_outbox
                WHERE subscription_id = %s AND lease_token IS NULL AND due_at IS NOT NULL
                ORDER BY due_at, delivery_id LIMIT 1 FOR UPDATE SKIP LOCKED
            ) RETURNING delivery_id
            """,
            [subscription_id],
        )
        row = cursor.fetchone()
    return row[0] if row else None
