"""From a claim to a request: what goes out, signed, and what may not go out any more."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db.models import Prefetch
from django.db.utils import InterfaceError, OperationalError

from deliveries import outbox
from deliveries.models import Delivery, load_whole_posts
from deliveries.outbox import Claim
from egress.client import Outcome, OutgoingRequest
from events.models import Event
from subscriptions import signing
from subscriptions.models import SigningSecret, Subscription
from tenants.scope import system_scope
from vault.keyring import KeyringError

TIMEOUT = 15.0  # seconds for one whole request
MASK = "••••"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """What goes out, and what the attempt's row will say was sent (secret values masked)."""

    request: OutgoingRequest
    shown_headers: list[tuple[str, str]]


@dataclass
class Sending:
    """One claimed delivery on its way. `prepared` is None where it could not even be signed."""

    claim: Claim
    delivery: Delivery
    signed_at: datetime
    prepared: Prepared | None = None
    outcome: Outcome | None = None


def prepare(delivery: Delivery, secrets: list[str], signed_at: datetime) -> Prepared:
    """Compose, sign and address one attempt. Raises KeyringError or ValueError where that is not possible."""
    message = delivery.message()
    signed = signing.sign(
        delivery.signing,
        secrets,
        message_id=delivery.message_id,
        timestamp=int(signed_at.timestamp()),
        body=message.body,
        options=delivery.subscription.signing_options,
    )
    own = (("Content-Type", message.content_type), *message.headers, *signed.headers)
    custom = tuple((delivery.subscription.headers or {}).items())
    request = OutgoingRequest(url=delivery.subscription.url, headers=(*own, *custom), body=signed.body, timeout=TIMEOUT)
    return Prepared(request, [*own, *((name, MASK) for name, _ in custom)])


def why_unsendable(error: Exception) -> str:
    """A sentence for people. Only our own errors' texts are known to hold no secret."""
    return str(error) if isinstance(error, KeyringError) else f"The message cannot be made ({type(error).__name__})."


def load(claims: Sequence[Claim]) -> Iterator[tuple[Sending, list[str]]]:
    """What may be sent, with the secrets that sign it. A row that cannot be read does not hold up the others."""
    try:
        with system_scope():
            sendings, cancelled = _read(claims)
            _cancel(cancelled)
            secrets = SigningSecret.objects.live_for({s.delivery.subscription_id for s in sendings})
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        if len(claims) == 1:
            logger.exception("Delivery %s cannot be read; it waits for its lease to end.", claims[0].delivery_id)
            return
        middle = len(claims) // 2
        yield from load(claims[:middle])
        yield from load(claims[middle:])
    else:
        for sending in sendings:
            yield sending, secrets.get(sending.delivery.subscription_id, [])


def _read(claims: Iterable[Claim]) -> tuple[list[Sending], list[tuple[Claim, str]]]:
    """The claimed deliveries that may be sent, and those that may not any more, with the reason."""
    now = outbox.now()
    # Events by their ids in a query of their own, which only reads the partitions of these; a join reads all.
    events = Prefetch("event", Event.objects.defer("data"))
    by_id = (
        Delivery.objects.select_related("subscription", "notice")
        .prefetch_related(events)
        .in_bulk([claim.delivery_id for claim in claims])
    )
    load_whole_posts(by_id.values())
    sendings, cancelled = [], []
    for claim in claims:
        delivery = by_id.get(claim.delivery_id)
        reason = "It is no longer kept." if delivery is None else _why_not(delivery)
        if reason:
            cancelled.append((claim, reason))
        else:
            sendings.append(Sending(claim, delivery, now))
    return sendings, cancelled


def _why_not(delivery: Delivery) -> str:
    """Why this delivery may not be sent now, or an empty string."""
    subscription = delivery.subscription
    if delivery.status != Delivery.Status.PENDING:
        return delivery.reason or f"It is {delivery.status}."
    if subscription.deleted_at:
        return "The subscription was deleted."
    if delivery.kind == Delivery.Kind.CONFIRMATION:
        if subscription.state != Subscription.State.PENDING:
            return "The subscription no longer waits for a confirmation."
    elif subscription.state != Subscription.State.IDLE:
        return f"The subscription was {subscription.get_state_display().lower()}."
    if (delivery.event if delivery.kind == Delivery.Kind.EVENT else delivery.notice) is None:
        return "What it tells of is no longer kept."
    return ""


def _cancel(cancelled: list[tuple[Claim, str]]) -> None:
    ours = outbox.finish([claim for claim, _ in cancelled])
    for claim, reason in cancelled:
        if claim.delivery_id in ours:
            Delivery.objects.filter(pk=claim.delivery_id, status=Delivery.Status.PENDING).update(
                status=Delivery.Status.CANCELLED,
                reason=reason,
                next_attempt_at=None,
                completed_at=datetime.now(UTC),
            )
