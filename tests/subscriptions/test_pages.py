"""The pages: what they show, to whom, and that they only read."""

import pytest

from subscriptions.models import Failing, Subscription
from tenants.scope import system_scope, tenant_scope
from tests.subscriptions.conftest import fail

LIST = "/subscriptions/"


def page(subscription, part: str = "") -> str:
    return f"{LIST}{subscription.pk}/{part}"


def text(response) -> str:
    assert response.status_code in {200, 286}
    return response.content.decode()


def test_the_list_shows_state_and_types(browser, cast, make):
    make("idle", name="Incident desk", hint="the gateway", event_types=["login.*", "user.*"])
    shown = text(browser(cast.viewer).get(LIST))
    for words in ("Incident desk", "Idle", "login.*", "the gateway"):
        assert words in shown


def test_the_list_can_be_filtered_in_place(browser, cast, make):
    make(name="Alpha")
    make("idle", name="Beta")
    shown = text(browser(cast.viewer).get(LIST + "?state=idle", headers={"HX-Request": "true"}))
    assert "Beta" in shown
    assert "Alpha" not in shown
    assert "<html" not in shown


def test_an_empty_list_says_what_to_do(browser, cast):
    assert "/subscriptions/new/" in text(browser(cast.owner).get(LIST))
    assert "/subscriptions/new/" not in text(browser(cast.viewer).get(LIST))


def test_the_create_page_offers_what_there_is(browser, cast):
    shown = text(browser(cast.admin).get(LIST + "new/"))
    for words in ("Standard Webhooks", "timestamped_body", "post_once", "As received"):
        assert words in shown


def test_the_detail_shows_what_a_person_may_do(browser, cast, make):
    subscription = make("idle")
    assert "rotate-secret/" in text(browser(cast.admin).get(page(subscription)))
    member = text(browser(cast.member).get(page(subscription)))
    assert "rotate-secret/" not in member
    assert "/test/" in member
    viewer = text(browser(cast.viewer).get(page(subscription)))
    assert "/test/" not in viewer


def test_a_pending_subscription_is_watched(browser, cast, make):
    subscription = make()
    shown = text(browser(cast.viewer).get(page(subscription)))
    assert "Waiting for the receiver" in shown
    assert f'hx-get="{page(subscription, "state/")}"' in shown


def test_watching_ends_when_it_is_confirmed(browser, cast, make):
    pending, idle = make(), make("idle")
    client = browser(cast.admin)
    assert client.get(page(pending, "state/")).status_code == 200
    answer = client.get(page(idle, "state/"))
    assert answer.status_code == 286
    assert "Confirmed" in text(answer)
    assert "subscription-actions" in text(answer)


def test_a_disabled_subscription_says_why(browser, cast, make):
    subscription = make("idle")
    with tenant_scope(cast.tenant.pk):
        subscription.disable("The receiver answered 410.")
    shown = text(browser(cast.viewer).get(page(subscription)))
    assert "The receiver answered 410." in shown


def test_an_overlap_is_said_on_the_page(browser, api, cast, make):
    subscription = make("idle")
    api("admin").post(f"/api/v1/subscriptions/{subscription.pk}/rotate-secret/", {})
    shown = text(browser(cast.viewer).get(page(subscription)))
    assert "Both secrets sign" in shown


@pytest.mark.parametrize("part", ["", "edit/", "state/"])
def test_to_a_stranger_the_pages_are_not_there(browser, cast, make, part):
    assert browser(cast.stranger).get(page(make(), part)).status_code == 404


@pytest.mark.parametrize("part", ["", "edit/", "state/"])
def test_a_deleted_subscription_has_no_pages(browser, cast, make, part):
    subscription = make()
    with tenant_scope(cast.tenant.pk):
        subscription.delete()
    assert browser(cast.owner).get(page(subscription, part)).status_code == 404


