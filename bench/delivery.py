"""`make bench-delivery`: what telling receivers costs beside the bare limit, on this machine, in this run.

The bare limit (`bench.bare_delivery`) and the portal's dispatcher work off equal backlogs in the same PostgreSQL and
post to the same receiver process, in turns, so that a noisy machine disturbs both. What counts are the ratios.
QUICK=1: only the first two figures.

CHURN_SECONDS, SUSTAINED_SECONDS and ATTEMPTS make the long scenarios longer or shorter.
"""

import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from urllib.request import urlopen

import psutil
import psycopg

from bench.intake import event_of, in_turns, median, say
from bench.stage import ROOT, Server, Stage, stage

QUICK = os.environ.get("QUICK") == "1"
MANY = 500  # bodies
TURNS = 3 if QUICK else 5
BACKLOG = 2500 if QUICK else 8000
E2E_SECONDS = 2 if QUICK else 4
SUSTAINED_SECONDS = int(os.environ.get("SUSTAINED_SECONDS", "60"))
ATTEMPTS = int(os.environ.get("ATTEMPTS", "10000000"))
NOISE_RATE = 20  # messages a second of the tenant whose latency counts
NOISY_SECONDS, NOISY_TURNS = 15, 3
RETURNING = 10_000
CHURN_SECONDS = int(os.environ.get("CHURN_SECONDS", "60"))  # 1800 for half an hour; 0 leaves it out
CHURN_RATE = 300  # events a second
CHURN_LOOKS = 6
QUEUE_SIZES = """
    SELECT relname, pg_total_relation_size(oid) FROM pg_class
    WHERE relkind = 'r' AND (relname IN ('events_inbox', 'deliveries_outbox') OR relname LIKE 'q\\_%')
    ORDER BY relname
"""
PATIENCE = 240  # seconds for one turn


