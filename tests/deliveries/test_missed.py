"""What was on its way when a subscription was disabled belongs to what it missed, since whenever it was."""

from datetime import timedelta

import pytest
from django.utils import timezone

from deliveries import deciding, replay
from deliveries.models import Delivery, Outbox, Replay, Undecided
from deliveries.routing import route
from events.models import Event, Inbox
from events.partitions import ensure_partitions
from subscriptions.evaluator import Evaluator
from subscriptions.models import Subscription
from tenants.ids import lowest_uuid7, moment, numbered
from tenants.scope import system_scope, tenant_scope

pytestmark = pytest.mark.spec("B7")


@pytest.fixture
def missed(cast):
    """missed(subscription) → the numbers of the events that a replay of what it missed sends, and what it counted."""

    def run(subscription, **asked):
        with tenant_scope(cast.tenant.pk):
            Subscription.objects.filter(pk=subscription.pk).update(state="idle")
            asked_for = Replay.asked(Subscription.objects.get(pk=subscription.pk), "missed", **asked)
            counted = replay.count(asked_for)
            asked_for.start(counted.count, is_exact=counted.is_exact, asked_by="owner@acme.example")
            before = set(Delivery.objects.values_list("pk", flat=True))
        while replay.advance() is not None:
            pass
        with tenant_scope(cast.tenant.pk):
            sent = Delivery.objects.exclude(pk__in=before).order_by("id").values_list("event_id", flat=True)
            return list(sent), counted.count

    return run


def disable(subscription) -> None:
    with tenant_scope(subscription.tenant_id):
        assert subscription.disable("By the owner.")


def drop_what_waits() -> None:
    """As the dispatcher does when it finds the subscription disabled."""
    with system_scope():
        Outbox.objects.all().delete()
        Delivery.objects.filter(status="pending").update(status="cancelled", completed_at=timezone.now())


def test_what_was_accepted_before_and_not_routed_by_then(subscribe, happen, missed):
    subscription, _ = subscribe(event_types=["user.*"])
    happen("user.created")
    route()
    waiting = [happen("user.created"), happen("order.paid"), happen("user.deleted")]
    disable(subscription)
    drop = [route().deliveries]
    drop_what_waits()
    sent, counted = missed(subscription)
    assert drop == [0]
    assert waiting[1].pk not in sent
    assert {one.pk for one in waiting if one.type != "order.paid"} <= set(sent)
    assert len(sent) == counted == 3  # with the first, which was cancelled in the outbox


def test_what_its_filter_had_not_been_asked_about(subscribe, happen, missed):
    subscription, _ = subscribe(filter="payload.n > 1.0")
    events = [happen(body=b'{"n": 2.0}', body_is_data=True), happen(body=b'{"n": 0.5}', body_is_data=True)]
    assert route().undecided == 2
    disable(subscription)
    with Evaluator() as evaluator:
        deciding.decide(subscription.tenant_id, evaluator)
    with system_scope():
        assert not Undecided.objects.exists()
    sent, counted = missed(subscription)
    assert (sent, counted) == ([events[0].pk], 1)


def test_what_had_waited_for_weeks(subscribe, happen, missed):
    """In a line, or as its policy says."""
    subscription, _ = subscribe(mode="ordered")
    event = happen()
    route()
    long_ago = numbered(moment(timezone.now() - timedelta(days=12)), 0)
    ensure_partitions(timezone.now() - timedelta(days=12))
    with system_scope():
        Delivery.objects.update(id=long_ago)
        Outbox.objects.update(delivery_id=long_ago)
    disable(subscription)
    drop_what_waits()
    assert missed(subscription) == ([event.pk], 1)


def test_not_what_it_would_not_have_been_told_of(subscribe, happen, missed):
    """Its choice was another one then: the beginning is that of what was waiting, and no earlier."""
    subscription, _ = subscribe(event_types=["order.*"])
    happen("user.created")
    route()
    with system_scope():
        Inbox.objects.all().delete()
        Event.objects.update(id=lowest_uuid7(timezone.now() - timedelta(minutes=5)))
        Subscription.objects.update(event_types=["*"])
    waiting = happen("order.paid")
    disable(subscription)
    route()
    assert missed(subscription) == ([waiting.pk], 1)


def test_since_a_later_moment_means_that_moment(subscribe, happen, missed):
    subscription, _ = subscribe()
    happen()
    disable(subscription)
    route()
    with system_scope():
        since = timezone.now()
    later = happen()
    route()
    assert missed(subscription, since=since) == ([later.pk], 1)
