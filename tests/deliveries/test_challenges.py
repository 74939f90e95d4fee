"""Challenges as they travel (N1–N3): asked, answered, failed, and what waits for them meanwhile."""

import json
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from standardwebhooks import Webhook

from deliveries import outbox
from deliveries.models import Attempt, Delivery, Outbox
from deliveries.results import decide, record
from deliveries.routing import route
from deliveries.sending import MASK, Sending
from egress.client import Outcome
from subscriptions import challenges
from subscriptions.models import Notice, Subscription
from tenants.scope import system_scope, tenant_scope
from tests.deliveries.conftest import begun
from tests.meanwhile import meanwhile
from tests.receiver import Answer
from tests.subscriptions.test_concurrency import at_once

CHALLENGE = Subscription.Verification.CHALLENGE
DAY = timedelta(hours=24)


def is_challenge(posted) -> bool:
    return list(json.loads(posted.body)) == ["challenge"]


def right(posted) -> Answer:
    """As a receiver that plays by the rules."""
    return Answer(200, json.loads(posted.body)["challenge"].encode()) if is_challenge(posted) else Answer(204)


def wrong(posted) -> Answer:
    return Answer(200, b"no") if is_challenge(posted) else Answer(204)


@pytest.fixture
def challenged(cast, receiver, opened):
    """challenged(**fields) → (a new subscription whose receiver is being challenged, its secret)."""

    def make(**fields):
        fields = {"name": "DLP", "url": receiver.url, "event_types": ["*"], "verification": CHALLENGE, **fields}
        with tenant_scope(cast.tenant.pk):
            return Subscription.objects.create_pending(cast.tenant, cast.owner, **fields)

    return make


@pytest.fixture
def proven(challenged, deliver, receiver):
    """proven() → a subscription whose receiver has just answered right."""

    def make(**fields):
        receiver.answer = right
        subscription, _ = challenged(**fields)
        deliver()
        return now(subscription)

    return make


def now(subscription) -> Subscription:
    with system_scope():
        return Subscription.objects.get(pk=subscription.pk)


def age(subscription, by=DAY) -> None:
    """As if its receiver had answered that long ago."""
    with system_scope():
        Subscription.objects.filter(pk=subscription.pk).update(challenged_at=timezone.now() - by)


def deliveries(kind) -> list[Delivery]:
    with system_scope():
        return list(Delivery.objects.filter(kind=kind).order_by("id"))


def make_due(kind=None) -> None:
    with system_scope():
        rows = Outbox.objects.filter(delivery__kind=kind) if kind else Outbox.objects
        rows.update(due_at=timezone.now() - timedelta(seconds=1))


def asked(receiver) -> int:
    return sum(map(is_challenge, receiver.posted))


# Asked --------------------------------------------------------------------------------------------


@pytest.mark.spec("N1")
def test_the_challenge_is_posted_as_it_is_written(challenged, deliver, receiver):
    _, secret = challenged(headers={"X-Api-Key": "hunter2"}, shape="cloudevents")
    receiver.answer = right
    deliver()
    (posted,) = receiver.posted
    assert list(json.loads(posted.body)) == ["challenge"]
    assert posted.headers["content-type"] == "application/json"
    assert posted.headers["x-api-key"] == "hunter2"
    Webhook(secret).verify(posted.body, posted.headers)


@pytest.mark.spec("N1")
def test_the_right_answer_makes_it_idle(challenged, deliver, receiver):
    subscription, _ = challenged()
    assert subscription.state == "pending"
    receiver.answer = right
    deliver()
    after = now(subscription)
    assert (after.state, after.state_reason, after.challenge_code) == ("idle", "", "")
    assert after.challenged_at is not None
    assert after.confirmed_at == after.challenged_at
    (delivery,) = deliveries("challenge")
    assert delivery.status == "delivered"


@pytest.mark.spec("N3")
def test_a_wrong_answer_is_42201_and_nothing_else_is_sent(challenged, deliver, receiver, happen):
    subscription, _ = challenged()
    receiver.answer = wrong
    happen()
    deliver()
    after = now(subscription)
    assert (after.state, after.challenge_code) == ("pending", "42201")
    assert after.state_reason == "Webhook returned incorrect challenge response"
    assert asked(receiver) == len(receiver.posted) == 1
    (delivery,) = deliveries("challenge")
    assert (delivery.status, delivery.attempt_count) == ("pending", 1)
    assert delivery.reason == "Webhook returned incorrect challenge response (42201)."


