"""The algorithm of receiving. Knows no HTTP framework: a door turns its request into an `Arrival`.

1. Find the source by its ingest key.
2. Ask the source's rules who may come at all; bound the request: headers and body together (P2).
3. Prove who sends, over the bytes on the wire, before anything is parsed.
4. Open what is compressed.      5. Split it into events, and say what each is called.
6. Keep receipt, events and inbox rows in one commit.
7. Answer 202, only now.         8. Wake the worker.

`examine` is steps 2 to 5, without input or output; `Intake` is the whole of it for one request at a time, and
`events.door` for many at once. What is refused is recorded with its reason, for the admin. The sender learns the
class of the failure and what to do about it, nothing that would help to guess a secret.
"""

import ipaddress
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from typing import NamedTuple, Protocol
from uuid import UUID

from django.conf import settings
from django.db import Error as DatabaseFailure
from zstandard import ZstdCompressor

from events.arrivals import Accepted, Answer, Arrival, First, Headers, KeptBundle, KeptReceipt, Once, problem
from events.decoding import DecodeError
from events.division import Division, Owner, documents_of, storable
from events.identity import IDEMPOTENCY_SECONDS, idempotency_digest
from events.limits import RateLimiter
from events.masking import MAX_TOTAL, HeaderMask
from events.schemas import Classifier, classifier_of
from events.store import in_short
from events.streams import Item, StreamError
from sources.authentication import METHODS, InboundRequest, Verdict, verify_unknown
from sources.handshakes import Reply, answer, greet
from sources.registry import DatabaseRegistry, SourceConfig
from sources.rules import ANSWER_HEADERS, preflight
from tenants.ids import uuid7
from tenants.scope import system_scope

BUNDLED = 250  # more events than that in one post are kept in one piece first (`events.bundles`)
PACKED_BYTES = 4096
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
JWT = "jwt"

logger = logging.getLogger(__name__)


class Refused(Exception):
    """A request that is not accepted. `reason`, `detail` and `evidence` are for the admin only."""

    def __init__(
        self,
        status: int,
        reason: str,
        detail: str = "",
        headers: dict[str, str] | None = None,
        evidence: Mapping[str, str | int] | None = None,
    ) -> None:
        self.status = status
        self.reason = reason
        self.detail = detail
        self.headers = headers or {}
        self.evidence = evidence
        super().__init__(reason)


class Facts(NamedTuple):
    """What the headers of a request say, read in one go. Sizes in bytes, as declared or as read, whichever is more.

    `size` is that of headers and body together; each field has `: ` and CRLF.
    """

    content_type: bytes
    content_encoding: bytes
    body_size: int
    size: int
    has_key: bool = False  # an Idempotency-Key

    @classmethod
    def of(cls, arrival: Arrival) -> "Facts":
        kind = coding = b""
        has_key = False
        total, length = 0, len(arrival.body or b"")
        for name, value in arrival.headers:
            total += len(name) + len(value) + 4
            if name == b"content-type":
                kind = b"%s, %s" % (kind, value) if kind else value
            elif name == b"content-length":
                if value.isdigit():
                    length = max(length, int(value[:16]))
            elif name == b"content-encoding":
                coding = b"%s, %s" % (coding, value) if coding else value
            elif name == b"idempotency-key":
                has_key = True
        return cls(kind, coding, length, total + length, has_key)


class Doorway:
    """One source as the door needs it, with what is worth preparing once for all of its posts."""

    def __init__(self, source: SourceConfig, classifier: Classifier | None) -> None:
        self.source = source
        self.classifier = classifier
        self.method = METHODS[source.method]
        self.prove = self.method.prepared(source.config, source.secrets)
        self.rules = source.door_rules
        self.auth_headers = [
            str(self.method.setting(source.config, item.name))
            for item in self.method.settings
            if item.name.endswith("header")
        ]
        self.single_headers = self.method.single_headers(source.config)
        self.mask = HeaderMask(self.auth_headers, self._is_secret)
        self.division = Division(source.stream_type, source.reading, source.event_type or source.kind)
        self.origin = settings.PORTAL_URL

    def _is_secret(self, value: bytes) -> bool:
        presented = {value, value.rpartition(b" ")[2]}
        return any(secret.matches(part) for secret in self.source.secrets for part in presented)


class Registry(Protocol):
    def find(self, ingest_key: str) -> Doorway | None: ...


