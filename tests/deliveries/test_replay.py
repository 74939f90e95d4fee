"""Sending once more in the background: what is chosen, that it is counted rightly, and what interrupts it."""

import threading
import time
from collections import Counter
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from deliveries import replay as replaying
from deliveries import replay_models, tasks
from deliveries.models import Delivery, Outbox, Replay
from deliveries.routing import route
from events.models import Event, Inbox
from subscriptions.models import Subscription, WrongState
from tenants.scope import system_scope, tenant_scope

pytestmark = pytest.mark.spec("B7")


@pytest.fixture
def subscription(subscribe):
    return subscribe()[0]


@pytest.fixture
def told(happen, subscription):
    """told(n, status) → n events, each with a delivery that ended so."""

    def make(number=1, status="failed", event_type="user.created", **fields):
        events = [happen(event_type, **fields) for _ in range(number)]
        while route().claimed:
            pass
        ids = [event.pk for event in events]
        with system_scope():
            Delivery.objects.filter(event_id__in=ids).update(status=status, completed_at=timezone.now())
            if status != "pending":
                Outbox.objects.all().delete()
        return ids

    return make


@pytest.fixture
def start(cast, subscription):
    """start(kind, …) → a replay that runs; fresh(replay) reads it again."""

    def begin(kind="deliveries", **asked) -> Replay:
        with tenant_scope(cast.tenant.pk):
            present = Subscription.objects.get(pk=subscription.pk)
            replay = Replay.asked(present, kind, **asked)
            counted = replaying.count(replay)
            replay.start(counted.count, is_exact=counted.is_exact, asked_by="owner@acme.example")
        return replay

    return begin


def fresh(replay: Replay) -> Replay:
    with system_scope():
        return Replay.objects.get(pk=replay.pk)


def run() -> int:
    """Batches until no replay is due. How many deliveries were made."""
    made = 0
    while (batch := replaying.advance()) is not None:
        made += batch
    return made


def sent_again(replay: Replay) -> list:
    """The events of what it made, in order."""
    with system_scope():
        return list(Delivery.objects.filter(id__gte=replay.before).order_by("id").values_list("event_id", flat=True))


def clear_outbox() -> None:
    with system_scope():
        Outbox.objects.all().delete()


A_DAY = timedelta(days=1)


# ── What is chosen ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_selection_goes_out_once_more_with_new_delivery_ids_and_the_same_message_ids(told, start, deliver, receiver):
    failed = told(3)
    told(2, "delivered")
    replay = start(selection={"status": ["failed"]})
    assert run() == 3
    assert sent_again(replay) == failed
    assert deliver() == 3
    assert {posted.headers["webhook-id"] for posted in receiver.posted} == {str(pk) for pk in failed}
    with system_scope():
        assert Delivery.objects.filter(status="failed").count() == 3
        assert Delivery.objects.filter(event_id=failed[0]).values("message_id").distinct().count() == 1
    assert fresh(replay).state == Replay.State.FINISHED


def test_a_selection_takes_the_parameters_of_the_list(told, start):
    paid = told(2, event_type="order.paid")
    told(2)
    since = timezone.now() - A_DAY
    replay = start(selection={"event_type": "order.paid", "since": since.isoformat()})
    run()
    assert sent_again(replay) == paid


def test_an_event_that_failed_twice_is_sent_once(told, start, subscription):
    (event,) = told()
    start(selection={"status": ["failed"]})
    run()
    with system_scope():
        Delivery.objects.update(status="failed")
    replay = start(selection={"status": ["failed"]})
    assert (replay.total, run()) == (1, 1)
    assert sent_again(replay) == [event]


def test_what_is_under_way_already_is_left_out(told, start, cast):
    (first, second) = told(2)
    with tenant_scope(cast.tenant.pk):
        Delivery.objects.get(event_id=first).resend()
    replay = start(selection={"status": ["failed"]})
    assert (replay.total, run()) == (1, 1)
    assert sent_again(replay) == [second]


def test_everything_since_a_moment_is_what_the_router_would_choose(happen, start, cast):
    with tenant_scope(cast.tenant.pk):
        Subscription.objects.update(event_types=["order.*"], min_severity="medium")
    happen("order.early", severity="high")
    time.sleep(0.005)  # an id tells its moment to the millisecond
    since = timezone.now()
    wanted = [happen("order.paid", severity="high").pk, happen("order.refunded", severity="medium").pk]
    happen("order.seen", severity="low")
    happen("user.created", severity="high")
    with system_scope():
        Inbox.objects.all().delete()
    replay = start("events", since=since)
    assert run() == 2
    assert sent_again(replay) == wanted


