"""How the portal as a whole does, for those who look after it: what waits, what passes, who works, who takes how much.

For the scope of all tenants. Bounded whatever is stored: queues are counted up to `MAX_COUNTED`, shares are taken of at
most `MAX_SHARED` rows, the last hour's minutes are counted whole or, where that takes too long, by a sample of each.
Each statement is stopped after `PATIENCE`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import connection, models
from django.utils import timezone

from deliveries.heartbeats import Heartbeat
from deliveries.models import Attempt, Lane, Outbox, PullQueue, Undecided
from deliveries.replay_models import Replay
from events.models import Bundle, Event, Inbox
from events.search import TooSlow, bounded_time
from tenants.ids import lowest_uuid7, time_of
from tenants.models import Tenant

MAX_COUNTED = 100_000
MAX_SHARED = 200_000
TOP = 10
MINUTES = 60
SAMPLED_SECONDS = 2  # of each minute
PATIENCE = 1000  # milliseconds


@dataclass(frozen=True)
class Queue:
    """What waits in one place: at least `count` where `is_exact` is false; None where counting took too long."""

    name: str
    title: str
    count: int | None
    is_exact: bool
    due: int | None
    oldest: datetime | None

    @property
    def is_known(self) -> bool:
        return self.count is not None


@dataclass(frozen=True)
class Minutes:
    """One figure for each of the last 60 minutes, oldest first, the present one last."""

    values: list[int]
    is_estimate: bool

    @property
    def last_whole(self) -> int:
        """The present minute is not over: the one before it says how fast."""
        return self.values[-2]


@dataclass(frozen=True)
class Share:
    tenant: UUID
    name: str
    count: int
    share: float


@dataclass(frozen=True)
class Shares:
    """Of the rows looked at, those with most; `is_sample` where there were more than are looked at."""

    rows: list[Share]
    looked: int
    is_sample: bool


@dataclass(frozen=True)
class Pulse:
    """A None could not be found out in time."""

    at: datetime
    queues: list[Queue]
    starts: list[datetime]
    events: Minutes | None
    attempts: Minutes | None
    workers: list[Heartbeat]
    sweep: Heartbeat | None
    backlog: Shares | None
    recent: Shares | None

    @property
    def alive(self) -> int:
        return sum(worker.is_alive(self.at) for worker in self.workers)


def take() -> Pulse:
    """Call it in the system's scope."""
    at = timezone.now()
    starts = _starts(at)
    beats = list(Heartbeat.objects.all())
    return Pulse(
        at=at,
        queues=[_queue(*one) for one in _QUEUES],
        starts=starts,
        events=_in_time(lambda: _per_minute(Event, starts)),
        attempts=_in_time(lambda: _per_minute(Attempt, starts)),
        workers=[one for one in beats if one.kind == Heartbeat.Kind.WORKER],
        sweep=next((one for one in beats if one.kind == Heartbeat.Kind.SWEEP), None),
        backlog=_in_time(_by_backlog),
        recent=_in_time(lambda: _by_attempts(starts[0])),
    )


def _in_time(ask: Callable):
    try:
        return ask()
    except TooSlow:
        return None


# What waits --------------------------------------------------------------------------------------

# Name, title, table, when a row is due, and what says how old the oldest is.
_QUEUES: tuple[tuple[str, str, type[models.Model], str, str], ...] = (
    ("inbox", "Events to be routed", Inbox, "true", "event_id"),
    ("undecided", "Events to be asked a filter about", Undecided, "true", "event_id"),
    ("bundles", "Posts to be unpacked", Bundle, "due_at <= clock_timestamp()", "due_at"),
    ("outbox", "Deliveries to be sent", Outbox, "due_at <= clock_timestamp()", "due_at"),
    ("lanes", "Lines with messages in them", Lane, "due_at <= clock_timestamp()", "due_at"),
    ("polled", "Messages to be polled", PullQueue, "true", "delivery_id"),
    ("replays", "Replays under way", Replay, "state = 'running'", "created_at"),
)