class Store(Protocol):
    def keep(self, batch: Sequence[Accepted]) -> list[First | None]: ...
    def refuse(self, refusals: Sequence[KeptReceipt]) -> None: ...
    def touch(self, batch: Sequence[Accepted]) -> None: ...


class DoorwayRegistry:
    """Doorways read from the database at each call."""

    def __init__(self) -> None:
        self._sources = DatabaseRegistry()

    def find(self, ingest_key: str) -> Doorway | None:
        with system_scope():
            source = self._sources.find(ingest_key)
            return None if source is None else Doorway(source, classifier_of(source.id))


class Intake:
    """Receives one request at a time. `wake` is called after each commit and must not raise."""

    def __init__(self, registry: Registry, store: Store, wake: Callable[[], None], max_bytes: int) -> None:
        self.registry = registry
        self.store = store
        self.wake = wake
        self.limiter = RateLimiter()
        self.max_bytes = max_bytes

    def receive(self, arrival: Arrival) -> Answer:
        """Take one request in. Never raises for what the request holds, nor for an absent database."""
        try:
            doorway = self.registry.find(arrival.ingest_key)
            if doorway is None:
                return unknown(arrival, self.max_bytes)
            try:
                accepted = examine(doorway, arrival, self.limiter, self.max_bytes)
                if isinstance(accepted, Answer):
                    return accepted
                (first,) = self.store.keep([accepted])
                told = told_sender(accepted, first)
            except Refused as refused:
                self.store.refuse([refusal(doorway, arrival, refused)])
                return for_page(doorway, arrival, problem(refused.status, refused.headers))
        except DatabaseFailure as error:
            logger.error("A request could not be kept and was answered 503: %s", in_short(error))
            return problem(503, {"Retry-After": str(OUTAGE_RETRY_AFTER)})
        if first is None:
            self.wake()
        self.store.touch([accepted])
        return for_page(doorway, arrival, told)


def unknown(arrival: Arrival, max_bytes: int) -> Answer:
    """404, after the work that a wrong secret would have cost: timing must not tell keys apart.

    That is the proof, the look at what is wrong with it, and the record of the refusal, which here nobody keeps.
    """
    if Facts.of(arrival).size <= max_bytes:
        verdict = verify_unknown(_inbound(arrival, ()))
        refusal(_nobody(), arrival, Refused(404, verdict.reason, verdict.detail, evidence=verdict.evidence))
    return problem(404)


@cache
def _nobody() -> Doorway:
    source = SourceConfig(UUID(int=0), UUID(int=0), "", "event", "active", True, "hmac", {}, (), "auto", "", {})
    return Doorway(source, None)


def examine(doorway: Doorway, arrival: Arrival, limiter: RateLimiter, max_bytes: int) -> Accepted | Answer:
    """Steps 2 to 5: what to keep, or an answer where there is nothing to keep. Raises Refused."""
    source, rules = doorway.source, doorway.rules
    if not source.tenant_active:
        raise Refused(404, "tenant_suspended")
    if rules.networks and not rules.admits_address(known_address(arrival.client_address)):
        raise Refused(
            403, "address_not_allowed", f"It came from {arrival.client_address[:60] or 'nobody knows where'}."
        )
    if arrival.method != "POST":
        return _without_body(doorway, arrival)
    if arrival.body is None:
        raise Refused(411, "length_missing")
    facts = Facts.of(arrival)
    if facts.size > max_bytes:
        raise Refused(413, "request_too_large", f"Headers and body are more than {max_bytes} bytes.")
    if source.require_jwt and source.method != JWT:
        raise _unproven(doorway, Verdict(False, reason="jwt_required", detail="The workspace accepts tokens only."))
    inbound = _inbound(arrival, doorway.single_headers, doorway.origin)
    verdict = doorway.prove(inbound)
    if not verdict.accepted:
        raise _unproven(doorway, verdict)
    if arrival.site_slug is not None and arrival.site_slug not in source.sites:
        raise Refused(404, "site_unknown", f"No site is called “{storable(arrival.site_slug[:60])}”.")
    if source.status != "active":
        raise Refused(503, "source_paused", headers={"Retry-After": str(PAUSED_RETRY_AFTER)})
    if rules.per_minute is not None:
        wait = limiter.take(source.id, rules.per_minute, arrival.received_at.timestamp())
        if wait is not None:
            detail = f"More than {rules.per_minute} posts within a minute."
            raise Refused(429, "rate_limited", detail, {"Retry-After": str(wait)})
    if rules.content_types and not rules.admits_content_type(facts.content_type):
        detail = f"The content type was “{storable(facts.content_type.decode('latin-1'))[:80]}”."
        raise Refused(415, "content_type_not_allowed", detail)
    opened, items = _divided(doorway, arrival.body, facts)
    return _accepted(doorway, arrival, facts, inbound, verdict, opened, items)


