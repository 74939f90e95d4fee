"""A viewer sees everything and can change nothing, with or without the buttons."""

import pytest
from playwright.sync_api import Page, expect

LISTS = ["/", "/sources/", "/events/", "/receipts/", "/subscriptions/", "/deliveries/", "/members/", "/settings/"]


@pytest.fixture
def viewer_page(session, acme) -> Page:
    return session(acme.viewer).new_page()


def fetch(page: Page, method: str, path: str, body: object = None) -> int:
    """The status of a call from within the page, with its session and its CSRF token."""
    return page.evaluate(
        """async ([method, path, body]) => {
            const token = document.cookie.match(/csrftoken=([^;]+)/)[1];
            const headers = {"Content-Type": "application/json", "X-CSRFToken": token};
            return (await fetch(path, {method, headers, body: JSON.stringify(body)})).status;
        }""",
        [method, path, body],
    )


@pytest.fixture(scope="package")
def source(portal, acme) -> str:
    made = acme.api("POST", "sources/", {"name": "Seen by all", "auth": {"method": "bearer"}})
    return made["id"]


@pytest.mark.parametrize("path", LISTS)
def test_no_page_offers_a_change(viewer_page, source, path):
    viewer_page.goto(path)
    expect(viewer_page.get_by_role("heading", level=1)).to_be_visible()
    # Whoever belongs to a tenant may leave it; an empty list may lead to another page, but not to one that creates.
    changes = "form[data-api], button[data-api], button.btn-primary, a[href$='/create/'], a[href$='/new/']"
    offered = viewer_page.locator(f"main :is({changes})").all()
    offered = [button.inner_text() for button in offered]
    assert [words for words in offered if "Leave" not in words] == []


def test_a_source_is_read_only_and_its_url_is_masked(viewer_page, portal, acme, source):
    url = acme.api("GET", f"sources/{source}/")["url"]
    viewer_page.goto(f"/sources/{source}/")
    expect(viewer_page.get_by_role("heading", level=1, name="Seen by all")).to_be_visible()
    for word in ("Edit", "Pause", "Rotate secret", "Delete"):
        expect(viewer_page.get_by_text(word, exact=True)).to_have_count(0)
    assert url not in viewer_page.content()


@pytest.mark.parametrize("path", ["/sources/create/", "/subscriptions/new/", "/api-keys/", "/audit/"])
def test_pages_beyond_a_viewer_are_refused(viewer_page, path):
    assert viewer_page.goto(path).status == 403
    expect(viewer_page.get_by_role("link", name="API keys")).to_have_count(0)


def test_the_api_refuses_what_the_page_does_not_offer(viewer_page, source):
    viewer_page.goto("/sources/")
    assert fetch(viewer_page, "POST", "/api/v1/sources/", {"name": "Mine", "auth": {"method": "bearer"}}) == 403
    assert fetch(viewer_page, "POST", f"/api/v1/sources/{source}/pause/") == 403
    assert fetch(viewer_page, "DELETE", f"/api/v1/sources/{source}/") == 403
    assert fetch(viewer_page, "POST", "/api/v1/events/", {"type": "a.b", "payload": {}}) == 403
