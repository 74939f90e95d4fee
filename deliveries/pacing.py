"""The limits that a subscription sets: so many messages a minute, so many under way at once; over all workers.

Asked after a claim, for those alone that have a limit. What is beyond it is given back, without having used up an
attempt, to a moment at which there may be room. The rate is the generic cell rate algorithm's (`Pace`), with a burst
of one second's worth.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import connection

from deliveries import outbox
from deliveries.lane_models import Pace
from subscriptions.flow import BURST_SECONDS, interval
from subscriptions.models import Subscription

if TYPE_CHECKING:
    from deliveries.sending import Sending

CROWDED = timedelta(seconds=0.1)  # until somebody looks whether one of those under way has ended
LOOKED_AT = 10  # times as many as may be under way are looked at then: the others stand in line behind them
BURST = timedelta(seconds=BURST_SECONDS)


def is_limited(sending: "Sending") -> bool:
    return sending.subscription.is_limited


def pace(sendings: "Sequence[Sending]", together: "Sequence[UUID]" = ()) -> "dict[UUID, datetime]":
    """By delivery, until when those have to wait that may not leave now. In the caller's transaction.

    `together` are the deliveries of the one message that is asked about.
    """
    limited = sorted((one for one in sendings if is_limited(one)), key=lambda one: one.claim.delivery_id)
    if not limited:
        return {}
    by_id = {one.subscription.pk: one.subscription for one in limited}
    rested = outbox.now() - BURST
    new = [Pace(subscription=one, tenant_id=one.tenant_id, next_at=rested) for _, one in sorted(by_id.items())]
    Pace.objects.bulk_create(new, ignore_conflicts=True)
    rows = {row.pk: row for row in Pace.objects.filter(pk__in=by_id).order_by("pk").select_for_update()}
    at = outbox.now()
    waits: dict[UUID, datetime] = {}
    for pk, subscription in by_id.items():
        mine = [one.claim.delivery_id for one in limited if one.subscription.pk == pk]
        waits |= _of_one(rows[pk], subscription, mine, together or mine, at)
    Pace.objects.bulk_update(rows.values(), ["next_at", "line_end"])
    return waits


def _of_one(
    row: Pace, subscription: Subscription, deliveries: list[UUID], own: Iterable[UUID], at: datetime
) -> dict[UUID, datetime]:
    waits: dict[UUID, datetime] = {}
    if subscription.max_in_flight is not None:
        free = max(0, subscription.max_in_flight - _under_way(subscription.pk, own))
        between = CROWDED / (LOOKED_AT * subscription.max_in_flight)
        slot = max(at + CROWDED, (row.line_end or at) + between)
        for pk in deliveries[free:]:
            waits[pk] = row.line_end = slot
            slot += between
        deliveries = deliveries[:free]
    if subscription.max_per_minute is not None:
        between = timedelta(seconds=interval(subscription.max_per_minute))
        slot = max(row.next_at, at - BURST)
        for pk in deliveries:
            if slot <= at:
                row.next_at = slot + between
            else:
                waits[pk] = slot
            slot += between
    return waits


def _under_way(subscription_id: UUID, but: Iterable[UUID]) -> int:
    """Leased rows, that is requests; what is held for a challenge is marked by the subscription's own id."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM deliveries_outbox WHERE subscription_id = %s AND lease_token IS NOT NULL"
            " AND lease_token <> subscription_id AND (due_at IS NULL OR due_at > clock_timestamp())"
            " AND delivery_id <> ALL(%s)",
            [subscription_id, list(but)],
        )
        return cursor.fetchone()[0]
