"""Kept together or not at all; refusals bounded."""

import threading

import pytest
from django.db import connection, connections

from events import store
from events.models import Event, Receipt
from events.partitions import ensure_partitions
from events.store import REFUSALS_A_MINUTE, insert_events, keeping
from tenants.scope import system_scope

COMMIT_FAILS = """
    CREATE FUNCTION refuse_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} END $$;
    CREATE CONSTRAINT TRIGGER refuse_commit AFTER INSERT ON events_inbox
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_commit();
"""


@pytest.fixture(
    params=[
        "RAISE EXCEPTION 'no';",
        "PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL;",
    ],
    ids=["the commit is refused", "the backend is killed"],
)
def failing_commit(request, transactional_db):
    with connection.cursor() as cursor:
        cursor.execute(COMMIT_FAILS.format(request.param))
    yield
    connection.close()
    with connection.cursor() as cursor:
        cursor.execute("DROP FUNCTION refuse_commit CASCADE")


@pytest.mark.spec("P16", "B11")
def test_202_only_after_the_commit(failing_commit, post, source, kept, intake):
    answer = post(source, {"a": 1})
    assert answer.status_code == 503
    assert int(answer["Retry-After"]) > 0
    assert answer["Content-Type"] == "application/problem+json"
    assert not intake.woken
    assert (kept().receipts, kept().events, kept().inbox) == ([], [], [])


@pytest.mark.spec("P16")
def test_a_database_that_is_away_is_503_and_then_forgotten(transactional_db, post, source, kept, monkeypatch):
    host, port = connection.settings_dict["HOST"], connection.settings_dict["PORT"]
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "HOST", "127.0.0.1")
    monkeypatch.setitem(connection.settings_dict, "PORT", "1")
    assert post(source, {"a": 1}).status_code == 503
    monkeypatch.setitem(connection.settings_dict, "HOST", host)
    monkeypatch.setitem(connection.settings_dict, "PORT", port)
    assert post(source, {"a": 1}).status_code == 202
    assert len(kept().events) == 1


def test_a_missing_partition_is_503_and_nothing_half_kept(transactional_db, post, source, kept, caplog):
    with connection.cursor() as cursor:
        cursor.execute("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'events_event'::regclass")
        names = [name for (name,) in cursor.fetchall()]
        cursor.execute("".join(f"ALTER TABLE events_event DETACH PARTITION {name};" for name in names))
        cursor.execute("".join(f"ALTER TABLE {name} RENAME TO away_{name};" for name in names))
    try:
        assert post(source, {"a": 1}).status_code == 503
        assert "IntegrityError (23514)" in caplog.text
        assert "DETAIL" not in caplog.text  # PostgreSQL quotes rows in it
        assert (kept().receipts, kept().inbox) == ([], [])
    finally:
        with connection.cursor() as cursor:
            cursor.execute("".join(f"DROP TABLE away_{name};" for name in names))
        ensure_partitions()


def test_an_acknowledged_commit_is_durable(transactional_db, post, source, monkeypatch):
    """Where the server's default is off, as it is in this test cluster, the acknowledged transaction turns it on."""
    levels = []
    plain = store.keeping

    def spy(batch):
        levels.extend((yield "SHOW synchronous_commit", []))
        return (yield from plain(batch))

    monkeypatch.setattr(store, "keeping", spy)
    assert post(source, {"a": 1}).status_code == 202
    assert levels == [("on",)]


@pytest.fixture
def accepted(intake, source, monkeypatch):
    """What the store is given for one post."""
    batches = []
    monkeypatch.setattr(intake.store, "keep", lambda batch: batches.extend(batch) or [None] * len(batch))
    return batches


def test_many_arrivals_share_one_statement(db, accepted, post, source, intake, kept, monkeypatch):
    for number in range(50):
        post(source, {"n": number})
    monkeypatch.undo()
    assert intake.store.keep(accepted) == [None] * 50
    assert len(list(keeping(accepted))) == 1
    assert len(kept().events) == len(kept().receipts) == len(kept().inbox) == 50
    assert {event.receipt_id for event in kept().events} == {receipt.pk for receipt in kept().receipts}
    with system_scope(), connection.cursor() as cursor:
        cursor.execute("SELECT xmin::text FROM events_event UNION SELECT xmin::text FROM events_receipt")
        assert len(cursor.fetchall()) == 1


