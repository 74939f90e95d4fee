"""The endpoints of schemas: infer, try, publish, attach; and what the door then says of events (P11, P12)."""

import json

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from events.models import Event, Schema, SchemaAttachment, SchemaVersion
from events.schema_models import MAX_ATTACHED
from tenants.models import AuditEntry
from tenants.scope import system_scope, tenant_scope

URL = "/api/v1/schemas/"
DOOR = {
    "type": "object",
    "properties": {"door": {"type": "string"}, "open": {"type": "boolean"}},
    "required": ["door"],
}


def send(client, method, url, body=None):
    return getattr(client, method)(url, body if body is not None else {}, format="json")


@pytest.fixture
def owner(api):
    return api("owner")


@pytest.fixture
def create(owner):
    """`create(name, document, publish=…, attach=[…])` → the schema as answered."""

    def make(name="Door", document=DOOR, **fields):
        answer = send(owner, "post", URL, {"name": name, "document": document, **fields})
        assert answer.status_code == 201, answer.json()
        return answer.json()

    return make


@pytest.fixture
def versions_of(owner):
    return lambda schema: owner.get("/api/v1/schema-versions/", {"schema": schema["id"]}).json()["results"]


@pytest.fixture
def audited(cast):
    def look():
        with system_scope():
            return list(AuditEntry.objects.filter(tenant=cast.tenant).order_by("id").values_list("action", flat=True))

    return look


# ── From events to a schema and back ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.spec("P11", "P12")
def test_infer_publish_attach_classify(owner, source, post, kept, create):
    """What came before there was a schema makes the schema; what comes after is classified by it."""
    for number in range(3):
        assert post(source, {"door": f"north {number}", "open": True}).status_code == 202
    proposal = send(owner, "post", f"{URL}infer/", {"source": str(source.pk), "range": "24h"}).json()
    assert proposal["document"]["properties"] == {"door": {"type": "string"}, "open": {"type": "boolean"}}
    assert proposal["document"]["required"] == ["door", "open"]
    assert (proposal["sampled"], proposal["tested"], proposal["matched"], proposal["unmatched"]) == (3, 3, 3, 0)
    assert proposal["whole_window"] is True

    made = create(
        document=proposal["document"],
        inferred_from=proposal["inferred_from"],
        publish=True,
        attach=[str(source.pk)],
    )
    assert (made["published_version"], made["sources"]) == (1, [str(source.pk)])
    assert post(source, {"door": "south", "open": False}).status_code == 202
    assert post(source, {"door": 7, "open": False}).status_code == 202
    *before, fits, fails = kept().events
    with system_scope():
        version = SchemaVersion.objects.get(schema=made["id"])
    assert {(one.schema_version_id, one.schema_problem) for one in before} == {(None, "")}
    assert (fits.schema_version_id, fits.schema_problem) == (version.pk, "")
    assert (fails.schema_version_id, fails.schema_problem) == (None, "Door: /door: expected string")
    assert version.inferred_from["source"] == str(source.pk)
    assert version.inferred_from["sampled"] == 3


@pytest.mark.spec("P12")
def test_unmatched_events_are_shown_with_the_place(owner, source, post, kept):
    post(source, {"door": "north"})
    post(source, {"door": 5, "type": "door.odd"})
    post(source, {"door": "\x00"})
    answer = send(owner, "post", f"{URL}test/", {"source": str(source.pk), "range": "24h", "document": DOOR}).json()
    events = kept().events
    assert (answer["tested"], answer["matched"], answer["unmatched"]) == (3, 1, 2)
    assert [(one["id"], one["problem"]) for one in answer["failures"]] == [
        (str(events[2].pk), "not readable as JSON"),
        (str(events[1].pk), "/door: expected string"),
    ]
    assert answer["event_types"] == {"event": 2, "door.odd": 1}


def test_the_door_says_the_same_of_what_cannot_be_read(source, post, kept, create):
    create(publish=True, attach=[str(source.pk)])
    post(source, {"door": "\x00"})
    (event,) = kept().events
    assert event.payload is None
    assert (event.schema_version_id, event.schema_problem) == (None, "not readable as JSON")


@pytest.mark.spec("P12")
def test_what_is_learned_from_few_is_tried_on_more(owner, source, post):
    """An older event that the newest `sample` do not resemble shows up as unmatched."""
    post(source, {"door": None})
    post(source, {"door": "north"})
    post(source, {"door": "south"})
    answer = send(owner, "post", f"{URL}infer/", {"source": str(source.pk), "sample": 2}).json()
    assert (answer["sampled"], answer["tested"], answer["unmatched"]) == (2, 3, 1)
    assert answer["failures"][0]["problem"] == "/door: expected string"


