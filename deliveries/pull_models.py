"""What waits until its receiver polls."""

from django.db import models

from events.models import MATERIAL
from subscriptions.models import Subscription
from tenants.models import Tenant
from tenants.scope import ScopedManager


class PullQueue(models.Model):
    """A delivery of a subscription that is polled, from routing until its receiver acknowledges it.

    Beside the outbox and not in it: what nobody fetches can wait for weeks, and the outbox is hot and short. `place` is
    drawn when it is first handed out, under the subscription's lock, and is what a cursor counts. No id could be: a
    transaction that routes can commit after one that has higher ids, and its messages would be passed over.
    """

    delivery = models.OneToOneField(
        "deliveries.Delivery",
        primary_key=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="+",
    )
    tenant = models.ForeignKey(Tenant, related_name="+", **MATERIAL)
    subscription = models.ForeignKey(Subscription, related_name="+", **MATERIAL)
    place = models.BigIntegerField(null=True)

    objects = ScopedManager()

    class Meta:
        ordering = ["place", "delivery"]
        verbose_name_plural = "pull queue"
        # Places first (PostgreSQL sorts NULL last): what was handed out comes again before anything new.
        indexes = [models.Index("subscription", "place", "delivery", name="pull_queue_next")]

    def __str__(self):
        return str(self.delivery_id)
