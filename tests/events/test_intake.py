"""What a sender is answered, and what is kept of it."""

import base64
import gzip
import hashlib
import hmac
import json
from datetime import UTC, datetime

import pytest

from events.arrivals import Arrival
from events.intake import Doorway, examine
from events.limits import RateLimiter
from sources.registry import SourceConfig
from tenants.ids import uuid7
from tenants.models import Site, Tenant
from tenants.scope import system_scope, tenant_scope

DEEP = b"[" * 100_000 + b"]" * 100_000
HOSTILE = {
    "deep": DEEP,
    "deep object": b'{"a":' * 450 + b"1" + b"}" * 450,
    "nul": b'{"a": "\\u0000"}',
    "nul in key": b'{"\\u0000": 1}',
    "lone surrogate": b'{"a": "\\ud800"}',
    "huge exponent": b'{"a": 1e131071}',
    "many digits": b'{"a": ' + b"9" * 9000 + b"}",
    "nan": b'{"a": NaN}',
    "infinity": b"[Infinity, -Infinity]",
    "invalid utf-8": b'{"a": "\xff\xfe"}',
    "raw nul": b"\x00\x00\x00",
    "half utf-16": '{"a": 1}'.encode("utf-16"),
    "surrogate as type": b'{"type": "\\udfff", "severity": "\\u0000"}',
    "repeated keys": b'{"a": 1, "a": 2}',
    "bom": b'\xef\xbb\xbf{"a": 1}',
    "severity is no text": b'{"severity": {"a": []}, "type": ["x"]}',
    "gzip of nothing": b"\x1f\x8b\x08",
    "empty gzip": gzip.compress(b""),
    "bomb": gzip.compress(b"[" + b" " * 30_000_000 + b"]"),
    "lines": b'{"a": 1}\n\x00\n\xff\n',
}


@pytest.mark.spec("P16")
def test_accepted_with_the_receipt(post, source, kept, intake):
    answer = post(source, {"type": "door.opened", "severity": "High"})

    receipt, event = kept().receipts[0], kept().events[0]
    assert answer.status_code == 202
    assert answer.json() == {"receipt": str(receipt.id), "events": 1}
    assert (receipt.status, receipt.status_code, receipt.event_count) == ("accepted", 202, 1)
    assert (event.type, event.severity, event.receipt_id) == ("door.opened", "high", receipt.id)
    assert event.payload == {"type": "door.opened", "severity": "High"}
    assert kept().inbox == [event.id]
    assert intake.woken


@pytest.mark.parametrize("body", [b' { "b":1.0,\r\n"a" : 1e2, "a":"\\u00e9" }\n', "naïve ☃ text\n".encode()])
def test_the_body_is_kept_byte_for_byte_and_once(post, source, kept, body):
    assert post(source, body).status_code == 202
    event, receipt = kept().events[0], kept().receipts[0]
    stored = [bytes(value) for value in (event.body, receipt.body) if value is not None]
    assert body in stored
    with system_scope():
        assert receipt.kept_bytes == body


@pytest.mark.spec("P3")
def test_gzip_is_opened_and_the_wire_bytes_stay_with_the_receipt(post, source, kept):
    wire = gzip.compress(b'{"a":1}')
    assert post(source, wire).status_code == 202
    assert bytes(kept().events[0].body) == b'{"a":1}'
    assert bytes(kept().receipts[0].body) == wire


@pytest.mark.spec("P4")
@pytest.mark.parametrize(
    ("body", "events"),
    [
        (b'[{"n":0}, {"n": 1},\n{"n":2}]', [b'{"n":0}', b'{"n": 1}', b'{"n":2}']),
        (b'{"n":0}\n{"n":1}\r\n', [b'{"n":0}', b'{"n":1}']),
        (b"[]", []),
    ],
)
def test_batches_become_events_in_order(post, source, kept, body, events):
    answer = post(source, body)
    assert answer.json()["events"] == len(events)
    assert [bytes(event.body) for event in kept().events] == events
    assert bytes(kept().receipts[0].body) == body
    assert sorted(kept().inbox) == [event.id for event in kept().events]


def test_events_sort_as_they_came_within_a_millisecond_too():
    config = SourceConfig(uuid7(), uuid7(), "", "event", "active", True, "none", {}, (), "auto", "", {})
    doorway, limiter = Doorway(config, None), RateLimiter()
    ids = []
    for number in range(300):
        body = b"[{}, {}]" if number % 3 else b"{}"
        arrival = Arrival("POST", "key", None, (), body, "127.0.0.1", datetime.now(UTC))
        ids += [event.id for event in examine(doorway, arrival, limiter, 1000).events]
    assert ids == sorted(ids)


