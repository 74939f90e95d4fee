"""What no log may show, and what it need not say twice.

The ingest key and the tokens of links stand in paths, which servers and Django log: they are masked. A database that
restarts is told of by everybody who waits for it, several times a second and with tracebacks: of each process one line
is left when it goes, and one when it is back. The same for a broker that is not the database.
"""

import logging
import re
import socket
from collections.abc import Callable, Iterator

import amqp
import kombu
import psycopg
import redis
from django.conf import settings
from django.db.backends.signals import connection_created

_log = logging.getLogger(__name__)

_SECRETS = re.compile(
    r"(/(?:in|confirm|accounts/confirm-email|accounts/password/reset/key)/|(?<!/api/v1)/invitations/)[^/?\s\"']+"
)


def mask(text: str) -> str:
    return _SECRETS.sub(r"\1***", text)


class MaskingFormatter(logging.Formatter):
    """Masks the finished lines, a traceback's included."""

    def format(self, record: logging.LogRecord) -> str:
        return mask(super().format(record))


class Outage(logging.Filter):
    """Of the records about an absent server only the first is left, as one line; `end` writes another.

    `name` as a sentence begins with it; `is_absence` says whether an error tells of its absence.
    """

    def __init__(self, name: str, is_absence: Callable[[BaseException], bool]) -> None:
        super().__init__()
        self.server = name
        self.is_absence = is_absence
        self.lasts = False

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name == CONNECTED:
            self.end()
            return False
        if record.name == "psycopg.pool" and record.msg.startswith("discarding closed connection"):
            return False  # it makes another
        reason = self._absence(record)
        if reason is None:
            return True
        if self.lasts:
            return False
        self.lasts = True
        record.name, record.levelno, record.levelname = __name__, logging.WARNING, "WARNING"
        record.msg = "%s does not answer (%s); trying again until it does."
        record.args = (self.server, reason.partition("\n")[0])
        record.exc_info = record.exc_text = record.stack_info = None
        return True

    def end(self, **kwargs: object) -> None:
        """Somebody reached it (as a signal's receiver, too)."""
        if self.lasts:
            self.lasts = False
            _log.warning("%s is back.", self.server)

    def _absence(self, record: logging.LogRecord) -> str | None:
        """Why no connection came about, in the server's words, if that is what the record tells of."""
        if record.name == "psycopg.pool":
            return str(record.args[-1]) if record.msg.startswith("error connecting") and record.args else None
        told = [*record.args] if isinstance(record.args, tuple) else []
        told += record.exc_info[1:2] if record.exc_info else []
        errors = (error for one in told if isinstance(one, BaseException) for error in _chain(one))
        return next((str(error) for error in errors if self.is_absence(error)), None)


def quieten() -> None:
    """Once in each process, when Django is set up."""
    for name in SPEAK_OF_THE_DATABASE:
        logging.getLogger(name).addFilter(outage)
    broker_is_the_database = settings.CELERY_BROKER_URL.startswith("pgmq:")
    if not broker_is_the_database:
        for name in SPEAK_OF_THE_BROKER:
            logging.getLogger(name).addFilter(broker_outage)
    logging.getLogger(CONNECTED).addFilter(outage if broker_is_the_database else broker_outage)
    logging.getLogger(CONNECTED).setLevel(logging.INFO)
    connection_created.connect(outage.end, dispatch_uid="the database is back")
    logging.getLogger("django.request").addFilter(is_no_ordinary_404)
    logging.getLogger("py.warnings").addFilter(is_no_celery_forecast)


def is_no_celery_forecast(record: logging.LogRecord) -> bool:
    """At each lost connection Celery warns of what it will do to tasks acknowledged late: none is.

    The worker turns this warning on again itself, so a warnings filter does not reach it.
    """
    return "CPendingDeprecationWarning" not in record.getMessage()


def is_no_ordinary_404(record: logging.LogRecord) -> bool:
    """Scanners and mistyped addresses are no trouble of the portal's; the access log has them."""
    return getattr(record, "status_code", None) != 404


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def is_absence(error: BaseException) -> bool:
    """Whether no connection came about or one was cut off; a deadlock, say, is an OperationalError as well."""
    if not isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
        return False
    state = error.sqlstate or ""
    return not state or state.startswith("08") or state in {"57P01", "57P02", "57P03"}


def is_absence_of_the_broker(error: BaseException) -> bool:
    """RabbitMQ's, Redis's, or the network's on the way there."""
    return isinstance(
        error,
        (
            kombu.exceptions.OperationalError,
            amqp.exceptions.ConnectionError,
            redis.exceptions.ConnectionError,
            redis.exceptions.TimeoutError,
            ConnectionError,
            TimeoutError,
            socket.gaierror,
        ),
    )


CONNECTED = "celery.worker.consumer.connection"  # says so, at INFO, whenever the worker reached its broker
SPEAK_OF_THE_DATABASE = (
    "psycopg.pool",
    "celery.beat",
    "celery.app.trace",
    "celery.worker.consumer.consumer",
    "celery.worker.request",
)
SPEAK_OF_THE_BROKER = ("celery.beat", "celery.worker.consumer.consumer", "celery.worker.request", "events.wakeup")
outage = Outage("The database", is_absence)
broker_outage = Outage("The broker", is_absence_of_the_broker)
