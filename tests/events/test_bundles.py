"""Posts of very many events: kept whole at the door, made into the same events by a worker, never lost on the way."""

import gzip
import json
import threading
from datetime import timedelta

import pytest
from django.db import DataError, connection
from django.utils import timezone

from deliveries import tasks
from events import bundles, intake, store
from events.models import Bundle, Event, Inbox, Receipt
from sources.models import Source
from tenants.ids import following, uuid7
from tenants.scope import system_scope, tenant_scope

MANY = intake.BUNDLED + 1


def many(count=MANY, **more) -> bytes:
    return b"".join(json.dumps({"n": n, "type": f"kind.{n % 3}", **more}).encode() + b"\n" for n in range(count))


def waiting() -> int:
    with system_scope():
        return Bundle.objects.count()


def overdue() -> None:
    with system_scope():
        Bundle.objects.update(due_at=timezone.now() - timedelta(seconds=1))


@pytest.fixture
def bundled(post, source, kept):
    """A post that is kept in one piece; its answer."""
    answer = post(source, many())
    assert answer.status_code == 202
    return answer


@pytest.mark.spec("B11")
def test_the_answer_is_the_usual_one_and_the_bytes_are_kept(bundled, kept):
    assert bundled.json()["events"] == MANY
    (receipt,) = kept().receipts
    assert (receipt.event_count, receipt.body_size) == (MANY, len(many()))
    assert receipt.body_packed
    assert len(receipt.body) < len(many()) / 3
    assert receipt.kept_bytes == many()
    assert (kept().events, kept().inbox, waiting()) == ([], [], 1)


def test_its_events_are_those_the_door_would_have_made(post, source, kept, monkeypatch):
    monkeypatch.setattr(intake, "BUNDLED", 10**6)
    post(source, many(severity="high", title="A title", created_at="2026-05-04T03:02:01Z"))
    at_once = kept().events
    monkeypatch.undo()
    post(source, many(severity="high", title="A title", created_at="2026-05-04T03:02:01Z"))
    assert len(kept().events) == MANY
    assert bundles.unpack() == 1
    later = kept().events[MANY:]
    ours = ("pk", "id", "receipt_id", "_state")
    assert [{k: v for k, v in vars(event).items() if k not in ours} for event in later] == [
        {k: v for k, v in vars(event).items() if k not in ours} for event in at_once
    ]
    assert len(kept().inbox) == 2 * MANY
    assert waiting() == 0


def test_they_stand_in_order_beside_their_receipt_whenever_they_are_made(bundled, kept):
    bundles.unpack()
    with system_scope():
        receipt = Receipt.objects.get()
        found = [bytes(event.body) for event in Event.objects.made_of(receipt)]
    assert found == many().splitlines()
    assert {event.received_at for event in kept().events} == {receipt.received_at}


def test_a_mistake_in_one_event_refuses_all_at_the_door(post, source, kept):
    body = b"[" + b",".join(b'{"n": 1}' for _ in range(MANY)) + b", {]"
    assert post(source, body).status_code == 400
    assert waiting() == 0


@pytest.mark.spec("B6")
def test_a_second_post_with_the_key_is_not_kept_again(post, source):
    headers = {"Idempotency-Key": "one"}
    first = post(source, many(), headers=headers).json()
    assert post(source, many(), headers=headers).json() == first | {"duplicate": True}
    assert waiting() == 1


def test_it_is_divided_as_the_source_said_when_it_came(post, source, kept):
    headers = {"X-Kind": "from.the.header", "Content-Encoding": "gzip"}
    with tenant_scope(source.tenant_id):
        Source.objects.filter(pk=source.pk).update(reading={"event_type": "header:X-Kind"}, stream_type="lines")
    post(source, gzip.compress(many()), headers=headers)
    with tenant_scope(source.tenant_id):
        Source.objects.filter(pk=source.pk).update(reading={}, stream_type="xml")
    bundles.unpack()
    assert {event.type for event in kept().events} == {"from.the.header"}
    assert len(kept().events) == MANY


