"""Lines that are not left alone while something waits in them: other modes, limits, large events, breakers, people."""

from datetime import timedelta

import pytest
from django.utils import timezone

from deliveries import breaker, dispatch, outbox, results, sending
from deliveries.dispatch import Dispatcher
from deliveries.fairness import Places
from deliveries.models import Attempt, Delivery, Outbox, Pace
from deliveries.routing import route
from subscriptions.failing import Failing
from subscriptions.models import Subscription
from tenants.scope import system_scope, tenant_scope
from tests.deliveries.line import lane, let_time_pass, numbers, sizes, statuses
from tests.receiver import Answer


def change(subscription, **fields) -> None:
    with system_scope():
        Subscription.objects.filter(pk=subscription.pk).update(**fields)


# Another mode ------------------------------------------------------------------------------------


@pytest.mark.spec("B11")
@pytest.mark.parametrize("mode", ["parallel", "ordered"])
def test_each_of_what_waits_is_sent_where_batches_have_ended(mode, subscribe, events, deliver, receiver):
    subscription, _ = subscribe(mode="batched")
    events(4)
    route()
    change(subscription, mode=mode)
    let_time_pass()
    deliver()
    assert numbers(receiver.posted) == [0, 1, 2, 3]
    assert statuses() == ["delivered"] * 4
    assert lane().events == 1
    with system_scope():
        assert list(Delivery.objects.values_list("attempt_count", flat=True)) == [1] * 4
        assert Attempt.objects.count() == 4


@pytest.mark.spec("B11")
def test_so_is_each_of_a_batch_that_failed(subscribe, events, deliver, receiver):
    subscription, _ = subscribe(mode="batched", policy="custom", delays=[1, 1])
    answers = iter([500])
    receiver.answer = lambda posted: Answer(next(answers, 204))
    events(3)
    route()
    let_time_pass()
    deliver()
    change(subscription, mode="ordered")
    events(1, first=3)
    route()
    let_time_pass()
    deliver()
    assert numbers(receiver.posted[1:]) == [0, 1, 2, 3]
    assert statuses() == ["delivered"] * 4


# Limits ------------------------------------------------------------------------------------------


@pytest.mark.spec("T6")
def test_a_batch_is_one_message_under_way(subscribe, events, deliver, receiver):
    subscribe(mode="batched", max_in_flight=1)
    events(5)
    route()
    let_time_pass()
    deliver()
    assert sizes(receiver.posted) == [5]
    assert statuses() == ["delivered"] * 5


# Large events ------------------------------------------------------------------------------------


@pytest.mark.spec("T6")
def test_a_batch_ends_where_it_is_large_enough(subscribe, happen, deliver, receiver, monkeypatch):
    """And is the same when it is tried again."""
    monkeypatch.setattr(dispatch, "BATCH_BYTES", 2500)
    subscribe(mode="batched", policy="custom", delays=[1])
    answers = iter([500])
    receiver.answer = lambda posted: Answer(next(answers, 204))
    for _ in range(7):
        happen(body=b'"%s"' % (b"x" * 998))
    happen(body=b'"%s"' % (b"x" * 9998))  # larger than all that a batch may have
    happen(body=b"1")
    route()
    let_time_pass()
    deliver()
    let_time_pass()
    deliver()
    first, again, *_ = receiver.posted
    assert first.body == again.body
    assert sizes(receiver.posted) == [3, 3, 3, 2, 1]
    assert statuses() == ["delivered"] * 9
    assert lane().due_at is None


@pytest.mark.spec("B8")
def test_so_much_is_read_for_one_lot_of_claims(subscribe, happen, deliver, receiver, monkeypatch):
    """What is not read has not been tried."""
    lots, real = [], sending.reading

    def reading(claims, endpoints):
        read = yield from real(claims, endpoints, 2500)
        lots.append(sum(len(one.about.body) for one in read.sendings))
        return read

    monkeypatch.setattr(dispatch, "reading", reading)
    subscribe()
    subscribe(name="another")
    for _ in range(6):
        happen(body=b'"%s"' % (b"x" * 998))
    assert deliver() > 12
    assert len(receiver.posted) == 12
    assert (sum(lots), max(lots)) == (12_000, 3000)
    with system_scope():
        assert set(Delivery.objects.values_list("status", "attempt_count")) == {("delivered", 1)}


