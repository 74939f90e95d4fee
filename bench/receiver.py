"""A receiver in a process of its own, as fast as one process of Python can be: it reads a post and answers 204.

    python -m bench.receiver

Prints its port. What a post is answered depends on its path: under `/hang` never, under `/fail` with 503 until
`GET /recover`, elsewhere 204. A body with `"at":` and a number (CLOCK_MONOTONIC, nanoseconds) tells when it was sent to
the portal. `GET /stats` answers what came by path since the last time, as JSON: how many, and how long they took in ms.
"""

import asyncio
import json
import time
from collections import defaultdict

import uvloop

KEPT = 200_000  # times of a path, at most
ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"

_counts: dict[str, int] = defaultdict(int)
_took: dict[str, list[float]] = defaultdict(list)
_has_recovered = False


class Receiver(asyncio.Protocol):
    def connection_made(self, transport) -> None:
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end]
            if head.startswith(b"GET "):
                self.buffer = self.buffer[end + 4 :]
                self.transport.write(_told(head.split(b" ", 2)[1].decode()))
                continue
            at = head.lower().find(b"content-length:")
            whole = end + 4 + (int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0)
            if len(self.buffer) < whole:
                return
            self._answer(head[5 : head.index(b" ", 5)].decode(), self.buffer[end + 4 : whole])
            self.buffer = self.buffer[whole:]

    def _answer(self, path: str, body: bytes) -> None:
        _counts[path] += 1
        at = body.find(b'"at":')
        if at >= 0 and len(_took[path]) < KEPT:
            sent = int(body[at + 5 : body.index(b",", at)])
            _took[path].append((time.monotonic_ns() - sent) / 1e6)
        if path.startswith("/fail") and not _has_recovered:
            self.transport.write(UNAVAILABLE)
        elif not path.startswith("/hang"):
            self.transport.write(ANSWER)


def _told(path: str) -> bytes:
    global _has_recovered
    if path == "/recover":
        _has_recovered = True
    body = json.dumps({one: [count, _took.get(one, [])] for one, count in _counts.items()}).encode()
    if path == "/stats":
        _counts.clear()
        _took.clear()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Receiver, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
