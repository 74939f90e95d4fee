"""What was told, and what came of it."""

from collections.abc import Sequence
from types import ModuleType
from uuid import UUID

from django.db import models, transaction
from django.db.models import Sum
from django.db.models.functions import Length
from django.utils import timezone
from django.utils.functional import cached_property

from deliveries import composing, lanes, outbox, pull_queue
from deliveries.heartbeats import Heartbeat
from deliveries.keeping import New
from deliveries.lane_models import Lane, Pace
from deliveries.outbox import Counted
from deliveries.pull_models import PullQueue
from deliveries.replay_models import Replay, why_not_sent
from deliveries.undecided_models import Undecided
from events.models import MATERIAL, Event, Receipt
from events.partitions import Partitioned
from events.wakeup import DISPATCH, wake_on_commit
from subscriptions import messages
from subscriptions.flow import BATCH_EVENTS
from subscriptions.messages import Message
from subscriptions.models import Notice, Subscription, WrongState
from subscriptions.signing import stamp
from tenants.ids import moment, numbered, time_of
from tenants.models import Tenant
from tenants.scope import ScopedManager

__all__ = [
    "Attempt",
    "Delivery",
    "Heartbeat",
    "Lane",
    "Outbox",
    "Pace",
    "PullQueue",
    "Replay",
    "Undecided",
    "of_event",
    "of_notice",
]

CANCEL_BATCH = 1000
MAX_CANCELLED = 20_000  # at once: who asks waits for it
MAX_COUNTED = 100_000
MAX_SHOWN = 2_000_000  # bytes of a batch's bodies: a page that has more is of no use
MEANINGS = {
    "pending": "It is waiting for its next attempt, or under way.",
    "delivered": "The receiver answered with 2xx, or with what the subscription counts as received.",
    "failed": "Refused, and the delivery policy does not try again.",
    "dead": "Every attempt of the delivery policy was used up.",
    "cancelled": "Stopped before it was delivered.",
}


class DeliveryQuerySet(models.QuerySet):
    def enqueue_all(self, deliveries: "list[Delivery]") -> "list[Delivery]":
        """Keep new deliveries, each with its outbox row, due now, or in the queue of what is polled.

        The caller's transaction makes them visible. Their ids are drawn here, in their order and by the database's
        clock: in a line the lower one is first, whoever made it.
        """
        start = moment(outbox.now())
        for number, one in enumerate(deliveries):
            one.pk = numbered(start, number)
        keep_new([(as_new(one), one.subscription) for one in deliveries])
        return deliveries

    def enqueue(self, delivery: "Delivery") -> "Delivery":
        """The same for one, and wake the dispatcher when it is committed."""
        self.enqueue_all([delivery])
        wake_on_commit(DISPATCH)
        return delivery

    def count_pending(self, subscription: Subscription) -> Counted:
        """How many deliveries `cancel_pending` would cancel. Raises WrongState."""
        _refuse_unconfirmed(subscription)
        return queue_of(subscription).count_of(subscription.pk, MAX_COUNTED)

    @transaction.atomic
    def cancel_pending(self, subscription: Subscription, reason: str) -> int:
        """Whatever waits for the subscription: pending → cancelled, up to MAX_CANCELLED. Raises WrongState.

        The outbox first, as the dispatcher writes its results: in the other order the two could deadlock. A row that
        it is just writing is left as it is. Requests under way may still reach the receiver.
        """
        _refuse_unconfirmed(subscription)
        cancelled = 0
        queue = queue_of(subscription)
        while cancelled < MAX_CANCELLED and (ids := queue.take_out(subscription.pk, CANCEL_BATCH)):
            self.filter(pk__in=ids, status=Delivery.Status.PENDING).update(**_cancelled(reason))
            cancelled += len(ids)
        lanes.hurry(subscription.pk)
        return cancelled


