"""The ingest door: a bare ASGI application in front of Django, for `/in/<key>` and `/in/<key>/<site>`.

Hundreds of requests are under way in one process: each is read and examined here, in the event loop, and waits for
the commit that it shares with the others (`events.commits`). Refusals and notes of use are written afterwards, in a
thread: no sender waits for them.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any, TypeVar

import psycopg
from django.conf import settings
from django.db import Error as DatabaseFailure
from django.db import connection

from events.arrivals import Accepted, Answer, Arrival, First, KeptReceipt, problem
from events.bounds import Application, Receive, Scope, Send, declared_length
from events.commits import GroupCommit, Unavailable
from events.decoding import is_packed
from events.intake import (
    OUTAGE_RETRY_AFTER,
    Doorway,
    DoorwayRegistry,
    Refused,
    examine,
    for_page,
    refusal,
    told_sender,
    unknown,
)
from events.limits import RateLimiter
from events.store import DatabaseStore, in_short
from events.wakeup import ROUTE, LoopWakeup
from sources.live_registry import LiveRegistry
from tenants.addresses import address_behind
from tenants.async_scope import Line, system_connection
from vault.credentials import TOUCH_INTERVAL

PREFIX = "/in/"
READ_SECONDS = 30  # for a whole body
MAX_READING_BYTES = 128_000_000  # of bodies that have not arrived whole
THREAD_BYTES = 65_536  # a larger body is examined in a thread, so that the small ones need not wait for it
QUICK_BYTES = 2048  # a smaller one is not, whatever it holds
MANY = 1000  # line feeds, commas and closing brackets: it may be as many events
MAX_NOTES = 2000
NOTES_INTERVAL = 0.1  # seconds
WAKEUP_SECONDS = 2  # for the look whether a wake-up is on its way already

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")
HeaderList = list[tuple[bytes, bytes]]

AWAY = problem(503, {"Retry-After": str(OUTAGE_RETRY_AFTER)})


class SenderGone(Exception):
    """The sender went away before the body was whole."""


class Notes:
    """Refusals and uses, gathered and written by a thread every NOTES_INTERVAL. Bounded: too much is dropped."""

    def __init__(self, store: DatabaseStore) -> None:
        self._store = store
        self._refusals: list[KeptReceipt] = []
        self._used: list[Accepted] = []
        self._noted: dict[tuple[object, str | None], float] = {}

    def refused(self, receipt: KeptReceipt) -> None:
        if len(self._refusals) < MAX_NOTES:
            self._refusals.append(receipt)

    def used(self, accepted: Accepted) -> None:
        """At most once in TOUCH_INTERVAL for each source and secret."""
        name = accepted.receipt.source_id, accepted.secret_id
        now = time.monotonic()
        if now - self._noted.get(name, float("-inf")) >= TOUCH_INTERVAL.total_seconds():
            if len(self._noted) >= 50 * MAX_NOTES:
                self._noted.clear()
            self._noted[name] = now
            self._used.append(accepted)

    async def write_for_ever(self) -> None:
        while True:
            await asyncio.sleep(NOTES_INTERVAL)
            try:
                await self.write()
            except Exception as error:  # what comes later must be noted all the same
                logger.error("Refused requests could not be noted: %s.", in_short(error))

    async def write(self) -> None:
        refusals, self._refusals = self._refusals, []
        used, self._used = self._used, []
        if refusals:
            await asyncio.to_thread(_letting_go, self._store.refuse, refusals)
        if used:
            await asyncio.to_thread(_letting_go, self._store.touch, used)


class Door:
    """Answers `/in/…` itself and passes everything else on to `app`."""

    def __init__(self, app: Application, max_bytes: int, wake: Callable[[], None] | None = None) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self._given_wake = wake
        self.limiter = RateLimiter()
        self.reading_bytes = 0
        self._reading: dict[asyncio.Task[Any] | None, float] = {}  # by when its body has to be whole
        self._open = False
        self._starting: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._logged_at = float("-inf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(PREFIX):
            if not self._open:
                await self.start()
            if not self.takes(scope):
                await self.app(scope, receive, send)  # Django's SecurityMiddleware sends it to https
            elif (answer := await self.take(scope, receive)) is not None:
                await _send(answer, send, self.headers_of(answer, scope["method"]), scope["method"])
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})  # 403; Django would raise
        else:
            await self.app(scope, receive, send)

    async def start(self) -> None:
        """Connect to the database; once, however many ask. Bound to the running event loop."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
        await asyncio.shield(self._starting)

    async def stop(self) -> None:
        """Keep and note what is under way, then let go of the database."""
        if self._starting is None:
            return
        await self._starting
        self._open = False
        await self.commits.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.notes.write()
        await self.registry.close()
        self.wakeup.stop()
        await self.line.close()
        self._starting = None

    async def _start(self) -> None:
        self.registry: LiveRegistry[Doorway] = LiveRegistry(
            partial(_letting_go, DoorwayRegistry().find), system_connection
        )
        self._redirects = settings.SECURE_SSL_REDIRECT  # settings are slow to ask, and these are asked of every request
        self._proxies = settings.TRUSTED_PROXIES
        self._hsts_seconds = settings.SECURE_HSTS_SECONDS
        self.line = Line(system_connection, WAKEUP_SECONDS)
        self.wakeup = LoopWakeup(ROUTE, self.line)
        self.wake = self._given_wake or self.wakeup.wake
        self.commits = GroupCommit(system_connection)
        self.notes = Notes(DatabaseStore())
        self.commits.start()
        background: list[Coroutine[Any, Any, None]] = [
            self.registry.listen(),
            self.notes.write_for_ever(),
            self._end_slow_readings(),
        ]
        self._tasks = [asyncio.create_task(coroutine) for coroutine in background]
        await self.commits.connected()
        self._open = True

    async def _end_slow_readings(self) -> None:
        """Looks once a second, because a timer for each request would cost more than most requests do."""
        while True:
            await asyncio.sleep(1)
            now = time.monotonic()
            for task in [task for task, end in self._reading.items() if end <= now]:
                task.cancel()

    async def _live(self, receive: Receive, send: Send) -> None:
        """ASGI's lifespan protocol: connect before the first request, finish what is under way after the last."""
        await receive()
        await self.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    def takes(self, scope: Scope) -> bool:
        """Whether `take` and `begin` may be asked: the request is for this door, and the door is open.

        A server may then pass over ASGI's messages (`config.connection`). Of `scope` are read: scheme, method, path,
        raw_path, query_string, headers and client.
        """
        return self._open and scope["path"].startswith(PREFIX) and not (self._redirects and not _is_secure(scope))

    async def take(self, scope: Scope, receive: Receive) -> Answer | None:
        """The answer to one request; None where its sender went away before it was there."""
        reading = asyncio.current_task()
        self._reading[reading] = time.monotonic() + READ_SECONDS
        try:
            body = await self._read(scope, receive)
        except SenderGone:
            return None
        except asyncio.CancelledError:
            if self._reading[reading] > time.monotonic():
                raise
            reading.uncancel()  # it was `_end_slow_readings`
            return problem(408)
        finally:
            del self._reading[reading]
        return AWAY if body is None else await self._receive(_arrival(scope, body, self._proxies))

    def headers_of(self, answer: Answer, method: str) -> HeaderList:
        """The headers of an answer, names in lower case."""
        length = 0 if method == "HEAD" else len(answer.body)
        headers = _usual_headers(answer.media_type, length, self._hsts_seconds)
        if answer.headers:
            headers = headers + [
                (name.lower().encode(), value.encode("latin-1")) for name, value in answer.headers.items()
            ]
        return headers

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """At most one chunk more than any request may have; None where too many bodies are on their way already."""
        if declared_length(scope["headers"]) > self.max_bytes:
            return b""
        message = await receive()
        body = message.get("body", b"")
        if message["type"] == "http.request" and not message.get("more_body", False):
            return bytes(body)
        chunks, size = [], 0
        try:
            while True:
                if message["type"] != "http.request":
                    raise SenderGone
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                self.reading_bytes += len(chunks[-1])
                if size > self.max_bytes or not message.get("more_body", False):
                    return b"".join(chunks)
                if self.reading_bytes > MAX_READING_BYTES:
                    return None
                message = await receive()
        finally:
            self.reading_bytes -= size

    def begin(self, scope: Scope, body: bytes, then: Callable[[Answer], None]) -> Answer | bool:
        """`take` for a request whose body is there, as far as nobody has to be waited for: the answer, or True where
        `then` will be called with it. False where the database or a thread has to be asked first: `take` does it all.
        """
        arrival = _arrival(scope, body, self._proxies)
        doorway = self.registry.known(arrival.ingest_key)
        if doorway is None or _takes_long(arrival):
            return False
        try:
            accepted = examine(doorway, arrival, self.limiter, self.max_bytes)
            if isinstance(accepted, Answer):
                return accepted
            self.commits.keep_then(accepted, lambda first: then(self._told(doorway, arrival, accepted, first)))
        except Refused as refused:
            return self._refuse(doorway, arrival, refused)
        except Unavailable:
            return AWAY
        return True

    def _log_outage(self, error: Exception) -> None:
        """At most once a second: while the database is away every request comes here, and senders try again."""
        if time.monotonic() - self._logged_at >= 1:
            self._logged_at = time.monotonic()
            logger.error("A source could not be looked up, and its sender was answered 503: %s", in_short(error))

    async def _receive(self, arrival: Arrival) -> Answer:
        """`Intake.receive` for many at once. Never raises for what the request holds, nor for an absent database."""
        try:
            doorway = self.registry.known(arrival.ingest_key) or await self.registry.find(arrival.ingest_key)
        except (DatabaseFailure, psycopg.Error, OSError, TimeoutError) as error:
            self._log_outage(error)
            return AWAY
        if doorway is None:
            return unknown(arrival, self.max_bytes)
        try:
            if _takes_long(arrival):
                accepted = await asyncio.to_thread(examine, doorway, arrival, self.limiter, self.max_bytes)
            else:
                accepted = examine(doorway, arrival, self.limiter, self.max_bytes)
        except Refused as refused:
            return self._refuse(doorway, arrival, refused)
        if isinstance(accepted, Answer):
            return accepted
        try:
            first = await self.commits.keep(accepted)
        except Unavailable as unavailable:
            return self._told(doorway, arrival, accepted, unavailable)
        return self._told(doorway, arrival, accepted, first)

    def _told(
        self, doorway: Doorway, arrival: Arrival, accepted: Accepted, first: "First | None | Unavailable"
    ) -> Answer:
        """The answer to what was kept, or was not."""
        if isinstance(first, Unavailable):
            return AWAY
        try:
            told = told_sender(accepted, first)
        except Refused as refused:
            return self._refuse(doorway, arrival, refused)
        if first is None:
            self.wake()
        self.notes.used(accepted)
        return for_page(doorway, arrival, told)

    def _refuse(self, doorway: Doorway, arrival: Arrival, refused: Refused) -> Answer:
        self.notes.refused(refusal(doorway, arrival, refused))
        return for_page(doorway, arrival, problem(refused.status, refused.headers))


