"""From the outbox to the receivers.

    claim (one short transaction) → sign and POST, many at once, no transaction open → write results in batches

1. A claim counts the attempt, so a worker that dies in mid-send has used one up, and leases the row.
2. The subscription is read after the claim: one that was disabled, deleted or changed meanwhile gets nothing.
3. Results are written where the lease still holds. A late one is kept as an attempt, because it was one, and
   changes nothing else.
4. Nobody can take all places: `fairness` says whose turn it is.

One Dispatcher a process: a thread with one event loop, which talks to PostgreSQL over two connections of its own and
to receivers. A task only wakes it, so a slow receiver never occupies a Celery worker. What is rare and wants the
models' verbs is done in a second thread meanwhile.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from uuid import UUID, uuid4

import uvloop
from django.conf import settings
from django.db import connection

from deliveries import breaker, lanes, lines, results
from deliveries.endpoints import Endpoints
from deliveries.fairness import Others, Places, VainLook
from deliveries.lanes import Head
from deliveries.lines import Here, Line, at_once, only
from deliveries.outbox import Claim, Claiming, putting_back
from deliveries.results import Decided, decide
from deliveries.sending import (
    Sending,
    admit,
    admit_head,
    apart,
    cancelling,
    is_only_spared,
    may_have_to_wait,
    prepare,
    reading,
    why_unsendable,
)
from egress.authentication import authenticated_post
from egress.client import Client, Outcome
from egress.guard import Guard
from events.wakeup import CHANNEL
from subscriptions.verification import portal_guard
from vault.credentials import TOUCH_INTERVAL

DUE = "portcullis_due"  # a channel: more is due than one dispatcher has places for
TELL_SECONDS = 0.05  # the others are told of it this often
BATCH = 200  # results of one transaction
BATCH_BYTES = 4_000_000  # of the bodies in one message; the first is in it, whatever its size
FLUSH_SECONDS = 0.003
RECOVERY_SECONDS = 1.0
LANES_SECONDS = 1.0
SPARED_SECONDS = 2.0  # until a line is looked at again whose receiver is spared or challenged
UNREADABLE_SECONDS = 30.0
USER_AGENT = "Portcullis"
MANY = 10_000

Step = Callable[[Line | Here], Coroutine[None, None, None]]

logger = logging.getLogger(__name__)


class Dispatcher:
    """Drains the outbox.

    `wake()` is for tasks; `drain()` runs in the caller's thread, on Django's connection, until nothing is due or in
    flight. One of the two, not both. `route` makes deliveries of what has arrived and wakes this dispatcher: the thread
    calls it as soon as the door says that something has, which is sooner than a task can be here. It tells others when
    there is more than it can take.
    """

    def __init__(
        self, guard: Guard | None = None, places: Places | None = None, route: Callable[[], None] | None = None
    ) -> None:
        self._guard = guard
        self._route = route
        self._name = str(uuid4())
        self._places = places or Places()
        self._claiming = Claiming()
        self._endpoints = Endpoints()
        self._lanes, self._lanes_asked = False, float("-inf")
        self._gate: Line | None = None
        self._gate_turn = asyncio.Lock()
        self._at_the_gate: set[asyncio.Task[None]] = set()
        self._asked_about: Counter[UUID] = Counter()  # the subscriptions there
        self._done: deque[Sending] = deque()
        self._used: dict[UUID, float] = {}
        self._client: Client | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()  # something may be due, or may be claimed now
        self._left_some = True  # whether the last claim may have left something that was due, for want of places
        self._vain = VainLook()
        self._told_at = float("-inf")
        self._answered = asyncio.Event()
        self._stopping = False
        self._has_claimed_its_last = False
        self._start_lock = threading.Lock()
        self._thread: threading.Thread | None = None

    # For tasks: a thread of its own --------------------------------------------------------------

    def wake(self) -> None:
        """Something may be due. Starts the thread if need be; returns at once."""
        with self._start_lock:
            if not (self._thread and self._thread.is_alive()) and not self._stopping:
                self._loop = uvloop.new_event_loop()
                self._news, self._answered = asyncio.Event(), asyncio.Event()
                self._thread = threading.Thread(target=self._run, args=(self._loop,), name="dispatch", daemon=True)
                self._thread.start()
        self._tell(self._hears)

    def stop(self, timeout: float) -> None:
        """Claim nothing more, write what comes back within `timeout` seconds. The lease takes care of the rest."""
        self._stopping = True
        self._tell(self._hears)
        self._tell(self._answered.set)
        if self._thread is not None:
            self._thread.join(timeout)

    def _tell(self, listener: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            if self._loop is not None:
                self._loop.call_soon_threadsafe(listener)

    def _hears(self) -> None:
        """Something may be due, of anybody."""
        self._vain.forget()
        self._news.set()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(self._serve())
        finally:
            loop.close()

    async def _serve(self) -> None:
        threads = [ThreadPoolExecutor(1, name) for name in ("deliveries", "routing", "gate")]
        with threads[0] as aside, threads[1] as router, threads[2] as gate:
            self._gate = Line(gate, durable=False)  # nor does one that forgets what was put off
            async with self._new_client() as self._client:
                recording = asyncio.create_task(self._for_ever(self._record_or_wait, Line(aside)))
                hearing = asyncio.create_task(self._for_ever(self._hear, Line(router)))
                # A claim that the server forgets when it crashes loses nothing: what it leased is due again.
                await self._for_ever(self._claim_or_wait, Line(aside, durable=False))
                hearing.cancel()
                await asyncio.gather(hearing, *self._at_the_gate, return_exceptions=True)
                self._has_claimed_its_last = True
                self._answered.set()
                await recording
            await self._gate.close()
            for thread in threads:
                thread.submit(lambda: connection.close())  # that thread's

    async def _for_ever(self, step: Callable[[Line], Awaitable[bool]], line: Line) -> None:
        """`step` again and again, whatever happens, until it says that it is done."""
        while True:
            try:
                if not await step(line):
                    break
                continue
            except asyncio.CancelledError:
                await line.close()
                raise
            except lines.LOST as error:
                logger.warning("The dispatcher lost the database (%s); it goes on when it is back.", error)
            except Exception:
                logger.exception("The dispatcher stumbled; leased deliveries are sent again when their lease ends.")
            with contextlib.suppress(*lines.LOST):
                await line.close()
            await asyncio.sleep(RECOVERY_SECONDS)
        await line.close()

    async def _hear(self, line: Line) -> bool:
        heard = await line.heard([DUE] if self._route is None else [DUE, CHANNEL], besides=self._name)
        if DUE in heard:
            self._hears()
        if CHANNEL in heard and self._route is not None:
            await line.call(self._route)
        return True

    async def _claim_or_wait(self, line: Line) -> bool:
        """Claim once and begin to send, or wait for a reason to. False when nothing more is to be claimed."""
        if self._stopping:
            return False
        self._news.clear()
        self._left_some = True  # until it is known: places may become free meanwhile
        room, others = self._places.offer()
        claimed = await self._claim_past(line, room, others.and_these(self._asked_about))
        self._left_some = claimed >= room or any(others)
        if self._left_some:
            await self._tell_others(line)
        if claimed < room or room <= 0:
            await self._news.wait()
        return True

    async def _claim_past(self, line: Line, room: int, others: Others) -> int:
        """`_claim`, but for what has just been looked for in vain."""
        now = time.monotonic()
        if self._vain.holds_for(others, now):
            return 0
        if room > 0 and any(others):
            self._vain.begin(others, now)  # before it looks: news may come meanwhile
        return await self._claim(line, room, others)

    async def _tell_others(self, line: Line) -> None:
        """The dispatchers of other processes."""
        now = time.monotonic()
        if now - self._told_at >= TELL_SECONDS:
            self._told_at = now
            await line.run(only("SELECT pg_notify($1, $2)", [DUE, self._name]))

    async def _record_or_wait(self, line: Line) -> bool:
        """Write what came of some requests, or wait for answers. False when none will come any more."""
        if self._has_claimed_its_last and not self._places.taken:
            return False
        await self._answers()
        await self._record(line)
        return True

    # For tests and scripts: the caller's thread --------------------------------------------------

    def drain(self) -> int:
        """Send everything due now, and what becomes due meanwhile. Returns the number of requests made."""
        if self._loop is None:
            self._loop = uvloop.new_event_loop()
            self._client = self._new_client()
            self._loop.run_until_complete(self._client.__aenter__())
        here, made = Here(), 0
        while True:
            claimed = at_once(self._claim(here, *self._places.offer()))
            made += claimed
            if self._places.taken:
                self._loop.run_until_complete(self._answers())
                at_once(self._record(here))
            elif not claimed:
                return made

    async def _answers(self) -> None:
        """Wait for some, and a moment for more."""
        if not self._done:
            self._answered.clear()
            await self._answered.wait()
            await asyncio.sleep(FLUSH_SECONDS)

    def close(self) -> None:
        """Of one that drained."""
        if self._client is not None and self._thread is None:
            self._loop.run_until_complete(self._client.__aexit__(None, None, None))
            self._loop.close()
            self._client = self._loop = None

    # What both do --------------------------------------------------------------------------------

    def _new_client(self) -> Client:
        return Client(
            self._guard or portal_guard(),
            limit=self._places.places,
            per_host_limit=self._places.places,
            user_agent=USER_AGENT,
            proxy=settings.EGRESS_PROXY,
        )

    async def _claim(self, line: Line | Here, room: int, others: Others) -> int:
        """Claim up to `room` deliveries of others and begin to send them. Returns how many were claimed."""
        if room <= 0:
            return 0
        heads = await self._claim_heads(line, (room + 1) // 2, others)  # or they would wait behind what is in no line
        claims = await line.run(self._claiming.claiming(room - heads, others)) if room > heads else []
        if claims:
            self._vain.found(claims)
            await self._read(line, claims)
        return heads + len(claims)

    async def _claim_heads(self, line: Line | Here, room: int, others: Others) -> int:
        """The same of what is sent in line: one message for each lane."""
        if not await self._has_lanes(line):
            return 0
        heads = await line.run(lanes.claiming(room, others.tenants, others.subscriptions))
        self._vain.found(heads)
        for head in heads:
            if self._places.are_heavy:
                await line.run(putting_back(head.claims))
                await line.run(lanes.leaving([(head, 0.0)]))
            else:
                await self._read_head(line, head)
        return len(heads)

    async def _has_lanes(self, line: Line | Here) -> bool:
        """Most portals have none, and need not be asked for those that are due."""
        now = time.monotonic()
        if not self._lanes and now - self._lanes_asked >= LANES_SECONDS:
            self._lanes, self._lanes_asked = await line.run(lanes.there_are_some()), now
        return self._lanes

    async def _read_head(self, line: Line | Here, head: Head) -> None:
        """Begin to send what stands at the head of a line, or let the line wait."""
        try:
            sendings, cancelled, left = await line.run(reading(head.claims, self._endpoints, BATCH_BYTES))
            await line.run(cancelling(cancelled))
            sendings, left = await self._cut(line, sendings, left)
            await line.run(putting_back(left))
            head = head.only(one.claim for one in sendings)
            first = None
            if any(map(may_have_to_wait, sendings)):
                waiting = sendings
                sendings, first = await line.call(admit_head, sendings)
                if not sendings:
                    delay = SPARED_SECONDS if first is None else self._look_again(waiting[0].signed_at, first)
                    await line.run(lanes.leaving([(head, delay)]))
                    return
            if not sendings:
                await line.run(lanes.leaving([(head, None)]))
                self._hears()
                return
        except lines.LOST:
            raise
        except Exception:
            logger.exception("A line of subscription %s cannot be read; it waits.", head.subscription_id)
            await line.run(lanes.leaving([(head, UNREADABLE_SECONDS)]))
            return
        lead = sendings[0]
        lead.head, lead.others = head, sendings[1:]
        self._begin(lead)

    async def _cut(
        self, line: Line | Here, sendings: list[Sending], left: list[Claim]
    ) -> tuple[list[Sending], list[Claim]]:
        """What makes one message as its subscription is now: it may be sent smaller ones than when these were kept."""
        if not sendings:
            return sendings, left
        subscription = sendings[0].subscription
        events = subscription.sending_mode.events
        if len(sendings) > events:
            await line.run(lanes.resizing(subscription.pk, events))
        return sendings[:events], [*(one.claim for one in sendings[events:]), *left]

    def _look_again(self, now: datetime, at: datetime) -> float:
        """See to it that somebody claims at that moment. Returns in how many seconds that is."""
        delay = max(0.0, (at - now).total_seconds())
        if self._thread is not None:
            self._loop.call_later(delay, self._hears)
        return delay

    async def _read(self, line: Line | Here, claims: Sequence[Claim]) -> None:
        """Begin to send. A row that cannot be read does not hold up the others."""
        try:
            sendings, cancelled, left = await line.run(reading(claims, self._endpoints))
            await line.run(cancelling(cancelled))
            await line.run(putting_back(left))
        except lines.LOST:
            raise
        except Exception:
            if len(claims) == 1:
                logger.exception("Delivery %s cannot be read; it waits for its lease to end.", claims[0].delivery_id)
                return
            middle = len(claims) // 2
            await self._read(line, claims[:middle])
            await self._read(line, claims[middle:])
        else:
            ready, waiting = apart(sendings)
            for sending in ready:
                self._begin(sending)
            if waiting:
                await self._let_in(line, waiting)
            if left:
                self._hears()

    async def _let_in(self, line: Line | Here, waiting: Sequence[Sending]) -> None:
        """Begin to send those that may leave. What is asked about them must not hold up the claims of others, so they
        stand at a gate of their own meanwhile, in places that count as theirs.
        """
        for sending in waiting:
            self._places.take(*_share(sending))
        await self._at_gate(line, [one.claim.subscription_id for one in waiting], partial(self._admit, waiting))

    async def _at_gate(self, line: Line | Here, subscriptions: Sequence[UUID], step: Step) -> None:
        """Ask something about these. Nothing of them is claimed meanwhile: it would only come to stand behind."""
        if self._gate is None:
            await step(line)
            return
        self._asked_about.update(subscriptions)
        task = self._loop.create_task(step(self._gate))
        self._at_the_gate.add(task)
        task.add_done_callback(partial(self._has_been_asked, subscriptions))

    def _has_been_asked(self, subscriptions: Sequence[UUID], task: "asyncio.Task[None]") -> None:
        self._at_the_gate.discard(task)
        self._asked_about -= Counter(subscriptions)
        self._hears()

    async def _clear(self, subscription_id: UUID, line: Line | Here) -> None:
        """Put off what is due to a receiver that is spared from now on, or all of it would have to be claimed first."""
        more = True
        try:
            while more:
                async with self._gate_turn:
                    more = await line.run(breaker.clearing(subscription_id))
        except lines.LOST as error:
            logger.warning("The dispatcher lost the database (%s); what is due is put off when it is claimed.", error)
        except Exception:
            logger.exception("What is due to subscription %s cannot be put off at once.", subscription_id)

    async def _admit(self, waiting: Sequence[Sending], line: Line | Here) -> None:
        now, kept, first = waiting[0].signed_at, [], None
        try:
            async with self._gate_turn:
                if all(map(is_only_spared, waiting)):
                    kept = await line.run(breaker.parking(waiting))
                else:
                    kept, first = await line.call(admit, waiting)
        except lines.LOST as error:
            logger.warning("The dispatcher lost the database (%s); what was claimed waits for its lease to end.", error)
        except Exception:
            if len(waiting) > 1:
                middle = len(waiting) // 2
                await self._admit(waiting[:middle], line)
                await self._admit(waiting[middle:], line)
                return
            logger.exception("Whether delivery %s may leave cannot be said.", waiting[0].delivery.pk)
        for sending in waiting:
            self._places.free(*_share(sending))
        for sending in kept:
            self._begin(sending)
        if first is not None:
            self._look_again(now, first)

    def _begin(self, sending: Sending) -> None:
        try:
            sending.prepared = prepare(sending)
        except Exception as error:  # one that cannot be sent must not hold up the others
            logger.warning("Delivery %s cannot be sent: %s.", sending.delivery.pk, type(error).__name__)
            self._places.take(*_share(sending))
            self._ended(sending, Outcome(status=None, error="unsendable", detail=why_unsendable(error)))
        else:
            self._places.take(*_share(sending))
            self._loop.create_task(self._send(sending))

    async def _send(self, sending: Sending) -> None:
        try:
            outcome = await authenticated_post(self._client, sending.prepared.request, sending.prepared.auth)
        except Exception as failure:
            logger.exception("A request failed in a way of its own.")
            outcome = Outcome(status=None, error="unsendable", detail=type(failure).__name__)
        self._ended(sending, outcome)

    def _ended(self, sending: Sending, outcome: Outcome) -> None:
        sending.outcome = outcome
        self._done.append(sending)
        self._answered.set()

    async def _record(self, line: Line | Here) -> None:
        """Write a batch of results. What could not be written because the database is lost waits for the next time,
        as long as it takes: the receivers have the messages, and nobody can claim them meanwhile.
        """
        batch = [self._done.popleft() for _ in range(min(len(self._done), BATCH))]
        usual: list[Decided] = []
        with_consequences: list[Decided] = []
        try:
            for one in map(decide, batch):
                (with_consequences if one.has_consequences else usual).append(one)
            await self._write(line, usual)
            await self._write(line, with_consequences)
        finally:
            self._done.extendleft(one for one in reversed(batch) if not one.is_written)
            if with_consequences:
                self._hears()
            elif self._left_some:
                self._news.set()
        if used := self._to_note(batch):
            await line.call(results.note_use, used)

    async def _write(self, line: Line | Here, batch: Sequence[Decided]) -> None:
        """One that cannot be written does not take the others along. All of them have consequences, or none."""
        if not batch:
            return
        spared: set[UUID] = set()
        try:
            if batch[0].has_consequences:
                spared = await line.call(results.record, batch)
            else:
                await line.run(results.recording(batch))
        except lines.LOST:
            raise
        except Exception:
            if len(batch) > 1:
                middle = len(batch) // 2
                await self._write(line, batch[:middle])
                await self._write(line, batch[middle:])
                return
            logger.exception("What came of delivery %s cannot be written.", batch[0].sending.delivery.pk)
        for one in batch:
            one.sending.is_written = True  # or never will be
            self._places.free(*_share(one.sending))
        for subscription_id in spared:
            await self._at_gate(line, [subscription_id], partial(self._clear, subscription_id))

    def _to_note(self, batch: Sequence[Sending]) -> list[UUID]:
        """The subscriptions whose use has not been noted lately."""
        now, interval = time.monotonic(), TOUCH_INTERVAL.total_seconds()
        signed = {sending.claim.subscription_id for sending in batch if sending.prepared}
        due = [one for one in signed if now - self._used.get(one, float("-inf")) >= interval]
        if len(self._used) > MANY:
            self._used.clear()
        self._used.update(dict.fromkeys(due, now))
        return due


def _share(sending: Sending) -> tuple[UUID, UUID, int]:
    """Whose place it takes, and how many bytes."""
    size = len(sending.prepared.request.body) if sending.prepared else 0
    return sending.claim.tenant_id, sending.claim.subscription_id, size