@pytest.mark.spec("B11")
@pytest.mark.parametrize("mode", ["parallel", "batched"])
def test_the_first_is_read_whatever_happened_before_it(mode, subscribe, happen, deliver, receiver, monkeypatch):
    """Bodies are bounded in the order of events, which need not be that of deliveries."""
    monkeypatch.setattr(dispatch, "BATCH_BYTES", 1500)
    monkeypatch.setattr(
        dispatch, "reading", lambda claims, endpoints, most=1500: sending.reading(claims, endpoints, most)
    )
    subscribe(mode=mode)
    events = [happen(body=b'"%s"' % (b"x" * 998)) for _ in range(4)]
    route()
    with system_scope():
        rows = list(Delivery.objects.order_by("id"))
        for row, event in zip(rows, reversed(events), strict=True):
            Delivery.objects.filter(pk=row.pk).update(event_id=event.pk)
    if mode == "batched":
        let_time_pass()
    deliver()
    assert statuses() == ["delivered"] * 4


def test_heads_are_given_back_while_those_under_way_are_heavy(cast, subscribe, happen, receiver, opened):
    for number in range(3):
        subscribe(name=f"{number}", mode="ordered")
    happen(body=b'"%s"' % (b"x" * 998))
    route()
    dispatcher = Dispatcher(places=Places(most_bytes=900))
    dispatcher.drain()
    dispatcher.close()
    assert len(receiver.posted) == 3
    with system_scope():
        assert set(Delivery.objects.values_list("status", "attempt_count")) == {("delivered", 1)}


# A receiver that is spared -----------------------------------------------------------------------


@pytest.mark.spec("T6")
def test_the_batch_that_asks_after_a_receiver_is_a_whole_one(subscribe, events, deliver, receiver):
    subscription, _ = subscribe(mode="batched")
    at = timezone.now()
    with tenant_scope(subscription.tenant_id):
        row = Failing(subscription=subscription, tenant_id=subscription.tenant_id)
        row.begin(subscription.state_changed_at, at)
        row.opened_at, row.open_until = at, at + timedelta(minutes=1)
        row.save(force_insert=True)
    events(20)
    route()
    let_time_pass()
    deliver()
    assert receiver.posted == []
    assert lane().due_at is not None
    with system_scope():
        assert set(Outbox.objects.values_list("attempt", "lease_token")) == {(0, None)}
        Failing.objects.update(open_until=timezone.now() - timedelta(seconds=1))
    let_time_pass()
    deliver()
    assert sizes(receiver.posted) == [20]
    assert set(statuses()) == {"delivered"}


@pytest.mark.spec("B9")
def test_try_now_tries_the_head_of_the_line(subscribe, events, deliver, receiver):
    subscription, _ = subscribe(mode="ordered")
    receiver.answer = Answer(500)
    events(3)
    deliver()
    with tenant_scope(subscription.tenant_id):
        Failing.objects.update(opened_at=timezone.now(), open_until=timezone.now() + timedelta(minutes=1))
        first = Delivery.objects.order_by("id")[0].pk
        assert breaker.try_now(subscription) == first
    receiver.answer = Answer(204)
    deliver()
    assert numbers(receiver.posted) == [0, 0, 1, 2]


# Somebody cancels --------------------------------------------------------------------------------


@pytest.mark.spec("B9")
def test_what_stands_behind_a_head_that_was_cancelled_goes_at_once(cast, subscribe, events, deliver, receiver):
    subscribe(mode="ordered")
    answers = iter([500])
    receiver.answer = lambda posted: Answer(next(answers, 204))
    events(3)
    deliver()
    with tenant_scope(cast.tenant.pk):
        head, second, _ = Delivery.objects.order_by("id")
        assert second.cancel("Not needed.")
    deliver()
    assert numbers(receiver.posted) == [0]  # its head still waits for its next attempt
    with tenant_scope(cast.tenant.pk):
        assert head.cancel("It is poison.")
    deliver()
    assert numbers(receiver.posted) == [0, 2]
    assert statuses() == ["cancelled", "cancelled", "delivered"]


