"""What travels between the doors, the algorithm of receiving and the store. Plain values, no Django."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from uuid import UUID

PROBLEM = "application/problem+json"

# What the sender is told: one sentence for each class of failure.
DETAILS = {
    400: "The body could not be read. Correct it before you send it again.",
    401: "The request does not prove who sends it.",
    404: "Nothing receives events at this address.",
    405: "Only POST is accepted here.",
    411: "Tell the length of the body in Content-Length.",
    413: "The request is larger than this address accepts. Send less at a time.",
    415: "This kind of body is not supported. Send JSON or lines of text, plain or gzip.",
    422: "The body is not what this address expects. Correct it before you send it again.",
    503: "The request cannot be kept now. Send it again later.",
}

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class Arrival:
    """One inbound request as it stood on the wire.

    `headers` are (lowercased name, value) in wire order with duplicates kept; `headers_folded` says that the
    server joined duplicates with commas (WSGI). `body` may stop short once it is longer than any request may be,
    and is None where its length could not be known.
    """

    method: str
    ingest_key: str
    site_slug: str | None
    headers: Headers
    body: bytes | None
    client_address: str
    received_at: datetime
    headers_folded: bool = False


@dataclass(frozen=True)
class Answer:
    """What the sender gets. `body` becomes JSON."""

    status: int
    body: Mapping[str, object]
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = "application/json"


def problem(status: int, headers: dict[str, str] | None = None) -> Answer:
    """An RFC 9457 document with the class of the failure."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": DETAILS[status]}
    return Answer(status, body, headers or {}, PROBLEM)


@dataclass(frozen=True)
class KeptReceipt:
    """A row of `events_receipt`, but for its status, which accepted and refused ones differ in."""

    id: UUID
    tenant_id: UUID
    source_id: UUID
    site_id: UUID | None
    status_code: int
    client_address: str | None
    headers: list[list[str]]
    content_type: str
    body: bytes | None
    body_size: int
    event_count: int = 0
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True)
class KeptEvent:
    """A row of `events_event`. `data` is JSON text that is known to be storable as jsonb, or None."""

    id: UUID
    tenant_id: UUID
    source_id: UUID | None
    receipt_id: UUID | None
    site_id: UUID | None
    type: str
    severity: str
    content_type: str
    body: bytes
    data: str | None
    data_problem: str = ""


@dataclass(frozen=True)
class Accepted:
    """One arrival to keep: its receipt and the events it was divided into."""

    receipt: KeptReceipt
    events: tuple[KeptEvent, ...]
    secret_id: str | None = None