class Process:
    """A helper of the bench that says when it is ready and is woken by a line."""

    def __init__(self, module: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.said = self.process.stdout.readline().strip()

    def wake(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def processor_seconds(self) -> float:
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class Receiver(Process):
    def __init__(self) -> None:
        super().__init__("bench.receiver")
        self.port = int(self.said)

    def ask(self, path: str = "/stats") -> dict[str, list]:
        """What came since it was last asked, by path: [how many, [ms each took]]."""
        with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:  # noqa: S310 (loopback)
            return json.load(answer)


@contextlib.contextmanager
def running(*processes: Process) -> Iterator[None]:
    try:
        yield
    finally:
        for process in processes:
            process.stop()


class Theatre:
    """The tenant whose messages are told, and the tables of both sides."""

    def __init__(self, here: Stage, receiver: Receiver) -> None:
        self.here, self.receiver = here, receiver
        self.connection = psycopg.connect(here.database, autocommit=True)
        self.connection.execute("SET app.tenant = '*'")
        self.connection.execute("SET synchronous_commit = off")
        chance = random.Random(7)  # noqa: S311 (no secret)
        self.bodies = [event_of(800)(chance) for _ in range(MANY)]

    def tenant(self, name: str):
        from tenants.models import Tenant
        from tenants.scope import system_scope

        with system_scope():
            return Tenant.objects.create(name=name)

    def subscribe(self, tenant, path: str = "/hook", **fields):
        """A subscription that agreed."""
        from subscriptions.models import Subscription
        from tenants.scope import system_scope

        with system_scope():
            subscription = Subscription(
                tenant=tenant, name="Bench", url=f"http://127.0.0.1:{self.receiver.port}{path}", event_types=["*"],
                state="idle", **fields,
            )  # fmt: skip
            subscription.save(force_insert=True)
            subscription.issue_secret()
        return subscription

    def fill(self, subscriptions: list, events: int) -> None:
        """Events, and for each a delivery to every subscription, due now."""
        from tenants.ids import uuid7

        tenant = subscriptions[0].tenant_id
        ids = [uuid7() for _ in range(events)]
        with self.connection.transaction():
            self.connection.execute(
                """INSERT INTO events_event (id, tenant_id, type, severity, content_type, body, body_is_data,
                    data_problem, title, schema_problem)
                SELECT id, %s, 'order.paid', 'low', 'application/json', body, true, '', '', ''
                FROM unnest(%s::uuid[], %s::bytea[]) AS row (id, body)""",
                [tenant, ids, [b'{"at":%d,' % time.monotonic_ns() + self.bodies[n % MANY][1:] for n in range(events)]],
            )
            pairs = [(uuid7(), event, one.pk) for event in ids for one in subscriptions]
            columns = [list(column) for column in zip(*pairs, strict=True)]
            self.connection.execute(
                """WITH row AS MATERIALIZED (
                    SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[]) AS row (id, event_id, subscription_id)
                ), told AS (
                    INSERT INTO deliveries_delivery (id, tenant_id, subscription_id, event_id, kind, event_type,
                        message_id, shape, signing, status, reason, attempt_count)
                    SELECT id, %s, subscription_id, event_id, 'event', 'order.paid', event_id, 'envelope',
                        'standard_webhooks', 'pending', '', 0 FROM row
                )
                INSERT INTO deliveries_outbox (delivery_id, tenant_id, subscription_id, due_at, attempt)
                SELECT id, %s, subscription_id, clock_timestamp(), 0 FROM row""",
                [*columns, tenant, tenant],
            )

    def fill_in_line(self, subscription, events: int) -> None:
        """The same for one that is sent batches: what waits in its line, which is due now."""
        from subscriptions.flow import BATCH_EVENTS, BATCH_SECONDS

        self.fill([subscription], events)
        with self.connection.transaction():
            self.connection.execute(
                "UPDATE deliveries_outbox SET due_at = NULL WHERE subscription_id = %s", [subscription.pk]
            )
            self.connection.execute(
                "INSERT INTO deliveries_lane AS lane (subscription_id, tenant_id, due_at, added, events, wait)"
                " VALUES (%(pk)s, %(tenant)s, clock_timestamp(), %(count)s, %(most)s, %(wait)s)"
                " ON CONFLICT (subscription_id) DO UPDATE"
                " SET due_at = excluded.due_at, added = lane.added + excluded.added",
                {
                    "pk": subscription.pk, "tenant": subscription.tenant_id, "count": events,
                    "most": BATCH_EVENTS, "wait": BATCH_SECONDS,
                },
            )  # fmt: skip

    def fill_bare(self, messages: int, receivers: int = 1) -> None:
        from tenants.ids import uuid7

        ids = [uuid7() for _ in range(messages)]
        with self.connection.transaction():
            self.connection.execute(
                "INSERT INTO bare_message (id, body) SELECT * FROM unnest(%s::uuid[], %s::bytea[])",
                [ids, [self.bodies[n % MANY] for n in range(messages)]],
            )
            pairs = [(uuid7(), message) for message in ids for _ in range(receivers)]
            self.connection.execute(
                """WITH row AS MATERIALIZED (SELECT * FROM unnest(%s::uuid[], %s::uuid[]) AS row (id, message_id)),
                told AS (
                    INSERT INTO bare_delivery (id, message_id, status) SELECT id, message_id, 'pending' FROM row
                )
                INSERT INTO bare_outbox (id, due_at, attempt) SELECT id, clock_timestamp(), 0 FROM row""",
                [list(column) for column in zip(*pairs, strict=True)],
            )

    def drained(self, process: Process, table: str, count: int) -> dict:
        """Wake the process and wait until the outbox is empty: deliveries a second."""
        begin, used = time.perf_counter(), process.processor_seconds()
        process.wake()
        while self.connection.execute(f"SELECT EXISTS (SELECT FROM {table})").fetchone()[0]:  # noqa: S608 (our tables)
            if time.perf_counter() - begin > PATIENCE:
                raise RuntimeError(f"{table} did not drain")
            time.sleep(0.01)
        took = time.perf_counter() - begin
        return {"rps": count / took, "µs": (process.processor_seconds() - used) / count * 1e6}


def ratio_of(turns: dict[str, list[dict]], ours: str = "portal", limit: str = "bare", field: str = "rps") -> float:
    return statistics.median(a[field] / b[field] for a, b in zip(turns[ours], turns[limit], strict=True))


def dispatching(theatre: Theatre, bare: Process, portal: Process) -> dict:
    """Deliveries a second: one subscription; and, unless QUICK, a hundred, and events told fifty times each."""
    tenant = theatre.tenant("Bench dispatch")
    subscriptions = [theatre.subscribe(tenant) for _ in range(1 if QUICK else 100)]

    def turn(events: int, receivers: int = 1) -> tuple[Callable[[], dict], Callable[[], dict]]:
        def bare_turn() -> dict:
            theatre.fill_bare(events, receivers)
            return theatre.drained(bare, "bare_outbox", events * receivers)

        def portal_turn() -> dict:
            theatre.fill(subscriptions[:receivers], events)
            return theatre.drained(portal, "deliveries_outbox", events * receivers)

        return bare_turn, portal_turn

    def compared(name: str, events: int, receivers: int = 1, turns: int = TURNS) -> tuple[float, float]:
        bare_turn, portal_turn = turn(events, receivers)
        bare_turn(), portal_turn()  # warm
        made = in_turns({"bare": bare_turn, "portal": portal_turn}, turns)
        ratio = ratio_of(made)
        say(
            f"{name:32} bare limit {median(made['bare'], 'rps'):7.0f}/s   portal {median(made['portal'], 'rps'):7.0f}/s"
            f"   ratio {ratio:.2f}   processor time of one {median(made['bare'], 'µs'):.0f} and"
            f" {median(made['portal'], 'µs'):.0f} µs"
        )
        return ratio, median(made["portal"], "rps")

    ratio, rps = compared("one subscription", BACKLOG)
    if not QUICK:
        compared("an event told fifty times", BACKLOG // 50, 50, turns=3)
        compared("a hundred subscriptions", BACKLOG // 100, 100, turns=3)
        batching(theatre, tenant, portal, rps)
        stored = attempts_stored(theatre, tenant, subscriptions[0], ATTEMPTS)
        compared(f"with {stored:,} attempts stored", BACKLOG)
    return {"dispatch_ratio": round(ratio, 3), "dispatch_rps": round(rps)}


def batching(theatre: Theatre, tenant, portal: Process, single_rps: float) -> None:
    """Events a second to one subscription in batches of 500, beside one message for each."""
    subscription = theatre.subscribe(tenant, mode="batched")
    made = []
    for _ in range(4):
        theatre.fill_in_line(subscription, BACKLOG)
        time.sleep(1)  # a dispatcher that knows of no lane looks for one once a second
        made.append(theatre.drained(portal, "deliveries_outbox", BACKLOG))
    rps = median(made[1:], "rps")  # the first is to warm
    say(
        f"{'in batches of 500':32} portal {rps:7.0f} events/s, {rps / single_rps:.1f} times one by one"
        f"   processor time of one event {median(made[1:], 'µs'):.0f} µs"
    )


def attempts_stored(theatre: Theatre, tenant, subscription, count: int) -> int:
    """Attempts of the last days, made by the database itself, which then has nothing left to do about them."""
    chunk = 500_000
    for first in range(0, count, chunk):
        theatre.connection.execute(
            """INSERT INTO deliveries_attempt (id, tenant_id, delivery_id, subscription_id, number, request_headers,
                signed_at, status_code, response_headers, response_body, response_truncated, error, detail, outcome,
                connect_ms, total_ms, address)
            SELECT (lpad(to_hex(floor(extract(epoch FROM now()) * 1000 - n * 8.0)::bigint), 12, '0') || '7'
                    || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid,
                %s, gen_random_uuid(), %s, 1, '[]', now(), 204, '[]', '', false, '', '', 'delivered', NULL, 1.5, ''
            FROM generate_series(%s, %s) AS n""",
            [tenant.pk, subscription.pk, first + 1, min(first + chunk, count)],
        )
    settle(theatre, "deliveries_attempt")
    return count


def settle(theatre: Theatre, table: str = "") -> None:
    """What autovacuum and the checkpointer would do some time during the next minute, in the midst of a turn or not.

    Without statistics the bare pipeline's plans are poor ones, and its latency five times what it is an hour later.
    """
    with psycopg.connect(theatre.here.embedded.superuser_conninfo("portcullis"), autocommit=True) as connection:
        connection.execute(f"VACUUM (ANALYZE) {table}")
        connection.execute("CHECKPOINT")


def noisy(theatre: Theatre) -> dict:
    """Latency of a tenant by itself, and while the receivers of another hang at ten times its rate.

    The p99 of one turn is its third worst of 300, which anything on the machine can be: so, three turns.
    """
    turns: dict[str, list[dict]] = {"alone": [], "beside": []}
    for turn in range(NOISY_TURNS):
        portal = Process("bench.dispatcher")
        with running(portal):
            waiting = one_noisy_turn(theatre, portal, turn, turns)
        theatre.connection.execute("TRUNCATE deliveries_outbox")
    ratio = ratio_of(turns, "beside", "alone", "p99")
    shown = "   ".join(
        f"{p} {median(turns['alone'], p):.1f} → {median(turns['beside'], p):.1f} ms" for p in ("p50", "p99")
    )
    say(f"another tenant's receivers hang at 10 × the rate ({waiting:,} wait): {shown}   ratio {ratio:.2f}")
    return {"noisy_p99_ratio": round(ratio, 2)}


def one_noisy_turn(theatre: Theatre, portal: Process, number: int, turns: dict[str, list[dict]]) -> int:
    """Adds to `turns`; how many messages wait at its end."""
    quiet, loud = theatre.tenant(f"Quiet {number}"), theatre.tenant(f"Loud {number}")
    sound = [theatre.subscribe(quiet, "/quiet")]
    hanging = [theatre.subscribe(loud, f"/hang/{number}/{receiver}") for receiver in range(10)]

    def latencies(seconds: float, with_noise: bool) -> dict:
        theatre.receiver.ask()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            due = time.monotonic() + 1 / NOISE_RATE
            if with_noise:
                theatre.fill(hanging, 1)
            theatre.fill(sound, 1)
            portal.wake()
            time.sleep(max(0, due - time.monotonic()))
        time.sleep(1)
        took = sorted(theatre.receiver.ask().get("/quiet", [0, []])[1])
        return {"p50": took[len(took) // 2], "p99": took[len(took) * 99 // 100]}

    latencies(2, False)
    turns["alone"].append(latencies(NOISY_SECONDS, False))
    latencies(NOISY_SECONDS, True)  # until all of its places hang
    turns["beside"].append(latencies(NOISY_SECONDS, True))
    return theatre.connection.execute("SELECT count(*) FROM deliveries_outbox").fetchone()[0]


def returning(theatre: Theatre, portal: Process) -> None:
    """10,000 deliveries whose receiver fails, and comes back."""
    subscription = theatre.subscribe(theatre.tenant("Returning"), "/fail")
    theatre.fill([subscription], RETURNING)
    begin = time.monotonic()
    portal.wake()
    waiting = "SELECT count(*) FROM deliveries_outbox WHERE subscription_id = %s"
    failed = waiting + " AND attempt > 0 AND lease_token IS NULL"
    while theatre.connection.execute(failed, [subscription.pk]).fetchone()[0] < RETURNING:
        portal.wake()
        time.sleep(0.2)
        if time.monotonic() > begin + 4:
            break
    theatre.receiver.ask("/recover")
    back = time.monotonic()
    while left := theatre.connection.execute(waiting, [subscription.pk]).fetchone()[0]:
        portal.wake()  # as the sweep does
        time.sleep(0.5)
        if time.monotonic() > back + PATIENCE:
            break
    say(f"{RETURNING:,} that failed: {left} left {time.monotonic() - back:.0f} s after their receiver was back")


class Pipeline:
    """A door, and workers behind it that tell the receiver under `path`."""

    def __init__(self, theatre: Theatre, door: Server, ingest: str, secret: str, path: str) -> None:
        self.theatre, self.door, self.ingest, self.secret, self.path = theatre, door, ingest, secret, path

    def post(self, seconds: float, rate: float = 0, connections: int = 64) -> dict:
        """Post, and wait until all that was accepted has been received."""
        receiver = self.theatre.receiver
        receiver.ask()
        wanted = {
            "address": list(self.door.address), "path": self.ingest, "secret": self.secret, "rate": rate,
            "seconds": seconds, "connections": connections,
        }  # fmt: skip
        begin = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "bench.sender", json.dumps(wanted)], cwd=ROOT, capture_output=True, check=True
        )
        sent = json.loads(done.stdout)
        if sent["refused"]:
            raise RuntimeError(f"{sent['refused']} posts were refused")
        behind, count, took = None, 0, []
        while True:
            told, times = receiver.ask().get(self.path, [0, []])
            count += told
            took += times
            behind = sent["accepted"] - count if behind is None else behind
            if count >= sent["accepted"]:
                break
            if time.monotonic() > begin + seconds + PATIENCE:
                raise RuntimeError(f"{sent['accepted'] - count} were not received")
            time.sleep(0.02)
        took.sort()
        return {
            "count": count, "eps": count / (time.monotonic() - begin), "behind": behind, "p50": took[len(took) // 2],
            "p99": took[len(took) * 99 // 100],
        }  # fmt: skip


@contextlib.contextmanager
def pipelines(theatre: Theatre) -> Iterator[tuple[Pipeline, Pipeline]]:
    """The bare one and the portal's: web process, Celery worker with its two processes, and beat."""
    from bench.bare_delivery import KEEP

    here = theatre.here
    ingest, secret = here.source("hmac")
    from sources.models import Source
    from tenants.scope import system_scope

    with system_scope():
        tenant = Source.objects.select_related("tenant").get(ingest_key=ingest.rpartition("/")[2]).tenant
    theatre.subscribe(tenant, "/told")
    celery = [sys.executable, "-m", "celery", "--app", "config", "--quiet"]
    bare_door = {"BENCH_CONNINFO": here.database, "BENCH_SECRET": secret, "BENCH_INSERT": KEEP}
    workers = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in (
            [*celery, "worker", "--concurrency", "2", "--optimization", "fair", "--without-gossip", "--without-mingle",
             "--without-heartbeat", "--loglevel", "error"],
            [*celery, "beat", "--schedule", str(here.directory / "beat"), "--pidfile", "", "--loglevel", "error"],
        )
    ]  # fmt: skip
    worker = Process("bench.bare_delivery", here.database, str(theatre.receiver.port), "route")
    try:
        with (
            here.served("bench.bare_intake:application", **bare_door) as bare,
            here.served("config.asgi:application") as door,
        ):
            yield (
                Pipeline(theatre, bare, "/", secret, "/bare"),
                Pipeline(theatre, door, ingest, secret, "/told"),
            )
    finally:
        worker.stop()
        for process in workers:
            process.terminate()
        for process in workers:
            process.wait(30)


def end_to_end(theatre: Theatre) -> dict:
    """From the door to the receiver: events a second, latencies at half of that, and the wake-up of an idle portal."""
    with pipelines(theatre) as (bare, portal):
        for one in (bare, portal):
            one.post(1)  # warm
        settle(theatre)
        full = in_turns({"bare": lambda: bare.post(E2E_SECONDS), "portal": lambda: portal.post(E2E_SECONDS)}, TURNS)
        ratio, eps = ratio_of(full, field="eps"), median(full["portal"], "eps")
        say(f"door to receiver   bare {median(full['bare'], 'eps'):.0f}/s   portal {eps:.0f}/s   ratio {ratio:.2f}")
        figures = {"e2e_ratio": round(ratio, 3), "e2e_eps": round(eps)}
        if QUICK:
            return figures
        rate = eps / 2
        half = in_turns({"bare": lambda: bare.post(4, rate), "portal": lambda: portal.post(4, rate)}, TURNS)
        p99_ratio = ratio_of(half, field="p99")
        say(
            f"at {rate:.0f}/s   bare p50 {median(half['bare'], 'p50'):.1f} p99 {median(half['bare'], 'p99'):.1f} ms"
            f"   portal p50 {median(half['portal'], 'p50'):.1f} p99 {median(half['portal'], 'p99'):.1f} ms"
            f"   p99 ratio {p99_ratio:.2f}"
        )
        idle = in_turns({"bare": lambda: bare.post(6, 5, 1), "portal": lambda: portal.post(6, 5, 1)}, 2)
        say(
            f"one event to an idle portal   bare {median(idle['bare'], 'p50'):.1f} ms"
            f"   portal {median(idle['portal'], 'p50'):.1f} ms   ratio {ratio_of(idle, field='p50'):.1f}"
        )
        behind = portal.post(SUSTAINED_SECONDS, 0.8 * eps)
        say(
            f"{SUSTAINED_SECONDS} s at {0.8 * eps:.0f}/s: at the end {behind['behind']} were not told yet,"
            f" p99 {behind['p99']:.0f} ms"
        )
        if CHURN_SECONDS:
            churning(theatre, portal)
        return figures | {"p99_ratio": round(p99_ratio, 3)}


def churning(theatre: Theatre, portal: Pipeline) -> None:
    """Steady work while somebody's transaction stays open and nothing can be vacuumed: how large the queues are."""
    part, told, pages = CHURN_SECONDS / CHURN_LOOKS, 0, []
    with psycopg.connect(theatre.here.database) as forgotten:
        forgotten.execute("SELECT set_config('app.tenant', '*', true), txid_current()")
        for _ in range(CHURN_LOOKS):
            done = portal.post(part, CHURN_RATE, 8)
            told += done["count"]
            sizes = dict(theatre.connection.execute(QUEUE_SIZES).fetchall())
            pages.append(sum(sizes.values()))
            shown = ", ".join(f"{name} {size / 1e6:.1f}" for name, size in sizes.items())
            say(f"churn: {told:,} told, p99 {done['p99']:.0f} ms, MB with indexes: {shown}")
    say(f"churn: the queues had {pages[0] / 1e6:.1f} MB after {part:.0f} s and {pages[-1] / 1e6:.1f} MB at the end")


def main() -> None:
    say("Preparing a PostgreSQL and a receiver ...")
    os.environ["EGRESS_ALLOW"] = "127.0.0.0/8"
    with stage() as here:
        receiver = Receiver()
        theatre = Theatre(here, receiver)
        from bench.bare_delivery import TABLES

        theatre.connection.execute(TABLES)
        bare, portal = Process("bench.bare_delivery", here.database, str(receiver.port)), Process("bench.dispatcher")
        with running(receiver, bare, portal):
            figures = dispatching(theatre, bare, portal)
            if not QUICK:
                figures |= noisy(theatre)
                returning(theatre, portal)
                theatre.connection.execute("TRUNCATE deliveries_outbox")
            for process in (bare, portal):
                process.stop()
            figures |= end_to_end(theatre)
    order = ("dispatch_ratio", "e2e_ratio", "p99_ratio", "noisy_p99_ratio", "dispatch_rps", "e2e_eps")
    print(json.dumps({name: figures[name] for name in order if name in figures}), flush=True)


if __name__ == "__main__":
    main()
