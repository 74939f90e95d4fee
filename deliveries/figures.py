"""How one subscription does: how much of what is sent arrives, how long answers take, what waits.

Bounded whatever is stored: of each of the last 168 hours at most `LOOKED_PER_HOUR` of the newest attempts are read,
each stretch along the index of the subscription in the partition of its day. A subscription that is sent more than
that is told by this sample of each hour, and `is_sample` says so. Each statement is stopped after `PATIENCE`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

from django.db import connection
from django.utils import timezone

from deliveries.models import Attempt
from events.search import bounded_time
from tenants.ids import lowest_uuid7

HOUR = timedelta(hours=1)
DAY_HOURS, WEEK_HOURS = 24, 168
LOOKED_PER_HOUR = 500
MAX_BACKLOG = 100_000
PATIENCE = 2000  # milliseconds


@dataclass(frozen=True)
class Hour:
    """The requests of one hour. p50 and p95 are of all answers and failures, in milliseconds; None without any."""

    start: datetime
    requests: int = 0
    delivered: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None


@dataclass(frozen=True)
class Share:
    """Of so many requests so many delivered."""

    requests: int
    delivered: int
    is_sample: bool

    @property
    def rate(self) -> float | None:
        """Between 0 and 1; None where nothing was sent."""
        return self.delivered / self.requests if self.requests else None

    @property
    def percent(self) -> str:
        """Never rounded up to 100 or down to 0: the one that failed is the one to see."""
        if self.rate is None:
            return "—"
        rounded = round(self.rate * 100, 1)
        if rounded == 100 and self.delivered < self.requests:
            rounded = 99.9
        if rounded == 0 and self.delivered:
            rounded = 0.1
        return f"{rounded:g} %"


@dataclass(frozen=True)
class Backlog:
    """What waits, due or put off; at least so much where `is_exact` is false. `oldest_due` may lie ahead."""

    count: int
    is_exact: bool
    oldest_due: datetime | None

    @property
    def is_late(self) -> bool:
        return self.oldest_due is not None and self.oldest_due < timezone.now()


@dataclass(frozen=True)
class Figures:
    """`hours` are the last 24, oldest first; the present moment lies in the last."""

    day: Share
    week: Share
    hours: list[Hour]
    p50_ms: float | None
    p95_ms: float | None
    backlog: Backlog


def figures_of(subscription_id: UUID, at: datetime | None = None) -> Figures:
    """Raises TooSlow."""
    with bounded_time(PATIENCE):
        hours, cut = _hours(subscription_id, at or timezone.now())
        p50, p95 = _percentiles(subscription_id, hours[-DAY_HOURS].start)
    with bounded_time(PATIENCE, in_order=False):
        backlog = backlog_of(subscription_id)
    return Figures(
        _share(hours[-DAY_HOURS:], cut[-DAY_HOURS:]), _share(hours, cut), hours[-DAY_HOURS:], p50, p95, backlog
    )


def _share(hours: list[Hour], cut: list[bool]) -> Share:
    return Share(sum(hour.requests for hour in hours), sum(hour.delivered for hour in hours), any(cut))


def _starts(at: datetime) -> list[datetime]:
    last = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return [last - back * HOUR for back in range(WEEK_HOURS - 1, -1, -1)]


# A late attempt decided nothing, and what it answered is another attempt's doing.
_SAMPLE = f"""
    SELECT outcome, total_ms FROM deliveries_attempt
    WHERE subscription_id = %s AND id >= hour.low AND id < hour.high AND outcome <> '{Attempt.LATE}'
    ORDER BY id DESC LIMIT {LOOKED_PER_HOUR + 1}
"""  # noqa: S608 (constants of ours)


def _hours(subscription_id: UUID, at: datetime) -> tuple[list[Hour], list[bool]]:
    """The hours of a week, and whether there was more in one than was looked at."""
    starts = _starts(at)
    edges = [lowest_uuid7(start) for start in [*starts, starts[-1] + HOUR]]
    lows, highs = zip(*pairwise(edges), strict=True)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT hour.place, found.* FROM unnest(%s::int[], %s::uuid[], %s::uuid[]) AS hour(place, low, high)
            CROSS JOIN LATERAL (
                SELECT count(*), count(*) FILTER (WHERE outcome = 'delivered'),
                    percentile_cont(0.5) WITHIN GROUP (ORDER BY total_ms),
                    percentile_cont(0.95) WITHIN GROUP (ORDER BY total_ms)
                FROM ({_SAMPLE}) AS sample
            ) AS found ORDER BY hour.place
            """,  # noqa: S608 (constants of ours)
            [list(range(WEEK_HOURS)), list(lows), list(highs), subscription_id],
        )
        rows = cursor.fetchall()
    hours = [Hour(starts[place], requests, delivered, p50, p95) for place, requests, delivered, p50, p95 in rows]
    return hours, [hour.requests > LOOKED_PER_HOUR for hour in hours]


def _percentiles(subscription_id: UUID, since: datetime) -> tuple[float | None, float | None]:
    """Of the last day's newest attempts: as many as are looked at in all its hours."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY total_ms),
                percentile_cont(0.95) WITHIN GROUP (ORDER BY total_ms)
            FROM (
                SELECT total_ms FROM deliveries_attempt WHERE subscription_id = %s AND id >= %s AND outcome <> %s
                ORDER BY id DESC LIMIT %s
            ) AS sample
            """,
            [subscription_id, lowest_uuid7(since), Attempt.LATE, LOOKED_PER_HOUR * DAY_HOURS],
        )
        return cursor.fetchone()


def backlog_of(subscription_id: UUID) -> Backlog:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*), least(min(due_at), (
                SELECT due_at FROM deliveries_lane WHERE subscription_id = %s AND due_at IS NOT NULL
            )) FROM (SELECT due_at FROM deliveries_outbox WHERE subscription_id = %s LIMIT %s) AS waiting
            """,
            [subscription_id, subscription_id, MAX_BACKLOG + 1],
        )
        count, oldest = cursor.fetchone()
    return Backlog(min(count, MAX_BACKLOG), count <= MAX_BACKLOG, oldest)
