"""The algorithm of receiving. Knows no HTTP framework: a door turns its request into an `Arrival`.

1. Find the source by its ingest key.
2. Bound the request: headers and body together (P2).
3. Prove who sends, over the bytes on the wire, before anything is parsed.
4. Open what is compressed.      5. Split it into events.
6. Keep receipt, events and inbox rows in one commit.
7. Answer 202, only now.         8. Wake the worker.

What is refused is recorded with its reason, for the admin. The sender learns the class of the failure and what
to do about it, nothing that would help to guess a secret.
"""

import ipaddress
import json
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from django.db import Error as DatabaseFailure

from events.arrivals import Accepted, Answer, Arrival, Headers, KeptEvent, KeptReceipt, problem
from events.classification import document_of, event_type, severity
from events.decoding import DecodeError, open_body
from events.masking import MAX_TOTAL, masked_headers
from events.store import in_short
from events.streams import Item, StreamError, split
from sources.authentication import METHODS, InboundRequest, Verdict, verify_unknown
from sources.registry import SourceConfig
from tenants.ids import uuid7

MAX_OPENED_BYTES = 8_000_000  # of a compressed body, opened
REFUSED_BODY_BYTES = 4096  # of a refused request, kept for the admin
REFUSED_HEADER_CHARACTERS = 4096
PAUSED_RETRY_AFTER = 300  # seconds
OUTAGE_RETRY_AFTER = 5

CHALLENGES = {
    "basic": 'Basic realm="ingest", charset="UTF-8"',
    "bearer": 'Bearer realm="ingest"',
    "jwt": 'Bearer realm="ingest"',
}
OTHER_CHALLENGE = 'Webhook realm="ingest"'  # RFC 9110 §15.5.2 demands one with every 401

logger = logging.getLogger(__name__)


class Registry(Protocol):
    def find(self, ingest_key: str) -> SourceConfig | None: ...


class Store(Protocol):
    def keep(self, batch: Sequence[Accepted]) -> None: ...
    def refuse(self, refusals: Sequence[KeptReceipt]) -> None: ...
    def touch(self, batch: Sequence[Accepted]) -> None: ...


class Refused(Exception):
    """A request that is not accepted. `reason` and `detail` are for the admin only."""

    def __init__(self, status: int, reason: str, detail: str = "", headers: dict[str, str] | None = None) -> None:
        self.status = status
        self.reason = reason
        self.detail = detail
        self.headers = headers or {}
        super().__init__(reason)


class Intake:
    """Receives for every source. `wake` is called after each commit and must not raise."""

    def __init__(self, registry: Registry, store: Store, wake: Callable[[], None], max_bytes: int) -> None:
        self.registry = registry
        self.store = store
        self.wake = wake
        self.max_bytes = max_bytes

    def receive(self, arrival: Arrival) -> Answer:
        """Take one request in. Never raises for what the request holds, nor for an absent database."""
        try:
            source = self.registry.find(arrival.ingest_key)
            if source is None:
                return self._unknown(arrival)
            try:
                accepted = self._accept(source, arrival)
            except Refused as refused:
                self.store.refuse([_refusal(source, arrival, refused)])
                return problem(refused.status, refused.headers)
            self.store.keep([accepted])
        except DatabaseFailure as error:
            logger.error("A request could not be kept and was answered 503: %s", in_short(error))
            return problem(503, {"Retry-After": str(OUTAGE_RETRY_AFTER)})
        self.wake()
        self.store.touch([accepted])
        return Answer(202, {"receipt": str(accepted.receipt.id), "events": len(accepted.events)})

    def _unknown(self, arrival: Arrival) -> Answer:
        """404, after the work that a wrong secret would have cost: timing must not tell keys apart."""
        if self._size(arrival) <= self.max_bytes:
            verify_unknown(_inbound(arrival, ()))
        return problem(404)

    def _accept(self, source: SourceConfig, arrival: Arrival) -> Accepted:
        """Steps 2 to 5. Raises Refused."""
        if not source.tenant_active:
            raise Refused(404, "tenant_suspended")
        if arrival.method != "POST":
            raise Refused(405, "method_not_allowed", f"The method was {arrival.method[:20]}.", {"Allow": "POST"})
        if arrival.body is None:
            raise Refused(411, "length_missing")
        size = self._size(arrival)
        if size > self.max_bytes:
            raise Refused(413, "request_too_large", f"Headers and body are more than {self.max_bytes} bytes.")
        verdict = self._prove(source, arrival)
        if arrival.site_slug is not None and arrival.site_slug not in source.sites:
            raise Refused(404, "site_unknown", f"No site is called “{_clean(arrival.site_slug[:60])}”.")
        if source.status != "active":
            raise Refused(503, "source_paused", headers={"Retry-After": str(PAUSED_RETRY_AFTER)})
        try:
            coding = b", ".join(value for name, value in arrival.headers if name == b"content-encoding")
            opened = open_body(arrival.body, coding, MAX_OPENED_BYTES)
            items = split(opened, source.stream_type)
        except DecodeError as error:
            raise Refused(error.status, error.code, error.detail) from None
        except StreamError as error:
            where = "" if error.index is None else f" (event {error.index + 1})"
            raise Refused(error.status, error.code, error.detail + where) from None
        return _accepted(source, arrival, items, verdict)

    def _prove(self, source: SourceConfig, arrival: Arrival) -> Verdict:
        method = METHODS[source.method]
        verdict = method.verify(source.config, source.secrets, _inbound(arrival, _auth_headers(source)))
        if not verdict.accepted and source.unreadable:
            detail = f"{source.unreadable} of the source's secrets could not be opened with the portal's keyring."
            raise Refused(503, "secret_unreadable", detail, {"Retry-After": str(OUTAGE_RETRY_AFTER)})
        if not verdict.accepted:
            challenge = CHALLENGES.get(source.method, OTHER_CHALLENGE)
            raise Refused(401, verdict.reason, verdict.detail, {"WWW-Authenticate": challenge})
        return verdict

    def _size(self, arrival: Arrival) -> int:
        """Bytes of headers and body, as declared or as read, whichever is more. Each field has `: ` and CRLF."""
        headers = sum(len(name) + len(value) + 4 for name, value in arrival.headers)
        return headers + _body_size(arrival)


