"""Events that the filter of a subscription has not been asked about yet."""

from collections.abc import Iterable
from uuid import UUID

from django.db import connection, models

from events.models import MATERIAL, Event
from events.wakeup import Wakeup
from subscriptions.models import Subscription
from tenants.models import Tenant
from tenants.scope import ScopedManager

DECIDE = "deliveries.tasks.decide"

_wakeup = Wakeup(DECIDE)


def wake() -> None:
    """For work that is committed already; a lost wake-up is made up for by the sweep."""
    _wakeup.wake()


class UndecidedQuerySet(models.QuerySet):
    def settle(self, pairs: Iterable[tuple[UUID, UUID]]) -> None:
        """Delete these, by event and subscription."""
        events, subscriptions = zip(*pairs, strict=True) if (pairs := list(pairs)) else ((), ())
        with connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM deliveries_undecided u USING unnest(%s::uuid[], %s::uuid[]) AS s (event, subscription)"
                " WHERE u.event_id = s.event AND u.subscription_id = s.subscription",
                [list(events), list(subscriptions)],
            )


class Undecided(models.Model):
    """An event that fits all else a subscription asks for, until its filter was asked. Narrow, hot and short-lived.

    Routing writes it instead of a delivery: what people wrote is run by `deliveries.deciding`, tenant by tenant, and
    never while others' events wait.
    """

    pk = models.CompositePrimaryKey("event_id", "subscription_id")
    event = models.ForeignKey(Event, related_name="+", **MATERIAL)
    subscription = models.ForeignKey(Subscription, related_name="+", **MATERIAL)
    tenant = models.ForeignKey(Tenant, related_name="+", **MATERIAL)

    objects = ScopedManager.from_queryset(UndecidedQuerySet)()

    class Meta:
        ordering = ["event_id"]
        verbose_name_plural = "undecided"
        indexes = [models.Index("tenant", "event", name="undecided_tenant_oldest")]

    def __str__(self):
        return f"{self.event_id} {self.subscription_id}"
