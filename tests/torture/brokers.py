"""Brokers that can be lost with all they hold: killed, and there again empty.

A Celery message is only a wake-up, so nothing may hang on one. The default is pgmq in the portal's own database.
Redis and RabbitMQ are started on free ports where this machine has them: of our own, never one that runs already.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.portal import free_port, wait_for
from tests.torture.stage import Stage

QUEUE = "portcullis"
RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # what is on PATH there changes the user and the place
END_NAMES = {"ERL_EPMD_RELAXED_COMMAND_CHECK": "1"}  # so that epmd may be ended while it knows a node


class Pgmq:
    """Its messages truncated, or the whole queue gone as from a broker that knows nothing any more."""

    name = "pgmq"

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.times = 0

    def lose_everything(self) -> None:
        wait_for(self.is_there, "a worker makes the queue again", 90)
        self.times += 1
        if self.times % 2:
            self.stage.query(f"TRUNCATE pgmq.q_{QUEUE}")
        else:
            self.stage.query("SELECT pgmq.drop_queue(%s)", [QUEUE])

    def is_there(self) -> bool:
        return self.stage.query("SELECT to_regclass(%s) IS NOT NULL", [f"pgmq.q_{QUEUE}"])[0][0]

    def stop(self) -> None:
        """It ends with the database."""


class Redis:
    name = "Redis"

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder / "redis", free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.folder.mkdir(exist_ok=True)
        self.start()

    @staticmethod
    def is_here() -> bool:
        return shutil.which("redis-server") is not None

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(
            command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(lambda: answers(self.port), "Redis answers")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def lose_everything(self) -> None:
        self.stop()
        time.sleep(0.5)
        self.start()


class RabbitMQ:
    name = "RabbitMQ"

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "rabbitmq"
        self.port, self.distribution, self.names = free_port(), free_port(), free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        self.start()

    @staticmethod
    def is_here() -> bool:
        return RABBITMQ.exists()

    def start(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        (self.folder / "plugins").write_text("[].\n")
        (self.folder / "rabbitmq.conf").touch()
        here = str(self.folder)
        environment = {
            "PATH": os.environ["PATH"], "HOME": here, "ERL_EPMD_PORT": str(self.names), "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"torture{self.port}@localhost", "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port), "RABBITMQ_DIST_PORT": str(self.distribution),
            "RABBITMQ_MNESIA_BASE": here, "RABBITMQ_LOGS": f"{here}/log", "RABBITMQ_PID_FILE": f"{here}/pid",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{here}/plugins", "RABBITMQ_CONFIG_FILE": f"{here}/rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": f"{here}/none", "LANG": "C.UTF-8", **END_NAMES,
        }  # fmt: skip
        self.process = subprocess.Popen(
            [str(RABBITMQ)], cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        wait_for(lambda: answers(self.port), "RabbitMQ answers", 90)

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        wait_for(lambda: not answers(self.port), "RabbitMQ has ended")
        if shutil.which("epmd"):  # the registry of names that it started for itself
            subprocess.run(
                ["epmd", "-port", str(self.names), "-kill"], capture_output=True, check=False,
                env={"PATH": os.environ["PATH"], **END_NAMES},
            )  # fmt: skip

    def lose_everything(self) -> None:
        self.stop()
        self.start()


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
