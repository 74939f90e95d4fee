"""Clients that send a byte a second: a thousand with headers, a thousand with bodies (RFC 9112 section 9.5).

They run in a process of their own, and so do the good clients that post meanwhile. A slow one has to be let go within
a bounded time, which is `keepalive` (config/gunicorn.py) for headers and READ_SECONDS (events/door.py) for bodies.
"""

import json
import resource
import selectors
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from bench.stage import ROOT, load
from tests.attack.report import Report
from tests.attack.server import MB, Resident, Target
from tests.attack.wire import request

SLOW = 1000  # of each kind
LOAD_SECONDS = 20
ENDED_SECONDS = 38
TURNS = 20  # in a second, in which a part of them sends its byte
RATE = 100  # good posts a second
P99 = 1000  # milliseconds
GROWTH = 100 * MB


def attack_slowly(target: Target, report: Report, *, quick: bool) -> None:
    """`quick` is a fifth of it, and does not wait until the slow ones are let go."""
    report.begin("slow")
    slow, load_seconds = (SLOW // 5, 4) if quick else (SLOW, LOAD_SECONDS)
    source = target.create_source({"auth": {"method": "none"}})
    wanted = {
        "address": list(target.address), "path": source.path, "number": slow,
        "seconds": load_seconds + 2 if quick else ENDED_SECONDS,
    }  # fmt: skip
    quiet = _good_clients(target, source.path, 2)
    with Resident(target.worker) as resident:
        helper = subprocess.Popen(
            [sys.executable, "-m", "tests.attack.slow", json.dumps(wanted)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        try:
            helper.stdout.readline()  # all are connected
            good = _good_clients(target, source.path, load_seconds)
            told = json.loads(helper.communicate(timeout=ENDED_SECONDS + 30)[0])
        finally:
            helper.kill()
    report.line("good clients before", "", quiet)
    report.check(
        f"good clients at {RATE}/s beside {2 * slow} slow ones", f"all 202, p99 < {P99} ms", good,
        good.startswith("all 202") and float(good.split()[-2]) < P99,
    )  # fmt: skip
    report.check(
        "memory beside them", f"+ < {GROWTH // MB} MB",
        f"+ {resident.growth / MB:.1f} MB, {resident.growth / slow / 2000:.0f} KB each", resident.growth < GROWTH,
    )  # fmt: skip
    for kind in ("headers", "bodies"):
        one = told[kind]
        answers = ", ".join(f"{status}: {number}" for status, number in one["answers"].items())
        if not quick:
            report.check(
                f"slow {kind}, {one['connected']} connections", f"all ended within {ENDED_SECONDS} s",
                f"{one['ended']} ended, the last after {one['longest']:.0f} s ({answers})", one["ended"] == slow,
            )  # fmt: skip


def _good_clients(target: Target, path: str, seconds: float) -> str:
    """`all 202, p50 … ms, p99 … ms`, or what went wrong."""
    post = request(path, [("Content-Type", b"application/json")], b'{"type": "order.created", "total": 17}')
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "requests"
        prepared.write_bytes(struct.pack("!I", len(post)) + post)
        try:
            made = load(target.server, prepared, connections=16, seconds=seconds, rate=RATE)
        except RuntimeError as error:
            return str(error).strip().splitlines()[-1]
    return f"all 202, p50 {made['p50']} ms, p99 {made['p99']} ms"


class SlowClient:
    def __init__(self, address: tuple[str, int], kind: str, path: str, number: int) -> None:
        self.kind = kind
        self.number = number
        self.socket = socket.create_connection(address, timeout=30)
        self.begun = time.monotonic()
        length = "Content-Length: 100000\r\n\r\n" if kind == "bodies" else "X-Slow: "
        self.socket.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{length}".encode())
        self.socket.setblocking(False)


def run(address: tuple[str, int], path: str, number: int, seconds: float) -> dict:
    """A byte a second on each until it is ended, or the time is up."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    selector = selectors.DefaultSelector()
    open_ones: set[SlowClient] = set()
    for each in range(number):
        for kind in ("headers", "bodies"):
            client = SlowClient(address, kind, path, each)
            selector.register(client.socket, selectors.EVENT_READ, client)
            open_ones.add(client)
    print("connected", flush=True)
    told: dict = {
        kind: {"connected": number, "ended": 0, "longest": 0.0, "answers": Counter()} for kind in ("headers", "bodies")
    }
    end = time.monotonic() + seconds
    due, turn = time.monotonic(), 0
    while open_ones and time.monotonic() < end:
        if time.monotonic() >= due:
            due, turn = due + 1 / TURNS, (turn + 1) % TURNS
            for client in open_ones:
                if client.number % TURNS == turn:
                    _dribble(client)
        for key, _ in selector.select(max(0, min(due, end) - time.monotonic())):
            client = key.data
            answer = _hear(client)
            if answer is None:
                continue
            selector.unregister(client.socket)
            client.socket.close()
            open_ones.discard(client)
            one = told[client.kind]
            one["ended"] += 1
            one["longest"] = max(one["longest"], time.monotonic() - client.begun)
            one["answers"][answer] += 1
    return told


def _dribble(client: SlowClient) -> None:
    try:
        client.socket.send(b"a")
    except OSError:
        return  # ended: `_hear` learns of it


def _hear(client: SlowClient) -> str | None:
    """The status it was ended with, or `closed`."""
    try:
        answer = client.socket.recv(4096)
    except BlockingIOError:
        return None
    except OSError:
        return "closed"
    return answer[9:12].decode("latin-1") if answer else "closed"


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps(run(tuple(given["address"]), given["path"], given["number"], given["seconds"])))
