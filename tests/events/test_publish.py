"""A tenant's own backend publishes: POST /api/v1/events/."""

import json

import pytest
from django.db import connection

from events import api as events_api
from tenants.models import Site, Tenant
from tenants.scope import system_scope, tenant_scope

URL = "/api/v1/events/"


@pytest.fixture
def woken(monkeypatch):
    calls = []
    monkeypatch.setattr(events_api, "wake_on_commit", calls.append)
    return calls


def test_an_event_is_kept_and_on_its_way(api, kept, woken):
    answer = api("member").post(URL, {"type": "order.paid", "payload": {"b": 1, "a": [1.5, "ü"]}, "severity": "high"})
    assert answer.status_code == 201
    event = kept().events[0]
    assert answer.json() == {
        "id": str(event.id),
        "received_at": answer.json()["received_at"],
        "occurred_at": None,
        "type": "order.paid",
        "severity": "high",
        "title": "",
        "source": None,
        "site": None,
        "receipt": None,
        "schema_version": None,
        "schema_problem": "",
        "content_type": "application/json",
        "data_problem": "",
        "data": {"b": 1, "a": [1.5, "ü"]},
    }
    assert bytes(event.body) == '{"b":1,"a":[1.5,"ü"]}'.encode()
    assert kept().inbox == [event.id]
    assert len(woken) == 1


def test_severity_is_low_unless_said(api, woken):
    assert api("owner").post(URL, {"type": "a", "payload": 1}).json()["severity"] == "low"


def test_a_site_of_the_tenant(api, cast, kept, woken):
    with tenant_scope(cast.tenant.pk):
        site = Site.objects.create(tenant=cast.tenant, name="Plant")
    assert api("owner").post(URL, {"type": "a", "payload": 1, "site": str(site.pk)}).json()["site"] == str(site.pk)


def test_a_site_of_another_tenant_is_no_choice(api, cast, kept):
    with system_scope():
        site = Site.objects.create(tenant=cast.other_tenant, name="Theirs")
    answer = api("owner").post(URL, {"type": "a", "payload": 1, "site": str(site.pk)})
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == ["site"]


def test_a_viewer_may_not(api, kept):
    assert api("viewer").post(URL, {"type": "a", "payload": 1}).status_code == 403
    assert kept().events == []


def test_nobody_may_not(client, db, kept):
    assert client.post(URL, {"type": "a", "payload": 1}, content_type="application/json").status_code == 401


def test_a_suspended_tenant_may_not(api, cast, kept):
    key = api("owner")
    with system_scope():
        Tenant.objects.get(pk=cast.tenant.pk).suspend()
    assert key.post(URL, {"type": "a", "payload": 1}).status_code == 403
    assert kept().events == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"payload": 1}, "type"),
        ({"type": "a b", "payload": 1}, "type"),
        ({"type": "x" * 129, "payload": 1}, "type"),
        ({"type": "a"}, "payload"),
        ({"type": "a", "payload": None}, "payload"),
        ({"type": "a", "payload": "x" * 1_000_001}, "payload"),
        ({"type": "a", "payload": 1, "severity": "urgent"}, "severity"),
        ({"type": "a", "payload": 1, "site": "plant"}, "site"),
    ],
)
def test_what_is_wrong_is_said(api, kept, body, field):
    answer = api("owner").post(URL, body)
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert kept().events == []


@pytest.mark.parametrize(
    "payload",
    [
        "[" * 100_000,
        "[" * 499 + "]" * 499,
        '"\\ud800"',
        '"\\u0000"',
        "1e999",
        "NaN",
        "9" * 9000,
        "{",
        "\xff",
        '{"\\ud800": "\\u0000"}',
    ],
)
def test_hostile_payloads_never_break_it(api, browser, cast, kept, woken, payload):
    body = f'{{"type": "a", "payload": {payload}}}'.encode("latin-1")
    answer = api("owner").post(URL, body, content_type="application/json")
    assert answer.status_code in {201, 400}
    for event in kept().events:
        assert browser(cast.owner).get(f"/events/{event.pk}/").status_code == 200
        json.loads(bytes(event.body))


def test_a_key_of_another_tenant_publishes_there(stranger_api, cast, kept, woken):
    stranger_api.post(URL, {"type": "a", "payload": 1})
    assert kept().events[0].tenant_id == cast.other_tenant.pk


def test_a_failure_keeps_neither_event_nor_inbox_row(api, kept, woken, monkeypatch):
    def fail(event):
        raise RuntimeError("after the insert")

    monkeypatch.setattr(events_api, "EventDetailSerializer", fail)
    with pytest.raises(RuntimeError):
        api("owner").post(URL, {"type": "a", "payload": 1})
    assert (kept().events, kept().inbox) == ([], [])
    assert connection.in_atomic_block
