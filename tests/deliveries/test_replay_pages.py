"""Asking for a replay and watching it, on the pages."""

import json
from html import unescape
from re import search

import pytest
from django.utils import timezone

from deliveries import replay as replaying
from deliveries.models import Delivery, Outbox, Replay
from deliveries.routing import route
from subscriptions.models import Subscription
from tenants.scope import system_scope, tenant_scope

HTMX = {"HX-Request": "true"}


@pytest.fixture
def subscription(subscribe, happen):
    subscription, _ = subscribe(name="<b>SIEM</b>")
    for _ in range(3):
        happen()
    while route().claimed:
        pass
    return subscription


@pytest.fixture
def failed(subscription):
    with system_scope():
        Delivery.objects.update(status="failed", completed_at=timezone.now())
        Outbox.objects.all().delete()
    return subscription


@pytest.fixture
def replay(cast, failed):
    with tenant_scope(cast.tenant.pk):
        replay = Replay.asked(failed, "deliveries", selection={"status": ["failed"]})
        replay.start(3, is_exact=True, asked_by="owner@acme.example")
    return replay


def body_in(page: str) -> dict:
    return json.loads(unescape(search(r'data-body="([^"]+)"', page).group(1)))


def test_the_log_offers_to_resend_what_one_subscription_is_shown_of(browser, cast, failed):
    client = browser(cast.member)
    headers = HTMX | {"HX-Current-URL": "http://testserver/deliveries/"}
    page = client.get(f"/deliveries/?subscription={failed.pk}&status=failed", headers=headers).content.decode()
    url = unescape(search(r'id="resend-these"[^>]* hx-get="(/replays/new/[^"]+)"', page).group(1))
    asked = client.get(url, headers=HTMX).content.decode()
    assert "Send 3 again" in asked
    assert "<b>SIEM" not in asked
    answer = client.post("/api/v1/replays/", body_in(asked), content_type="application/json")
    assert (answer.status_code, answer.json()["total"]) == (201, 3)


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("", "Choose one subscription first"),
        ("subscription={pk}&kind=test", None),
        ("subscription={pk}&status=pending", "What is pending is sent anyway"),
    ],
)
def test_where_it_cannot_it_says_why(browser, cast, subscription, query, why):
    page = browser(cast.member).get(f"/deliveries/?{query.format(pk=subscription.pk)}").content.decode()
    assert 'id="resend-these"' not in page
    assert 'id="resend-chosen"' not in page  # all of it is pending, and so sent anyway
    assert (why or "Nothing fits") in page


def test_a_viewer_is_offered_neither(browser, cast, failed):
    viewer = browser(cast.viewer)
    for url in (f"/deliveries/?subscription={failed.pk}", f"/subscriptions/{failed.pk}/"):
        page = viewer.get(url).content.decode()
        assert "/replays/new/" not in page
        assert "/replays/cancel/" not in page
    assert viewer.get(f"/replays/new/?subscription={failed.pk}").status_code == 403
    assert viewer.get(f"/replays/cancel/?subscription={failed.pk}").status_code == 403


def test_the_subscriptions_dialog_proposes_what_is_likely_wanted(browser, cast, failed):
    client, url = browser(cast.member), f"/replays/new/?subscription={failed.pk}"
    assert 'value="events" checked' in client.get(url).content.decode()
    with system_scope():
        Subscription.objects.update(disabled_at=timezone.now())
    page = client.get(url).content.decode()
    assert 'value="missed" checked' in page
    assert "Send 3 again" in page


def test_the_count_follows_the_choices(browser, cast, failed):
    with system_scope():
        Delivery.objects.update(status="delivered")
    url = f"/replays/new/?subscription={failed.pk}&since=2020-01-01T00:00:00"
    client = browser(cast.member)
    assert "Send 3 again" in client.get(f"{url}&kind=events").content.decode()
    page = client.get(f"{url}&kind=missed").content.decode()
    assert "There is nothing to send" in page
    assert 'type="submit" disabled' in page


@pytest.mark.parametrize(
    ("query", "sentence"),
    [("since=2999-01-01T00:00", "still to come"), ("since=x", "wrong format"), ("kind=x", "not a valid choice")],
)
def test_a_mistake_is_said_instead_of_a_count(browser, cast, failed, query, sentence):
    page = browser(cast.member).get(f"/replays/new/?subscription={failed.pk}&{query}").content.decode()
    assert sentence in page
    assert 'type="submit" disabled' in page


def test_a_disabled_subscription_says_so_instead_of_a_count(browser, cast, failed):
    with system_scope():
        Subscription.objects.update(state="disabled")
    page = browser(cast.member).get(f"/replays/new/?subscription={failed.pk}").content.decode()
    assert "The subscription is disabled" in page


def test_a_strangers_subscription_is_none(browser, cast, failed):
    for url in ("/replays/new/", "/replays/cancel/"):
        page = browser(cast.stranger).get(f"{url}?subscription={failed.pk}").content.decode()
        assert "There is no such subscription." in page
        assert "SIEM" not in page


def test_progress_is_asked_for_until_it_ends(browser, cast, replay):
    client = browser(cast.viewer)
    page = client.get(f"/replays/{replay.pk}/", headers=HTMX)
    text = page.content.decode()
    assert "every 1s" in text
    assert 'max="3" value="0"' in text
    assert "/stop/" not in text
    assert not page.has_header("HX-Trigger")
    while replaying.advance() is not None:
        pass
    page = client.get(f"/replays/{replay.pk}/", headers=HTMX)
    assert "every 1s" not in page.content.decode()
    assert "<progress" not in page.content.decode()
    assert "delivery-ended" in page["HX-Trigger"]


def test_a_member_can_stop_it_there(browser, cast, replay):
    page = browser(cast.member).get(f"/replays/{replay.pk}/").content.decode()
    assert f"/api/v1/replays/{replay.pk}/stop/" in page
    assert "<html" in page


def test_a_replay_that_is_not_counted_to_the_end_says_at_least(browser, cast, replay):
    with system_scope():
        Replay.objects.update(total_is_exact=False)
    page = browser(cast.viewer).get(f"/replays/{replay.pk}/", headers=HTMX).content.decode()
    assert "at least 3" in page
    assert "max=" not in page


def test_a_subscriptions_page_shows_its_replays(browser, cast, replay, failed):
    client, url = browser(cast.viewer), f"/replays/of-subscription/{failed.pk}/"
    assert url in client.get(f"/subscriptions/{failed.pk}/").content.decode()
    assert "owner@acme.example" in client.get(url, headers=HTMX).content.decode()
    with system_scope():
        Replay.objects.all().delete()
    assert "None lately" in client.get(url, headers=HTMX).content.decode()


def test_cancelling_shows_the_count_first(browser, cast, subscription):
    client, url = browser(cast.member), f"/replays/cancel/?subscription={subscription.pk}"
    page = client.get(url, headers=HTMX).content.decode()
    assert "Cancel 3" in page
    answer = client.post("/api/v1/deliveries/cancel-pending/", body_in(page), content_type="application/json")
    assert answer.json()["cancelled"] == 3
    assert "Nothing is pending" in client.get(url, headers=HTMX).content.decode()
