"""What the dashboard counts: what came in, what went out, what is wrong.

Counts read the window's partitions by their keys; bars are found by comparing ids with bounds, so no time column
is stored or indexed twice.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import connection
from django.db.models import Count, Max, Model
from django.urls import reverse
from django.utils import timezone

from deliveries.models import Attempt, Delivery
from events.models import Event, Receipt
from subscriptions.models import Subscription
from tenants.ids import lowest_uuid7


@dataclass(frozen=True)
class Window:
    """A stretch of time until now, cut into bars of equal length; `label` is strftime's form of a bar's start."""

    name: str
    title: str
    bars: int
    step: timedelta
    label: str

    def starts(self, at: datetime | None = None) -> list[datetime]:
        """The starts of its bars in UTC, oldest first; the present moment lies in the last."""
        at, step = (at or timezone.now()).timestamp(), self.step.total_seconds()
        last = datetime.fromtimestamp(at - at % step, tz=UTC)
        return [last - back * self.step for back in range(self.bars - 1, -1, -1)]

    def since(self, at: datetime | None = None) -> UUID:
        """The lowest id made in it."""
        return lowest_uuid7(self.starts(at)[0])


WINDOWS = {
    window.name: window
    for window in (
        Window("hour", "Last hour", 30, timedelta(minutes=2), "%H:%M"),
        Window("day", "Last 24 hours", 24, timedelta(hours=1), "%H:%M"),
        Window("week", "Last 7 days", 28, timedelta(hours=6), "%-d %b"),
    )
}
DAY = WINDOWS["day"]


@dataclass(frozen=True)
class Series:
    """One number for each bar of a window, oldest first."""

    values: list[int]

    @property
    def total(self) -> int:
        return sum(self.values)


def counts(
    model: type[Model], tenant_id: UUID, window: Window, *, by: str | None = None, at: datetime | None = None
) -> dict[str | None, Series]:
    """Rows of a partitioned model in each bar, for each value of the column `by` (a name from code)."""
    bounds = [lowest_uuid7(start) for start in window.starts(at)]
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {by or 'NULL'}, width_bucket(id, %s::uuid[]), count(*) FROM {model._meta.db_table}"  # noqa: S608 (names from our models)
            " WHERE tenant_id = %s AND id >= %s GROUP BY 1, 2",
            [bounds, tenant_id, bounds[0]],
        )
        found: dict[str | None, list[int]] = defaultdict(lambda: [0] * window.bars)
        for value, bucket, count in cursor.fetchall():
            found[value][bucket - 1] = count
    empty = Series([0] * window.bars)
    return defaultdict(lambda: empty, {value: Series(values) for value, values in found.items()})


def incoming(tenant_id: UUID, window: Window = DAY) -> dict[str, Series]:
    """`events` and `refused` requests."""
    return {
        "events": counts(Event, tenant_id, window)[None],
        "refused": counts(Receipt, tenant_id, window, by="status")[Receipt.Status.REFUSED],
    }


def outgoing(tenant_id: UUID, window: Window = DAY) -> dict[str, Series]:
    """Deliveries by status."""
    found = counts(Delivery, tenant_id, window, by="status")
    return {status.value: found[status.value] for status in Delivery.Status}


def median_ms(tenant_id: UUID) -> float | None:
    """The median time of a successful request in the last hour, in milliseconds; None without one."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY total_ms) FROM deliveries_attempt"
            " WHERE tenant_id = %s AND id >= %s AND outcome = 'delivered'",
            [tenant_id, lowest_uuid7(timezone.now() - timedelta(hours=1))],
        )
        return cursor.fetchone()[0]


@dataclass(frozen=True)
class Trouble:
    """One thing to look at: how bad (`warn` or `bad`), a sentence, where to look, and when last."""

    kind: str
    text: str
    url: str
    last: datetime | None = None


def troubles(limit: int = 8, *, webhooks: bool = True) -> list[Trouble]:
    """What is wrong now with the tenant in scope, worst first: disabled subscriptions, failing deliveries, refused
    senders. Nothing of what goes out where it has no `webhooks`.
    """
    since = DAY.since()
    out = [*_disabled(limit), *_failing(since, limit)] if webhooks else []
    return [*out, *_refused(since, limit)][:limit]


def _disabled(limit: int) -> Iterator[Trouble]:
    disabled = Subscription.objects.present().filter(state=Subscription.State.DISABLED)
    for subscription in disabled.order_by("-state_changed_at")[:limit]:
        text = f"“{subscription.name}” is disabled. {subscription.state_reason}".strip()
        url = reverse("subscription", args=[subscription.pk])
        yield Trouble("bad", text, url, subscription.state_changed_at)


def _failing(since: UUID, limit: int) -> Iterator[Trouble]:
    names = dict(Subscription.objects.present().values_list("pk", "name"))
    rows = (
        Attempt.objects.filter(id__gte=since, subscription_id__in=names)
        .exclude(outcome__in=["delivered", Attempt.LATE])
        .order_by()
        .values("subscription_id")
        .annotate(count=Count("id"), last=Max("signed_at"))
        .order_by("-count")[:limit]
    )
    for row in rows:
        attempts = f"{row['count']} {'attempt' if row['count'] == 1 else 'attempts'}"
        text = f"“{names[row['subscription_id']]}”: {attempts} failed in the last 24 hours."
        url = f"{reverse('deliveries')}?subscription={row['subscription_id']}"
        yield Trouble("warn", text, url, row["last"])


def _refused(since: UUID, limit: int) -> Iterator[Trouble]:
    rows = (
        Receipt.objects.filter(id__gte=since, status=Receipt.Status.REFUSED)
        .order_by()
        .values("source_id", "source__name")
        .annotate(count=Count("id"))
        .order_by("-count")[:limit]
    )
    for row in rows:
        requests = f"{row['count']} {'request' if row['count'] == 1 else 'requests'}"
        text = f"“{row['source__name']}” refused {requests} in the last 24 hours."
        yield Trouble("warn", text, f"{reverse('receipts')}?source={row['source_id']}&status=refused")
