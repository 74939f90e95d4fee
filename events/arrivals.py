"""What travels between the doors, the algorithm of receiving and the store. Plain values, no Django.

Named tuples and not dataclasses: several are made for every request, and a frozen dataclass costs five times as much.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

PROBLEM = "application/problem+json"

# What the sender is told: one sentence for each class of failure.
DETAILS = {
    400: "The body could not be read. Correct it before you send it again.",
    401: "The request does not prove who sends it.",
    403: "This address does not accept requests from where this one came.",
    404: "Nothing receives events at this address.",
    405: "Only POST is accepted here.",
    408: "The request did not arrive in time. Send it again.",
    411: "Tell the length of the body in Content-Length.",
    413: "The request is larger than this address accepts. Send less at a time.",
    415: "This kind of body is not supported. Send JSON, XML, a form or lines of text: plain, gzip, zstd or deflate.",
    422: "The body is not what this address expects. Correct it before you send it again.",
    429: "More arrived than this address accepts. Send it again later.",
    503: "The request cannot be kept now. Send it again later.",
}

Headers = tuple[tuple[bytes, bytes], ...]
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Arrival(NamedTuple):
    """One inbound request as it stood on the wire.

    `headers` are (lowercased name, value) in wire order with duplicates kept; `headers_folded` says that the
    server joined duplicates with commas (WSGI). `body` may stop short once it is longer than any request may be,
    and is None where its length could not be known. `target` is path and query as the sender wrote them.
    `client_address` is an IP address, or "" where it cannot be known.
    """

    method: str
    ingest_key: str
    site_slug: str | None
    headers: Headers
    body: bytes | None
    client_address: str
    received_at: datetime
    target: str = ""
    headers_folded: bool = False


class Answer(NamedTuple):
    """What the sender gets. `body` is sent as it is."""

    status: int
    body: bytes
    headers: Mapping[str, str] = NO_HEADERS
    media_type: str = "application/json"


def problem(status: int, headers: Mapping[str, str] = NO_HEADERS) -> Answer:
    """An RFC 9457 document with the class of the failure."""
    return Answer(status, _PROBLEMS[status], headers, PROBLEM)


_PROBLEMS = {
    status: json.dumps(
        {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    ).encode()
    for status, detail in DETAILS.items()
}


class KeptReceipt(NamedTuple):
    """A row of `events_receipt`, but for its status, which accepted and refused ones differ in.

    `headers` and `evidence` are JSON texts. `body_packed` says that `body` is compressed (zstd), by us.
    """

    id: UUID
    tenant_id: UUID
    source_id: UUID
    site_id: UUID | None
    status_code: int
    client_address: str | None
    headers: str
    content_type: str
    body: bytes | None
    body_size: int
    event_count: int = 0
    reason: str = ""
    detail: str = ""
    evidence: str | None = None
    body_packed: bool = False


class KeptEvent(NamedTuple):
    """A row of `events_event`.

    `data` is JSON text that is known to be storable as jsonb, or None. With `body_is_data` the body itself is such
    a text, and `data` is None: it is neither sent nor kept twice.
    """

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
    body_is_data: bool = False
    title: str = ""
    occurred_at: datetime | None = None
    schema_version_id: UUID | None = None
    schema_problem: str = ""


class KeptBundle(NamedTuple):
    """A row of `events_bundle`: the events of a receipt are still to be made, in the way that `division` says."""

    receipt_id: UUID
    tenant_id: UUID
    division: str


class Once(NamedTuple):
    """What an arrival may be kept for once only. `kind` is one of `OnceKey.Kind`; remembered for so many seconds."""

    kind: str
    digest: bytes
    seconds: int


class First(NamedTuple):
    """The arrival that came before this one with the same key, of this kind."""

    kind: str
    receipt_id: UUID
    event_count: int


class Accepted(NamedTuple):
    """One arrival to keep: its receipt and the events it was divided into; and what its sender is answered.

    Very many events are not made yet: then there is a `bundle` in their place. `answer` is None for the usual
    acknowledgement.
    """

    receipt: KeptReceipt
    events: tuple[KeptEvent, ...]
    secret_id: str | None = None
    once: tuple[Once, ...] = ()
    answer: Answer | None = None
    bundle: KeptBundle | None = None