def test_the_router_makes_and_routes_them(bundled, kept):
    tasks.route()
    assert (len(kept().events), kept().inbox, waiting()) == (MANY, [], 0)


def test_the_sweep_finds_a_bundle_nobody_was_woken_for(bundled):
    assert bundles.is_due()
    tasks.sweep()
    assert not bundles.is_due()


@pytest.mark.spec("B11")
def test_a_worker_that_fails_half_way_has_changed_nothing(bundled, kept, monkeypatch):
    def fails(events):
        store.insert_events(events[:10])
        raise RuntimeError("the worker died here")

    monkeypatch.setattr(bundles, "insert_events", fails)
    assert bundles.unpack() == 1
    assert (kept().events, kept().inbox, waiting()) == ([], [], 1)
    monkeypatch.undo()
    assert not bundles.is_due()
    overdue()
    assert bundles.unpack() == 1
    assert len(kept().events) == MANY


def test_one_that_always_fails_is_put_off_longer_each_time_and_holds_up_nobody(post, source, kept, monkeypatch):
    post(source, many(poison=1))
    post(source, many())
    plain = bundles.events_of

    def picky(receipt, division):
        if b"poison" in receipt.kept_bytes:
            raise ValueError("cannot be divided")
        return plain(receipt, division)

    monkeypatch.setattr(bundles, "events_of", picky)
    delays = []
    for _ in range(14):
        overdue()
        while bundles.unpack():
            pass
        with system_scope():
            bundle = Bundle.objects.get()
        delays.append(round((bundle.due_at - timezone.now()).total_seconds()))
    assert len(kept().events) == MANY
    assert delays[:3] == [2, 4, 8]
    assert delays[-1] == bundles.MAX_DELAY.total_seconds()


def test_a_payload_that_postgresql_does_not_take_is_kept_without_its_projection(post, source, kept, monkeypatch):
    odd = b'{"n": 1e2}'  # not its own projection
    post(source, many() + odd)
    plain = store.insert_events

    def picky(events):
        if any(event.data for event in events):
            raise DataError("no")
        plain(events)

    monkeypatch.setattr(bundles, "insert_events", picky)
    bundles.unpack()
    assert len(kept().events) == MANY + 1
    assert [bytes(event.body) for event in kept().events if event.data_problem] == [odd]


def test_a_bundle_whose_receipt_was_dropped_ends(bundled, kept):
    with system_scope():
        Receipt.objects.all().delete()
    assert bundles.unpack() == 1
    assert (kept().events, waiting()) == ([], 0)


@pytest.mark.django_db(transaction=True)
def test_two_workers_never_make_the_same_events(post, source, kept):
    for _ in range(6):
        post(source, many())

    def work():
        while bundles.unpack():
            pass
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while bundles.unpack():
        pass
    assert len(kept().events) == 6 * MANY
    with system_scope():
        assert Inbox.objects.count() == 6 * MANY


def test_the_receipt_says_that_its_events_are_being_unpacked(bundled, browser, cast, api):
    page = f"/receipts/{bundled.json()['receipt']}/"
    viewer = browser(cast.viewer)
    assert "being unpacked" in viewer.get(page).content.decode()
    assert api().get(f"/api/v1{page}").json()["unpacking"] is True
    bundles.unpack()
    assert "being unpacked" not in viewer.get(page).content.decode()
    assert api().get(f"/api/v1{page}").json()["unpacking"] is False


def test_ids_that_follow_are_in_order_of_the_same_moment_and_new_each_time():
    first = uuid7()
    ids = following(first, 10_000)
    assert ids == sorted(set(ids))
    assert {(one.version, one.variant, one.int >> 64) for one in ids} == {(7, first.variant, first.int >> 64)}
    assert not set(ids) & set(following(first, 10_000))
    with pytest.raises(ValueError, match="too many"):
        following(first, 1 << 14)
