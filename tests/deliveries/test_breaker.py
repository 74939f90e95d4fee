"""A receiver that is down is left alone, tried again by one delivery, and gets its backlog back bit by bit."""

import threading
import time
import uuid
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from deliveries import breaker, lines, outbox
from deliveries.dispatch import Dispatcher
from deliveries.fairness import Places
from deliveries.models import Attempt, Delivery, Outbox
from deliveries.results import decide, record
from deliveries.routing import route
from egress.client import Outcome
from events.models import Event
from subscriptions.failing import COOL_DOWN, LONGEST_COOL_DOWN, OPENS_AFTER, Breaker
from subscriptions.models import Failing, Subscription, WrongState
from tenants.models import AuditEntry
from tenants.scope import system_scope, tenant_scope
from tests.deliveries.conftest import begun
from tests.receiver import Answer

SECOND = timedelta(seconds=1)


@pytest.fixture
def start():
    return timezone.now()


def row() -> Failing | None:
    with system_scope():
        return Failing.objects.first()


def make_due() -> None:
    with system_scope():
        Outbox.objects.update(due_at=timezone.now() - SECOND)


def end_cool_down() -> None:
    with system_scope():
        Failing.objects.update(open_until=timezone.now() - SECOND)
    make_due()


def waiting() -> list[Outbox]:
    with system_scope():
        return list(Outbox.objects.order_by("due_at"))


@pytest.fixture
def down(subscribe, happen, deliver, receiver):
    """A subscription whose breaker is open: OPENS_AFTER deliveries have failed."""
    receiver.answer = Answer(503)
    subscription, _ = subscribe(policy="exponential")
    for _ in range(OPENS_AFTER):
        happen()
    deliver()
    receiver.posted.clear()
    return subscription


def test_failures_in_a_row_open_it(down):
    assert row().breaker() == Breaker.OPEN
    assert COOL_DOWN - 5 * SECOND < row().open_until - timezone.now() <= COOL_DOWN


def test_fewer_do_not(subscribe, happen, deliver, receiver):
    receiver.answer = Answer(503)
    subscribe()
    for _ in range(OPENS_AFTER - 1):
        happen()
    deliver()
    assert row().breaker() == Breaker.CLOSED


def test_a_success_between_them_keeps_it_closed(subscribe, happen, deliver, receiver):
    subscribe()
    for number in range(2 * OPENS_AFTER):
        receiver.answer = Answer(204 if number % OPENS_AFTER == OPENS_AFTER - 1 else 503)
        happen()
        deliver()
    assert row() is None


def test_while_it_is_open_what_is_due_is_put_off_and_uses_up_no_attempt(down, happen, deliver, receiver):
    make_due()
    event = happen()
    deliver()
    assert receiver.posted == []
    until = row().open_until
    assert sorted(one.attempt for one in waiting()) == [0] + [1] * OPENS_AFTER
    assert all(one.due_at >= until and one.lease_token is None for one in waiting())
    with system_scope():
        delivery = Delivery.objects.get(event=event)
        assert (delivery.status, delivery.attempt_count) == ("pending", 0)
        assert delivery.next_attempt_at == Outbox.objects.get(delivery=delivery).due_at
        assert Attempt.objects.count() == OPENS_AFTER


def test_others_are_sent_to_meanwhile(down, subscribe, happen, deliver, receiver):
    subscribe(name="well", headers={"X-Well": "1"})
    happen()
    deliver()
    assert [posted.headers.get("x-well") for posted in receiver.posted] == ["1"]


def test_after_the_cool_down_one_is_sent_and_the_others_wait_for_it(down, happen, deliver, receiver):
    for _ in range(20):
        happen()
    end_cool_down()
    deliver()
    assert len(receiver.posted) == 1
    assert row().cool_down == 2 * COOL_DOWN
    assert len(waiting()) == OPENS_AFTER + 20


def test_a_success_of_the_probe_closes_it_and_lets_the_backlog_out_bit_by_bit(down, happen, deliver, receiver):
    for _ in range(20):
        happen()
    receiver.answer = Answer(204)
    end_cool_down()
    route()
    deliver()
    assert row() is None
    assert len(receiver.posted) == 1
    due = [one.due_at for one in waiting()]
    assert len(set(due)) == len(due) == OPENS_AFTER + 20 - 1, "each has a moment of its own"
    make_due()
    deliver()
    assert len(receiver.posted) == OPENS_AFTER + 20
    assert len({posted.headers["webhook-id"] for posted in receiver.posted}) == OPENS_AFTER + 20


