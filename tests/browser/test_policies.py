"""A subscription with waits and rules of its own; its receiver goes down, is spared, and is tried by a person."""

import re

from playwright.sync_api import expect

from tests.browser.conftest import wait_for
from tests.browser.test_subscribe import confirm
from tests.receiver import Answer, Receiver


def test_a_receiver_goes_down_and_is_tried_when_it_is_back(page, acme):
    with Receiver() as receiver:
        page.goto("/subscriptions/new/")
        page.get_by_label("Name", exact=True).fill("Frail")
        page.get_by_label("URL", exact=True).fill(receiver.url)
        page.get_by_label("Event types").fill("frail.*")
        page.get_by_role("radio", name=re.compile("Custom")).check()
        page.get_by_role("textbox", name="Waits").fill("5s, 9 weeks")
        page.get_by_text("What answers mean").click()
        page.get_by_role("button", name="Add rule").click()
        page.get_by_label("Answer", exact=True).fill("410")
        page.get_by_label("What it means").select_option("retry")
        page.get_by_role("button", name="Create subscription").click()
        expect(page.locator("[data-error-for=delays]")).to_contain_text("9 weeks")
        page.get_by_role("textbox", name="Waits").fill("1h, 2h")
        page.get_by_role("button", name="Create subscription").click()
        expect(page.locator("[data-error-for=rules]")).to_contain_text("410 always disables")
        page.get_by_label("Answer", exact=True).fill("4xx")
        page.get_by_label("What it means").select_option("fail")
        page.get_by_role("button", name="Create subscription").click()
        expect(page.locator("#created-value")).to_be_visible()
        page.locator("#created-value + button").click()
        confirm(receiver)
        page.get_by_role("button", name="Go to the subscription").click()

        table = page.locator("section", has_text="What answers mean").get_by_role("table").first
        expect(table.get_by_role("row", name=re.compile("any 4xx"))).to_contain_text("Do not try again")
        expect(page.get_by_text("at once, then after 1 h and 2 h").first).to_be_visible()

        receiver.answer = Answer(503)
        before = len(receiver.posted)
        for number in range(5):
            acme.api("POST", "events/", {"type": "frail.happened", "payload": {"n": number}})
        wait_for(lambda: len(receiver.posted) >= before + 5)
        acme.api("POST", "events/", {"type": "frail.happened", "payload": {"n": 6}})
        # Nothing has told the page that its receiver fails: it is looked at again until it says so.
        wait_for(lambda: page.reload() and page.locator("#trouble .notice-bad").count())
        expect(page.locator("#trouble")).to_contain_text("is being spared")
        receiver.answer = Answer(204)
        page.get_by_role("button", name="Try now").click()
        expect(page.get_by_text("Nothing fails.")).to_be_visible(timeout=30_000)
