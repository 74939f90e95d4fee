"""Wake-ups: a Celery message that says "there is something to do" and nothing else.

The rows are the truth and a sweep finds them within a second, so a wake-up may be lost, doubled or late. It is
sent by name because the work lies in rooms to the right of this one. Bursts are merged: the first wake-up of a
process leaves at once, those of the next INTERVAL as one at its end.
"""

import logging
import threading
import time

from celery import current_app
from django.db import transaction

ROUTE = "deliveries.tasks.route"
DISPATCH = "deliveries.tasks.dispatch"
INTERVAL = 0.05  # seconds
EXPIRES = 60  # seconds by the sender's clock, judged by the worker's: longer than two hosts' clocks may differ

logger = logging.getLogger(__name__)


class Wakeup:
    """Merged wake-ups for one task. `wake()` returns at once, never raises: acceptance does not hang on the broker."""

    def __init__(self, task: str, interval: float = INTERVAL) -> None:
        self.task = task
        self.interval = interval
        self._lock = threading.Lock()
        self._sent_at = float("-inf")
        self._planned: threading.Timer | None = None

    def wake(self) -> None:
        with self._lock:
            if self._planned is not None:
                return
            delay = self._sent_at + self.interval - time.monotonic()
            timer = threading.Timer(max(delay, 0), self._send)
            timer.daemon = True
            try:
                timer.start()
            except RuntimeError as error:  # no thread to be had: nothing is planned, so the next one tries again
                logger.warning("Could not plan the wake-up %s (%s).", self.task, error)
            else:
                self._planned = timer

    def _send(self) -> None:
        with self._lock:
            self._planned = None
            self._sent_at = time.monotonic()
        try:
            current_app.send_task(self.task, retry=False, expires=EXPIRES)
        except Exception as error:  # any broker, any transport: the sweep makes up for it
            logger.warning(
                "Could not send the wake-up %s (%s); the sweep will find the work.",
                self.task,
                error,
            )


_wakeups = {task: Wakeup(task) for task in (ROUTE, DISPATCH)}


def wake(task: str) -> None:
    """Wake `task` now: for work that is committed already."""
    _wakeups[task].wake()


def wake_on_commit(task: str) -> None:
    """Wake `task` when the present transaction has committed; at once where there is none."""
    transaction.on_commit(_wakeups[task].wake)
