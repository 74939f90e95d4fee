"""Reading and rules of the door: set on a page, complained about in place, and obeyed by the door."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import wait_for


@pytest.fixture
def source(acme, request):
    return acme.api("POST", "sources/", {"name": request.node.name, "auth": {"method": "none"}})


@pytest.fixture
def form(page: Page, source) -> Page:
    page.goto(f"/sources/{source['id']}/")
    expect(page.get_by_text("From every address, as often as it likes")).to_be_visible()
    page.get_by_role("heading", name="Reading and rules").locator("..").get_by_role("link", name="Change").click()
    expect(page.get_by_label("Allowed addresses")).to_be_visible()
    return page


def save(page: Page) -> None:
    page.get_by_role("button", name="Save changes").click()


def post(page: Page, source, body):
    return page.request.post(source["url"], data=body, headers={"Content-Type": "application/json"})


@pytest.mark.spec("P16", "P18")
def test_rules_are_set_on_the_page_and_obeyed_by_the_door(form, source):
    form.get_by_label("Allowed addresses").fill("203.0.113.0/24\n2001:db8::/32")
    save(form)
    expect(form.get_by_role("heading", level=1, name=source["name"])).to_be_visible()
    expect(form.get_by_text("203.0.113.0/24")).to_be_visible()
    wait_for(lambda: post(form, source, {}).status == 403)

    form.goto(f"/sources/{source['id']}/edit/")
    expect(form.get_by_label("Allowed addresses")).to_have_value("203.0.113.0/24\n2001:db8::/32")
    form.get_by_label("Allowed addresses").fill("127.0.0.1, ::1")
    form.get_by_label("Content type", exact=True).select_option("application/json")
    form.get_by_label("Body", exact=True).fill('{"thanks": true}')
    form.get_by_label("Title from").fill("alert.text")
    save(form)
    expect(form.get_by_text("200 application/json")).to_be_visible()
    answer = wait_for(lambda: (told := post(form, source, {"alert": {"text": "Disk full"}})).ok and told)
    assert (answer.status, answer.json()) == (200, {"thanks": True})
    form.goto("/events/")
    expect(form.get_by_role("row", name=re.compile(source["name"])).first).to_be_visible()


@pytest.mark.spec("P18")
def test_mistakes_are_told_beside_their_fields(form, source, acme):
    form.get_by_label("Allowed addresses").fill("10.1.0.0/8")
    form.get_by_label("Severity from").fill("alert..level")
    form.get_by_label("Status", exact=True).fill("302")
    save(form)
    for name, words in {
        "rules.allowed_addresses": "Did you mean 10.0.0.0/8?",
        "reading.severity": "here one is empty",
        "rules.response.status": "from 200 to 299",
    }.items():
        expect(form.locator(f'[data-error-for="{name}"]')).to_contain_text(words)
    assert acme.api("GET", f"sources/{source['id']}/")["rules"]["allowed_addresses"] == []


@pytest.mark.spec("P18")
def test_what_is_emptied_on_the_page_is_gone(form, source, acme):
    rules = {"allowed_addresses": ["127.0.0.1"], "rate_limit_per_minute": 600, "response": {"body": "ok"}}
    acme.api("PATCH", f"sources/{source['id']}/", {"rules": rules, "reading": {"event_type": "kind"}})
    form.reload()
    expect(form.get_by_label("Posts a minute")).to_have_value("600")
    for label in ("Allowed addresses", "Posts a minute", "Body"):
        form.get_by_label(label, exact=True).fill("")
    form.get_by_label("Type from").fill("")
    save(form)
    expect(form.get_by_text("From every address, as often as it likes")).to_be_visible()
    kept = acme.api("GET", f"sources/{source['id']}/")
    assert (kept["rules"]["rate_limit_per_minute"], kept["rules"]["response"]) == (None, None)
    assert kept["reading"]["event_type"] is None
