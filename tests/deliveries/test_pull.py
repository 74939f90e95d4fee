"""Polling: what a receiver fetches, in which order, what acknowledging does, and that nothing is passed over."""

import base64
import json
import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from standardwebhooks import Webhook

from deliveries import pull, tasks
from deliveries.models import Attempt, Delivery, Outbox, PullQueue, Replay, of_event
from deliveries.replay import advance
from deliveries.routing import route
from events.models import Event, Inbox
from subscriptions.models import Subscription
from tenants.ids import lowest_uuid7
from tenants.scope import system_scope, tenant_scope
from tests.meanwhile import meanwhile
from tests.subscriptions.test_concurrency import at_once

LIST = "/api/v1/subscriptions/"


@pytest.fixture
def polled(cast):
    """polled(**fields) → (a subscription that is polled, its secret)."""

    def make(**fields):
        fields = {"name": "Behind a wall", "url": "", "event_types": ["*"], "delivery": "pull", **fields}
        with tenant_scope(cast.tenant.pk):
            return Subscription.objects.create_pending(cast.tenant, cast.owner, **fields)

    return make


@pytest.fixture
def poll(api):
    """poll(subscription, after=…) → the answer, as the receiver reads it."""
    client = api("member")

    def ask(subscription, **query) -> dict:
        answer = client.get(f"{LIST}{subscription.pk}/poll/", query)
        assert answer.status_code == 200, answer.content
        return answer.json()

    return ask


@pytest.fixture
def events(happen):
    """events(3) → three events of the subscription's tenant, routed."""

    def make(count=1, **fields):
        made = [happen(**fields) for _ in range(count)]
        route()
        return [str(event.pk) for event in made]

    return make


def ids(answer) -> list[str]:
    return [message["id"] for message in answer["messages"]]


def now(subscription) -> Subscription:
    with system_scope():
        return Subscription.objects.get(pk=subscription.pk)


def statuses() -> list[str]:
    with system_scope():
        return list(Delivery.objects.order_by("id").values_list("status", flat=True))


# What is answered ---------------------------------------------------------------------------------


def test_it_is_idle_at_once_and_nothing_is_posted(polled, events, dispatcher):
    subscription, _ = polled()
    assert subscription.state == "idle"
    events()
    assert dispatcher.drain() == 0
    with system_scope():
        assert PullQueue.objects.count() == 1
        assert not Outbox.objects.exists()
        assert not Attempt.objects.exists()


def test_a_message_is_what_would_have_been_posted(polled, events, poll):
    subscription, secret = polled()
    (event,) = events(body=b'{"n": 1.0}', event_type="user.created")
    (message,) = poll(subscription)["messages"]
    assert (message["id"], message["type"], message["encoding"]) == (event, "user.created", "text")
    assert message["headers"]["Content-Type"] == "application/json"
    Webhook(secret).verify(message["body"], message["headers"])
    assert '"data":{"n": 1.0}' in message["body"]


def test_bytes_that_are_no_text_come_as_base64(polled, events, poll):
    subscription, _ = polled(shape="raw")
    events(body=b"\xff\x00\xfe", content_type="application/octet-stream")
    (message,) = poll(subscription)["messages"]
    assert message["encoding"] == "base64"
    assert base64.b64decode(message["body"]) == b"\xff\x00\xfe"
    assert message["headers"]["X-Portal-Event-Type"] == "user.created"


def test_only_what_it_asked_for_waits(polled, events, poll):
    subscription, _ = polled(event_types=["order.*"])
    events(event_type="user.created")
    (wanted,) = events(event_type="order.paid")
    assert ids(poll(subscription)) == [wanted]


def test_a_test_can_be_polled(polled, poll, cast):
    subscription, _ = polled()
    with tenant_scope(cast.tenant.pk):
        subscription.send_test()
    route()
    (message,) = poll(subscription)["messages"]
    assert message["type"] == "test.webhook-event"
    assert json.loads(message["body"])["data"] == {"company": "Acme"}


def test_nothing_to_fetch(polled, poll):
    subscription, _ = polled()
    assert poll(subscription) == {"messages": [], "next": "0", "done": True}
    assert now(subscription).polled_at is not None


