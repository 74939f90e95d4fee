"""How the statements of deliveries are run: by Django's connection, or by one of an event loop's own.

What is written is said once, as steps: a generator that yields statements (parameters as $1, $2 …, columns as
`events.columns`) and is sent their rows. `run` runs them in one transaction of the caller's thread; a Line runs them
within an event loop, each statement in a transaction of its own.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from typing import Any, TypeVar

import psycopg
from django.db import close_old_connections, connection
from django.db.utils import InterfaceError, InternalError, OperationalError

from events.columns import teach
from tenants.async_scope import hanging_up, system_connection
from tenants.scope import IDLE_WITH_LOCKS, is_system, system_scope

PATIENCE = 30  # seconds for one statement
LOST = (psycopg.OperationalError, psycopg.InterfaceError, OperationalError, InterfaceError, OSError)

Result = TypeVar("Result")
Statement = tuple[str, Sequence[object]]
Rows = list[tuple[Any, ...]]
Steps = Generator[Statement, Rows, Result]

# All statements look rows up by an index, and their plans are made once: perhaps while the tables were empty. Then it
# costs nothing to walk over all of an index, in the order of its keys, and to compare; and a burst finds that plan. So
# a row of a queue is found with `key = ANY(ARRAY[…])`, which cannot be joined in order: no plan but a lookup is left.
_BY_INDEX = (
    "SELECT set_config(name, value, false) FROM (VALUES ('plan_cache_mode', 'force_generic_plan'),"
    " ('enable_seqscan', 'off'), ('enable_bitmapscan', 'off'), ('enable_hashjoin', 'off'), ('enable_mergejoin', 'off'),"
    " ('jit', 'off')) AS setting (name, value)"
)
# The same where each execution has a plan of its own. It holds until the transaction ends.
_BY_INDEX_HERE = "SET LOCAL enable_seqscan = off"
_NOT_DURABLE = "SELECT set_config('synchronous_commit', 'off', false)"


def run(steps: Steps[Result]) -> Result:
    """Run the steps in one transaction that sees every tenant's rows. Raises `django.db.Error`.

    Within one that does so already they are part of it, without a savepoint: an error ends all of it.
    """
    scope = nullcontext() if is_system(IDLE_WITH_LOCKS) else system_scope(idle=IDLE_WITH_LOCKS)
    with scope, connection.wrap_database_errors, psycopg.RawCursor(connection.connection) as cursor:
        teach(cursor.adapters)
        cursor.execute(_BY_INDEX_HERE)
        rows: Rows | None = None
        while True:
            try:
                statement, parameters = steps.send(rows)  # type: ignore[arg-type]  (None starts it)
            except StopIteration as done:
                return done.value
            cursor.execute(statement, parameters)
            rows = cursor.fetchall() if cursor.description else []


def only(statement: str, parameters: Sequence[object]) -> Steps[Rows]:
    """One statement, as steps: its rows."""
    return (yield statement, parameters)


class Here:
    """The caller's thread and Django's connection, with a Line's face: its coroutines never wait."""

    async def run(self, steps: Steps[Result]) -> Result:
        return run(steps)

    async def call(self, function: Callable[..., Result], *arguments: object) -> Result:
        return function(*arguments)


class Line:
    """One connection of an event loop, made when it is needed and again when it broke. Of one user at a time.

    `aside` is a thread for what wants Django's connection, which must not be used in an event loop.
    """

    def __init__(self, aside: Executor, *, durable: bool = True) -> None:
        self._aside = aside
        self._durable = durable
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._listening: psycopg.AsyncConnection[Any] | None = None

    async def heard(self, channels: Sequence[str], besides: str | None = None) -> set[str]:
        """Wait for a NOTIFY: the channels there was one in, `besides` those with that payload. All of them, at once,
        where it only begins to listen: something may have come before.
        """
        line = await self._connected()
        if self._listening is not line:
            for channel in channels:
                await line.execute(f"LISTEN {channel}")
            self._listening = line
            return set(channels)
        return {one.channel async for one in line.notifies(stop_after=1) if one.payload != besides}

    async def run(self, steps: Steps[Result]) -> Result:
        """Run the steps, each for itself. Raises `psycopg.Error` and OSError: those of LOST where it broke."""
        line = await self._connected()
        cursor = psycopg.AsyncRawCursor(line)
        rows: Rows | None = None
        with hanging_up(line, PATIENCE):
            while True:
                try:
                    statement, parameters = steps.send(rows)  # type: ignore[arg-type]  (None starts it)
                except StopIteration as done:
                    return done.value
                await cursor.execute(statement, parameters, prepare=True, binary=True)
                rows = await cursor.fetchall() if cursor.description else []

    async def call(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Call it in the thread. Raises what it raises: `django.db.Error`, of the database."""
        return await asyncio.get_running_loop().run_in_executor(self._aside, _connected, function, arguments)

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _connected(self) -> psycopg.AsyncConnection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = await system_connection()
            teach(self._connection.adapters)
            await self._connection.execute(_BY_INDEX)
            if not self._durable:
                await self._connection.execute(_NOT_DURABLE)
        return self._connection


def at_once(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine that never waits, without an event loop: Django refuses to work inside of one."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise RuntimeError("It waited.")


def _connected(function: Callable[..., Result], arguments: Sequence[object]) -> Result:
    close_old_connections()
    try:
        return function(*arguments)
    except InternalError as error:
        if isinstance(error.__cause__, psycopg.errors.IdleInTransactionSessionTimeout):
            raise OperationalError("This process stood still in a transaction, which PostgreSQL has ended.") from error
        raise
