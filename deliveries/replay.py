"""Sending once more (B7): what failed, a selection, or everything since a moment, in the background.

1. Claim the replay whose turn it is (SKIP LOCKED: any number of workers, one at a replay).
2. Where MAX_WAITING of its deliveries wait in the outbox, let them leave first: a replay does not starve fresh events,
   and a receiver that is slow or down is not buried.
3. Look at the next rows after its cursor, and choose whom to tell of what.
4. New deliveries, each with its outbox row, and the cursor in the same transaction: a worker that dies has changed
   nothing, the next goes on where it was, and nothing is sent twice.

Counting walks the same rows with the same functions, so what was counted is what is sent. In between things may
change: an event can leave with retention, a delivery that was under way can end. Then the two differ by that.

A replay keeps the message id, as a resend does, so that receivers know what they have already. What is under way to
the subscription is left out, and so is what still waits in the inbox, or for its filter: that is sent anyway.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import Error
from django.db.models.functions import Now
from django.http import QueryDict

from deliveries.filters import DeliveryFilter
from deliveries.models import Delivery, Undecided, of_event, queue_of
from deliveries.outbox import Counted
from deliveries.replay_models import Replay, why_not_sent
from deliveries.routing import ASKED, wants
from events.models import Event, Inbox
from events.search import TooSlow, bounded_time
from events.store import in_short
from subscriptions import choice
from subscriptions.evaluator import Evaluator
from subscriptions.models import Subscription
from tenants.ids import lowest_uuid7
from tenants.scope import system_scope, tenant_scope

BATCH = 500  # rows looked at in a transaction, and so the most that it sends
MAX_WAITING = 1000
PAUSE = timedelta(seconds=1)
BATCH_PATIENCE = 10_000  # milliseconds for one query of a batch: whoever stops it waits for its end
COUNT_SECONDS = 2.0
FILTER_SECONDS = 1.0  # of a slice: it ends where the filter was asked last
COUNT_SLICE = 2000
# The answer that disables a subscription is written a moment before it is disabled, and was missed too.
MOMENT = timedelta(seconds=5)
# Beside what its policy may wait: a receiver that is spared, a line, workers that were down.
LONGEST_DELIVERY = timedelta(days=7)

now = time.monotonic
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Slice:
    """What to tell of, in order, and the last row looked at: None where that was the end."""

    events: list[Event]
    end: UUID | None


def count(replay: Replay, seconds: float = COUNT_SECONDS) -> Counted:
    """What it would send, in bounded time. Call it in the tenant's scope."""
    number, stage, cursor, until = 0, 0, None, now() + seconds
    while stage < len(STAGES[replay.kind]):
        left = until - now()
        if left <= 0:
            return Counted(number, is_exact=False)
        try:
            with bounded_time(max(1, int(left * 1000))):
                found = STAGES[replay.kind][stage](replay, cursor, COUNT_SLICE)
        except TooSlow:
            return Counted(number, is_exact=False)
        number += len(found.events)
        stage, cursor = _after(stage, found)
    return Counted(number, is_exact=True)


def is_due() -> bool:
    with system_scope():
        return Replay.objects.due().exists()


def advance() -> int | None:
    """Move the replay whose turn it is on by one batch. How many deliveries were made; None where none is due."""
    replay = None
    try:
        with system_scope():
            replay = _claim()
            if replay is None:
                return None
            with tenant_scope(replay.tenant_id):
                return _step(replay)
    except Exception as error:  # whatever it is, others are waiting for their turn
        if replay is None:
            raise
        why = in_short(error) if isinstance(error, Error) else type(error).__name__
        logger.error("Replay %s stumbled (%s); tried again later.", replay.pk, why)
        with system_scope():
            replay.put_off(type(error).__name__)
        return 0


def _claim() -> Replay | None:
    due = Replay.objects.due().select_related("subscription").defer("subscription__url", "subscription__headers")
    return due.select_for_update(skip_locked=True, of=("self",)).first()


