"""One message after another: in order (B9), in batches (T6), and within the limits that a subscription sets."""

import json
import threading
import time

import pytest
from django.db import connection
from django.utils import timezone
from standardwebhooks import Webhook

from deliveries import lanes, lines, models
from deliveries.dispatch import Dispatcher
from deliveries.models import Attempt, Delivery, Lane, Outbox, Pace
from deliveries.routing import route
from subscriptions.models import Subscription
from tenants.scope import system_scope
from tests.deliveries.line import lane, let_time_pass, numbers, sizes, statuses
from tests.receiver import Answer

# In order ----------------------------------------------------------------------------------------


@pytest.mark.spec("B9")
def test_in_order_one_after_another(subscribe, events, deliver, receiver):
    subscribe(mode="ordered")
    under_way, most = [0], [0]

    def slowly(posted):
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        time.sleep(0.01)
        under_way[0] -= 1
        return Answer(204)

    receiver.answer = slowly
    events(12)
    assert deliver() == 12
    assert numbers(receiver.posted) == list(range(12))
    assert most == [1]
    assert set(statuses()) == {"delivered"}
    assert lane().due_at is None


@pytest.mark.spec("B9")
def test_the_head_of_the_line_is_tried_again_before_any_other(subscribe, events, deliver, receiver):
    subscribe(mode="ordered")
    answers = iter([204, 500, 500])
    receiver.answer = lambda posted: Answer(next(answers, 204))
    events(4)
    deliver()
    assert numbers(receiver.posted) == [0, 1]
    assert statuses() == ["delivered", "pending", "pending", "pending"]
    deliver()
    assert len(receiver.posted) == 2  # not before it is due
    let_time_pass()
    deliver()
    let_time_pass()
    deliver()
    assert numbers(receiver.posted) == [0, 1, 1, 1, 2, 3]
    with system_scope():
        assert Delivery.objects.order_by("id")[1].attempt_count == 3
        assert not Outbox.objects.exists()


def test_one_that_is_given_up_lets_the_next_go(subscribe, events, deliver, receiver):
    subscribe(mode="ordered", policy="post_once")
    answers = iter([500])
    receiver.answer = lambda posted: Answer(next(answers, 204))
    events(3)
    deliver()
    assert statuses() == ["failed", "delivered", "delivered"]


def test_other_subscriptions_do_not_wait(subscribe, events, deliver, receiver):
    subscribe(name="line", mode="ordered")
    subscribe(name="free", url=receiver.url + "/free")
    receiver.answer = lambda posted: Answer(204 if "free" in posted.path else 500)
    events(5)
    deliver()
    assert len([one for one in receiver.posted if "free" in one.path]) == 5
    assert len([one for one in receiver.posted if "free" not in one.path]) == 1


def test_a_test_does_not_wait_in_line(subscribe, events, deliver, receiver):
    subscription, _ = subscribe(mode="ordered")
    receiver.answer = Answer(500)
    events(2)
    deliver()
    receiver.answer = Answer(204)
    with system_scope():
        Subscription.objects.get(pk=subscription.pk).send_test()
    deliver()
    assert json.loads(receiver.posted[-1].body)["type"] == "test.webhook-event"


def test_a_worker_that_dies_with_the_lane_is_followed_by_another(subscribe, events, deliver, receiver):
    subscribe(mode="ordered")
    events(2)
    route()
    (gone,) = lines.run(lanes.claiming(10))
    assert lines.run(lanes.claiming(10)) == []
    assert deliver() == 0
    let_time_pass()
    assert deliver() == 2
    assert numbers(receiver.posted) == [0, 1]
    lines.run(lanes.leaving([(gone, 500.0)]))  # it wakes up: the lane is not its own any more
    assert lane().due_at is None


def test_what_came_while_an_empty_line_was_given_back_is_not_forgotten(subscribe, events, deliver, receiver):
    subscribe(mode="ordered")
    events(1)
    route()
    (head,) = lines.run(lanes.claiming(10))
    events(1, first=1)
    route()
    with system_scope():
        Outbox.objects.filter(delivery_id=head.claims[0].delivery_id).delete()
    lines.run(lanes.leaving([(head, None)]))
    assert deliver() == 1
    assert numbers(receiver.posted) == [1]


def test_a_disabled_subscription_gets_nothing_of_what_waits_in_line(subscribe, events, deliver, receiver):
    subscription, _ = subscribe(mode="ordered")
    events(3)
    route()
    with system_scope():
        Subscription.objects.get(pk=subscription.pk).disable("By a test.")
    deliver()
    assert receiver.posted == []
    assert statuses() == ["cancelled"] * 3
    assert lane().due_at is None


