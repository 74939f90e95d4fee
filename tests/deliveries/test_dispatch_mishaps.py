"""What goes wrong around a delivery must cost neither the others nor what was already sent."""

import threading
import time
import uuid
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone
from psycopg.types.json import Jsonb

from deliveries import breaker, dispatch, lanes, models, outbox, results
from deliveries.dispatch import Dispatcher
from deliveries.models import Attempt, Delivery, Outbox
from deliveries.results import decide, record
from deliveries.routing import route
from deliveries.sending import Prepared, Sending
from egress.client import Outcome, OutgoingRequest
from events.models import Event
from subscriptions.models import Subscription
from tenants.ids import time_of
from tenants.scope import system_scope, tenant_scope
from tests.receiver import Answer


def statuses() -> dict[str, str]:
    with system_scope():
        return dict(Delivery.objects.values_list("subscription__name", "status"))


def overwrite(table: str, column: str, pk, value: bytes) -> None:
    with system_scope(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {column} = %s WHERE id = %s", [value, pk])


def test_an_unknown_policy_does_not_lose_what_came_of_the_others(subscribe, happen, deliver, receiver):
    receiver.answer = lambda posted: Answer(500 if posted.headers.get("x-odd") else 204)
    subscribe(name="odd", policy="gone", headers={"X-Odd": "1"})
    subscribe(name="sound")
    happen()
    deliver()
    assert statuses() == {"odd": "failed", "sound": "delivered"}


@pytest.mark.parametrize("column", ["headers", "url"])
def test_a_broken_sealed_value_does_not_hold_up_the_others(subscribe, happen, deliver, receiver, column):
    broken, _ = subscribe(name="broken", headers={"X-A": "b"})
    overwrite("subscriptions_subscription", column, broken.pk, b"\x01\x02k1")
    subscribe(name="sound")
    happen()
    deliver()
    assert statuses() == {"broken": "pending", "sound": "delivered"}


def test_a_broken_signing_secret_does_not_hold_up_the_others(subscribe, happen, deliver):
    broken, _ = subscribe(name="broken")
    with system_scope():
        secret = broken.signing_secrets.values_list("pk", flat=True).get()
    overwrite("subscriptions_signingsecret", "value", secret, b"\x01\x02k1")
    subscribe(name="sound")
    happen()
    deliver()
    assert statuses() == {"broken": "pending", "sound": "delivered"}


def test_what_cannot_be_written_does_not_take_the_others_along(subscribe, happen, deliver, receiver):
    receiver.answer = lambda posted: Answer(204)
    subscription, _ = subscribe(name="sound")
    odd, _ = subscribe(name="odd")
    with system_scope(), connection.cursor() as cursor:  # a database that refuses one row, for a reason of its own
        cursor.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" IF NEW.subscription_id = '{odd.pk}' THEN RAISE 'refused' USING ERRCODE = '22000'; END IF;"
            " RETURN NEW; END $$;"
            "CREATE TRIGGER refuse BEFORE INSERT ON deliveries_attempt FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
    for _ in range(5):
        happen()
    deliver()
    with system_scope():
        assert Delivery.objects.filter(subscription=subscription, status="delivered").count() == 5
        assert Delivery.objects.filter(subscription=odd, status="pending").count() == 5


def test_an_event_that_is_gone_cancels_what_tells_of_it(subscribe, happen, dispatcher, receiver):
    subscribe(name="late")
    happen()
    route()
    with system_scope():
        Event.objects.all().delete()
    dispatcher.drain()
    assert statuses() == {"late": "cancelled"}
    assert receiver.posted == []


def test_a_subscription_that_cannot_be_asked_does_not_stop_routing(subscribe, happen, deliver, receiver):
    subscribe(name="odd", min_severity="weird")
    subscribe(name="sound")
    happen()
    deliver()
    assert statuses() == {"sound": "delivered"}


def test_disabling_by_answer_survives_a_failed_write(subscribe, happen):
    subscription, _ = subscribe()
    happen()
    route()
    with system_scope():
        (claim,) = outbox.claim(10)
        delivery = Delivery.objects.select_related("subscription").get()
    gone = Sending(claim, delivery, delivery.subscription, timezone.now(), outcome=Outcome(status=410))
    with transaction.atomic():
        record([decide(gone)])
        transaction.set_rollback(True)  # the commit fails
    record([decide(gone)])
    with system_scope():
        assert Subscription.objects.get().state == Subscription.State.DISABLED


def test_what_is_due_now_is_said_by_the_database_clock(subscribe, happen, deliver, receiver, monkeypatch):
    subscribe()
    happen()
    ahead = timezone.now() + timedelta(hours=1)
    monkeypatch.setattr(models.timezone, "now", lambda: ahead)
    deliver()
    assert len(receiver.posted) == 1


def test_attempts_are_kept_as_they_were_made(subscribe, happen):
    subscription, _ = subscribe()
    happen()
    route()
    with system_scope():
        (claim,) = outbox.claim(10)
        delivery = Delivery.objects.get()
    odd = Outcome(
        status=None, headers=(("X", "caf\udce9\x00"),), body=b"\x00\xff\\'", body_truncated=True, error="dns",
        detail="NULL, {\"x\"} \\ 'y' \x00", connect_ms=None, total_ms=1.5, address="[::1]:1",
        dns_ms=0.25, tls_ms=None, first_byte_ms=1.25,
    )  # fmt: skip
    request = OutgoingRequest("https://hooks.example.com/", (), b"7 bytes")
    sent = Prepared(request, [("A", "é \\ \" '{},")])
    sending = Sending(claim, delivery, subscription, timezone.now(), prepared=sent, outcome=odd)
    record([decide(sending)])
    with system_scope():
        kept = Attempt.objects.get()
    assert (kept.delivery_id, kept.subscription_id, kept.tenant_id) == (
        delivery.pk,
        subscription.pk,
        delivery.tenant_id,
    )
    assert (kept.number, kept.outcome, kept.signed_at) == (1, "retry", sending.signed_at)
    assert kept.request_headers == [["A", "é \\ \" '{},"]]
    assert kept.response_headers == [["X", "caf\ufffd"]]
    assert (bytes(kept.response_body), kept.response_truncated) == (b"\x00\xff\\'", True)
    assert (kept.status_code, kept.error, kept.detail) == (None, "dns", "NULL, {\"x\"} \\ 'y' ")
    assert (kept.connect_ms, kept.total_ms, kept.address) == (None, 1.5, "[::1]:1")
    assert (kept.dns_ms, kept.tls_ms, kept.first_byte_ms, kept.request_size) == (0.25, None, 1.25, 7)


@pytest.mark.spec("B11")
@pytest.mark.django_db(transaction=True)
def test_answers_that_come_while_the_database_is_lost_are_written_without_being_asked(
    subscribe, happen, receiver, opened
):
    """The dispatcher loses its connection with requests under way, and nobody wakes it afterwards."""
    hold = threading.Event()
    receiver.answer = lambda posted: Answer(204) if hold.wait(20) else Answer(500)
    subscribe(name="slow")
    for _ in range(3):
        happen()
    route()
    dispatcher = Dispatcher()
    dispatcher.wake()
    wait_until(lambda: len(receiver.posted) == 3)
    cut_other_connections()
    happen()
    route()
    dispatcher.wake()  # its claim fails
    wait_until(lambda: len(receiver.posted) == 4 or dispatcher._places.taken != 3, seconds=3)
    hold.set()
    wait_until(lambda: set(statuses().values()) == {"delivered"})
    dispatcher.stop(10)
    dispatcher.close()
    assert set(statuses().values()) == {"delivered"}
    assert len(receiver.posted) == 4
    with system_scope():
        assert not Outbox.objects.exists()


@pytest.mark.spec("B11")
@pytest.mark.django_db(transaction=True)
def test_what_a_process_that_stood_still_was_writing_is_written_when_it_goes_on(
    subscribe, happen, receiver, opened, monkeypatch
):
    """PostgreSQL ended its transaction meanwhile. The receiver has answered, and is not asked again."""
    monkeypatch.setattr(results, "IDLE_WITH_LOCKS", 0.2)
    real, stood = breaker.record, []

    def stand_still(*args):
        if not stood:
            stood.append(True)
            time.sleep(0.8)
        return real(*args)

    monkeypatch.setattr(breaker, "record", stand_still)
    receiver.answer = lambda posted: Answer(500)
    subscribe()
    happen()
    route()
    dispatcher = Dispatcher()
    dispatcher.wake()
    wait_until(lambda: attempts() == 1)
    dispatcher.stop(10)
    dispatcher.close()
    assert stood
    assert (attempts(), len(receiver.posted)) == (1, 1)


def attempts() -> int:
    with system_scope():
        return Attempt.objects.count()


def cut_other_connections() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename = current_user"
        )


