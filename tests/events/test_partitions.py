"""Room ahead, nothing behind, and look-ups that touch one day."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, connections
from django.utils import timezone

from events import tasks
from events.models import Event
from events.partitions import (
    drop_partitions_before,
    ensure_partitions,
    missing_partitions,
    partitioned_models,
)
from tenants.ids import lowest_uuid7
from tenants.scope import system_scope, tenant_scope

TABLES = {"events_event", "events_receipt", "deliveries_delivery", "deliveries_attempt"}
FAR = datetime(2031, 5, 1, 12, tzinfo=UTC)
LONG_AGO = datetime(2021, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def tidy(transactional_db):
    """Drops what a test made beside the usual days."""
    before = set(_partitions())
    yield
    with connection.cursor() as cursor:
        for name in set(_partitions()) - before:
            cursor.execute(f"DROP TABLE {name}")
    ensure_partitions()


def _partitions():
    with connection.cursor() as cursor:
        cursor.execute("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhrelid::regclass::text ~ '_[0-9]{8}$'")
        return [name for (name,) in cursor.fetchall()]


def test_every_partitioned_table_has_its_days(tidy):
    made = ensure_partitions(FAR, ahead=2)
    days = ("20310430", "20310501", "20310502", "20310503")
    assert {model._meta.db_table for model in partitioned_models()} == TABLES
    assert set(made) == {f"{table}_{day}" for table in TABLES for day in days}
    assert ensure_partitions(FAR, ahead=2) == []


def test_a_partition_keeps_the_parents_indexes_and_shows_nothing_by_its_own_name(tidy, cast, post, source):
    ensure_partitions(FAR, ahead=0)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FILTER (WHERE inhrelid IS NOT NULL), count(*) FROM pg_index"
            " LEFT JOIN pg_inherits ON inhrelid = indexrelid WHERE indrelid = 'events_event_20310501'::regclass"
        )
        attached, all_of_them = cursor.fetchone()
        assert attached == all_of_them == 4
        cursor.execute(
            "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE relname = 'events_event_20310501'"
        )
        assert cursor.fetchone() == (True, True)
    post(source, {"a": 1})
    with tenant_scope(cast.tenant.pk), connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM events_event_{timezone.now():%Y%m%d}")
        assert cursor.fetchone() == (0,)


def test_several_processes_may_make_them_at_once(tidy):
    def make():
        try:
            results.append(ensure_partitions(FAR, ahead=3))
        except Exception as error:  # noqa: BLE001 - the thread's, told to the test
            results.append(error)
        finally:
            connections.close_all()

    results = []
    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = [name for result in results for name in result]
    assert len(made) == len(set(made)) == 5 * len(TABLES)


def test_making_them_does_not_wait_for_readers_and_writers(tidy):
    """Somebody else's open transaction holds what an INSERT holds; CREATE … PARTITION OF would wait for it."""
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN; LOCK TABLE events_event IN ROW EXCLUSIVE MODE")
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = 3000")
        assert ensure_partitions(FAR, ahead=0)
    finally:
        other.close()
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = 0")


def test_what_is_old_is_dropped_and_what_is_not_stays(tidy):
    ensure_partitions(LONG_AGO, ahead=1)  # 30 April to 2 May
    dropped = drop_partitions_before(LONG_AGO)
    assert set(dropped) == {f"{table}_20210430" for table in TABLES}
    assert f"events_event_{timezone.now():%Y%m%d}" in _partitions()


def test_dropping_gives_way_to_readers(tidy, monkeypatch):
    monkeypatch.setattr("events.partitions.DROP_PATIENCE", 50)
    ensure_partitions(LONG_AGO, ahead=0)
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN; LOCK TABLE events_event_20210430 IN ACCESS SHARE MODE")
        assert "events_event_20210430" not in drop_partitions_before(LONG_AGO)
    finally:
        other.close()
    assert drop_partitions_before(LONG_AGO) == ["events_event_20210430"]


def test_missing_ones_are_named(tidy):
    assert missing_partitions() == []
    tomorrow = timezone.now() + timedelta(days=1)
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE events_event_{tomorrow:%Y%m%d}")
    assert missing_partitions() == [f"events_event_{tomorrow:%Y%m%d}"]


def test_the_task_makes_and_drops(tidy, settings):
    ensure_partitions(LONG_AGO, ahead=0)
    settings.RETENTION_DAYS = 30
    tomorrow = timezone.now() + timedelta(days=1)
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE events_receipt_{tomorrow:%Y%m%d}")
    tasks.partitions()
    assert missing_partitions() == []
    assert not any(name.endswith("_20210501") for name in _partitions())


@pytest.mark.parametrize("narrowing", ["id", "time"])
def test_a_look_up_touches_one_partition(tidy, cast, post, source, narrowing):
    post(source, {"a": 1})
    with system_scope():
        event = Event.objects.get()
        wanted = {
            "id": {"id": event.pk},
            "time": {
                "id__gte": lowest_uuid7(event.received_at - timedelta(seconds=1)),
                "id__lt": lowest_uuid7(event.received_at + timedelta(seconds=1)),
            },
        }[narrowing]
        plan = Event.objects.filter(**wanted).explain()
    scanned = {name for name in _partitions() if name in plan}
    assert scanned == {f"events_event_{event.received_at:%Y%m%d}"}