def test_cancelling_empties_the_line(subscribe, events, deliver, receiver):
    subscription, _ = subscribe(mode="ordered")
    events(3)
    route()
    with system_scope():
        assert Delivery.objects.cancel_pending(Subscription.objects.get(pk=subscription.pk), "By a test.") == 3
    assert deliver() == 0
    assert lane().due_at is None


def test_a_receiver_that_is_spared_keeps_its_line(subscribe, events, deliver, receiver):
    subscribe(mode="ordered", policy="custom", delays=[1] * 20)
    receiver.answer = Answer(503)
    events(3)
    for _ in range(8):
        deliver()
        let_time_pass()
    assert numbers(receiver.posted) == [0] * 5  # then the breaker opened
    with system_scope():
        assert set(Outbox.objects.values_list("due_at", flat=True)) == {None}
        assert Delivery.objects.order_by("id").first().attempt_count == 5


# In batches --------------------------------------------------------------------------------------


@pytest.mark.spec("T6")
def test_a_batch_goes_out_five_seconds_after_its_first_event(subscribe, events, deliver, receiver):
    _, secret = subscribe(mode="batched")
    events(3)
    assert deliver() == 0
    wait = (lane().due_at - timezone.now()).total_seconds()
    assert 3 < wait <= 5
    let_time_pass()
    assert deliver() == 1
    (posted,) = receiver.posted
    messages = Webhook(secret).verify(posted.body, posted.headers)
    assert [one["data"]["n"] for one in messages] == [0, 1, 2]
    assert posted.headers["content-type"] == "application/json"
    assert statuses() == ["delivered"] * 3
    with system_scope():
        assert Attempt.objects.count() == 1
        assert {one.attempts.count() for one in Delivery.objects.all()} == {1}
        assert not Outbox.objects.exists()


@pytest.mark.spec("T6")
@pytest.mark.django_db(transaction=True)
def test_750_events_then_500_while_the_first_answer_is_awaited(subscribe, events, receiver):
    """The seed's own example: 500, then 500, then 250, each at once after the answer to the one before."""
    subscribe(mode="batched")
    asked, answered = threading.Event(), threading.Event()

    def slowly(posted):
        if not asked.is_set():
            asked.set()
            assert answered.wait(30)
        return Answer(204)

    receiver.answer = slowly
    events(750)
    while route().claimed:
        pass
    let_time_pass()
    dispatcher = Dispatcher()
    dispatcher.wake()
    try:
        assert asked.wait(30)
        events(500, first=750)
        while route().claimed:
            pass
        dispatcher.wake()
        time.sleep(0.3)
        assert sizes(receiver.posted) == [500]  # the next waits for the answer
        answered.set()
        until = time.monotonic() + 30
        while len(statuses()) - statuses().count("delivered") and time.monotonic() < until:
            time.sleep(0.05)
    finally:
        answered.set()
        dispatcher.stop(20)
        connection.close()
    assert sizes(receiver.posted) == [500, 500, 250]
    order = [one["data"]["n"] for posted in receiver.posted for one in json.loads(posted.body)]
    assert order == list(range(1250))


@pytest.mark.spec("T6")
def test_what_is_tried_again_is_the_same_batch(subscribe, events, deliver, receiver):
    subscribe(mode="batched")
    answers = iter([500])
    receiver.answer = lambda posted: Answer(next(answers, 204))
    events(2)
    deliver()
    let_time_pass()
    deliver()
    events(3, first=2)
    while route().claimed:
        pass
    let_time_pass()
    deliver()
    first, again, rest = receiver.posted
    assert (first.body, first.headers["webhook-id"]) == (again.body, again.headers["webhook-id"])
    assert (sizes(receiver.posted), rest.headers["webhook-id"] != first.headers["webhook-id"]) == ([2, 2, 3], True)
    with system_scope():
        assert list(Delivery.objects.order_by("id").values_list("attempt_count", flat=True)) == [2, 2, 1, 1, 1]
    assert set(statuses()) == {"delivered"}


def test_what_was_made_before_it_was_batched_goes_in_an_envelope(subscribe, events, deliver, receiver):
    subscription, _ = subscribe(mode="ordered", shape="raw")
    events(2)
    route()
    with system_scope():
        Subscription.objects.filter(pk=subscription.pk).update(mode="batched", shape="envelope")
        Lane.objects.update(events=500)
    deliver()
    assert [one["data"]["n"] for one in json.loads(receiver.posted[0].body)] == [0, 1]