def wait_until(done, seconds: float = 20) -> None:
    end = timezone.now() + timedelta(seconds=seconds)
    pause = threading.Event()
    while not done() and timezone.now() < end:
        pause.wait(0.05)


def test_a_subscription_whose_choice_makes_no_sense_does_not_stop_the_routing(subscribe, happen, deliver):
    """Found by the torture: nothing of any tenant was routed any more, as fast as the processor could fail."""
    broken, _ = subscribe(name="broken")
    with system_scope(), connection.cursor() as cursor:
        cursor.execute("UPDATE subscriptions_subscription SET event_types = %s WHERE id = %s", [[None], broken.pk])
    subscribe(name="sound")
    happen()
    deliver()
    assert statuses() == {"sound": "delivered"}


def test_a_challenge_that_does_not_open_takes_nobody_along(subscribe, happen, dispatcher, receiver, cast):
    """Nor a place: there are so many of them for all."""
    asked, _ = subscribe(name="asked", verification="challenge", state="pending")
    with tenant_scope(cast.tenant.pk):
        notice = asked.send_challenge()
    overwrite("subscriptions_notice", "payload", notice.pk, b"\x01\x02k1")
    subscribe(name="sound")
    happen()
    route()
    dispatcher.drain()
    assert statuses() == {"asked": "pending", "sound": "delivered"}
    assert dispatcher._places.taken == 0


