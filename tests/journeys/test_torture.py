"""The short part of `make torture`: killed processes, a killed database, a lost broker and poison, under load."""

import json
import os
import subprocess
import sys

import pytest

from tests.portal import ROOT, clean_environment

pytestmark = [pytest.mark.journey, pytest.mark.timeout(360), pytest.mark.xdist_group("torture")]

PHASES = ("poison", "kill", "database", "broker")


@pytest.fixture(scope="module")
def torture():
    """What was printed, and the last line of it as an object."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture", *PHASES], cwd=ROOT, stdin=subprocess.DEVNULL,
        env=clean_environment(QUICK="1", TMPDIR=os.environ.get("TMPDIR", "/tmp")), capture_output=True, text=True,
        timeout=340, check=False,
    )  # fmt: skip
    assert done.stdout.endswith("}\n"), done.stdout + done.stderr[-5000:]
    return done.stdout, json.loads(done.stdout.splitlines()[-1]), done.returncode


@pytest.mark.spec("B11")
def test_nothing_acknowledged_is_lost_and_only_what_was_in_flight_comes_twice(torture):
    printed, found, status = torture
    assert found["lost"] == 0, printed
    assert found["acked"] == found["delivered"] > 0, printed
    assert found["unexplained"] == 0, printed
    assert found["duplicates"] <= found["in_flight_bound"], printed
    assert found["problems"] == [], printed
    assert status == 0


@pytest.mark.parametrize(
    ("kind", "times"), [("SIGKILL", 4), ("PostgreSQL restart", 1), ("pgmq lost", 2), ("poison", 20)]
)
def test_every_fault_happened(torture, kind, times):
    faults = torture[1]["faults"]
    assert sum(count for name, count in faults.items() if name.startswith(kind)) >= times