@pytest.mark.spec("T6")
def test_each_of_a_batch_shows_the_message_that_was_sent(
    subscribe, events, deliver, receiver, browser, cast, api, monkeypatch
):
    subscription, _ = subscribe(mode="batched", policy="post_once", shape="envelope")
    receiver.answer = Answer(500)
    events(3)
    deliver()
    let_time_pass()
    deliver()
    events(1, first=3)
    (posted,) = receiver.posted
    with system_scope():
        first, *_, last = Delivery.objects.filter(batch__isnull=False).order_by("id")
        assert first.batch == last.batch == first.pk
        assert [one.shown_body()[0] for one in (first, last)] == [posted.body] * 2
        assert len(last.sent_together) == 3
    shown = browser(cast.viewer).get(f"/deliveries/{last.pk}/").content.decode()
    assert "The whole message, with 3 events" in shown
    assert f'href="/deliveries/{first.pk}/"' in shown
    answer = api().get(f"/api/v1/deliveries/{last.pk}/").json()
    assert (answer["batch"], answer["body"]) == (str(first.pk), posted.body.decode())
    monkeypatch.setattr(models, "MAX_SHOWN", 10)
    with system_scope():
        last = Delivery.objects.get(pk=last.pk)
        assert last.sent_together == [last]
        assert json.loads(last.shown_body()[0])["data"]["n"] == 2


def test_a_batch_that_is_refused_for_good_has_failed_as_a_whole(subscribe, events, deliver, receiver):
    subscribe(mode="batched", policy="post_once")
    receiver.answer = Answer(500)
    events(3)
    deliver()
    let_time_pass()
    deliver()
    assert statuses() == ["failed"] * 3


# Limits ------------------------------------------------------------------------------------------


def test_no_more_a_minute_than_it_says(subscribe, events, deliver, receiver):
    subscribe(max_per_minute=60)
    events(20)
    deliver()
    assert len(receiver.posted) in (2, 3)  # a burst of a second's worth, and what became due meanwhile
    with system_scope():
        waiting = list(Outbox.objects.order_by("due_at").values_list("due_at", "attempt"))
    gaps = [(later[0] - earlier[0]).total_seconds() for earlier, later in zip(waiting, waiting[1:], strict=False)]
    assert min(gaps) > 0.9  # they stand a second apart
    assert {attempt for _, attempt in waiting} == {0}  # nothing was used up


def test_the_limit_holds_for_what_is_tried_again(subscribe, events, deliver, receiver):
    subscribe(max_per_minute=60, policy="custom", delays=[1] * 9)
    receiver.answer = Answer(500)
    events(4)
    deliver()
    tried = len(receiver.posted)
    with system_scope():
        Outbox.objects.update(due_at=timezone.now())
    deliver()
    assert len(receiver.posted) - tried <= 2


def test_no_more_under_way_than_it_says(subscribe, events, receiver, dispatcher):
    subscribe(max_in_flight=2)
    most, lock, under_way = [0], threading.Lock(), [0]

    def slowly(posted):
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        time.sleep(0.05)
        with lock:
            under_way[0] -= 1
        return Answer(204)

    receiver.answer = slowly
    events(9)
    while route().claimed:
        pass
    for _ in range(30):
        dispatcher.drain()
        if "pending" not in statuses():
            break
        time.sleep(0.1)
    assert set(statuses()) == {"delivered"}
    assert most == [2]


def test_what_another_worker_has_under_way_counts(subscribe, events, deliver, receiver):
    from deliveries import outbox

    subscribe(max_in_flight=2)
    events(4)
    route()
    with system_scope():
        outbox.claim(2)
    assert deliver() == 2  # claimed, and given back
    assert receiver.posted == []


def test_a_limit_holds_in_order_too(subscribe, events, deliver, receiver):
    subscribe(mode="ordered", max_per_minute=60)
    events(5)
    deliver()
    assert numbers(receiver.posted) in ([0, 1], [0, 1, 2])
    assert (lane().due_at - timezone.now()).total_seconds() <= 1
    with system_scope():
        assert Pace.objects.count() == 1


def test_without_a_limit_nobody_keeps_a_pace(subscribe, events, deliver):
    subscribe()
    events(2)
    deliver()
    with system_scope():
        assert not Pace.objects.exists()
        assert not Lane.objects.exists()
