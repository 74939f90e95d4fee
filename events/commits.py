"""Group commit: what arrives at the same time is kept by the same commit, so its cost is paid for a batch.

Constraints first:
- Nobody is told "kept" before the commit that keeps it has returned.
- What cannot be kept now is refused at once: the queue of those who wait is bounded, in number and in bytes, and
  while the database is away nobody waits at all.
- One arrival that PostgreSQL does not take must not take the others with it.

A batch is whatever waits when a connection is free; nobody waits for a batch to fill. A batch costs what fifteen posts
do, however many it holds, so while one is at work the other connection begins when the event loop has nothing better
to do: when nothing more came while it went round once. It does not wait for that where enough for a batch waits, or
where the batch at work is a large one or takes long.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Sequence
from functools import partial
from typing import Any, NamedTuple

import psycopg

from events.arrivals import Accepted, First
from events.columns import teach
from events.prepared import Prepared
from events.store import PLAIN_POSTS, Rows, Statement, in_short, keeping, without_projections
from tenants.async_scope import hanging_up

CONNECTIONS = 2
LARGE_BYTES = 500_000  # of a batch behind which nobody should wait
LONG = 0.05  # seconds of a commit
MANY_WAITING = 24  # small arrivals: a second batch of them is worth its own round trip
MAX_WAITING = 4000  # arrivals
MAX_WAITING_BYTES = 64_000_000
MAX_BATCH = 400
MAX_BATCH_BYTES = 4_000_000
MAX_BATCH_EVENTS = 10_000
MANY_EVENTS = 1000
PATIENCE = 10  # seconds for one commit
RECONNECT = 0.25

logger = logging.getLogger(__name__)

Connect = Callable[[], Awaitable[psycopg.AsyncConnection[Any]]]
Steps = Generator[Statement, Rows, list[First | None]]
Then = Callable[["First | None | Unavailable"], None]
Waiting = tuple[Accepted, Then, int]


class Unavailable(Exception):
    """It is not kept, or nobody can tell: the sender has to send it again."""


class GroupCommit:
    """`start()` within the event loop, then `await keep(accepted)` from any number of tasks, or `keep_then`."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._waiting: deque[Waiting] = deque()
        self._waiting_bytes = 0
        self._connected = 0
        self._idle: list[asyncio.Future[None]] = []
        self._at_work: dict[object, float] = {}  # since when, of those with a small batch
        self._looking = False  # whether `_look` is on its way
        self._tried = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()  # asking for it anew at each post would be a system call
        self._tasks = [asyncio.create_task(self._commit_for_ever()) for _ in range(CONNECTIONS)]

    async def connected(self) -> None:
        """Return once there is a connection, or the first attempt to have one has failed."""
        await self._tried.wait()

    async def close(self) -> None:
        """Keep what waits, then stop."""
        self._closing = True
        while self._idle:
            _set(self._idle.pop())
        await asyncio.wait(self._tasks, timeout=PATIENCE)
        for task in self._tasks:
            task.cancel()

    def keep(self, accepted: Accepted) -> asyncio.Future[First | None]:
        """A future of what came before it with the same key, set by the commit. Raises Unavailable, now or then."""
        future: asyncio.Future[First | None] = self._loop.create_future()
        self.keep_then(accepted, partial(_settle, future))
        return future

    def keep_then(self, accepted: Accepted, then: Then) -> None:
        """The same without a future, for each of which the event loop would have a callback: those of a batch are
        called one after another. `then` must not raise. Raises Unavailable where it cannot even wait.
        """
        size = len(accepted.receipt.body or b"") + sum([len(event.body) + 1000 for event in accepted.events])
        if (
            not self._connected
            or self._closing
            or len(self._waiting) >= MAX_WAITING
            or self._waiting_bytes + size > MAX_WAITING_BYTES
        ):
            raise Unavailable
        self._waiting.append((accepted, then, size))
        self._waiting_bytes += size
        self._call_idle()

    def _call_idle(self) -> None:
        if not self._idle:
            return
        if self._may_begin():
            _set(self._idle.pop())
        elif self._waiting and not self._looking:
            self._looking = True
            self._loop.call_soon(self._look, len(self._waiting))

    def _look(self, before: int) -> None:
        """Called when the event loop has gone round once: `before` that so many waited."""
        self._looking = False
        if self._idle and len(self._waiting) == before:
            _set(self._idle.pop())
        else:
            self._call_idle()

    def _may_begin(self) -> bool:
        """Whether a free connection should take what waits, rather than leave it to the one at work."""
        if not self._waiting:
            return False
        if (
            not self._at_work
            or self._closing
            or len(self._waiting) >= MANY_WAITING
            or self._waiting_bytes >= LARGE_BYTES
        ):
            return True
        return self._loop.time() - min(self._at_work.values()) > LONG

    async def _commit_for_ever(self) -> None:
        while not (self._closing and not self._waiting):
            try:
                connection = await self._connect()
            except Exception as error:  # whatever it is, the door must not stand waiting
                logger.error("No connection to keep what arrives (%s).", type(error).__name__)
                self._nobody_waits()
                self._tried.set()
                await asyncio.sleep(RECONNECT)
                continue
            teach(connection.adapters)
            self._connected += 1
            self._tried.set()
            try:
                async with connection:
                    await self._commit_with(connection)
            except Exception as error:  # nor may one batch end the keeping of all that follow
                logger.error("What arrived could not be kept and was answered 503: %s.", in_short(error))
            finally:
                self._connected -= 1
                self._nobody_waits()
                self._call_idle()

    async def _commit_with(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Batch after batch, until the connection fails or the portal stops."""
        line = Line(connection, psycopg.AsyncRawCursor(connection), Prepared(connection, PLAIN_POSTS))
        with hanging_up(connection, PATIENCE):
            await connection.execute(f"SET statement_timeout = {round(1000 * PATIENCE)}")
        while True:
            if not self._may_begin():
                if self._closing and not self._waiting:
                    return
                await self._until_called()
                if not self._waiting:
                    continue
            batch = self._next_batch()
            if sum([size for _, _, size in batch]) < LARGE_BYTES:
                self._at_work[connection] = self._loop.time()
            told: list[tuple[Then, First | None | Unavailable]] = []
            try:
                with hanging_up(connection, 1.2 * PATIENCE):
                    await self._keep(line, batch, told)
            finally:
                self._at_work.pop(connection, None)
                told += [(then, Unavailable()) for _, then, _ in batch[len(told) :]]
                self._loop.call_soon(_tell, told)  # after the next batch is on its way

    async def _until_called(self) -> None:
        call: asyncio.Future[None] = self._loop.create_future()
        self._idle.append(call)
        self._call_idle()  # those that wait may not have been enough for another one
        try:
            await call
        finally:
            if call in self._idle:
                self._idle.remove(call)

    def _next_batch(self) -> list[Waiting]:
        batch: list[Waiting] = []
        size = events = 0
        while self._waiting and len(batch) < MAX_BATCH and size < MAX_BATCH_BYTES and events < MAX_BATCH_EVENTS:
            one = self._waiting.popleft()
            batch.append(one)
            size += one[2]
            events += len(one[0].events)
        self._waiting_bytes -= size
        return batch

    async def _keep(
        self, line: "Line", batch: Sequence[Waiting], told: "list[tuple[Then, First | None | Unavailable]]"
    ) -> None:
        """Keep a batch, or each half of it where PostgreSQL does not take a value in it. `told` is what came of each,
        in order, as far as that is known when an error leaves here.
        """
        try:
            firsts = await _run(line, [accepted for accepted, _, _ in batch])
        except (psycopg.DataError, UnicodeError) as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                await self._keep(line, batch[:middle], told)
                await self._keep(line, batch[middle:], told)
                return
            logger.error("A payload is kept without its projection: %s.", in_short(error))
            try:
                firsts = await _run(line, [without_projections(batch[0][0])])
            except (psycopg.DataError, UnicodeError) as error:
                logger.error("A payload cannot be kept at all: %s.", in_short(error))
                told.append((batch[0][1], Unavailable()))
                return
        told += [(then, first) for (_, then, _), first in zip(batch, firsts, strict=True)]

    def _nobody_waits(self) -> None:
        """Without a connection, those who wait are told so now."""
        if self._connected:
            return
        while self._waiting:
            _, then, size = self._waiting.popleft()
            self._waiting_bytes -= size
            then(Unavailable())


def _tell(told: "list[tuple[Then, First | None | Unavailable]]") -> None:
    for then, what in told:
        try:
            then(what)
        except Exception:  # the others have to be told all the same
            logger.exception("What came of a request could not be told.")


def _settle(future: asyncio.Future[First | None], what: First | None | Unavailable) -> None:
    if future.done():
        return
    if isinstance(what, Unavailable):
        future.set_exception(what)
    else:
        future.set_result(what)


def _set(call: asyncio.Future[None]) -> None:
    if not call.done():
        call.set_result(None)


class Line(NamedTuple):
    """A connection, and the two ways to speak over it: `usual` is for the statement that nearly all batches are."""

    connection: psycopg.AsyncConnection[Any]
    cursor: psycopg.AsyncRawCursor[Any]
    usual: Prepared


async def _run(line: Line, batch: Sequence[Accepted]) -> list[First | None]:
    """Run `keeping` in one transaction: that of its only statement, as a rule."""
    steps = keeping(batch)
    many = sum([len(accepted.events) for accepted in batch]) > MANY_EVENTS
    if not any([accepted.once or accepted.bundle for accepted in batch]):
        return await _drive(line, steps, in_thread=many)
    try:
        async with line.connection.transaction():
            return await _drive(line, steps, in_thread=many)
    except Exception:
        line.usual.forget()
        raise


async def _drive(line: Line, steps: Steps, *, in_thread: bool) -> list[First | None]:
    """Run the statements. Those of many events are put together in a thread: the others' requests go on meanwhile."""
    rows: Rows | None = None
    while True:
        step = await asyncio.to_thread(_next, steps, rows) if in_thread else _next(steps, rows)
        if isinstance(step, list):
            return step
        statement, parameters = step
        if statement is PLAIN_POSTS:
            await line.usual.execute(parameters)
            rows = []
        else:
            await line.cursor.execute(statement, parameters, prepare=True)
            rows = await line.cursor.fetchall() if line.cursor.description else []


def _next(steps: Steps, rows: Rows | None) -> Statement | list[First | None]:
    """The next statement, or what `keeping` returned."""
    try:
        return steps.send(rows)  # type: ignore[arg-type]  (None starts it)
    except StopIteration as done:
        return list(done.value)