@pytest.mark.spec("N3")
def test_a_receiver_that_is_not_there_is_40012(challenged, deliver):
    subscription, _ = challenged(url="http://127.0.0.1:9/nobody")
    deliver()
    after = now(subscription)
    assert (after.state, after.challenge_code) == ("pending", "40012")
    assert after.state_reason == "Webhook URL validation failed"


@pytest.mark.spec("N3")
def test_it_is_tried_again_and_may_still_succeed(challenged, deliver, receiver):
    subscription, _ = challenged()
    receiver.answer = wrong
    deliver()
    receiver.answer = right
    make_due()
    deliver()
    after = now(subscription)
    assert (after.state, after.challenge_code, after.state_reason) == ("idle", "", "")
    assert len({posted.body for posted in receiver.posted}) == 1


@pytest.mark.spec("N3")
def test_after_the_last_attempt_it_stays_pending_until_a_person_asks(challenged, deliver, receiver, cast):
    subscription, _ = challenged()
    receiver.answer = wrong
    for _ in range(len(challenges.DELAYS) + 1):
        deliver()
        make_due()
    (delivery,) = deliveries("challenge")
    assert (delivery.status, delivery.attempt_count) == ("dead", len(challenges.DELAYS) + 1)
    after = now(subscription)
    assert (after.state, after.challenge_code, after.challenge_notice) == ("pending", "42201", None)
    receiver.answer = right
    with tenant_scope(cast.tenant.pk):
        subscription.send_challenge(timezone.now() + timedelta(minutes=1))
    deliver()
    assert now(subscription).state == "idle"


def test_gone_disables(challenged, deliver, receiver):
    subscription, _ = challenged()
    receiver.answer = Answer(410)
    deliver()
    assert now(subscription).state == "disabled"


# What is kept of it -------------------------------------------------------------------------------


@pytest.mark.parametrize("reveals", ["body", "header"])
def test_the_value_is_not_in_the_log_while_it_may_still_be_answered(challenged, deliver, receiver, api, reveals):
    def almost(posted):
        value = json.loads(posted.body)["challenge"]
        return Answer(200, value.encode() + b"\n") if reveals == "body" else Answer(200, b"", {"X-Echo": value})

    receiver.answer = almost
    challenged()
    deliver()
    value = json.loads(receiver.posted[0].body)["challenge"]
    (delivery,) = deliveries("challenge")
    answer = api().get(f"/api/v1/deliveries/{delivery.pk}/")
    assert answer.json()["body"] is None
    assert MASK in answer.content.decode()
    assert value not in answer.content.decode()
    with system_scope():
        (attempt,) = Attempt.objects.all()
    assert value not in bytes(attempt.response_body).decode()
    assert value not in json.dumps(attempt.response_headers)


def test_the_value_is_sealed_in_the_database(challenged, cast):
    subscription, _ = challenged()
    with system_scope():
        (notice,) = subscription.notices.all()
        value = notice.payload["challenge"]
        with connection.cursor() as cursor:
            cursor.execute("SELECT payload FROM subscriptions_notice WHERE id = %s", [notice.pk])
            assert value.encode() not in bytes(cursor.fetchone()[0])


def test_the_page_shows_what_was_asked_once_it_has_ended(challenged, deliver, receiver, browser, cast):
    receiver.answer = wrong
    challenged()
    deliver()
    (delivery,) = deliveries("challenge")
    value = json.loads(receiver.posted[0].body)["challenge"]
    page = browser(cast.viewer).get(f"/deliveries/{delivery.pk}/").content.decode()
    assert value not in page
    assert "until it has ended" in page
    receiver.answer = right
    make_due()
    deliver()
    assert value in browser(cast.viewer).get(f"/deliveries/{delivery.pk}/").content.decode()


# After a day --------------------------------------------------------------------------------------


def test_within_a_day_nothing_is_asked(proven, happen, deliver, receiver):
    subscription = proven()
    age(subscription, DAY - timedelta(minutes=1))
    happen()
    deliver()
    assert asked(receiver) == 1
    assert [one.status for one in deliveries("event")] == ["delivered"]


@pytest.mark.spec("N2")
def test_after_a_day_the_next_delivery_waits_for_a_new_answer(proven, happen, deliver, receiver):
    subscription = proven()
    age(subscription)
    happen()
    deliver()
    (waiting,) = deliveries("event")
    assert (waiting.status, waiting.attempt_count) == ("pending", 0)
    assert waiting.reason == "It waits until the receiver has answered a challenge."
    assert len(receiver.posted) == 1
    deliver()
    assert asked(receiver) == 2
    assert now(subscription).challenged_at > timezone.now() - timedelta(minutes=5)
    deliver()
    (sent,) = deliveries("event")
    assert (sent.status, sent.attempt_count, sent.reason) == ("delivered", 1, "")
    with system_scope():
        assert [one.number for one in Attempt.objects.filter(delivery_id=sent.pk)] == [1]


