"""A receiver that is down is left alone: it parks its subscription and not the worker.

`subscriptions.failing` has the rules; here they are asked, and what they say is written.

- `parking`, after a claim, in one statement: what may not be sent now is put off without having used up an attempt.
  Whether there is anything to ask is known from the row that came along with the delivery, so a receiver that is well
  costs nothing.
- `record`, with the results and in their transaction: failures and successes, in the order in which they came. One
  look at the rows of the batch's subscriptions; nothing is written for who is well.
- `clearing`, where that opened a breaker: what is due by then is put off where it stands. Claiming thousands of rows
  to find that each is to be parked would keep everybody else's waiting behind them.
- `try_now`: a person asks.

The state is in PostgreSQL and on its clock, so it holds across processes. Rows are locked in the order of their keys,
before the subscription's.

Tests, confirmation links and challenges are never parked: people wait for them, and they are few. A test counts like an
event, links and challenges do not: nothing can be said to fail that has not been agreed to. Nor does what could not be
sent by our own fault.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import connection, transaction

from deliveries import lanes, lines, outbox
from deliveries.lines import Steps
from deliveries.models import Delivery
from events.columns import Moments, Uuids
from events.wakeup import DISPATCH, wake_on_commit
from subscriptions import news
from subscriptions.failing import BACKLOG_PER_SECOND, DISABLED_AFTER, RETRY_WHILE_PROBING, Failing
from subscriptions.failing_mail import in_days
from subscriptions.models import Subscription, WrongState
from subscriptions.policies import Decision

if TYPE_CHECKING:
    from deliveries.sending import Sending

BETWEEN = 1 / BACKLOG_PER_SECOND  # seconds from one that was put off to the next
MAX_PULLED = 10_000  # at once: who asks waits for it, and the next of a longer line come in their turn
CLEARED_AT_ONCE = 200  # about ten milliseconds
UNSENDABLE = "unsendable"
COUNTED = (Delivery.Kind.EVENT, Delivery.Kind.TEST)
# A receiver that asks for patience, or has not heard the question to its end, is not one that refuses the message.
IMPATIENT = frozenset({408, 425, 429})
WRITTEN = [field.name for field in Failing._meta.concrete_fields if field.name not in ("subscription", "tenant")]


# `rank` is among those of one subscription: the first is the probe, where one is called for. The outbox's rows come
# after the failing ones here: they are claimed, and whoever looks at them meanwhile passes them over.
_PARK = f"""
    WITH asked AS MATERIALIZED (
        SELECT asked.*, row_number() OVER (PARTITION BY subscription_id ORDER BY delivery_id) AS rank
        FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[])
            AS asked (delivery_id, token, subscription_id, state_changed_at)
    ), failing AS MATERIALIZED (
        SELECT subscription_id, state_changed_at, open_until,
            greatest(open_until, clock_timestamp() + interval '{RETRY_WHILE_PROBING.total_seconds()} s',
                line_end + interval '{BETWEEN} s') AS begins,
            CASE WHEN open_until <= clock_timestamp() AND coalesce(probe_until <= clock_timestamp(), true)
                THEN 1 ELSE 0 END AS probes
        FROM subscriptions_failing WHERE subscription_id = ANY($5) AND opened_at IS NOT NULL
        ORDER BY subscription_id FOR UPDATE
    ), judged AS MATERIALIZED (
        SELECT asked.delivery_id, asked.token, failing.subscription_id, rank <= probes AS is_probe,
            begins + (rank - probes - 1) * interval '{BETWEEN} s' AS due
        FROM asked JOIN failing USING (subscription_id, state_changed_at)
    ), noted AS (
        UPDATE subscriptions_failing AS failing SET line_end = coalesce(last, line_end),
            probe = coalesce(probing, probe), probe_until = CASE WHEN probing IS NULL THEN probe_until
                ELSE clock_timestamp() + make_interval(secs => $8) END
        FROM (
            SELECT subscription_id, max(due) FILTER (WHERE NOT is_probe) AS last,
                (array_agg(delivery_id) FILTER (WHERE is_probe))[1] AS probing
            FROM judged GROUP BY subscription_id
        ) AS now WHERE failing.subscription_id = ANY(ARRAY[now.subscription_id])
    ), put_off AS (
        UPDATE deliveries_outbox AS outbox SET lease_token = NULL, attempt = greatest(outbox.attempt - 1, 0),
            due_at = CASE WHEN outbox.due_at IS NOT NULL THEN judged.due END
        FROM judged
        WHERE NOT is_probe AND outbox.delivery_id = ANY(ARRAY[judged.delivery_id])
            AND outbox.lease_token = judged.token
        RETURNING outbox.delivery_id, judged.due
    ), said AS (
        UPDATE deliveries_delivery AS delivery SET next_attempt_at = put_off.due FROM put_off
        WHERE delivery.id = put_off.delivery_id AND delivery.status = 'pending' AND delivery.id BETWEEN $6 AND $7
    )
    SELECT delivery_id FROM judged WHERE NOT is_probe
