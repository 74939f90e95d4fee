"""From a claim to a request: what goes out, signed, and what may not go out any more.

Rows are read as tuples: making model instances of them would cost more than all else that is done for a delivery.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from deliveries import breaker, challenges, composing, lines, outbox, pacing
from deliveries.endpoints import MASK, Endpoint, Endpoints, instances, selected
from deliveries.lanes import Head
from deliveries.lines import Rows, Statement, Steps
from deliveries.models import Delivery
from deliveries.outbox import Claim
from egress.authentication import Authentication, shown_headers
from egress.client import Outcome, OutgoingRequest
from events.columns import Texts, Uuids
from subscriptions import messages, verification
from subscriptions.flow import BATCHED
from subscriptions.models import Notice, Subscription
from tenants.ids import time_of
from tenants.scope import IDLE_WITH_LOCKS, system_scope
from vault.keyring import KeyringError

__all__ = [
    "MASK",
    "Prepared",
    "Sending",
    "admit",
    "admit_head",
    "cancelling",
    "is_only_spared",
    "may_have_to_wait",
    "prepare",
    "reading",
    "why_unsendable",
]

TIMEOUT = 15.0  # seconds for one whole request
MOST_READ = 16_000_000  # bytes of bodies that are read for one lot of claims; the first is, whatever its size

# Partitions are found by the range, which a plan that is made once can use; the list alone would have all looked into.
_DELIVERIES = """
    SELECT id, tenant_id, subscription_id, event_id, notice_id, kind, event_type, message_id, shape, signing, status,
        reason, clock_timestamp()
    FROM deliveries_delivery WHERE id = ANY($1) AND id BETWEEN $2 AND $3
"""
# A body beyond the bound is not even unpacked: its length is known without.
_EVENTS = """
    SELECT id, type, severity, source_id, receipt_id, content_type,
        CASE WHEN sum(octet_length(body)) OVER (ORDER BY id) - octet_length(body) < $4 THEN body END, body_is_data
    FROM events_event WHERE id = ANY($1) AND id BETWEEN $2 AND $3
"""
# A receipt whose body is kept beside the event holds other bytes: several events, or packed ones.
_WHOLE_POSTS = """
    SELECT id, content_type FROM events_receipt
    WHERE id = ANY($1) AND id BETWEEN $2 AND $3 AND body IS NULL AND event_count = 1
"""
_CANCEL = """
    WITH row AS MATERIALIZED (
        SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS row (delivery_id, token, reason)
    ), ours AS (
        DELETE FROM deliveries_outbox AS outbox USING row
        WHERE outbox.delivery_id = ANY(ARRAY[row.delivery_id]) AND outbox.lease_token = row.token
        RETURNING row.delivery_id, row.reason
    )
    UPDATE deliveries_delivery AS delivery
    SET status = 'cancelled', reason = ours.reason, next_attempt_at = NULL, completed_at = clock_timestamp()
    FROM ours WHERE delivery.id = ours.delivery_id AND delivery.status = 'pending' AND delivery.id BETWEEN $4 AND $5
"""


class Told(NamedTuple):
    """What is read of a Delivery; `read_at` by the database's clock, since a worker's may be wrong."""

    pk: UUID
    tenant_id: UUID
    subscription_id: UUID
    event_id: UUID | None
    notice_id: UUID | None
    kind: str
    event_type: str
    message_id: str
    shape: str
    signing: str
    status: str
    reason: str
    read_at: datetime


class Happened(NamedTuple):
    """What is read of an Event."""

    pk: UUID
    type: str
    severity: str
    source_id: UUID | None
    receipt_id: UUID | None
    content_type: str
    body: bytes | None  # not read, where that was too much at once
    body_is_data: bool

    @property
    def received_at(self) -> datetime:
        return time_of(self.pk)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What goes out, with what, and what the attempt's row will say was sent (secret values masked)."""

    request: OutgoingRequest
    shown_headers: list[tuple[str, str]]
    auth: Authentication | None = None


@dataclass(slots=True)
class Sending:
    """One message on its way: a claimed delivery, or a batch with its first one at the head.

    `prepared` is None where it could not even be signed.

    `about` is the event or notice it tells of, `content_type` that of the event as the shape passes it on.
    """

    claim: Claim
    delivery: Told | Delivery
    subscription: Subscription
    signed_at: datetime
    endpoint: Endpoint | None = None
    about: Any = None
    content_type: str = ""
    prepared: Prepared | None = None
    outcome: Outcome | None = None
    is_written: bool = False
    head: Head | None = None  # of the lane that it was claimed with
    others: "Sequence[Sending]" = ()  # that are in the same message, behind it


