"""The bare limit of receiving: an ASGI application that proves, parses and keeps, and does nothing else.

HMAC-SHA256 over the body, one JSON parse, and a group commit into one table: what no portal that answers after the
commit can do without. `bench.intake` serves it with the door's PostgreSQL, and with `bench.bare_gunicorn`.
"""

import asyncio
import hmac
import json
import os
from collections import deque
from typing import Any
from uuid import UUID

import psycopg
from uuid_utils import uuid7

from events.columns import Bytes, Uuids, teach

SECRET = os.environ.get("BENCH_SECRET", "").encode()
CONNINFO = os.environ.get("BENCH_CONNINFO", "")
CONNECTIONS = 2
MAX_BATCH = 400
INSERT = os.environ.get(
    "BENCH_INSERT", "INSERT INTO bare_event (id, body) SELECT * FROM unnest($1::uuid[], $2::bytea[])"
)

_waiting: deque[tuple[UUID, bytes, asyncio.Future[None]]] = deque()
_work = asyncio.Event()
_tasks: list[asyncio.Task[None]] = []


async def _commit_for_ever() -> None:
    connection = await psycopg.AsyncConnection.connect(CONNINFO, autocommit=True)
    await connection.execute("SET synchronous_commit = on")
    teach(connection.adapters)
    cursor = psycopg.AsyncRawCursor(connection)
    while True:
        while not _waiting:
            _work.clear()
            await _work.wait()
        batch = [_waiting.popleft() for _ in range(min(len(_waiting), MAX_BATCH))]
        await cursor.execute(INSERT, [Uuids([one[0] for one in batch]), Bytes([one[1] for one in batch])], prepare=True)
        for _, _, future in batch:
            future.set_result(None)


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        _tasks.extend(asyncio.create_task(_commit_for_ever()) for _ in range(CONNECTIONS))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    message = await receive()
    body = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    presented = next((value for name, value in scope["headers"] if name == b"x-signature"), b"")
    proven = hmac.compare_digest(b"sha256=" + hmac.digest(SECRET, body, "sha256").hex().encode(), presented)
    status = 401
    if proven:
        json.loads(body)
        future = asyncio.get_running_loop().create_future()
        _waiting.append((UUID(bytes=uuid7().bytes), body, future))
        _work.set()
        await future
        status = 202
    answer = b'{"kept": true}'
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))],
        }
    )
    await send({"type": "http.response.body", "body": answer})
