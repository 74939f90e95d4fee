"""What leaves, what is written about it, and what a lease protects."""

import asyncio
import json
import threading
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone
from standardwebhooks import Webhook

from deliveries import outbox, sending
from deliveries.dispatch import Dispatcher
from deliveries.models import Attempt, Delivery, Outbox
from deliveries.results import decide, record
from deliveries.routing import route
from deliveries.sending import MASK, Sending
from egress.client import Outcome
from subscriptions.models import Failing, Subscription
from tenants.scope import system_scope
from tests.receiver import Answer


@pytest.fixture
def only():
    """The one delivery there is, fresh from the database."""

    def get() -> Delivery:
        with system_scope():
            return Delivery.objects.select_related("subscription").get()

    return get


def attempts() -> list[Attempt]:
    with system_scope():
        return list(Attempt.objects.order_by("id"))


def make_due() -> None:
    """As if the wait were over, and the latest failures so long ago as it takes."""
    with system_scope():
        Outbox.objects.update(due_at=timezone.now() - timedelta(seconds=1))
        Failing.objects.update(recent=[])


@pytest.mark.spec("B4")
def test_an_event_arrives_signed(subscribe, happen, deliver, receiver, only):
    _, secret = subscribe()
    event = happen(body=b'{"n": 1.0}')
    assert deliver() == 1
    (posted,) = receiver.posted
    envelope = Webhook(secret).verify(posted.body, posted.headers)
    assert posted.headers["webhook-id"] == envelope["id"] == str(event.pk)
    assert b'"data":{"n": 1.0}' in posted.body
    assert only().status == Delivery.Status.DELIVERED
    with system_scope():
        assert not Outbox.objects.exists()


def test_the_raw_shape_arrives_byte_for_byte(subscribe, happen, deliver, receiver):
    subscribe(shape="raw")
    body = b'{ "a":1e400,\t"a": "\xc3\xa9" }\n'
    happen(body=body, content_type="application/vnd.acme+json")
    deliver()
    assert receiver.posted[0].body == body
    assert receiver.posted[0].headers["content-type"] == "application/vnd.acme+json"


@pytest.mark.spec("S4")
def test_x_signature_covers_the_complete_body_with_its_timestamp(subscribe, happen, deliver, receiver):
    import hashlib
    import hmac

    _, secret = subscribe(signing="timestamped_body", shape="timestamped")
    happen(body=b'{"k": [1]}')
    deliver()
    (posted,) = receiver.posted
    assert hmac.new(secret.encode(), posted.body, hashlib.sha256).hexdigest() == posted.headers["x-signature"]
    document = json.loads(posted.body)
    assert document["payload"] == {"k": [1]}
    assert str(document["timestamp"]) == posted.headers["x-timestamp"]


@pytest.mark.spec("S6")
def test_during_a_rotation_both_secrets_sign(subscribe, happen, deliver, receiver):
    subscription, old = subscribe()
    with system_scope():
        new, _ = subscription.rotate_secret(timedelta(hours=1))
    happen()
    deliver()
    (posted,) = receiver.posted
    assert old != new
    for secret in (old, new):
        Webhook(secret).verify(posted.body, posted.headers)


@pytest.mark.spec("T3")
def test_custom_headers_are_sent_and_masked_in_the_record(subscribe, happen, deliver, receiver):
    subscribe(headers={"X-Api-Key": "hunter2-hunter2"})
    happen()
    deliver()
    assert receiver.posted[0].headers["x-api-key"] == "hunter2-hunter2"
    (attempt,) = attempts()
    assert ["X-Api-Key", MASK] in attempt.request_headers
    assert "hunter2" not in json.dumps(attempt.request_headers)


def test_an_attempt_keeps_the_answer(subscribe, happen, deliver, receiver):
    receiver.answer = Answer(200, b"x" * 20_000, {"X-Trace": "t1"})
    subscribe()
    happen()
    deliver()
    (attempt,) = attempts()
    assert (attempt.number, attempt.status_code, attempt.outcome) == (1, 200, "delivered")
    assert bytes(attempt.response_body) == b"x" * 16_384
    assert attempt.response_truncated
    assert ["X-Trace", "t1"] in attempt.response_headers
    assert attempt.total_ms >= attempt.connect_ms > 0
    assert attempt.request_size == len(receiver.posted[0].body)
    assert [label for label, _ in attempt.timing] == ["Name", "TCP", "Answer", "Body"]
    assert sum(part for _, part in attempt.timing) == pytest.approx(attempt.total_ms)
    assert attempt.address.startswith("127.0.0.1:")


