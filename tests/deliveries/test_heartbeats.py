"""Who works here: rows that are written for as long as a worker lives."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from deliveries import heartbeats, tasks
from deliveries.heartbeats import Heartbeat, Pacemaker, own_name
from tests.portal import wait_for


def age(name: str, seconds: float) -> None:
    Heartbeat.objects.filter(name=name).update(seen_at=timezone.now() - timedelta(seconds=seconds))


@pytest.mark.django_db
def test_a_beat_is_a_row_that_is_renewed():
    Heartbeat.objects.beat("a", "worker", 2)
    started = Heartbeat.objects.get().started_at
    age("a", 100)
    assert not Heartbeat.objects.get().is_alive()
    Heartbeat.objects.beat("a", "worker", 4)
    found = Heartbeat.objects.get()
    assert found.is_alive()
    assert (found.started_at, found.processes) == (started, 4)


@pytest.mark.django_db
def test_who_comes_by_every_second_writes_now_and_then():
    def writes() -> int:
        with CaptureQueriesContext(connection) as captured:
            Heartbeat.objects.beat_now_and_then("sweep", "sweep")
        return sum("INSERT" in one["sql"] for one in captured)

    assert [writes(), writes()] == [1, 0]
    age("sweep", 11)
    assert writes() == 1


@pytest.mark.django_db
def test_those_long_silent_are_forgotten():
    for name in ("old", "new"):
        Heartbeat.objects.beat(name, "worker")
    age("old", 25 * 3600)
    Heartbeat.objects.forget_old()
    assert [one.name for one in Heartbeat.objects.all()] == ["new"]


@pytest.mark.django_db(transaction=True)
def test_a_worker_s_row_lives_from_its_start_to_its_orderly_end():
    Heartbeat.objects.beat(own_name(), "worker")
    Heartbeat.objects.update(started_at=timezone.now() - timedelta(days=1))  # left by another life of this name
    tasks.begin_to_beat(SimpleNamespace(pool=SimpleNamespace(num_processes=3)))
    row = wait_for(lambda: Heartbeat.objects.filter(name=own_name(), processes=3).first(), "it beats")
    assert row.started_at > timezone.now() - timedelta(hours=1)
    tasks.end_to_beat()
    assert not Heartbeat.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_it_goes_on_when_the_database_is_back(monkeypatch):
    away = iter([True, True])

    def beat(self, *args):
        if next(away, False):
            raise OperationalError("away")
        return real(self, *args)

    real = heartbeats.HeartbeatQuerySet.beat
    monkeypatch.setattr(heartbeats.HeartbeatQuerySet, "beat", beat)
    pacemaker = Pacemaker(1, every=0.01)
    pacemaker.start()
    wait_for(lambda: Heartbeat.objects.filter(name=own_name()).exists(), "it beats")
    pacemaker.stop()


@pytest.mark.django_db
def test_the_sweep_beats(monkeypatch):
    tasks.sweep()
    assert Heartbeat.objects.get().kind == "sweep"
