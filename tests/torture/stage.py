"""Where the torture plays: a portal of its own as `manage.py serve` runs it, a ledger, a sender, and a way to look.

What is looked at in the database is read as its superuser: who judges the portal does not ask the portal.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg

from config.embedded import Embedded
from tests.portal import ROOT, Portal, Tenant, call, clean_environment, wait_for

LEASE = 20  # seconds, the shortest: what a dead worker held comes again after so long
STOPS_WITHIN = 40  # seconds
LOCKED_WITHIN = 20  # seconds: whoever stands still holds a lock for 5 (decision 24)
WORKER = (
    sys.executable, "-m", "celery", "--app", "config", "--quiet", "worker", "--concurrency", "2",
    "--optimization", "fair", "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "warning",
)  # fmt: skip
ROLES = {"web": "gunicorn", "worker": "worker", "beat": "beat"}  # a word of each one's command


class Stage:
    """`acks` and `arrivals` are what sender and ledger wrote. `poisoned` are subscriptions that can never be told."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.portal = Portal(DELIVERY_LEASE_SECONDS=str(LEASE), LOG_LEVEL="INFO")
        self.portal.patience = 300  # what else the machine does is no fault of the portal
        self.folder = self.portal.folder
        self.embedded = Embedded(self.portal.var)
        self.acked_file, self.ledger_file, self.line_file = (self.folder / name for name in ("acked", "ledger", "line"))
        self.helpers: list[subprocess.Popen] = []
        self.workers: list[psutil.Popen] = []
        self.statuses: dict[str, int] = {}

    def __enter__(self) -> "Stage":
        try:
            self.portal.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        for worker in self.workers:
            kill_group(worker)
        for helper in self.helpers:
            helper.kill()
            helper.wait()
        self.portal.__exit__()

    def set_up(self) -> None:
        """A tenant, two ledgers with a subscription each, one of them sent in batches, and a sender that begins."""
        self.tenant: Tenant = self.portal.create_tenant("Torture")
        self.acked_file.touch()
        self.line_receiver = self._keep_ledger(self.line_file)
        self.receiver = self._keep_ledger(self.ledger_file)
        self.line = self.subscribe("Line", ["order.created"], url=self.line_receiver, mode="batched", shape="envelope")
        self._confirm(self.line_file)
        self.subscription = self.subscribe("Ledger", ["*"])
        self._confirm(self.ledger_file)
        source = self.tenant.create_source("hmac")
        wanted = {
            "address": ["127.0.0.1", self.portal.port], "path": urlsplit(source["url"]).path,
            "header": source["auth"]["header"], "secret": source["secret"], "rate": self.rate,
            "file": str(self.acked_file),
        }  # fmt: skip
        self.sender = self._start("tests.torture.sender", json.dumps(wanted))

    def subscribe(self, name: str, event_types: list[str], **fields: object) -> dict:
        wanted = {"name": name, "url": self.receiver, "shape": "raw", "event_types": event_types, **fields}
        return self.tenant.post("subscriptions/", **wanted)

    def _keep_ledger(self, file: Path) -> str:
        """The URL of a receiver that keeps what it gets in this file."""
        links = links_of(file)
        file.touch()
        links.touch()
        ledger = self._start("tests.torture.ledger", str(file), str(links))
        return f"http://127.0.0.1:{int(ledger.stdout.readline())}/hook"

    def _confirm(self, file: Path) -> None:
        link = wait_for(links_of(file).read_text, "the confirmation link arrives", 120).split()[-1]
        assert call("GET", link).status == 200

    def _start(self, module: str, *arguments: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments], cwd=ROOT, env=clean_environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.helpers.append(process)
        return process

    def stop_sending(self) -> None:
        self.sender.terminate()
        said, _ = self.sender.communicate(timeout=60)
        self.statuses = json.loads(said)

    # The portal's processes ------------------------------------------------------------------------------------------

    def leader(self, role: str) -> psutil.Process | None:
        """The process that the supervisor started for a role; None while there is none."""
        for process in children(self.portal.process.pid):
            if ROLES[role] in words(process):
                return process
        return None

    def begin_workers(self, *environments: Mapping[str, str]) -> list[psutil.Popen]:
        """Workers beside the supervised one, as other machines run them; each with something in its environment."""
        with (self.folder / "worker.log").open("ab") as log:
            begun = [
                psutil.Popen(
                    WORKER, cwd=ROOT, env=clean_environment(**self.portal.settings, **environment),
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                )
                for environment in environments
            ]  # fmt: skip
        self.workers += begun
        return begun

    def see_them_work(self, workers: Iterable[psutil.Popen]) -> None:
        for worker in workers:
            wait_for(lambda pid=worker.pid: len(children(pid)) >= 2, "another worker has its processes", 120)
        time.sleep(1)

    def end_workers(self, workers: Iterable[psutil.Popen]) -> None:
        """They have to end on SIGTERM."""
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait(STOPS_WITHIN)
            kill_group(worker)
            self.workers.remove(worker)

    @contextlib.contextmanager
    def more_workers(self, *environments: Mapping[str, str]) -> Iterator[list[psutil.Popen]]:
        workers = self.begin_workers(*environments)
        self.see_them_work(workers)
        yield workers
        self.end_workers(workers)

    # What there is ---------------------------------------------------------------------------------------------------

    def acks(self) -> dict[int, float]:
        """When each number was acknowledged."""
        return {int(number): float(at) for at, number in (line.split() for line in whole_lines(self.acked_file))}

    def arrivals(self) -> list[tuple[float, int, str, int]]:
        """Every numbered message as (time, number, webhook-id, webhook-timestamp), in the order they came."""
        rows = (line.split() for line in whole_lines(self.ledger_file))
        return [(float(at), int(number), message, int(signed)) for at, number, message, signed in rows if number != "-"]

    def arrived(self) -> set[int]:
        return {number for _, number, _, _ in self.arrivals()}

    def arrived_in_line(self) -> set[int]:
        """What came in batches."""
        return {int(line.split()[1]) for line in whole_lines(self.line_file) if line.split()[1] != "-"}

    def query(self, statement: str, parameters: Mapping[str, Any] | list[Any] | None = None) -> list[tuple]:
        """Read or change the portal's database, past everything that guards it.

        OperationalError while it is away, or where a process that stands still has a lock for longer than it may.
        """
        with psycopg.connect(self.embedded.superuser_conninfo("portcullis"), autocommit=True) as connection:
            connection.execute(f"SET lock_timeout = '{LOCKED_WITHIN}s'")
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def under_way(self) -> set[str]:
        """Ids of the messages that were sent, or may have been, and of whose end the portal has no record.

        Claimed ones: a dead worker's claims stand until its lease ends. And those that the ledger has and the outbox
        still has too: claims are not durable, so a server that crashes may have forgotten the last of them.
        """
        there = self.query(
            "SELECT delivery.message_id, outbox.lease_token IS NOT NULL AND outbox.due_at > clock_timestamp()"
            " FROM deliveries_outbox AS outbox JOIN deliveries_delivery AS delivery ON delivery.id = outbox.delivery_id"
            " WHERE outbox.subscription_id <> %s",
            [self.line["id"]],
        )
        came = {message for _, _, message, _ in self.arrivals()}
        return {message for message, is_claimed in there if is_claimed or message in came}

    def unfinished(self) -> dict[str, int]:
        """What still waits though it could go on: of the outbox only what is not poisoned."""
        statement = (
            "SELECT (SELECT count(*) FROM events_inbox),"
            " (SELECT count(*) FROM subscriptions_notice WHERE routed_at IS NULL),"
            " (SELECT count(*) FROM deliveries_outbox AS outbox"
            " JOIN deliveries_delivery AS delivery ON delivery.id = outbox.delivery_id"
            " WHERE delivery.subscription_id = %s AND delivery.kind = 'event' AND delivery.shape = 'raw'"
            " AND delivery.event_type = 'order.created'),"
            " (SELECT count(*) FROM deliveries_outbox WHERE subscription_id = %s)"
        )
        [counts] = self.query(statement, [self.subscription["id"], self.line["id"]])
        names = "inbox", "notices", "outbox", "line"
        return {name: count for name, count in zip(names, counts, strict=True) if count}

    def somebody_stands_in_the_way(self) -> bool:
        """Does a process hold the turn to route and do nothing?"""
        [[count]] = self.query(
            "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND granted"
            " AND objid = hashtext('routing')::bigint & 4294967295"
            " AND state = 'idle in transaction' AND state_change < clock_timestamp() - interval '40 ms'"
        )
        return count > 0

    def late_attempts(self) -> int:
        return self.query("SELECT count(*) FROM deliveries_attempt WHERE outcome = 'late'")[0][0]

    def seconds_of_work(self) -> float:
        """Of all the portal's processes so far, PostgreSQL's left out."""
        total = 0.0
        for process in self.portal.processes():
            with contextlib.suppress(psutil.Error):
                if process.name() != "postgres":
                    spent = process.cpu_times()
                    total += spent.user + spent.system
        return total

    def log_lines(self) -> int:
        return self.portal.log().count("\n")


def links_of(ledger: Path) -> Path:
    return ledger.with_suffix(".links")


def whole_lines(file: Path) -> list[str]:
    """Without a last one that is just being written."""
    return file.read_text().rpartition("\n")[0].splitlines()


def children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return []


def words(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def kill_group(process: psutil.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.wait()