@pytest.mark.spec("N2")
def test_however_many_wait_one_challenge_is_asked(proven, happen, deliver, receiver):
    subscription = proven()
    age(subscription)
    for _ in range(12):
        happen()
    deliver()
    make_due("event")
    deliver()
    deliver()
    assert asked(receiver) == 2
    assert {one.status for one in deliveries("event")} == {"delivered"}
    assert len(receiver.posted) == 2 + 12


@pytest.mark.spec("N3")
def test_while_it_fails_nothing_is_sent_and_nothing_is_lost(proven, happen, deliver, receiver):
    subscription = proven()
    age(subscription)
    receiver.answer = wrong
    happen()
    deliver()
    deliver()
    happen()
    for _ in range(3):
        make_due()
        deliver()
    after = now(subscription)
    assert (after.state, after.challenge_code) == ("idle", "42201")
    assert len(receiver.posted) == asked(receiver)
    assert {(one.status, one.attempt_count) for one in deliveries("event")} == {("pending", 0)}
    receiver.answer = right
    make_due("challenge")
    deliver()
    deliver()
    assert {one.status for one in deliveries("event")} == {"delivered"}
    assert now(subscription).challenge_code == ""


@pytest.mark.spec("N3")
def test_one_that_never_answers_again_is_disabled(proven, happen, deliver, receiver):
    subscription = proven()
    age(subscription)
    receiver.answer = wrong
    happen()
    deliver()
    for _ in range(len(challenges.DELAYS) + 1):
        deliver()
        make_due("challenge")
    after = now(subscription)
    assert (after.state, after.challenge_code) == ("disabled", "42201")
    assert after.disabled_at is not None
    deliver()
    (held,) = deliveries("event")
    assert (held.status, held.reason) == ("cancelled", "The subscription was disabled.")


def test_what_waits_for_its_next_attempt_is_not_hurried_by_the_answer(proven, happen, deliver, receiver):
    subscription = proven()
    receiver.answer = lambda posted: right(posted) if is_challenge(posted) else Answer(500)
    happen()
    deliver()
    with system_scope():
        before = Outbox.objects.get().due_at
    age(subscription)
    with system_scope():
        Subscription.objects.get(pk=subscription.pk).send_challenge(timezone.now() + timedelta(minutes=1))
    deliver()
    with system_scope():
        assert Outbox.objects.get().due_at == before


def test_a_test_waits_too(proven, deliver, receiver, cast):
    subscription = proven()
    age(subscription)
    with tenant_scope(cast.tenant.pk):
        subscription.send_test()
    for _ in range(3):
        deliver()
    assert asked(receiver) == 2
    assert [one.status for one in deliveries("test")] == ["delivered"]


def test_a_challenge_that_a_person_cancelled_is_asked_anew(proven, happen, deliver, receiver, cast):
    subscription = proven()
    age(subscription)
    happen()
    deliver()
    route()
    with tenant_scope(cast.tenant.pk):
        Delivery.objects.get(kind="challenge", status="pending").cancel("By a test.")
    make_due("event")
    for _ in range(3):
        deliver()
    assert asked(receiver) == 2
    assert [one.status for one in deliveries("event")] == ["delivered"]


# Meanwhile ----------------------------------------------------------------------------------------


def test_an_answer_to_the_old_url_proves_nothing_of_the_new(challenged, deliver, receiver, cast):
    subscription, _ = challenged()
    other = receiver.url + "/other"

    route()
    (sending,) = claim_all()
    with tenant_scope(cast.tenant.pk):
        Subscription.objects.get(pk=subscription.pk).change_url(other)
    answer(sending, 200, value_of(sending))
    after = now(subscription)
    assert (after.state, after.challenged_at) == ("pending", None)
    receiver.answer = right
    deliver()
    assert now(subscription).state == "idle"
    assert [posted.path for posted in receiver.posted] == ["/hook/other"]


def claim_all() -> list[Sending]:
    """Every due delivery, claimed and read as a dispatcher does before it sends."""
    with system_scope():
        claims = outbox.claim(100)
    return begun(claims)


def value_of(sending) -> bytes:
    return sending.about.payload["challenge"].encode()


def answer(sending, status, body=b"", error="") -> None:
    sending.outcome = Outcome(status=status, body=body, error=error, total_ms=1.0)
    record([decide(sending)])