def projection(item: Item) -> str | None:
    """The JSON text of an item's bounded reading, for jsonb; None where there is none."""
    return None if item.parsed is None else json.dumps(item.parsed, ensure_ascii=False, allow_nan=False)


def _inbound(arrival: Arrival, auth_headers: Sequence[str]) -> InboundRequest:
    headers = _unfolded(arrival.headers, auth_headers) if arrival.headers_folded else arrival.headers
    return InboundRequest(arrival.method, headers, arrival.body or b"", arrival.received_at.timestamp())


def _unfolded(headers: Headers, names: Sequence[str]) -> Headers:
    """Takes apart what the server joined, in authentication headers only: there two copies are a refusal.

    A shared secret that itself holds a comma cannot be told from two, and is refused through such a server.
    """
    wanted = {name.lower().encode("latin-1", "replace") for name in (*names, "authorization")}
    return tuple((name, part) for name, value in headers for part in (value.split(b",") if name in wanted else [value]))


def _auth_headers(source: SourceConfig) -> list[str]:
    """The headers that the source's method reads, beside Authorization."""
    method = METHODS[source.method]
    return [str(method.setting(source.config, item.name)) for item in method.settings if item.name == "header"]


def _accepted(source: SourceConfig, arrival: Arrival, items: Sequence[Item], verdict: Verdict) -> Accepted:
    site_id = source.sites[arrival.site_slug] if arrival.site_slug is not None else None
    whole = len(items) == 1 and items[0].raw == arrival.body
    receipt = _receipt(
        source, arrival, status_code=202, site_id=site_id, body=None if whole else arrival.body, event_count=len(items)
    )
    default = source.event_type or source.kind
    documents = [document_of(item.raw) if item.problem else item.parsed for item in items]
    events = tuple(
        KeptEvent(
            id=uuid7(),
            tenant_id=source.tenant_id,
            source_id=source.id,
            receipt_id=receipt.id,
            site_id=site_id,
            type=event_type(document, default),
            severity=severity(document),
            content_type=item.content_type,
            body=item.raw,
            data=projection(item),
            data_problem=_clean(item.problem)[:200],
        )
        for item, document in zip(items, documents, strict=True)
    )
    return Accepted(receipt, events, verdict.secret_id)


def _refusal(source: SourceConfig, arrival: Arrival, refused: Refused) -> KeptReceipt:
    return _receipt(
        source,
        arrival,
        status_code=refused.status,
        site_id=source.sites.get(arrival.site_slug or ""),
        body=(arrival.body or b"")[:REFUSED_BODY_BYTES],
        reason=refused.reason,
        detail=_clean(refused.detail)[:500],
        max_total=REFUSED_HEADER_CHARACTERS,
    )


def _receipt(source: SourceConfig, arrival: Arrival, *, max_total: int = MAX_TOTAL, **values: object) -> KeptReceipt:
    content_type = b", ".join(value for name, value in arrival.headers if name == b"content-type")

    def is_secret(value: bytes) -> bool:
        presented = {value, value.rpartition(b" ")[2]}
        return any(secret.matches(part) for secret in source.secrets for part in presented)

    return KeptReceipt(
        id=uuid7(),
        tenant_id=source.tenant_id,
        source_id=source.id,
        client_address=_address(arrival.client_address),
        headers=masked_headers(
            arrival.headers, auth_headers=_auth_headers(source), is_secret=is_secret, max_total=max_total
        ),
        content_type=_clean(content_type.decode("latin-1"))[:200],
        body_size=min(_body_size(arrival), 2**31 - 1),
        **values,
    )


def _body_size(arrival: Arrival) -> int:
    """What was read, or what was announced where that is more: reading stops beyond the bound."""
    lengths = [value for name, value in arrival.headers if name == b"content-length"]
    declared = max((int(value[:16]) for value in lengths if value.isdigit()), default=0)
    return max(declared, len(arrival.body or b""))


def _address(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return None


def _clean(text: str) -> str:
    """Text that PostgreSQL stores: no NUL, no lone surrogate."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "�")