class Delivery(Partitioned):
    """One message to one subscription: of an event, or of a notice (a test, a confirmation link, a challenge).

    Its body is frozen by what it is made of: an unchanging event or notice, and the shape noted here.
    """

    class Status(models.TextChoices):
        """pending → delivered | failed | dead | cancelled. A resend is a new delivery of the same event.

        failed: refused, and the policy does not try again; dead: every attempt was used up.
        """

        PENDING = "pending"
        DELIVERED = "delivered"
        FAILED = "failed"
        DEAD = "dead"
        CANCELLED = "cancelled"

    class Kind(models.TextChoices):
        EVENT = "event"
        TEST = "test"
        CONFIRMATION = "confirmation", "Confirmation link"
        CHALLENGE = "challenge"

    subscription = models.ForeignKey(Subscription, related_name="+", **MATERIAL)
    event = models.ForeignKey(Event, null=True, related_name="+", **MATERIAL)
    notice = models.ForeignKey(Notice, null=True, related_name="+", **MATERIAL)
    kind = models.CharField(max_length=12, choices=Kind.choices, default=Kind.EVENT)
    event_type = models.CharField(max_length=128)
    message_id = models.CharField(max_length=64, help_text="The same for every attempt and every resend of an event.")
    shape = models.CharField(max_length=20)
    signing = models.CharField(max_length=30)
    status = models.CharField(max_length=9, choices=Status.choices, default=Status.PENDING)
    reason = models.CharField(max_length=200, blank=True)
    attempt_count = models.PositiveSmallIntegerField(default=0)
    last_status_code = models.PositiveSmallIntegerField(null=True)
    next_attempt_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)
    batch = models.UUIDField(
        null=True, help_text="Of those sent in one message: the first of them, which has the attempts."
    )

    objects = ScopedManager.from_queryset(DeliveryQuerySet)()

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "deliveries"
        indexes = [
            models.Index("tenant", models.F("id").desc(), name="delivery_tenant_newest"),
            models.Index("subscription", models.F("id").desc(), name="delivery_sub_newest"),
            models.Index("event", name="delivery_event"),
            models.Index("notice", name="delivery_notice"),
        ]

    def __str__(self):
        return f"{self.event_type} {self.id}"

    @property
    def created_at(self):
        return time_of(self.id)

    @property
    def meaning(self) -> str:
        """The status in a sentence."""
        return MEANINGS[self.status]

    def message(self) -> Message:
        """The bytes to send, their Content-Type and the headers of the shape: the same each time it is asked.

        By itself, though it may have been sent in a batch.
        """
        if self.kind != self.Kind.EVENT:
            return composing.of_notice(self, self.notice)
        return composing.of_event(self, self.event, self._content_type())

    def _content_type(self) -> str:
        """As received, where the shape passes it on and the event is a whole post; else what it was found to be.

        A receipt whose body is kept beside the event holds other bytes: several events, or packed ones.
        """
        if self.shape in messages.WITH_CONTENT_TYPE and self.event.receipt_id:
            whole = Receipt.objects.filter(pk=self.event.receipt_id, body=None, event_count=1)
            return whole.values_list("content_type", flat=True).first() or self.event.content_type
        return self.event.content_type

    def shown_body(self) -> tuple[bytes, str] | None:
        """What the latest attempt sent, and its Content-Type; None where that is secret or no longer kept.

        A confirmation link is a secret of its receiver, used or not; a challenge is one until it has ended. S4 carries
        each attempt's own timestamp.
        """
        made_of = self.notice if self.event_id is None else self.event
        if self.is_secret or made_of is None:
            return None
        together = self.sent_together
        if len(together) == 1:
            message = self.message()
        elif any(one.event is None for one in together):
            return None
        else:
            message = composing.of_batch([(one, one.event, one._content_type()) for one in together])
        last = self.attempts.last()
        if self.signing == "timestamped_body" and last is not None:
            return stamp(message.body, int(last.signed_at.timestamp())), message.content_type
        return message.body, message.content_type

    @cached_property
    def sent_together(self) -> "list[Delivery]":
        """What went out in the same message, in its order. Itself alone, where it was no batch or is a very large one.

        They stand side by side, from the first on; what else was made for the subscription meanwhile is passed over.
        """
        if self.batch is None:
            return [self]
        near = Delivery.objects.filter(subscription_id=self.subscription_id, pk__gte=self.batch).order_by("id")
        rows = near.values_list("id", "event_id", "batch")[: 2 * BATCH_EVENTS]
        mine = {pk: event for pk, event, batch in rows if batch == self.batch}
        size = Event.objects.filter(pk__in=list(mine.values())).aggregate(size=Sum(Length("body")))["size"] or 0
        if size > MAX_SHOWN or self.pk not in mine:
            return [self]
        found = Delivery.objects.filter(pk__in=list(mine), pk__range=(min(mine), max(mine)))
        return list(found.select_related("event").order_by("id"))

    @property
    def is_secret(self) -> bool:
        """Whether what it says is shown to nobody."""
        is_asked = self.kind == self.Kind.CHALLENGE and self.status == self.Status.PENDING
        return is_asked or self.kind == self.Kind.CONFIRMATION

    @property
    def attempts(self):
        return Attempt.objects.filter(delivery_id=self.batch or self.pk).order_by("id")

    def resend(self) -> tuple["Delivery | None", str]:
        """A new delivery of the same event, due now: `(delivery, "")`, or `(None, why not)`.

        The message id stays, so that a receiver which has the message already can tell. The subscription's
        present shape is used.
        """
        subscription = self.subscription
        if self.kind != self.Kind.EVENT:
            return (
                None,
                "Tests, confirmation links and challenges are sent anew from the subscription, not resent.",
            )
        if why_not := why_not_sent(subscription):
            return None, why_not
        if self.status == self.Status.PENDING:
            return None, "The delivery is still under way."
        if not Event.objects.filter(pk=self.event_id).exists():
            return None, "The event is no longer kept."
        return Delivery.objects.enqueue(of_event(self.event, subscription)), ""

    @transaction.atomic
    def cancel(self, reason: str) -> bool:
        """pending → cancelled. True if this call did it. A request under way may still reach the receiver."""
        pending = Delivery.objects.filter(pk=self.pk, status=self.Status.PENDING)
        if pending.exists():
            Outbox.objects.filter(delivery_id=self.pk).delete()  # first, as in `cancel_pending`
            PullQueue.objects.filter(delivery_id=self.pk).delete()
        changed = pending.update(**_cancelled(reason))
        lanes.hurry(self.subscription_id)
        self.refresh_from_db(fields=["status", "reason", "next_attempt_at", "completed_at"])
        return bool(changed)


