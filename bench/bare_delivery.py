"""The bare limit of delivering: claim, sign, POST, write down; no guard, no tenants, no subscriptions.

    python -m bench.bare_delivery CONNINFO PORT [route]

What no dispatcher that survives its own death can do without: a claim that leases rows and counts the attempt, a
Standard Webhooks signature, aiohttp, and for each request three rows (the attempt is kept, the delivery updated, the
outbox row removed), in batches. With `route` it is the worker of a whole bare pipeline: it listens for what
`bench.bare_intake` keeps (KEEP), and makes deliveries of it. `bench.delivery` runs both against the same PostgreSQL and
receiver as the portal.
"""

import asyncio
import base64
import hmac
import sys
import time
from collections import deque
from datetime import UTC, datetime
from uuid import UUID

import aiohttp
import psycopg
import uvloop
from uuid_utils import uuid7

from events.columns import Integers, Moments, Uuids, teach

BATCH = 200
IN_FLIGHT = 256
FLUSH_SECONDS = 0.003
KEY = b"0123456789abcdef0123456789abcdef"

TABLES = """
    CREATE TABLE bare_message (id uuid PRIMARY KEY, body bytea NOT NULL);
    CREATE TABLE bare_inbox (id uuid PRIMARY KEY) WITH (fillfactor = 70);
    CREATE TABLE bare_delivery (id uuid PRIMARY KEY, message_id uuid NOT NULL, status text NOT NULL, code int,
        ended_at timestamptz);
    CREATE TABLE bare_outbox (id uuid PRIMARY KEY, due_at timestamptz NOT NULL, attempt int NOT NULL,
        lease_token uuid) WITH (fillfactor = 70);
    CREATE INDEX bare_outbox_due ON bare_outbox (due_at);
    CREATE TABLE bare_attempt (id uuid PRIMARY KEY, delivery_id uuid NOT NULL, number int NOT NULL, code int NOT NULL,
        signed_at timestamptz NOT NULL);
"""
# What the bare door keeps: the message, a row that says it is to be routed, and a wake-up.
KEEP = """
    WITH kept AS (
        INSERT INTO bare_message (id, body) SELECT * FROM unnest($1::uuid[], $2::bytea[]) RETURNING id
    ), queued AS (INSERT INTO bare_inbox (id) SELECT id FROM kept)
    SELECT pg_notify('bare', '')
"""
ROUTE = """
    WITH due AS (
        DELETE FROM bare_inbox WHERE id = ANY(ARRAY(
            SELECT id FROM bare_inbox ORDER BY id LIMIT 500 FOR UPDATE SKIP LOCKED
        ))
        RETURNING id
    ), told AS (
        INSERT INTO bare_delivery (id, message_id, status) SELECT id, id, 'pending' FROM due RETURNING id
    )
    INSERT INTO bare_outbox (id, due_at, attempt) SELECT id, clock_timestamp(), 0 FROM told
"""
CLAIM = """
    WITH due AS (
        SELECT id FROM bare_outbox WHERE due_at <= clock_timestamp() ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE bare_outbox SET lease_token = $2, due_at = clock_timestamp() + interval '90 s', attempt = attempt + 1
        FROM due WHERE bare_outbox.id = due.id RETURNING bare_outbox.id, attempt
    )
    SELECT claimed.id, attempt, message.id, body FROM claimed JOIN bare_delivery USING (id)
    JOIN bare_message AS message ON message.id = message_id
"""
RECORD = """
    WITH row AS MATERIALIZED (
        SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::int[], $5::timestamptz[])
            AS row (id, attempt_id, number, code, signed_at)
    ), ours AS (
        DELETE FROM bare_outbox USING row WHERE bare_outbox.id = row.id RETURNING bare_outbox.id
    ), kept AS (
        INSERT INTO bare_attempt (id, delivery_id, number, code, signed_at)
        SELECT attempt_id, id, number, code, signed_at FROM row
    )
    UPDATE bare_delivery SET status = 'delivered', code = row.code, ended_at = clock_timestamp()
    FROM row JOIN ours USING (id) WHERE bare_delivery.id = row.id
"""


