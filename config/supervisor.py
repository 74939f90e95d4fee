"""Runs the portal's processes together, restarts the one that dies, and leaves none behind.

docs/decisions/0002-supervisor.md tells why this is ours. Each child leads a process group of its
own, so a Ctrl-C at the terminal reaches only us and we decide the order; when we are killed the
kernel ends the children (Linux), and the next start ends whatever carries MARK and survived.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import psutil

MARK = "PORTCULLIS_SUPERVISED"  # in every child's environment: the VAR it belongs to
STOP_SECONDS = 20  # more than a worker waits for receivers that are slow to answer
SHORT_LIFE_SECONDS = 10
SHORT_LIVES = 5  # so many in a row and we give up: it will not get better by itself
PR_SET_PDEATHSIG = 1


@dataclass
class Child:
    """One command that should always run. `environment` is added to ours."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0
    short_lives: int = 0
    start_after: float = 0

    def start(self) -> None:
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(  # noqa: S603 (commands are ours)
            self.command,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )

    def signal_group(self, signum: int) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signum)

    def ask_to_stop(self) -> None:
        """SIGTERM to the leader only: gunicorn and Celery end their own workers in order."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()


class Supervisor:
    """`run()` blocks until a signal asks to stop (returns 0) or a child cannot live (returns 1).

    `watch` is called about once a second: the bundled PostgreSQL is looked after there.
    """

    def __init__(self, children: Sequence[Child], watch: Callable[[], None] | None = None) -> None:
        self.children = children
        self.watch = watch
        self.asked_at: float | None = None
        self.hurry = False

    def run(self) -> int:
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, self._on_signal)
        status, watched_at = 0, time.monotonic()
        try:
            for child in self.children:
                child.start()
            while self.asked_at is None and status == 0:
                time.sleep(0.1)
                status = max(self._look_after(child) for child in self.children)
                if self.watch and time.monotonic() - watched_at > 1:
                    self.watch()
                    watched_at = time.monotonic()
        finally:
            self._stop()
        return status

    def _on_signal(self, signum: int, frame: object) -> None:
        """A second request hurries us; one that comes at once (make forwards it) is the same."""
        now = time.monotonic()
        if self.asked_at is None:
            self.asked_at = now
        elif now - self.asked_at > 1:
            self.hurry = True

    def _look_after(self, child: Child) -> int:
        now = time.monotonic()
        if child.process is None:
            if now >= child.start_after:
                child.start()
            return 0
        if (code := child.process.poll()) is None:
            return 0
        child.signal_group(signal.SIGKILL)  # what its leader left behind
        child.process = None
        short = now - child.started_at < SHORT_LIFE_SECONDS
        child.short_lives = child.short_lives + 1 if short else 0
        if child.short_lives >= SHORT_LIVES:
            say(f"{child.name} ended {SHORT_LIVES} times in a row (exit {code}). Stopping.")
            return 1
        say(f"{child.name} ended (exit {code}); starting it again.")
        child.start_after = now + (2 ** max(child.short_lives - 1, 0) / 5 if short else 0)
        return 0

    def _stop(self) -> None:
        say("stopping; requests under way are finished first. Ask again to hurry.")
        for child in self.children:
            child.ask_to_stop()
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline and not self.hurry:
            if all(child.process is None or child.process.poll() is not None
                   for child in self.children):  # fmt: skip
                break
            time.sleep(0.05)
        for child in self.children:
            child.signal_group(signal.SIGKILL)
            if child.process is not None:
                child.process.wait()


def end_orphans(var: str) -> None:
    """End what an earlier supervisor of this VAR left running. The caller holds VAR's lock, so a
    process that carries our mark with this VAR can only be an orphan."""
    orphans = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARK) == var:
                orphans.append(process)
    for process in orphans:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(orphans, timeout=5)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=3)


def say(sentence: str) -> None:
    print(f"portcullis: {sentence}", file=sys.stderr, flush=True)


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
