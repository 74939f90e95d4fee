"""Lines of one subscription each, whose messages are sent one after another: in order (B9), or in batches (T6).

    routing ──▶ outbox rows without a time + the lane's row, due now or in five seconds
    claim   ──▶ lease the lane, then the head of its line: one delivery, or a batch
    result  ──▶ ended: the rows leave the outbox, the lane is due at once if more waits
                failed: the rows stay at the head, the lane is due when the policy says

Nothing is locked from one statement to the next. A lease and its token fence the lane as they fence the outbox's rows;
and who finds a line empty only believes it if the lane's count of what came in has not moved since before he looked.

A batch that is tried again holds the same deliveries: those that were tried, which are at the head of the line.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID, uuid4

from deliveries.lines import Steps
from deliveries.outbox import LEASE, Claim
from events.columns import Integers, Moments, Texts, Uuids
from subscriptions import flow
from subscriptions.models import Subscription

__all__ = ["Head", "claiming", "joining", "leaving"]


class Head(NamedTuple):
    """What stands at the head of one lane, leased: the deliveries of one message. `added` is from before the look."""

    subscription_id: UUID
    tenant_id: UUID
    token: UUID
    added: int
    is_whole: bool  # as many as one message holds: more may wait
    claims: tuple[Claim, ...]


_JOIN = """
    WITH joined AS (
        INSERT INTO deliveries_outbox (delivery_id, tenant_id, subscription_id, due_at, attempt)
        SELECT delivery_id, tenant_id, subscription_id, NULL, 0
        FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS new (delivery_id, tenant_id, subscription_id)
    )
    INSERT INTO deliveries_lane AS lane (subscription_id, tenant_id, due_at, added, events, wait)
    SELECT subscription_id, tenant_id, clock_timestamp() + make_interval(secs => wait::float8), added, events, wait::float8
    FROM unnest($4::uuid[], $5::uuid[], $6::int[], $7::int[], $8::text[])
        AS new (subscription_id, tenant_id, added, events, wait)
    ORDER BY subscription_id
    ON CONFLICT (subscription_id) DO UPDATE SET added = lane.added + excluded.added, events = excluded.events,
        wait = excluded.wait, due_at = coalesce(lane.due_at, excluded.due_at)
"""
_CLAIM = """
    WITH due AS (
        SELECT subscription_id FROM deliveries_lane
        WHERE due_at <= statement_timestamp() AND tenant_id <> ALL($4) AND subscription_id <> ALL($5)
        ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
    )
    UPDATE deliveries_lane AS lane SET lease_token = $2, due_at = clock_timestamp() + make_interval(secs => $3)
    FROM due WHERE lane.subscription_id = due.subscription_id
    RETURNING lane.subscription_id, lane.tenant_id, lane.added, lane.events
"""
# Those that were tried are a message that has its number already: nobody joins it.
_HEADS = """
    WITH head AS (
        SELECT mine.delivery_id
        FROM deliveries_lane AS lane, LATERAL (
            SELECT delivery_id, attempt, first_value(attempt) OVER (ORDER BY delivery_id) AS first_attempt FROM (
                SELECT delivery_id, attempt FROM deliveries_outbox
                WHERE subscription_id = lane.subscription_id AND due_at IS NULL ORDER BY delivery_id LIMIT lane.events
            ) AS waiting
        ) AS mine
        WHERE lane.subscription_id = ANY($1) AND lane.lease_token = $2
            AND (mine.attempt > 0 OR mine.first_attempt = 0)
    )
    UPDATE deliveries_outbox AS outbox SET lease_token = $2, attempt = least(outbox.attempt::int + 1, 32767)
    FROM head WHERE outbox.delivery_id = head.delivery_id
    RETURNING outbox.delivery_id, outbox.attempt, outbox.tenant_id, outbox.subscription_id
"""
_LEAVE = """
    UPDATE deliveries_lane AS lane SET lease_token = NULL, due_at = CASE
        WHEN ours.at IS NOT NULL THEN ours.at
        WHEN ours.more = 1 OR lane.added <> ours.added::bigint THEN clock_timestamp() END
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::int[], $5::timestamptz[]) AS ours (id, token, added, more, at)
    WHERE lane.subscription_id = ours.id AND lane.lease_token = ours.token
"""


def joining(rows: Sequence[tuple[UUID, Subscription]]) -> Steps[None]:
    """Let deliveries of subscriptions that are sent in line wait in their lanes. In the caller's transaction."""
    lanes: dict[UUID, tuple[Subscription, int]] = {}
    for _, subscription in rows:
        lanes[subscription.pk] = subscription, lanes.get(subscription.pk, (subscription, 0))[1] + 1
    them = list(lanes.values())
    yield (
        _JOIN,
        [
            Uuids([pk for pk, _ in rows]),
            Uuids([one.tenant_id for _, one in rows]),
            Uuids([one.pk for _, one in rows]),
            Uuids([one.pk for one, _ in them]),
            Uuids([one.tenant_id for one, _ in them]),
            Integers([count for _, count in them]),
            Integers([one.way.events for one, _ in them]),
            Texts([str(flow.BATCH_SECONDS if one.way.name == flow.BATCHED else 0) for one, _ in them]),
        ],
    )


def claiming(limit: int, tenants: Sequence[UUID] = (), subscriptions: Sequence[UUID] = ()) -> Steps[list[Head]]:
    """Lease up to `limit` due lanes, none of these tenants and subscriptions, and the heads of their lines."""
    token = uuid4()
    lanes = yield _CLAIM, [limit, token, LEASE.total_seconds(), Uuids(tenants), Uuids(subscriptions)]
    if not lanes:
        return []
    rows = yield _HEADS, [Uuids([lane[0] for lane in lanes]), token]
    claims: dict[UUID, list[Claim]] = {lane[0]: [] for lane in lanes}
    for delivery_id, attempt, tenant_id, subscription_id in rows:
        claims[subscription_id].append(Claim(delivery_id, attempt, token, tenant_id, subscription_id))
    heads = [
        Head(
            subscription_id,
            tenant_id,
            token,
            added,
            len(claims[subscription_id]) >= events,
            tuple(sorted(claims[subscription_id])),
        )
        for subscription_id, tenant_id, added, events in lanes
    ]
    yield from leaving([(head, None) for head in heads if not head.claims])
    return [head for head in heads if head.claims]


def leaving(lefts: Iterable[tuple[Head, datetime | None]]) -> Steps[None]:
    """Give lanes back, where they are still ours: due again at that time, or at once if more waits, or not at all."""
    heads = list(lefts)
    if not heads:
        return
    yield (
        _LEAVE,
        [
            Uuids([head.subscription_id for head, _ in heads]),
            Uuids([head.token for head, _ in heads]),
            Texts([str(head.added) for head, _ in heads]),
            Integers([int(head.is_whole) for head, _ in heads]),
            Moments([at for _, at in heads]),
        ],
    )
