"""A load generator in a process of its own: keep-alive connections that post prepared bytes and read the answers.

    python -m bench.load '{"address": ["127.0.0.1", 8000], "requests": "file", "connections": 64,
                           "seconds": 5, "rate": null}'

`requests` is a file of prepared requests, each with its length in front (4 bytes, big endian). Without a `rate` each
connection posts as soon as it is answered. With one (posts a second), requests are due at fixed moments, and their
latency counts from when they were due, so that a stall is not hidden. Prints one JSON object; latencies in ms.
"""

import json
import selectors
import socket
import struct
import sys
import time
from collections import Counter, deque
from pathlib import Path


def requests_in(path: str) -> list[bytes]:
    data, position, found = Path(path).read_bytes(), 0, []
    while position < len(data):
        (length,) = struct.unpack_from("!I", data, position)
        found.append(data[position + 4 : position + 4 + length])
        position += 4 + length
    return found


class Sender:
    """One connection. `due` is when the request under way should have been sent; None while idle."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due: float | None = None
        self.answer = b""

    def send(self, request: bytes, due: float) -> None:
        self.due = due
        self.answer = b""
        self.socket.setblocking(True)
        self.socket.sendall(request)
        self.socket.setblocking(False)

    def read(self) -> int | None:
        """The status once the answer is whole, 0 where the connection ended."""
        piece = self.socket.recv(65_536)
        if not piece:
            return 0
        self.answer += piece
        head, found, rest = self.answer.partition(b"\r\n\r\n")
        if not found:
            return None
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        return int(head[9:12]) if len(rest) >= length else None


def run(address: tuple[str, int], requests: list[bytes], connections: int, seconds: float, rate: float | None) -> dict:
    selector = selectors.DefaultSelector()
    idle: deque[Sender] = deque()
    for _ in range(connections):
        sender = Sender(address)
        selector.register(sender.socket, selectors.EVENT_READ, sender)
        idle.append(sender)
    statuses: Counter[int] = Counter()
    latencies: list[float] = []
    sent = busy = 0
    begin = time.perf_counter()
    end = begin + seconds
    while True:
        now = time.perf_counter()
        while idle and now < end:
            due = now if rate is None else begin + sent / rate
            if due > now:
                break
            idle.popleft().send(requests[sent % len(requests)], due)
            sent += 1
            busy += 1
        if now >= end and not busy:
            break
        if now > end + 30:
            statuses[-1] += busy  # never answered
            break
        wait = 1.0 if rate is None or not idle else max(0.0, begin + sent / rate - time.perf_counter())
        for key, _ in selector.select(min(wait, 1.0)):
            sender: Sender = key.data
            status = sender.read()
            if status is None:
                continue
            latencies.append((time.perf_counter() - (sender.due or 0)) * 1000)
            statuses[status] += 1
            busy -= 1
            if status:
                idle.append(sender)
            else:
                selector.unregister(sender.socket)
    took = time.perf_counter() - begin
    latencies.sort()

    def percentile(share: float) -> float:
        return round(latencies[min(len(latencies) - 1, int(len(latencies) * share))], 2) if latencies else 0.0

    return {
        "rps": round(len(latencies) / took, 1), "p50": percentile(0.5), "p99": percentile(0.99),
        "statuses": {str(status): count for status, count in statuses.items()},
    }  # fmt: skip


if __name__ == "__main__":
    wanted = json.loads(sys.argv[1])
    made = run(
        tuple(wanted["address"]),
        requests_in(wanted["requests"]),
        wanted["connections"],
        wanted["seconds"],
        wanted["rate"],
    )
    print(json.dumps(made))
