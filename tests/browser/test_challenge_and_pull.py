"""The two other ways to agree, as a person sets them up."""

import json

from playwright.sync_api import expect

from tests.receiver import Answer, Posted, Receiver


def answering(posted: Posted) -> Answer:
    return Answer(200, json.loads(posted.body)["challenge"].encode())


def test_a_challenge_is_answered_while_one_looks(page):
    with Receiver(answering) as receiver:
        page.goto("/subscriptions/new/")
        page.get_by_label("Name", exact=True).fill("Challenged")
        page.get_by_label("URL", exact=True).fill(receiver.url)
        page.locator("input[name=verification][value=challenge]").check()
        page.get_by_role("button", name="Create subscription").click()
        page.locator("#created-value + button").click()
        page.get_by_role("button", name="Go to the subscription").click()
        expect(page.locator("#subscription-state")).to_contain_text("Idle")
        expect(page.get_by_role("button", name="Send test")).to_be_enabled()


def test_one_that_is_polled_has_no_url_and_says_how(page):
    page.goto("/subscriptions/new/")
    page.get_by_label("Name", exact=True).fill("Behind a wall")
    page.locator("input[name=delivery][value=pull]").check()
    expect(page.get_by_label("URL", exact=True)).to_be_hidden()
    page.get_by_role("button", name="Create subscription").click()
    expect(page.locator("#created")).to_contain_text("Ready to be polled")
    page.locator("#created-value + button").click()
    page.get_by_role("button", name="Go to the subscription").click()
    expect(page.locator("#polling")).to_contain_text("0 messages not acknowledged")
    expect(page.locator("#polling")).to_contain_text("/poll/?limit=100")