@pytest.mark.parametrize(
    ("fields", "body", "expected"),
    [
        ({}, {"a": 1}, "event"),
        ({"kind": "incident"}, {"a": 1}, "incident"),
        ({"event_type": "door.log"}, {"a": 1}, "door.log"),
        ({"event_type": "door.log"}, {"event_type": "door.shut"}, "door.shut"),
        ({"event_type": "door.log"}, {"type": "not a name!"}, "door.log"),
    ],
)
def test_the_type_comes_from_the_payload_else_from_the_source(post, source_of, kept, fields, body, expected):
    post(source_of(**fields)[0], body)
    assert kept().events[0].type == expected


@pytest.mark.parametrize("odd", [b"1e131071", b'"\\u0000"', b'"' + b"x" * 300_000 + b'"'])
def test_a_payload_that_cannot_be_searched_still_has_its_type(post, source, kept, odd):
    post(source, b'{"type": "big.one", "severity": "high", "odd": ' + odd + b"}")
    event = kept().events[0]
    assert (event.type, event.severity, event.payload) == ("big.one", "high", None)
    assert event.data_problem


@pytest.mark.spec("D5")
def test_a_site_in_the_address_is_noted(post, source, kept, cast):
    with tenant_scope(cast.tenant.pk):
        site = Site.objects.create(tenant=cast.tenant, name="Plant 7")
    assert post(source, {"a": 1}, site=site.slug).status_code == 202
    assert kept().events[0].site_id == kept().receipts[0].site_id == site.pk


def signed(secret, body):
    return {"X-Signature": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


def basic(secret, body):
    return {"Authorization": "Basic " + base64.b64encode(f"door:{secret}".encode()).decode()}


PROOFS = {
    "shared_secret": ({}, lambda secret, body: {"X-Webhook-Key": secret}),
    "bearer": ({}, lambda secret, body: {"Authorization": f"Bearer {secret}"}),
    "basic": ({"username": "door"}, basic),
    "hmac": ({}, signed),
}


@pytest.mark.spec("P5", "P6", "P7", "P8")
@pytest.mark.parametrize("method", PROOFS)
def test_a_proof_opens_the_door_and_stays_out_of_the_receipt(post, source_of, kept, method):
    config, prove = PROOFS[method]
    source, secret = source_of(method, config=config)
    headers = prove(secret, b'{"a": 1}')
    assert post(source, b'{"a": 1}', headers=headers).status_code == 202
    shown = json.dumps(kept().receipts[0].headers)
    assert secret not in shown
    assert next(iter(headers.values())) not in shown


@pytest.mark.spec("P16")
@pytest.mark.parametrize("method", PROOFS)
def test_without_proof_401_and_the_reason_is_for_the_admin_only(post, source_of, kept, method):
    config, prove = PROOFS[method]
    source, secret = source_of(method, config=config)
    wrong = prove("x" * 40, b'{"a": 1}')
    answers = [post(source, b'{"a": 1}', headers=headers) for headers in ({}, wrong)]

    receipts = kept().receipts
    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].content == answers[1].content
    assert answers[0]["Content-Type"] == "application/problem+json"
    assert answers[0]["WWW-Authenticate"]
    assert [receipt.status_code for receipt in receipts] == [401, 401]
    assert receipts[0].reason == "header_missing"
    assert receipts[1].reason in {"secret_mismatch", "signature_mismatch"}
    for receipt in receipts:
        assert receipt.detail
        assert receipt.reason not in answers[1].content.decode()
        assert receipt.detail not in answers[1].content.decode()
    assert kept().events == []


def test_a_secret_in_the_wrong_header_is_masked(post, source_of, kept):
    source, secret = source_of("shared_secret")
    assert post(source, {"a": 1}, headers={"X-Whatever": secret, "X-Other": f"Bearer {secret}"}).status_code == 401
    assert secret not in json.dumps(kept().receipts[0].headers)


def test_a_joined_authentication_header_counts_as_two(post, source_of, kept):
    source, secret = source_of("shared_secret")
    assert post(source, {"a": 1}, headers={"X-Webhook-Key": f"{secret},{secret}"}).status_code == 401
    assert kept().receipts[0].reason == "header_duplicated"


@pytest.mark.spec("P16")
@pytest.mark.parametrize(
    "key", ["unknown-key-of-some-length", "short", "%00", "a%2Fb", "x" * 4000, "%F0%9F%92%A9", "%ff"]
)
def test_an_unknown_key_is_404_and_leaves_nothing(post, kept, db, key):
    answer = post(key, {"a": 1})
    assert answer.status_code == 404
    assert answer["Content-Type"] == "application/problem+json"
    assert kept().receipts == []


def test_an_unknown_site_is_404_after_the_proof(post, source_of, kept):
    source, secret = source_of("bearer")
    assert post(source, {"a": 1}, site="nowhere").status_code == 401
    answer = post(source, {"a": 1}, site="nowhere", headers={"Authorization": f"Bearer {secret}"})
    assert answer.status_code == 404
    assert kept().receipts[-1].reason == "site_unknown"


def test_another_tenants_site_is_unknown(post, source, cast):
    with system_scope():
        Site.objects.create(tenant=cast.other_tenant, name="Theirs")
    assert post(source, {"a": 1}, site="theirs").status_code == 404