def test_inferring_of_one_type_looks_at_that_type_alone(owner, source, post):
    post(source, {"type": "door.opened", "door": "north"})
    post(source, {"type": "alarm.rang", "level": 3})
    answer = send(owner, "post", f"{URL}infer/", {"source": str(source.pk), "event_type": "alarm.rang"}).json()
    assert set(answer["document"]["properties"]) == {"type", "level"}
    assert answer["event_types"] == {"alarm.rang": 1}


def test_inferring_of_nothing_proposes_anything(owner, source):
    answer = send(owner, "post", f"{URL}infer/", {"source": str(source.pk)}).json()
    assert list(answer["document"]) == ["$schema"]
    assert (answer["sampled"], answer["tested"]) == (0, 0)


def test_inferring_keeps_nothing_and_asks_the_database_a_bounded_number_of_times(owner, source, post):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            assert send(owner, "post", f"{URL}infer/", {"source": str(source.pk)}).status_code == 200
        return len(captured)

    post(source, {"door": 1})
    queries()
    few = queries()
    post(source, b"".join(json.dumps({"door": number}).encode() + b"\n" for number in range(100)))
    assert queries() == few
    with system_scope():
        assert not Schema.objects.exists()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"range": "24h"}, "source"),
        ({"source": "x"}, "source"),
        ({"source": "SOURCE", "range": "9y"}, "range"),
        ({"source": "SOURCE", "range": "24h", "since": "2026-01-01T00:00:00Z"}, "range"),
        ({"source": "SOURCE", "since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "until"),
        ({"source": "SOURCE", "sample": 1001}, "sample"),
        ({"source": "SOURCE", "smaple": 10}, "smaple"),
    ],
    ids=["no source", "no id", "range", "both", "backwards", "sample", "unknown"],
)
def test_a_window_that_is_none_is_refused(owner, source, body, field):
    asked = {name: str(source.pk) if value == "SOURCE" else value for name, value in body.items()}
    answer = send(owner, "post", f"{URL}infer/", asked)
    assert answer.status_code == 400
    assert field in {error["field"] for error in answer.json()["errors"]}


# ── Schemas and their versions ───────────────────────────────────────────────────────────────────────────────────────


def test_a_document_that_is_no_schema_is_refused_with_the_place(owner):
    wrong = {"properties": {"a/b": {"type": "strnig"}}}
    answer = send(owner, "post", URL, {"name": "Door", "document": wrong})
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert error["field"] == "document"
    assert error["detail"].startswith("/properties/a~1b/type: Expected one of")


def test_names_are_once_in_a_tenant(owner, create, api, cast):
    create("Door")
    answer = send(owner, "post", URL, {"name": "door"})
    assert answer.json()["errors"] == [
        {"field": "name", "detail": "There is one of this name already. Choose another."}
    ]
    assert send(api("owner", cast.other_tenant), "post", URL, {"name": "Door"}).status_code == 201


def test_a_published_version_stays_and_another_follows(owner, create, versions_of, audited):
    made = create(publish=True)
    (first,) = versions_of(made)
    second = send(owner, "post", "/api/v1/schema-versions/", {"schema": made["id"], "document": {"type": "object"}})
    assert (second.status_code, second.json()["number"], second.json()["status"]) == (201, 2, "draft")
    again = send(owner, "post", "/api/v1/schema-versions/", {"schema": made["id"], "document": {"type": "array"}})
    assert (again.json()["id"], again.json()["number"]) == (second.json()["id"], 2), "the open draft takes it"
    assert owner.get(f"{URL}{made['id']}/").json()["published_version"] == 1
    url = f"/api/v1/schema-versions/{second.json()['id']}/"
    assert send(owner, "post", f"{url}publish/").json()["status"] == "published"
    assert send(owner, "post", f"{url}publish/").status_code == 409
    assert owner.delete(url).status_code == 409
    assert owner.get(f"{URL}{made['id']}/").json()["published_version"] == 2
    assert owner.get(f"/api/v1/schema-versions/{first['id']}/").json()["document"] == DOOR
    assert audited()[-4:] == ["schema.published", "schema.drafted", "schema.drafted", "schema.published"]


def test_a_draft_can_be_discarded(owner, create, versions_of):
    made = create()
    (draft,) = versions_of(made)
    assert owner.delete(f"/api/v1/schema-versions/{draft['id']}/").status_code == 204
    assert versions_of(made) == []


def test_a_document_keeps_the_order_of_its_members(create, versions_of):
    document = {
        "type": "object",
        "properties": {"zebra": {}, "a": {}},
        "$schema": "https://json-schema.org/draft/2020-12/schema",
    }
    (version,) = versions_of(create(document=document))
    assert json.dumps(version["document"]) == json.dumps(document)


