"""“Verify this signature”: what a receiver got, pasted into the subscription's page."""

import pytest
from playwright.sync_api import expect

from tests.browser.test_subscribe import CONFIRMATION, create, message
from tests.receiver import Receiver


@pytest.fixture
def receiver():
    with Receiver() as listening:
        yield listening


@pytest.mark.spec("B4")
def test_what_the_receiver_got_is_judged(page, receiver):
    secret = create(page, "Judged", receiver.url)
    page.get_by_role("button", name="Go to the subscription").click()
    got = message(receiver, CONFIRMATION)
    lines = "\n".join(f"{name}: {value}" for name, value in got.headers.items())
    verdict = page.locator("#verdict")

    page.get_by_label("Headers", exact=True).fill(lines)
    page.get_by_label("Body", exact=True).fill(got.body.decode())
    page.get_by_role("button", name="Verify", exact=True).click()
    expect(verdict).to_contain_text("The signature is right")
    expect(verdict.get_by_text("Expected begins")).to_be_hidden()
    expect(verdict.get_by_text("Missing headers")).to_be_hidden()

    page.get_by_label("Body", exact=True).fill(got.body.decode() + "\n")
    page.get_by_role("button", name="Verify", exact=True).click()
    expect(verdict).to_contain_text("without the line break at its end")
    expect(verdict.get_by_text("Expected begins")).to_be_visible()
    expect(verdict.get_by_text("The signature is right")).to_be_hidden()

    page.get_by_label("Headers", exact=True).fill("webhook-id: a\nhost: b")
    page.get_by_role("button", name="Verify", exact=True).click()
    expect(verdict).to_contain_text("webhook-timestamp, webhook-signature")
    assert secret not in page.content()
