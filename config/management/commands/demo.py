"""`manage.py demo`: the portal of `serve`, with a made-up company in it that is at work.

Beside web, worker and beat the supervisor runs the example receiver, the difficult receivers and the feeder
(`demo --feed`), each a process of its own; `config/demo` tells what they do.
"""

import contextlib
import os
import socket
import sys
from pathlib import Path

from django.conf import settings
from django.core.management.base import CommandError

from config.demo import feeder
from config.demo.memory import Memory
from config.embedded import make_var
from config.management.commands import serve
from config.supervisor import MARK, Child

LOOPBACK = "127.0.0.0/8"
BESIDE = 1000  # the receivers' ports are PORT + 1000 and the next, where those are free


class Command(serve.Command):
    help = "Run the portal with a demo tenant, senders, receivers and a trickle of events."

    def add_arguments(self, parser):
        parser.add_argument("--feed", action="store_true", help="Only set the tenant up and send events.")
        super().add_arguments(parser)

    def handle(self, *args, feed=False, **options):
        if feed:
            with contextlib.suppress(KeyboardInterrupt):
                feeder.run(place())
            return None
        start_with_demo_settings()
        refuse_real_portal(Path(settings.VAR))
        return super().handle(*args, **options)

    def children(self, var: Path) -> list[Child]:
        choose_ports(var)
        here = place()
        environment = {MARK: str(var), "HOST": settings.HOST, "PORT": str(settings.PORT)}
        good, difficult = here.good_receiver.rpartition(":")[2], here.difficult_receivers.rpartition(":")[2]
        here.secret_file.touch(0o600)
        receiver = [
            sys.executable, "-u", str(settings.BASE_DIR / "docs/examples/receiver.py"), "--port", good,
            "--secret-file", str(here.secret_file), "--auto-confirm", settings.PORTAL_URL,
        ]  # fmt: skip
        return [
            *super().children(var),
            Child("receiver", logged(receiver, var / "receiver.log"), environment),
            Child("difficult receivers", [sys.executable, "-m", "config.demo.receivers", difficult], environment),
            Child("senders", [*serve.manage(), "demo", "--feed"], environment),
        ]


def start_with_demo_settings() -> None:
    """Start this command anew where its settings are those of a real portal.

    The demo has data of its own, and its receivers are on this machine; mail to invented people goes nowhere.
    """
    if settings.EMBEDDED is None:
        raise CommandError(
            "The demo fills a database with invented data, so it does not use DATABASE_URL: unset it (in .env too) "
            "to let the demo start the bundled PostgreSQL."
        )
    allowed = LOOPBACK in settings.EGRESS_ALLOW
    if "VAR" in os.environ and allowed:
        return
    environment = {
        "VAR": str(settings.BASE_DIR / "var" / "demo"),
        "EMAIL_BACKEND": "django.core.mail.backends.dummy.EmailBackend",
        **os.environ,
        "EGRESS_ALLOW": ",".join(settings.EGRESS_ALLOW if allowed else [*settings.EGRESS_ALLOW, LOOPBACK]),
    }
    os.execve(sys.executable, [*serve.manage(), "demo"], environment)  # noqa: S606 (ourselves)


def refuse_real_portal(var: Path) -> None:
    """Invented events have no place among real ones. What the demo remembers tells its own VAR from another."""
    memory = Memory(var / "demo.json")
    if (var / "postgres").exists() and not memory.path.exists():
        raise CommandError(f"{var} holds a portal that is not a demo: set VAR to another directory, or leave it out.")
    make_var(var)
    memory.save()


def place() -> feeder.Place:
    ports = Memory(Path(settings.VAR) / "demo.json")["ports"]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.HOST, settings.HOST)  # noqa: S104 (compared, not bound)
    return feeder.Place(
        base=f"http://{f'[{host}]' if ':' in host else host}:{settings.PORT}",
        shown=settings.PORTAL_URL,
        folder=Path(settings.VAR),
        manage=settings.BASE_DIR / "manage.py",
        good_receiver=f"http://127.0.0.1:{ports.get('good')}",
        difficult_receivers=f"http://127.0.0.1:{ports.get('difficult')}",
    )


def choose_ports(var: Path) -> None:
    """Those of the last time where they are free, since subscriptions know them; else others."""
    memory = Memory(var / "demo.json")
    taken: set[int] = set()
    for name, beside in (("good", BESIDE), ("difficult", BESIDE + 1)):
        wanted = memory["ports"].get(name) or settings.PORT + beside
        port = wanted if wanted not in taken and is_free(wanted) else free_port()
        memory["ports"][name] = port
        taken.add(port)
    memory.save()


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def logged(command: list[str], log: Path) -> list[str]:
    """The same command with its output in a file that starts empty. `exec` keeps the process that is signalled."""
    return ["/bin/sh", "-c", 'log="$0"; exec "$@" >"$log" 2>&1', str(log), *command]
