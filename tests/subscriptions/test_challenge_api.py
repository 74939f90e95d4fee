"""The challenge in the API and on the pages: chosen at the creation, its failure shown, asked by a person."""

from datetime import timedelta

import pytest
from django.utils import timezone

from subscriptions.challenges import WRONG_ANSWER
from subscriptions.models import Notice, Subscription
from tenants.scope import system_scope, tenant_scope

LIST = "/api/v1/subscriptions/"
FIELDS = {"name": "DLP", "url": "https://receiver.example/hook", "verification": "challenge"}


@pytest.fixture
def challenged(make):
    return make(verification="challenge")


def fail(subscription, *, is_last=False) -> None:
    with system_scope():
        one = Subscription.objects.get(pk=subscription.pk)
        one.fail_challenge(one.challenge_notice, WRONG_ANSWER, is_last=is_last)


def succeed(subscription) -> None:
    with system_scope():
        one = Subscription.objects.get(pk=subscription.pk)
        assert one.pass_challenge(one.challenge_notice)


def rest() -> None:
    """As if the last challenge had been a while ago."""
    with system_scope():
        Notice.objects.update(created_at=timezone.now() - timedelta(minutes=1))


@pytest.mark.spec("N1")
def test_it_is_chosen_at_the_creation(api):
    answer = api("admin").post(LIST, FIELDS).json()
    assert (answer["verification"], answer["state"], answer["code"], answer["challenged_at"]) == (
        "challenge",
        "pending",
        None,
        None,
    )
    with system_scope():
        (notice,) = Notice.objects.all()
        assert (notice.kind, list(notice.payload)) == ("challenge", ["challenge"])
        assert notice.payload["challenge"] not in str(answer)


def test_it_is_chosen_once(api, challenged):
    answer = api("admin").patch(f"{LIST}{challenged.pk}/", {"verification": "link"})
    assert answer.status_code == 400
    assert "cannot be changed" in answer.json()["errors"][0]["detail"]
    assert api("admin").patch(f"{LIST}{challenged.pk}/", {"verification": "challenge"}).status_code == 200


def test_a_scheme_that_cannot_sign_it_is_refused(api):
    answer = api("admin").post(LIST, FIELDS | {"signing": "timestamped_body"})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "verification"


@pytest.mark.spec("N3")
def test_the_code_and_the_reason_are_shown(api, browser, cast, challenged):
    fail(challenged)
    answer = api("viewer").get(f"{LIST}{challenged.pk}/").json()
    assert (answer["code"], answer["state_reason"]) == ("42201", "Webhook returned incorrect challenge response")
    page = browser(cast.viewer).get(f"/subscriptions/{challenged.pk}/").content.decode()
    assert "<strong>42201</strong>: Webhook returned incorrect challenge response." in page
    assert 'id="verify-now"' not in page
    assert 'id="verify-now"' in browser(cast.member).get(f"/subscriptions/{challenged.pk}/").content.decode()


@pytest.mark.spec("N3")
def test_they_go_when_it_is_answered(api, browser, cast, challenged):
    fail(challenged)
    succeed(challenged)
    answer = api("viewer").get(f"{LIST}{challenged.pk}/").json()
    assert (answer["state"], answer["code"], answer["state_reason"]) == ("idle", None, "")
    assert answer["challenged_at"] is not None
    assert "42201" not in browser(cast.viewer).get(f"/subscriptions/{challenged.pk}/").content.decode()


@pytest.mark.spec("N3")
def test_a_challenge_that_fails_while_idle_is_watched_on_the_page(browser, cast, challenged):
    succeed(challenged)
    rest()
    with tenant_scope(cast.tenant.pk):
        challenged.send_challenge()
    fail(challenged)
    state = browser(cast.viewer).get(f"/subscriptions/{challenged.pk}/state/")
    assert state.status_code == 200
    assert "42201" in state.content.decode()
    fail(challenged, is_last=True)
    state = browser(cast.viewer).get(f"/subscriptions/{challenged.pk}/state/")
    assert state.status_code == 286
    assert "Disabled" in state.content.decode()


def test_a_person_asks_again(api, challenged, cast):
    fail(challenged, is_last=True)
    rest()
    answer = api("member").post(f"{LIST}{challenged.pk}/challenge/")
    assert answer.status_code == 202
    with system_scope():
        assert str(Subscription.objects.get(pk=challenged.pk).challenge_notice) == answer.json()["notice"]
    entries = api("owner").get("/api/v1/audit/").json()["results"]
    assert entries[0]["action"] == "subscription.challenged"


def test_not_a_viewer(api, challenged):
    assert api("viewer").post(f"{LIST}{challenged.pk}/challenge/").status_code == 403


def test_not_again_and_again(api, challenged):
    answer = api("member").post(f"{LIST}{challenged.pk}/challenge/")
    assert answer.status_code == 429
    assert int(answer["Retry-After"]) >= 1


def test_not_more_than_a_days_worth(api, challenged, monkeypatch):
    monkeypatch.setattr("subscriptions.verification.MAX_PER_SUBSCRIPTION", 1)
    rest()
    assert api("member").post(f"{LIST}{challenged.pk}/challenge/").status_code == 429


def test_links_and_challenges_are_not_mixed(api, challenged, make):
    linked = make(name="Linked")
    assert api("member").post(f"{LIST}{linked.pk}/challenge/").status_code == 409
    assert api("member").post(f"{LIST}{challenged.pk}/send-confirmation/").status_code == 409


def test_not_while_disabled(api, challenged, cast):
    with tenant_scope(cast.tenant.pk):
        challenged.disable("By a test.")
    rest()
    assert api("member").post(f"{LIST}{challenged.pk}/challenge/").status_code == 409


def test_another_url_is_challenged_anew(api, challenged):
    succeed(challenged)
    answer = api("admin").patch(f"{LIST}{challenged.pk}/", {"url": "https://other.example/hook"}).json()
    assert (answer["state"], answer["challenged_at"], answer["confirmed_at"]) == ("pending", None, None)
    with system_scope():
        one = Subscription.objects.get(pk=challenged.pk)
        assert one.notices.get(kind="challenge").pk == one.challenge_notice


def test_disabling_takes_the_code_away(challenged, cast):
    fail(challenged)
    with tenant_scope(cast.tenant.pk):
        challenged.disable("By a test.")
        assert (challenged.challenge_code, challenged.state_reason) == ("", "By a test.")
