"""The outbox's statements: put deliveries in, claim what is due, finish it, put it off; take out, count.

Each runs on the database's clock and none waits for another worker. The lease token fences: a statement that
does not hold the row's present token changes nothing.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection

# Longer than any request may take, waiting for its turn included.
LEASE = timedelta(seconds=settings.DELIVERY_LEASE_SECONDS)


@dataclass(frozen=True)
class Claim:
    """One delivery, ours for LEASE: attempt number `attempt` is to be made now."""

    delivery_id: uuid.UUID
    attempt: int
    token: uuid.UUID


@dataclass(frozen=True)
class Counted:
    """So many; at least so many where `is_exact` is false, because counting had to stop."""

    count: int
    is_exact: bool


def put(rows: Sequence[tuple[uuid.UUID, uuid.UUID, uuid.UUID]]) -> None:
    """Rows that are due now, given as (delivery, tenant, subscription)."""
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO deliveries_outbox (delivery_id, tenant_id, subscription_id, due_at, attempt)
            SELECT delivery_id, tenant_id, subscription_id, clock_timestamp(), 0
            FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[]) AS new (delivery_id, tenant_id, subscription_id)
            """,
            [list(column) for column in zip(*rows, strict=True)],
        )


def claim(limit: int) -> list[Claim]:
    """Lease up to `limit` due rows and count their attempt. Short: commit before sending anything."""
    token = uuid.uuid4()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH due AS (
                SELECT delivery_id FROM deliveries_outbox WHERE due_at <= clock_timestamp()
                ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED
            )
            UPDATE deliveries_outbox AS outbox
            SET lease_token = %s, due_at = clock_timestamp() + %s, attempt = least(attempt::int + 1, 32767)
            FROM due WHERE outbox.delivery_id = due.delivery_id
            RETURNING outbox.delivery_id, outbox.attempt
            """,
            [limit, token, LEASE],
        )
        return [Claim(delivery_id, attempt, token) for delivery_id, attempt in cursor.fetchall()]


def now() -> datetime:
    """The database's time, one for all workers: a receiver refuses what is signed by a clock that is wrong."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]


def is_due() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM deliveries_outbox WHERE due_at <= clock_timestamp())")
        return cursor.fetchone()[0]


def finish(claims: Sequence[Claim]) -> set[uuid.UUID]:
    """Remove done rows. Returns the deliveries that were still ours."""
    if not claims:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            DELETE FROM deliveries_outbox AS outbox
            USING unnest(%s::uuid[], %s::uuid[]) AS ours(delivery_id, token)
            WHERE outbox.delivery_id = ours.delivery_id AND outbox.lease_token = ours.token
            RETURNING outbox.delivery_id
            """,
            [[claim.delivery_id for claim in claims], [claim.token for claim in claims]],
        )
        return {row[0] for row in cursor.fetchall()}


def put_off(claims: Sequence[Claim], delays: Sequence[float]) -> dict[uuid.UUID, datetime]:
    """Make rows due again after `delays` seconds. Returns the deliveries that were still ours, with their time."""
    if not claims:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE deliveries_outbox AS outbox
            SET due_at = clock_timestamp() + make_interval(secs => ours.delay), lease_token = NULL
            FROM unnest(%s::uuid[], %s::uuid[], %s::float8[]) AS ours(delivery_id, token, delay)
            WHERE outbox.delivery_id = ours.delivery_id AND outbox.lease_token = ours.token
            RETURNING outbox.delivery_id, outbox.due_at
            """,
            [
                [claim.delivery_id for claim in claims],
                [claim.token for claim in claims],
                list(delays),
            ],
        )
        return dict(cursor.fetchall())


def still_there(deliveries: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    """Those that have not ended yet: they wait for an attempt, or are under way."""
    if not deliveries:
        return []
    with connection.cursor() as cursor:
        cursor.execute("SELECT delivery_id FROM deliveries_outbox WHERE delivery_id = ANY(%s)", [list(deliveries)])
        return [row[0] for row in cursor.fetchall()]


def count_of(subscription_id: uuid.UUID, limit: int) -> Counted:
    """What waits for one subscription. The table is small, so it has no index for this."""
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
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            DELETE FROM deliveries_outbox WHERE delivery_id IN (
                SELECT delivery_id FROM deliveries_outbox WHERE subscription_id = %s LIMIT %s FOR UPDATE SKIP LOCKED
            ) RETURNING delivery_id
            """,
            [subscription_id, limit],
        )
        return [row[0] for row in cursor.fetchall()]