def test_rename(owner, create, audited):
    made = create()
    answer = send(owner, "patch", f"{URL}{made['id']}/", {"name": "Gate", "event_type": "gate.opened"})
    assert (answer.json()["name"], answer.json()["event_type"]) == ("Gate", "gate.opened")
    assert send(owner, "patch", f"{URL}{made['id']}/", {"event_type": "no spaces"}).status_code == 400
    assert audited()[-1] == "schema.updated"


def test_deleting_one_that_was_never_published_leaves_nothing(owner, create, source):
    made = create(attach=[str(source.pk)])
    assert owner.delete(f"{URL}{made['id']}/").status_code == 204
    with system_scope():
        assert not Schema.objects.exists()
        assert not SchemaVersion.objects.exists()


def test_deleting_a_published_one_keeps_the_name_of_its_verdicts(owner, browser, cast, create, source, post, kept):
    made = create(publish=True, attach=[str(source.pk)])
    post(source, {"door": "north"})
    assert owner.delete(f"{URL}{made['id']}/").status_code == 204
    assert owner.get(f"{URL}{made['id']}/").status_code == 404
    assert owner.get("/api/v1/schema-versions/", {"schema": made["id"]}).json()["results"] == []
    post(source, {"door": "south"})
    before, after = kept().events
    assert before.schema_version_id
    assert (after.schema_version_id, after.schema_problem) == (None, "")
    assert b"Door" in browser(cast.viewer).get(f"/events/{before.pk}/").content
    create("Door")


# ── Attaching ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.spec("P11", "P12")
def test_the_first_attached_schema_that_accepts_an_event_names_it(owner, create, source, post, kept, versions_of):
    anything, door = create("Anything", True, publish=True), create("Door", DOOR, publish=True)
    ids = {one["name"]: versions_of(one)[0]["id"] for one in (anything, door)}
    url = f"/api/v1/sources/{source.pk}/schemas/"
    answer = send(owner, "put", url, {"schemas": [door["id"], anything["id"]]})
    assert [one["name"] for one in answer.json()] == ["Door", "Anything"]
    post(source, {"door": "north"})
    post(source, {"window": 1})
    send(owner, "put", url, {"schemas": [anything["id"], door["id"]]})
    post(source, {"door": "north"})
    named = [str(event.schema_version_id) for event in kept().events]
    assert named == [ids["Door"], ids["Anything"], ids["Anything"]]


def test_attach_at_a_place_and_detach(owner, create, source, audited):
    made = [create(name) for name in "ABC"]
    at = {"source": str(source.pk)}
    for one in made:
        assert send(owner, "post", f"{URL}{one['id']}/attach/", at).status_code == 200
    send(owner, "post", f"{URL}{made[2]['id']}/attach/", at | {"position": 0})
    url = f"/api/v1/sources/{source.pk}/schemas/"
    assert [one["name"] for one in owner.get(url).json()] == ["C", "A", "B"]
    send(owner, "post", f"{URL}{made[0]['id']}/detach/", at)
    send(owner, "post", f"{URL}{made[0]['id']}/detach/", at)
    assert [one["name"] for one in owner.get(url).json()] == ["C", "B"]
    assert audited().count("schema.detached") == 1
    assert audited().count("schema.attached") == 4


def test_a_draft_classifies_nothing(create, source, post, kept):
    create(attach=[str(source.pk)])
    post(source, {"window": 1})
    (event,) = kept().events
    assert (event.schema_version_id, event.schema_problem) == (None, "")


def test_a_source_has_so_many_schemas_at_most(owner, create, source):
    ids = [create(f"Schema {number}")["id"] for number in range(MAX_ATTACHED + 1)]
    url = f"/api/v1/sources/{source.pk}/schemas/"
    assert send(owner, "put", url, {"schemas": ids}).status_code == 400
    assert send(owner, "put", url, {"schemas": ids[1:]}).status_code == 200
    answer = send(owner, "post", f"{URL}{ids[0]}/attach/", {"source": str(source.pk)})
    assert (answer.status_code, answer.json()["detail"]) == (409, f"A source has {MAX_ATTACHED} schemas at most.")
    assert send(owner, "put", url, {"schemas": [ids[0], ids[0]]}).status_code == 400


@pytest.mark.parametrize("role", ["viewer", "member"])
def test_who_may_not_configure_changes_nothing(api, create, source, role):
    made, client = create(), api(role)
    assert client.get(f"{URL}{made['id']}/").status_code == 200
    for method, url, body in (
        ("post", URL, {"name": "x"}),
        ("patch", f"{URL}{made['id']}/", {"name": "x"}),
        ("delete", f"{URL}{made['id']}/", {}),
        ("post", f"{URL}{made['id']}/attach/", {"source": str(source.pk)}),
        ("post", "/api/v1/schema-versions/", {"schema": made["id"], "document": {}}),
        ("put", f"/api/v1/sources/{source.pk}/schemas/", {"schemas": []}),
    ):
        assert send(client, method, url, body).status_code == 403
    expected = 403 if role == "viewer" else 200
    assert send(client, "post", f"{URL}infer/", {"source": str(source.pk)}).status_code == expected


