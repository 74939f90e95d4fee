"""Only failures for days: told after one and three, disabled after five, once an episode. Time is an argument."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from deliveries import breaker
from deliveries.models import Delivery
from deliveries.routing import route
from deliveries.sending import Sending
from egress.client import Outcome
from events.models import Event
from subscriptions import failing_mail
from subscriptions.models import Failing, FailingMail, Subscription
from subscriptions.policies import Decision
from subscriptions.tasks import forget
from tenants.models import Tenant
from tenants.scope import system_scope, tenant_scope
from tests.receiver import Answer

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FAILED = Decision("retry", 5.0, "The receiver answered 503.")
DELIVERED = Decision("delivered", None, "")


@pytest.fixture
def start():
    return timezone.now().replace(microsecond=0)


@pytest.fixture
def answers(subscribe, happen):
    """answers(at, decision) records what came of one request to the subscription `answers.to`."""
    subscription, _ = subscribe(name="Pager", event_types=["*", "portal.*"])
    event = happen()
    route()

    def record(at, decision=FAILED, status=503):
        with system_scope():
            delivery = Delivery.objects.select_related("subscription__failing").filter(event=event).get()
            sending = Sending(None, delivery, delivery.subscription, at, outcome=Outcome(status=status))
            breaker.record([(sending, decision)], at)

    record.to = subscription
    return record


def fresh(subscription) -> Subscription:
    with system_scope():
        return Subscription.objects.select_related("failing").get(pk=subscription.pk)


def news() -> list[tuple[str, int | None]]:
    with system_scope():
        told = Event.objects.filter(type__startswith="portal.subscription.").order_by("id")
        return [(event.type, json.loads(bytes(event.body))["day"]) for event in told]


def fail_hourly(answers, start, hours) -> None:
    for hour in hours:
        answers(start + hour * HOUR)


WARNED_1 = ("portal.subscription.failing", 1)
WARNED_3 = ("portal.subscription.failing", 3)
DISABLED = ("portal.subscription.disabled", None)


def test_the_first_failure_begins_the_count(answers, start):
    answers(start)
    answers(start + HOUR)
    trouble = fresh(answers.to).trouble
    assert (trouble.since, trouble.disables_at) == (start, start + 5 * DAY)


def test_a_day_three_days_five_days(answers, start):
    fail_hourly(answers, start, range(24))
    assert news() == []
    fail_hourly(answers, start, range(24, 72))
    assert news() == [WARNED_1]
    fail_hourly(answers, start, range(72, 120))
    assert news() == [WARNED_1, WARNED_3]
    assert fresh(answers.to).state == "idle"
    answers(start + 5 * DAY)
    assert news() == [WARNED_1, WARNED_3, DISABLED]
    disabled = fresh(answers.to)
    assert disabled.state == "disabled"
    assert disabled.state_reason == "Nothing could be delivered to it for 5 days."
    assert disabled.disabled_at is not None


def test_a_success_ends_it_and_the_next_failure_begins_another(answers, start):
    fail_hourly(answers, start, range(100))
    answers(start + 100 * HOUR, DELIVERED, 204)
    assert fresh(answers.to).trouble is None
    fail_hourly(answers, start, range(101, 124))
    assert news() == [WARNED_1, WARNED_3]
    fail_hourly(answers, start, range(124, 130))
    assert news() == [WARNED_1, WARNED_3, WARNED_1], "another episode is told of anew"
    assert fresh(answers.to).state == "idle"


def test_silence_is_no_failure(answers, start):
    answers(start)
    answers(start + 7 * DAY)
    assert news() == []
    assert fresh(answers.to).trouble.since == start + 7 * DAY


def test_waits_of_a_day_are_no_silence(answers, start):
    for days in range(6):
        answers(start + days * 29 * HOUR)
    assert fresh(answers.to).state == "disabled"


def test_nothing_happens_while_nothing_is_sent(answers, start):
    answers(start)
    assert fresh(answers.to).state == "idle"
    assert failing_mail.send_due(start + 9 * DAY) == 0


@pytest.mark.spec("T7")
def test_what_is_refused_counts_as_failed(answers, start):
    for hour in range(121):
        answers(start + hour * HOUR, Decision("failed", None, "The receiver answered 404."), 404)
    assert fresh(answers.to).state == "disabled"


def test_what_its_rules_count_as_received_is_a_success(answers, start):
    answers(start)
    answers(start + HOUR, Decision("delivered", None, "It counts as received."), 404)
    assert fresh(answers.to).trouble is None


def test_the_events_say_which_since_when_and_until_when(answers, start, settings):
    fail_hourly(answers, start, [0, 20, 24])
    with system_scope():
        event = Event.objects.get(type="portal.subscription.failing")
    document = json.loads(bytes(event.body))
    assert (event.severity, event.receipt_id, event.source_id) == ("high", None, None)
    assert document["subscription"] == {
        "id": str(answers.to.pk),
        "name": "Pager",
        "url": f"{settings.PORTAL_URL}/subscriptions/{answers.to.pk}/",
    }
    assert document["failing_since"].startswith(f"{start:%Y-%m-%dT%H:%M:%S}")
    assert document["disables_at"].startswith(f"{start + 5 * DAY:%Y-%m-%dT%H:%M:%S}")
    assert "receiver" not in event.title, "its URL stays hidden"


def test_owners_and_admins_are_mailed_once(answers, start, mailoutbox, settings):
    fail_hourly(answers, start, range(121))
    assert failing_mail.send_due(start + 6 * DAY) == 6
    assert failing_mail.send_due(start + 7 * DAY) == 0
    assert {tuple(mail.to) for mail in mailoutbox} == {("owner@acme.example",), ("admin@acme.example",)}
    subjects = {mail.subject for mail in mailoutbox}
    assert subjects == {
        "[Acme] “Pager” has failed for 1 day",
        "[Acme] “Pager” has failed for 3 days",
        "[Acme] “Pager” was disabled",
    }
    first = next(mail for mail in mailoutbox if "1 day" in mail.subject).body
    assert f"{start + 5 * DAY:%Y-%m-%d %H:%M} UTC, if it goes on" in first
    last = next(mail for mail in mailoutbox if "disabled" in mail.subject).body
    assert "Nothing could be delivered to it for 5 days." in last
    for mail in mailoutbox:
        assert f"{settings.PORTAL_URL}/subscriptions/{answers.to.pk}/" in mail.body


def test_of_a_suspended_tenant_nobody_is_told(answers, start, cast):
    with system_scope():
        Tenant.objects.filter(pk=cast.tenant.pk).update(status="suspended")
    fail_hourly(answers, start, range(121))
    assert news() == []
    with system_scope():
        assert not FailingMail.objects.exists()
    assert fresh(answers.to).state == "disabled"


@pytest.mark.parametrize(("policy", "status"), [("standard", 410), ("post_once", 401)])
def test_disabling_by_an_answer_is_told_too(subscribe, happen, deliver, receiver, policy, status):
    receiver.answer = Answer(status)
    subscribe(policy=policy)
    happen()
    deliver()
    assert news() == [DISABLED]
    with system_scope():
        event = Event.objects.get(type="portal.subscription.disabled")
        assert json.loads(bytes(event.body))["reason"] == f"The receiver answered {status}."
        assert FailingMail.objects.filter(moment="disabled").count() == 2


def test_disabling_by_a_person_is_not(subscribe):
    subscription, _ = subscribe()
    with tenant_scope(subscription.tenant_id):
        subscription.disable("By a test.")
    assert news() == []


def test_a_subscription_that_fails_to_receive_news_of_itself_makes_no_endless_news(answers, start):
    """It asked for `portal.*`, so it is told that it fails, and fails at that too."""
    for hour in range(121):
        answers(start + hour * HOUR)
        route()
        with system_scope():
            about_itself = list(
                Delivery.objects.select_related("subscription__failing").filter(event_type__startswith="portal.")
            )
            at = start + hour * HOUR
            breaker.record(
                [
                    (Sending(None, one, one.subscription, at, outcome=Outcome(status=503)), FAILED)
                    for one in about_itself
                ],
                at,
            )
    route()
    assert len(about_itself) == 2
    assert news() == [WARNED_1, WARNED_3, DISABLED]


def test_another_subscription_is_told(answers, subscribe, start):
    other, _ = subscribe(name="Desk", event_types=["portal.subscription.*"], min_severity="high")
    fail_hourly(answers, start, [0, 20, 25])
    route()
    with system_scope():
        told = Delivery.objects.filter(subscription=other)
        assert [one.event_type for one in told] == ["portal.subscription.failing"]


def test_enabled_again_it_has_another_five_days(answers, start):
    fail_hourly(answers, start, range(121))
    with system_scope():
        Subscription.objects.filter(pk=answers.to.pk).update(confirmed_at=start)
        fresh(answers.to).enable()
    answers(start + 6 * DAY)
    trouble = fresh(answers.to).trouble
    assert trouble.since == start + 6 * DAY
    assert fresh(answers.to).state == "idle"


def test_a_late_answer_to_the_state_before_says_nothing(answers, start, happen):
    with system_scope():
        stale = Delivery.objects.select_related("subscription__failing").get()
        before = stale.subscription
        Subscription.objects.filter(pk=before.pk).update(confirmed_at=start)
        fresh(before).disable("By a test.")
        fresh(before).enable()
    answers(start)
    with system_scope():
        breaker.record(
            [(Sending(None, stale, stale.subscription, start, outcome=Outcome(status=204)), DELIVERED)], start
        )
        assert Failing.objects.get().since == start


def test_mails_as_old_as_everything_else_are_forgotten(answers, start, settings):
    old = start - timedelta(days=settings.RETENTION_DAYS + 2)
    fail_hourly(answers, old, [0, 20, 25])
    forget()
    with system_scope():
        assert not FailingMail.objects.exists()
