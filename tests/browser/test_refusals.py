"""From “why does this sender fail?” to the answer, in a browser."""

import pytest
from playwright.sync_api import expect

from tests.portal import call, wait_for

pytestmark = pytest.mark.spec("B5")


@pytest.fixture(scope="module")
def billing(acme):
    """A source whose sender signs under another header's name, and once with another key."""
    auth = {"method": "hmac", "header": "X-Signature"}
    source = acme.api("POST", "sources/", {"name": "Billing", "auth": auth})
    for _ in range(3):
        headers = {"Content-Type": "application/json", "X-Hub-Signature-256": "sha256=00"}
        assert call("POST", source["url"], b"{}", headers).status == 401
    headers = {"Content-Type": "application/json", "X-Signature": "sha256=" + "ab" * 32}
    assert call("POST", source["url"], b'{"a":1}', headers).status == 401
    on_record = f"receipts/?source={source['id']}"
    wait_for(lambda: len(acme.api("GET", on_record)["results"]) == 4, "the refusals to be on record")
    return source


def test_from_the_source_to_what_was_expected_and_what_came(page, billing):
    page.goto(f"/sources/{billing['id']}/")
    section = page.locator("#refusals")
    expect(section).to_contain_text("The header that proves who sends is missing")
    expect(section).to_contain_text("3 times")
    page.get_by_role("link", name="Refusals of this source").click()
    expect(page.get_by_role("heading", name="Why senders fail")).to_be_visible()
    expect(page.locator(".refusal")).to_have_count(2)
    page.get_by_role("link", name="Look at the last one").first.click()
    panel = page.locator("#panel")
    expect(panel).to_contain_text("X-Signature")
    expect(panel).to_contain_text("Similar ones that came: x-hub-signature-256")
    panel.get_by_role("link", name="Close").click()
    page.get_by_role("link", name="Look at the last one").nth(1).click()
    expect(panel.get_by_role("row", name="Signature begins")).to_contain_text("abababab…")
    expect(panel).to_contain_text("7 bytes in this request")
    assert billing["secret"] not in page.content()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_narrow_window(session, acme, billing, scheme):
    narrow = session(acme.owner, viewport={"width": 360, "height": 740}, color_scheme=scheme).new_page()
    narrow.goto(f"/refusals/?source={billing['id']}")
    expect(narrow.locator(".refusal")).to_have_count(2)
    assert narrow.evaluate("document.documentElement.scrollWidth <= innerWidth")
    narrow.goto(narrow.get_by_role("link", name="Look at the last one").first.get_attribute("href"))
    expect(narrow.get_by_role("heading", name="Expected and received")).to_be_visible()
    assert narrow.evaluate("document.documentElement.scrollWidth <= innerWidth")