# Order, cursors and acknowledging -----------------------------------------------------------------


def test_it_goes_through_all_in_order(polled, events, poll):
    subscription, _ = polled()
    made = events(5)
    first = poll(subscription, limit=2)
    second = poll(subscription, limit=2, after=first["next"])
    third = poll(subscription, limit=2, after=second["next"])
    assert ids(first) + ids(second) + ids(third) == made
    assert [first["done"], second["done"], third["done"]] == [False, False, True]


def test_nothing_is_acknowledged_by_being_answered(polled, events, poll):
    subscription, _ = polled()
    made = events(2)
    assert ids(poll(subscription)) == ids(poll(subscription)) == made
    assert statuses() == ["pending", "pending"]


def test_what_the_cursor_covers_is_delivered(polled, events, poll, api):
    subscription, _ = polled()
    events(3)
    answer = poll(subscription)
    poll(subscription, after=answer["messages"][1]["cursor"])
    assert statuses() == ["delivered", "delivered", "pending"]
    with system_scope():
        done = Delivery.objects.filter(status="delivered")
        assert all(one.completed_at and one.next_attempt_at is None and one.attempt_count == 0 for one in done)
        assert PullQueue.objects.count() == 1
    assert api("viewer").get(f"{LIST}{subscription.pk}/").json()["acknowledged_cursor"] == "2"


def test_without_a_cursor_it_goes_on_after_what_was_acknowledged(polled, events, poll):
    subscription, _ = polled()
    made = events(3)
    answer = poll(subscription, limit=2)
    poll(subscription, after=answer["next"], limit=1)
    assert ids(poll(subscription)) == made[2:]


def test_a_lost_answer_can_be_asked_for_again(polled, events, poll):
    subscription, _ = polled()
    made = events(4)
    first = poll(subscription, limit=2)
    lost = poll(subscription, limit=1, after=first["next"])
    again = poll(subscription, limit=1, after=first["next"])
    assert ids(lost) == ids(again) == made[2:3]
    assert lost["next"] == again["next"]


def test_an_old_cursor_takes_nothing_back(polled, events, poll):
    subscription, _ = polled()
    made = events(3)
    answer = poll(subscription)
    poll(subscription, after=answer["messages"][1]["cursor"])
    assert ids(poll(subscription, after=answer["messages"][0]["cursor"])) == made[2:]
    assert ids(poll(subscription, after="0")) == made[2:]


def test_what_is_new_comes_after_what_was_handed_out(polled, events, poll, happen):
    subscription, _ = polled()
    made = events(2)
    first = poll(subscription)
    made += events(1)
    again = poll(subscription)
    assert ids(again) == made
    assert [one["cursor"] for one in again["messages"]][:2] == [one["cursor"] for one in first["messages"]]


@pytest.mark.parametrize("after", ["4", "999999999999999999"])
def test_a_cursor_that_nobody_was_given_is_refused(polled, events, poll, api, after):
    subscription, _ = polled()
    events(4)
    poll(subscription, limit=3)
    answer = api("member").get(f"{LIST}{subscription.pk}/poll/", {"after": after})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "after"
    assert statuses() == ["pending"] * 4


@pytest.mark.parametrize(
    "query",
    [
        {"after": "-1"},
        {"after": "x"},
        {"after": "1" * 30},
        {"after": "1\n"},
        {"limit": 0},
        {"limit": 501},
        {"aftr": "1"},
    ],
)
def test_what_is_not_understood_is_refused(polled, api, query):
    subscription, _ = polled()
    assert api("member").get(f"{LIST}{subscription.pk}/poll/", query).status_code == 400


def test_an_answer_is_bounded_in_bytes_and_never_empty_for_it(polled, events, poll, monkeypatch):
    monkeypatch.setattr("deliveries.pull.MAX_BYTES", 100)
    subscription, _ = polled()
    made = events(3, body=b'{"long": "%s"}' % (b"x" * 600))
    got, after = [], {}
    for _ in made:
        answer = poll(subscription, **after)
        assert len(answer["messages"]) == 1
        got += ids(answer)
        after = {"after": answer["next"]}
    assert got == made
    assert answer["done"]


