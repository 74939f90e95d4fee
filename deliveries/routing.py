"""From the inbox to the outbox: who is told about what.

1. Claim a batch of inbox rows by deleting them (SKIP LOCKED: any number of workers).
2. Match each event with the subscriptions of its tenant that are ready.
3. Write a delivery and an outbox row for each match; where the subscription has a filter, an undecided row instead:
   filters are what people wrote, look into bodies, and are asked elsewhere (`deliveries.deciding`).
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

from deliveries.models import Undecided, as_new, keep_new, new_of_event, of_notice
from events.models import Event, Inbox
from subscriptions.choice import refused_by
from subscriptions.models import Notice, Subscription
from tenants.scope import system_scope

BATCH = 500
ASKED = ("id", "tenant_id", "type", "severity", "source_id", "site_id")  # of an event; bodies are not looked at

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Routed:
    """What one batch did."""

    events: int = 0
    notices: int = 0
    deliveries: int = 0
    undecided: int = 0

    @property
    def claimed(self) -> int:
        return self.events + self.notices


def route(batch: int = BATCH) -> Routed:
    """Route one batch. `claimed` is 0 when there was nothing to do."""
    with system_scope():
        _take_turns()
        events = _claim_events(batch)
        notices = _claim_notices(batch)
        deliveries, undecided = [], []
        for event, subscription in _matches(events):
            if subscription.filter:
                undecided.append(Undecided(event=event, subscription=subscription, tenant_id=event.tenant_id))
            else:
                deliveries.append((new_of_event(event, subscription), subscription))
        deliveries += [(as_new(of_notice(notice)), notice.subscription) for notice in notices]
        keep_new(deliveries)
        Undecided.objects.bulk_create(undecided)
    return Routed(len(events), len(notices), len(deliveries), len(undecided))


def is_due() -> bool:
    """Is there anything to route?"""
    with system_scope():
        return Inbox.objects.exists() or Notice.objects.filter(routed_at=None).exists()


def _take_turns() -> None:
    """One routes at a time: of two at once the one with the later events could end first, and lines be out of order."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('routing'))")


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
    return list(Event.objects.filter(pk__in=ids).only(*ASKED).order_by("id"))


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


def _matches(events: Iterable[Event]) -> Iterator[tuple[Event, Subscription]]:
    ready = _ready_subscriptions({event.tenant_id for event in events})
    for event in events:
        for subscription in ready[event.tenant_id]:
            try:
                wanted = wants(subscription, event)
            except Exception as error:  # one that cannot be asked must not hold up everybody's events
                said = error if isinstance(error, ValueError) else type(error).__name__
                logger.error("Subscription %s is not told of event %s: %s", subscription.pk, event.pk, said)
                continue
            if wanted:
                yield event, subscription


def wants(subscription: Subscription, event: Event) -> bool:
    """Did this subscription ask for this event, but for what its filter says? (S2, T2)"""
    return not refused_by(subscription, event)


def _ready_subscriptions(tenants: set) -> dict:
    by_tenant = defaultdict(list)
    if tenants:
        ready = Subscription.objects.ready().filter(tenant_id__in=tenants)
        for subscription in ready.defer("url", "headers", "auth_secrets"):
            by_tenant[subscription.tenant_id].append(subscription)
    return by_tenant
