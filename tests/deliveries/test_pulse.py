"""The operators' page: what waits, what passes, who works, who takes how much; in bounded time."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from deliveries import pulse
from deliveries.heartbeats import Heartbeat
from deliveries.models import Attempt, Lane, Outbox, Replay
from events.partitions import ensure_partitions
from events.search import TooSlow
from tenants.ids import lowest_uuid7
from tenants.scope import current_scope, system_scope
from tests.receiver import Answer

PAGE, API = "/operators/pulse/", "/api/v1/operators/pulse/"


def taken():
    with system_scope():
        return pulse.take()


def queue(name: str):
    return next(one for one in taken().queues if one.name == name)


def test_an_empty_portal_has_nothing_waiting(cast):
    found = taken()
    assert [(one.name, one.count, one.oldest) for one in found.queues] == [
        ("inbox", 0, None), ("undecided", 0, None), ("bundles", 0, None), ("outbox", 0, None), ("lanes", 0, None),
        ("polled", 0, None), ("replays", 0, None),
    ]  # fmt: skip
    assert sum(found.events.values) == sum(found.attempts.values) == 0
    assert found.backlog.rows == found.recent.rows == []


def test_the_inbox_s_oldest_is_as_old_as_its_event(cast, happen):
    event = happen()
    happen()
    found = queue("inbox")
    assert (found.count, found.due, found.is_exact) == (2, 2, True)
    assert found.oldest == event.received_at


def test_of_the_outbox_it_says_how_many_are_due(cast, subscribe, happen, deliver, receiver):
    receiver.answer = Answer(500)
    subscribe()
    for _ in range(3):
        happen()
    deliver()
    with system_scope():
        first = Outbox.objects.order_by("pk").first()
        Outbox.objects.filter(pk=first.pk).update(due_at=timezone.now() - timedelta(minutes=5))
    found = queue("outbox")
    assert (found.count, found.due) == (3, 1)
    assert found.oldest < timezone.now() - timedelta(minutes=4)


def test_lines_are_as_old_as_the_first_of_them_is_due(cast, subscribe, happen, deliver, receiver, browser):
    receiver.answer = Answer(500)
    subscribe(name="line", mode="ordered")
    subscribe(name="other", mode="ordered", url=receiver.url + "/other")
    for _ in range(3):
        happen()
    deliver()
    with system_scope():
        Lane.objects.filter(subscription__name="line").update(due_at=timezone.now() - timedelta(minutes=5))
    found = queue("lanes")
    assert (found.count, found.due) == (2, 1)
    assert found.oldest < timezone.now() - timedelta(minutes=4)
    assert (queue("outbox").count, queue("outbox").oldest) == (6, None)


def test_replays_that_ended_do_not_wait(cast, subscribe):
    subscription, _ = subscribe()
    with system_scope():
        for state in ("running", "finished", "stopped"):
            Replay.objects.create(
                tenant=cast.tenant, subscription=subscription, kind="events", state=state, asked_by="x", before=uuid4()
            )
    assert queue("replays").count == 1


def test_a_queue_beyond_counting_is_at_least_so_long(cast, happen, monkeypatch):
    monkeypatch.setattr(pulse, "MAX_COUNTED", 2)
    for _ in range(4):
        happen()
    found = queue("inbox")
    assert (found.count, found.is_exact) == (2, False)


def attempt(tenant, ago: timedelta) -> None:
    moment = timezone.now() - ago
    ensure_partitions(moment, ahead=0)
    Attempt.objects.create(
        id=UUID(int=lowest_uuid7(moment).int + uuid4().int % 2**64), tenant=tenant, delivery_id=uuid4(),
        subscription_id=uuid4(), number=1, signed_at=moment, outcome="retry", total_ms=1,
    )  # fmt: skip


def test_each_minute_of_the_last_hour_has_its_figure(cast, happen):
    with system_scope():
        for minutes in (0, 3, 3, 59, 61):
            attempt(cast.tenant, timedelta(minutes=minutes))
    happen()
    found = taken()
    assert sum(found.events.values) == 1
    # A minute may have begun since: told by distance from the end, give or take that one.
    places = [len(found.attempts.values) - place for place, count in enumerate(found.attempts.values) if count]
    assert len(found.attempts.values) == len(found.starts) == 60
    assert sum(found.attempts.values) in (3, 4)
    assert found.attempts.values[-4] == 2 or found.attempts.values[-5] == 2
    assert places[-1] in (1, 2)


def test_where_a_whole_minute_is_too_many_a_sample_is_taken(cast, monkeypatch):
    real, now = pulse._counts, timezone.now().replace(second=30)

    def counts(model, starts, length):
        if length > timedelta(seconds=pulse.SAMPLED_SECONDS):
            raise TooSlow
        return real(model, starts, length)

    monkeypatch.setattr(pulse, "_counts", counts)
    with system_scope():
        start = now.replace(second=0, microsecond=0)
        for seconds in (0.5, 1.5, 10):
            attempt(cast.tenant, timezone.now() - (start + timedelta(seconds=seconds)))
        found = pulse._per_minute(Attempt, pulse._starts(now))
    assert found.is_estimate
    assert found.values[-1] == 2 * 30


def test_tenants_stand_in_the_order_of_their_share(cast):
    with system_scope():
        for tenant, count in ((cast.tenant, 1), (cast.other_tenant, 3)):
            for _ in range(count):
                attempt(tenant, timedelta())
                Outbox.objects.create(
                    delivery_id=uuid4(), tenant=tenant, subscription_id=uuid4(), due_at=timezone.now()
                )
    for shares in (taken().recent, taken().backlog):
        assert [(one.name, one.count, one.share) for one in shares.rows] == [("Globex", 3, 0.75), ("Acme", 1, 0.25)]
        assert (shares.looked, shares.is_sample) == (4, False)


def test_shares_are_of_so_many_rows_at_most(cast, monkeypatch):
    monkeypatch.setattr(pulse, "MAX_SHARED", 2)
    with system_scope():
        for _ in range(4):
            attempt(cast.tenant, timedelta())
    assert (taken().recent.looked, taken().recent.is_sample) == (2, True)


def test_what_takes_too_long_is_left_out_and_the_page_says_so(cast, browser, monkeypatch):
    monkeypatch.setattr(pulse, "PATIENCE", 1)
    monkeypatch.setattr(pulse, "_count", lambda cursor, *_: cursor.execute("SELECT pg_sleep(1)"))
    monkeypatch.setattr(pulse, "_shares", lambda *_: slowly())
    monkeypatch.setattr(pulse, "_counts", lambda *_: slowly())

    def slowly():
        raise TooSlow

    found = taken()
    assert [one.count for one in found.queues] == [None] * 7
    assert found.events is found.backlog is None
    page = browser(cast.operator).get(PAGE).content.decode()
    assert page.count("Counting took too long") == 11


# The page and the API -----------------------------------------------------------------------------


def test_operators_see_who_works(browser, cast):
    client = browser(cast.operator)
    page = client.get(PAGE).content.decode()
    assert "No worker was heard of" in page
    assert "is beat running?" in page
    for name, ago in (("here:1", 0), ("there:2", 300)):
        Heartbeat.objects.beat(name, "worker", 2)
        Heartbeat.objects.filter(name=name).update(seen_at=timezone.now() - timedelta(seconds=ago))
    Heartbeat.objects.beat("sweep", "sweep")
    page = client.get(PAGE).content.decode()
    assert page.index("here:1") < page.index("Alive") < page.index("there:2") < page.index("Silent")
    assert "Beat, broker and workers move" in page


def test_htmx_gets_the_part_only(browser, cast):
    page = browser(cast.operator).get(PAGE, headers={"HX-Request": "true"}).content.decode()
    assert "Deliveries to be sent" in page
    assert "<html" not in page


@pytest.mark.parametrize("person", ["owner", "viewer", "stranger"])
def test_nobody_else_does(browser, cast, person):
    client = browser(getattr(cast, person))
    assert client.get(PAGE).status_code == 403
    assert client.get(API).status_code == 403
    assert "Pulse" not in client.get("/").content.decode()


def test_no_api_key_gets_there(api):
    assert api("owner").get(API).status_code in (401, 403)


def test_the_api_tells_the_same(browser, cast, happen):
    happen()
    Heartbeat.objects.beat("here:1", "worker", 2)
    found = browser(cast.operator).get(API).json()
    assert found["queues"][0] | {"oldest": None} == {
        "name": "inbox", "count": 1, "is_exact": True, "due": 1, "oldest": None,
    }  # fmt: skip
    assert found["workers"][0]["is_alive"] is True
    assert sum(found["events"]["values"]) == 1
    assert current_scope() == ""