def test_events_before_the_moment_are_not_sent(told, start):
    told(2, "delivered")
    with pytest.raises(WrongState, match="nothing to replay"):
        start("events", since=timezone.now() + timedelta(milliseconds=5))


def test_everything_includes_what_was_delivered_but_not_what_is_sent_anyway(told, start, happen):
    delivered = told(2, "delivered")
    told(1, "pending")
    happen()  # still in the inbox
    replay = start("events", since=timezone.now() - A_DAY)
    assert (replay.total, run()) == (2, 2)
    assert sent_again(replay) == delivered


def test_what_comes_after_the_start_does_not_belong_to_it(told, start):
    told(1, "delivered")
    replay = start("events", since=timezone.now() - A_DAY)
    told(3, "delivered")
    assert run() == 1
    assert fresh(replay).done == 1


def test_what_was_missed_while_disabled(told, start, subscription, cast):
    told(1, "failed")
    with system_scope():
        Delivery.objects.update(completed_at=timezone.now() - A_DAY)  # long before
    told(1, "delivered")
    waiting = told(1, "pending")
    with tenant_scope(cast.tenant.pk):
        subscription.disable("By the owner.")
        Delivery.objects.filter(event_id__in=waiting).update(status="cancelled", completed_at=timezone.now())
    never = told(2)  # while it is disabled, nothing is made for it
    with tenant_scope(cast.tenant.pk):
        assert not Delivery.objects.filter(event_id__in=never).exists()
        Subscription.objects.update(state="idle")
    told(1, "delivered")
    replay = start("missed")
    assert (replay.total, run()) == (3, 3)
    assert sent_again(replay) == [*waiting, *never]


def test_the_message_whose_answer_disabled_it_was_missed_too(told, start, cast, subscription):
    (event,) = told(1, "failed")
    with tenant_scope(cast.tenant.pk):
        subscription.disable_by_answer("The receiver answered 410.")
        Subscription.objects.update(state="idle")
    replay = start("missed")
    run()
    assert sent_again(replay) == [event]


def test_what_was_missed_and_has_come_meanwhile_is_left_out(told, start, cast, subscription):
    told(2)
    start(selection={"status": ["failed"]})
    run()
    with system_scope():
        Delivery.objects.filter(status="pending").update(status="delivered")
    with pytest.raises(WrongState, match="nothing to replay"):
        start("missed", since=timezone.now() - A_DAY)


def test_an_event_that_is_no_longer_kept_is_neither_counted_nor_sent(told, start):
    gone, kept = told(2)
    with system_scope():
        Event.objects.filter(pk=gone).delete()
    replay = start()
    assert (replay.total, run()) == (1, 1)
    assert sent_again(replay) == [kept]


def test_other_subscriptions_and_other_tenants_get_nothing(told, start, subscribe, cast, happen):
    other, _ = subscribe(name="Another")
    foreign, _ = subscribe(tenant=cast.other_tenant)
    happen(tenant=cast.other_tenant)
    told(2)
    replay = start()
    run()
    with system_scope():
        made = Delivery.objects.filter(id__gte=replay.before)
        assert set(made.values_list("subscription_id", flat=True)) == {replay.subscription_id}
        assert replay.subscription_id not in (other.pk, foreign.pk)


# ── Counting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        ("deliveries", {}),
        ("deliveries", {"selection": {"status": ["failed", "dead"]}}),
        ("events", {"since": timezone.now() - A_DAY}),
        ("missed", {"since": timezone.now() - A_DAY}),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 1000])
def test_what_was_counted_is_what_is_sent(told, start, monkeypatch, kind, asked, size):
    told(2, "failed")
    told(3, "delivered", "order.paid")
    told(1, "dead")
    told(2, "pending")
    monkeypatch.setattr(replaying, "BATCH", size)
    monkeypatch.setattr(replaying, "COUNT_SLICE", 3)
    replay = start(kind, **asked)
    assert replay.total > 0
    assert replay.total_is_exact
    assert run() == replay.total == fresh(replay).done == len(sent_again(replay))


def test_counting_stops_in_time_and_says_so(told, cast, subscription, monkeypatch):
    told(5)
    monkeypatch.setattr(replaying, "COUNT_SLICE", 2)
    ticks = iter([0.0, 1.0, 1.5, 2.5])
    monkeypatch.setattr(replaying, "now", lambda: next(ticks))
    with tenant_scope(cast.tenant.pk):
        counted = replaying.count(Replay.asked(subscription, "deliveries"), seconds=2)
    assert (counted.count, counted.is_exact) == (4, False)


