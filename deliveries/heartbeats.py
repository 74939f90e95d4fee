"""Who works here: each worker says every few seconds that it lives, and the sweep that beat and broker do.

A row a worker, written by a thread of its main process, which Celery restarts its pool from: whoever looks needs
neither the broker nor an answer (docs/decisions: heartbeats). A row that is not written any more says since when.
"""

import logging
import os
import socket
import threading
from datetime import datetime, timedelta

from django.db import Error, connection, models
from django.db.models.functions import Now
from django.utils import timezone

EVERY = 10.0  # seconds
SILENT_AFTER = timedelta(seconds=45)
FORGOTTEN_AFTER = timedelta(days=1)

logger = logging.getLogger(__name__)


class HeartbeatQuerySet(models.QuerySet):
    def beat(self, name: str, kind: str, processes: int = 1) -> None:
        """By the database's clock, which all workers share."""
        self.bulk_create(
            [self.model(name=name, kind=kind, processes=processes, seen_at=Now())],
            update_conflicts=True,
            unique_fields=["name"],
            update_fields=["processes", "seen_at"],
        )

    def beat_now_and_then(self, name: str, kind: str) -> None:
        """The same for who comes by much more often than that: most calls write nothing."""
        recent = self.filter(name=name, seen_at__gt=Now() - timedelta(seconds=EVERY))
        if not recent.exists():
            self.beat(name, kind)

    def forget_old(self) -> None:
        self.filter(seen_at__lt=Now() - FORGOTTEN_AFTER).delete()


class Heartbeat(models.Model):
    """No tenant's: operators alone see it."""

    class Kind(models.TextChoices):
        WORKER = "worker", "Worker"
        SWEEP = "sweep", "Sweep"

    name = models.CharField(primary_key=True, max_length=200)
    kind = models.CharField(max_length=6, choices=Kind.choices)
    processes = models.PositiveSmallIntegerField(default=1)
    started_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField()

    objects = HeartbeatQuerySet.as_manager()

    class Meta:
        ordering = ["name"]

    def __str__(self):
        return self.name

    def is_alive(self, at: datetime | None = None) -> bool:
        return self.seen_at > (at or timezone.now()) - SILENT_AFTER


def own_name() -> str:
    return f"{socket.gethostname()[:150]}:{os.getpid()}"


class Pacemaker:
    """Beats for this process until it is stopped, and takes its row away then.

    Without the database it goes on trying.
    """

    def __init__(self, processes: int, every: float = EVERY) -> None:
        self._processes = processes
        self._every = every
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        self._stopping.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        name = own_name()
        own = Heartbeat.objects.filter(name=name)
        self._try(own.delete)  # of another life: in a container the name is the same each time
        self._try(Heartbeat.objects.forget_old)
        while True:
            self._try(lambda: Heartbeat.objects.beat(name, Heartbeat.Kind.WORKER, self._processes))
            if self._stopping.wait(self._every):
                break
        self._try(own.delete)

    def _try(self, act) -> None:
        try:
            act()
        except Error as error:
            logger.warning("The heartbeat was not written (%s).", type(error).__name__)
        finally:
            connection.close()  # one connection a worker more would be held for a query every ten seconds
