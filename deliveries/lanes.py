"""Lines of one subscription each, whose messages are sent one after another: in order (B9), or in batches (T6).

    routing ──▶ outbox rows without a time + the lane's row, due now or in five seconds
    claim   ──▶ lease the lane, then the head of its line: one delivery, or a batch
    result  ──▶ ended: the rows leave the outbox, the lane is due at once if more waits
                failed: the rows stay at the head, the lane is due when the policy says

Nothing is locked from one statement to the next. A lease and its token fence the lane as they fence the outbox's rows;
and who finds a line empty only believes it if the lane's count of what came in has not moved since before he looked.

A batch that is tried again holds the same deliveries: those that were tried, which are at the head of the line.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import UUID, uuid4

from deliveries import lines
from deliveries.keeping import New, columns, keeping
from deliveries.lines import Steps, only
from deliveries.outbox import LEASE, Claim
from events.columns import Floats, Integers, Texts, Uuids
from subscriptions.flow import BATCH_SECONDS, BATCHED
from subscriptions.models import Subscription


class Head(NamedTuple):
    """What stands at the head of one lane, leased: the deliveries of one message. `added` is from before the look."""

    subscription_id: UUID
    tenant_id: UUID
    token: UUID
    added: int
    may_be_more: bool  # behind it: it is full, or holds only those that were tried together before
    claims: tuple[Claim, ...]

    def only(self, claims: Iterable[Claim]) -> "Head":
        """With these alone: the others stay in the line behind it."""
        kept = tuple(claims)
        return self._replace(claims=kept, may_be_more=self.may_be_more or kept != self.claims)


_PUT = f"""
    {keeping("NULL")}, joined AS (
        INSERT INTO deliveries_outbox (delivery_id, tenant_id, subscription_id, due_at, attempt)
        SELECT id, tenant_id, subscription_id, NULL, 0 FROM row
    )
    INSERT INTO deliveries_lane AS lane (subscription_id, tenant_id, due_at, added, events, wait)
    SELECT subscription_id, tenant_id, clock_timestamp() + make_interval(secs => wait), added, events, wait
    FROM unnest($11::uuid[], $12::uuid[], $13::int[], $14::int[], $15::float8[])
        AS new (subscription_id, tenant_id, added, events, wait)
    ORDER BY subscription_id
    ON CONFLICT (subscription_id) DO UPDATE SET added = lane.added + excluded.added, events = excluded.events,
        wait = excluded.wait, due_at = coalesce(lane.due_at, excluded.due_at)
"""  # noqa: S608 (constants)
_CLAIM = """
    WITH due AS (
        SELECT subscription_id FROM deliveries_lane
        WHERE due_at <= statement_timestamp() AND tenant_id <> ALL($4) AND subscription_id <> ALL($5)
        ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
    )
    UPDATE deliveries_lane AS lane SET lease_token = $2, due_at = clock_timestamp() + make_interval(secs => $3)
    WHERE lane.subscription_id = ANY(ARRAY(SELECT subscription_id FROM due))
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
    WHERE outbox.delivery_id = ANY(ARRAY(SELECT delivery_id FROM head))
    RETURNING outbox.delivery_id, outbox.attempt, outbox.tenant_id, outbox.subscription_id
"""
_RESIZE = "UPDATE deliveries_lane SET events = $2 WHERE subscription_id = ANY($1)"
# A lane waits for the sake of those at its head that were tried.
_HURRY = """
    UPDATE deliveries_lane AS lane SET due_at = clock_timestamp()
    WHERE lane.subscription_id = ANY($1) AND lane.lease_token IS NULL AND lane.due_at > clock_timestamp()
        AND NOT EXISTS (
            SELECT FROM deliveries_outbox WHERE subscription_id = ANY($1) AND due_at IS NULL AND attempt > 0
        )
"""
_MAKE_DUE = """
    WITH head AS (
        SELECT delivery_id, subscription_id FROM deliveries_outbox
        WHERE subscription_id = $1 AND due_at IS NULL ORDER BY delivery_id LIMIT 1
    )
    UPDATE deliveries_lane AS lane SET due_at = clock_timestamp() FROM head
    WHERE lane.subscription_id = ANY(ARRAY[head.subscription_id]) AND lane.lease_token IS NULL
    RETURNING head.delivery_id
"""
_LEAVE = """
    UPDATE deliveries_lane AS lane SET lease_token = NULL, due_at = CASE
        WHEN ours.wait >= 0 THEN clock_timestamp() + make_interval(secs => ours.wait)
        WHEN ours.more = 1 OR lane.added <> ours.added::bigint THEN clock_timestamp() END
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::int[], $5::float8[]) AS ours (id, token, added, more, wait)
    WHERE lane.subscription_id = ANY(ARRAY[ours.id]) AND lane.lease_token = ours.token
