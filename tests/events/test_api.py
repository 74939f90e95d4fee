"""Reading what arrived: lists, filters, search, raw bytes, and nothing of another tenant's."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from events import search
from tenants.models import Site
from tenants.scope import tenant_scope

HOUR = timedelta(hours=1)


@pytest.fixture
def some(post, source, source_of, kept, cast):
    """Three events: door.opened (high), door.shut at a site, order.paid of another source; and a refusal."""
    with tenant_scope(cast.tenant.pk):
        Site.objects.create(tenant=cast.tenant, name="Plant")
    shop, _ = source_of(name="Shop")
    post(source, {"type": "door.opened", "severity": "high", "who": "Ada"})
    post(source, {"type": "door.shut", "note": "100% müde_"}, site="plant")
    post(shop, {"type": "order.paid", "total": 12})
    post(shop, b"{")
    return kept()


def types(answer):
    assert answer.status_code == 200, answer.content
    return [row["type"] for row in answer.json()["results"]]


def test_events_newest_first_without_payloads(api, some):
    answer = api("viewer").get("/api/v1/events/")
    assert types(answer) == ["order.paid", "door.shut", "door.opened"]
    assert "data" not in answer.json()["results"][0]


@pytest.mark.spec("P17")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("type=door.shut", ["door.shut"]),
        ("type=door.*", ["door.shut", "door.opened"]),
        ("severity=high", ["door.opened"]),
        ("q=ada", ["door.opened"]),
        ("q=ADA+door", ["door.opened"]),
        ("q=order.pa", ["order.paid"]),
        ("q=100%25", ["door.shut"]),
        ("q=d__r", []),
        ("q=müde_", ["door.shut"]),
        ("q=nothing", []),
        ("range=1h&q=ada", ["door.opened"]),
    ],
)
def test_event_filters(api, some, query, expected):
    assert types(api("viewer").get(f"/api/v1/events/?{query}")) == expected


@pytest.mark.spec("P17")
def test_filters_by_what_it_belongs_to(api, some, source):
    viewer = api("viewer")
    assert types(viewer.get(f"/api/v1/events/?source={source.pk}")) == ["door.shut", "door.opened"]
    assert types(viewer.get(f"/api/v1/events/?site={some.events[1].site_id}")) == ["door.shut"]
    assert types(viewer.get(f"/api/v1/events/?receipt={some.receipts[0].pk}")) == ["door.opened"]
    assert types(viewer.get(f"/api/v1/events/?q={some.events[0].pk}")) == ["door.opened"]


@pytest.mark.spec("P17")
def test_filters_by_time(api, some):
    viewer = api("viewer")
    now = timezone.now()
    assert len(types(viewer.get("/api/v1/events/", {"since": (now - HOUR).isoformat()}))) == 3
    assert types(viewer.get("/api/v1/events/", {"until": (now - HOUR).isoformat()})) == []
    assert types(viewer.get("/api/v1/events/", {"since": (now + HOUR).isoformat()})) == []


@pytest.mark.parametrize("query", ["since=yesterday", "severity=urgent", "source=x", "range=2h", f"q={'x' * 201}"])
def test_a_wrong_filter_is_400_and_named(api, some, query):
    answer = api("viewer").get(f"/api/v1/events/?{query}")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == query.split("=")[0]


def test_a_search_that_takes_too_long_is_stopped(api, browser, cast, some, monkeypatch):
    monkeypatch.setattr(search, "PATIENCE", 1)
    with tenant_scope(cast.tenant.pk), connection.cursor() as cursor:
        cursor.execute("UPDATE events_event SET body_is_data = false, data = to_jsonb(repeat('x', 3000000))")
    answer = api("viewer").get("/api/v1/events/?q=yyyy")
    assert answer.status_code == 422
    assert "too long" in answer.json()["detail"]
    assert b"took too long" in browser(cast.viewer).get("/events/?q=yyyy").content


def test_one_event(api, some):
    answer = api("viewer").get(f"/api/v1/events/{some.events[0].pk}/").json()
    assert answer["data"] == {"type": "door.opened", "severity": "high", "who": "Ada"}
    assert answer["receipt"] == str(some.receipts[0].pk)


@pytest.mark.parametrize("accept", ["*/*", "application/octet-stream", "application/json"])
def test_raw_bytes_are_an_attachment(api, post, source, kept, accept):
    body = b'<script>alert(1)</script>\xff\n{"a":1}'
    with_wire = post(source, body, content_type="text/html")
    assert with_wire.status_code in {202, 400}
    for kind, rows in (("events", kept().events), ("receipts", kept().receipts)):
        for row in rows:
            answer = api("viewer").get(f"/api/v1/{kind}/{row.pk}/raw/", HTTP_ACCEPT=accept)
            assert answer.status_code == 200
            assert answer.content in body
            assert answer["Content-Type"] == "application/octet-stream"
            assert answer["Content-Disposition"].startswith("attachment")
            assert answer["X-Content-Type-Options"] == "nosniff"


@pytest.mark.spec("B5")
def test_receipts_tell_why(api, some):
    rows = api("viewer").get("/api/v1/receipts/").json()["results"]
    assert [row["status"] for row in rows] == ["refused", "accepted", "accepted", "accepted"]
    assert rows[0]["reason"] == "not_json"
    assert rows[0]["explanation"]
    assert "headers" not in rows[0]
    one = api("viewer").get(f"/api/v1/receipts/{rows[0]['id']}/").json()
    assert ["content-type", "application/json"] in one["headers"]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("status=refused", 1),
        ("status=accepted", 3),
        ("reason=not_json", 1),
        ("status_code=400", 1),
        ("q=application/json", 4),
        ("q=json+not_", 1),
    ],
)
def test_receipt_filters(api, some, query, count):
    assert len(api("viewer").get(f"/api/v1/receipts/?{query}").json()["results"]) == count


def test_pages_follow_one_another(api, post, source):
    post(source, b"".join(b'{"type":"n%d"}\n' % number for number in range(7)))
    viewer = api("viewer")
    first = viewer.get("/api/v1/events/?limit=4").json()
    second = viewer.get(first["next"]).json()
    assert [row["type"] for row in first["results"] + second["results"]] == [f"n{n}" for n in range(6, -1, -1)]


@pytest.mark.parametrize("path", ["", "raw/"])
def test_a_stranger_finds_nothing(stranger_api, browser, cast, some, path):
    for kind, row in (("events", some.events[0]), ("receipts", some.receipts[0])):
        assert stranger_api.get(f"/api/v1/{kind}/{row.pk}/{path}").status_code == 404
        assert stranger_api.get(f"/api/v1/{kind}/").json()["results"] == []
        assert browser(cast.stranger).get(f"/{kind}/{row.pk}/").status_code == 404
    own = some.events[0]
    assert stranger_api.get(f"/api/v1/events/?source={own.source_id}").json()["results"] == []
    assert stranger_api.get(f"/api/v1/events/?q={own.pk}").json()["results"] == []


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_nothing_of_it_can_be_changed(api, some, method):
    owner = api("owner")
    for path in (f"events/{some.events[0].pk}/", f"receipts/{some.receipts[0].pk}/"):
        assert getattr(owner, method)(f"/api/v1/{path}", {}).status_code in {403, 405}
