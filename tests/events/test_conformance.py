"""One matrix of requests through every door: the same status, body, headers and database rows.

What differs by nature, and is compared only as far as it can be:
- WSGI joins headers of the same name and forgets their order, so rows hold one header where the others hold two.
- WSGI cannot tell `X_Sig` from `X-Sig`, nor a chunked body's length (411); servers drop or refuse those.
- The view asks Django whether it knows the Host; the door answers whoever has a key.
- The door does not read a body that is announced too large, so nothing of it is kept.
- Django writes what is no UTF-8 in a path as it came, gunicorn as U+FFFD; only the admin sees it.
"""

import gzip
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import jwt
import pytest
import zstandard
from django.core.management import call_command
from django.db import connections

from events import door_api, store
from events.intake import DoorwayRegistry, Intake
from sources.models import Source
from sources.presets import PRESETS
from tenants.models import Site, Tenant
from tenants.scope import system_scope, tenant_scope
from tests.attack import verification
from tests.attack.verification import SENDERS, cases
from tests.events.doors import JSON, Front, Knock, Way, in_json, rows

pytestmark = pytest.mark.django_db(transaction=True)

DOORS = ("wsgi", "view", "door")
SECRET = "0123456789abcdef0123456789abcdef"
LIMIT = 1_000_000


@pytest.fixture(scope="module")
def front(django_db_setup, django_db_blocker):
    """All doors, and a tenant with a site; the tables are emptied once, after the last case."""
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "REFUSALS_A_MINUTE", 1_000_000)
        patch.setitem(connections.settings["default"], "CONN_MAX_AGE", 0)  # a thread of each request, as in production
        intake = Intake(DoorwayRegistry(), store.DatabaseStore(), lambda: None, LIMIT)
        patch.setattr(door_api, "intake", lambda: intake)
        with system_scope():
            tenant = Tenant.objects.create(name="Acme")
            Site.objects.create(tenant=tenant, name="Plant 7", slug="plant-7")
        try:
            with Front() as made:
                made.tenant = tenant
                yield made
        finally:
            call_command("flush", verbosity=0, interactive=False, inhibit_post_migrate=True)
            connections.close_all()


@pytest.fixture
def _django_db_helper(front):
    """In place of pytest-django's, which empties all tables after each test: that would take longer than the tests."""


@pytest.fixture(autouse=True)
def intake():
    """The doors' own, in place of the one that the other tests have."""


Knocks = Callable[[Way], list[Knock]]


@dataclass(frozen=True)
class Case:
    """`status` is what each knock is answered, so that three doors are not alike in being wrong."""

    status: list[int]
    knocks: Knocks
    method: str = "none"
    config: dict = field(default_factory=dict)
    fields: dict = field(default_factory=dict)
    preset: str = ""
    twist: Callable[[Source], object] | None = None
    secret: str = SECRET


def one(status: int, *, auth: str = "none", **knock) -> Case:
    """One knock, at a source without a proof if `auth` names no method."""
    more = {name: knock.pop(name) for name in ("fields", "twist") if name in knock}
    return Case([status], lambda way: [Knock(**knock)], auth, **more)


def proof(*headers: tuple[str, bytes]) -> tuple[tuple[str, bytes], ...]:
    return (*JSON, *headers)


def body(content: bytes, *headers: tuple[str, bytes], **more) -> dict:
    return {"body": content, "headers": (*JSON, *headers), **more}


def typed(content: bytes, content_type: bytes, *headers: tuple[str, bytes]) -> dict:
    return {"body": content, "headers": (("Content-Type", content_type), *headers)}


def filled(total: int) -> Knock:
    """A request whose headers and body are `total` bytes as the door counts them."""
    fixed = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"content-length", b"999800")]
    left = total - sum(len(name) + len(value) + 4 for name, value in fixed)
    return Knock(b'"' + b"x" * (999_800 - 2) + b'"', (*JSON, ("X-Fill", b"y" * (left - 999_800 - len("x-fill") - 4))))


def token(
    way: Way, *, claims: dict | None = None, header: str = "X-Webhook-JWT", secret: str = ""
) -> tuple[str, bytes]:
    claims = {"iat": int(time.time()), **(claims or {})}
    made = jwt.encode(claims, secret or way.secret, "HS256", headers={"kid": way.key_id})
    return "X-Webhook-JWT", made.encode()