def test_a_count_that_stopped_is_made_good_at_the_end(told, start, monkeypatch):
    told(5)
    monkeypatch.setattr(replaying, "count", lambda replay: replaying.Counted(2, is_exact=False))
    replay = start()
    run()
    ended = fresh(replay)
    assert (ended.total, ended.total_is_exact, ended.done) == (5, True, 5)


def test_a_batch_looks_at_so_many_rows_however_few_fit(told, start, monkeypatch):
    told(5, "delivered")
    wanted = told(1, "failed")
    monkeypatch.setattr(replaying, "BATCH", 2)
    replay = start(selection={"status": ["failed"]})
    assert [replaying.advance() for _ in range(3)] == [0, 0, 1]
    run()
    assert sent_again(replay) == wanted


# ── Starting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", ["pending", "disabled"])
def test_only_an_idle_subscription_is_sent_again(subscribe, cast, state):
    subscription, _ = subscribe(state=state)
    with tenant_scope(cast.tenant.pk), pytest.raises(WrongState, match=state):
        Replay.asked(subscription, "deliveries")


def test_one_replay_at_a_time(told, start):
    told(1)
    start()
    with pytest.raises(WrongState, match="running already"):
        start()
    run()
    with system_scope():
        Delivery.objects.update(status="failed")
    start()


def test_what_it_missed_needs_to_know_since_when(told, start):
    told(1)
    with pytest.raises(WrongState, match="never disabled"):
        start("missed")


@pytest.mark.parametrize("by", ["a person", "its answer"])
def test_when_it_was_disabled_is_known_after_it_was_enabled_again(cast, subscription, by):
    with tenant_scope(cast.tenant.pk):
        Subscription.objects.update(confirmed_at=timezone.now())
        assert subscription.disable("No.") if by == "a person" else subscription.disable_by_answer("410")
        since = subscription.disabled_at
        assert since == subscription.state_changed_at
        assert subscription.enable()
        assert subscription.disabled_at == since < subscription.state_changed_at


# ── Interruptions ────────────────────────────────────────────────────────────────────────────────────────────────────


class Killed(BaseException):
    """As if the process were gone: nothing catches it, and its transaction is rolled back."""


