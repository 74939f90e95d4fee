"""The bundled PostgreSQL: starts over whatever was left behind, with nobody let in unasked."""

import contextlib
import os
import shutil
import signal
import socket
import stat
import tempfile
import threading
from pathlib import Path

import environ
import psutil
import psycopg
import pytest

from config.embedded import Embedded, EmbeddedError


@pytest.fixture
def var():
    """A VAR of its own, in a short path: pytest's tmp_path is closed to PostgreSQL's user."""
    directory = Path(tempfile.mkdtemp(prefix="portcullis-embedded-"))
    yield directory
    Embedded(directory).stop()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def embedded(var):
    embedded = Embedded(var, configuration={"fsync": "off"})
    embedded.start()
    return embedded


def postmaster_pid(embedded: Embedded) -> int:
    return int((embedded.data / "postmaster.pid").read_text().splitlines()[0])


def test_starts_and_stops_any_number_of_times(embedded):
    first = postmaster_pid(embedded)
    embedded.start()
    assert postmaster_pid(embedded) == first

    embedded.stop()
    embedded.stop()
    assert not embedded.is_running()

    embedded.start()
    assert embedded.is_running()


def test_the_app_role_owns_its_database_and_is_bound_by_row_level_security(embedded):
    with psycopg.connect(embedded.url()) as connection:
        row = connection.execute(
            "SELECT rolsuper, rolbypassrls, rolcreatedb, rolcreaterole,"
            " pg_get_userbyid(datdba) = rolname"
            " FROM pg_roles, pg_database WHERE rolname = current_user"
            " AND datname = current_database()"
        ).fetchone()
    assert row == (False, False, False, False, True)


def test_url_means_the_same_to_django_environ_as_to_libpq(embedded):
    database = environ.Env.db_url_config(embedded.url())
    with psycopg.connect(
        dbname=database["NAME"],
        user=database["USER"],
        password=database["PASSWORD"],
        **database["OPTIONS"],
    ) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("user", ["postgres", "portcullis"])
def test_nobody_enters_without_a_password(embedded, user, monkeypatch):
    monkeypatch.setenv("PGPASSFILE", os.devnull)
    monkeypatch.delenv("PGPASSWORD", raising=False)
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(host=str(embedded.data), port=5432, user=user, dbname="postgres")


def test_does_not_listen_on_tcp(embedded):
    processes = embedded._processes()
    assert processes
    sockets = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # an autovacuum worker lives for a moment
            sockets += process.net_connections(kind="inet")
    assert [c for c in sockets if c.status == psutil.CONN_LISTEN] == []


def test_passwords_are_for_their_owner_only(embedded):
    assert stat.S_IMODE((embedded.var / "database.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("folder", ["long" * 30, "With a 'space' é"])
def test_a_path_that_no_socket_can_stand_in_works(var, folder):
    embedded = Embedded(var / folder)
    try:
        embedded.start()
        with psycopg.connect(embedded.url()) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        embedded.stop()


@pytest.mark.parametrize("left_behind", ["foreign pid", "truncated", "empty"])
def test_starts_over_a_stale_pid_file(embedded, left_behind):
    lines = (embedded.data / "postmaster.pid").read_text().splitlines(keepends=True)
    embedded.stop()
    text = {
        "foreign pid": "".join([f"{os.getpid()}\n", *lines[1:]]),
        "truncated": lines[0],
        "empty": "",
    }[left_behind]
    (embedded.data / "postmaster.pid").write_text(text)
    (embedded.data / ".s.PGSQL.5432.lock").write_text(text)

    embedded.start()

    assert postmaster_pid(embedded) != os.getpid()
    with psycopg.connect(embedded.url()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_recovers_after_its_server_was_killed(embedded):
    with psycopg.connect(embedded.url()) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    os.kill(postmaster_pid(embedded), signal.SIGKILL)

    embedded.start()

    with psycopg.connect(embedded.url()) as connection:
        assert connection.execute("SELECT one FROM kept").fetchone() == (1,)


def test_starts_although_a_dying_server_still_looked_alive(embedded):
    """Stopped, it answers nobody but is there; it is gone only after we began to wait for it."""
    dying = postmaster_pid(embedded)
    os.kill(dying, signal.SIGSTOP)
    threading.Timer(3, os.kill, (dying, signal.SIGKILL)).start()
    embedded.start()
    assert embedded.is_running()
    assert postmaster_pid(embedded) != dying


def test_refuses_when_someone_out_of_sight_answers_on_the_socket(embedded):
    embedded.stop()
    (embedded.data / "postmaster.pid").write_text("")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(embedded.data / ".s.PGSQL.5432"))
        other.listen()
        with pytest.raises(EmbeddedError, match="another container"):
            embedded._clear_the_way()
    assert (embedded.data / "postmaster.pid").exists()


def test_a_half_made_cluster_is_made_anew(var):
    (var / "postgres.new").mkdir()
    (var / "postgres.new" / "PG_VERSION").write_text("18\n")
    embedded = Embedded(var)
    embedded.start()
    assert embedded.is_running()


def test_a_database_without_its_passwords_says_what_to_do(embedded):
    embedded.stop()
    (embedded.var / "database.json").unlink()
    with pytest.raises(EmbeddedError, match="restore database.json"):
        embedded.url()