"""  # noqa: S608 (constants)


# What is due of one subscription, and nobody's. Those that may be parked are put off as `_PARK` does it.
_DUE = """
    SELECT delivery_id FROM deliveries_outbox
    WHERE subscription_id = $1 AND due_at <= statement_timestamp() AND lease_token IS NULL ORDER BY due_at LIMIT $2
"""
_CLEAR = f"""
    WITH failing AS MATERIALIZED (
        SELECT subscription_id, greatest(open_until, line_end + interval '{BETWEEN} s') AS begins
        FROM subscriptions_failing AS failing WHERE subscription_id = $1 AND open_until > clock_timestamp()
            AND EXISTS (
                SELECT FROM subscriptions_subscription AS subscription
                WHERE subscription.id = $1 AND subscription.state_changed_at = failing.state_changed_at
            )
        FOR UPDATE
    ), due AS MATERIALIZED (
        SELECT outbox.delivery_id, outbox.due_at, failing.begins
        FROM failing JOIN deliveries_outbox AS outbox ON outbox.subscription_id = ANY(ARRAY[failing.subscription_id])
        JOIN deliveries_delivery AS delivery ON delivery.id = outbox.delivery_id
        WHERE outbox.delivery_id = ANY($2) AND outbox.due_at <= statement_timestamp() AND outbox.lease_token IS NULL
            AND delivery.kind = '{Delivery.Kind.EVENT}' AND delivery.id BETWEEN $3 AND $4
        FOR UPDATE OF outbox SKIP LOCKED
    ), judged AS MATERIALIZED (
        SELECT delivery_id, begins + (row_number() OVER (ORDER BY due_at) - 1) * interval '{BETWEEN} s' AS due FROM due
    ), noted AS (
        UPDATE subscriptions_failing AS failing SET line_end = last
        FROM (SELECT max(due) AS last FROM judged) AS now WHERE failing.subscription_id = $1 AND last IS NOT NULL
    ), put_off AS (
        UPDATE deliveries_outbox AS outbox SET due_at = judged.due FROM judged
        WHERE outbox.delivery_id = ANY(ARRAY[judged.delivery_id])
        RETURNING outbox.delivery_id, judged.due
    ), said AS (
        UPDATE deliveries_delivery AS delivery SET next_attempt_at = put_off.due FROM put_off
        WHERE delivery.id = put_off.delivery_id AND delivery.status = 'pending' AND delivery.id BETWEEN $3 AND $4
    )
    SELECT count(*) FROM judged
"""  # noqa: S608 (constants)


def park(sendings: "Sequence[Sending]") -> "list[Sending]":
    """Those that may be sent now; the others are put off until their place in the line. In the caller's transaction."""
    return lines.run(parking(sendings))


def parking(sendings: "Sequence[Sending]") -> "Steps[list[Sending]]":
    """The same, as steps: one statement."""
    asked = [one for one in sendings if may_be_parked(one)]
    if not asked:
        return list(sendings)
    ids = [one.claim.delivery_id for one in asked]
    subscriptions = [one.subscription.pk for one in asked]
    columns = [
        Uuids(ids),
        Uuids([one.claim.token for one in asked]),
        Uuids(subscriptions),
        Moments([one.subscription.state_changed_at for one in asked]),
        Uuids(list(set(subscriptions))),
    ]
    rows = yield _PARK, [*columns, min(ids), max(ids), outbox.LEASE.total_seconds()]
    parked = {row[0] for row in rows}
    return [one for one in sendings if one.claim.delivery_id not in parked]


def clearing(subscription_id: UUID) -> "Steps[bool]":
    """Put off the first of what is due to a receiver that is spared. Returns whether there may be more."""
    ids = [row[0] for row in (yield _DUE, [subscription_id, CLEARED_AT_ONCE])]
    if not ids:
        return False
    rows = yield _CLEAR, [subscription_id, Uuids(ids), min(ids), max(ids)]
    return len(ids) == CLEARED_AT_ONCE and rows[0][0] > 0


def record(decided: "Iterable[tuple[Sending, Decision]]", at: datetime | None = None) -> set[UUID]:
    """What came of these requests, in their order, each still its worker's own. In the caller's transaction.

    Returns the subscriptions whose breaker opened.
    """
    counted = [(sending, decision) for sending, decision in decided if _counts(sending)]
    if not counted:
        return set()
    latest = {sending.subscription.pk: sending for sending, _ in counted}
    rows = _locked(latest)
    failed = {sending.subscription.pk for sending, decision in counted if _has_failed(sending, decision)}
    if not rows and not failed:
        return set()
    at = at or outbox.now()
    rows |= _begun([latest[pk] for pk in failed - rows.keys()], at)
    spared = {pk: row.open_until for pk, row in rows.items()}
    well: set[UUID] = set()
    for sending, decision in counted:
        _note(rows, well, sending, decision, at)
    Failing.objects.filter(pk__in=well).delete()
    for row in (rows[pk] for pk in well if pk in rows):
        if row.open_until is not None and row.open_until > at:
            _pull_forward(row.pk, row.open_until - at)
    troubled = [row for pk, row in rows.items() if pk not in well]
    _write(troubled)
    for row in troubled:
        if row.pk in failed:
            _take_step(row, latest[row.pk].subscription, at)
    return {row.pk for row in troubled if row.open_until is not None and row.open_until != spared[row.pk]}


