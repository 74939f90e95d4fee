"""Finding events in a browser: conditions, what is older, the live list, the export."""

import csv
import io
import json

import pytest
from playwright.sync_api import expect

from tests.portal import call

pytestmark = pytest.mark.spec("P17")

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def shop(acme):
    """A source of its own, with thirty orders."""
    source = acme.api("POST", "sources/", {"name": "Shop", "auth": {"method": "none"}})
    for number in range(30):
        order = {"type": "order.paid", "user": {"id": number % 3, "name": "Ada"}, "items": [{"sku": f"A-{number}"}]}
        send(source, order)
    return source


def send(source, event: dict) -> None:
    assert call("POST", source["url"], json.dumps(event).encode(), JSON).status == 202


def rows(page):
    return page.locator("#results tbody tr")


def test_conditions_are_added_and_removed_and_stay_in_the_url(page, shop):
    page.goto(f"/events/?source={shop['id']}&type=order.paid")
    expect(rows(page)).to_have_count(30)
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Field of the payload").fill("user.id")
    page.get_by_label("Value", exact=True).fill("1")
    page.get_by_role("button", name="Add condition").click()
    expect(rows(page)).to_have_count(10)
    expect(page.get_by_label("Field of the payload")).to_have_value("")
    page.get_by_label("Field of the payload").fill("items.0.sku")
    page.get_by_label("Value", exact=True).fill("A-4")
    page.get_by_role("button", name="Add condition").click()
    expect(rows(page)).to_have_count(1)
    assert "where=user.id%3D1&where=items.0.sku%3DA-4" in page.url
    assert "field=" not in page.url
    page.reload()
    expect(rows(page)).to_have_count(1)
    page.get_by_label("Severity", exact=False).select_option("low")  # another filter keeps the conditions
    expect(page.locator(".condition")).to_have_count(2)
    page.get_by_role("link", name="Remove the condition items.0.sku is A-4").click()
    expect(rows(page)).to_have_count(10)
    assert "A-4" not in page.url


def test_a_value_of_the_tree_finds_the_events_that_have_it(page, shop):
    page.goto(f"/events/?source={shop['id']}&where=items.0.sku%3DA-7")
    rows(page).first.get_by_role("link", name="order.paid").click()
    tree = page.locator("#panel .tree")
    expect(tree.get_by_text("A-7")).to_be_visible()
    tree.locator("summary").first.press("Enter")  # folds with the keyboard
    expect(tree.get_by_text("A-7")).to_be_hidden()
    tree.locator("summary").first.press("Enter")
    tree.get_by_role("link", name="Find events where items.0.sku=A-7").click()
    expect(page.locator(".condition")).to_contain_text("items.0.sku is A-7")
    expect(rows(page)).to_have_count(1)


def test_the_live_list_waits_for_who_reads_it(page, shop):
    page.goto(f"/events/?source={shop['id']}&type=live.*")
    page.get_by_role("button", name="Live").click()
    send(shop, {"type": "live.first"})
    expect(rows(page)).to_have_count(1)
    rows(page).first.hover()
    send(shop, {"type": "live.second"})
    send(shop, {"type": "other.third"})
    fresh = page.get_by_role("link", name="1 new")
    expect(fresh).to_be_visible()
    expect(rows(page)).to_have_count(1)
    fresh.click()
    expect(rows(page)).to_have_count(2)
    assert "type=live.*" in page.url or "type=live.%2A" in page.url


def test_the_live_list_waits_on_an_older_page(page, shop):
    page.goto(f"/events/?source={shop['id']}&type=order.*")
    newest = rows(page).first.get_by_role("link").get_attribute("href").split("/")[2]
    page.goto(f"/events/?source={shop['id']}&type=order.*&before={newest}")
    expect(rows(page)).to_have_count(29)
    with page.expect_response("**/events/new/**"):
        page.get_by_role("button", name="Live").click()
    send(shop, {"type": "order.made"})
    fresh = page.get_by_role("link", name="1 new")
    expect(fresh).to_be_visible()
    with page.expect_response("**/events/new/**"):  # it asks on, and takes nothing away
        pass
    expect(fresh).to_be_visible()
    expect(rows(page)).to_have_count(29)


def test_an_export_of_what_the_filters_find(page, shop):
    page.goto(f"/events/?source={shop['id']}&where=user.id%3D2&type=order.paid")
    page.get_by_text("Export", exact=True).click()
    with page.expect_download() as started:
        page.get_by_role("link", name="CSV").click()
    name, text = started.value.suggested_filename, started.value.path().read_text()
    assert name.startswith("events-acme-")
    assert name.endswith(".csv")
    header, *table = csv.reader(io.StringIO(text, newline=""))
    assert len(table) == 10
    assert {json.loads(row[header.index("data")])["user"]["id"] for row in table} == {2}


def test_the_pages_fit_a_narrow_window(session, acme, shop):
    narrow = session(acme.owner, viewport={"width": 360, "height": 740}).new_page()
    narrow.goto(f"/events/?source={shop['id']}&where=user.id%3D1&where=user.name%3DAda&since=2020-01-01T00:00:00Z")
    expect(rows(narrow)).not_to_have_count(0)
    assert narrow.evaluate("document.documentElement.scrollWidth <= innerWidth")
