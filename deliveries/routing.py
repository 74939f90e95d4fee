"""From the inbox to the outbox: who is told about what.

1. Claim a batch of inbox rows by deleting them (SKIP LOCKED: any number of workers).
2. Match each event with the subscriptions of its tenant that are ready.
3. Write a delivery and an outbox row for each match; where the subscription has a filter, an undecided row instead:
   filters are what people wrote, look into bodies, and are asked elsewhere (`deliveries.deciding`).
4. The same for notices (confirmation links, tests), which name their one subscription.
5. Commit. All of it is one transaction: a worker that dies has changed nothing, nor has one that stands still for
   longer than IDLE_WITH_LOCKS: the others, who wait for their turn, do its work then.

No network here, and nothing that a single event could make fail: its type and severity were checked when it was
kept, and bodies are not looked at.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import psycopg
from django.db import OperationalError, connection
from django.utils import timezone

from deliveries.keeping import New
from deliveries.models import Undecided, as_new, keep_new, new_of_event, of_notice
from events.models import Event, Inbox
from subscriptions.choice import refused_by
from subscriptions.models import Notice, Subscription
from tenants.scope import IDLE_WITH_LOCKS, system_scope

BATCH = 500
QUEUE_ANEW = 0.5  # seconds that one waits for its turn
ASKED = ("id", "tenant_id", "type", "severity", "source_id", "site_id")  # of an event; bodies are not looked at
# In words of SQL, which Django need not find anew for each batch.
_EVENTS = f"SELECT {', '.join(ASKED)} FROM events_event WHERE id = ANY(%s) ORDER BY id"  # noqa: S608 (constants)
_RARE = (
    "SELECT EXISTS (SELECT FROM subscriptions_notice WHERE routed_at IS NULL),"
    " EXISTS (SELECT FROM events_bundle WHERE due_at <= statement_timestamp())"
)

now = time.monotonic
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Routed:
    """What one batch did."""

    events: int = 0
    notices: int = 0
    deliveries: int = 0
    undecided: int = 0
    bundles_wait: bool = False

    @property
    def claimed(self) -> int:
        return self.events + self.notices


def route(batch: int = BATCH) -> Routed:
    """Route one batch, when it is our turn. `claimed` is 0 when there was nothing to do."""
    while True:
        try:
            return _route(batch)
        except OperationalError as error:
            if not isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
                raise


def _route(batch: int) -> Routed:
    with system_scope(idle=IDLE_WITH_LOCKS):
        _take_turns()
        events = _claim_events(batch)
        notices_wait, bundles_wait = _look()
        notices = _claim_notices(batch) if notices_wait else []
        made = _Made()
        ready = _ready_subscriptions({event.tenant_id for event in events})
        for event in events:
            made.add(event, _told(event, ready[event.tenant_id]))
        made.deliveries += [(as_new(of_notice(notice)), notice.subscription) for notice in notices]
        made.keep()
    return Routed(len(events), len(notices), made.delivery_count, made.undecided_count, bundles_wait)


class _Made:
    """What a batch has come to, written at its end; before, where it takes long, as a sign of life."""

    def __init__(self) -> None:
        self.deliveries: list[tuple[New, Subscription]] = []
        self.undecided: list[Undecided] = []
        self.delivery_count = self.undecided_count = 0
        self._written_at = now()

    def add(self, event: Event, told: Iterable[Subscription]) -> None:
        for subscription in told:
            if subscription.filter:
                self.undecided.append(Undecided(event=event, subscription=subscription, tenant_id=event.tenant_id))
            else:
                self.deliveries.append((new_of_event(event, subscription), subscription))
        if now() - self._written_at > IDLE_WITH_LOCKS / 10:
            self.keep()
            with connection.cursor() as cursor:
                cursor.execute("SELECT")  # nothing may have been made
            self._written_at = now()

    def keep(self) -> None:
        self.delivery_count += len(self.deliveries)
        self.undecided_count += len(self.undecided)
        keep_new(self.deliveries)
        Undecided.objects.bulk_create(self.undecided)
        self.deliveries, self.undecided = [], []


def is_due() -> bool:
    """Is there anything to route?"""
    with system_scope():
        return Inbox.objects.exists() or Notice.objects.filter(routed_at=None).exists()


def _take_turns() -> None:
    """One routes at a time: of two at once the one with the later events could end first, and lines be out of order.

    Who waits comes anew now and then: one that stands still must not be given the turn.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('lock_timeout', %s, true), pg_advisory_xact_lock(hashtext('routing')),"
            " set_config('lock_timeout', '0', true)",
            [f"{QUEUE_ANEW * 1000:.0f}"],
        )


def _claim_events(batch: int) -> list[Event]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            DELETE FROM events_inbox WHERE event_id = ANY(ARRAY(
                SELECT event_id FROM events_inbox ORDER BY event_id LIMIT %s FOR UPDATE SKIP LOCKED
            )) RETURNING event_id
            """,
            [batch],
        )
        ids = [row[0] for row in cursor.fetchall()]
    if not ids:
        return []
    # A retention that ran ahead of a long backlog may have taken an event: there is nothing left to tell of it.
    return list(Event.objects.raw(_EVENTS, [ids]))


def _look() -> tuple[bool, bool]:
    """Are there notices to route, and bundles to unpack? As a rule not: one statement says so."""
    with connection.cursor() as cursor:
        cursor.execute(_RARE)
        return cursor.fetchone()


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


def _told(event: Event, ready: Iterable[Subscription]) -> Iterator[Subscription]:
    for subscription in ready:
        try:
            wanted = wants(subscription, event)
        except Exception as error:  # one that cannot be asked must not hold up everybody's events
            said = error if isinstance(error, ValueError) else type(error).__name__
            logger.error("Subscription %s is not told of event %s: %s", subscription.pk, event.pk, said)
            continue
        if wanted:
            yield subscription


def wants(subscription: Subscription, event: Event) -> bool:
    """Did this subscription ask for this event, but for what its filter says? (S2, T2)"""
    return not refused_by(subscription, event)


def _ready_subscriptions(tenants: set) -> dict:
    by_tenant = defaultdict(list)
    if tenants:
        text, parameters = _ready()
        for subscription in Subscription.objects.raw(text, [*parameters, list(tenants)]):
            by_tenant[subscription.tenant_id].append(subscription)
    return by_tenant


@cache
def _ready() -> tuple[str, tuple]:
    """The same for all tenants, as Django says it in SQL, which takes it longer than PostgreSQL needs to answer."""
    ready = Subscription.objects.ready().order_by().defer("url", "headers", "auth_secrets")
    text, parameters = ready.query.sql_with_params()
    return f"SELECT * FROM ({text}) AS ready WHERE tenant_id = ANY(%s)", parameters  # noqa: S608 (Django's)