# Late commits -------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_what_commits_late_is_not_passed_over(polled, cast, poll):
    """A delivery has a lower id, as a replay's may, and commits after a poll has acknowledged a higher one."""
    subscription, _ = polled()
    late, early = (make_event(cast.tenant, number) for number in range(2))
    routed, may_commit = threading.Event(), threading.Event()

    def keep_slowly():
        try:
            with system_scope():
                Delivery.objects.enqueue_all([of_event(late, subscription)])
                routed.set()
                may_commit.wait(timeout=20)
        finally:
            connection.close()

    slow = threading.Thread(target=keep_slowly)
    slow.start()
    assert routed.wait(timeout=20)
    with system_scope():
        Inbox.objects.create(event=early, tenant=cast.tenant)
    route()
    first = poll(subscription)
    second = poll(subscription, after=first["next"])
    may_commit.set()
    slow.join(timeout=20)
    third = poll(subscription, after=second["next"])
    assert ids(first) == [str(early.pk)]
    assert ids(second) == []
    assert ids(third) == [str(late.pk)]
    with system_scope():
        by_event = dict(Delivery.objects.values_list("event_id", "id"))
    assert by_event[late.pk] < by_event[early.pk], "else the test shows nothing"


def make_event(tenant, number) -> Event:
    with system_scope():
        return Event.objects.create(
            tenant=tenant, type="user.created", body=b'{"n": %d}' % number, content_type="application/json"
        )


def test_what_comes_late_gets_a_later_place_than_what_was_handed_out(polled, events, poll, cast):
    subscription, _ = polled()
    late, early = events(2)
    put_back = take_from_queue(late)
    poll(subscription)
    put_back()
    answer = poll(subscription)
    assert [(one["id"], one["cursor"]) for one in answer["messages"]] == [(early, "1"), (late, "2")]
    poll(subscription, after="1")
    assert ids(poll(subscription)) == [late]


@pytest.mark.django_db(transaction=True)
def test_a_poll_waits_for_the_one_before_to_give_its_places(polled, events, cast):
    """Both would give the first place away, and acknowledging the one would take the other's message along, unread."""
    subscription, _ = polled()
    late, early = events(2)
    put_back = take_from_queue(late)

    def first():
        pull.poll(subscription.pk, None, 10)
        thread = threading.Thread(target=lambda: (put_back(), connection.close()))
        thread.start()
        thread.join(timeout=20)

    def second():
        with tenant_scope(cast.tenant.pk):
            return pull.poll(subscription.pk, None, 10)

    answer = meanwhile(cast.tenant.pk, first, second)
    assert [(one.delivery.message_id, one.cursor) for one in answer.messages] == [(early, 1), (late, 2)]


def take_from_queue(event_id: str):
    """As if the transaction that routed it were still open; calling what is returned commits it."""
    with system_scope():
        row = PullQueue.objects.get(delivery__event_id=event_id)
        kept = {"delivery_id": row.delivery_id, "tenant_id": row.tenant_id, "subscription_id": row.subscription_id}
        row.delete()

    def put_back():
        with system_scope():
            PullQueue.objects.create(**kept)

    return put_back


@pytest.mark.django_db(transaction=True)
def test_two_polls_at_once_give_every_message_one_place(polled, happen, cast):
    subscription, _ = polled()
    for _ in range(20):
        happen()
    route()

    def ask():
        with tenant_scope(cast.tenant.pk):
            return [(one.cursor, one.delivery.pk) for one in pull.poll(subscription.pk, None, 15).messages]

    answers = at_once(*[ask] * 4)
    assert all(answer == answers[0] for answer in answers)
    assert [cursor for cursor, _ in answers[0]] == list(range(1, 16))


# What happens otherwise ---------------------------------------------------------------------------


def test_what_was_cancelled_is_not_answered(polled, events, poll, api):
    subscription, _ = polled()
    made = events(2)
    with system_scope():
        first = Delivery.objects.get(event_id=made[0])
    assert api("member").post(f"/api/v1/deliveries/{first.pk}/cancel/").status_code == 200
    with system_scope():
        assert PullQueue.objects.count() == 1
    assert ids(poll(subscription)) == made[1:]


