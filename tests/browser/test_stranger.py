"""Another tenant's objects do not exist: the page is the same 404 as for an id that nobody has."""

import uuid

import pytest
from playwright.sync_api import expect

from tests.receiver import Receiver


@pytest.fixture(scope="module")
def theirs(portal, acme) -> list[str]:
    """The pages of objects that are Acme's."""
    source = acme.api("POST", "sources/", {"name": "Ours", "auth": {"method": "bearer"}})["id"]
    event = acme.api("POST", "events/", {"type": "ours.only", "payload": {}})
    with Receiver() as receiver:
        made = acme.api("POST", "subscriptions/", {"name": "Ours", "url": receiver.url})
    return [
        f"/sources/{source}/",
        f"/sources/{source}/edit/",
        f"/subscriptions/{made['id']}/",
        f"/subscriptions/{made['id']}/edit/",
        f"/subscriptions/{made['id']}/state/",
        f"/events/{event['id']}/",
    ]


def test_every_page_of_theirs_is_404_and_reads_like_any_other(session, globex, acme, theirs):
    page = session(globex.owner).new_page()
    owner_page = session(acme.owner).new_page()
    page.goto(f"/sources/{uuid.uuid4()}/")
    unknown = page.locator("main").inner_text()
    for path in theirs:
        assert owner_page.goto(path).status == 200, path
        assert page.goto(path).status == 404, path
        assert page.locator("main").inner_text() == unknown, path


def test_their_lists_show_nothing_of_ours(session, globex, theirs):
    page = session(globex.owner).new_page()
    for path in ("/sources/", "/events/", "/subscriptions/", "/deliveries/", "/receipts/", "/members/", "/audit/"):
        page.goto(path)
        assert "Ours" not in page.locator("main").inner_text(), path
        assert "acme.example" not in page.content(), path


def test_a_path_that_is_nothing_leads_back(session, globex):
    page = session(globex.owner).new_page()
    assert page.goto("/no/such/page").status == 404
    page.get_by_role("main").get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1, name="Dashboard")).to_be_visible()


def test_signed_out_people_are_asked_to_sign_in(session, theirs):
    page = session().new_page()
    page.goto(theirs[0])
    expect(page.get_by_role("heading", level=1, name="Sign in")).to_be_visible()