def _letting_go(work: Callable[[T], R], given: T) -> R:
    """For a thread: do it, and then give back the thread's connection. No request ends here, so Django would not."""
    try:
        return work(given)
    finally:
        connection.close()


def _takes_long(arrival: Arrival) -> bool:
    """Whether a body is large, or may become so: compressed, or of very many events."""
    body = arrival.body or b""
    if len(body) <= QUICK_BYTES or len(body) > THREAD_BYTES:
        return len(body) > THREAD_BYTES
    if is_packed(body) or any([name == b"content-encoding" for name, _ in arrival.headers]):
        return True
    return sum([body.count(one) for one in (b"\n", b",", b"}", b">")]) > MANY


def _arrival(scope: Scope, body: bytes, proxies: int = 0) -> Arrival:
    path = scope["path"]
    key, _, site = path[len(PREFIX) :].rstrip("/").partition("/")
    target, query = scope.get("raw_path") or path.encode(), scope["query_string"]
    return Arrival(
        scope["method"],
        key,
        site or None,
        tuple(scope["headers"]),
        body,
        _client_address(scope, proxies),
        datetime.now(UTC),
        (b"%s?%s" % (target, query) if query else target).decode("latin-1"),
    )


def _client_address(scope: Scope, proxies: int) -> str:
    client = scope.get("client")
    forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"] if proxies else []
    return address_behind(client[0] if client else "", forwarded, proxies) or ""


def _is_secure(scope: Scope) -> bool:
    if scope["scheme"] == "https":
        return True
    proxy = getattr(settings, "SECURE_PROXY_SSL_HEADER", None)
    if proxy is None:
        return False
    name = proxy[0].removeprefix("HTTP_").replace("_", "-").lower().encode()
    return any(value.decode("latin-1") == proxy[1] for known, value in scope["headers"] if known == name)


async def _send(answer: Answer, send: Send, headers: HeaderList, method: str) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else answer.body})


@lru_cache(maxsize=256)
def _usual_headers(media_type: str, length: int, hsts_seconds: int) -> HeaderList:
    headers = [
        (b"content-type", media_type.encode()),
        (b"content-length", b"%d" % length),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    return headers + [(b"strict-transport-security", b"max-age=%d" % hsts_seconds)] * bool(hsts_seconds)