@pytest.mark.parametrize("act", ["disable", "delete"])
def test_a_right_answer_does_not_bring_back_what_was_stopped_meanwhile(challenged, cast, act):
    subscription, _ = challenged()
    route()
    (sending,) = claim_all()
    with tenant_scope(cast.tenant.pk):
        one = Subscription.objects.get(pk=subscription.pk)
        one.disable("By a test.") if act == "disable" else one.delete()
    answer(sending, 200, value_of(sending))
    after = now(subscription)
    assert after.challenged_at is None
    assert after.describe_state() == {"disable": "disabled", "delete": "deleted"}[act]


def test_one_that_was_disabled_meanwhile_is_not_challenged(challenged, deliver, receiver, cast):
    subscription, _ = challenged()
    route()
    with tenant_scope(cast.tenant.pk):
        Subscription.objects.get(pk=subscription.pk).disable("By a test.")
    deliver()
    assert receiver.posted == []
    assert [one.status for one in deliveries("challenge")] == ["cancelled"]


@pytest.mark.parametrize("right_comes", ["first", "last"])
def test_of_two_challenges_only_the_newest_counts(challenged, cast, right_comes):
    subscription, _ = challenged()
    route()
    (old,) = claim_all()
    with tenant_scope(cast.tenant.pk):
        Subscription.objects.get(pk=subscription.pk).send_challenge(timezone.now() + timedelta(minutes=1))
    route()
    (new,) = claim_all()
    if right_comes == "first":
        answer(new, 200, value_of(new))
        answer(old, 200, b"no")
        assert (now(subscription).state, now(subscription).challenge_code) == ("idle", "")
    else:
        answer(old, 200, value_of(old))
        assert now(subscription).state == "pending"
        answer(new, 200, value_of(new))
        assert now(subscription).state == "idle"


def test_the_answer_of_a_worker_that_stalled_past_its_lease_counts_nothing(challenged):
    subscription, _ = challenged()
    route()
    (stalled,) = claim_all()
    make_due()
    (other,) = claim_all()
    answer(stalled, 200, value_of(stalled))
    assert now(subscription).state == "pending"
    answer(other, 200, b"no")
    assert now(subscription).challenge_code == "42201"


def test_what_a_superseded_challenge_asked_is_not_sent_any_more(challenged, deliver, receiver, cast):
    subscription, _ = challenged()
    receiver.answer = wrong
    deliver()
    with tenant_scope(cast.tenant.pk):
        Subscription.objects.get(pk=subscription.pk).send_challenge(timezone.now() + timedelta(minutes=1))
    receiver.answer = right
    make_due()
    deliver()
    assert [one.status for one in deliveries("challenge")] == ["cancelled", "delivered"]
    assert len(receiver.posted) == 2


@pytest.mark.spec("N2")
@pytest.mark.django_db(transaction=True)
def test_two_workers_that_hold_at_once_ask_once(proven, happen, cast):
    subscription = proven()
    age(subscription)
    for _ in range(2):
        happen()
    route()

    def work():
        with system_scope():
            claims = outbox.claim(1)
        return len(claims), begun(claims)

    assert at_once(work, work) == [(1, []), (1, [])]
    with system_scope():
        assert Notice.objects.filter(kind="challenge", routed_at=None).count() == 1
        assert set(Outbox.objects.values_list("lease_token", "attempt")) == {(subscription.pk, 0)}


@pytest.mark.spec("N2")
@pytest.mark.django_db(transaction=True)
def test_what_is_claimed_while_the_answer_is_written_is_not_left_waiting(proven, happen, cast):
    """Held on what was true a moment ago, it would wait for an answer that has come already."""
    subscription = proven()
    age(subscription)
    happen()
    route()

    def pass_meanwhile():
        one = Subscription.objects.get(pk=subscription.pk)
        notice = one.ask_challenge(timezone.now())
        one.pass_challenge(notice.pk)

    def work():
        with system_scope():
            claims = outbox.claim(1)
        return begun(claims)

    sendings = meanwhile(cast.tenant.pk, pass_meanwhile, work)
    assert len(sendings) == 1


def test_enabling_asks_again(proven, deliver, receiver, cast):
    subscription = proven()
    with tenant_scope(cast.tenant.pk):
        subscription.disable("By a test.")
        assert subscription.enable()
    after = now(subscription)
    assert (after.state, after.challenged_at) == ("pending", None)
    deliver()
    assert asked(receiver) == 2
    assert now(subscription).state == "idle"


def test_the_dispatcher_goes_on_with_others_while_one_waits(proven, subscribe, happen, deliver, receiver):
    subscription = proven()
    age(subscription)
    subscribe(name="Other")
    happen()
    deliver()
    assert {one.status for one in deliveries("event")} == {"pending", "delivered"}
