"""What the door knows of the sources, kept in the process and dropped the moment the database says it changed.

Constraints first:
- A revoked secret stops working within a second, in every process. A copy is believed only while the connection that
  listens for changes has answered within TRUSTED; otherwise the database is asked each time.
- A copy read while something changed is used once and not kept: it may be older than the change.
- Copies end with the first of their secrets (`SourceConfig.valid_until`).
- A key that nobody has costs one look at an index, then nothing.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

import psycopg
from django.utils import timezone

from sources.registry import SourceConfig, is_key
from tenants.async_scope import Line, hanging_up

CHANNEL = "portcullis_sources"  # sources/migrations/0002_guards.py
TRUSTED = 0.9  # seconds after the listening connection last answered
HEARTBEAT = 0.1
PATIENCE = 5  # seconds, with a database that does not answer
RECONNECT = 0.5
REMEMBERED = 50_000  # keys, of sources and of nobody each

logger = logging.getLogger(__name__)


class Known(Protocol):
    @property
    def source(self) -> SourceConfig: ...


T = TypeVar("T", bound=Known)
Connect = Callable[[], Awaitable[psycopg.AsyncConnection[Any]]]


def _take_note(reading: asyncio.Task[Any]) -> None:
    """A reading that fails after everybody stopped waiting for it is nobody's surprise."""
    if not reading.cancelled():
        reading.exception()


class LiveRegistry(Generic[T]):
    """`load` reads one source from the database; it runs in a thread. `listen()` must be running in the event loop."""

    def __init__(self, load: Callable[[str], T | None], connect: Connect) -> None:
        self._load = load
        self._connect = connect
        self._copies: dict[str, tuple[T, float]] = {}
        self._nobody: set[str] = set()
        self._reading: dict[str, tuple[int, asyncio.Task[T | None]]] = {}
        self._trusted_until = float("-inf")
        self._changes = 0
        self._line = Line(connect, PATIENCE)

    def known(self, ingest_key: str) -> T | None:
        """The copy, if there is one that may be believed now."""
        copy = self._copies.get(ingest_key)
        if copy is None:
            return None
        now = time.monotonic()
        return copy[0] if now < self._trusted_until and now < copy[1] else None

    async def find(self, ingest_key: str) -> T | None:
        """The source with this key, or None where there is none.

        However many ask for the same one at once, it is read once. Raises `django.db.Error`, `psycopg.Error` and
        `TimeoutError`.
        """
        found = self.known(ingest_key)
        if found is not None or not is_key(ingest_key):
            return found
        if ingest_key in self._nobody and time.monotonic() < self._trusted_until:
            return None
        reading = self._reading.get(ingest_key)
        if reading is None or reading[0] != self._changes:  # one begun before a change may not tell of it
            reading = self._changes, asyncio.create_task(self._read(ingest_key))
            reading[1].add_done_callback(_take_note)
            self._reading[ingest_key] = reading
        async with asyncio.timeout(PATIENCE):
            return await asyncio.shield(reading[1])

    async def _read(self, ingest_key: str) -> T | None:
        """Ask the database, and keep the answer if nothing changed meanwhile."""
        changes, trusted = self._changes, time.monotonic() < self._trusted_until
        try:
            loaded = None
            if await self._exists(ingest_key):
                loaded = await asyncio.to_thread(self._load, ingest_key)
        finally:
            if self._reading.get(ingest_key, (None,))[0] == changes:
                del self._reading[ingest_key]
        if trusted and changes == self._changes:
            if loaded is None:
                self._make_room(self._nobody)
                self._nobody.add(ingest_key)
            else:
                end = loaded.source.valid_until
                left = float("inf") if end is None else (end - timezone.now()).total_seconds()
                self._make_room(self._copies)
                self._copies[ingest_key] = loaded, time.monotonic() + left
        return loaded

    async def listen(self) -> None:
        """Hear of changes, for ever. While the database is away nothing is believed."""
        while True:
            try:
                connection = await self._connect()
                async with connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    self._forget_all()  # what changed before is not told
                    await self._hear(connection)
            except (psycopg.Error, OSError) as error:
                logger.warning("Not listening for changes of sources (%s).", type(error).__name__)
            self._trusted_until = float("-inf")
            await asyncio.sleep(RECONNECT)

    async def close(self) -> None:
        await self._line.close()

    async def _hear(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Whatever was committed before a heartbeat was answered has been heard by then."""
        connection.add_notify_handler(lambda notice: self._forget(notice.payload))
        while True:
            asked = time.monotonic()
            with hanging_up(connection, TRUSTED):
                await connection.execute("SELECT 1")
            self._trusted_until = asked + TRUSTED
            await asyncio.sleep(HEARTBEAT)

    async def _exists(self, ingest_key: str) -> bool:
        """One look at the index, over one connection: however many ask for keys of nobody."""
        statement = "SELECT 1 FROM sources_source WHERE ingest_key = %s AND deleted_at IS NULL"
        return await self._line.ask(statement, [ingest_key]) is not None

    def _forget(self, payload: str) -> None:
        self._changes += 1
        self._nobody.clear()
        kind, _, name = payload.partition(":")
        gone = [
            key
            for key, (copy, _) in self._copies.items()
            if str(copy.source.id if kind == "source" else copy.source.tenant_id) == name
        ]
        for key in gone:
            del self._copies[key]

    def _forget_all(self) -> None:
        self._changes += 1
        self._nobody.clear()
        self._copies.clear()

    def _make_room(self, memory: dict[str, Any] | set[str]) -> None:
        if len(memory) >= REMEMBERED:
            memory.clear()
