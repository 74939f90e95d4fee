"""A source falls silent: its page, the mail, the operational event; and it comes back. Time is moved, not awaited."""

import json
import re
import urllib.request

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import wait_for
from tests.browser.test_subscribe import confirm, message
from tests.portal import manage
from tests.receiver import Receiver

HOURS_LATER = """
from datetime import timedelta
from django.utils import timezone
from events.models import Alarm
from events.watch import evaluate
from sources.models import Source
from tenants.scope import system_scope

ago = timezone.now() - timedelta(hours={hours})
with system_scope():
    Alarm.objects.ensure()
    Source.objects.filter(pk="{source}").update(last_received_at=ago, created_at=ago)
    Alarm.objects.filter(source="{source}").update(watched_since=ago)
evaluate()
"""
NOW = "from events.watch import evaluate; evaluate()"


def in_the_portal(portal, code: str) -> None:
    """Run it beside the portal, over the same database."""
    done = manage("shell", "--no-imports", "--command", code, **portal.settings)
    assert done.returncode == 0, done.stderr


def mailed(portal, sentence: str) -> None:
    """Wait until the owner was: mail is printed, as by default."""
    wait_for(lambda: re.search(rf"To: owner@acme\.example[\s\S]*?{re.escape(sentence)}", portal.log()), 60)


def post(url: str) -> None:
    request = urllib.request.Request(url, b'{"door": 7}', {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        assert answer.status == 202


@pytest.mark.spec("P14", "P15")
def test_a_source_falls_silent_and_comes_back(page, portal, acme):
    source = acme.api("POST", "sources/", {"name": "Night watch", "auth": {"method": "none"}})
    with Receiver() as receiver:
        acme.api("POST", "subscriptions/", {"name": "On call", "url": receiver.url, "event_types": ["portal.*"]})
        confirm(receiver)

        page.goto(f"/sources/{source['id']}/")
        expect(page.locator("#health")).to_contain_text("Nothing received for 1 day")
        expect(page.locator("#health-banner .callout")).to_have_count(0)

        in_the_portal(portal, HOURS_LATER.format(hours=25, source=source["id"]))
        page.reload()
        expect(page.locator("#health-banner")).to_contain_text("“Night watch” has received nothing for 1 day.")
        expect(page.locator(f"#state-{source['id']}")).to_have_text("Silent")
        told = json.loads(message(receiver, "portal.source.silent").body)
        assert json.dumps(told).count(source["id"]) >= 1
        mailed(portal, "“Night watch” has received nothing for 1 day.")

        page.goto("/sources/")
        expect(page.locator(f"#state-{source['id']}")).to_have_text("Silent")
        page.goto("/")
        page.get_by_role("link", name=re.compile("needs? attention")).click()
        expect(page.get_by_role("row", name=re.compile("Night watch"))).to_contain_text("Alarm")

        post(source["url"])
        in_the_portal(portal, NOW)
        page.goto(f"/sources/{source['id']}/")
        expect(page.locator(f"#state-{source['id']}")).to_have_text("Healthy")
        expect(page.locator("#health-banner .callout")).to_have_count(0)
        page.get_by_text("What has rung").click()
        expect(page.locator("#health")).to_contain_text("Recovered")
        message(receiver, "portal.source.recovered")
        mailed(portal, "“Night watch” receives events again.")
        page.goto("/events/?type=portal.*")
        for name in ("portal.source.silent", "portal.source.recovered"):
            expect(page.get_by_role("link", name=name).first).to_be_visible()


@pytest.mark.spec("P15")
def test_the_time_is_set_from_a_list_or_in_minutes(page, acme):
    source = acme.api("POST", "sources/", {"name": "Day watch", "auth": {"method": "none"}})
    page.goto(f"/sources/{source['id']}/")
    dialog = page.locator("dialog#alarm-silence")

    page.get_by_role("button", name="Edit the alarm: No events").click()
    dialog.get_by_label("When nothing was received for").select_option("15 minutes")
    dialog.get_by_role("button", name="Save").click()
    expect(page.locator("#health")).to_contain_text("Nothing received for 15 minutes")

    page.get_by_role("button", name="Edit the alarm: No events").click()
    dialog.get_by_label("When nothing was received for").select_option("Another time…")
    dialog.get_by_label("Minutes").fill("14")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_contain_text("greater than or equal to 15")
    dialog.get_by_label("Minutes").fill("50")
    dialog.get_by_role("button", name="Save").click()
    expect(page.locator("#health")).to_contain_text("Nothing received for 50 minutes")

    page.get_by_role("button", name="Edit the alarm: Authentication").click()
    form = page.locator("dialog#alarm-authentication")
    form.get_by_label("Alert when requests do not prove who sends them").uncheck()
    form.get_by_role("button", name="Save").click()
    expect(page.locator("#health").get_by_role("row", name=re.compile("^Authentication"))).to_contain_text("Off")