def queue_of(subscription: Subscription) -> ModuleType:
    """Where its pending deliveries wait. Both can count, take out, and say what is still there."""
    return pull_queue if subscription.is_polled else outbox


def _cancelled(reason: str) -> dict:
    return {
        "status": Delivery.Status.CANCELLED,
        "reason": reason[:200],
        "next_attempt_at": None,
        "completed_at": timezone.now(),
    }


def _refuse_unconfirmed(subscription: Subscription) -> None:
    if subscription.state == Subscription.State.PENDING:
        what = subscription.get_verification_display().lower()
        raise WrongState(f"While it is pending nothing but its {what} waits: that is not cancelled.")


def keep_new(made: Sequence[tuple[New, Subscription]]) -> None:
    """Each delivery where it waits: in the outbox, in line, or in the queue of what its receiver polls."""
    at_once, in_line, polled = [], [], []
    for new, subscription in made:
        if subscription.is_polled:
            polled.append(new)
        elif new.kind == "event" and subscription.sending_mode.in_line:
            in_line.append((new, subscription))
        else:
            at_once.append(new)
    outbox.put(at_once)
    lanes.put(in_line)
    pull_queue.put(polled)


def as_new(delivery: Delivery) -> New:
    return New._make([getattr(delivery, name) for name in New._fields])


def new_of_event(event: Event, subscription: Subscription, pk: UUID) -> New:
    """The same as `of_event`, for the router, which makes thousands and looks at none."""
    return New(
        pk, event.tenant_id, subscription.pk, event.pk, None, Delivery.Kind.EVENT, event.type, str(event.pk),
        subscription.shape, subscription.signing,
    )  # fmt: skip


def of_event(event: Event, subscription: Subscription) -> Delivery:
    """An unsaved delivery of an event; its message id is the event's, so a receiver knows it again."""
    return Delivery(
        tenant_id=event.tenant_id,
        subscription=subscription,
        event_id=event.pk,
        kind=Delivery.Kind.EVENT,
        event_type=event.type,
        message_id=str(event.pk),
        shape=subscription.shape,
        signing=subscription.signing,
        next_attempt_at=None if subscription.is_polled else timezone.now(),
    )


