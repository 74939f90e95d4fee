"""Rules of the door, through the door: who may post, how often, what, and what the sender hears."""

import json
from datetime import UTC, datetime

import pytest
from django.test import Client

from sources.models import Source
from sources.rules import clean
from tenants.scope import system_scope
from tests.events.test_door import over_asgi

pytestmark = pytest.mark.django_db(transaction=True)
URL = "/api/v1/sources/"
PAGE = "https://app.example.com"


@pytest.fixture
def ruled(source_of):
    """A source with these rules."""
    return lambda method="none", **rules: source_of(method, rules=clean(rules))[0]


def posted_from(source, address, body=b"{}", **headers):
    client = Client(REMOTE_ADDR=address)
    return client.generic("POST", f"/in/{source.ingest_key}", body, content_type="application/json", headers=headers)


@pytest.mark.spec("P16", "B5")
def test_another_address_is_refused_before_anything_is_read(ruled, kept):
    source = ruled("bearer", allowed_addresses=["203.0.113.0/24"])
    refused = posted_from(source, "192.0.2.7")
    assert (refused.status_code, refused["Content-Type"]) == (403, "application/problem+json")
    assert refused.json()["status"] == 403
    assert "203.0.113" not in refused.content.decode(), "the sender does not learn the list"
    assert posted_from(source, "203.0.113.9").status_code == 401, "an address proves nothing"
    first, _ = kept().receipts
    assert (first.reason, first.status_code, first.client_address) == ("address_not_allowed", 403, "192.0.2.7")
    assert "192.0.2.7" in first.detail
    assert first.explanation != "The request was not accepted."


def test_an_address_of_the_list_is_let_in(ruled, kept):
    source = ruled(allowed_addresses=["203.0.113.0/24"])
    assert posted_from(source, "203.0.113.9").status_code == 202
    assert posted_from(source, "::ffff:203.0.113.9").status_code == 202
    assert [receipt.client_address for receipt in kept().receipts] == ["203.0.113.9"] * 2


@pytest.mark.spec("P16")
def test_behind_a_proxy_the_list_is_about_its_client(ruled, settings):
    source = ruled(allowed_addresses=["203.0.113.0/24"])
    spoofed = {"X-Forwarded-For": "203.0.113.9"}
    assert posted_from(source, "10.0.0.1", **spoofed).status_code == 403
    settings.TRUSTED_PROXIES = 1
    assert posted_from(source, "10.0.0.1", **spoofed).status_code == 202
    assert posted_from(source, "10.0.0.1", **{"X-Forwarded-For": "203.0.113.9, 6.6.6.6"}).status_code == 403
    assert posted_from(source, "203.0.113.9").status_code == 403, "around the proxy"


@pytest.mark.spec("P16")
@pytest.mark.parametrize(
    ("forwarded", "status"),
    [
        ([], 403),
        ([b"203.0.113.9"], 202),
        ([b"6.6.6.6", b"203.0.113.9"], 202),
        ([b"6.6.6.6, 203.0.113.9"], 202),
        ([b"203.0.113.9", b"6.6.6.6"], 403),
        ([b"203.0.113.9,"], 403),
    ],
    ids=str,
)
def test_the_door_itself_counts_from_the_right_too(ruled, settings, kept, forwarded, status):
    settings.TRUSTED_PROXIES = 1
    source = ruled(allowed_addresses=["203.0.113.0/24"])
    headers = [(b"x-forwarded-for", value) for value in forwarded]
    assert over_asgi(f"/in/{source.ingest_key}", [b"{}"], headers).status == status
    if status == 202:
        assert kept().receipts[0].client_address == "203.0.113.9"


@pytest.mark.spec("P16")
def test_too_many_posts_are_told_when_to_come_back(ruled, post, kept):
    source = ruled(rate_limit_per_minute=2)
    assert [post(source, {"n": n}).status_code for n in range(2)] == [202, 202]
    refused = post(source, {"n": 2})
    assert (refused.status_code, refused["Content-Type"]) == (429, "application/problem+json")
    assert 1 <= int(refused["Retry-After"]) <= 61
    assert len(kept().events) == 2
    assert (kept().receipts[-1].reason, kept().receipts[-1].status_code) == ("rate_limited", 429)


def test_who_cannot_prove_itself_takes_nothing_of_the_limit(source_of, post):
    source, secret = source_of("bearer", rules={"rate_limit_per_minute": 1})
    assert [post(source, {}).status_code for _ in range(3)] == [401] * 3
    assert post(source, {}, headers={"Authorization": f"Bearer {secret}"}).status_code == 202
    assert post(source, {}, headers={"Authorization": f"Bearer {secret}"}).status_code == 429


def test_a_limit_is_of_one_source(ruled, post):
    one, other = ruled(rate_limit_per_minute=1), None
    assert post(one, {}).status_code == 202
    with system_scope():
        Source.objects.filter(pk=one.pk).update(name="First")
    other = ruled(rate_limit_per_minute=1)
    assert post(other, {}).status_code == 202
    assert post(one, {}).status_code == 429