"""


def put(made: Sequence[tuple[New, Subscription]]) -> None:
    """Keep deliveries and let them wait in their lanes, in the caller's transaction and scope."""
    if not made:
        return
    counts = Counter(subscription.pk for _, subscription in made)
    them = list({subscription.pk: subscription for _, subscription in made}.values())
    waits = [BATCH_SECONDS if one.sending_mode.name == BATCHED else 0.0 for one in them]
    lanes = [
        Uuids([one.pk for one in them]),
        Uuids([one.tenant_id for one in them]),
        Integers([counts[one.pk] for one in them]),
        Integers([one.sending_mode.events for one in them]),
        Floats(waits),
    ]
    lines.run(only(_PUT, [*columns([new for new, _ in made]), *lanes]))


def there_are_some() -> Steps[bool]:
    rows = yield "SELECT EXISTS (SELECT FROM deliveries_lane)", []
    return bool(rows[0][0])


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
    heads = []
    for subscription_id, tenant_id, added, events in lanes:
        mine = tuple(sorted(claims[subscription_id]))
        may_be_more = len(mine) >= events or any(claim.attempt > 1 for claim in mine)
        heads.append(Head(subscription_id, tenant_id, token, added, may_be_more, mine))
    yield from leaving([(head, None) for head in heads if not head.claims])
    return [head for head in heads if head.claims]


def resizing(subscription_id: UUID, events: int) -> Steps[None]:
    """So many events make a message from now on."""
    yield _RESIZE, [Uuids([subscription_id]), events]


def hurry(subscription_id: UUID) -> None:
    """Something was taken out of its line: what is behind it need not wait for that to be tried again."""
    lines.run(only(_HURRY, [Uuids([subscription_id])]))


def make_due(subscription_id: UUID) -> UUID | None:
    """Let the line's head be tried now: its delivery. None where nobody waits, or a message is under way."""
    rows = lines.run(only(_MAKE_DUE, [subscription_id]))
    return rows[0][0] if rows else None


def leaving(lefts: Iterable[tuple[Head, float | None]]) -> Steps[None]:
    """Give lanes back, where they are still ours: due again in so many seconds; None: at once if more waits, else when
    something comes.
    """
    heads = list(lefts)
    if not heads:
        return
    yield (
        _LEAVE,
        [
            Uuids([head.subscription_id for head, _ in heads]),
            Uuids([head.token for head, _ in heads]),
            Texts([str(head.added) for head, _ in heads]),
            Integers([int(head.may_be_more) for head, _ in heads]),
            Floats([-1.0 if wait is None else wait for _, wait in heads]),
        ],
    )


_FOLLOW = """
    WITH row AS MATERIALIZED (
        SELECT * FROM unnest($1::uuid[]) AS row (delivery_id)
    ), ended AS (
        DELETE FROM deliveries_outbox AS outbox USING row
        WHERE $3::float8 < 0 AND outbox.delivery_id = ANY(ARRAY[row.delivery_id]) AND outbox.lease_token = $2
        RETURNING row.delivery_id
    ), stayed AS (
        UPDATE deliveries_outbox AS outbox SET lease_token = NULL FROM row
        WHERE $3::float8 >= 0 AND outbox.delivery_id = ANY(ARRAY[row.delivery_id]) AND outbox.lease_token = $2
        RETURNING row.delivery_id
    ), ours AS (
        SELECT * FROM ended UNION ALL SELECT * FROM stayed
    )
    UPDATE deliveries_delivery AS delivery
    SET status = $4, reason = $5, attempt_count = $6, last_status_code = $7, batch = $8,
        next_attempt_at = CASE WHEN $3 >= 0 THEN clock_timestamp() + make_interval(secs => $3) END,
        completed_at = CASE WHEN $3 < 0 THEN clock_timestamp() END
    FROM ours WHERE delivery.id = ours.delivery_id AND delivery.status = 'pending' AND delivery.id BETWEEN $9 AND $10
    RETURNING delivery.id
"""
_MARK = "UPDATE deliveries_delivery SET batch = id WHERE id = $1"


def following(
    lead: UUID,
    others: Sequence[Claim],
    wait: float | None,
    status: str,
    reason: str,
    attempt: int,
    status_code: int | None,
) -> Steps[bool]:
    """What came of a batch holds for all of it; its attempt stands with the first, `lead`. `wait` is in seconds.

    Returns whether any of the others was still ours.
    """
    ids = [claim.delivery_id for claim in others]
    again = -1.0 if wait is None else wait
    given = [again, status, reason, attempt, status_code, lead, min(ids), max(ids)]
    followed = yield _FOLLOW, [Uuids(ids), others[0].token, *given]
    if followed:
        yield _MARK, [lead]
    return bool(followed)