class Bare:
    def __init__(self, conninfo: str, port: int) -> None:
        self.conninfo, self.url = conninfo, f"http://127.0.0.1:{port}/bare"
        self.woken = asyncio.Event()
        self.done: deque[tuple] = deque()
        self.finished, self.room = asyncio.Event(), asyncio.Event()
        self.in_flight = 0

    async def cursor(self) -> psycopg.AsyncRawCursor:
        connection = await psycopg.AsyncConnection.connect(self.conninfo, autocommit=True)
        teach(connection.adapters)
        return psycopg.AsyncRawCursor(connection)

    async def run(self) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as self.session:
            routing = [self.route_for_ever()] if "route" in sys.argv else []
            await asyncio.gather(self.claim_for_ever(), self.record_for_ever(), *routing)

    async def route_for_ever(self) -> None:
        listening = await psycopg.AsyncConnection.connect(self.conninfo, autocommit=True)
        await listening.execute("LISTEN bare")
        news = asyncio.Event()
        news.set()

        async def listen() -> None:
            async for _ in listening.notifies():
                news.set()

        task = asyncio.create_task(listen())
        cursor = await self.cursor()
        while not task.done():
            await news.wait()
            news.clear()
            await cursor.execute(ROUTE, prepare=True)
            if cursor.rowcount:
                news.set()  # there may be more
                self.woken.set()

    async def claim_for_ever(self) -> None:
        cursor = await self.cursor()
        while True:
            room = min(BATCH, IN_FLIGHT - self.in_flight)
            if room < BATCH // 4:
                self.room.clear()
                await self.room.wait()
                continue
            self.woken.clear()  # before it looks: what comes while it does is a reason to look again
            await cursor.execute(CLAIM, [room, UUID(bytes=uuid7().bytes)], prepare=True, binary=True)
            claimed = await cursor.fetchall()
            self.in_flight += len(claimed)
            for row in claimed:
                asyncio.ensure_future(self.send(*row))
            if not claimed:
                await self.woken.wait()

    async def send(self, delivery: UUID, attempt: int, message: UUID, body: bytes) -> None:
        now = int(time.time())
        digest = hmac.digest(KEY, b"%s.%d.%s" % (str(message).encode(), now, body), "sha256")
        headers = {
            "Content-Type": "application/json", "webhook-id": str(message), "webhook-timestamp": str(now),
            "webhook-signature": "v1," + base64.b64encode(digest).decode(),
        }  # fmt: skip
        async with asyncio.timeout(15), self.session.post(self.url, data=body, headers=headers) as response:
            await response.read()
        self.done.append((delivery, attempt, response.status))
        self.finished.set()

    async def record_for_ever(self) -> None:
        cursor = await self.cursor()
        while True:
            if not self.done:
                self.finished.clear()
                await self.finished.wait()
            await asyncio.sleep(FLUSH_SECONDS)
            batch = [self.done.popleft() for _ in range(min(len(self.done), BATCH))]
            if not batch:
                continue
            self.in_flight -= len(batch)
            self.room.set()
            ids, attempts, codes = zip(*batch, strict=True)
            made = [UUID(bytes=uuid7().bytes) for _ in batch]
            await cursor.execute(
                RECORD,
                [Uuids(ids), Uuids(made), Integers(attempts), Integers(codes), Moments([datetime.now(UTC)] * len(ids))],
                prepare=True,
            )


async def main() -> None:
    bare = Bare(sys.argv[1], int(sys.argv[2]))
    loop = asyncio.get_running_loop()
    # A line on standard input is a wake-up.
    loop.add_reader(sys.stdin.fileno(), lambda: sys.stdin.readline() and bare.woken.set())
    print("ready", flush=True)
    await bare.run()


if __name__ == "__main__":
    uvloop.run(main())
