"""The log of deliveries: alive, and resending what is ticked; how a subscription does; the operators' pulse."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import wait_for
from tests.browser.test_replay import arrived
from tests.browser.test_subscribe import confirm, create
from tests.receiver import Answer, Receiver


@pytest.fixture
def receiver():
    with Receiver() as listening:
        yield listening


@pytest.mark.spec("B7")
def test_what_is_ticked_is_sent_again_and_the_log_waits_meanwhile(page, receiver, acme):
    create(page, "Ticked", receiver.url)
    confirm(receiver)
    page.get_by_role("button", name="Go to the subscription").click()
    expect(page.locator("#subscription-state")).to_contain_text("Idle")
    subscription = page.url.rstrip("/").rsplit("/", 1)[-1]
    acme.api("PATCH", f"subscriptions/{subscription}/", {"policy": "post_once", "event_types": ["tick.*"]})
    receiver.answer = Answer(500)
    for number in range(3):
        acme.api("POST", "events/", {"type": "tick.shown", "payload": {"n": number}})
    path = f"deliveries/?subscription={subscription}&status=failed"
    wait_for(lambda: len(acme.api("GET", path)["results"]) == 3)

    page.goto(f"/{path}")
    page.get_by_role("button", name="Live").click()
    rows = page.locator("#results tbody tr")
    expect(rows).to_have_count(3)
    acme.api("POST", "events/", {"type": "tick.shown", "payload": {"n": 3}})
    expect(rows).to_have_count(4)  # by itself
    rows.nth(0).get_by_role("checkbox").check()
    rows.nth(2).get_by_role("checkbox").check()
    page.locator("h1").click()
    acme.api("POST", "events/", {"type": "tick.shown", "payload": {"n": 4}})
    expect(page.locator("#live-new")).to_contain_text("1 new")  # said, and nothing drawn anew
    expect(rows.get_by_role("checkbox", checked=True)).to_have_count(2)

    wait_for(lambda: len(arrived(receiver, "tick.shown")) == 5)  # the last one is new before it is sent
    receiver.answer = Answer(204)
    page.get_by_role("button", name="Resend chosen…").click()
    dialog = page.locator("dialog#replay")
    expect(dialog).to_contain_text("2 chosen deliveries")
    dialog.get_by_role("button", name="Send 2 again").click()
    page.wait_for_url(re.compile("/replays/"))
    expect(page.locator(".notice-box")).to_contain_text("2 of 2")
    wait_for(lambda: len(arrived(receiver, "tick.shown")) == 7)

    page.goto(f"/subscriptions/{subscription}/")
    figures = page.locator("#figures")
    expect(figures).to_contain_text("failed")
    expect(figures.get_by_role("img", name=re.compile("Time to answer"))).to_be_visible()
    page.locator("#results a.row-link").first.click()
    page.locator("#panel summary").first.click()
    expect(page.locator("#panel")).to_contain_text("to the subscription's URL, which is hidden")
    expect(page.locator("#panel")).not_to_contain_text("127.0.0.1")


def test_operators_see_how_the_portal_does(session, operator):
    page = session(operator).new_page()
    page.goto("/operators/tenants/")
    page.get_by_role("link", name="Pulse").click()
    expect(page.get_by_role("heading", level=1, name="Pulse")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("Alive"))).to_have_count(1)
    expect(page.get_by_text("Beat, broker and workers move")).to_be_visible()
