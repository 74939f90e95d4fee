"""The pull queue's statements: those of the outbox that are not about sending, and the two of polling."""

import uuid
from collections.abc import Sequence

from django.db import connection

from deliveries import lines
from deliveries.keeping import New, columns, keeping
from deliveries.lines import only
from deliveries.outbox import Counted

_PUT = f"""
    {keeping("NULL")}
    INSERT INTO deliveries_pullqueue (delivery_id, tenant_id, subscription_id)
    SELECT id, tenant_id, subscription_id FROM row
"""  # noqa: S608 (a constant)


def put(deliveries: Sequence[New]) -> None:
    """Keep deliveries and their rows here, in the caller's transaction and scope."""
    if deliveries:
        lines.run(only(_PUT, columns(deliveries)))


def first(subscription_id: uuid.UUID, limit: int) -> list[tuple[uuid.UUID, int | None]]:
    """(delivery, place) of what is next: first what was handed out already, in that order, then by id."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT delivery_id, place FROM deliveries_pullqueue WHERE subscription_id = %s
            ORDER BY place, delivery_id LIMIT %s
            """,
            [subscription_id, limit],
        )
        return cursor.fetchall()


def give_places(places: dict[uuid.UUID, int]) -> None:
    if not places:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE deliveries_pullqueue AS queue SET place = new.place
            FROM unnest(%s::uuid[], %s::bigint[]) AS new (delivery_id, place)
            WHERE queue.delivery_id = new.delivery_id
            """,
            [list(places), list(places.values())],
        )


def take_acknowledged(subscription_id: uuid.UUID, place: int) -> list[uuid.UUID]:
    """Remove what was handed out up to `place`."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM deliveries_pullqueue WHERE subscription_id = %s AND place <= %s RETURNING delivery_id",
            [subscription_id, place],
        )
        return [row[0] for row in cursor.fetchall()]


def remove(deliveries: Sequence[uuid.UUID]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM deliveries_pullqueue WHERE delivery_id = ANY(%s)", [list(deliveries)])


def remove_older(tenant_id: uuid.UUID, bound: uuid.UUID) -> int:
    """Remove a tenant's rows whose deliveries were made before. Returns how many."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM deliveries_pullqueue WHERE tenant_id = %s AND delivery_id < %s", [tenant_id, bound])
        return cursor.rowcount


def still_there(deliveries: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    """Those that are not acknowledged yet."""
    if not deliveries:
        return []
    with connection.cursor() as cursor:
        cursor.execute("SELECT delivery_id FROM deliveries_pullqueue WHERE delivery_id = ANY(%s)", [list(deliveries)])
        return [row[0] for row in cursor.fetchall()]


def count_of(subscription_id: uuid.UUID, limit: int) -> Counted:
    """The backlog of one subscription."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM (SELECT FROM deliveries_pullqueue WHERE subscription_id = %s LIMIT %s) AS waiting",
            [subscription_id, limit + 1],
        )
        number = cursor.fetchone()[0]
    return Counted(min(number, limit), is_exact=number <= limit)


def take_out(subscription_id: uuid.UUID, limit: int) -> list[uuid.UUID]:
    """Remove up to `limit` rows of one subscription; what was handed out can still be processed by its receiver."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            DELETE FROM deliveries_pullqueue WHERE delivery_id = ANY(ARRAY(
                SELECT delivery_id FROM deliveries_pullqueue WHERE subscription_id = %s LIMIT %s FOR UPDATE SKIP LOCKED
            )) RETURNING delivery_id
            """,
            [subscription_id, limit],
        )
        return [row[0] for row in cursor.fetchall()]