@pytest.mark.spec("B11")
def test_a_worker_killed_in_a_batch_has_changed_nothing_and_another_goes_on(told, start, monkeypatch):
    events = told(7)
    monkeypatch.setattr(replaying, "BATCH", 2)
    replay = start()
    assert [replaying.advance(), replaying.advance()] == [2, 2]

    def die(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as dying:
        dying.setattr(replaying, "_keep", die)  # the deliveries are made, the cursor is not kept
        with pytest.raises(Killed):
            replaying.advance()
    assert len(sent_again(replay)) == fresh(replay).done == 4
    assert run() == 3
    assert sent_again(replay) == events


def test_stopping_takes_effect_at_the_next_batch(told, start, monkeypatch):
    told(6)
    monkeypatch.setattr(replaying, "BATCH", 2)
    replay = start()
    replaying.advance()
    with system_scope():
        assert replay.stop("By the owner.")
        assert not replay.stop("Again.")
    assert replaying.advance() is None
    assert len(sent_again(replay)) == 2
    assert (fresh(replay).state, fresh(replay).done, fresh(replay).reason) == ("stopped", 2, "By the owner.")


@pytest.mark.django_db(transaction=True)
def test_two_workers_send_nothing_twice(told, start, monkeypatch):
    events = told(30)
    monkeypatch.setattr(replaying, "BATCH", 2)
    replay = start()
    meet, made = threading.Barrier(2), []

    def work():
        try:
            meet.wait(10)
            while fresh(replay).state == "running":
                made.append(replaying.advance() or 0)
        finally:
            connection.close()

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert sum(made) == 30
    assert Counter(sent_again(replay)) == Counter(events)
    assert fresh(replay).state == "finished"


@pytest.mark.django_db(transaction=True)
def test_while_one_worker_is_at_it_another_finds_nothing(told, start):
    told(2)
    start()
    seen = []

    def look():
        try:
            seen.append(replaying.advance())
        finally:
            connection.close()

    with system_scope():
        assert replaying._claim() is not None
        other = threading.Thread(target=look)
        other.start()
        other.join(30)
    assert seen == [None]
    assert run() == 2


@pytest.mark.spec("B8")
def test_it_waits_while_many_of_its_deliveries_wait(told, start, monkeypatch):
    told(10)
    monkeypatch.setattr(replaying, "BATCH", 2)
    monkeypatch.setattr(replaying, "MAX_WAITING", 4)
    replay = start()
    assert run() == 4
    with system_scope():
        assert Outbox.objects.count() == 4
        Replay.objects.update(due_at=timezone.now())
    assert run() == 0
    assert fresh(replay).is_running
    clear_outbox()
    with system_scope():
        Replay.objects.update(due_at=timezone.now())
    assert run() == 4


def test_what_others_have_waiting_does_not_hold_it_up(told, start, monkeypatch):
    told(4)
    told(3, "pending")
    monkeypatch.setattr(replaying, "BATCH", 2)
    monkeypatch.setattr(replaying, "MAX_WAITING", 4)
    start()
    assert run() == 4


def test_replays_take_turns(told, start, subscribe, cast, monkeypatch):
    other, _ = subscribe(name="Another")
    told(4)
    monkeypatch.setattr(replaying, "BATCH", 1)
    first = start()
    with tenant_scope(cast.tenant.pk):
        second = Replay.asked(other, "deliveries")
        second.start(4, is_exact=True, asked_by="x")
    replaying.advance()
    replaying.advance()
    assert (fresh(first).done, fresh(second).done) == (1, 1)


@pytest.mark.parametrize("meanwhile", ["disabled", "deleted"])
def test_it_ends_where_the_subscription_is_sent_nothing_any_more(told, start, cast, subscription, meanwhile):
    told(2)
    replay = start()
    with tenant_scope(cast.tenant.pk):
        subscription.disable("No.") if meanwhile == "disabled" else subscription.delete()
    assert run() == 0
    assert fresh(replay).state == "failed"
    assert meanwhile in fresh(replay).reason


def test_a_batch_that_fails_is_tried_again_and_not_for_ever(told, start, monkeypatch):
    told(2)
    replay = start()

    def fail(*args, **kwargs):
        raise OperationalError("the disk is full of secrets")

    with monkeypatch.context() as failing:
        failing.setattr(Delivery.objects.__class__, "enqueue_all", fail)
        assert replaying.advance() == 0
        assert fresh(replay).failures == 1
        assert replaying.advance() is None  # put off
        for _ in range(replay_models.MAX_FAILURES):
            with system_scope():
                Replay.objects.update(due_at=timezone.now())
            replaying.advance()
    ended = fresh(replay)
    assert (ended.state, ended.done) == ("failed", 0)
    assert "secrets" not in ended.reason


def test_after_a_failure_it_goes_on(told, start, monkeypatch):
    told(2)
    replay = start()
    with system_scope():
        replay.put_off("OperationalError")
        Replay.objects.update(due_at=timezone.now())
    assert run() == 2
    assert (fresh(replay).state, fresh(replay).failures) == ("finished", 0)


# ── The tasks ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def woken(monkeypatch):
    """Who was woken: `dispatch`, `replay`."""
    names = []
    monkeypatch.setattr(tasks._dispatcher, "wake", lambda: names.append("dispatch"))
    monkeypatch.setattr(replay_models._wakeup, "wake", lambda: names.append("replay"))
    return names


def test_the_task_works_until_nothing_is_due_and_wakes_the_dispatcher(told, start, woken):
    told(3)
    replay = start()
    tasks.replay()
    assert woken == ["dispatch"]
    assert fresh(replay).state == "finished"


def test_the_task_gives_way_after_a_while(told, start, woken, monkeypatch):
    told(3)
    monkeypatch.setattr(replaying, "BATCH", 1)
    monkeypatch.setattr(tasks, "REPLAY_SECONDS", -1)
    start()
    tasks.replay()
    assert woken == ["dispatch", "replay"]


def test_the_sweep_wakes_it_where_nobody_did(told, start, woken):
    told(1)
    start()
    tasks.sweep()
    assert "replay" in woken
    run()
    woken.clear()
    tasks.sweep()
    assert "replay" not in woken


def test_starting_wakes_a_worker_when_it_is_committed(told, start, woken, django_capture_on_commit_callbacks):
    told(1)
    with django_capture_on_commit_callbacks(execute=True):
        start()
    assert "replay" in woken


@pytest.mark.parametrize(("days", "left"), [(31, 0), (29, 1), (None, 1)])
def test_old_replays_are_forgotten(told, start, settings, days, left):
    settings.RETENTION_DAYS = 30
    told(1)
    start()
    with system_scope():
        Replay.objects.update(ended_at=days and timezone.now() - timedelta(days=days))
    tasks.forget_replays()
    with system_scope():
        assert Replay.objects.count() == left