def prepare(sending: Sending) -> Prepared:
    """Compose, sign and address one attempt. Raises KeyringError or ValueError where that is not possible."""
    delivery, endpoint = sending.delivery, sending.endpoint
    if endpoint.problem is not None:
        raise endpoint.problem
    message_id = delivery.message_id
    if sending.head is not None and sending.subscription.mode == BATCHED:
        together = [sending, *sending.others]
        message_id = composing.id_of_batch([one.delivery.pk for one in together])
        message = composing.of_batch([(one.delivery, one.about, one.content_type) for one in together])
    elif delivery.kind == "event":
        message = composing.of_event(delivery, sending.about, sending.content_type)
    else:
        message = composing.of_notice(delivery, sending.about)
    signer = endpoint.signer(delivery.signing, sending.signed_at)
    signed = signer.sign(message_id, int(sending.signed_at.timestamp()), message.body)
    own = (("Content-Type", message.content_type), *message.headers, *signed.headers)
    request = OutgoingRequest(url=endpoint.url, headers=own + endpoint.headers, body=signed.body, timeout=TIMEOUT)
    return Prepared(request, [*own, *endpoint.shown, *shown_headers(endpoint.auth)], endpoint.auth)


def why_unsendable(error: Exception) -> str:
    """A sentence for people. Only our own errors' texts are known to hold no secret."""
    return str(error) if isinstance(error, KeyringError) else f"The message cannot be made ({type(error).__name__})."


class Read(NamedTuple):
    """The claimed deliveries that may be sent; those that may not any more, with the reason; and those that were not
    read, because all of them together are too large.
    """

    sendings: list[Sending]
    cancelled: list[tuple[Claim, str]]
    left: list[Claim]


def reading(
    claims: Sequence[Claim], endpoints: Endpoints, most_bytes: int = MOST_READ
) -> Generator[Statement, Rows, Read]:
    """Read what is told of, up to so many bytes of bodies, and where to."""
    ids = [claim.delivery_id for claim in claims]
    rows = yield _DELIVERIES, [Uuids(ids), min(ids), max(ids)]
    told = {row[0]: Told._make(row) for row in rows}
    current = yield from endpoints.current([claim.subscription_id for claim in claims])
    events = {one.event_id for one in told.values() if one.event_id is not None}
    about = yield from _read_events(events, most_bytes)
    first = next((told[claim.delivery_id].event_id for claim in claims if claim.delivery_id in told), None)
    if first in about and about[first].body is None:  # others, that happened before, were enough: it must not wait
        about |= yield from _read_events({first}, most_bytes)
    content_types = yield from _read_content_types(told.values(), about)
    notices = [one.notice_id for one in told.values() if one.notice_id is not None]
    if notices:
        rows = yield f"{selected(Notice)} WHERE id = ANY($1)", [Uuids(notices)]
        about |= {notice.pk: notice for notice in instances(Notice, rows)}
    sendings, cancelled, left, size = [], [], [], 0
    for claim in claims:
        delivery, endpoint = told.get(claim.delivery_id), current.get(claim.subscription_id)
        if delivery is None or endpoint is None:
            cancelled.append((claim, "It is no longer kept."))
            continue
        it = about.get(delivery.event_id if delivery.kind == "event" else delivery.notice_id)
        if reason := _why_not(delivery, endpoint, it):
            cancelled.append((claim, reason))
            continue
        if delivery.kind == "event":
            if left or size >= most_bytes or it.body is None:
                left.append(claim)
                continue
            size += len(it.body)  # once for each that is told of it
        content_type = content_types.get(delivery.pk) or getattr(it, "content_type", "")
        sendings.append(Sending(claim, delivery, endpoint.subscription, delivery.read_at, endpoint, it, content_type))
    return Read(sendings, cancelled, left)


def _read_events(ids: set[UUID], most_bytes: int) -> Steps[dict[UUID, Any]]:
    if not ids:
        return {}
    rows = yield _EVENTS, [Uuids(list(ids)), min(ids), max(ids), most_bytes]
    return {row[0]: Happened._make(row) for row in rows}


