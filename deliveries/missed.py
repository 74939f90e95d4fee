"""What a subscription that is just being disabled is still owed: where a replay of what it missed has to begin.

Two things are older than the moment itself: deliveries that wait in the outbox, perhaps for days, and events that have
been accepted and not been routed yet, because workers were down or behind.
"""

from datetime import datetime

from django.db.models import QuerySet

from deliveries.models import Outbox, Undecided
from events.models import Bundle, Inbox
from subscriptions.models import Subscription
from tenants.ids import time_of


def note(subscription: Subscription, **_: object) -> None:
    """A receiver of `subscriptions.signals.disabled`."""
    tenants = {"tenant_id": subscription.tenant_id}
    untold = [
        _oldest(Inbox.objects.filter(**tenants), "event_id"),
        _oldest(Bundle.objects.filter(**tenants), "receipt_id"),
        _oldest(Undecided.objects.filter(subscription=subscription.pk, **tenants), "event_id"),
    ]
    unsent = _oldest(Outbox.objects.filter(subscription=subscription.pk), "delivery_id")
    at = subscription.disabled_at
    subscription.unsent_from = min(at, unsent or at)
    subscription.untold_from = min([at, *filter(None, untold)])
    subscription.save(update_fields=["unsent_from", "untold_from"])


def _oldest(rows: QuerySet, name: str) -> datetime | None:
    lowest = rows.order_by(name).values_list(name, flat=True).first()
    return time_of(lowest) if lowest else None