@pytest.mark.parametrize("who", ["viewer", "member"])
def test_who_cannot_configure_gets_no_form(browser, cast, make, who):
    client = browser(getattr(cast, who))
    assert client.get(LIST + "new/").status_code == 403
    assert client.get(page(make(), "edit/")).status_code == 403


@pytest.mark.parametrize("part", ["", "edit/", "state/"])
def test_pages_only_read(browser, cast, make, part):
    subscription = make()
    assert browser(cast.owner).post(page(subscription, part)).status_code == 405
    with system_scope():
        assert Subscription.objects.get(pk=subscription.pk).state == "pending"


def test_signed_out_people_are_sent_to_sign_in(client, cast, make):
    answer = client.get(page(make()))
    assert answer.status_code == 302
    assert "/accounts/login/" in answer["Location"]


def test_what_people_wrote_is_escaped(browser, cast, make):
    nasty = "<script>alert(1)</script>"
    subscription = make("idle", name=nasty, hint=nasty, headers={"X-T": "v"})
    client = browser(cast.owner)
    for part in ("", "edit/"):
        assert nasty not in text(client.get(page(subscription, part)))
    assert nasty not in text(client.get(LIST))


def test_the_url_help_tells_what_is_open_here(browser, cast, settings):
    settings.EGRESS_ALLOW = []
    client = browser(cast.owner)
    assert "networks that are open here" not in client.get("/subscriptions/new/").content.decode()
    settings.EGRESS_ALLOW = ["127.0.0.0/8"]
    assert "open here (127.0.0.0/8) also http" in client.get("/subscriptions/new/").content.decode()


def test_the_policy_and_its_rules_stand_in_words(browser, cast, make):
    subscription = make(
        "idle", policy="custom", delays=[5, 300, 3600], rules={"404": "fail", "4xx": "disable", "timeout": "deliver"}
    )
    shown = text(browser(cast.viewer).get(page(subscription)))
    for words in (
        "Up to 4 attempts: at once, then after 5 s, 5 min and 1 h.",
        "any 4xx",
        "no answer in time",
        "Count as received",
        "cannot be changed",
        "anything else",
    ):
        assert words in shown


def test_the_edit_page_has_waits_and_rules_as_they_are(browser, cast, make):
    subscription = make("idle", policy="custom", delays=[5, 300, 3600], rules={"404": "fail"})
    shown = text(browser(cast.admin).get(page(subscription, "edit/")))
    assert 'value="5s, 5m, 1h"' in shown
    assert '<input class="input mono" data-key list="answers" value="404"' in shown
    assert '<option value="fail" selected>' in shown


def test_a_receiver_that_is_well_has_nothing_to_say(browser, cast, make):
    shown = text(browser(cast.member).get(page(make("idle"))))
    assert "Nothing fails." in shown
    assert "/try-now/" not in shown
    assert "every 10s" not in shown


def test_a_receiver_that_is_spared_can_be_tried_by_who_may(browser, cast, make):
    subscription = make("idle")
    fail(subscription)
    shown = text(browser(cast.member).get(page(subscription)))
    for words in ("is being spared", "6 Mar 2026, 12:00 UTC", "/api/v1/deliveries/try-now/", "every 10s"):
        assert words in shown
    assert "/try-now/" not in text(browser(cast.viewer).get(page(subscription)))


def test_one_that_only_begins_to_fail_is_not_called_spared(browser, cast, make):
    subscription = make("idle")
    fail(subscription)
    with system_scope():
        Failing.objects.update(opened_at=None, open_until=None)
    shown = text(browser(cast.member).get(page(subscription)))
    assert "Its receiver fails" in shown
    assert "/try-now/" not in shown


def test_what_it_failed_before_it_was_disabled_is_not_shown_as_going_on(browser, cast, make):
    subscription = make("idle")
    fail(subscription)
    with tenant_scope(cast.tenant.pk):
        subscription.disable("By a test.")
    assert "is being spared" not in text(browser(cast.member).get(page(subscription)))
