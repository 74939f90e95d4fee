"""Where a benchmark plays: a PostgreSQL of its own, a tenant with a source, and servers on loopback.

Everything is made in a directory of its own and gone afterwards. Import this module before anything of Django's.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from config.embedded import Embedded

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60


class Stage:
    """`database` is the conninfo of the portal's own role."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.embedded = Embedded(directory)
        self.embedded.start()
        os.environ.update(
            VAR=str(directory / "var"), DATABASE_URL=self.embedded.url(), DJANGO_SETTINGS_MODULE="config.settings",
            LOG_LEVEL="ERROR", CELERY_BROKER_URL="pgmq://localhost/",
        )  # fmt: skip
        import django
        from django.core.management import call_command

        django.setup(set_prefix=False)
        call_command("migrate", interactive=False, verbosity=0)

    @property
    def database(self) -> str:
        return self.embedded.url()

    def source(self, method: str, **fields: object) -> tuple[str, str]:
        """A source of a tenant of its own: (path of its ingest URL, secret)."""
        from sources.models import Source
        from tenants.models import Tenant
        from tenants.scope import system_scope

        with system_scope():
            tenant = Tenant.objects.create(name=f"Bench {method}")
            source, secret = Source.objects.create_with_secret(tenant, None, f"Bench {method}", method, {}, **fields)
        return f"/in/{source.ingest_key}", secret or ""

    @contextlib.contextmanager
    def served(self, application: str, settings: str = "config/gunicorn.py", **environment: str) -> Iterator["Server"]:
        """An ASGI application behind gunicorn with these settings, on a free port."""
        server = Server(application, settings, environment, self.directory)
        try:
            yield server
        finally:
            server.stop()


class Server:
    def __init__(self, application: str, settings: str, environment: dict[str, str], directory: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = free.getsockname()
        self.log = directory / f"{application.replace(':', '-')}-{self.address[1]}.log"
        self._log = self.log.open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--config", settings, application],
            cwd=ROOT,
            env=os.environ | {"HOST": "127.0.0.1", "PORT": str(self.address[1])} | environment,
            stdout=self._log,
            stderr=self._log,
        )
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(self.address, timeout=1):
                break
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{application} did not start: see {self.log}")
            time.sleep(0.1)

    def resident(self) -> int:
        """Bytes of memory of the worker processes."""
        return sum(child.memory_info().rss for child in psutil.Process(self.process.pid).children(recursive=True))

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    directory = Path(tempfile.mkdtemp(prefix="portcullis-bench-"))
    try:
        yield Stage(directory)
    finally:
        Embedded(directory).stop()
        shutil.rmtree(directory, ignore_errors=True)


def load(server: Server, requests: Path, *, connections: int, seconds: float, rate: float | None = None) -> dict:
    """One run of `bench.load`. Raises where an answer was not 202."""
    wanted = {
        "address": list(server.address), "requests": str(requests), "connections": connections,
        "seconds": seconds, "rate": rate,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "bench.load", json.dumps(wanted)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    result = json.loads(done.stdout)
    if set(result["statuses"]) != {"202"}:
        raise RuntimeError(f"answers were {result['statuses']}")
    return result
