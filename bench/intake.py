"""`make bench-intake`: what the door costs beside the bare limit of receiving, on this machine, in this run.

The bare limit (`bench.bare_intake`, behind gunicorn as it is) and the door (behind gunicorn as the portal changed it)
keep in the same PostgreSQL and are posted to by the same generator, in turns, so that a noisy machine disturbs both.
What counts are the ratios.
QUICK=1: only the first two figures.
"""

import gzip
import hashlib
import hmac
import json
import os
import random
import statistics
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.growth import growth
from bench.stage import Server, Stage, load, stage

QUICK = os.environ.get("QUICK") == "1"
CONNECTIONS = 64
TURNS = 7
HALF_TURNS = 11  # at half load one stall of the disk decides a turn
SECONDS = 1.2 if QUICK else 4
BODIES = 500

Body = Callable[[random.Random], bytes]


def event_of(size: int) -> Body:
    """JSON objects of about `size` bytes, no two alike."""

    def make(chance: random.Random) -> bytes:
        event = {
            "id": f"evt_{chance.getrandbits(80):020x}",
            "type": chance.choice(["order.created", "order.paid", "order.shipped"]),
            "created": 1_760_000_000 + chance.randrange(10_000_000),
            "severity": chance.choice(["low", "medium", "high"]),
            "user": {"id": chance.randrange(10**6), "email": f"user{chance.randrange(10**6)}@example.com"},
            "items": [{"sku": f"A-{chance.randrange(999)}", "price": chance.randrange(10**5) / 100} for _ in range(4)],
            "note": "",
        }
        event["note"] = "lorem ipsum " * (max(0, size - len(json.dumps(event))) // 12)
        return json.dumps(event).encode()

    return make


def short_lines(chance: random.Random) -> bytes:
    """5,000 lines in a little less than 1 MB."""
    return b"\n".join(
        b'{"type": "log.line", "n": %d, "host": "web-%02d", "message": "%s"}' % (n, chance.randrange(99), b"x" * 120)
        for n in range(5000)
    )


def write_requests(path: Path, target: str, secret: str, make: Body, count: int, headers: bytes = b"") -> int:
    """Prepared posts, signed. Returns the mean size of a body."""
    chance = random.Random(7)  # noqa: S311 (no secret)
    total = 0
    with path.open("wb") as file:
        for _ in range(count):
            body = make(chance)
            total += len(body)
            signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
            request = (
                b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench/1\r\nAccept: */*\r\n"
                b"Content-Type: application/json\r\n%sX-Signature: sha256=%s\r\nContent-Length: %d\r\n\r\n"
                % (target.encode(), headers, signature.encode(), len(body))
            ) + body
            file.write(struct.pack("!I", len(request)) + request)
    return total // count


def in_turns(runs: dict[str, Callable[[], dict]], turns: int = TURNS) -> dict[str, list[dict]]:
    """Each run `turns` times, one after another, so that what disturbs the machine disturbs all alike."""
    results: dict[str, list[dict]] = {name: [] for name in runs}
    for _ in range(turns):
        for name, run in runs.items():
            results[name].append(run())
    return results


def median(results: list[dict], field: str) -> float:
    return statistics.median(result[field] for result in results)


def main() -> None:
    say("Preparing a PostgreSQL, a tenant and a source ...")
    with stage() as here:
        import psycopg

        with psycopg.connect(here.database, autocommit=True) as connection:
            connection.execute("CREATE TABLE bare_event (id uuid PRIMARY KEY, body bytea NOT NULL)")
        path, secret = here.source("hmac")
        bare_environment = {"BENCH_CONNINFO": here.database, "BENCH_SECRET": secret}
        with (
            here.served("bench.bare_intake:application", "bench/bare_gunicorn.py", **bare_environment) as bare,
            here.served("config.asgi:application") as door,
        ):
            figures = speed(here, bare, door, path, secret)
            if not QUICK:
                with here.served("bench.bare_intake:application", **bare_environment) as other:
                    behind_the_portals_server(here, other, door)
                figures |= bodies(here, door, path, secret)
                figures |= growth(here, bare, door, path, say)
    print(json.dumps(figures), flush=True)


def speed(here: Stage, bare: Server, door: Server, path: str, secret: str) -> dict:
    """Posts a second of 800-byte JSON, and latencies at half of the door's load."""
    requests = here.directory / "800.requests"
    size = write_requests(requests, path, secret, event_of(800), BODIES)
    before = door.resident()
    for server in (bare, door):
        load(server, requests, connections=CONNECTIONS, seconds=1)  # warm
    full = in_turns(
        {
            "bare": lambda: load(bare, requests, connections=CONNECTIONS, seconds=SECONDS),
            "door": lambda: load(door, requests, connections=CONNECTIONS, seconds=SECONDS),
        }
    )
    bare_rps, door_rps = median(full["bare"], "rps"), median(full["door"], "rps")
    ratio = statistics.median(
        ours["rps"] / limit["rps"] for ours, limit in zip(full["door"], full["bare"], strict=True)
    )
    say(f"JSON, {size} bytes   bare limit {bare_rps:8.0f} posts/s   door {door_rps:8.0f} posts/s   ratio {ratio:.2f}")
    rate = door_rps / 2
    half = in_turns(
        {
            "bare": lambda: load(bare, requests, connections=CONNECTIONS, seconds=SECONDS, rate=rate),
            "door": lambda: load(door, requests, connections=CONNECTIONS, seconds=SECONDS, rate=rate),
        },
        HALF_TURNS,
    )
    p99_ratio = statistics.median(
        ours["p99"] / limit["p99"] for ours, limit in zip(half["door"], half["bare"], strict=True)
    )
    say(
        f"at {rate:.0f} posts/s   bare p50 {median(half['bare'], 'p50')} p99 {median(half['bare'], 'p99')} ms"
        f"   door p50 {median(half['door'], 'p50')} p99 {median(half['door'], 'p99')} ms   p99 ratio {p99_ratio:.2f}"
    )
    say(f"memory of the door: {before / 1e6:.0f} MB before, {door.resident() / 1e6:.0f} MB after")
    return {
        "door_ratio": round(ratio, 3), "p99_ratio": round(p99_ratio, 3),
        "door_rps": round(door_rps), "bare_rps": round(bare_rps),
    }  # fmt: skip


def behind_the_portals_server(here: Stage, bare: Server, door: Server) -> None:
    """The bare application with all that the portal changed of gunicorn: not the limit, but good to know."""
    requests = here.directory / "800.requests"
    turns = in_turns(
        {
            "bare": lambda: load(bare, requests, connections=CONNECTIONS, seconds=SECONDS),
            "door": lambda: load(door, requests, connections=CONNECTIONS, seconds=SECONDS),
        }
    )
    ratio = statistics.median(
        ours["rps"] / limit["rps"] for ours, limit in zip(turns["door"], turns["bare"], strict=True)
    )
    say(f"the bare application behind the portal's own server: {median(turns['bare'], 'rps'):.0f} posts/s, {ratio:.2f}")


def bodies(here: Stage, door: Server, path: str, secret: str) -> dict:
    """Other bodies: 8 KB like GitHub's, gzip, and 5,000 lines in one post."""
    small = here.directory / "800.requests"
    kinds: dict[str, tuple[Body, int, bytes]] = {
        "8 KB": (event_of(8000), 200, b""),
        "8 KB gzip": (
            lambda chance: gzip.compress(event_of(8000)(chance), mtime=0),
            200,
            b"Content-Encoding: gzip\r\n",
        ),
    }
    for name, (make, count, headers) in kinds.items():
        requests = here.directory / f"{name}.requests"
        write_requests(requests, path, secret, make, count, headers)
        result = load(door, requests, connections=CONNECTIONS, seconds=SECONDS)
        say(f"{name:12} {result['rps']:8.0f} posts/s   p50 {result['p50']} p99 {result['p99']} ms")
    requests = here.directory / "lines.requests"
    size = write_requests(requests, path, secret, short_lines, 4)
    turns = in_turns(
        {
            "single": lambda: load(door, small, connections=CONNECTIONS, seconds=SECONDS),
            "lines": lambda: load(door, requests, connections=2, seconds=SECONDS),
        }
    )
    cost = statistics.median(
        single["rps"] / whole["rps"] for single, whole in zip(turns["single"], turns["lines"], strict=True)
    )
    rps = median(turns["lines"], "rps")
    say(f"5,000 lines in {size} bytes: {rps:.1f} posts/s, {rps * 5000:.0f} events/s; one costs {cost:.0f} single posts")
    say(f"making their events, which a worker does afterwards: {unpacking() * 1000:.0f} ms for 5,000")
    return {"lines_cost": round(cost, 1)}


def unpacking() -> float:
    """Median seconds of `bundles.unpack` for one of the posts of 5,000 lines that wait, in this process."""
    from events import bundles

    took = []
    while len(took) < TURNS:
        begin = time.perf_counter()
        if not bundles.unpack():
            break
        took.append(time.perf_counter() - begin)
    return statistics.median(took)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
