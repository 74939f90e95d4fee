"""From undecided events to deliveries: what the filters of subscriptions say.

1. Take turns: each tenant with undecided events, in no order that anybody could count on.
2. A turn claims a batch of one tenant's, the oldest first. One worker at a time is at a tenant's, or subscriptions that
   are sent in order would not be; any number are at different ones.
3. Ask the filters, event by event, until all is asked or TURN_SECONDS are over.
4. Deliveries and outbox rows of those that match; problems are counted with their subscription; what was asked leaves
   the table. One transaction: a worker that dies has changed nothing.

So an expression that costs much costs the time of its tenant's other filters, and nobody else's. What it may cost for
one event is bounded by `subscriptions.evaluator`. A choice that was changed since the event was routed is asked as it
is now, and a subscription that is not ready any more is told nothing, as everywhere.
"""

import logging
import random
from collections import defaultdict
from dataclasses import dataclass
from uuid import UUID

from django.db import connection
from django.db.models import Exists, F, OuterRef

from deliveries.models import Delivery, Undecided, of_event
from deliveries.routing import wants
from events.models import Event
from subscriptions import choice
from subscriptions.evaluator import Evaluator
from subscriptions.expressions import MAX_PROBLEM
from subscriptions.models import Subscription
from tenants.models import Tenant
from tenants.scope import system_scope, tenant_scope

BATCH = 500
TURN_SECONDS = 0.25

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decided:
    """What one turn did: rows that left the table, deliveries that were made of them."""

    settled: int = 0
    deliveries: int = 0


def is_due() -> bool:
    with system_scope():
        return Undecided.objects.exists()


def tenants_waiting() -> list[UUID]:
    """Whose turn it is, shuffled: who has most waiting, or has waited longest, is no more important for that."""
    with system_scope():
        waiting = list(
            Tenant.objects.filter(Exists(Undecided.objects.filter(tenant=OuterRef("pk")))).values_list("pk", flat=True)
        )
    random.shuffle(waiting)
    return waiting


def decide(tenant_id: UUID, evaluator: Evaluator, batch: int = BATCH) -> Decided:
    """One turn of a tenant, unless another worker is at it. Raises OutOfOrder, and has changed nothing then."""
    with tenant_scope(tenant_id):
        if not _may_begin(tenant_id):
            return Decided()
        rows = list(Undecided.objects.order_by("event_id").select_for_update(skip_locked=True)[:batch])
        if not rows:
            return Decided()
        asked, settled = _asked(rows)
        matched, problems = [], defaultdict(list)
        until = choice.now() + TURN_SECONDS
        questions = [(event, sorted({one.filter for one in told})) for event, told in asked]
        told_of = {event.pk: told for event, told in asked}
        for event, verdicts in choice.verdicts(evaluator, questions, until):
            for subscription in told_of[event.pk]:
                verdict = verdicts[subscription.filter]
                settled.append((event.pk, subscription.pk))
                if verdict.matched:
                    matched.append(of_event(event, subscription))
                elif verdict.problem:
                    problems[subscription].append((event.pk, verdict.problem))
        Undecided.objects.settle(settled)
        Delivery.objects.enqueue_all(matched)
        _count(problems)
    return Decided(len(settled), len(matched))


def _may_begin(tenant_id: UUID) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [f"deciding {tenant_id}"])
        return cursor.fetchone()[0]


def _asked(rows: list[Undecided]) -> tuple[list[tuple[Event, list[Subscription]]], list[tuple[UUID, UUID]]]:
    """Which filters to ask about which events, and what is settled without: the rows of what is gone, or not wanted.

    A filter that was taken away since is asked as `true`: that is what it means.
    """
    ready = Subscription.objects.ready().defer("url", "headers").in_bulk({row.subscription_id for row in rows})
    events = choice.with_facts(Event.objects.filter(pk__in={row.event_id for row in rows})).in_bulk()
    asked: dict[UUID, list[Subscription]] = defaultdict(list)
    settled = []
    for row in rows:
        subscription, event = ready.get(row.subscription_id), events.get(row.event_id)
        if subscription and event and _wants(subscription, event):
            subscription.filter = subscription.filter or "true"
            asked[event.pk].append(subscription)
        else:
            settled.append((row.event_id, row.subscription_id))
    return [(events[pk], told) for pk, told in asked.items()], settled


def _wants(subscription: Subscription, event: Event) -> bool:
    try:
        return wants(subscription, event)
    except ValueError as error:  # one that cannot be asked must not hold up the tenant's other events
        logger.error("Subscription %s is not told of event %s: %s", subscription.pk, event.pk, error)
        return False


def _count(problems: dict[Subscription, list[tuple[UUID, str]]]) -> None:
    """Ordered, or two workers could wait for each other's rows. Not where the filter was changed meanwhile."""
    for subscription in sorted(problems, key=lambda one: one.pk):
        event, last = problems[subscription][-1]
        Subscription.objects.filter(pk=subscription.pk, filter=subscription.filter).update(
            filter_errors=F("filter_errors") + len(problems[subscription]),
            filter_error=last[:MAX_PROBLEM],
            filter_error_event=event,
        )
