"""A subscription from its creation to both secrets signing, with a real receiver on a real socket."""

import json
import re
import urllib.request

import pytest
from playwright.sync_api import Page, expect
from standardwebhooks import Webhook, WebhookVerificationError

from tests.browser.conftest import shown, wait_for
from tests.receiver import Posted, Receiver

CONFIRMATION = "portal.subscription.confirmation"


@pytest.fixture
def receiver():
    with Receiver() as listening:
        yield listening


def message(receiver: Receiver, kind: str, after: int = 0) -> Posted:
    """Wait for the first message of this type among those posted after the first `after`."""
    return wait_for(
        lambda: next(
            (posted for posted in receiver.posted[after:] if json.loads(posted.body).get("type") == kind), None
        )
    )


def verifies(secret: str, posted: Posted) -> bool:
    try:
        Webhook(secret).verify(posted.body, posted.headers)
    except WebhookVerificationError:
        return False
    return True


def create(page: Page, name: str, url: str) -> str:
    """Create it in the page; the secret that is shown. The page stays at the reveal panel."""
    page.goto("/subscriptions/new/")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("URL", exact=True).fill(url)
    page.get_by_role("button", name="Create subscription").click()
    secret = shown(page.locator("#created-value"))
    page.locator("#created-value + button").click()
    return secret


def confirm(receiver: Receiver) -> None:
    link = re.search(rb'"confirmation_url":\s*"([^"]+)"', message(receiver, CONFIRMATION).body)[1].decode()
    with urllib.request.urlopen(link, timeout=10) as answer:  # noqa: S310
        assert answer.status == 200


@pytest.mark.spec("T1", "T4", "S2")
def test_pending_until_the_receiver_opens_the_link(page, receiver):
    create(page, "Incident desk", receiver.url)
    page.get_by_role("button", name="Go to the subscription").click()
    expect(page.get_by_text("Waiting for the receiver to confirm")).to_be_visible()
    expect(page.get_by_role("button", name="Send test")).to_be_disabled()
    assert receiver.url not in page.content(), "after creation the URL is hidden"

    confirm(receiver)
    expect(page.locator("#state")).to_contain_text("Confirmed")  # without a reload
    expect(page.get_by_role("button", name="Send test")).to_be_enabled()
    assert page.locator(".page-actions#subscription-actions").count() == 1


@pytest.mark.spec("S7", "T5", "B4")
def test_the_result_of_a_test_is_shown_live(page, receiver):
    secret = create(page, "Tested", receiver.url)
    confirm(receiver)
    page.get_by_role("button", name="Go to the subscription").click()
    page.get_by_role("button", name="Send test").click()
    expect(page.locator("#test-result")).to_contain_text("The receiver answered 204")
    row = page.locator("#results").get_by_role("row", name=re.compile("test.webhook-event"))
    expect(row).to_contain_text("Delivered")  # the rest of the page follows by itself
    posted = message(receiver, "test.webhook-event")
    assert verifies(secret, posted)
    assert b'"Acme"' in posted.body
    page.locator("#test-result").get_by_role("link", name="Details").click()
    expect(page.get_by_text("Attempt 1")).to_be_visible()


@pytest.mark.spec("S6", "B4")
def test_during_the_overlap_both_secrets_sign(page, receiver, portal, acme):
    first = create(page, "Rotated", receiver.url)
    confirm(receiver)
    page.get_by_role("button", name="Go to the subscription").click()
    page.get_by_role("button", name="Rotate secret").click()
    page.locator("dialog#rotate").get_by_role("button", name="Rotate secret").click()
    second = shown(page.locator("#rotated-value"))
    page.locator("#rotated-value + button").click()
    page.locator("#rotated").get_by_role("button", name="Done").click()
    expect(page.get_by_text("Both secrets sign; the overlap ends")).to_be_visible()
    assert first not in page.content()
    assert second not in page.content()

    acme.api("POST", "events/", {"type": "order.created", "payload": {"id": 1}})
    posted = message(receiver, "order.created")
    assert first != second
    assert verifies(first, posted)
    assert verifies(second, posted)

    page.get_by_role("button", name="End overlap now").click()
    page.locator("#confirm").get_by_role("button", name="End overlap").click()
    expect(page.get_by_text("Still signs")).to_have_count(0)
    before = len(receiver.posted)
    acme.api("POST", "events/", {"type": "order.paid", "payload": {"id": 2}})
    posted = message(receiver, "order.paid", before)
    assert verifies(second, posted)
    assert not verifies(first, posted)

    page.reload()
    expect(page.locator("#results").get_by_text("Delivered").first).to_be_visible()
