"""A filter is tried against real events, saved, and from then on decides what the receiver gets."""

import json
import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import wait_for
from tests.browser.test_subscribe import confirm, create
from tests.receiver import Receiver


@pytest.fixture
def receiver():
    with Receiver() as listening:
        yield listening


def amounts(receiver: Receiver) -> list[int]:
    bodies = [json.loads(posted.body) for posted in receiver.posted]
    return [body["data"]["amount"] for body in bodies if body["type"] == "choice.made"]


def test_a_filter_is_tried_then_saved_then_decides(page, receiver, acme):
    for amount in (5, 50):
        acme.api("POST", "events/", {"type": "choice.made", "payload": {"amount": amount}})
    create(page, "Only large ones", receiver.url)
    confirm(receiver)
    page.get_by_role("button", name="Go to the subscription").click()
    expect(page.locator("#subscription-state")).to_contain_text("Idle")
    page.goto(page.url.rstrip("/") + "/edit/")
    page.get_by_label("Event types").fill("choice.*")
    page.get_by_text("Choose by source, site or content").click()

    page.get_by_label("Filter").fill("payload.amount >")
    page.get_by_role("button", name="Try against recent events").click()
    expect(page.locator("#f-filter-error")).to_have_text("Line 1, column 17: something is missing at its end.")
    expect(page.locator("#trial")).to_be_hidden()

    page.get_by_label("Filter").fill("payload.amount > 10")
    page.get_by_role("button", name="Try against recent events").click()
    trial = page.locator("#trial")
    expect(trial).to_contain_text(re.compile(r"Of the latest \d+ events, 1 would be sent"))
    rows = trial.get_by_role("listitem").filter(has_text="choice.made")
    expect(rows.nth(0)).to_contain_text("Sent.")
    expect(rows.nth(1)).to_contain_text("Not sent: the filter says no.")
    expect(page.locator("#f-filter-error")).to_be_hidden()

    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("payload.amount > 10")).to_be_visible()
    expect(page.get_by_text("no errors")).to_be_visible()
    for payload in ({"amount": 6}, {"other": 1}, {"amount": 60}):
        acme.api("POST", "events/", {"type": "choice.made", "payload": payload})
    wait_for(lambda: amounts(receiver))
    assert amounts(receiver) == [60]

    page.reload()
    expect(page.get_by_text("The filter failed for 1 event since it was last changed")).to_be_visible()
    page.get_by_role("link", name="this event").click()
    expect(page.get_by_role("heading", name="choice.made")).to_be_visible()
