"""From events to a schema and back to events: infer, try, publish, attach, classify, drift."""

import json
import re
import urllib.request

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import wait_for


def post(source: dict, *bodies: object) -> None:
    for body in bodies:
        request = urllib.request.Request(  # noqa: S310
            source["url"], json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        assert urllib.request.urlopen(request, timeout=10).status == 202  # noqa: S310


def classified(acme, source: dict, body: object) -> bool:
    """Post it. Is it classified? Every process knows of a schema within a second of its being attached."""
    post(source, body)
    return acme.api("GET", f"events/?source={source['id']}")["results"][0]["schema_version"] is not None


@pytest.fixture
def source(acme, request):
    name = f"Doors of {request.node.name}"
    return acme.api("POST", "sources/", {"name": name, "auth": {"method": "none"}, "event_type": "door.opened"})


@pytest.mark.spec("P11", "P12")
def test_infer_publish_classify_and_see_drift(page, acme, source):
    post(source, *({"door": name, "open": True} for name in ("north", "south", "east")))

    page.goto("/schemas/")
    page.get_by_role("link", name="Infer from events").first.click()
    page.get_by_label("Source").select_option(source["id"])
    page.get_by_role("button", name="Propose a schema").click()
    proposal = page.locator("section", has=page.get_by_role("heading", name="The proposal"))
    expect(proposal).to_contain_text("made of 3 events, tried on 3")
    expect(proposal.locator(".stat", has_text="Unmatched")).to_contain_text("0")

    document = page.locator("#f-document")
    proposed = json.loads(document.input_value())
    assert proposed["required"] == ["door", "open"]
    document.fill(json.dumps({**proposed, "properties": {"door": {"enum": ["north", "south"]}}}))
    page.get_by_role("button", name="Try it again").click()
    trial = page.locator("#trial")
    expect(trial).to_contain_text("Tried on 3 events: 2 matched, 1 unmatched.")
    expect(trial.locator("li:visible")).to_have_count(1)
    expect(trial.locator("li:visible")).to_contain_text("/door: not one of the values that the schema allows")

    document.fill('{"type": "objekt"}')
    page.get_by_role("button", name="Try it again").click()
    expect(page.locator("#f-document-error")).to_contain_text("/type: Expected one of")
    document.fill(json.dumps(proposed))
    page.get_by_label("Name", exact=True).fill("Door opened")
    expect(page.locator("form [name='event_type']").last).to_have_value("door.opened")
    page.get_by_role("button", name="Create schema").click()

    expect(page.get_by_role("heading", level=1, name="Door opened")).to_be_visible()
    expect(page.get_by_role("heading", name="Version 1", exact=True)).to_be_visible()
    expect(page.get_by_text("Inferred from 3 events")).to_be_visible()
    schema_url = page.url

    wait_for(lambda: classified(acme, source, {"door": "west", "open": False}))
    post(source, {"door": 7, "open": False})
    page.goto(schema_url)
    verdicts = page.locator("#verdicts")
    expect(verdicts.locator(".stat", has_text="Accepted by it")).to_contain_text("1")
    expect(verdicts.locator(".stat", has_text="Fit no schema")).to_contain_text("1")
    expect(verdicts.locator(".stat", has_text="Drift")).to_contain_text("50.0 %")

    page.goto(f"/sources/{source['id']}/")
    schemas = page.locator("#schemas")
    expect(schemas).to_contain_text("1 of 2 events in the last 24 hours fit no schema")
    schemas.get_by_role("link", name="See them").click()
    page.get_by_role("link", name="door.opened").first.click()
    expect(page.locator("#panel")).to_contain_text("Fits no schema Door opened: /door: expected string")

    page.goto("/event-types/")
    row = page.get_by_role("row", name="door.opened").first
    expect(row).to_contain_text("Door opened")
    row.get_by_role("link", name="Example").click()
    expect(page.locator("#panel")).to_contain_text("door")


@pytest.mark.spec("P12")
def test_a_new_version_shows_what_changed_and_replaces_the_old_one(page, acme, source):
    made = acme.api(
        "POST",
        "schemas/",
        {"name": f"Of {source['name']}", "document": {"type": "object"}, "publish": True, "attach": [source["id"]]},
    )
    page.goto(f"/schemas/{made['id']}/")
    page.locator("#f-document").fill('{"type": "object", "required": ["door"]}')
    page.get_by_role("button", name="Save").first.click()
    expect(page).to_have_url(re.compile(r"version=2$"))
    expect(page.locator(".diff .diff-added", has_text='"required"')).to_be_visible()
    page.get_by_role("button", name="Publish v2").click()
    page.locator("#confirm-yes").click()
    # Of the version that is shown: the first is in force until the page is loaded anew.
    expect(page.locator(".section-head", has_text="Version 2").locator(".tag")).to_have_text("In force")

    def classified_by_the_new_one() -> list:
        """Every process knows the new version within a second."""
        post(source, {"window": 1})
        return acme.api("GET", f"events/?source={source['id']}&schema=failed")["results"]

    wait_for(classified_by_the_new_one)
    page.goto(f"/events/?source={source['id']}&schema=failed")
    expect(page.get_by_role("link", name="door.opened").first).to_be_visible()


@pytest.mark.spec("P11")
def test_schemas_are_attached_where_a_source_is_made(page, acme):
    acme.api("POST", "schemas/", {"name": "Any object", "document": {"type": "object"}, "publish": True})
    page.goto("/sources/create/")
    page.get_by_label("Name", exact=True).fill("With a schema")
    page.get_by_role("radio", name="HMAC").check(force=True)
    page.get_by_role("button", name="Create source").click()
    schemas = page.locator("#created #schemas")
    schemas.get_by_role("button", name="Any object").click()
    expect(schemas.get_by_role("link", name="Any object")).to_be_visible()
    page.locator("#created-value + button").click()
    page.get_by_role("button", name="Go to the source").click()
    expect(page.locator("#schemas").get_by_role("link", name="Any object")).to_be_visible()
    page.locator("#schemas").get_by_role("button", name="Detach").click()
    page.locator("#confirm-yes").click()
    expect(page.locator("#schemas")).to_contain_text("None is attached")


def test_a_viewer_reads_and_changes_nothing(session, acme):
    page = session(acme.viewer).new_page()
    page.goto("/schemas/")
    expect(page.get_by_role("heading", level=1, name="Schemas")).to_be_visible()
    expect(page.get_by_role("link", name="Infer from events")).to_have_count(0)
    expect(page.get_by_role("link", name="Write one")).to_have_count(0)