@transaction.atomic
def try_now(subscription: Subscription, at: datetime | None = None) -> UUID:
    """End the cool-down, and send what waits longest as the probe: its delivery. Raises WrongState."""
    row = _locked([subscription.pk]).get(subscription.pk)
    if row is None or row.opened_at is None or row.state_changed_at != subscription.state_changed_at:
        raise WrongState("Its receiver is not being spared: what is due is sent.")
    at = at or outbox.now()
    if row.open_until > at:
        _pull_forward(row.pk, row.open_until - at)
    if (delivery := lanes.make_due(subscription.pk) or outbox.make_due(subscription.pk)) is None:
        raise WrongState("Nothing waits for this subscription: what comes next is sent when the cool-down is over.")
    row.try_now(at)
    row.save(update_fields=["open_until", "probe", "probe_until", "line_end"])
    wake_on_commit(DISPATCH)
    return delivery


def may_be_parked(sending: "Sending") -> bool:
    trouble = sending.subscription.trouble
    return trouble is not None and trouble.opened_at is not None and sending.delivery.kind == Delivery.Kind.EVENT


def _counts(sending: "Sending") -> bool:
    subscription = sending.subscription
    return subscription.state == Subscription.State.IDLE and sending.delivery.kind in (
        Delivery.Kind.EVENT,
        Delivery.Kind.TEST,
    )


def _locked(subscriptions: Iterable[UUID]) -> dict[UUID, Failing]:
    rows = Failing.objects.filter(pk__in=list(subscriptions)).order_by("pk").select_for_update()
    return {row.pk: row for row in rows}


def _begun(sendings: "Iterable[Sending]", at: datetime) -> dict[UUID, Failing]:
    """A row for each, locked. Another worker may make the same just now: then it is that one."""
    new = []
    for sending in sorted(sendings, key=lambda one: one.subscription.pk):
        row = Failing(subscription_id=sending.subscription.pk, tenant_id=sending.subscription.tenant_id)
        row.begin(sending.subscription.state_changed_at, at)
        new.append(row)
    Failing.objects.bulk_create(new, ignore_conflicts=True)
    return _locked(row.pk for row in new)


def _write(rows: list[Failing]) -> None:
    """All of them are there and locked. An upsert, because `bulk_update` takes a hundred times its processor time for
    the statement, while a receiver's requests fail by the dozen.
    """
    Failing.objects.bulk_create(rows, update_conflicts=True, unique_fields=["subscription"], update_fields=WRITTEN)


def _note(rows: dict[UUID, Failing], well: set[UUID], sending: "Sending", decision: Decision, at: datetime) -> None:
    delivery, subscription = sending.delivery, sending.subscription
    row = rows.get(subscription.pk)
    if row is None or subscription.state_changed_at < row.state_changed_at:
        return
    if sending.outcome.error == UNSENDABLE:
        row.give_up_probe(delivery.pk)
        return
    if decision.kind == "delivered":
        well.add(subscription.pk)
        return
    if subscription.pk in well or row.state_changed_at < subscription.state_changed_at:
        well.discard(subscription.pk)
        row.begin(subscription.state_changed_at, at)
    row.failed(delivery.pk, at, is_refusal=_is_refusal(sending, decision))


def _has_failed(sending: "Sending", decision: Decision) -> bool:
    return decision.kind != "delivered" and sending.outcome.error != UNSENDABLE


def _is_refusal(sending: "Sending", decision: Decision) -> bool:
    status = sending.outcome.status or 0
    is_answer = not sending.outcome.error and 400 <= status < 500 and status not in IMPATIENT
    return decision.kind == "failed" and is_answer


def _take_step(row: Failing, subscription: Subscription, at: datetime) -> None:
    """Warn, or disable: once, because the row is locked."""
    if (day := row.next_step(at)) is None:
        return
    row.warned_days = day
    row.save(update_fields=["warned_days"])
    if day < DISABLED_AFTER:
        news.tell_failing(subscription, row, day, at)
        return
    # A copy: it is refreshed, and if this transaction fails the next try must find it as it was loaded.
    disabled = copy(subscription)
    disabled.failing = row
    disabled.disable_by_answer(f"Nothing could be delivered to it for {in_days(day)}.", at)


def _pull_forward(subscription_id: UUID, by: timedelta) -> None:
    """The cool-down ends early: the line begins at once."""
    _say_when(outbox.pull_forward(subscription_id, by, MAX_PULLED))


def _say_when(due: Mapping[UUID, datetime]) -> None:
    """People read there when the next attempt is made."""
    if not due:
        return
    ids = list(due)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE deliveries_delivery AS delivery SET next_attempt_at = r.due
            FROM unnest(%s::uuid[], %s::timestamptz[]) AS r(id, due)
            WHERE delivery.id = r.id AND delivery.status = 'pending' AND delivery.id = ANY(%s::uuid[])
            """,  # the ids once more, as constants: a join alone would plan and lock every day's partition
            [ids, list(due.values()), ids],
        )
