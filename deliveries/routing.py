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
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from django.db import OperationalError, connection
from django.db.models.expressions import RawSQL
from django.utils import timezone

from deliveries.keeping import New
from deliveries.models import Undecided, as_new, keep_new, new_of_event, of_notice
from events.models import Event, Inbox
from subscriptions.choice import refused_by
from subscriptions.models import Notice, Subscription
from tenants.ids import moment, numbered
from tenants.scope import IDLE_WITH_LOCKS, system_scope

BATCH = 500
QUEUE_ANEW = 0.5  # seconds that one waits for its turn
KEPT = 10_000  # subscriptions that are remembered


class Arrived(NamedTuple):
    """What is asked of an event; bodies are not looked at. Two that differ in their id alone are told the same ones."""

    id: UUID
    tenant_id: UUID
    type: str
    severity: str | None
    source_id: UUID | None
    site_id: UUID | None

    @property
    def pk(self) -> UUID:
        return self.id


ASKED = Arrived._fields
_EVENTS = f"SELECT {', '.join(ASKED)} FROM events_event WHERE id = ANY(%s) ORDER BY id"  # noqa: S608 (constants)
# The turn, and whether there are notices to route and bundles to unpack: as a rule not. Whoever makes one of them wakes
# a pass that begins after it, so this may have been looked up before the turn came.
_TURN = (
    "SELECT set_config('lock_timeout', %s, true), pg_advisory_xact_lock(hashtext('routing')),"
    " set_config('lock_timeout', '0', true), clock_timestamp(),"
    " EXISTS (SELECT FROM subscriptions_notice WHERE routed_at IS NULL),"
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
        at, notices_wait, bundles_wait = _take_turns()
        events = _claim_events(batch)
        notices = _claim_notices(batch) if notices_wait else []
        made = _Made()
        ready = _ready_subscriptions({event.tenant_id for event in events})
        told: dict[tuple[Any, ...], list[Subscription]] = {}
        start = moment(at)
        for number, event in enumerate(events):
            asked = event[1:]
            if asked not in told:
                told[asked] = list(_told(event, ready[event.tenant_id]))
            made.add(event, told[asked], start, number)
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

    def add(self, event: Arrived, told: Iterable[Subscription], start: int, number: int) -> None:
        """`start` and `number` are the turn's moment and the event's place in it: where it comes in a line."""
        for subscription in told:
            if subscription.filter:
                self.undecided.append(
                    Undecided(event_id=event.id, subscription=subscription, tenant_id=event.tenant_id)
                )
            else:
                new = new_of_event(event, subscription, numbered(start, number))
                self.deliveries.append((new, subscription))
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


def _take_turns() -> tuple[datetime, bool, bool]:
    """One routes at a time: of two at once the one with the later events could end first, and lines be out of order.

    Who waits comes anew now and then: one that stands still must not be given the turn. Returns when it was, by the
    database's clock, which is one for all, and whether notices wait, and bundles.
    """
    with connection.cursor() as cursor:
        cursor.execute(_TURN, [f"{QUEUE_ANEW * 1000:.0f}"])
        return cursor.fetchone()[3:]


def _claim_events(batch: int) -> list[Arrived]:
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
        cursor.execute(_EVENTS, [ids])
        return list(map(Arrived._make, cursor.fetchall()))


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


def _told(event: Arrived, ready: Iterable[Subscription]) -> Iterator[Subscription]:
    for subscription in ready:
        try:
            wanted = wants(subscription, event)
        except Exception as error:  # one that cannot be asked must not hold up everybody's events
            said = error if isinstance(error, ValueError) else type(error).__name__
            logger.error("Subscription %s is not told of event %s and its like: %s", subscription.pk, event.pk, said)
            continue
        if wanted:
            yield subscription


def wants(subscription: Subscription, event: Event | Arrived) -> bool:
    """Did this subscription ask for this event, but for what its filter says? (S2, T2)"""
    return not refused_by(subscription, event)


def _ready_subscriptions(tenants: set[UUID]) -> dict[UUID, list[Subscription]]:
    """By tenant. Each is read once for as long as its row's version stays what it was."""
    by_tenant: dict[UUID, list[Subscription]] = defaultdict(list)
    if not tenants:
        return by_tenant
    text, parameters = _ready()
    with connection.cursor() as cursor:
        cursor.execute(text, [*parameters, list(tenants)])
        versions = dict(cursor.fetchall())
    changed = [pk for pk, version in versions.items() if pk not in _kept or _kept[pk][0] != version]
    if changed:
        if len(_kept) > KEPT:
            _kept.clear()
            changed = list(versions)
        for subscription in Subscription.objects.filter(pk__in=changed).defer("url", "headers", "auth_secrets"):
            _kept[subscription.pk] = versions[subscription.pk], subscription
    for pk in versions:
        if pk in _kept:  # or it was deleted between the two statements
            by_tenant[_kept[pk][1].tenant_id].append(_kept[pk][1])
    return by_tenant


_kept: dict[UUID, tuple[str, Subscription]] = {}


@cache
def _ready() -> tuple[str, tuple[Any, ...]]:
    """Of those that are ready: id and version, which is where the row stands and who wrote it. The same for all
    tenants, as Django says it in SQL, which takes it longer than PostgreSQL needs to answer.
    """
    table = Subscription._meta.db_table
    version = RawSQL(f"{table}.xmin::text || {table}.ctid::text", ())  # noqa: S611 (a constant)
    ready = Subscription.objects.ready().order_by().annotate(version=version).values_list("id", "version", "tenant_id")
    text, parameters = ready.query.sql_with_params()
    return f"SELECT id, version FROM ({text}) AS ready WHERE tenant_id = ANY(%s)", parameters  # noqa: S608 (Django's)