def of_notice(notice: Notice) -> Delivery:
    """An unsaved delivery of a notice to its one subscription."""
    return Delivery(
        tenant_id=notice.tenant_id,
        subscription=notice.subscription,
        notice=notice,
        kind=notice.kind,
        event_type=notice.event_type,
        message_id=str(notice.pk),
        shape=notice.subscription.shape,
        signing=notice.subscription.signing,
        next_attempt_at=None if notice.subscription.is_polled else timezone.now(),
    )


class Attempt(Partitioned):
    """One HTTP request. Append-only. Secret header values are masked before they come here."""

    LATE = "late"  # its lease had run out: it happened, and decided nothing

    delivery = models.ForeignKey(Delivery, related_name="+", **MATERIAL)
    subscription = models.ForeignKey(Subscription, related_name="+", **MATERIAL)
    number = models.PositiveSmallIntegerField()
    request_headers = models.JSONField(default=list)
    request_size = models.PositiveIntegerField(null=True, help_text="Bytes of the body; null where none was made.")
    signed_at = models.DateTimeField()
    status_code = models.PositiveSmallIntegerField(null=True)
    response_headers = models.JSONField(default=list)
    response_body = models.BinaryField(default=bytes)
    response_truncated = models.BooleanField(default=False)
    error = models.CharField(max_length=20, blank=True)
    detail = models.CharField(max_length=500, blank=True)
    outcome = models.CharField(
        max_length=10,
        help_text="What the policy made of it: delivered, retry, failed, dead, disable, or late.",
    )
    connect_ms = models.FloatField(null=True)
    dns_ms = models.FloatField(null=True, help_text="Of connect_ms, until the name was resolved.")
    tls_ms = models.FloatField(null=True, help_text="Of connect_ms, from TCP until TLS stood.")
    first_byte_ms = models.FloatField(null=True, help_text="From the request until the answer's header.")
    total_ms = models.FloatField()
    address = models.CharField(max_length=60, blank=True)

    objects = ScopedManager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index("delivery", "id", name="attempt_delivery"),
            models.Index("subscription", models.F("id").desc(), name="attempt_sub_newest"),
            models.Index("tenant", models.F("id").desc(), name="attempt_tenant_newest"),
        ]

    def __str__(self):
        return f"attempt {self.number} of {self.delivery_id}"

    @property
    def timing(self) -> list[tuple[str, float]]:
        """Where its time went, in order and in milliseconds; what was not measured is left out."""
        connecting = self.connect_ms or 0
        parts = [
            ("Name", self.dns_ms),
            ("TCP", None if self.dns_ms is None or not connecting else connecting - self.dns_ms - (self.tls_ms or 0)),
            ("TLS", self.tls_ms),
            ("Connection", self.connect_ms if self.dns_ms is None else None),
            ("Answer", self.first_byte_ms),
            ("Body", None if self.first_byte_ms is None else self.total_ms - connecting - self.first_byte_ms),
        ]
        return [(label, max(0.0, part)) for label, part in parts if part is not None]


class Outbox(models.Model):
    """A delivery that is due at `due_at`, or in its turn where that is null (`Lane`). Narrow, hot and short-lived.

    A claim draws a `lease_token`, moves `due_at` to the end of the lease and counts the attempt, all in one UPDATE.
    A result is written only where the token is still the claimer's, so a worker that stalled past its lease
    changes nothing, and one that died is followed by another when the lease runs out.
    """

    delivery = models.OneToOneField(
        Delivery,
        primary_key=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="+",
    )
    tenant = models.ForeignKey(Tenant, related_name="+", **MATERIAL)
    subscription = models.ForeignKey(Subscription, related_name="+", **MATERIAL)
    due_at = models.DateTimeField(null=True)
    attempt = models.PositiveSmallIntegerField(default=0)
    lease_token = models.UUIDField(null=True)

    objects = ScopedManager()

    class Meta:
        ordering = ["due_at"]
        verbose_name_plural = "outbox"
        indexes = [
            models.Index("due_at", name="outbox_due"),
            models.Index("subscription", "due_at", name="outbox_subscription_due"),
            models.Index("subscription", "delivery", name="outbox_line", condition=models.Q(due_at=None)),
        ]

    def __str__(self):
        return str(self.delivery_id)
