"""The choices of signing and shape on the pages: folded until asked for, and plain about what they cost."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import shown
from tests.receiver import Receiver


@pytest.fixture
def receiver():
    with Receiver() as running:
        yield running


def begin(page: Page, name: str, url: str, scheme: str) -> None:
    """The form, filled in, with a scheme out of the fold."""
    page.goto("/subscriptions/new/")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("URL", exact=True).fill(url)
    expect(page.locator(f'input[name="signing"][value="{scheme}"]')).to_be_hidden()
    page.get_by_text("Another scheme").click()
    page.locator(f'input[name="signing"][value="{scheme}"]').check(force=True)


def create(page: Page) -> None:
    page.get_by_role("button", name="Create subscription").click()


@pytest.mark.spec("B4")
def test_of_a_key_pair_the_public_key_is_shown_and_stays(page, receiver):
    begin(page, "Key pair", receiver.url, "standard_webhooks_ed25519")
    create(page)
    panel = page.locator("#created")
    key = shown(panel.locator('[data-fill="public_key"]'))
    assert key.startswith("whpk_")
    expect(panel.get_by_text("This is shown once")).to_be_hidden()
    expect(panel.get_by_role("tabpanel", name="Python", exact=True)).to_contain_text(key)
    page.get_by_role("button", name="Go to the subscription").click()  # nobody is asked whether it was stored
    expect(page.locator("section", has=page.locator("#secrets-title")).get_by_text(key)).to_be_visible()
    page.get_by_role("tab", name="Shell", exact=True).click()
    expect(page.get_by_role("tabpanel", name="Shell", exact=True)).to_contain_text(key)


def test_not_signing_takes_a_tick_behind_a_warning(page, receiver):
    begin(page, "Unsigned", receiver.url, "none")
    expect(page.get_by_text("The receiver cannot tell your messages from forged ones.")).to_be_visible()
    create(page)
    expect(page.locator("#created")).to_be_hidden()
    page.get_by_label("I understand that messages can be forged.").check()
    create(page)
    expect(page.locator("#created")).to_be_visible()
    assert "{snippets" not in page.locator("#created").inner_text()
    page.get_by_role("button", name="Go to the subscription").click()
    expect(page.get_by_text("These messages are not signed.")).to_be_visible()


@pytest.mark.spec("N5", "S6")
def test_a_prefix_is_chosen_and_a_rotation_says_first_that_it_works_at_once(page, receiver):
    begin(page, "Prefixed", receiver.url, "timestamp_and_body")
    prefix = page.get_by_label("Prefix of the headers")
    prefix.fill("not one")
    create(page)
    expect(page.get_by_text(re.compile("letters and digits, with hyphens"))).to_be_visible()
    prefix.fill("Acme")
    page.locator("#f-shape-1").select_option("cloudevents")
    expect(page.locator("#shape-1-help")).to_contain_text("application/cloudevents+json")
    create(page)
    secret = shown(page.locator("#created-value"))
    page.locator("#created-value + button").click()
    page.get_by_role("button", name="Go to the subscription").click()
    expect(page.get_by_text("X-Acme-Signature").first).to_be_visible()
    expect(page.get_by_text("CloudEvents, structured").first).to_be_visible()
    page.get_by_role("button", name="Rotate secret").click()
    dialog = page.locator("dialog#rotate")
    expect(dialog.get_by_text("The new secret signs at once.")).to_be_visible()
    dialog.get_by_role("button", name="Rotate secret").click()
    assert shown(page.locator("#rotated-value")) != secret
    page.locator("#rotated-value + button").click()