def _step(replay: Replay) -> int:
    if why_not := why_not_sent(replay.subscription):
        replay.end(Replay.State.FAILED, why_not)
        return 0
    replay.waiting = queue_of(replay.subscription).still_there(replay.waiting)
    if len(replay.waiting) > MAX_WAITING - BATCH:
        _keep(replay, due_at=Now() + PAUSE)
        return 0
    with bounded_time(BATCH_PATIENCE):
        found = STAGES[replay.kind][replay.stage](replay, replay.cursor, BATCH)
    made = Delivery.objects.enqueue_all([of_event(event, replay.subscription) for event in found.events])
    replay.waiting += [delivery.pk for delivery in made]
    replay.done += len(made)
    replay.failures = 0
    replay.stage, replay.cursor = _after(replay.stage, found)
    _keep(replay, due_at=Now())
    if replay.stage == len(STAGES[replay.kind]):
        if not replay.total_is_exact:
            Replay.objects.filter(pk=replay.pk).update(total=replay.done, total_is_exact=True)
        replay.end(Replay.State.FINISHED)
    return len(made)


def _keep(replay: Replay, *, due_at: Now) -> None:
    replay.due_at = due_at
    replay.save(update_fields=["waiting", "done", "failures", "stage", "cursor", "due_at"])


def _after(stage: int, found: Slice) -> tuple[int, UUID | None]:
    """Where to go on: behind the slice, or at the beginning of the next stage."""
    return (stage + 1, None) if found.end is None else (stage, found.end)


# What there is to send ───────────────────────────────────────────────────────────────────────────────────────────────


def _of_deliveries(replay: Replay, after: UUID | None, size: int) -> Slice:
    """Events whose deliveries were selected, or have failed; each once, in the place of its last such delivery.

    The slice is cut from the subscription's log, whatever is asked of its rows: a selection that few fit does not
    make a batch walk the whole log.
    """
    log = _log(replay) if after is None else _log(replay).filter(id__gt=after)
    end = next(iter(log.order_by("id").values_list("pk", flat=True)[size - 1 : size]), None)
    part = _selected(replay, log if end is None else log.filter(id__lte=end))
    rows = list(part.order_by("id").values_list("id", "event_id"))
    events = {event for _, event in rows}
    same = _selected(replay, _log(replay)).filter(event_id__in=events)
    last = dict(same.order_by("id").values_list("event_id", "id"))
    left_out = _sent_to(replay, events, EXCUSED[replay.kind])
    chosen = [event for delivery, event in rows if last.get(event) == delivery and event not in left_out]
    # What is no longer kept cannot be sent.
    kept = Event.objects.only("id", "tenant_id", "type").in_bulk(chosen)
    return Slice([kept[event] for event in chosen if event in kept], end)


def _of_events(replay: Replay, after: UUID | None, size: int) -> Slice:
    """Events that the subscription asks for, as the router would choose them."""
    rows = Event.objects.since(_first_event(replay)).filter(id__lt=replay.before)
    if after is not None:
        rows = rows.filter(id__gt=after)
    rows = choice.with_facts(rows) if replay.subscription.filter else rows.only(*ASKED)
    rows = list(rows.order_by("id")[:size])
    end = rows[-1].pk if len(rows) == size else None
    wanted = [event for event in rows if wants(replay.subscription, event)]
    if replay.subscription.filter and wanted:
        wanted, asked_to = _filtered(replay.subscription, wanted)
        end = asked_to or end
    ids = {event.pk for event in wanted}
    # In the order of its way: what goes on between two of the queries is found by the later one.
    left_out = set(Inbox.objects.filter(event_id__in=ids).values_list("event_id", flat=True))
    undecided = Undecided.objects.filter(event_id__in=ids, subscription_id=replay.subscription_id)
    left_out |= set(undecided.values_list("event_id", flat=True))
    left_out |= _sent_to(replay, ids, None if replay.kind == Replay.Kind.MISSED else EXCUSED[replay.kind])
    return Slice([event for event in wanted if event.pk not in left_out], end)


