"""What makes subscriptions wait their turn: lanes for those in order and in batches, paces for those with a limit."""

from django.db import models

from events.models import MATERIAL
from subscriptions.models import Subscription
from tenants.models import Tenant
from tenants.scope import ScopedManager

_ONE = {"on_delete": models.DO_NOTHING, "db_constraint": False}


class Lane(models.Model):
    """The line of one subscription that is sent one message after another. One row, made at its first delivery.

    Its deliveries stand in the outbox without a time of their own; the lane is claimed, and with it the head of the
    line. `due_at` is when it may be claimed again (after a lease too: a worker that died is followed by another); null
    while nobody waits in it. `added` counts what came in, so that who ends an empty lane can tell whether it still
    is. `events` is how many go into one message, `wait` for how many seconds they gather.
    """

    subscription = models.OneToOneField(Subscription, primary_key=True, related_name="+", **_ONE)
    tenant = models.ForeignKey(Tenant, related_name="+", **MATERIAL)
    due_at = models.DateTimeField(null=True)
    lease_token = models.UUIDField(null=True)
    added = models.BigIntegerField(default=0)
    events = models.PositiveSmallIntegerField(default=1)
    wait = models.FloatField(default=0)

    objects = ScopedManager()

    class Meta:
        ordering = ["due_at"]
        indexes = [models.Index("due_at", name="lane_due", condition=models.Q(due_at__isnull=False))]

    def __str__(self):
        return str(self.subscription_id)


class Pace(models.Model):
    """How far the messages of a subscription with limits are spoken for: the next may go at `next_at`.

    The generic cell rate algorithm (ITU-T I.371): one moment is all there is to remember. Of those that found too many
    under way, the last is looked at again at `line_end`.
    """

    subscription = models.OneToOneField(Subscription, primary_key=True, related_name="+", **_ONE)
    tenant = models.ForeignKey(Tenant, related_name="+", **MATERIAL)
    next_at = models.DateTimeField()
    line_end = models.DateTimeField(null=True)

    objects = ScopedManager()

    def __str__(self):
        return str(self.subscription_id)
