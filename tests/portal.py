"""A portal run as a process, the way `make serve` runs it, and a client of its own to talk to it.

Nothing of the product is imported: what the journeys and the browser judge, they judge from outside.
"""

import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
MANAGE = (str(ROOT / ".venv/bin/python") if (ROOT / ".venv/bin/python").exists() else sys.executable, "manage.py")
LOOPBACK = "127.0.0.0/8"


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """The first true value of `condition`; fails with `what` when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}"
        time.sleep(0.05)
    return value


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def call(method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Answer:
    """One request; an error status is an answer, an absent server an OSError."""
    request = urllib.request.Request(url, data=body, headers=dict(headers or {}), method=method)  # noqa: S310
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as response:
            return Answer(response.status, response.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.read())


def clean_environment(**settings: str) -> dict[str, str]:
    """A new machine's, and no DATABASE_URL from a developer's .env file either."""
    return {"HOME": os.environ.get("HOME", "/"), "PATH": os.environ["PATH"], "DATABASE_URL": "", **settings}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def manage(*arguments: str, **settings: str) -> subprocess.CompletedProcess:
    """A short command beside whatever runs."""
    return subprocess.run(
        [*MANAGE, *arguments], cwd=ROOT, env=clean_environment(**settings), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


class Portal:
    """`with Portal() as portal:` runs one in a temporary VAR and leaves nothing of it behind."""

    patience = 60  # seconds until it must be ready

    def __init__(self, command: str = "serve", **settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="portcullis-journey-"))
        self.var = self.folder / "var"
        self.port = free_port()
        self.command = command
        self.settings = {"VAR": str(self.var), "PORT": str(self.port), "EGRESS_ALLOW": LOOPBACK, **settings}
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> "Portal":
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc) -> None:
        try:
            self.stop()
        finally:
            for process in self.processes():
                process.kill()
            shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*MANAGE, self.command], cwd=ROOT, env=clean_environment(**self.settings), stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, preexec_fn=_end_with_us,
            )  # fmt: skip
        wait_for(self.is_ready, "the portal is ready", self.patience)

    def is_ready(self) -> bool:
        assert self.process.poll() is None, f"the portal ended:\n{self.log()}"
        try:
            return call("GET", f"{self.url}/readyz").status == 200
        except OSError:
            return False

    def stop(self, signum: int = signal.SIGTERM) -> int:
        """Ask it to stop and wait until it has; returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signum)
        return self.process.wait(40)

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def processes(self) -> list[psutil.Process]:
        """Every process that belongs to this VAR, whoever its parent is by now."""
        return list(self._processes())

    def _processes(self) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            try:
                mine = process.environ().get("VAR") == str(self.var) or process.cwd().startswith(str(self.var))
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    yield process
            except psutil.Error:
                continue

    def workers(self) -> list[psutil.Process]:
        """Celery's worker: its leader and its pool."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if {"celery", "worker"} <= set(child.cmdline())]

    @property
    def operator(self) -> tuple[str, str]:
        """Email and one-time password, as the first run prints them."""
        said = self.log()
        return re.search(r"email +(\S+)", said)[1], re.search(r"one-time password +(\S+)", said)[1]

    def create_tenant(self, name: str, owner: str = "", *options: str) -> "Tenant":
        """As a script would, beside the running portal."""
        owner = owner or f"owner@{name.lower()}.example"
        done = manage("create_tenant", name, "--owner", owner, "--json", *options, **self.settings)
        assert done.returncode == 0, done.stderr
        made = json.loads(done.stdout)
        return Tenant(self.url, made["api_key"], made["tenant"], made["owner"], made["password"])


@dataclass(frozen=True)
class Tenant:
    """The API as one tenant's program uses it; `api`, `get` and `post` fail where the portal refuses."""

    url: str
    api_key: str
    id: str = ""
    owner: str = ""
    password: str = ""

    def api(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        answer = call(method, f"{self.url}/api/v1/{path}", data, self._headers)
        assert answer.status < 300, f"{method} {path}: {answer.status} {answer.body.decode()[:500]}"
        return answer.json() if answer.body else None

    def get(self, path: str) -> Any:
        return self.api("GET", path)

    def post(self, path: str, **fields: Any) -> Any:
        return self.api("POST", path, fields)

    def all(self, path: str) -> list[dict]:
        found, following = [], f"{self.url}/api/v1/{path}"
        while following:
            page = call("GET", following, headers=self._headers).json()
            found += page["results"]
            following = page["next"]
        return found

    def create_source(self, method: str = "hmac", **fields: Any) -> dict:
        auth = {"method": method, **fields.pop("auth", {})}
        return self.post("sources/", name="A source", auth=auth, **fields)

    def subscribe(self, receiver: Any, **fields: Any) -> dict:
        """Create a subscription and agree to it by the link that the receiver got."""
        made = self.post("subscriptions/", name="A subscription", url=receiver.url, **fields)
        posted = wait_for(lambda: list(receiver.posted), "the confirmation link arrives")[-1]
        message = json.loads(posted.body)
        link = (message.get("data") or message["payload"])["confirmation_url"]
        assert call("GET", link).status == 200
        wait_for(lambda: self._is_settled(made["id"]), "the confirmation is written down")
        receiver.posted.clear()
        return made

    def _is_settled(self, subscription: str) -> bool:
        return all(d["status"] == "delivered" for d in self.all(f"deliveries/?subscription={subscription}"))

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}", "Content-Type": "application/json"}


def _end_with_us() -> None:
    """A test run that is killed leaves no portal (Linux)."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)