@pytest.mark.spec("B9")
def test_so_does_what_comes_after_all_of_it_was_cancelled(subscribe, events, deliver, receiver):
    subscription, _ = subscribe(mode="ordered")
    answers = iter([500])
    receiver.answer = lambda posted: Answer(next(answers, 204))
    events(3)
    deliver()
    with tenant_scope(subscription.tenant_id):
        assert Delivery.objects.cancel_pending(subscription, "Not needed.") == 3
    events(1, first=3)
    deliver()
    assert numbers(receiver.posted) == [0, 3]


@pytest.fixture
def cancelled_meanwhile(monkeypatch):
    """Somebody cancels the first delivery while the first request is under way."""
    real = results.record

    def record(batch):
        monkeypatch.setattr(results, "record", real)
        with tenant_scope(batch[0].sending.delivery.tenant_id):
            assert Delivery.objects.order_by("id")[0].cancel("Not needed.")
        return real(batch)

    monkeypatch.setattr(results, "record", record)


@pytest.mark.usefixtures("cancelled_meanwhile")
def test_the_others_of_a_batch_whose_first_is_cancelled_have_been_delivered(subscribe, events, deliver, receiver):
    subscribe(mode="batched")
    events(3)
    route()
    let_time_pass()
    deliver()
    let_time_pass()
    deliver()
    assert sizes(receiver.posted) == [3]
    assert statuses() == ["cancelled", "delivered", "delivered"]


@pytest.mark.usefixtures("cancelled_meanwhile")
def test_or_they_are_tried_again_when_it_would_have_been(subscribe, events, deliver, receiver):
    subscribe(mode="batched", policy="custom", delays=[60])
    answers = iter([500])
    receiver.answer = lambda posted: Answer(next(answers, 204))
    events(3)
    route()
    let_time_pass()
    deliver()
    assert statuses() == ["cancelled", "pending", "pending"]
    assert lane().due_at > timezone.now() + timedelta(seconds=30)
    let_time_pass()
    deliver()
    assert sizes(receiver.posted) == [3, 2]
    assert statuses() == ["cancelled", "delivered", "delivered"]


@pytest.mark.spec("B9")
@pytest.mark.usefixtures("cancelled_meanwhile")
def test_nobody_waits_for_a_head_that_is_cancelled_while_it_is_under_way(subscribe, events, deliver, receiver):
    subscribe(mode="ordered")
    answers = iter([500])
    receiver.answer = lambda posted: Answer(next(answers, 204))
    events(2)
    deliver()
    assert numbers(receiver.posted) == [0, 1]
    assert statuses() == ["cancelled", "delivered"]


# Beside what is in no line -----------------------------------------------------------------------


@pytest.mark.spec("B8")
def test_a_line_does_not_wait_behind_what_is_in_none(subscribe, events, dispatcher, receiver):
    """Of the same tenant: it would come to its share with that alone."""
    subscribe(name="backlog", url=receiver.url + "/backlog")
    subscribe(name="line", mode="ordered", url=receiver.url + "/line")
    events(30)
    route()
    dispatcher._places = Places(places=16)
    first, real = [], dispatcher._begin

    def begin(sending):
        first.append(sending.subscription.name)
        real(sending)

    dispatcher._begin = begin
    dispatcher.drain()
    assert first[0] == "line"
    assert first.count("line") == first.count("backlog") == 30


def test_what_finds_too_many_under_way_stands_in_line(subscribe, events, deliver, receiver):
    """Or all of a long backlog would be looked at ten times a second."""
    subscribe(max_in_flight=1)
    events(40)
    route()
    with system_scope():
        outbox.claim(1)
    deliver()
    with system_scope():
        due = sorted(Outbox.objects.filter(lease_token=None).values_list("due_at", flat=True))
        line_end = Pace.objects.get().line_end
    gaps = [(later - earlier).total_seconds() for earlier, later in zip(due, due[1:], strict=False)]
    assert len(due) == 39
    assert min(gaps) > 0.009
    assert due[-1] == line_end