def lines(count: int) -> bytes:
    return b"".join(b'{"n": %d, "type": "line.read", "severity": "high"}\n' % number for number in range(count))


def suspend(source: Source) -> None:
    Tenant.objects.get(pk=source.tenant_id).suspend()


def demand_tokens(source: Source) -> None:
    Tenant.objects.filter(pk=source.tenant_id).update(require_jwt=True)


ORIGIN = ("Origin", b"https://app.example.com")
PREFLIGHT = (
    ORIGIN,
    ("Access-Control-Request-Method", b"POST"),
    ("Access-Control-Request-Headers", b"content-type, x-key"),
)
CORS = {"fields": {"rules": {"cors_origins": ["https://app.example.com"]}}}
OWN_ANSWER = {"rules": {"response": {"status": 201, "content_type": "text/xml", "body": "<Response/>"}}}
GZIP, ZSTD = gzip.compress(b'{"a": 1}', mtime=0), zstandard.compress(b'{"a": 1}')

CASES: dict[str, Case] = {
    # bodies and their encodings
    "json object": one(202, **body(b' {"b":1.0,\r\n"a" : 1e2, "a":"\\u00e9" }\n')),
    "json array": one(202, **body(b'[{"n":0}, {"n": 1},\n{"n":2}]')),
    "json scalar": one(202, **body(b"42")),
    "empty array": one(202, **body(b"[]")),
    "concatenated json": one(202, **body(b'{"a":1}{"b":2}\n{"c":3}')),
    "json lines": one(202, **body(b'{"a":1}\n{"a":2}\r\n')),
    "plain text": one(202, **typed("naïve ☃\nlines".encode(), b"text/plain")),
    "text without a type": one(202, body=b"hello", headers=()),
    "form": one(202, **typed(b"payload=%7B%22a%22%3A1%7D", b"application/x-www-form-urlencoded")),
    "xml": one(202, **typed(b"<a><b>1</b></a>", b"application/xml")),
    "xml, elements as events": one(
        202, fields={"stream_type": "xml", "reading": {"xml_element": "b"}},
        **typed(b'<a><b x="1">1</b><b>2</b></a>', b"text/xml"),
    ),
    "xml with a document type": one(400, **typed(b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', b"application/xml")),
    "broken xml": one(400, **typed(b"<a><b></a>", b"application/xml")),
    "gzip": one(202, **body(GZIP)),
    "gzip declared": one(202, **body(GZIP, ("Content-Encoding", b"gzip"))),
    "zstd": one(202, **body(ZSTD)),
    "zstd declared": one(202, **body(ZSTD, ("Content-Encoding", b"zstd"))),
    "deflate declared": one(202, **body(zlib.compress(b'{"a": 1}'), ("Content-Encoding", b"deflate"))),
    "gzip declared, none there": one(400, **body(b'{"a": 1}', ("Content-Encoding", b"gzip"))),
    "gzip broken": one(400, **body(GZIP[:-3])),
    "gzip twice": one(400, **body(gzip.compress(GZIP, mtime=0), ("Content-Encoding", b"gzip"))),
    "brotli": one(415, **body(b"{}", ("Content-Encoding", b"br"))),
    "bomb": one(413, **body(gzip.compress(b"[" + b" " * 30_000_000 + b"]", mtime=0))),
    "empty body": one(400, **body(b"")),
    "broken json": one(400, **body(b'{"a":')),
    "not an array": one(422, fields={"stream_type": "json_array"}, **body(b'{"a": 1}')),
    "array in an envelope": one(
        202, fields={"stream_type": "json_array", "reading": {"envelope": "data.items"}},
        **body(b'{"data": {"items": [{"n": 1}, {"n": 2}]}}'),
    ),
    "no envelope": one(
        422, fields={"stream_type": "json_array", "reading": {"envelope": "data"}}, **body(b'{"other": []}')
    ),
    "5,000 lines": one(202, **body(lines(5000))),
    "10,001 events": one(413, **body(b"[" + b"1," * 10_000 + b"1]")),
    "a large body": one(202, **body(b'{"text": "' + b"x" * 200_000 + b'"}')),
    # what is named in a post
    "type, severity, time, title": one(
        202,
        **body(in_json({"type": "door.opened", "severity": "Critical", "timestamp": 1_790_000_000, "title": "Door 7"})),
    ),
    "named by the source": one(
        202,
        fields={"reading": {"event_type": "header:X-Kind", "severity": "level", "title": "what", "occurred_at": "at"}},
        **body(in_json({"level": 3, "what": "x\ny", "at": "2026-11-01T10:00:00Z"}), ("X-Kind", b"Door Opened")),
    ),
    "its kind and type": one(202, fields={"kind": "incident", "event_type": "door.log"}, **body(b'{"x": 1}')),
    # hostile JSON
    "nul": one(202, **body(b'{"a": "\\u0000", "type": "\\u0000"}')),
    "nul in a key": one(202, **body(b'{"\\u0000": 1}')),
    "lone surrogates": one(202, **body(b'{"a": "\\ud800", "title": "\\udfff", "type": "\\udc00"}')),
    "huge exponents": one(202, **body(b"[" + b"1e131071," * 5000 + b"1]")),
    "many digits": one(202, **body(b'{"a": ' + b"9" * 9000 + b"}")),
    "nan": one(202, **body(b'{"a": NaN, "b": -Infinity}')),
    "very deep": one(422, **body(b"[" * 100_000 + b"]" * 100_000)),
    "rather deep": one(202, **body(b'{"a":' * 70 + b"1" + b"}" * 70)),
    "repeated keys": one(202, **body(b'{"a": 1, "a": 2}')),
    "byte order mark": one(202, **body(b'\xef\xbb\xbf{"a": 1}')),
    "utf-16": one(400, **body('{"a": 1}'.encode("utf-16"))),
    "not utf-8": one(400, **body(b'{"a": "\xff\xfe"}')),
    "raw nul": one(400, **body(b"\x00\x00")),
    # the request
    **{
        f"method {method}": one(405, method=method, **body(b"{}"))
        for method in ("PUT", "PATCH", "DELETE", "PROPFIND", "OPTIONS")
    },
    "method GET": one(405, method="GET", body=b"", headers=()),
    "method HEAD": one(405, method="HEAD", body=b"", headers=()),
    "one byte within the bound": Case([202], lambda way: [filled(LIMIT - 1)]),
    "at the bound": Case([202], lambda way: [filled(LIMIT)]),
    "one byte beyond the bound": Case([413], lambda way: [filled(LIMIT + 1)]),
    "far beyond the bound": one(413, **body(b"x" * (LIMIT + 200_000))),
    "odd headers": one(
        202,
        **body(b"{}", ("User-Agent", b"\xfc" * 3000), ("X-Odd", b"caf\xe9 \x01"), ("X-Empty", b""), ("Cookie", b"a=b")),
    ),
    "very many headers": one(202, **body(b"{}", *((f"X-{n}", b"y" * 900) for n in range(40)))),
    "long content type": one(202, **typed(b"{}", b"x/" + b"y" * 500)),
    "query": one(202, query="a=1&b=%C3%A9", **body(b"{}")),
    "ipv6 client": one(202, client="2001:db8::1", **body(b"{}")),
    "no client": one(202, client="", **body(b"{}")),
    # paths
    "site": one(202, end="/plant-7"),
    "site and a slash": one(202, end="/plant-7/"),
    "slash": one(202, end="/"),
    "slashes": one(202, end="//"),
    "unknown site": one(404, end="/nowhere"),
    "deeper": one(404, end="/plant-7/deeper"),
    "nul in the site": one(404, end="/%00"),
    "line break in the site": one(404, end="/a%0Ab"),
    "line break deeper": one(404, end="/a/b%0A"),
    "site not utf-8": one(404, end="/%ff"),
    "site in hangul": one(404, end="/%ED%95%9C"),
    "site in capitals": one(404, end="/PLANT-7"),
    "site with a dot": one(404, end="/plant-7%2F.."),
    **{
        f"key {name}": one(404, key=key)
        for name, key in {
            "of nobody": "unknown-key-of-some-length", "too short": "short", "nul": "%00", "slash": "a%2Fb",
            "long": "x" * 4000, "emoji": "%F0%9F%92%A9", "not utf-8": "%ff", "line break": "a%0Ab", "none": "",
            "empty, then a site": "/plant-7", "deleted": "deleted:0123456789abcdef",
        }.items()
    },
    "key of nobody, deeper": one(404, key="unknown-key-of-some-length", end="/a/b/c/"),
    "key of nobody, GET": one(404, key="unknown-key-of-some-length", method="GET", body=b"", headers=()),
    "key of nobody, too large": one(404, key="unknown-key-of-some-length", **body(b"x" * (LIMIT + 1))),
    # the state of source and tenant
    "paused": one(503, twist=lambda source: source.pause()),
    "deleted": one(404, twist=lambda source: source.delete()),
    "suspended": one(404, twist=suspend),
    "tokens demanded": one(401, twist=demand_tokens),
    "tokens demanded and given": Case(
        [202], lambda way: [Knock(headers=proof(token(way)))], "jwt", twist=demand_tokens
    ),
    "paused and not proven": one(401, auth="bearer", twist=lambda source: source.pause()),
    # rules of the door
    "address allowed": one(202, fields={"rules": {"allowed_addresses": ["192.0.2.0/24"]}}),
    "address not allowed": one(403, client="198.51.100.1", fields={"rules": {"allowed_addresses": ["192.0.2.0/24"]}}),
    "address allowed, mapped": one(
        202, client="::ffff:192.0.2.9", fields={"rules": {"allowed_addresses": ["192.0.2.0/24"]}}
    ),
    "address unknown": one(403, client="", fields={"rules": {"allowed_addresses": ["192.0.2.0/24"]}}),
    "content type allowed": one(202, fields={"rules": {"content_types": ["application/*+json", "application/json"]}}),
    "content type not allowed": one(
        415, fields={"rules": {"content_types": ["application/json"]}}, **typed(b"{}", b"text/plain")
    ),
    "no content type": one(415, fields={"rules": {"content_types": ["application/json"]}}, body=b"{}", headers=()),
    "rate limit": Case([202, 202, 429], lambda way: [Knock()] * 3, fields={"rules": {"rate_limit_per_minute": 2}}),
    "preflight": one(204, method="OPTIONS", body=b"", headers=PREFLIGHT, **CORS),
    "preflight of a stranger": one(
        405, method="OPTIONS", body=b"", headers=(("Origin", b"https://evil.example"), *PREFLIGHT[1:]), **CORS
    ),
    "preflight without the rule": one(405, method="OPTIONS", body=b"", headers=PREFLIGHT),
    "from a page": one(202, **body(b"{}", ORIGIN), **CORS),
    "from a stranger's page": one(202, **body(b"{}", ("Origin", b"https://evil.example")), **CORS),
    "from a page, refused": one(400, **body(b"{", ORIGIN), **CORS),
    "from a page, not proven": one(401, auth="bearer", **body(b"{}", ORIGIN), **CORS),
    "own answer": one(201, fields=OWN_ANSWER),
    "own answer, refused": one(400, fields=OWN_ANSWER, **body(b"{")),
    "own answer without a body": one(204, fields={"rules": {"response": {"status": 204}}}),
    # once
    "idempotency key": Case(
        [202, 202, 202],
        lambda way: [
            Knock(headers=proof(("Idempotency-Key", b"k1"))),
            Knock(body=b'{"other": 1}', headers=proof(("Idempotency-Key", b"k1"))),
            Knock(headers=proof(("Idempotency-Key", b"k2"))),
        ],
    ),
    "idempotency key, own answer": Case(
        [201, 201], lambda way: [Knock(headers=proof(("Idempotency-Key", b"k")))] * 2, fields=OWN_ANSWER
    ),
    "idempotency key in the body": Case(
        [202, 202, 202],
        lambda way: [Knock(body=in_json({"id": key})) for key in ("a", "a", "b")],
        fields={"reading": {"idempotency_key": "id"}},
    ),
    "idempotency key, refused first": Case(
        [400, 202],
        lambda way: [Knock(body=given, headers=proof(("Idempotency-Key", b"k"))) for given in (b"{", b"{}")],
    ),
    "token replayed": Case(
        [202, 401, 202],
        lambda way: [
            *[Knock(headers=proof(token(way, claims={"jti": "one"})))] * 2,
            Knock(headers=proof(token(way, claims={"jti": "two"}))),
        ],
        "jwt",
    ),
    "token replayed under the same idempotency key": Case(
        [202, 202, 401],
        lambda way: [
            Knock(headers=proof(token(way, claims={"jti": "one"}), ("Idempotency-Key", key)))
            for key in (b"k", b"k", b"l")
        ],
        "jwt",
    ),
    # tokens
    "token as bearer": Case(
        [202],
        lambda way: [Knock(headers=proof(("Authorization", b"Bearer " + token(way)[1])))],
        "jwt",
    ),
    "token of another key": Case([401], lambda way: [Knock(headers=proof(token(way, secret="x" * 32)))], "jwt"),
    "claims and the body": Case(
        [202, 401], lambda way: [Knock(headers=proof(token(way, claims={"a": number}))) for number in (1, 2)], "jwt"
    ),
    # what the admin is told of a refusal must be storable, whatever it quotes
    **{
        f"evidence, {name}": one(401, auth="hmac", **body(b"{}", ("X-Signature", b"sha256=" + value)))
        for name, value in {
            "an escaped nul": b"\\u0000", "an escaped surrogate": b"\\ud800", "a quote": b'"', "latin-1": b"\xe9\xff",
        }.items()
    },
    # handshakes
    "meta": Case(
        [200, 405],
        lambda way: [
            Knock(b"", (), "GET", query=f"hub.mode=subscribe&hub.challenge=c123&hub.verify_token={token}")
            for token in (way.source.ingest_key, "wrong")
        ],
        preset="meta",
    ),
    "okta": Case(
        [200, 405],
        lambda way: [
            Knock(b"", (("Authorization", secret.encode()), ("X-Okta-Verification-Challenge", b"c123")), "GET")
            for secret in (way.secret, "wrong" * 8)
        ],
        preset="okta",
    ),
}  # fmt: skip


def _sent_by(name: str, document: dict) -> Knocks:
    sender = next(sender for sender in SENDERS if sender.name == name)

    def knocks(way: Way) -> list[Knock]:
        post = sender.sign(way.secret, way.url, in_json(document), way.now)
        return [Knock(post.body, post.headers), Knock(post.body, post.headers[:-1])]

    return knocks


CASES["slack"] = Case([200, 401], _sent_by("slack", {"type": "url_verification", "challenge": "c123"}), preset="slack")
CASES["zoom"] = Case(
    [200, 401],
    _sent_by("zoom", {"event": "endpoint.url_validation", "payload": {"plainToken": "c123"}}),
    preset="zoom",
)


UNREAD = {"one byte beyond the bound", "far beyond the bound"}
WSGI_DIFFERS = {"site not utf-8": ["detail"], "very many headers": ["headers"]}


def make(tenant: Tenant, case: Case, now: float = 0) -> Way:
    preset = PRESETS.get(case.preset)
    method = preset.method if preset else case.method
    config = preset.config_with(case.config) if preset else case.config
    fields = {**({"preset": preset.name, "reading": dict(preset.reading)} if preset else {}), **case.fields}
    if preset:
        fields.setdefault("stream_type", preset.stream_type)
    if method == "basic":
        config = {"username": "ada", **config}
    with tenant_scope(tenant.pk):
        secret = None if method == "none" else case.secret
        source, secret = Source.objects.create_with_secret(tenant, None, "A source", method, config, secret, **fields)
        return Way(source, secret, getattr(source.current_credential, "key_id", ""), now)


@contextmanager
def tenant_for(front: Front, case: Case) -> Iterator[Tenant]:
    """The common tenant, or one of its own where the case changes it."""
    if case.twist not in (suspend, demand_tokens):
        yield front.tenant
        return
    with system_scope():
        tenant = Tenant.objects.create(name="Another")
        Site.objects.create(tenant=tenant, name="Plant 7", slug="plant-7")
    yield tenant


def answers(front: Front, case: Case) -> dict[str, tuple[list, dict]]:
    """For each door what it answered to every knock, and the rows it left."""
    found = {}
    with tenant_for(front, case) as tenant:
        now = time.time()
        ways = {door: make(tenant, case, now) for door in DOORS}
        for door, way in ways.items():
            if case.twist is not None and (door == DOORS[0] or case.twist not in (suspend, demand_tokens)):
                with tenant_scope(tenant.pk):
                    case.twist(Source.objects.get(pk=way.source.pk))
        for door, way in ways.items():
            heard = [front.knock(door, way, knock) for knock in case.knocks(way)]
            found[door] = heard, rows(way)
    return found


def without(kept: dict, *columns: str) -> dict:
    receipts = [{name: value for name, value in one.items() if name not in columns} for one in kept["receipts"]]
    return {**kept, "receipts": receipts}


def folded(kept: dict) -> dict:
    """Rows as WSGI leaves them: headers in no order, and those of one name joined."""

    def fold(headers: list) -> list:
        together: dict[str, list[str]] = {}
        for name, value in headers:
            together.setdefault(name.replace("_", "-"), []).append(value)
        return sorted([name, ",".join(values)] for name, values in together.items())

    return {**kept, "receipts": [{**receipt, "headers": fold(receipt["headers"])} for receipt in kept["receipts"]]}


@pytest.mark.spec("P1", "P2", "P3", "P4", "P10", "P13", "P16", "D1", "D2", "D3", "D5", "B2", "B3", "B6")
@pytest.mark.parametrize("name", CASES)
def test_every_door_answers_and_keeps_the_same(front, name):
    case = CASES[name]
    found = answers(front, case)
    for door in DOORS:
        assert [heard.status for heard in found[door][0]] == case.status, door
    assert found["door"][0] == found["view"][0]
    unread = ("body",) if name in UNREAD else ()
    assert without(found["door"][1], *unread) == without(found["view"][1], *unread)
    assert found["wsgi"][0] == found["view"][0]
    differs = WSGI_DIFFERS.get(name, [])
    assert without(folded(found["wsgi"][1]), *differs) == without(folded(found["view"][1]), *differs)


def _telling(sender: verification.Sender) -> list[verification.Case]:
    """The verification matrix without what only the methods' own tests need: every single byte, a clock that stands."""
    chosen = [one for one in cases(sender) if not one.exact and not one.raw]
    single = [one for one in chosen if one.name.startswith("proof changed at")]
    return [one for one in chosen if one not in single[1:]]


@pytest.mark.spec("P5", "P6", "P7", "P8", "P16", "B3", "D1")
@pytest.mark.parametrize("sender", SENDERS, ids=lambda sender: sender.name)
def test_every_proof_is_judged_alike(front, sender, monkeypatch):
    """Right, wrong, missing, mutated and doubled; what is accepted is so by every door, and nothing else is."""
    auth = {name: value for name, value in sender.creation.get("auth", {}).items() if name != "method"}
    preset = sender.creation.get("preset", "")
    made = Case([], lambda way: [], sender.method, auth, preset=preset, secret=sender.secret)
    wrong = []
    ways = {door: make(front.tenant, made) for door in ("wsgi", "door")}
    judged = {door: [] for door in ways}
    telling = _telling(sender)
    for door, way in ways.items():
        monkeypatch.setattr(verification, "KEY_ID", way.key_id)
        for one in telling:
            post = one.build(way.url, time.time())
            query = post.url.partition("?")[2]
            heard = front.knock(door, way, Knock(post.body, post.headers, query=query))
            judged[door].append((one.name, heard.status, heard.body))
            if (heard.status in (200, 202)) != one.accepted and (door == "door" or not _folded(sender, one)):
                wrong.append((door, one.name, heard.status))
    assert wrong == []
    pairs = zip(telling, judged["wsgi"], judged["door"], strict=True)
    assert [(left, right) for one, left, right in pairs if left != right and not _folded(sender, one)] == []
    refused = [one for one in rows(ways["door"])["receipts"] if one["status_code"] != 202]
    assert len(refused) == sum(not one.accepted for one in telling)
    assert all(one["reason"] and one["detail"] for one in refused)


def _folded(sender: verification.Sender, one: verification.Case) -> bool:
    """Whether WSGI cannot see what is wrong: `_` became `-`, or two headers one list, where a list is allowed."""
    twice = one.name in ("proof twice", "proof and a wrong one", "a wrong proof before it")
    return "underscore" in one.name or (sender.lists and twice)
