"""`manage.py serve`: the whole portal in one command, its PostgreSQL included.

1. Take VAR's lock, so that two supervisors never share it; end what a killed one left.
2. Start the bundled PostgreSQL, unless DATABASE_URL names another.
3. In a process of its own (`serve --prepare`), because settings must see the started database:
   migrate, collect static files, make the first operator.
4. Run web, worker and beat until a signal; then stop them, and PostgreSQL last.
"""

import contextlib
import fcntl
import io
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, SystemCheckError
from django.db import OperationalError

from config.celery import app
from config.checks import database_is_utf8, migrations_are_whole
from config.embedded import Embedded, EmbeddedError, make_var
from config.supervisor import MARK, Child, Supervisor, end_orphans

BROKER_SECONDS = 5
FIRST_OPERATOR = "operator@example.com"


class Command(BaseCommand):
    help = "Run the portal: database, web, worker and beat under one supervisor."
    requires_system_checks = ()

    def add_arguments(self, parser):
        parser.add_argument("--prepare", action="store_true", help="Only migrate and set up.")

    def handle(self, *args, prepare=False, **options):
        if prepare:
            return self.prepare()
        # A signal during the start unwinds the stack like Ctrl-C, so PostgreSQL is stopped too.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        var = Path(settings.VAR).resolve()
        make_var(var)
        try:
            with only_supervisor_of(var):
                end_orphans(str(var))
                refuse_taken_port(settings.HOST, settings.PORT)
                with running_database(settings.EMBEDDED):
                    status = self.run(var, settings.EMBEDDED)
        except EmbeddedError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            status = 0
        sys.exit(status)

    def run(self, var, embedded):
        prepared = subprocess.run(  # noqa: S603 (our own command)
            [*manage(), "serve", "--prepare"], stdin=subprocess.DEVNULL, check=False
        )
        if prepared.returncode:
            return prepared.returncode
        watch = None
        if embedded is not None:

            def watch():
                if not embedded.is_running():
                    embedded.start()

        return Supervisor(self.children(var), watch).run()

    def children(self, var: Path) -> list[Child]:
        return children(var)

    def prepare(self):
        """Everything that needs a started database, before the first request."""
        try:
            refuse_unfit_database()
            call_command("migrate", interactive=False, verbosity=0)
        except OperationalError as error:
            raise CommandError(
                f"The database cannot be used: {error}\nCheck DATABASE_URL, or unset it to use the bundled PostgreSQL."
            ) from error
        # Says so where the role bypasses row-level security or the keyring is another one's; "no issues" need not be.
        try:
            call_command("check", databases=["default"], stdout=io.StringIO())
        except SystemCheckError as error:
            raise CommandError(str(error)) from error
        refuse_absent_broker()
        call_command("collectstatic", interactive=False, verbosity=0)
        address = f"http://{settings.HOST}:{settings.PORT}/"
        self.stdout.write(f"\nPortcullis is at {settings.PORTAL_URL or address}\n")
        users = get_user_model().objects
        if not users.filter(is_staff=True).exists():
            operator, password = users.create_operator(FIRST_OPERATOR)
            self.stdout.write(
                "\n  First operator, shown only this once:\n\n"
                f"    address            {address}\n"
                f"    email              {operator.email}\n"
                f"    one-time password  {password}\n\n"
                "  You will be asked to change it when you sign in.\n\n"
            )
        self.stdout.flush()


def children(var: Path) -> list[Child]:
    """The three commands that make up the portal."""
    environment = {MARK: str(var), "HOST": settings.HOST, "PORT": str(settings.PORT)}
    checked = {**environment, "CELERY_SKIP_CHECKS": "1"}  # `prepare` has made them; they load every page
    celery = [sys.executable, "-m", "celery", "--app", "config", "--quiet"]
    concurrency = str(settings.WORKER_CONCURRENCY)
    return [
        Child("web", [sys.executable, "-m", "gunicorn", "--config", "config/gunicorn.py",
                      "config.asgi:application"], environment),
        Child("worker", [*celery, "worker", "--concurrency", concurrency, "--optimization", "fair",
                         "--without-gossip", "--without-mingle", "--without-heartbeat",
                         "--loglevel", "warning"], checked),
        Child("beat", [*celery, "beat", "--schedule", str(var / "beat"), "--pidfile", "",
                       "--loglevel", "warning"], checked),
    ]  # fmt: skip


def refuse_unfit_database() -> None:
    """Before anything is written: the check that all of them are part of comes after the migrations."""
    for error in (*database_is_utf8(None, ["default"]), *migrations_are_whole(None, ["default"])):
        raise CommandError(f"{error.msg}\n{error.hint}")


def refuse_absent_broker() -> None:
    """RabbitMQ or Redis must answer now: later on an absent one only costs a second a wake-up."""
    try:
        with app.connection_for_write(connect_timeout=BROKER_SECONDS) as broker:
            broker.ensure_connection(max_retries=1, interval_start=0, timeout=BROKER_SECONDS)
    except Exception as error:
        raise CommandError(
            f"The broker {app.connection_for_write().as_uri()} does not answer ({type(error).__name__}): "
            "start it, correct CELERY_BROKER_URL, or leave that out to use PostgreSQL."
        ) from error


def manage() -> list[str]:
    return [sys.executable, str(settings.BASE_DIR / "manage.py")]


@contextlib.contextmanager
def only_supervisor_of(var: Path) -> Iterator[None]:
    """The kernel frees this lock when its holder dies, however it dies."""
    with (var / "serve.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise CommandError(
                f"A portal with VAR={var} already runs (pid {lock.read().strip()}): stop it, or "
                "set VAR and PORT to run a second one beside it."
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextlib.contextmanager
def running_database(embedded: Embedded | None) -> Iterator[None]:
    """The bundled PostgreSQL for as long as the block runs; nothing where DATABASE_URL is set."""
    if embedded is None:
        yield
        return
    try:
        embedded.start()
        yield
    finally:
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN)
        embedded.stop()


def refuse_taken_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            raise CommandError(
                f"Cannot listen on {host}:{port} ({error.strerror}): stop what uses it, or set "
                "HOST and PORT to another address."
            ) from error