def test_what_postgresql_cannot_store_is_kept_as_near_as_it_can(subscribe, happen, deliver, receiver, only):
    receiver.answer = Answer(200, b"\x00\xff", {"X-Odd": "caf\xe9"})
    subscribe()
    happen()
    deliver()
    assert only().status == Delivery.Status.DELIVERED
    assert bytes(attempts()[0].response_body) == b"\x00\xff"


@pytest.mark.spec("S5")
def test_a_failure_is_put_off_and_tried_again_with_the_same_id_and_body(subscribe, happen, deliver, receiver, only):
    receiver.answer = Answer(500)
    subscribe(policy="exponential")
    happen()
    deliver()
    delivery = only()
    assert delivery.status == Delivery.Status.PENDING
    wait = (delivery.next_attempt_at - timezone.now()).total_seconds()
    assert 50 < wait <= 60
    receiver.answer = Answer(200)
    make_due()
    deliver()
    first, second = receiver.posted
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert [a.number for a in attempts()] == [1, 2]
    assert only().status == Delivery.Status.DELIVERED


@pytest.mark.spec("S5")
def test_after_six_attempts_it_is_dead(subscribe, happen, deliver, receiver, only):
    receiver.answer = Answer(503)
    subscribe(policy="exponential")
    happen()
    for _ in range(8):
        deliver()
        make_due()
    assert len(receiver.posted) == 6
    assert only().status == Delivery.Status.DEAD


@pytest.mark.spec("T7")
@pytest.mark.parametrize(("status", "state"), [(500, "idle"), (404, "idle"), (401, "disabled"), (403, "disabled")])
def test_post_once(subscribe, happen, deliver, receiver, only, status, state):
    receiver.answer = Answer(status)
    subscribe(policy="post_once")
    happen()
    deliver()
    make_due()
    deliver()
    assert len(receiver.posted) == 1
    assert only().status == Delivery.Status.FAILED
    assert only().subscription.state == state


@pytest.mark.parametrize("policy", ["standard", "exponential", "post_once"])
def test_410_disables_the_subscription(subscribe, happen, deliver, receiver, only, policy):
    receiver.answer = Answer(410)
    subscribe(policy=policy)
    happen()
    deliver()
    subscription = only().subscription
    assert subscription.state == Subscription.State.DISABLED
    assert "410" in subscription.state_reason


def test_what_waits_for_a_subscription_that_was_disabled_is_cancelled(subscribe, happen, dispatcher, receiver, only):
    subscription, _ = subscribe()
    happen()
    route()
    with system_scope():
        subscription.disable("Switched off by a test.")
    dispatcher.drain()
    assert receiver.posted == []
    assert only().status == Delivery.Status.CANCELLED
    with system_scope():
        assert not Outbox.objects.exists()


def test_a_private_address_is_not_connected_to(subscribe, happen, deliver, receiver, settings, only):
    settings.EGRESS_ALLOW = []
    subscribe()
    happen()
    deliver()
    assert receiver.posted == []
    assert attempts()[0].error == "refused"
    assert only().status == Delivery.Status.PENDING


def test_one_that_cannot_be_signed_does_not_hold_up_the_others(subscribe, happen, deliver, receiver):
    broken, _ = subscribe(name="broken")
    with system_scope(), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE subscriptions_signingsecret SET value = %s WHERE subscription_id = %s",
            [b"\x01\x02k1" + bytes(40), broken.pk],
        )
    subscribe(name="sound")
    happen()
    deliver()
    assert len(receiver.posted) == 1
    assert sorted(a.error for a in attempts()) == ["", "unsendable"]


def test_a_claim_leases_the_row_and_counts_the_attempt(subscribe, happen):
    subscribe()
    happen()
    route()
    with system_scope():
        (claim,) = outbox.claim(10)
        assert claim.attempt == 1
        assert outbox.claim(10) == []
        row = Outbox.objects.get()
        assert row.lease_token == claim.token
        assert row.due_at > timezone.now() + outbox.LEASE - timedelta(seconds=10)


