"""The pages of schemas and of event types: they only read (P11, P12)."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from events import schema_reports, schema_views
from events.models import Schema
from events.search import TooSlow
from sources.models import Source
from tenants.scope import system_scope

DOOR = {"type": "object", "properties": {"door": {"type": "string"}}, "required": ["door"]}


@pytest.fixture
def owner(browser, cast):
    return browser(cast.owner)


@pytest.fixture
def door(cast, source):
    """A published schema that is attached to the source."""
    with system_scope():
        schema = Schema.objects.create(tenant=cast.tenant, name="<b>Door</b>", event_type="door.opened")
        schema.draft(DOOR, cast.owner).publish(cast.owner)
        schema.attach(source)
    return schema


def text(answer) -> str:
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def test_an_empty_list_says_what_to_do(owner, browser, cast):
    assert "Infer one from events that a source received" in text(owner.get("/schemas/"))
    assert "An admin can publish one" in text(browser(cast.viewer).get("/schemas/"))
    assert "No schema fits these filters" in text(owner.get("/schemas/?search=zzz"))


def test_the_list_escapes_names_and_shows_the_version(owner, door, source):
    page = text(owner.get("/schemas/"))
    assert "&lt;b&gt;Door&lt;/b&gt;" in page
    assert "<b>Door" not in page
    assert "v1" in page
    assert source.name in page


@pytest.mark.spec("P12")
def test_the_proposal_shows_what_does_not_fit(owner, source, post, kept):
    post(source, {"door": "north"})
    post(source, {"door": "\x00"})
    page = text(owner.get(f"/schemas/infer/?source={source.pk}"))
    assert "made of 1 event, tried on 2" in page
    assert "not readable as JSON" in page
    assert str(kept().events[1].pk) in page


@pytest.mark.spec("P11")
def test_inferring_asks_for_a_source_first(owner, cast):
    assert "A schema is inferred from the events of a source" in text(owner.get("/schemas/infer/"))


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("source={source}", "No events in this window"),
        ("source=x", "valid UUID"),
        ("source={source}&range=9y", "not a valid choice"),
    ],
    ids=["nothing there", "no source", "no range"],
)
def test_a_window_with_nothing_to_infer_from_says_so(owner, source, query, words):
    assert words in text(owner.get("/schemas/infer/?" + query.format(source=source.pk)))


def test_inferring_that_takes_too_long_says_so(owner, source, monkeypatch):
    def too_slow(window):
        raise TooSlow

    monkeypatch.setattr(schema_reports, "propose", too_slow)
    assert "The search took too long" in text(owner.get(f"/schemas/infer/?source={source.pk}"))


@pytest.mark.parametrize(("person", "shown"), [("owner", True), ("viewer", False)])
def test_the_page_of_a_schema(browser, cast, door, person, shown):
    page = text(browser(getattr(cast, person)).get(f"/schemas/{door.pk}/"))
    assert "In force" in page
    assert ("Delete schema" in page) is shown
    assert ("Write version 2" in page) is shown


@pytest.mark.spec("P12")
def test_versions_are_compared_line_by_line(owner, door):
    with system_scope():
        door.draft(DOOR | {"required": ["door", "open"]})
    page = text(owner.get(f"/schemas/{door.pk}/?version=2"))
    assert "What changed since version 1" in page
    assert '<span class="diff-added">+ &quot;open&quot;</span>' in page
    assert "What changed" not in text(owner.get(f"/schemas/{door.pk}/?version=1"))
    assert "In force" in text(owner.get(f"/schemas/{door.pk}/?version=99"))


@pytest.mark.spec("P12")
def test_verdicts_are_counted_and_lead_to_the_events(owner, door, source, post):
    for body in ({"door": "a"}, {"door": "b"}, {"door": 1}, {}):
        post(source, body)
    page = text(owner.get(f"/schemas/{door.pk}/verdicts/"))
    assert "50.0 %" in page
    assert "of 4 that were checked" in page
    assert f"source={source.pk}&amp;schema=failed" in page
    assert "Last 7 days" in text(owner.get(f"/schemas/{door.pk}/verdicts/?span=7d"))
    part = text(owner.get(f"/sources/{source.pk}/schemas/"))
    assert "<strong>2 of 4</strong> events in the last 24 hours fit no schema" in part


def test_too_many_to_count_is_said(owner, door, source, monkeypatch):
    def too_slow(*args):
        raise TooSlow

    monkeypatch.setattr(schema_reports, "verdicts", too_slow)
    assert "too many events to count" in text(owner.get(f"/schemas/{door.pk}/verdicts/"))
    assert "too many events to count" in text(owner.get(f"/sources/{source.pk}/schemas/"))


@pytest.mark.spec("P12")
def test_the_page_of_an_event_shows_its_verdict(owner, door, source, post, kept):
    post(source, {"door": "a"})
    post(source, {"door": 1})
    fits, fails = kept().events
    assert f"/schemas/{door.pk}/?version=1" in text(owner.get(f"/events/{fits.pk}/"))
    assert "/door: expected string" in text(owner.get(f"/events/{fails.pk}/"))


def test_the_catalogue_page(owner, door, source, post):
    assert "door.opened" in text(owner.get("/event-types/")), "a type that only a schema describes"
    post(source, {"type": "bell.rang"})
    page = text(owner.get("/event-types/"))
    assert "bell.rang" in page
    assert "No type fits" in text(owner.get("/event-types/?search=zzz"))


@pytest.mark.parametrize("path", ["/schemas/{0}/", "/schemas/{0}/verdicts/", "/sources/{1}/schemas/", "/event-types/"])
def test_pages_ask_the_database_a_bounded_number_of_times(owner, cast, door, source, post, path):
    url = path.format(door.pk, source.pk)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert owner.get(url).status_code == 200
        return len(captured)

    post(source, {"type": "a.0", "door": "x"})
    with system_scope():
        door.draft(DOOR).publish()
    queries()
    few = queries()
    with system_scope():
        for number in range(8):
            other = Source.objects.create(tenant=cast.tenant, name=f"S{number}", auth_method="none", auth_config={})
            door.attach(other)
            another = Schema.objects.create(tenant=cast.tenant, name=f"S{number}", event_type=f"t.{number}")
            another.draft(DOOR).publish()
            another.attach(source)
            door.draft(DOOR | {"title": str(number)}).publish()
    for number in range(8):
        post(source, {"type": f"a.{number}"})
    assert queries() == few


def test_what_is_shown_first_of_a_schema_without_a_published_version_is_its_draft(owner, cast):
    with system_scope():
        schema = Schema.objects.create(tenant=cast.tenant, name="Draft")
        schema.draft(DOOR)
    page = text(owner.get(f"/schemas/{schema.pk}/"))
    assert "Nothing is published yet" in page
    assert "Publish v1" in page


def test_moving_one_up_changes_it_with_the_one_above():
    assert schema_views._moved(["a", "b", "c"], 2) == ["a", "c", "b"]
    assert schema_views._moved(["a", "b", "c"], 1) == ["b", "a", "c"]
