"""The sender of the torture: a process of its own that posts signed, numbered events at a steady rate.

    python -m tests.torture.sender '{"address": ["127.0.0.1", 8000], "path": "/in/…", "header": "X-Signature",
                                     "secret": "…", "rate": 50, "file": "acked"}'

Each number that was answered with 202 is appended to the file as `time number`. Even numbers carry an Idempotency-Key
and are posted again until they are acknowledged, as a careful sender does: however often, they are one event. Odd ones
are posted once, as most senders do: without an answer nobody was promised anything. SIGTERM ends it: nothing new, the
careful ones still have PATIENCE seconds. Last it prints how often each status came; 0 stands for no answer.
"""

import asyncio
import contextlib
import hashlib
import hmac
import json
import signal
import sys
import time
from collections import Counter
from typing import BinaryIO, NamedTuple

ANSWER_SECONDS = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 2.0
PATIENCE = 30.0

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Wanted(NamedTuple):
    address: tuple[str, int]
    path: str
    header: str
    secret: str
    rate: float
    file: str


class Sender:
    def __init__(self, wanted: Wanted, acked: BinaryIO) -> None:
        self.wanted = wanted
        self.acked = acked
        self.idle: list[Connection] = []
        self.statuses: Counter[int] = Counter()
        self.stopping = asyncio.Event()

    async def run(self) -> None:
        """Posts are due at fixed moments: a portal that is away is not spared."""
        begun, number, posts = time.monotonic(), 0, set()
        while not self.stopping.is_set():
            post = asyncio.create_task(self.post(number))
            posts.add(post)
            post.add_done_callback(posts.discard)
            number += 1
            await self.rest(begun + number / self.wanted.rate - time.monotonic())
        if posts:
            _, late = await asyncio.wait(posts, timeout=PATIENCE)
            for post in late:
                post.cancel()

    async def rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), max(seconds, 0))

    async def post(self, number: int) -> None:
        careful, pause = number % 2 == 0, FIRST_PAUSE
        while True:
            try:
                status = await asyncio.wait_for(self.exchange(self.request(number, careful)), ANSWER_SECONDS)
            except (OSError, ValueError, asyncio.IncompleteReadError, TimeoutError):
                status = 0
            self.statuses[status] += 1
            if status == 202:
                self.acked.write(f"{time.time():.4f} {number}\n".encode())
            if status == 202 or not careful:
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def request(self, number: int, careful: bool) -> bytes:
        body = json.dumps({"type": "order.created", "n": number}).encode()
        digest = hmac.new(self.wanted.secret.encode(), body, hashlib.sha256).hexdigest()
        lines = [
            f"POST {self.wanted.path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json",
            f"Content-Length: {len(body)}", f"{self.wanted.header}: sha256={digest}",
        ]  # fmt: skip
        if careful:
            lines.append(f"Idempotency-Key: torture-{number}")
        return "\r\n".join([*lines, "", ""]).encode() + body

    async def exchange(self, request: bytes) -> int:
        """The status of the answer, over an idle connection or a new one. One that failed is not used again."""
        reader, writer = self.idle.pop() if self.idle else await asyncio.open_connection(*self.wanted.address)
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            await reader.readexactly(length)
        except BaseException:
            writer.close()
            raise
        if b"connection: close" in head:
            writer.close()
        else:
            self.idle.append((reader, writer))
        return int(head[9:12])


async def main(wanted: Wanted) -> None:
    with open(wanted.file, "ab", buffering=0) as acked:
        sender = Sender(wanted, acked)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, sender.stopping.set)
        await sender.run()
    print(json.dumps(dict(sorted(sender.statuses.items()))), flush=True)


if __name__ == "__main__":
    asyncio.run(main(Wanted(**json.loads(sys.argv[1]))))