@pytest.mark.spec("P16")
@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 202),
        ("application/json; charset=utf-8", 202),
        ("application/cloudevents+json", 202),
        ("text/plain", 415),
        ("", 415),
    ],
)
def test_only_some_content_types(ruled, post, kept, content_type, status):
    source = ruled(content_types=["application/json", "application/*+json"])
    assert post(source, {}, content_type=content_type).status_code == status
    assert (kept().receipts[-1].reason == "content_type_not_allowed") is (status == 415)


def preflight(source, origin=PAGE, method="POST", headers="content-type,x-webhook-key"):
    asked = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    return Client().options(f"/in/{source.ingest_key}", headers=asked)


@pytest.mark.spec("P16")
def test_a_page_may_post_where_its_origin_is_listed(ruled, post, kept):
    source = ruled("shared_secret", cors_origins=[PAGE])
    allowed = preflight(source)
    assert (allowed.status_code, allowed.content) == (204, b"")
    assert allowed["Access-Control-Allow-Origin"] == PAGE
    assert allowed["Access-Control-Allow-Methods"] == "POST"
    assert "x-webhook-key" in allowed["Access-Control-Allow-Headers"]
    assert kept().receipts == [], "a question is no refusal"
    refused = post(source, {}, headers={"Origin": PAGE})
    assert (refused.status_code, refused["Access-Control-Allow-Origin"]) == (401, PAGE), "a page reads its error"
    assert "Access-Control-Allow-Credentials" not in refused


def test_a_page_of_another_origin_may_not(ruled, post):
    source = ruled(cors_origins=[PAGE])
    for answer in (preflight(source, origin="https://evil.example"), preflight(source, method="PUT")):
        assert answer.status_code == 405
        assert "Access-Control-Allow-Methods" not in answer
    assert "Access-Control-Allow-Origin" not in post(source, {}, headers={"Origin": "https://evil.example"})


def test_without_the_switch_no_page_may(source, post):
    assert preflight(source).status_code == 405
    assert "Access-Control-Allow-Origin" not in post(source, {}, headers={"Origin": PAGE})


def test_a_page_of_any_origin(ruled, post):
    source = ruled(cors_origins=["*"])
    assert preflight(source, origin="null")["Access-Control-Allow-Origin"] == "*"
    answer = post(source, {}, headers={"Origin": PAGE})
    assert (answer.status_code, answer["Access-Control-Allow-Origin"]) == (202, "*")


@pytest.mark.spec("P16")
@pytest.mark.parametrize(
    ("response", "status", "content_type", "body"),
    [
        ({"body": "ok"}, 200, "text/plain; charset=utf-8", b"ok"),
        ({"status": 204}, 204, "text/plain; charset=utf-8", b""),
        ({"status": 201, "content_type": "application/json", "body": '{"a":1}'}, 201, "application/json", b'{"a":1}'),
        ({"content_type": "text/xml", "body": "<Response/>"}, 200, "text/xml; charset=utf-8", b"<Response/>"),
    ],
    ids=["text", "nothing", "json", "xml"],
)
def test_the_sender_hears_what_it_wants_to(ruled, post, kept, response, status, content_type, body):
    source = ruled(response=response)
    answer = post(source, {"type": "a.b"})
    assert (answer.status_code, answer["Content-Type"], answer.content) == (status, content_type, body)
    assert len(kept().events) == 1
    assert post(source, b"{").status_code == 400, "a refusal stays a refusal"


def test_an_answer_runs_nothing_in_the_portals_name(ruled, post):
    script = '<x:script xmlns:x="http://www.w3.org/1999/xhtml">alert(1)</x:script>'
    answer = post(ruled(response={"content_type": "text/xml", "body": script}), {})
    assert answer["Content-Security-Policy"].startswith("sandbox")


@pytest.mark.spec("D6")
def test_what_the_api_stores_is_what_the_door_does(api, kept, post):
    reading = {
        "event_type": "{header:X-Event}.{action}",
        "severity": "alert.level",
        "occurred_at": "alert.at",
        "title": "alert.text",
    }
    made = api().post(URL, {"name": "Alerts", "auth": {"method": "none"}, "reading": reading}).json()
    body = {"action": "opened", "alert": {"level": 2, "at": 1_714_566_615_000, "text": "Disk\nfull"}}
    with system_scope():
        source = Source.objects.get(pk=made["id"])
    assert post(source, body, headers={"X-Event": "Incident Hook"}).status_code == 202
    (event,) = kept().events
    assert (event.type, event.severity, event.title) == ("Incident_Hook.opened", "high", "Disk full")
    assert event.occurred_at == datetime(2024, 5, 1, 12, 30, 15, tzinfo=UTC)