def test_another_tenants_objects_are_not_there(stranger_api, create, source, owner, source_of, cast):
    made, theirs = create(publish=True), source_of(tenant=cast.other_tenant)[0]
    assert stranger_api.get(f"{URL}{made['id']}/").status_code == 404
    assert send(stranger_api, "post", f"{URL}infer/", {"source": str(source.pk)}).status_code == 400
    assert send(owner, "post", f"{URL}{made['id']}/attach/", {"source": str(theirs.pk)}).status_code == 400
    url = f"/api/v1/sources/{theirs.pk}/schemas/"
    assert send(stranger_api, "put", url, {"schemas": [made["id"]]}).status_code == 400
    with tenant_scope(cast.other_tenant.pk):
        assert not SchemaAttachment.objects.exists()


def test_a_source_that_only_its_holders_see_is_not_there_for_others(api, create, source_of):
    hidden = source_of(visibility="assigned", name="Hidden")[0]
    made, member = create(attach=[str(hidden.pk)]), api("member")
    assert made["sources"] == [str(hidden.pk)]
    assert member.get(f"{URL}{made['id']}/").json()["sources"] == []
    assert member.get(f"/api/v1/sources/{hidden.pk}/schemas/").status_code == 404
    assert send(member, "post", f"{URL}infer/", {"source": str(hidden.pk)}).status_code == 400


# ── Finding events by their verdict, and the catalogue of types ──────────────────────────────────────────────────────


@pytest.mark.spec("P12")
def test_events_are_found_by_their_verdict(owner, create, source, post, kept):
    post(source, {"before": 1})
    made = create(publish=True, attach=[str(source.pk)])
    post(source, {"door": "north"})
    post(source, {"door": 1})
    unseen, fits, fails = (str(event.pk) for event in kept().events)
    found = {
        asked: [one["id"] for one in owner.get("/api/v1/events/", {"schema": asked}).json()["results"]]
        for asked in ("none", "failed", made["id"])
    }
    assert found == {"none": [unseen], "failed": [fails], made["id"]: [fits]}
    assert owner.get("/api/v1/events/", {"schema": "broken"}).status_code == 400


def test_the_catalogue_of_types(owner, create, source, post, kept):
    create(event_type="door.opened", publish=True)
    create("Gate", event_type="gate.opened")
    for number in range(3):
        post(source, {"type": "door.opened", "door": str(number)})
    post(source, {"type": "bell.rang"})
    bell, door, gate = owner.get("/api/v1/event-types/").json()["results"]
    assert [bell["name"], door["name"], gate["name"]] == ["bell.rang", "door.opened", "gate.opened"]
    assert (bell["count"], bell["schema"], bell["example"]) == (1, None, str(kept().events[-1].pk))
    assert (door["count"], door["schema"]["name"], door["example"]) == (3, "Door", str(kept().events[2].pk))
    assert door["sources"] == [{"id": str(source.pk), "name": source.name}]
    assert (gate["count"], gate["last_received_at"], gate["example"]) == (0, None, None)
    found = owner.get("/api/v1/event-types/", {"search": "DOOR"}).json()
    assert [one["name"] for one in found["results"]] == ["door.opened"]
    assert owner.get("/api/v1/event-types/", {"serach": "door"}).status_code == 400


def test_the_catalogue_comes_in_pages_forth_and_back(owner, source, post):
    post(source, [{"type": f"{name}.rang"} for name in "cadbe"])

    def page(url):
        answer = owner.get(url).json()
        return [one["name"][0] for one in answer["results"]], answer["next"], answer["previous"]

    first, onward, nothing = page("/api/v1/event-types/?limit=2&search=rang")
    assert (first, nothing) == (["a", "b"], None)
    second, onward, back = page(onward)
    assert second == ["c", "d"]
    assert page(back) == (first, page("/api/v1/event-types/?limit=2&search=rang")[1], None)
    last, nothing, back = page(onward)
    assert (last, nothing) == (["e"], None)
    assert page(back)[0] == second
    assert owner.get("/api/v1/event-types/", {"cursor": "nonsense"}).status_code == 404


def test_the_catalogue_shows_nothing_of_other_tenants(stranger_api, source, post, cast, create):
    create(event_type="secret.type")
    post(source, {"type": "bell.rang"})
    assert stranger_api.get("/api/v1/event-types/").json()["results"] == []
    with system_scope():
        assert Event.objects.filter(tenant=cast.tenant).count() == 1