def _without_body(doorway: Doorway, arrival: Arrival) -> Answer:
    """What is no POST: a browser's question (CORS), a sender's that wants to know whether the address is right."""
    source = doorway.source
    if arrival.method == "OPTIONS" and (allowed := preflight(doorway.rules, arrival.headers)) is not None:
        return Answer(204, b"", allowed)
    if arrival.method == "GET" and source.preset:
        inbound = _inbound(arrival, doorway.single_headers, doorway.origin)
        reply = greet(source.preset, source.config, source.secrets, inbound, arrival.ingest_key)
        if reply is not None:
            return _replied(reply)
    raise Refused(405, "method_not_allowed", f"The method was {arrival.method[:20]}.", {"Allow": "POST"})


def _unproven(doorway: Doorway, verdict: Verdict) -> Refused:
    source = doorway.source
    if source.unreadable and verdict.reason != "jwt_required":
        detail = f"{source.unreadable} of the source's secrets could not be opened with the portal's keyring."
        return Refused(503, "secret_unreadable", detail, {"Retry-After": str(OUTAGE_RETRY_AFTER)})
    challenge = {"WWW-Authenticate": CHALLENGES.get(source.method, OTHER_CHALLENGE)}
    return Refused(401, verdict.reason, verdict.detail, challenge, verdict.evidence)


def _divided(doorway: Doorway, body: bytes, facts: Facts) -> tuple[bytes, Sequence[Item]]:
    """The body as it was before compression, and its events."""
    try:
        return doorway.division.divide(body, facts.content_encoding, facts.content_type)
    except DecodeError as error:
        raise Refused(error.status, error.code, error.detail) from None
    except StreamError as error:
        where = "" if error.index is None else f" (event {error.index + 1})"
        raise Refused(error.status, error.code, error.detail + where) from None


def _accepted(
    doorway: Doorway,
    arrival: Arrival,
    facts: Facts,
    inbound: InboundRequest,
    verdict: Verdict,
    opened: bytes,
    items: Sequence[Item],
) -> Accepted:
    source, division = doorway.source, doorway.division
    once: list[Once] = []
    if verdict.claims is not None:
        objection = doorway.method.check_opened(source.config, verdict.claims, opened)
        if objection is not None:
            raise _unproven(doorway, objection)
        token = doorway.method.once(source.config, verdict.claims, inbound.received_at)
        if token is not None:
            once.append(Once("jti", *token))
    documents = documents_of(items)
    if source.preset and len(documents) == 1:
        reply = answer(source.preset, source.config, source.secrets, inbound, documents[0])
        if reply is not None:
            receipt = _receipt(doorway, arrival, facts, status_code=reply.status, body=arrival.body)
            return Accepted(receipt, (), verdict.secret_id, answer=_replied(reply))
    if facts.has_key or source.reading:
        digest = idempotency_digest(source.reading, arrival.headers, documents, arrival.site_slug)
        if digest is not None:
            once.insert(0, Once("key", digest, IDEMPOTENCY_SECONDS))
    site_id = source.sites[arrival.site_slug] if arrival.site_slug is not None else None
    whole = len(items) == 1 and items[0].raw == arrival.body
    kept = None if whole else arrival.body
    receipt = _receipt(doorway, arrival, facts, status_code=202, site_id=site_id, body=kept, event_count=len(items))
    usual = doorway.rules.answer
    own = None if usual is None else Answer(usual[0], usual[2], ANSWER_HEADERS, usual[1])
    if len(items) > BUNDLED:
        asked = division.remembered(facts.content_encoding, facts.content_type, arrival.headers)
        bundle = KeptBundle(receipt.id, source.tenant_id, asked)
        return Accepted(_packed(receipt), (), verdict.secret_id, tuple(once), own, bundle)
    owner = Owner(source.tenant_id, source.id, receipt.id, site_id)
    ids = [uuid7() for _ in items]  # each sorts behind all that this process made before
    events = division.events(owner, ids, items, documents, arrival.headers, doorway.classifier)
    return Accepted(receipt if whole else _packed(receipt), events, verdict.secret_id, tuple(once), own)