def test_each_event_of_a_batch_is_read_for_itself(source_of, post, kept):
    source, _ = source_of(reading={"event_type": "kind", "title": "{kind} {n}"})
    post(source, [{"kind": "one", "n": 1}, {"kind": "two", "n": 2, "level": "error"}, {"type": "portal.three"}])
    events = [(event.type, event.severity, event.title) for event in kept().events]
    assert events == [("one", "low", "one 1"), ("two", "high", "two 2"), ("event", "low", "")]


@pytest.mark.parametrize("reading", [{}, {"event_type": "header:X-Event"}, {"event_type": "{a}.{b}"}], ids=str)
def test_no_sender_speaks_in_the_portals_name(source_of, post, kept, reading):
    source, _ = source_of(reading=reading, event_type="order.changed")
    post(source, {"type": "portal.source.silent", "a": "portal", "b": "x"}, headers={"X-Event": "portal/source"})
    assert kept().events[0].type == "order.changed"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (URL, {"name": "A", "auth": {"method": "none"}, "event_type": "portal.x"}, "event_type"),
        ("/api/v1/events/", {"type": "portal.x", "payload": {}}, "type"),
    ],
)
def test_nor_does_the_api(api, path, body, field):
    refused = api().post(path, body)
    assert refused.status_code == 400
    (error,) = refused.json()["errors"]
    assert error["field"] == field
    assert "portal." in error["detail"]


def test_what_a_backend_publishes_has_title_and_time_too(api, kept):
    payload = {"title": "Backup done", "time": "2024-05-01T12:30:15Z", "type": "ignored"}
    assert api().post("/api/v1/events/", {"type": "backup.done", "payload": payload}).status_code == 201
    (event,) = kept().events
    assert (event.type, event.title) == ("backup.done", "Backup done")
    assert event.occurred_at == datetime(2024, 5, 1, 12, 30, 15, tzinfo=UTC)


@pytest.fixture
def source_id(api):
    return api().post(URL, {"name": "Ruled", "auth": {"method": "shared_secret"}}).json()["id"]


@pytest.fixture
def change(api, source_id):
    return lambda body: api().patch(f"{URL}{source_id}/", body)


def test_settings_change_one_by_one(change):
    change({"rules": {"allowed_addresses": ["10.0.0.0/8"], "response": {"status": 201, "body": "ok"}}})
    change({"reading": {"title": "$.alert.text", "severity": "level"}})
    shown = change({"rules": {"response": {"status": None}}, "reading": {"severity": None}}).json()
    assert shown["rules"]["allowed_addresses"] == ["10.0.0.0/8"]
    assert shown["rules"]["response"] == {"status": None, "content_type": None, "body": "ok"}
    assert shown["reading"]["title"] == "alert.text"
    assert shown["reading"]["severity"] is None
    assert change({"rules": {"response": None}}).json()["rules"]["response"] is None
    assert change({"rules": shown["rules"], "reading": shown["reading"]}).json()["rules"] == shown["rules"]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"rules": {"allowed_addresses": ["x"]}}, {"rules.allowed_addresses"}),
        ({"rules": {"response": {"body": "\x00"}}}, {"rules.response.body"}),
        ({"rules": {"colour": 1}, "reading": {"title": "a..b"}}, {"rules.colour", "reading.title"}),
        ({"rules": []}, {"rules"}),
        ({"rules": None}, {"rules"}),
        ({"reading": "title"}, {"reading"}),
        ({"reading": {"title": "header:X-Webhook-Key"}}, {"reading.title"}),
        ({"reading": {"event_type": "{header:x-webhook-KEY}.a"}}, {"reading.event_type"}),
    ],
)
def test_mistakes_are_said_under_their_path(change, body, fields):
    refused = change(body)
    assert refused.status_code == 400
    assert {error["field"] for error in refused.json()["errors"]} == fields


def test_rules_are_on_record_from_the_start_and_when_they_change(change, api):
    made = api().post(URL, {"name": "New", "auth": {"method": "none"}, "rules": {"rate_limit_per_minute": 7}}).json()
    change({"rules": {"rate_limit_per_minute": 5}})
    entries = {one["action"]: json.dumps(one) for one in api().get("/api/v1/audit/").json()["results"]}
    assert '"rules": [{}, {"rate_limit_per_minute": 5}]' in entries["source.updated"]
    created = next(one for one in api().get("/api/v1/audit/").json()["results"] if made["id"] in json.dumps(one))
    assert '{"rate_limit_per_minute": 7}' in json.dumps(created)


def test_a_preset_can_be_read_another_way(api):
    made = (
        api()
        .post(
            URL,
            {"name": "Code", "preset": "github", "reading": {"event_type": "header:X-GitHub-Event", "title": "action"}},
        )
        .json()
    )
    assert made["reading"]["event_type"] == "header:X-GitHub-Event"
    assert made["reading"]["idempotency_key"] == "header:X-GitHub-Delivery"
    plain = api().post(URL, {"name": "Plain", "preset": "github", "reading": {"event_type": None}}).json()
    assert plain["reading"]["event_type"] is None