@pytest.mark.spec("B11")
def test_a_worker_that_wakes_after_its_lease_changes_nothing(subscribe, happen, only):
    subscribe()
    happen()
    route()
    with system_scope():
        (stalled,) = outbox.claim(10)
        make_due()
        (other,) = outbox.claim(10)
        assert other.attempt == 2
        delivery = Delivery.objects.select_related("subscription").get()
    late = Sending(stalled, delivery, delivery.subscription, timezone.now(), outcome=Outcome(status=200))
    record([decide(late)])
    assert only().status == Delivery.Status.PENDING
    with system_scope():
        assert Outbox.objects.get().lease_token == other.token
    assert [a.outcome for a in attempts()] == [Attempt.LATE]


@pytest.mark.spec("B11")
def test_what_a_dead_worker_had_claimed_is_sent_by_the_next(subscribe, happen, deliver, receiver):
    subscribe()
    happen()
    route()
    with system_scope():
        outbox.claim(10)
    assert deliver() == 0
    make_due()
    assert deliver() == 1
    assert len(receiver.posted) == 1


def test_a_delivery_that_is_gone_leaves_the_outbox(subscribe, happen, dispatcher):
    subscribe()
    happen()
    route()
    with system_scope():
        Delivery.objects.all().delete()
    dispatcher.drain()
    with system_scope():
        assert not Outbox.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_woken_dispatcher_sends_in_its_own_thread(subscribe, happen, receiver, opened, only):
    subscribe()
    for _ in range(30):
        happen()
    route()
    dispatcher = Dispatcher()
    dispatcher.wake()
    deadline = timezone.now() + timedelta(seconds=20)
    while len(receiver.posted) < 30 and timezone.now() < deadline:
        dispatcher.wake()
    dispatcher.stop(10)
    dispatcher.close()
    assert len(receiver.posted) == len({p.headers["webhook-id"] for p in receiver.posted}) == 30
    with system_scope():
        assert Delivery.objects.filter(status="delivered").count() == 30


@pytest.mark.spec("B11")
@pytest.mark.django_db(transaction=True)
def test_what_a_stopping_dispatcher_was_just_claiming_is_written_too(
    subscribe, happen, receiver, opened, only, monkeypatch
):
    """Found by the torture: else it is sent once more when its lease has run out."""
    real, asked = Dispatcher._claim, threading.Event()

    async def slowly(self, *given):
        asked.set()
        while not self._stopping:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)  # all that is woken by the stop is through with it
        return await real(self, *given)

    monkeypatch.setattr(Dispatcher, "_claim", slowly)
    subscribe()
    happen()
    route()
    dispatcher = Dispatcher()
    dispatcher.wake()
    assert asked.wait(20)
    dispatcher.stop(20)
    assert len(receiver.posted) == 1
    assert only().status == Delivery.Status.DELIVERED


def test_an_unknown_delivery_in_the_outbox_is_dropped(cast, subscribe, dispatcher):
    subscription, _ = subscribe()
    with system_scope():
        Outbox.objects.create(
            delivery_id=uuid.uuid4(), tenant=cast.tenant, subscription=subscription, due_at=timezone.now()
        )
    dispatcher.drain()
    with system_scope():
        assert not Outbox.objects.exists()


@pytest.mark.spec("T1")
@pytest.mark.parametrize(
    "url", ["http://no-such-host.internal:9/hook", "https://localhost:1/hook?key=hunter2", "http://10.1.2.3:8080/x"]
)
def test_why_it_failed_does_not_tell_where_it_went(subscribe, happen, deliver, url):
    subscribe(url=url)
    happen()
    deliver()
    (attempt,) = attempts()
    assert attempt.error
    for part in ("no-such-host", "10.1.2.3", "hunter2", "8080"):
        assert part not in attempt.detail


def test_it_is_signed_by_the_databases_clock(subscribe, happen, deliver, receiver, monkeypatch):
    """Found by the torture: a worker whose clock was wrong by minutes signed what every receiver refuses."""

    class Wrong(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2001, 1, 1, tzinfo=tz)

    monkeypatch.setattr(sending, "datetime", Wrong)
    subscribe()
    happen()
    deliver()
    assert int(receiver.posted[0].headers["webhook-timestamp"]) > datetime(2020, 1, 1, tzinfo=UTC).timestamp()
