"""The supervisor, over real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from config.supervisor import MARK, end_orphans

ROOT = Path(__file__).resolve().parents[2]
SLEEPER = """
import pathlib, sys, time
with open(sys.argv[1], "a") as file: file.write(f"{__import__('os').getpid()}\\n")
time.sleep(600)
"""
SUPERVISOR = f"""
import sys
from config.supervisor import MARK, Child, Supervisor
child = Child("sleeper", [sys.executable, "-c", {SLEEPER!r}, sys.argv[1]], {{MARK: sys.argv[2]}})
sys.exit(Supervisor([child]).run())
"""


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return value


@pytest.fixture
def started(tmp_path):
    """A supervisor over one sleeper, and the pids the sleeper has had."""
    log = tmp_path / "pids"
    process = subprocess.Popen([sys.executable, "-c", SUPERVISOR, log, tmp_path], cwd=ROOT)

    def pids():
        return [int(line) for line in log.read_text().splitlines()] if log.exists() else []

    wait_for(pids)
    yield process, pids
    process.kill()
    process.wait()
    end_orphans(str(tmp_path))


def test_a_killed_child_is_started_again(started):
    _, pids = started
    os.kill(pids()[0], signal.SIGKILL)
    wait_for(lambda: len(pids()) == 2)
    assert psutil.pid_exists(pids()[1])


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything(started, signum):
    process, pids = started
    process.send_signal(signum)
    assert process.wait(20) == 0
    assert not psutil.pid_exists(pids()[-1])


def test_a_child_that_cannot_live_stops_the_rest():
    code = (
        "import sys; from config.supervisor import Child, Supervisor;"
        "sys.exit(Supervisor([Child('broken', [sys.executable, '-c', 'exit(3)'])]).run())"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert "broken ended 5 times in a row (exit 3)" in result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_children_end_with_a_killed_supervisor(started):
    process, pids = started
    process.kill()
    process.wait()
    wait_for(lambda: not alive(pids()[-1]))


def test_orphans_of_this_var_are_ended_and_no_others(tmp_path):
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    ours = subprocess.Popen(command, env={**os.environ, MARK: str(tmp_path)})
    other = subprocess.Popen(command, env={**os.environ, MARK: str(tmp_path / "other")})
    try:
        end_orphans(str(tmp_path))
        assert ours.poll() is not None
        assert other.poll() is None
    finally:
        for process in (ours, other):
            process.kill()
            process.wait()


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