def test_each_failed_probe_doubles_the_cool_down_up_to_ten_minutes(down, deliver, receiver):
    seen = []
    for _ in range(7):
        end_cool_down()
        deliver()
        seen.append(row().cool_down)
    assert seen[:3] == [2 * COOL_DOWN, 4 * COOL_DOWN, 8 * COOL_DOWN]
    assert seen[-1] == LONGEST_COOL_DOWN == timedelta(minutes=10)


def test_of_two_workers_one_sends_the_probe(down, happen):
    """Both claim before either answers."""
    for _ in range(4):
        happen()
    route()
    end_cool_down()
    sent = []
    for _ in range(2):
        with system_scope():
            claims = outbox.claim(3)
        sent += begun(claims)
    assert len(sent) == 1
    assert row().probe == sent[0].delivery.pk


def test_a_worker_that_dies_with_the_probe_is_followed_by_another(down):
    end_cool_down()
    with system_scope():
        [first] = begun(outbox.claim(1))
        Failing.objects.update(probe_until=timezone.now() - SECOND)
        [second] = begun(outbox.claim(1))
    assert row().probe == second.delivery.pk != first.delivery.pk


def test_an_answer_to_what_was_sent_before_it_opened_changes_nothing(subscribe, happen):
    subscribe(policy="exponential")
    for _ in range(OPENS_AFTER + 3):
        happen()
    route()
    with system_scope():
        sendings = begun(outbox.claim(50))
    for sending in sendings:
        sending.outcome = Outcome(status=503)
    record([decide(one) for one in sendings[:OPENS_AFTER]])
    opened = row()
    record([decide(one) for one in sendings[OPENS_AFTER:]])
    assert (row().open_until, row().cool_down) == (opened.open_until, COOL_DOWN)


@pytest.mark.spec("T7")
@pytest.mark.parametrize(("status", "state"), [(404, "closed"), (422, "closed"), (429, "open"), (500, "open")])
def test_a_receiver_that_refuses_the_messages_is_there(subscribe, happen, deliver, receiver, status, state):
    receiver.answer = Answer(status)
    subscribe(policy="post_once")
    for _ in range(OPENS_AFTER):
        happen()
    deliver()
    assert row().breaker() == state


def test_a_test_is_sent_at_once_and_its_success_closes_it(down, deliver, receiver):
    receiver.answer = Answer(204)
    with tenant_scope(down.tenant_id):
        down.send_test()
    deliver()
    assert len(receiver.posted) == 1
    assert row() is None


def test_what_a_test_found_well_gets_its_backlog_at_once(down, happen, deliver, receiver):
    happen()
    deliver()
    receiver.answer = Answer(204)
    with tenant_scope(down.tenant_id):
        down.send_test()
    deliver()
    with system_scope():
        assert all(one.due_at < timezone.now() + SECOND for one in Outbox.objects.filter(attempt=0))


def test_a_confirmation_link_counts_for_nothing(subscribe, deliver, receiver):
    receiver.answer = Answer(503)
    subscription, _ = subscribe(state=Subscription.State.PENDING)
    with tenant_scope(subscription.tenant_id):
        subscription.send_confirmation()
    deliver()
    assert len(receiver.posted) == 1
    assert row() is None


def test_what_could_not_be_sent_by_our_own_fault_counts_for_nothing(subscribe, happen, deliver):
    subscription, _ = subscribe()
    with system_scope(), connection.cursor() as cursor:
        cursor.execute("UPDATE subscriptions_signingsecret SET value = %s", [b"\x01\x02k1" + bytes(40)])
    for _ in range(OPENS_AFTER):
        happen()
    deliver()
    assert row() is None


def test_enabling_it_again_begins_anew(down, happen, deliver, receiver):
    with tenant_scope(down.tenant_id):
        Subscription.objects.filter(pk=down.pk).update(confirmed_at=timezone.now())
        down.disable("By a test.")
        down.enable()
        assert Subscription.objects.get(pk=down.pk).trouble is None
    happen()
    deliver()
    assert len(receiver.posted) == 1
    assert len(row().recent) == 1


