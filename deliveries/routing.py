"""From the inbox to the outbox: who is told about what.

1. Claim a batch of inbox rows by deleting them (SKIP LOCKED: any number of workers).
2. Match each event with the subscriptions of its tenant that are ready.
3. Write a delivery and an outbox row for each match.
4. The same for notices (confirmation links, tests), which name their one subscription.
5. Commit. All of it is one transaction: a worker that dies has changed nothing.

No network here, and nothing that a single event could make fail: its type and severity were checked when it was
kept, and bodies are not looked at.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.db import connection
from django.utils import timezone

from deliveries import outbox
from deliveries.models import as_new, new_of_event, of_notice
from deliveries.outbox import New
from events.models import Event, Inbox
from subscriptions import filters
from subscriptions.models import Notice, Subscription
from tenants.scope import system_scope

BATCH = 500

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Routed:
    """What one batch did."""

    events: int = 0
    notices: int = 0
    deliveries: int = 0

    @property
    def claimed(self) -> int:
        return self.events + self.notices


def route(batch: int = BATCH) -> Routed:
    """Route one batch. `claimed` is 0 when there was nothing to do."""
    with system_scope():
        events = _claim_events(batch)
        notices = _claim_notices(batch)
        deliveries = [*_matches(events), *[as_new(of_notice(notice)) for notice in notices]]
        outbox.put(deliveries)
    return Routed(len(events), len(notices), len(deliveries))


def is_due() -> bool:
    """Is there anything to route?"""
    with system_scope():
        return Inbox.objects.exists() or Notice.objects.filter(routed_at=None).exists()


def _claim_events(batch: int) -> list[Event]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            DELETE FROM events_inbox WHERE event_id IN (
                SELECT event_id FROM events_inbox ORDER BY event_id LIMIT %s FOR UPDATE SKIP LOCKED
            ) RETURNING event_id
            """,
            [batch],
        )
        ids = [row[0] for row in cursor.fetchall()]
    if not ids:
        return []
    # A retention that ran ahead of a long backlog may have taken an event: there is nothing left to tell of it.
    return list(Event.objects.filter(pk__in=ids).only("id", "tenant_id", "type", "severity").order_by("id"))


def _claim_notices(batch: int) -> list[Notice]:
    notices = list(
        Notice.objects.filter(routed_at=None)
        .select_related("subscription")
        .select_for_update(skip_locked=True, of=("self",))
        .order_by("id")[:batch]
    )
    if notices:
        Notice.objects.filter(pk__in=[notice.pk for notice in notices]).update(routed_at=timezone.now())
    return notices


def _matches(events: Iterable[Event]) -> Iterator[New]:
    ready = _ready_subscriptions({event.tenant_id for event in events})
    for event in events:
        for subscription in ready[event.tenant_id]:
            try:
                wanted = wants(subscription, event)
            except ValueError as error:  # one that cannot be asked must not hold up everybody's events
                logger.error("Subscription %s is not told of event %s: %s", subscription.pk, event.pk, error)
                continue
            if wanted:
                yield new_of_event(event, subscription)


def wants(subscription: Subscription, event: Event) -> bool:
    """Did this subscription ask for this event? (S2, T2)"""
    return filters.matches(subscription.event_types, event.type) and filters.severity_at_least(
        subscription.min_severity, event.severity
    )


def _ready_subscriptions(tenants: set) -> dict:
    by_tenant = defaultdict(list)
    if tenants:
        for subscription in Subscription.objects.ready().filter(tenant_id__in=tenants).defer("url", "headers"):
            by_tenant[subscription.tenant_id].append(subscription)
    return by_tenant