def _read_content_types(deliveries: Iterable[Told], events: dict[UUID, Happened]) -> Steps[dict[UUID, str]]:
    """By delivery, what was received with the whole post: for those whose shape passes it on."""
    receipts = {
        one.pk: events[one.event_id].receipt_id
        for one in deliveries
        if one.shape in messages.WITH_CONTENT_TYPE and one.event_id in events
    }
    wanted = {receipt for receipt in receipts.values() if receipt is not None}
    if not wanted:
        return {}
    rows = yield _WHOLE_POSTS, [Uuids(list(wanted)), min(wanted), max(wanted)]
    found = dict(rows)
    return {delivery: found[receipt] for delivery, receipt in receipts.items() if receipt in found}


def _why_not(delivery: Told, endpoint: Endpoint, about: object) -> str:
    """Why this delivery may not be sent now, or an empty string."""
    subscription = endpoint.subscription
    if delivery.status != "pending":
        return delivery.reason or f"It is {delivery.status}."
    if subscription.deleted_at:
        return "The subscription was deleted."
    if not endpoint.is_switched_on:
        return "Webhooks were switched off for the workspace."
    if delivery.kind == "confirmation":
        if subscription.state != "pending":
            return "The subscription no longer waits for a confirmation."
        if about is not None and about.created_at + verification.LIFETIME != subscription.confirmation_expires_at:
            return "A newer confirmation link has been sent since."
    elif delivery.kind == "challenge":
        if subscription.challenge_notice != delivery.notice_id:
            return "The subscription no longer waits for this challenge."
    elif subscription.state != "idle":
        return f"The subscription was {subscription.get_state_display().lower()}."
    if about is None:
        return "What it tells of is no longer kept."
    return ""


def may_have_to_wait(sending: Sending) -> bool:
    """Whether `admit` has to be asked: for a challenge to be answered, a receiver that is spared, or a limit."""
    return breaker.may_be_parked(sending) or challenges.may_be_held(sending) or pacing.is_limited(sending)


def apart(sendings: Iterable[Sending]) -> tuple[list[Sending], list[Sending]]:
    """Those that may leave at once, and those that may have to wait: one look for each subscription of a batch."""
    known: dict[tuple[UUID, str], bool] = {}
    ready: list[Sending] = []
    waiting: list[Sending] = []
    for sending in sendings:
        key = sending.claim.subscription_id, sending.delivery.kind
        if key not in known:
            known[key] = may_have_to_wait(sending)
        (waiting if known[key] else ready).append(sending)
    return ready, waiting


def is_only_spared(sending: Sending) -> bool:
    """Whether `breaker.parking` alone has to be asked, which needs no models."""
    return not (challenges.may_be_held(sending) or pacing.is_limited(sending))


def admit(sendings: Sequence[Sending]) -> tuple[list[Sending], datetime | None]:
    """Those that may leave now, and when the first of those may that a limit holds back.

    Claims of what may not are given back, as if they had not been made: one transaction.
    """
    with system_scope(idle=IDLE_WITH_LOCKS):
        kept = breaker.park(challenges.hold(sendings))
        waits = pacing.pace(kept)
        _give_back([one for one in kept if one.claim.delivery_id in waits], waits)
        return [one for one in kept if one.claim.delivery_id not in waits], min(waits.values(), default=None)


def admit_head(sendings: Sequence[Sending]) -> tuple[list[Sending], datetime | None]:
    """The same for the head of a line: one message, all of it or nothing."""
    with system_scope(idle=IDLE_WITH_LOCKS):
        if not (kept := challenges.hold(sendings)):
            return [], None
        lead, others = kept[:1], kept[1:]
        if breaker.park(lead):
            waits = pacing.pace(lead, together=[one.claim.delivery_id for one in kept])
            if not waits:
                return kept, None
            first = min(waits.values())
            _give_back(kept, {one.claim.delivery_id: first for one in kept})
            return [], first
        lines.run(outbox.putting_back([one.claim for one in others]))
        return [], None


def _give_back(sendings: Sequence[Sending], due: Mapping[UUID, datetime]) -> None:
    outbox.give_back([one.claim for one in sendings], [due[one.claim.delivery_id] for one in sendings])


def cancelling(cancelled: Sequence[tuple[Claim, str]]) -> Steps[None]:
    """pending → cancelled, where they are still ours."""
    if not cancelled:
        return
    ids = [claim.delivery_id for claim, _ in cancelled]
    tokens = Uuids([claim.token for claim, _ in cancelled])
    yield _CANCEL, [Uuids(ids), tokens, Texts([reason for _, reason in cancelled]), min(ids), max(ids)]