def _filtered(subscription: Subscription, wanted: list[Event]) -> tuple[list[Event], UUID | None]:
    """Those that its filter matches, and where it was asked last; None where it was asked about all of them.

    The process that is asked is this slice's own: nobody else waits for it.
    """
    matched, event = [], wanted[0]
    with Evaluator() as evaluator:
        questions = [(event, [subscription.filter]) for event in wanted]
        for event, said in choice.verdicts(evaluator, questions, choice.now() + FILTER_SECONDS):
            if said[subscription.filter].matched:
                matched.append(event)
    return matched, None if event is wanted[-1] else event.pk


def _log(replay: Replay):
    """The deliveries to its subscription in the time that it is about: a range of an index."""
    log = Delivery.objects.filter(subscription_id=replay.subscription_id, id__lt=replay.before)
    if replay.kind == Replay.Kind.MISSED:
        return log.filter(id__gte=lowest_uuid7(_first_delivery(replay)))
    bounds = {name: value for name, value in replay.selection.items() if name in ("since", "until", "delivery")}
    return DeliveryFilter(as_query(bounds), queryset=log).qs


def _first_event(replay: Replay) -> datetime:
    """What was accepted before it was disabled, and had not been routed by then, was missed too."""
    subscription = replay.subscription
    if replay.kind != Replay.Kind.MISSED or not _is_since_disabled(replay) or subscription.untold_from is None:
        return replay.since
    return min(replay.since, subscription.untold_from)


def _first_delivery(replay: Replay) -> datetime:
    """Of those that may have ended since: what was made long before, and waited."""
    subscription = replay.subscription
    first = replay.since - LONGEST_DELIVERY
    with contextlib.suppress(ValueError):  # an unknown policy, which sends once
        first -= timedelta(seconds=2 * sum(subscription.delivery_policy.delays))  # Retry-After doubles them at most
    if _is_since_disabled(replay) and subscription.unsent_from is not None:
        first = min(first, subscription.unsent_from)
    return first


def _is_since_disabled(replay: Replay) -> bool:
    disabled_at = replay.subscription.disabled_at
    return disabled_at is not None and replay.since <= disabled_at


def _selected(replay: Replay, log):
    """Those of the log that it is about. Tests and confirmation links are never sent again."""
    ended = log.filter(kind=Delivery.Kind.EVENT).exclude(status=Delivery.Status.PENDING)
    if replay.kind == Replay.Kind.DELIVERIES:
        return DeliveryFilter(as_query(replay.selection), queryset=ended).qs
    return ended.filter(
        status__in=[Delivery.Status.FAILED, Delivery.Status.DEAD, Delivery.Status.CANCELLED],
        completed_at__gte=replay.since - MOMENT,
    )


def _sent_to(replay: Replay, events: Iterable[UUID], statuses: Iterable[str] | None) -> set[UUID]:
    """Which of these events have a delivery to the subscription (in one of these states)."""
    found = Delivery.objects.filter(event_id__in=events, subscription_id=replay.subscription_id)
    if statuses is not None:
        found = found.filter(status__in=statuses)
    return set(found.values_list("event_id", flat=True))


def as_query(selection: dict) -> QueryDict:
    """A selection as the deliveries list would be asked for it."""
    query = QueryDict(mutable=True)
    for name, value in selection.items():
        query.setlist(name, [str(one) for one in value] if isinstance(value, list) else [str(value)])
    return query


# Deliveries in these states excuse from sending: they are under way, or what was missed has come meanwhile.
EXCUSED = {
    Replay.Kind.DELIVERIES: [Delivery.Status.PENDING],
    Replay.Kind.EVENTS: [Delivery.Status.PENDING],
    Replay.Kind.MISSED: [Delivery.Status.PENDING, Delivery.Status.DELIVERED],
}
# What was missed are deliveries that came to nothing, then events that no delivery was ever made of.
STAGES: dict[str, tuple[Callable[[Replay, UUID | None, int], Slice], ...]] = {
    Replay.Kind.DELIVERIES: (_of_deliveries,),
    Replay.Kind.EVENTS: (_of_events,),
    Replay.Kind.MISSED: (_of_deliveries, _of_events),
}
