"""From the outbox to the receivers.

    claim (one short transaction) → sign and POST, many at once, no transaction open → write results in batches

1. A claim counts the attempt, so a worker that dies in mid-send has used one up, and leases the row.
2. The subscription is read after the claim: one that was disabled, deleted or changed meanwhile gets nothing.
3. Results are written where the lease still holds. A late one is kept as an attempt, because it was one, and
   changes nothing else.

One Dispatcher a process: a thread that talks to PostgreSQL, and an event loop beside it that talks to receivers.
A task only wakes it, so a slow receiver never occupies a Celery worker.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future

import uvloop
from django.conf import settings
from django.db import close_old_connections, connection
from django.db.utils import InterfaceError, OperationalError

from deliveries import outbox
from deliveries.results import record
from deliveries.sending import Prepared, Sending, load, prepare, why_unsendable
from egress.authentication import authenticated_post
from egress.client import Client, Outcome
from egress.guard import Guard
from subscriptions.verification import portal_guard
from tenants.scope import system_scope

IN_FLIGHT = 256
BATCH = 200
FLUSH_SECONDS = 0.005
IDLE_CLAIM_SECONDS = 1.0
RECOVERY_SECONDS = 1.0
USER_AGENT = "Portcullis"

logger = logging.getLogger(__name__)


class Network:
    """An event loop in a thread of its own with one HTTP client: the process's only way out."""

    def __init__(self, guard: Guard, proxy: str = "") -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="egress", daemon=True)
        self._thread.start()
        self._client = Client(guard, limit=IN_FLIGHT, per_host_limit=IN_FLIGHT, user_agent=USER_AGENT, proxy=proxy)
        asyncio.run_coroutine_threadsafe(self._client.__aenter__(), self._loop).result()

    def post(self, prepared: Prepared) -> "Future[Outcome]":
        sending = authenticated_post(self._client, prepared.request, prepared.auth)
        return asyncio.run_coroutine_threadsafe(sending, self._loop)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._client.__aexit__(None, None, None), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Dispatcher:
    """Drains the outbox.

    `wake()` is for tasks; `drain()` runs in the caller's thread until nothing is due or in flight.
    """

    def __init__(self, guard: Guard | None = None) -> None:
        self._guard = guard
        self._network: Network | None = None
        self._done: queue.SimpleQueue[Sending] = queue.SimpleQueue()
        self._in_flight = 0
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._start_lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Something may be due. Starts the thread if need be; returns at once."""
        self._woken.set()
        with self._start_lock:
            if not (self._thread and self._thread.is_alive()) and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._run, name="dispatch", daemon=True)
                self._thread.start()

    def stop(self, timeout: float) -> None:
        """Claim nothing more, write what comes back within `timeout` seconds. The lease takes care of the rest."""
        self._stopping.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def drain(self) -> int:
        """Send everything due now, and what becomes due meanwhile. Returns the number of requests made."""
        made, claim_at = 0, 0.0
        while not self._done.empty():  # left by a stumble: written before the lease's end lets us claim it again
            self._write(self._collect())
        while True:
            now = time.monotonic()
            room = min(BATCH, IN_FLIGHT - self._in_flight)
            if room > 0 and not self._stopping.is_set() and (now >= claim_at or self._woken.is_set()):
                self._woken.clear()
                claimed = self._claim_and_send(room)
                # A full batch says that more is waiting; else look again when woken, or in a while.
                claim_at = now if claimed == room else now + IDLE_CLAIM_SECONDS
                made += claimed
            if not self._in_flight:
                if claim_at <= now and not self._stopping.is_set():
                    continue
                return made
            self._write(self._collect())

    def close(self) -> None:
        if self._network is not None:
            self._network.close()
            self._network = None

    def _run(self) -> None:
        while not self._stopping.is_set() or self._in_flight:
            self._woken.wait()
            try:
                close_old_connections()
                self.drain()
            except (OperationalError, InterfaceError) as error:
                logger.warning("The dispatcher lost the database (%s); it goes on when it is back.", error)
                self._recover()
            except Exception:
                logger.exception("The dispatcher stumbled; leased deliveries are sent again when their lease ends.")
                self._recover()
        connection.close()

    def _recover(self) -> None:
        """Go on by ourselves in a moment: answers may wait to be written, and no wake-up tells of them."""
        connection.close()
        self._stopping.wait(RECOVERY_SECONDS)
        self._woken.set()

    def _claim_and_send(self, limit: int) -> int:
        with system_scope():
            claims = outbox.claim(limit)
        if not claims:
            return 0
        self._network = self._network or Network(self._guard or portal_guard(), settings.EGRESS_PROXY)
        for sending, secrets in load(claims):
            self._in_flight += 1
            try:
                sending.prepared = prepare(sending.delivery, secrets, sending.signed_at)
            except Exception as error:  # one that cannot be sent must not hold up the others
                logger.warning("Delivery %s cannot be sent: %s.", sending.delivery.pk, type(error).__name__)
                sending.outcome = Outcome(status=None, error="unsendable", detail=why_unsendable(error))
                self._done.put(sending)
                continue
            self._network.post(sending.prepared).add_done_callback(self._arrived(sending))
        return len(claims)

    def _arrived(self, sending: Sending) -> Callable[[Future], None]:
        def note(future: Future) -> None:
            failure = CancelledError() if future.cancelled() else future.exception()
            if failure is not None:
                logger.error("A request failed in a way of its own.", exc_info=failure)
                sending.outcome = Outcome(status=None, error="unsendable", detail=type(failure).__name__)
            else:
                sending.outcome = future.result()
            self._done.put(sending)

        return note

    def _collect(self) -> list[Sending]:
        """Wait a moment for an answer, then take all that are there."""
        try:
            sendings = [self._done.get(timeout=0.05)]
        except queue.Empty:
            return []
        deadline = time.monotonic() + FLUSH_SECONDS
        while len(sendings) < BATCH:
            try:
                sendings.append(self._done.get(timeout=max(0.0, deadline - time.monotonic())))
            except queue.Empty:
                break
        return sendings

    def _write(self, sendings: list[Sending]) -> None:
        """Keep what came of them. One that cannot be written does not take the others along.

        Without the database it waits, as long as it takes: the receivers have the messages, and until the database
        is back nobody can claim them either.
        """
        self._in_flight -= len(sendings)
        parts = [sendings] if sendings else []
        while parts:
            part = parts.pop()
            try:
                record(part)
            except (OperationalError, InterfaceError) as error:
                logger.warning("What came of %d requests waits for the database (%s).", len(part), error)
                connection.close()
                parts.append(part)
                time.sleep(RECOVERY_SECONDS)
            except Exception:
                if len(part) > 1:
                    parts += [part[: len(part) // 2], part[len(part) // 2 :]]
                else:
                    logger.exception("What came of delivery %s cannot be written.", part[0].delivery.pk)
