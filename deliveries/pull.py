"""Polling: a receiver fetches what would have been posted to it, and acknowledges by asking for what comes after.

1. Lock the subscription: of two polls at once the second sees what the first has done.
2. Everything up to the cursor `after` is acknowledged: delivered, and out of the queue.
3. Take the first of what waits: what was handed out and never acknowledged, in the order it was, then what is new.
4. What is new gets its place now, in the order of ids among what is committed. What commits later gets a later place,
   whatever its ids: a cursor never passes anything over.
5. Sign, as for a post at this moment.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Prefetch
from django.db.models.functions import Length
from django.utils import timezone

from deliveries import composing, pull_queue
from deliveries.models import Delivery
from deliveries.sending import why_unsendable
from events.models import Event, Receipt
from subscriptions import signing
from subscriptions.messages import WITH_CONTENT_TYPE
from subscriptions.models import SigningSecret, Subscription, WrongState
from tenants.ids import lowest_uuid7

MAX_MESSAGES = 500
MAX_BYTES = 4_000_000  # of bodies in one answer; the first message comes whatever its size
CANCEL_BATCH = 1000
GONE = "What it tells of is no longer kept."


class UnknownCursor(Exception):
    """No poll of this subscription has ever answered it."""


@dataclass(frozen=True)
class Polled:
    """One message as it would have been posted now, and the cursor that acknowledges it and all before."""

    delivery: Delivery
    cursor: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """`cursor` is where to ask next; where nothing `is_left`, later."""

    messages: list[Polled]
    cursor: int
    is_left: bool


@transaction.atomic
def poll(subscription_id: UUID, after: int | None, limit: int, at: datetime | None = None) -> Answer:
    """The first `limit` messages after what was acknowledged. Raises WrongState, UnknownCursor."""
    at = at or timezone.now()
    rows = Subscription.objects.select_for_update(no_key=True).defer("url", "headers")
    subscription = rows.get(pk=subscription_id)
    if subscription.deleted_at or not subscription.is_polled:
        raise WrongState("This subscription's messages are posted to its URL: they cannot be polled.")
    if subscription.state != Subscription.State.IDLE:
        raise WrongState(f"The subscription is {subscription.state}: what waits is kept until it is enabled again.")
    if after is not None:
        _acknowledge(subscription, after, at)
    messages, is_left = _take(subscription, limit, at)
    subscription.polled_at = at
    subscription.save(update_fields=["polled_at", "pull_place", "pull_acknowledged"])
    return Answer(messages, messages[-1].cursor if messages else subscription.pull_acknowledged, is_left)


def _acknowledge(subscription: Subscription, after: int, at: datetime) -> None:
    """An older cursor than the last is no mistake: a receiver that has lost an answer asks as it did before."""
    if after > subscription.pull_place:
        raise UnknownCursor("No poll of this subscription has answered this cursor.")
    if after <= subscription.pull_acknowledged:
        return
    ids = pull_queue.take_acknowledged(subscription.pk, after)
    Delivery.objects.filter(pk__in=ids, status=Delivery.Status.PENDING).update(
        status=Delivery.Status.DELIVERED, completed_at=at
    )
    subscription.pull_acknowledged = after


def _take(subscription: Subscription, limit: int, at: datetime) -> tuple[list[Polled], bool]:
    """What to answer, with its places given, and whether there is more."""
    rows = pull_queue.first(subscription.pk, limit + 1)
    is_left, rows = len(rows) > limit, rows[:limit]
    fitting = _fitting(rows)
    is_left, rows = is_left or fitting < len(rows), rows[:fitting]
    deliveries = _load(subscription, [delivery_id for delivery_id, _ in rows])
    whole = _content_types(deliveries.values())
    secrets = SigningSecret.objects.live_for([subscription.pk], at)[subscription.pk]
    if subscription.scheme.signs and not secrets:
        raise WrongState("The subscription's signing secret cannot be read: nothing can be signed.")
    messages: list[Polled] = []
    places: dict[UUID, int] = {}
    size = 0
    for delivery_id, place in rows:
        delivery = deliveries.get(delivery_id)
        if delivery is None or _is_gone(delivery):
            _end(delivery_id, Delivery.Status.CANCELLED, GONE, at)
            continue
        try:
            body, headers = _compose(delivery, whole.get(delivery.pk), secrets, at)
        except Exception as error:  # one that cannot be made must not stand before the others for ever
            _end(delivery_id, Delivery.Status.FAILED, why_unsendable(error), at)
            continue
        size += len(body)
        if messages and size > MAX_BYTES:
            is_left = True
            break
        if place is None:
            subscription.pull_place += 1
            place = places[delivery_id] = subscription.pull_place
        messages.append(Polled(delivery, place, headers, body))
    pull_queue.give_places(places)
    if messages:
        SigningSecret.objects.live(at).filter(subscription=subscription).touch()
    return messages, is_left


def _fitting(rows: list[tuple[UUID, int | None]]) -> int:
    """How many of them to read: bodies are measured before that. The first is read, whatever its size."""
    about = dict(Delivery.objects.filter(pk__in=[pk for pk, _ in rows]).values_list("pk", "event_id"))
    events = Event.objects.filter(pk__in={pk for pk in about.values() if pk is not None})
    sizes = dict(events.annotate(size=Length("body")).values_list("pk", "size"))
    size = 0
    for number, (pk, _) in enumerate(rows):
        size += sizes.get(about.get(pk), 0)
        if size > MAX_BYTES:
            return max(1, number)
    return len(rows)


def _load(subscription: Subscription, ids: list[UUID]) -> dict[UUID, Delivery]:
    # Events by their ids in a query of their own, which only reads the partitions of these; a join reads all.
    events = Prefetch("event", Event.objects.defer("data"))
    found = Delivery.objects.select_related("notice").prefetch_related(events).in_bulk(ids)
    for delivery in found.values():
        delivery.subscription = subscription
    return found


def _content_types(deliveries: Iterable[Delivery]) -> dict[UUID, str]:
    """By delivery, what was received with the whole post: for those whose shape passes it on."""
    passed_on = [one for one in deliveries if one.shape in WITH_CONTENT_TYPE and one.event_id and one.event]
    posts = Receipt.objects.filter(pk__in=[one.event.receipt_id for one in passed_on], body=None, event_count=1)
    found = dict(posts.values_list("pk", "content_type"))
    return {one.pk: found[one.event.receipt_id] for one in passed_on if one.event.receipt_id in found}


def _compose(
    delivery: Delivery, content_type: str | None, secrets: list[str], at: datetime
) -> tuple[bytes, tuple[tuple[str, str], ...]]:
    """The signed body as if it were posted now, and its headers. Raises KeyringError or ValueError."""
    if delivery.kind == Delivery.Kind.EVENT:
        message = composing.of_event(delivery, delivery.event, content_type or delivery.event.content_type)
    else:
        message = composing.of_notice(delivery, delivery.notice)
    signed = signing.sign(
        delivery.signing,
        secrets,
        message_id=delivery.message_id,
        timestamp=int(at.timestamp()),
        body=message.body,
        options=delivery.subscription.signing_options,
    )
    return signed.body, (("Content-Type", message.content_type), *message.headers, *signed.headers)


def _is_gone(delivery: Delivery) -> bool:
    made_of = delivery.event if delivery.kind == Delivery.Kind.EVENT else delivery.notice
    return delivery.status != Delivery.Status.PENDING or made_of is None


def _end(delivery_id: UUID, status: str, reason: str, at: datetime) -> None:
    """The queue first, as in `Delivery.cancel`."""
    pull_queue.remove([delivery_id])
    Delivery.objects.filter(pk=delivery_id, status=Delivery.Status.PENDING).update(
        status=status, reason=reason[:200], completed_at=at
    )


def forget(at: datetime | None = None) -> None:
    """What nobody has fetched in the time that it is kept, and what waits for subscriptions that were deleted.

    Call it in the system's scope.
    """
    at = at or timezone.now()
    polled = Subscription.objects.filter(delivery=Subscription.Way.PULL)
    for tenant_id, days in polled.order_by().values_list("tenant_id", "tenant__retention_days").distinct():
        kept = timedelta(days=min(days or settings.RETENTION_DAYS, settings.RETENTION_DAYS))
        pull_queue.remove_older(tenant_id, lowest_uuid7(at - kept))
    for subscription_id in polled.exclude(deleted_at=None).values_list("pk", flat=True):
        while ids := pull_queue.take_out(subscription_id, CANCEL_BATCH):
            Delivery.objects.filter(pk__in=ids, status=Delivery.Status.PENDING).update(
                status=Delivery.Status.CANCELLED, reason="The subscription was deleted.", completed_at=at
            )