@pytest.mark.parametrize("rules", [None, ["5xx"]])
def test_nor_does_what_nobody_can_judge(rules, subscribe, happen, dispatcher, receiver):
    """And it is not sent for ever."""
    receiver.answer = lambda posted: Answer(500 if posted.headers.get("x-odd") else 204)
    odd, _ = subscribe(name="odd", headers={"X-Odd": "1"})
    subscribe(name="sound")
    with system_scope(), connection.cursor() as cursor:
        cursor.execute("UPDATE subscriptions_subscription SET rules = %s WHERE id = %s", [Jsonb(rules), odd.pk])
    happen()
    route()
    dispatcher.drain()
    assert statuses() == {"odd": "failed", "sound": "delivered"}
    assert dispatcher._places.taken == 0
    with system_scope():
        assert Attempt.objects.count() == 2


@pytest.mark.spec("B11")
def test_an_attempt_can_be_written_by_a_worker_whose_clock_is_years_off(subscribe, happen, deliver, monkeypatch):
    """Its id is of the day, of which there is a partition, by the database's clock."""
    subscribe()
    happen()
    monkeypatch.setattr("tenants.ids.uuid7", lambda: uuid.UUID("00000000-0000-7000-8000-000000000001"))
    deliver()
    with system_scope():
        attempt = Attempt.objects.get()
        assert abs(time_of(attempt.pk) - attempt.signed_at) < timedelta(minutes=1)
        assert time_of(attempt.pk) >= attempt.signed_at - timedelta(milliseconds=1)


def test_lanes_are_left_in_the_order_in_which_routing_fills_them(subscribe, happen, dispatcher, receiver, monkeypatch):
    """In another, the two could wait for each other."""
    for number in range(6):
        subscribe(name=f"{number}", mode="ordered")
    happen()
    route()
    left, real = [], lanes.leaving
    monkeypatch.setattr(lanes, "leaving", lambda heads: left.extend(heads) or real(heads))
    together = []
    real_record = results.record
    monkeypatch.setattr(results, "record", lambda batch: together.append(len(batch)) or real_record(batch[::-1]))
    monkeypatch.setattr(dispatch, "FLUSH_SECONDS", 0.3)
    dispatcher.drain()
    assert together == [6]
    ids = [head.subscription_id for head, _ in left if head.claims]
    assert len(ids) == 6
    assert ids == sorted(ids)