def test_all_that_waits_can_be_cancelled(polled, events, poll, api):
    subscription, _ = polled()
    events(3)
    body = {"subscription": str(subscription.pk)}
    assert api("member").post("/api/v1/deliveries/cancel-pending/count/", body).json()["count"] == 3
    assert api("member").post("/api/v1/deliveries/cancel-pending/", body).json() == {"cancelled": 3, "left": 0}
    assert ids(poll(subscription)) == []
    assert statuses() == ["cancelled"] * 3


def test_while_it_is_disabled_what_waits_is_kept(polled, events, poll, api, cast):
    subscription, _ = polled()
    made = events(1)
    with tenant_scope(cast.tenant.pk):
        subscription.disable("By a test.")
    assert api("member").get(f"{LIST}{subscription.pk}/poll/").status_code == 409
    with tenant_scope(cast.tenant.pk):
        assert subscription.enable()
        assert subscription.state == "idle"
    assert ids(poll(subscription)) == made


def test_an_event_that_is_no_longer_kept_stops_nobody(polled, events, poll):
    subscription, _ = polled()
    made = events(2)
    with system_scope():
        Event.objects.filter(pk=made[0]).delete()
    answer = poll(subscription)
    assert (ids(answer), answer["done"]) == (made[1:], True)
    assert statuses() == ["cancelled", "pending"]


def test_a_message_that_cannot_be_made_stops_nobody(polled, events, poll):
    subscription, _ = polled()
    made = events(2)
    with system_scope():
        Delivery.objects.filter(event_id=made[0]).update(shape="no such shape")
    assert ids(poll(subscription)) == made[1:]
    assert statuses() == ["failed", "pending"]


def test_a_replay_waits_to_be_polled_too(polled, events, poll, api):
    subscription, _ = polled()
    made = events(2)
    poll(subscription, after=poll(subscription)["next"])
    body = {
        "subscription": str(subscription.pk),
        "kind": "events",
        "since": f"{timezone.now() - timedelta(hours=1):%FT%TZ}",
    }
    assert api("member").post("/api/v1/replays/", body).status_code == 201
    while advance() is not None:
        pass
    assert ids(poll(subscription)) == made
    with system_scope():
        assert Replay.objects.get().state == "finished"


def test_a_replay_leaves_what_its_receiver_has_not_fetched_in_place(polled, events, monkeypatch, cast):
    monkeypatch.setattr("deliveries.replay.BATCH", 2)
    monkeypatch.setattr("deliveries.replay.MAX_WAITING", 3)
    subscription, _ = polled()
    made = events(6)
    with tenant_scope(cast.tenant.pk):
        pull.poll(subscription.pk, pull.poll(subscription.pk, None, 10).cursor, 10)
        Replay(
            tenant=cast.tenant, subscription=subscription, kind="events", since=timezone.now() - timedelta(hours=1),
            before=lowest_uuid7(timezone.now() + timedelta(hours=1)), asked_by="a test",
        ).save(force_insert=True)  # fmt: skip
    while advance() is not None:
        pass
    with system_scope():
        assert PullQueue.objects.count() < len(made)
        assert Replay.objects.get().state == "running"


def test_what_is_older_than_it_is_kept_leaves_the_queue(polled, events, poll, cast):
    subscription, _ = polled()
    made = events(1)
    with system_scope():
        old = Delivery.objects.get(event_id=made[0])
        PullQueue.objects.create(
            delivery_id=lowest_uuid7(timezone.now() - timedelta(days=8)), tenant=cast.tenant, subscription=subscription
        )
        cast.tenant.retention_days = 7
        cast.tenant.save()
    tasks.forget_polled()
    with system_scope():
        assert [row.delivery_id for row in PullQueue.objects.all()] == [old.pk]


