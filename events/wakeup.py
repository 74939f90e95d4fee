"""Wake-ups: a Celery message that says "there is something to do" and nothing else.

The rows are the truth and a sweep finds them within a second, so a wake-up may be lost, doubled or late. It is
sent by name because the work lies in rooms to the right of this one. Bursts are merged: the first wake-up of a
process leaves at once, those of the next INTERVAL as one at its end. One is under way at a time: a broker that does
not answer holds up a single thread, and what is to be said meanwhile is said once when it lets go.
"""

import asyncio
import logging
import threading
import time

import psycopg
from celery import current_app
from django.conf import settings
from django.db import transaction

from tenants.async_scope import Line

ROUTE = "deliveries.tasks.route"
DISPATCH = "deliveries.tasks.dispatch"
# What the workers' dispatchers listen to: one step, where a message passes through a broker and two processes. Nobody
# relies on it.
CHANNEL = "portcullis_events"
HEARD = f"SELECT pg_notify('{CHANNEL}', '')"  # noqa: S608 (a constant)
INTERVAL = 0.05  # seconds
HEARD_INTERVAL = 0.02  # where workers listen: what waits for it is sent as one burst
MESSAGE_INTERVAL = 0.25  # and where they were told so already: a message is for those who did not hear it

logger = logging.getLogger(__name__)


class Wakeup:
    """Merged wake-ups for one task. `wake()` returns at once, never raises: acceptance does not hang on the broker."""

    def __init__(self, task: str, interval: float = INTERVAL) -> None:
        self.task = task
        self.interval = interval
        self._lock = threading.Lock()
        self._sent_at = float("-inf")
        self._planned: threading.Timer | None = None
        self._wanted = False

    def wake(self) -> None:
        with self._lock:
            self._wanted = True
            if self._planned is None:
                self._plan()

    def _plan(self) -> None:
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
            self._wanted = False  # what is committed from here on needs another
            self._sent_at = time.monotonic()
        send(self.task)
        with self._lock:
            self._planned = None
            if self._wanted:
                self._plan()


class LoopWakeup:
    """The same for an event loop that is busy: no thread for each, and a look into the broker's queue before.

    Where the broker is the portal's own database, a message that waits unread stands for this one too. What the workers
    listen for (CHANNEL) is notified each time, and a message follows now and then: it costs them ten times as much.
    """

    def __init__(self, task: str, line: Line, interval: float | None = None) -> None:
        self.task = task
        self.is_heard = task == ROUTE
        self.interval = (HEARD_INTERVAL if self.is_heard else INTERVAL) if interval is None else interval
        self._line = line
        self._sent_at = self._messaged_at = float("-inf")
        self._planned: asyncio.Task[None] | None = None
        self._wanted = False

    def wake(self) -> None:
        self._wanted = True
        if self._planned is None or self._planned.done():
            self._planned = asyncio.get_running_loop().create_task(self._send_while_wanted())

    def stop(self) -> None:
        """Forget what is planned: the sweep will find the work."""
        if self._planned is not None:
            self._planned.cancel()

    async def _send_while_wanted(self) -> None:
        while self._wanted:
            await asyncio.sleep(self._sent_at + self.interval - time.monotonic())
            self._sent_at = time.monotonic()
            self._wanted = False  # what is committed from here on needs another
            await self._send()

    async def _send(self) -> None:
        try:
            if self.is_heard:
                await self._line.ask(HEARD, [])
                if time.monotonic() < self._messaged_at + MESSAGE_INTERVAL:
                    return
                self._messaged_at = time.monotonic()
            query = getattr(current_app, "waiting_wakeup", None)
            if query is None or await self._line.ask(query, [self.task]) is None:
                await asyncio.to_thread(send, self.task)
        except (psycopg.Error, OSError) as error:
            logger.warning("Could not send the wake-up %s (%s); the sweep will find the work.", self.task, error)


def send(task: str) -> None:
    """Send a wake-up now. Never raises."""
    try:
        current_app.send_task(task, retry=False, expires=settings.WAKEUP_EXPIRES)
    except Exception as error:  # any broker, any transport: the sweep makes up for it
        logger.warning("Could not send the wake-up %s (%s); the sweep will find the work.", task, error)


_wakeups = {task: Wakeup(task) for task in (ROUTE, DISPATCH)}


def wake(task: str) -> None:
    """Wake `task` now: for work that is committed already."""
    _wakeups[task].wake()


def wake_on_commit(task: str) -> None:
    """Wake `task` when the present transaction has committed; at once where there is none."""
    transaction.on_commit(_wakeups[task].wake)
