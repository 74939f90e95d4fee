"""A pytest plugin: one throw-away PostgreSQL for a whole run, shared by the xdist workers.

Settings read DATABASE_URL when they are imported, and pytest-django imports them in
`pytest_load_initial_conftests`. A wrapper of that hook runs before every plain implementation of
it, tryfirst ones included, so here the server is up before Django is. The workers inherit the
environment of the controller and start nothing.

TEST_DATABASE_URL names a server to use instead; its role needs CREATEDB.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

import psutil
import psycopg
import pytest

from config.embedded import ROLE, Embedded

PREFIX = "portcullis-tests-"
CONFIGURATION = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


def start_test_cluster(directory: Path) -> tuple[str, Embedded]:
    """Start a cluster in `directory`: (DATABASE_URL of the app's role, the server).

    That role may create the test databases, but is neither superuser nor does it bypass RLS.
    """
    embedded = Embedded(directory, configuration=CONFIGURATION)
    embedded.start()
    with psycopg.connect(embedded.superuser_conninfo(), autocommit=True) as connection:
        connection.execute(f"ALTER ROLE {ROLE} CREATEDB")
    return embedded.url(), embedded


def make_directory() -> Path:
    """A temporary directory that says which process it belongs to."""
    directory = Path(tempfile.mkdtemp(prefix=PREFIX))
    me = psutil.Process()
    owner = {"pid": me.pid, "started": me.create_time()}
    (directory / "owner.json").write_text(json.dumps(owner))
    return directory


def remove(directory: Path) -> None:
    Embedded(directory).stop()
    shutil.rmtree(directory, ignore_errors=True)


def remove_abandoned() -> None:
    """Stop and remove what a killed run left."""
    for directory in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            owner = json.loads((directory / "owner.json").read_text())
            process = psutil.Process(owner["pid"])
            alive = (  # a zombie is not: in a container pid 1 may never reap it
                process.create_time() == owner["started"] and process.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.NoSuchProcess:
            alive = False
        except (OSError, ValueError, KeyError):
            continue  # just being made, or another user's
        if not alive:
            remove(directory)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config):
    if "PYTEST_XDIST_WORKER" not in os.environ:
        remove_abandoned()
        directory = make_directory()
        early_config.add_cleanup(lambda: remove(directory))
        os.environ["VAR"] = str(directory / "var")
        url = os.environ.get("TEST_DATABASE_URL")
        os.environ["DATABASE_URL"] = url or start_test_cluster(directory)[0]
    return (yield)