def test_one_bad_arrival_of_a_batch_keeps_none(db, accepted, post, source, intake, kept, monkeypatch):
    post(source, {"n": 1})
    post(source, {"n": 2})
    monkeypatch.undo()
    twice = [accepted[0], accepted[1]._replace(events=accepted[0].events)]
    with pytest.raises(Exception, match="duplicate key"):
        intake.store.keep(twice)
    assert (kept().receipts, kept().events, kept().inbox) == ([], [], [])


@pytest.mark.spec("B5")
def test_what_the_database_does_not_take_is_kept_without_a_projection(
    db, accepted, post, source, intake, kept, monkeypatch
):
    """What is its own projection stays so: it was not looked at, so it was not what was refused."""
    post(source, b'{"n":1}\n{"n":1e2}\nnull')
    monkeypatch.undo()
    plain, projected, null = accepted[0].events
    assert [(event.body_is_data, event.data) for event in (plain, projected, null)] == [
        (True, None), (False, '{"n": 100.0}'), (False, None),
    ]  # fmt: skip
    poisoned = accepted[0]._replace(events=(plain, projected._replace(data='"\\u0000"'), null))
    assert intake.store.keep([poisoned]) == [None]
    assert [(event.payload, event.data_problem) for event in kept().events] == [
        ({"n": 1}, ""), (None, "The payload could not be stored for search."), (None, ""),
    ]  # fmt: skip


def test_a_payload_is_kept_once(post, source, kept):
    post(source, b'{"n":1}\n{"n":1e2}\nnull')
    with system_scope():
        columns = Event.objects.order_by("id").values_list("body", "data", "body_is_data")
        assert [(bytes(body), *rest) for body, *rest in columns] == [
            (b'{"n":1}', None, True), (b'{"n":1e2}', {"n": 100}, False), (b"null", None, False),
        ]  # fmt: skip


def test_refusals_are_bounded_and_the_rest_counted(post, source_of, kept):
    source, _ = source_of("bearer")
    other, _ = source_of("bearer")
    for _ in range(REFUSALS_A_MINUTE + 20):
        assert post(source, {"a": 1}).status_code == 401
    assert post(other, {"a": 1}).status_code == 401
    receipts = [receipt for receipt in kept().receipts if receipt.source_id == source.pk]
    # A minute may turn in between, and then a second one begins.
    assert REFUSALS_A_MINUTE <= len(receipts) <= REFUSALS_A_MINUTE + 20
    if len(receipts) == REFUSALS_A_MINUTE:
        assert receipts[-1].suppressed == 16  # 20, as far as it has been written: 1, 2, 4, 8, 16
    assert len(kept().receipts) == len(receipts) + 1


def test_what_was_not_written_yet_is_when_the_next_minute_begins(post, source_of, kept, monkeypatch):
    clock = [1_000_000_020.0]
    monkeypatch.setattr("events.store.time.time", lambda: clock[0])
    source, _ = source_of("bearer")
    for _ in range(REFUSALS_A_MINUTE + 20):
        post(source, {"a": 1})
    clock[0] += 60
    post(source, {"a": 1})
    receipts = kept().receipts
    assert len(receipts) == REFUSALS_A_MINUTE + 1
    assert [receipt.suppressed for receipt in receipts[-2:]] == [20, 0]


def test_a_refusal_that_cannot_be_recorded_is_still_answered(transactional_db, post, source_of, kept):
    source, _ = source_of("bearer")
    with connection.cursor() as cursor:
        cursor.execute(COMMIT_FAILS.format("RAISE EXCEPTION 'no';").replace("events_inbox", "events_receipt"))
    try:
        assert post(source, {"a": 1}).status_code == 401
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION refuse_commit CASCADE")
    assert kept().receipts == []


def test_row_security_holds_the_bulk_path(cast, db, accepted, post, source, intake, monkeypatch):
    """Without a scope the rows are refused by the database itself."""
    post(source, {"n": 1})
    monkeypatch.undo()
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('app.tenant', '', true)")
    with pytest.raises(Exception, match="row-level security"):
        insert_events(accepted[0].events)


def test_posts_from_many_threads(transactional_db, post, source, kept):
    def send(number):
        try:
            answers.append(post(source, {"n": number}).status_code)
        finally:
            connections.close_all()

    answers = []
    threads = [threading.Thread(target=send, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [202] * 16
    assert sorted(event.payload["n"] for event in kept().events) == list(range(16))


def test_ids_follow_the_order_in_the_body(post, source, kept):
    post(source, b"".join(b'{"n":%d}\n' % number for number in range(200)))
    assert [event.payload["n"] for event in kept().events] == list(range(200))
    with system_scope():
        receipt = Receipt.objects.get()
        assert Event.objects.made_of(receipt).count() == 200