def test_it_is_written_with_the_results_or_not_at_all(down, monkeypatch):
    end_cool_down()
    with system_scope():
        [sending] = begun(outbox.claim(1))
    sending.outcome = Outcome(status=204)
    monkeypatch.setattr(Failing.objects, "filter", lambda **_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        record([decide(one) for one in [sending]])
    monkeypatch.undo()
    assert row() is not None
    with system_scope():
        assert Delivery.objects.get(pk=sending.delivery.pk).status == "pending"


def test_a_receiver_that_is_well_costs_one_look_a_batch(subscribe, happen):
    subscribe()
    for _ in range(10):
        happen()
    route()
    with system_scope():
        claims = outbox.claim(50)
    with CaptureQueriesContext(connection) as reading:
        sendings = begun(claims)
    for sending in sendings:
        sending.outcome = Outcome(status=204)
    with CaptureQueriesContext(connection) as writing:
        record([decide(one) for one in sendings])
    about = [query["sql"] for query in [*reading, *writing] if "subscriptions_failing" in query["sql"]]
    assert not [sql for sql in about if sql.startswith(("UPDATE", "INSERT", "DELETE"))]
    assert not [one for one in map(decide, sendings) if one.has_consequences]


# ── What is due when it opens ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def opening(subscribe, happen):
    """opening(3) → a subscription whose breaker has just opened while three more deliveries were due to it."""

    def make(more):
        subscription, _ = subscribe(policy="exponential")
        for _ in range(OPENS_AFTER + more):
            happen()
        route()
        with system_scope():
            sendings = begun(outbox.claim(OPENS_AFTER))
        for sending in sendings:
            sending.outcome = Outcome(status=503)
        assert record([decide(one) for one in sendings]) == {subscription.pk}
        return subscription

    return make


def due_now() -> list[Outbox]:
    return [one for one in waiting() if one.due_at <= timezone.now()]


def test_all_of_it_is_put_off_without_having_been_claimed(opening):
    subscription = opening(7)
    assert len(due_now()) == 7
    assert lines.run(breaker.clearing(subscription.pk)) is False
    assert due_now() == []
    never_sent = [one for one in waiting() if one.attempt == 0]
    until = row().open_until
    assert [one.due_at for one in never_sent] == [until + number * SECOND / 100 for number in range(7)]
    assert row().line_end == never_sent[-1].due_at
    with system_scope():
        said = dict(Delivery.objects.values_list("pk", "next_attempt_at"))
    assert all(said[one.delivery_id] == one.due_at for one in never_sent)


def test_it_is_put_off_bit_by_bit(opening, monkeypatch):
    monkeypatch.setattr(breaker, "CLEARED_AT_ONCE", 3)
    subscription = opening(7)
    assert [lines.run(breaker.clearing(subscription.pk)) for _ in range(3)] == [True, True, False]
    assert len({one.due_at for one in waiting() if one.attempt == 0}) == 7


def test_a_test_is_not_put_off(opening):
    subscription = opening(2)
    with tenant_scope(subscription.tenant_id):
        subscription.send_test()
    route()
    lines.run(breaker.clearing(subscription.pk))
    (left,) = due_now()
    with system_scope():
        assert Delivery.objects.get(pk=left.delivery_id).kind == Delivery.Kind.TEST


def test_nor_is_what_somebody_has_claimed(opening):
    subscription = opening(4)
    with system_scope():
        (claim,) = outbox.claim(1)
    lines.run(breaker.clearing(subscription.pk))
    with system_scope():
        assert Outbox.objects.get(pk=claim.delivery_id).lease_token == claim.token


def test_nor_what_is_due_to_a_receiver_that_is_well_again_or_another_one(opening):
    subscription = opening(4)
    with tenant_scope(subscription.tenant_id):
        subscription.disable("Not now.")
        subscription.enable()
    lines.run(breaker.clearing(subscription.pk))
    assert len(due_now()) == 4
    with system_scope():
        Failing.objects.all().delete()
    lines.run(breaker.clearing(subscription.pk))
    assert len(due_now()) == 4


def test_a_dispatcher_does_not_claim_all_that_waits_for_a_receiver_that_is_down(subscribe, happen, opened, receiver):
    receiver.answer = Answer(503)
    subscribe(policy="exponential")
    for _ in range(60):
        happen()
    route()
    dispatcher = Dispatcher(places=Places(places=20, batch=5))
    made = dispatcher.drain()
    dispatcher.close()
    assert made < 20
    assert due_now() == []


@pytest.mark.django_db(transaction=True)
def test_while_it_is_asked_about_a_receiver_nothing_more_of_it_is_claimed(down, subscribe, happen, receiver):
    """Somebody holds its row, so that the question takes long."""
    receiver.answer = Answer(204)
    for _ in range(40):
        happen()
    route()
    make_due()
    dispatcher = Dispatcher(places=Places(places=60, batch=4))
    with transaction.atomic(), system_scope():
        Failing.objects.select_for_update().get()
        dispatcher.wake()
        deadline = time.monotonic() + 5
        while not (asked := [one for one in waiting() if one.lease_token]) and time.monotonic() < deadline:
            time.sleep(0.02)
        for _ in range(10):
            dispatcher.wake()
            time.sleep(0.02)
        assert 0 < len(asked) <= 4
        assert len([one for one in waiting() if one.lease_token]) == len(asked)
    dispatcher.stop(10)
    dispatcher.close()


# ── A person asks ────────────────────────────────────────────────────────────────────────────────────────────────────


def ask(client, subscription):
    return client.post("/api/v1/deliveries/try-now/", {"subscription": str(subscription.pk)})


def test_try_now_sends_one_and_its_success_closes_it(down, api, deliver, receiver):
    receiver.answer = Answer(204)
    answer = ask(api("member"), down)
    assert answer.status_code == 202
    deliver()
    assert len(receiver.posted) == 1
    assert row() is None
    with system_scope():
        assert str(Delivery.objects.get(status="delivered").pk) == answer.json()["delivery"]
        entry = AuditEntry.objects.get(action="subscription.tried_now")
        assert str(entry.object_id) == str(down.pk)


def test_try_now_lets_the_line_begin_at_once(down, api, happen, deliver, receiver):
    for _ in range(8):
        happen()
    deliver()
    assert receiver.posted == [], "all of them wait for the end of the cool-down"
    receiver.answer = Answer(204)
    ask(api("member"), down)
    deliver()
    with system_scope():
        new = Outbox.objects.filter(attempt=0)
        assert all(one.due_at < timezone.now() + 5 * SECOND for one in new)
        for one in new:
            assert Delivery.objects.get(pk=one.pk).next_attempt_at == one.due_at


def test_what_waits_as_its_schedule_says_is_not_pulled_forward(down, api):
    with system_scope():
        before = {one.pk: one.due_at for one in Outbox.objects.filter(attempt=1)}
    tried = ask(api("member"), down).json()["delivery"]
    with system_scope():
        after = {one.pk: one.due_at for one in Outbox.objects.all()}
    assert {pk for pk, due in after.items() if due != before[pk]} == {uuid.UUID(tried)}


def test_try_now_that_fails_waits_longer(down, api, deliver, receiver):
    ask(api("member"), down)
    deliver()
    assert len(receiver.posted) == 1
    assert row().cool_down == 2 * COOL_DOWN


def test_try_now_of_a_receiver_that_is_not_spared_is_a_conflict(subscribe, api):
    subscription, _ = subscribe()
    assert ask(api("member"), subscription).status_code == 409


def test_try_now_where_nothing_waits_is_a_conflict(down, api):
    with system_scope():
        Outbox.objects.all().delete()
    answer = ask(api("member"), down)
    assert answer.status_code == 409
    assert "Nothing waits" in answer.json()["detail"]
    assert row().breaker() == Breaker.OPEN


def test_a_viewer_may_not_try(down, api):
    assert ask(api("viewer"), down).status_code == 403


def test_try_now_of_another_tenants_subscription_is_refused(down, stranger_api):
    assert ask(stranger_api, down).status_code == 400
    assert row().open_until > timezone.now()


def test_two_at_once_do_not_both_try(down):
    with system_scope():
        breaker.try_now(down)
        Outbox.objects.update(lease_token="00000000-0000-4000-8000-000000000000")
        with pytest.raises(WrongState, match="Nothing waits"):
            breaker.try_now(down)


def test_it_is_no_event_when_it_opens(down):
    with system_scope():
        assert not Event.objects.filter(type__startswith="portal.").exists()


@pytest.mark.django_db(transaction=True)
def test_workers_that_see_the_first_failures_at_once_keep_one_row(subscribe, happen):
    """None of them finds a row, all make one, and none waits for another for ever."""
    for name in ("one", "two"):
        subscribe(name=name, policy="exponential")
    for _ in range(2 * OPENS_AFTER):
        happen()
    route()
    batches = []
    for number in range(4):
        with system_scope():
            batch = begun(outbox.claim(OPENS_AFTER))
        for sending in batch:
            sending.outcome = Outcome(status=503)
        batches.append(batch if number % 2 else batch[::-1])
    failed, together = [], threading.Barrier(len(batches))

    def work(batch) -> None:
        together.wait()
        try:
            record([decide(one) for one in batch])
        except Exception as error:
            failed.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(batch,)) for batch in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failed == []
    with system_scope():
        rows = list(Failing.objects.all())
        assert Attempt.objects.exclude(outcome=Attempt.LATE).count() == 4 * OPENS_AFTER
    assert [one.breaker() for one in rows] == [Breaker.OPEN] * 2
