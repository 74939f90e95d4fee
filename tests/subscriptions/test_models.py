"""The verbs: every arrow of the state, legal and illegal; secrets; notices."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from subscriptions import verification
from subscriptions.models import (
    Notice,
    SigningSecret,
    Subscription,
    TooManyConfirmations,
    WrongState,
)
from subscriptions.signing_secrets import MAX_LIVE_SECRETS
from tests.subscriptions.conftest import URL, token_of

pytestmark = pytest.mark.usefixtures("in_tenant")
NOW = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)
OTHER_URL = "https://other.example/hook"


def state_of(subscription: Subscription) -> str:
    return Subscription.objects.get(pk=subscription.pk).state


# create_pending -----------------------------------------------------------------------------------


@pytest.mark.spec("T4")
def test_a_new_subscription_is_pending_and_its_link_is_on_the_way(make):
    subscription = make()
    notice = subscription.notices.get()
    assert (state_of(subscription), notice.kind, notice.routed_at) == (
        "pending",
        "confirmation",
        None,
    )
    assert notice.event_type == "portal.subscription.confirmation"
    assert notice.payload["confirmation_url"].startswith("http://127.0.0.1:8000/confirm/")


@pytest.mark.spec("N4")
def test_the_secret_is_told_once_and_kept_sealed(cast):
    subscription, secret = Subscription.objects.create_pending(cast.tenant, cast.owner, name="Desk", url=URL)
    kept = subscription.signing_secrets.get()
    assert secret.startswith("whsec_")
    assert subscription.live_secrets() == [secret]
    assert kept.digest is None
    assert secret.encode() not in bytes(kept.__dict__["value"])


@pytest.mark.spec("T3")
def test_header_names_are_readable_and_values_are_not(make):
    subscription = make(headers={"X-Token": "tok-123"})
    again = Subscription.objects.get(pk=subscription.pk)
    assert again.header_names == ["X-Token"]
    assert again.headers == {"X-Token": "tok-123"}
    assert b"tok-123" not in bytes(again.__dict__["headers"])


# send_confirmation --------------------------------------------------------------------------------


@pytest.mark.spec("T4")
def test_only_the_digest_of_a_token_is_kept(make):
    subscription = make()
    token = token_of(subscription)
    kept = Subscription.objects.get(pk=subscription.pk)
    assert bytes(kept.confirmation_digest) == hashlib.sha256(token.encode()).digest()
    assert len(token) >= 43  # 256 bits


@pytest.mark.spec("T4")
def test_a_link_is_good_for_72_hours(make):
    subscription = make()
    subscription.send_confirmation(at=NOW)
    subscription.refresh_from_db()
    assert subscription.confirmation_expires_at == NOW + 72 * HOUR


def test_an_older_token_dies_when_a_new_one_is_sent(make):
    subscription = make()
    old = token_of(subscription)
    subscription.send_confirmation(at=NOW)
    assert Subscription.objects.confirm(old) is None
    assert Subscription.objects.confirm(token_of(subscription), at=NOW).pk == subscription.pk


def test_a_link_that_has_not_left_yet_is_replaced(make):
    subscription = make()
    subscription.send_confirmation(at=NOW)
    assert subscription.notices.filter(routed_at=None).count() == 1


@pytest.mark.parametrize("state", ["idle", "disabled"])
def test_no_link_is_sent_unless_pending(make, state):
    subscription = make(state)
    with pytest.raises(WrongState, match=state):
        subscription.send_confirmation(at=NOW)
    assert subscription.notices.count() == 1


def test_links_are_at_least_ten_seconds_apart(make):
    subscription = make()
    subscription.send_confirmation(at=NOW)
    with pytest.raises(TooManyConfirmations) as refused:
        subscription.send_confirmation(at=NOW + timedelta(seconds=4))
    assert refused.value.wait == 6
    subscription.send_confirmation(at=NOW + timedelta(seconds=10))


def sent_before(subscription, count, at):
    Notice.objects.bulk_create(
        Notice(
            tenant_id=subscription.tenant_id,
            subscription=subscription,
            kind=Notice.Kind.CONFIRMATION,
            payload={},
            created_at=at,
            routed_at=at,
        )
        for _ in range(count)
    )


def test_a_subscription_is_sent_at_most_twenty_links_a_day(make):
    subscription = make()
    sent_before(subscription, verification.MAX_PER_SUBSCRIPTION - 1, NOW)
    subscription.send_confirmation(at=NOW + HOUR)
    subscription.notices.update(routed_at=NOW)
    digest = bytes(Subscription.objects.get(pk=subscription.pk).confirmation_digest)
    with pytest.raises(TooManyConfirmations):
        subscription.send_confirmation(at=NOW + 2 * HOUR)
    assert bytes(Subscription.objects.get(pk=subscription.pk).confirmation_digest) == digest
    subscription.send_confirmation(at=NOW + 26 * HOUR)


def test_changing_the_url_is_no_way_round_the_daily_limit(make):
    subscription = make("idle")
    sent_before(subscription, verification.MAX_PER_SUBSCRIPTION, NOW)
    with pytest.raises(TooManyConfirmations):
        subscription.change_url(OTHER_URL, at=NOW + HOUR)
    assert state_of(subscription) == "idle"


def test_neither_is_making_more_subscriptions(make, monkeypatch):
    monkeypatch.setattr(verification, "MAX_PER_TENANT", 2)
    make()
    make()
    with pytest.raises(TooManyConfirmations):
        make()
    assert Subscription.objects.count() == 2


# confirm ------------------------------------------------------------------------------------------


@pytest.mark.spec("T4")
def test_confirming_makes_it_idle(make):
    subscription = make()
    confirmed = Subscription.objects.confirm(token_of(subscription))
    assert (confirmed.pk, confirmed.state) == (subscription.pk, "idle")
    assert confirmed.confirmed_at is not None
    assert confirmed.confirmation_digest is None


def test_a_token_works_once(make):
    subscription = make()
    token = token_of(subscription)
    Subscription.objects.confirm(token)
    subscription.disable("By a test.")
    assert Subscription.objects.confirm(token) is None
    assert state_of(subscription) == "disabled"


def test_a_token_ends(make):
    subscription = make()
    subscription.send_confirmation(at=NOW)
    token = token_of(subscription)
    assert Subscription.objects.confirm(token, at=NOW + 72 * HOUR) is None
    assert state_of(subscription) == "pending"
    just_in_time = NOW + 72 * HOUR - timedelta(seconds=1)
    assert Subscription.objects.confirm(token, at=just_in_time) is not None


@pytest.mark.parametrize("token", ["", "nonsense", "\x00", "\ud800", "x" * 5000])
def test_an_unknown_token_confirms_nothing(make, token):
    subscription = make()
    assert Subscription.objects.confirm(token) is None
    assert state_of(subscription) == "pending"


def test_a_disabled_subscription_is_not_confirmed(make):
    subscription = make()
    token = token_of(subscription)
    subscription.disable("By a test.")
    assert Subscription.objects.confirm(token) is None
    assert state_of(subscription) == "disabled"


def test_a_deleted_subscription_is_not_confirmed(make):
    subscription = make()
    token = token_of(subscription)
    subscription.delete()
    assert Subscription.objects.confirm(token) is None


# change_url ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["pending", "idle", "disabled"])
def test_another_url_has_to_agree_anew(make, state):
    subscription = make(state)
    assert subscription.change_url(OTHER_URL)
    again = Subscription.objects.get(pk=subscription.pk)
    assert (again.state, again.confirmed_at, again.url) == ("pending", None, OTHER_URL)
    assert subscription.notices.filter(kind="confirmation", routed_at=None).count() == 1


def test_the_link_to_the_old_url_dies_with_it(make):
    subscription = make()
    old = token_of(subscription)
    subscription.change_url(OTHER_URL)
    assert Subscription.objects.confirm(old) is None
    assert Subscription.objects.confirm(token_of(subscription)).state == "idle"


def test_the_same_url_changes_nothing(make):
    subscription = make("idle")
    assert not subscription.change_url(URL)
    assert state_of(subscription) == "idle"


def test_a_url_can_be_corrected_at_once(make):
    subscription = make()
    subscription.send_confirmation(at=NOW)
    assert subscription.change_url(OTHER_URL, at=NOW + timedelta(seconds=1))


# disable, enable ----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["pending", "idle"])
def test_disabling(make, state):
    subscription = make(state)
    assert subscription.disable("By a test.")
    again = Subscription.objects.get(pk=subscription.pk)
    assert (again.state, again.state_reason) == ("disabled", "By a test.")


def test_disabling_twice_changes_nothing(make):
    subscription = make("disabled")
    assert not subscription.disable("Again.")
    assert Subscription.objects.get(pk=subscription.pk).state_reason == "By a test."


@pytest.mark.spec("T7")
def test_an_answer_disables_what_it_was_sent_to(make):
    subscription = make("idle")
    as_loaded = Subscription.objects.get(pk=subscription.pk)
    assert as_loaded.disable_by_answer("The receiver answered 410.")
    assert state_of(subscription) == "disabled"


def test_a_late_answer_does_not_disable_what_has_changed_meanwhile(make):
    subscription = make("idle")
    as_loaded = Subscription.objects.get(pk=subscription.pk)
    subscription.change_url(OTHER_URL)
    assert not as_loaded.disable_by_answer("The receiver answered 410.")
    assert state_of(subscription) == "pending"


def test_enabling_what_was_confirmed_makes_it_idle(make):
    subscription = make("disabled")
    assert subscription.enable()
    assert state_of(subscription) == "idle"
    assert subscription.notices.count() == 1


def test_enabling_what_never_was_confirmed_asks_again(make):
    subscription = make("pending")
    old = token_of(subscription)
    subscription.disable("By a test.")
    assert subscription.enable()
    assert state_of(subscription) == "pending"
    assert Subscription.objects.confirm(old) is None
    assert Subscription.objects.confirm(token_of(subscription)).state == "idle"


def test_a_confirmation_for_another_url_does_not_count(make):
    subscription = make("idle")
    subscription.change_url(OTHER_URL)
    subscription.disable("By a test.")
    subscription.enable()
    assert state_of(subscription) == "pending"


@pytest.mark.parametrize("state", ["pending", "idle"])
def test_enabling_what_is_not_disabled_changes_nothing(make, state):
    subscription = make(state)
    assert not subscription.enable()
    assert state_of(subscription) == state


# delete -------------------------------------------------------------------------------------------


def test_deleting_keeps_the_row_and_destroys_what_is_secret(make):
    subscription = make("idle", headers={"X-Token": "tok-123"})
    assert subscription.delete()
    row = Subscription.objects.get(pk=subscription.pk)
    assert row.deleted_at is not None
    assert (row.url, row.headers, row.header_names) == ("", None, [])
    assert not SigningSecret.objects.filter(subscription=row).exists()
    assert not Subscription.objects.present().exists()


@pytest.mark.parametrize(
    "verb",
    [
        lambda one: one.send_confirmation(),
        lambda one: one.change_url(OTHER_URL),
        lambda one: one.rotate_secret(HOUR),
        lambda one: one.end_overlap(),
        lambda one: one.send_test(),
    ],
)
def test_a_deleted_subscription_takes_no_verb(make, verb):
    subscription = make("idle")
    stale = Subscription.objects.get(pk=subscription.pk)
    subscription.delete()
    with pytest.raises(WrongState, match="deleted"):
        verb(stale)


def test_a_deleted_subscription_changes_no_state(make):
    subscription = make("disabled")
    stale = Subscription.objects.get(pk=subscription.pk)
    subscription.delete()
    assert not stale.enable()
    assert not stale.disable("Again.")
    assert not stale.delete()


# rotate_secret, end_overlap -----------------------------------------------------------------------


@pytest.mark.spec("B4")
def test_both_secrets_sign_until_the_overlap_ends(make):
    subscription = make()
    (old,) = subscription.live_secrets()
    new, until = subscription.rotate_secret(HOUR, at=NOW)
    assert until == NOW + HOUR
    assert subscription.live_secrets(at=NOW + HOUR - timedelta(seconds=1)) == [new, old]
    assert subscription.live_secrets(at=NOW + HOUR) == [new]


def test_without_an_overlap_only_the_new_secret_signs(make):
    subscription = make()
    new, until = subscription.rotate_secret(timedelta(0))
    assert until is None
    assert subscription.live_secrets() == [new]
    assert subscription.signing_secrets.count() == 1


@pytest.mark.spec("S6")
def test_a_scheme_with_one_signature_has_no_overlap(make):
    subscription = make(signing="timestamped_body", shape="timestamped")
    new, until = subscription.rotate_secret(HOUR)
    assert until is None
    assert subscription.live_secrets() == [new]


def test_ending_the_overlap_leaves_the_newest(make):
    subscription = make()
    new, _ = subscription.rotate_secret(HOUR)
    assert subscription.end_overlap()
    assert subscription.live_secrets() == [new]
    assert not subscription.end_overlap()


def test_no_more_secrets_sign_than_a_header_should_carry(make):
    subscription = make()
    for _ in range(MAX_LIVE_SECRETS - 1):
        subscription.rotate_secret(HOUR)
    with pytest.raises(WrongState, match="overlap"):
        subscription.rotate_secret(HOUR)
    subscription.rotate_secret(timedelta(0))
    assert len(subscription.live_secrets()) == 1


def test_secrets_of_many_subscriptions_are_found_at_once(make, django_assert_num_queries):
    one, other = make(), make()
    new, _ = one.rotate_secret(HOUR)
    with django_assert_num_queries(1):
        found = SigningSecret.objects.live_for([one.pk, other.pk])
    assert found[one.pk][0] == new
    assert len(found[one.pk]) == 2
    assert found[other.pk] == other.live_secrets()


# send_test ----------------------------------------------------------------------------------------


@pytest.mark.spec("S7", "T5")
def test_a_test_event(make):
    subscription = make("idle")
    notice = subscription.send_test()
    assert (notice.kind, notice.event_type) == ("test", "test.webhook-event")
    assert Notice.objects.get(pk=notice.pk).payload == {"company": "Acme"}


@pytest.mark.parametrize("state", ["pending", "disabled"])
def test_no_test_is_sent_unless_idle(make, state):
    subscription = make(state)
    with pytest.raises(WrongState):
        subscription.send_test()
    assert not subscription.notices.filter(kind="test").exists()


# configure ----------------------------------------------------------------------------------------


def test_headers_are_replaced_as_a_whole(make):
    subscription = make(headers={"X-One": "1"})
    subscription.configure(name="Other", headers={"X-Two": "2"})
    again = Subscription.objects.get(pk=subscription.pk)
    assert (again.name, again.header_names, again.headers) == ("Other", ["X-Two"], {"X-Two": "2"})
