"""A receiver that was down gets back what it missed, from the pages."""

import json
import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import wait_for
from tests.browser.test_subscribe import confirm, create
from tests.portal import call
from tests.receiver import Answer, Receiver


@pytest.fixture
def receiver():
    with Receiver() as listening:
        yield listening


def arrived(receiver: Receiver, kind: str) -> list[str]:
    """The ids of the messages of that type that were posted, in order."""
    messages = [(posted.headers["webhook-id"], json.loads(posted.body)["type"]) for posted in receiver.posted]
    return [identifier for identifier, its_kind in messages if its_kind == kind]


@pytest.mark.spec("B7")
def test_what_failed_is_counted_then_sent_again(page, receiver, acme):
    create(page, "Down for a while", receiver.url)
    confirm(receiver)
    page.get_by_role("button", name="Go to the subscription").click()
    expect(page.locator("#subscription-state")).to_contain_text("Idle")
    subscription = page.url.rstrip("/").rsplit("/", 1)[-1]
    acme.api("PATCH", f"subscriptions/{subscription}/", {"policy": "post_once", "event_types": ["replay.*"]})
    receiver.answer = Answer(500)
    for number in range(3):
        acme.api("POST", "events/", {"type": "replay.shown", "payload": {"n": number}})
    path = f"deliveries/?subscription={subscription}&status=failed"
    wait_for(lambda: len(acme.api("GET", path)["results"]) == 3)
    receiver.answer = Answer(204)

    page.goto(f"/{path}")
    page.get_by_role("button", name="Resend these…").click()
    dialog = page.locator("dialog#replay")
    expect(dialog).to_contain_text("3 events will be sent")
    dialog.get_by_role("button", name="Send 3 again").click()
    page.wait_for_url(re.compile("/replays/"))
    expect(page.locator(".notice-box")).to_contain_text("Finished")  # without a reload
    expect(page.locator(".notice-box")).to_contain_text("3 of 3")
    first = wait_for(lambda: (ids := arrived(receiver, "replay.shown")) and len(ids) == 6 and ids)
    assert sorted(first[:3]) == sorted(first[3:])

    # The subscription's own dialog: the count follows the choices.
    page.goto(f"/subscriptions/{subscription}/")
    page.get_by_role("button", name="Replay…").click()
    expect(dialog).to_contain_text("3 events will be sent")
    dialog.get_by_role("radio", name=re.compile("What it missed")).check()
    expect(dialog).to_contain_text("There is nothing to send")
    expect(dialog.get_by_role("button", name="Send again")).to_be_disabled()
    dialog.get_by_role("radio", name=re.compile("Everything")).check()
    dialog.get_by_role("button", name="Send 3 again").click()
    expect(page.locator("#replays")).to_contain_text("events since")
    expect(page.locator("#replays").get_by_text("Finished")).to_have_count(2)


@pytest.mark.spec("B7", "B8")
def test_what_was_missed_while_disabled_waits_for_the_receiver_and_can_be_stopped(page, receiver, acme):
    create(page, "Disabled for a while", receiver.url)
    confirm(receiver)
    page.get_by_role("button", name="Go to the subscription").click()
    expect(page.locator("#subscription-state")).to_contain_text("Idle")
    subscription = page.url.rstrip("/").rsplit("/", 1)[-1]
    acme.api("PATCH", f"subscriptions/{subscription}/", {"policy": "exponential", "event_types": ["bulk.*"]})
    acme.api("POST", f"subscriptions/{subscription}/disable/", {})
    source = acme.api("POST", "sources/", {"name": "Bulk", "auth": {"method": "none"}})
    bulk = [{"type": "bulk.shown", "n": number} for number in range(1100)]
    with Receiver() as witness:  # what was sent to another has been routed, so the disabled one has missed it
        told = {"name": "Never down", "url": witness.url, "event_types": ["bulk.*"]}
        other = acme.api("POST", "subscriptions/", told)["id"]
        confirm(witness)
        wait_for(lambda: acme.api("GET", f"subscriptions/{other}/")["state"] == "idle")
        assert (
            call("POST", source["url"], json.dumps(bulk).encode(), {"Content-Type": "application/json"}).status == 202
        )
        wait_for(lambda: len(set(arrived(witness, "bulk.shown"))) == len(bulk), 60)
    receiver.answer = Answer(500)

    page.reload()
    page.get_by_role("button", name="Replay…").click()
    dialog = page.locator("dialog#replay")
    expect(dialog).to_contain_text("The subscription is disabled")
    dialog.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Enable").click()
    expect(page.locator("#subscription-state")).to_contain_text("Idle")
    page.get_by_role("button", name="Replay…").click()
    expect(dialog.get_by_role("radio", name=re.compile("What it missed"))).to_be_checked()
    dialog.get_by_role("button", name="Send 1,100 again").click()
    replay = page.locator("#replays .notice-box")
    expect(replay).to_contain_text("1,000 of 1,100")  # and no more: these wait to be tried again
    expect(replay).to_contain_text("wait for the receiver")
    expect(replay.get_by_role("progressbar")).to_have_js_property("position", 1000 / 1100)
    replay.get_by_role("button", name="Stop").click()
    expect(replay).to_contain_text("Stopped")
    expect(replay.get_by_role("progressbar")).to_have_count(0)


@pytest.mark.spec("B7")
def test_what_is_pending_is_counted_then_cancelled(page, receiver, acme):
    create(page, "Never well", receiver.url)
    confirm(receiver)
    page.get_by_role("button", name="Go to the subscription").click()
    expect(page.locator("#subscription-state")).to_contain_text("Idle")
    subscription = page.url.rstrip("/").rsplit("/", 1)[-1]
    acme.api("PATCH", f"subscriptions/{subscription}/", {"policy": "exponential", "event_types": ["cancel.*"]})
    receiver.answer = Answer(500)
    for number in range(2):
        acme.api("POST", "events/", {"type": "cancel.shown", "payload": {"n": number}})
    wait_for(lambda: len(arrived(receiver, "cancel.shown")) == 2)
    page.get_by_role("button", name="Cancel pending…").click()
    dialog = page.locator("dialog#cancel")
    expect(dialog).to_contain_text("2 pending deliveries")
    dialog.get_by_role("button", name="Cancel 2 deliveries").click()
    expect(page.locator("#results").get_by_text("Cancelled")).to_have_count(2)
    assert acme.api("GET", f"deliveries/?subscription={subscription}&status=pending")["results"] == []
