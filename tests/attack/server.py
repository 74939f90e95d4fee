"""What is attacked: the portal's web process behind its own server, on a PostgreSQL that is gone afterwards."""

import contextlib
import itertools
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from bench.stage import Server, Stage, stage
from tests.attack.wire import Address, Heard, Wire, request

MB = 1 << 20
SAMPLE_SECONDS = 0.001


def ask(
    client: HTTPConnection, path: str, headers: Mapping[str, str], method: str = "GET", body: str | None = None
) -> Heard:
    """Status 0 where there was no whole answer."""
    try:
        client.request(method, path, body, dict(headers))
        with client.getresponse() as response:
            return Heard(response.status, {}, response.read())
    except (OSError, HTTPException):
        client.close()
        return Heard(0, {}, b"")


@dataclass(frozen=True)
class AttackedSource:
    id: str
    path: str  # of its ingest URL
    secret: str
    key_id: str


class Target:
    """`address` listens. `tenant` owns the sources; `signed_in` is a cookie of its owner."""

    def __init__(self, server: Server) -> None:
        from django.test import Client

        from tenants.models import ApiKey, Membership, Tenant, User
        from tenants.scope import system_scope

        self.server = server
        self.address: Address = server.address
        self.url = f"http://{self.address[0]}:{self.address[1]}"
        self.process = psutil.Process(server.process.pid)
        self.names = itertools.count(1)
        with system_scope():
            self.tenant = Tenant.objects.create(name="Attacked")
            owner = User.objects.create_user("owner@attacked.example", "correct horse battery")
            Membership.objects.create(tenant=self.tenant, user=owner, role="owner")
            _, self.api_key = ApiKey.issue(tenant=self.tenant, name="attack", role="owner")
            browser = Client()
            browser.force_login(owner)
        self.signed_in = f"sessionid={browser.cookies['sessionid'].value}"
        self.worker = self._worker()

    def _worker(self) -> psutil.Process:
        """The one process that answers."""
        deadline = time.monotonic() + 30
        while not (children := self.process.children()):
            if time.monotonic() > deadline:
                raise RuntimeError("the server has no worker")
            time.sleep(0.1)
        return children[0]

    def is_alive(self) -> bool:
        """The same worker as at the beginning, and it answers."""
        try:
            with Wire(self.address) as wire:
                heard = wire.exchange(request("/healthz", method="GET"))
            return heard.status == 200 and self.worker.is_running()
        except OSError:
            return False

    def create_source(self, creation: Mapping[str, object], secret: str | None = None) -> AttackedSource:
        """Made through the API, as people do."""
        wanted = {"name": f"Source {next(self.names)}", **creation} | ({} if secret is None else {"secret": secret})
        heard = self.api("sources/", "POST", wanted)
        if heard.status != 201:
            raise RuntimeError(f"{creation}: {heard.status} {heard.body.decode()[:500]}")
        made = json.loads(heard.body)
        key_id = made["credentials"][0]["key_id"] if made["credentials"] else ""
        return AttackedSource(made["id"], urlsplit(made["url"]).path, made.get("secret") or secret or "", key_id)

    def api(self, path: str, method: str = "GET", body: object = None) -> Heard:
        headers = self.program | {"Content-Type": "application/json"}
        with self.client() as client:
            return ask(client, f"/api/v1/{path}", headers, method, None if body is None else json.dumps(body))

    def client(self) -> contextlib.closing[HTTPConnection]:
        """For well-formed requests: pages and the API."""
        return contextlib.closing(HTTPConnection(*self.address, timeout=60))

    @property
    def program(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"}

    @property
    def browser(self) -> dict[str, str]:
        return {"Cookie": self.signed_in}

    def events(self, source: AttackedSource) -> int:
        from events.models import Event
        from tenants.scope import system_scope

        with system_scope():
            return Event.objects.filter(source_id=source.id).count()

    def seconds_of_work(self) -> float:
        """CPU seconds of the worker so far, to the nanosecond where Linux tells them."""
        try:
            tasks = Path(f"/proc/{self.worker.pid}/task").iterdir()
            return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
        except OSError:
            spent = self.worker.cpu_times()
            return spent.user + spent.system


class Resident:
    """By how many bytes the memory of a process grew at most, while this is entered: `growth`, once it is left.

    Linux keeps the peak itself and lets one reset it; elsewhere a thread looks every millisecond.
    """

    def __init__(self, process: psutil.Process) -> None:
        self.process = process
        self.growth = 0

    def __enter__(self) -> "Resident":
        self._before = self._peak = self.process.memory_info().rss
        self._exact = self._reset()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)
        if not self._exact:
            self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        if self._exact:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            self._peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
        else:
            self._thread.join()
        self.growth = max(0, self._peak - self._before)

    def _reset(self) -> bool:
        try:
            Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        except OSError:
            return False
        return True

    def _look(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            self._peak = max(self._peak, self.process.memory_info().rss)


@contextlib.contextmanager
def attacked() -> Iterator[Target]:
    """The portal's own application behind its own server; PORTAL_URL is where it listens."""
    with stage() as made, _served(made) as server:
        yield Target(server)


@contextlib.contextmanager
def _served(made: Stage) -> Iterator[Server]:
    for name in ("PORTAL_URL", "BEHIND_TLS_PROXY", "TRUSTED_PROXIES"):
        os.environ.pop(name, None)
    with made.served("config.asgi:application", ACCESS_LOG="", WEB_CONCURRENCY="1") as server:
        yield server
