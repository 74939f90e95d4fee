"""The fast part of `make attack-intake`, in one run against one server: what each section found."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.portal import ROOT, clean_environment

pytestmark = [pytest.mark.journey, pytest.mark.xdist_group("attack")]

SECTIONS = {"verification": 1500, "framing": 190, "bodies": 130, "what was kept": 5, "log": 1}  # at least so many cases


@pytest.fixture(scope="module")
def attack():
    """What was printed, and the last line of it as an object."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.attack", "verification", "framing", "bodies"], cwd=ROOT, stdin=subprocess.DEVNULL,
        env=clean_environment(QUICK="1", TMPDIR=os.environ.get("TMPDIR", "/tmp")), capture_output=True, text=True,
        timeout=110, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return done.stdout, json.loads(done.stdout.splitlines()[-1]), done.returncode


@pytest.mark.spec("B3", "P2", "P3", "P4", "P5", "P6", "P7", "P8")
def test_nothing_is_accepted_that_has_to_be_refused(attack):
    printed, found, status = attack
    assert found["false_accepts"] == 0, printed
    assert found["http_500"] == 0, printed
    assert found["failed"] == []
    assert status == 0


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_was_attacked(attack, section):
    printed, found, _ = attack
    assert int(re.search(rf"^ +(\d+) cases  {section}$", printed, re.MULTILINE)[1]) >= SECTIONS[section]
    assert found["cases"] >= sum(SECTIONS.values())