def _packed(receipt: KeptReceipt) -> KeptReceipt:
    """The receipt with a large body made smaller, if it can be: PostgreSQL would take many times longer for it."""
    if receipt.body is None or len(receipt.body) < PACKED_BYTES:
        return receipt
    packed = ZstdCompressor(level=1).compress(receipt.body)
    return receipt._replace(body=packed, body_packed=True) if len(packed) < len(receipt.body) else receipt


def told_sender(accepted: Accepted, first: First | None) -> Answer:
    """The answer to what was kept, or was kept before. Raises Refused for a token that was used before."""
    if first is not None and first.kind == "jti":
        challenge = {"WWW-Authenticate": CHALLENGES[JWT]}
        detail = f"Its jti came with the receipt {first.receipt_id} before."
        raise Refused(401, "token_replayed", detail, challenge)
    if first is not None and accepted.answer is None:
        return acknowledged(first.receipt_id, first.event_count, duplicate=True)
    if accepted.answer is not None:
        return accepted.answer
    return acknowledged(accepted.receipt.id, accepted.receipt.event_count)


def acknowledged(receipt_id: UUID, events: int, *, duplicate: bool = False) -> Answer:
    """202 with the receipt; a duplicate says so and is otherwise answered as the first was (B6)."""
    said = ', "duplicate": true' if duplicate else ""
    return Answer(202, b'{"receipt": "%s", "events": %d%s}' % (str(receipt_id).encode(), events, said.encode()))


def for_page(doorway: Doorway, arrival: Arrival, told: Answer) -> Answer:
    """The same answer, readable by a page of another origin where the source allows it (CORS)."""
    if not doorway.rules.origins:
        return told
    origin = next((value for name, value in arrival.headers if name == b"origin"), None)
    return told._replace(headers={**told.headers, **doorway.rules.cors(origin)})


def refusal(doorway: Doorway, arrival: Arrival, refused: Refused) -> KeptReceipt:
    """The receipt of a request that is not accepted."""
    return _receipt(
        doorway,
        arrival,
        Facts.of(arrival),
        status_code=refused.status,
        site_id=doorway.source.sites.get(arrival.site_slug or ""),
        body=(arrival.body or b"")[:REFUSED_BODY_BYTES],
        reason=refused.reason,
        detail=storable(refused.detail)[:500],
        evidence=json.dumps(_storable(refused.evidence)) if refused.evidence else None,
        max_total=REFUSED_HEADER_CHARACTERS,
    )


@lru_cache(maxsize=4096)
def known_address(text: str) -> str | None:
    """An IP address in its one spelling, without a zone; None for what is none."""
    try:
        return str(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return None


def _replied(reply: Reply) -> Answer:
    return Answer(reply.status, reply.body, media_type=reply.content_type)


def _inbound(arrival: Arrival, single_headers: Sequence[str], origin: str = "") -> InboundRequest:
    headers = _unfolded(arrival.headers, single_headers) if arrival.headers_folded else arrival.headers
    return InboundRequest(
        arrival.method,
        headers,
        arrival.body or b"",
        arrival.received_at.timestamp(),
        origin + arrival.target,
    )


def _unfolded(headers: Headers, names: Sequence[str]) -> Headers:
    """Takes apart what the server joined, in authentication headers only: there two copies are a refusal.

    A shared secret that itself holds a comma cannot be told from two, and is refused through such a server.
    """
    wanted = {name.lower().encode("latin-1", "replace") for name in (*names, "authorization")}
    return tuple((name, part) for name, value in headers for part in (value.split(b",") if name in wanted else [value]))


def _receipt(
    doorway: Doorway,
    arrival: Arrival,
    facts: Facts,
    *,
    status_code: int,
    body: bytes | None,
    site_id: UUID | None = None,
    event_count: int = 0,
    reason: str = "",
    detail: str = "",
    evidence: str | None = None,
    max_total: int = MAX_TOTAL,
) -> KeptReceipt:
    return KeptReceipt(
        uuid7(),
        doorway.source.tenant_id,
        doorway.source.id,
        site_id,
        status_code,
        known_address(arrival.client_address),
        doorway.mask.json(arrival.headers, max_total),
        _media_type(facts.content_type),
        body,
        min(facts.body_size, 2**31 - 1),
        event_count,
        reason,
        detail,
        evidence,
    )


@lru_cache(maxsize=1024)
def _media_type(value: bytes) -> str:
    return storable(value.decode("latin-1"))[:200]


def _storable(evidence: Mapping[str, str | int]) -> dict[str, str | int]:
    return {name: storable(value) if isinstance(value, str) else value for name, value in evidence.items()}