@pytest.mark.spec("P1", "P16")
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
def test_other_methods_are_405(post, source, kept, caplog, method):
    answer = post(source, b"{}", method=method)
    assert answer.status_code == 405
    assert answer["Allow"] == "POST"
    assert kept().receipts[0].reason == "method_not_allowed"
    assert source.ingest_key not in caplog.text


@pytest.mark.spec("P2", "P16")
def test_headers_and_body_together_are_bounded(post, source, kept, settings):
    post(source, b'"' + b"x" * 900_000 + b'"')
    assert kept().receipts[0].status == "accepted"
    answer = post(source, b'"' + b"x" * 999_950 + b'"')  # the body alone would still be within
    receipt = kept().receipts[-1]
    assert answer.status_code == 413
    assert (receipt.reason, receipt.body_size) == ("request_too_large", 999_952)
    assert len(receipt.body) == 4096


@pytest.mark.spec("P16")
@pytest.mark.parametrize(
    ("stream_type", "body", "headers", "status", "reason"),
    [
        ("auto", b"", {}, 400, "body_empty"),
        ("auto", b'{"a":', {}, 400, "not_json"),
        ("auto", b'{"a": 1}', {"Content-Encoding": "gzip"}, 400, "encoding_wrong"),
        ("auto", b"\x1f\x8b\x08rest", {}, 400, "body_corrupt"),
        ("auto", b'{"a": 1}', {"Content-Encoding": "br"}, 415, "encoding_unsupported"),
        ("auto", b"<event>", {}, 400, "not_xml"),
        ("json_array", b'{"a": 1}', {}, 422, "not_an_array"),
        ("auto", DEEP, {}, 422, "too_deep"),
        ("auto", b"[" + b"1," * 10_000 + b"1]", {}, 413, "too_many_events"),
        ("auto", HOSTILE["bomb"], {}, 413, "body_too_large"),
    ],
)
def test_bodies_that_are_refused(post, source_of, kept, stream_type, body, headers, status, reason):
    source, _ = source_of(stream_type=stream_type)
    answer = post(source, body, headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert reason not in answer.content.decode()
    assert [(receipt.status, receipt.reason) for receipt in kept().receipts] == [("refused", reason)]
    assert (kept().events, kept().inbox) == ([], [])


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bodies_never_break_anything(post, source, kept, browser, cast, name):
    answer = post(source, HOSTILE[name])
    assert answer.status_code in {202, 400, 413, 422}
    owner = browser(cast.owner)
    for page in ("/events/", "/receipts/"):
        assert owner.get(page).status_code == 200
    for receipt in kept().receipts:
        assert owner.get(f"/receipts/{receipt.pk}/").status_code == 200
    for event in kept().events:
        assert bytes(event.body) in HOSTILE[name]
        assert owner.get(f"/events/{event.pk}/").status_code == 200
        assert owner.get(f"/api/v1/events/{event.pk}/raw/").content == bytes(event.body)


def test_hostile_headers_are_kept_readable(post, source, kept):
    headers = {"X-Odd": "caf\xe9 \x01", "User-Agent": "ü" * 3000, **{f"X-{n}": "y" * 900 for n in range(40)}}
    assert post(source, {"a": 1}, headers=headers, content_type="x/" + "y" * 500).status_code == 202
    receipt = kept().receipts[0]
    assert len(receipt.content_type) == 200
    assert len(json.dumps(receipt.headers, ensure_ascii=False)) < 20_000


def test_a_paused_source_asks_to_try_again(post, source_of, kept, cast):
    source, secret = source_of("bearer")
    with tenant_scope(cast.tenant.pk):
        source.pause()
    answer = post(source, {"a": 1}, headers={"Authorization": f"Bearer {secret}"})
    assert (answer.status_code, answer["Retry-After"]) == (503, "300")
    assert post(source, {"a": 1}).status_code == 401
    assert [receipt.reason for receipt in kept().receipts] == ["source_paused", "header_missing"]
    assert kept().events == []


def test_a_suspended_tenant_receives_nothing(post, source, kept, cast):
    with system_scope():
        Tenant.objects.get(pk=cast.tenant.pk).suspend()
    assert post(source, {"a": 1}).status_code == 404
    assert kept().receipts[0].reason == "tenant_suspended"
    assert kept().events == []


def test_a_deleted_source_is_unknown(post, source, kept, cast):
    with tenant_scope(cast.tenant.pk):
        source.delete()
    assert post(source, {"a": 1}).status_code == 404
    assert kept().receipts == []


def test_the_use_of_a_secret_is_noted(post, source_of, cast):
    source, secret = source_of("bearer")
    post(source, {"a": 1}, headers={"Authorization": f"Bearer {secret}"})
    with tenant_scope(cast.tenant.pk):
        source.refresh_from_db()
        assert source.credentials.get().last_used_at is not None
        assert source.last_received_at is not None