def test_what_waited_for_a_deleted_one_is_cancelled(polled, events, cast):
    subscription, _ = polled()
    events(2)
    with tenant_scope(cast.tenant.pk):
        subscription.delete()
    tasks.forget_polled()
    assert statuses() == ["cancelled"] * 2
    with system_scope():
        assert not PullQueue.objects.exists()


# Who may ------------------------------------------------------------------------------------------


def test_a_viewers_key_cannot_poll(polled, api):
    subscription, _ = polled()
    assert api("viewer").get(f"{LIST}{subscription.pk}/poll/").status_code == 403


def test_a_browser_cannot_be_made_to_acknowledge(polled, events, poll, browser, cast):
    subscription, _ = polled()
    events(1)
    cursor = poll(subscription)["next"]
    answer = browser(cast.owner).get(f"{LIST}{subscription.pk}/poll/", {"after": cursor})
    assert answer.status_code == 403
    assert statuses() == ["pending"]


def test_to_a_stranger_it_is_not_there(polled, events, stranger_api):
    subscription, _ = polled()
    events(1)
    assert stranger_api.get(f"{LIST}{subscription.pk}/poll/").status_code == 404


def test_what_is_posted_cannot_be_polled(subscribe, api):
    subscription, _ = subscribe()
    assert api("member").get(f"{LIST}{subscription.pk}/poll/").status_code == 409


# Made and changed ---------------------------------------------------------------------------------


def test_it_is_made_without_a_url(api):
    answer = api("admin").post(LIST, {"name": "Wall", "delivery": "pull"})
    assert answer.status_code == 201
    made = answer.json()
    assert (made["state"], made["delivery"], made["acknowledged_cursor"], made["polled_at"]) == (
        "idle",
        "pull",
        "0",
        None,
    )
    assert made["secret"]


@pytest.mark.parametrize(
    ("field", "value"), [("url", "https://a.example/"), ("headers", {"X-A": "b"}), ("verification", "challenge")]
)
def test_what_is_only_posted_is_refused(api, field, value):
    answer = api("admin").post(LIST, {"name": "Wall", "delivery": "pull", field: value})
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_what_is_posted_needs_a_url(api):
    answer = api("admin").post(LIST, {"name": "Wall"})
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == ["url"]


def test_the_way_is_chosen_once(api, polled, subscribe):
    subscription, _ = polled()
    path = f"{LIST}{subscription.pk}/"
    assert api("admin").patch(path, {"delivery": "push"}).status_code == 400
    assert api("admin").patch(path, {"url": "https://a.example/"}).status_code == 400
    assert api("admin").patch(path, {"name": "Another", "event_types": ["a.*"]}).status_code == 200
    posted, _ = subscribe()
    assert api("admin").patch(f"{LIST}{posted.pk}/", {"delivery": "pull"}).status_code == 400


# The page -----------------------------------------------------------------------------------------


def test_the_page_says_how_to_poll_and_what_waits(polled, events, browser, cast, settings):
    settings.PORTAL_URL = "https://portal.example"
    subscription, _ = polled()
    events(3)
    page = browser(cast.viewer).get(f"/subscriptions/{subscription.pk}/").content.decode()
    part = f"/subscriptions/{subscription.pk}/pull/"
    assert part in page
    assert "Delivery policy" not in page
    shown = browser(cast.viewer).get(part).content.decode()
    assert f"https://portal.example{LIST}{subscription.pk}/poll/?limit=100" in shown
    assert "3 messages not acknowledged" in shown
    assert "never" in shown
    assert "curl" not in browser(cast.viewer).get(part, {"brief": 1}).content.decode()


def test_the_pages_of_its_delivery_do_not_speak_of_attempts_to_come(polled, events, browser, cast):
    polled()
    events(1)
    with system_scope():
        delivery = Delivery.objects.get()
    assert "waits until its receiver polls" in browser(cast.viewer).get(f"/deliveries/{delivery.pk}/").content.decode()
    assert "when polled" in browser(cast.viewer).get("/deliveries/").content.decode()


def test_what_is_posted_has_no_such_part(subscribe, browser, cast):
    subscription, _ = subscribe()
    assert browser(cast.viewer).get(f"/subscriptions/{subscription.pk}/pull/").status_code == 404