# Where rows are kept for which nothing is to be done any more, or just now.
_WAITING = {Replay: "state = 'running'", Lane: "due_at IS NOT NULL"}


def _queue(name: str, title: str, model: type[models.Model], due: str, oldest: str) -> Queue:
    table, where = model._meta.db_table, _WAITING.get(model, "true")
    try:
        with bounded_time(PATIENCE, in_order=False), connection.cursor() as cursor:
            count = _count(cursor, table, where)
            waiting = _count(cursor, table, due) if due != where else count
            cursor.execute(f"SELECT {oldest} FROM {table} WHERE {where} ORDER BY {oldest} LIMIT 1")  # noqa: S608 (ours)
            row = cursor.fetchone()
    except TooSlow:
        return Queue(name, title, None, is_exact=False, due=None, oldest=None)
    since = row and (time_of(row[0]) if isinstance(row[0], UUID) else row[0])
    return Queue(name, title, min(count, MAX_COUNTED), count <= MAX_COUNTED, min(waiting, MAX_COUNTED), since)


def _count(cursor, table: str, where: str) -> int:
    cursor.execute(f"SELECT count(*) FROM (SELECT FROM {table} WHERE {where} LIMIT {MAX_COUNTED + 1}) AS waiting")  # noqa: S608 (ours)
    return cursor.fetchone()[0]


# What passes -------------------------------------------------------------------------------------


def _starts(at: datetime) -> list[datetime]:
    last = at.astimezone(UTC).replace(second=0, microsecond=0)
    return [last - timedelta(minutes=back) for back in range(MINUTES - 1, -1, -1)]


def _per_minute(model: type[models.Model], starts: list[datetime]) -> Minutes:
    """Each row of the last hour is counted; where these are too many, those of the first seconds of each minute."""
    try:
        return Minutes(_counts(model, starts, timedelta(minutes=1)), is_estimate=False)
    except TooSlow:
        found = _counts(model, starts, timedelta(seconds=SAMPLED_SECONDS))
        return Minutes([count * 60 // SAMPLED_SECONDS for count in found], is_estimate=True)


def _counts(model: type[models.Model], starts: list[datetime], length: timedelta) -> list[int]:
    lows = [lowest_uuid7(start) for start in starts]
    highs = [lowest_uuid7(start + length) for start in starts]
    with bounded_time(PATIENCE), connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT (SELECT count(*) FROM {model._meta.db_table} WHERE id >= minute.low AND id < minute.high)
            FROM unnest(%s::uuid[], %s::uuid[]) WITH ORDINALITY AS minute(low, high, place) ORDER BY minute.place
            """,  # noqa: S608 (names from our models)
            [lows, highs],
        )
        return [row[0] for row in cursor.fetchall()]


# Who takes how much ------------------------------------------------------------------------------


def _by_backlog() -> Shares:
    with bounded_time(PATIENCE, in_order=False):
        return _shares(f"SELECT tenant_id FROM deliveries_outbox LIMIT {MAX_SHARED + 1}", [])  # noqa: S608 (a constant)


def _by_attempts(since: datetime) -> Shares:
    """Of the newest attempts of the last hour."""
    with bounded_time(PATIENCE):
        return _shares(
            f"SELECT tenant_id FROM deliveries_attempt WHERE id >= %s ORDER BY id DESC LIMIT {MAX_SHARED + 1}",  # noqa: S608 (a constant)
            [lowest_uuid7(since)],
        )


def _shares(rows: str, parameters: list) -> Shares:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT tenant_id, count(*), sum(count(*)) OVER () FROM ({rows}) AS looked GROUP BY 1 ORDER BY 2 DESC",  # noqa: S608 (ours)
            parameters,
        )
        found = cursor.fetchmany(TOP)
    looked = int(found[0][2]) if found else 0
    names = dict(Tenant.objects.filter(pk__in=[row[0] for row in found]).values_list("pk", "name"))
    shares = [Share(tenant, names.get(tenant, "deleted"), count, count / looked) for tenant, count, _ in found]
    return Shares(shares, min(looked, MAX_SHARED), looked > MAX_SHARED)
