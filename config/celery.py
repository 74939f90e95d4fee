"""The Celery app. PostgreSQL is the only truth; a Celery message is only a wake-up (DESIGN §2).

By default the broker is pgmq in the portal's own database; what was tried of it is told in
docs/decisions/0003-pgmq-broker.md.
"""

import os
import warnings
from functools import partial
from typing import Any

import psycopg
from celery import Celery
from celery.platforms import SecurityWarning
from celery.signals import celeryd_init, worker_process_init
from pgmq import PGMQueue
from psycopg import pq
from psycopg.conninfo import make_conninfo

from config.logs import outage

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

QUEUE = "portcullis"
WAITING = (
    f"SELECT 1 FROM pgmq.q_{QUEUE}"  # noqa: S608 (a constant)
    " WHERE read_ct = 0 AND message -> 'headers' ->> 'task' = %s LIMIT 1"
)

# Root is a supported way to run (containers); messages are JSON, never pickles, so it is no risk.
warnings.filterwarnings("ignore", category=SecurityWarning)


class Portcullis(Celery):
    """A message without arguments is a wake-up: one that waits unread stands for all of its name.

    Send it after the commit: whoever reads the waiting message then sees the committed rows. So
    the queue holds about one message a task however long the workers are away, and a burst costs
    a look-up each instead of a message each. Other brokers than pgmq get every message.
    """

    def send_task(self, name: str, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        if not args and not kwargs and uses_pgmq(self.conf):
            with self.producer_or_acquire(options.get("producer")) as producer:
                is_waiting = _is_waiting(producer.channel.pgmq, name)
                outage.end()
                if is_waiting:
                    return None
        return super().send_task(name, args, kwargs, **options)

    def connection_for_read(self, url: Any = None, **options: Any) -> Any:
        """The consumer's. Celery's pause between two tries grows to half a minute, and one restart after another of the
        broker could keep a worker out for as long as they last."""
        connection = super().connection_for_read(url, **options)
        connection.ensure_connection = partial(
            connection.ensure_connection, interval_start=1, interval_step=1, interval_max=1
        )
        return connection

    @property
    def waiting_wakeup(self) -> str | None:
        """A query whose one parameter is a task's name and whose answer is a row if a wake-up for it waits unread.

        For who may ask the portal's database more cheaply than by a message; None where the broker is another.
        """
        return WAITING if uses_pgmq(self.conf) else None


def _is_waiting(queue: PGMQueue, task: str) -> bool:
    try:
        with queue.pool.connection() as connection:
            return connection.execute(WAITING, [task]).fetchone() is not None
    except psycopg.errors.UndefinedTable:
        return False  # the first message ever makes the queue


app = Portcullis("portcullis")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


def uses_pgmq(conf: Any) -> bool:
    return str(conf.broker_url).startswith("pgmq:")


@celeryd_init.connect
def listen_in_the_consumer(conf: Any, **kwargs: Any) -> None:
    """Only the process that consumes may LISTEN. A publisher with `use_notify` would open a
    listening connection that nobody reads, and hold back the server's notification queue."""
    _set_use_notify(conf, True)


@worker_process_init.connect
def do_not_listen_in_the_pool(**kwargs: Any) -> None:
    _set_use_notify(app.conf, False)


def _set_use_notify(conf: Any, value: bool) -> None:
    if uses_pgmq(conf):
        conf.broker_transport_options = {**conf.broker_transport_options, "use_notify": value}


def pgmq_conn_string(database: dict[str, Any]) -> str:
    """The pgmq transport's `conn_string` option for one entry of DATABASES.

    pgmq takes the string apart, keeps five values, and joins them again without quoting (a space
    in VAR's path would break it) and without options such as sslmode. So each value is quoted
    once more, and the options ride behind the password, which it writes last.
    `connect_timeout` (seconds) lets a publisher fail fast when the database is away.
    """
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    options = {k: v for k, v in database.get("OPTIONS", {}).items() if k in known}
    values = {
        "host": database.get("HOST") or options.pop("host", "localhost"),
        "port": database.get("PORT") or options.pop("port", 5432),
        "dbname": database["NAME"],
        "user": database["USER"],
        "password": database.get("PASSWORD", ""),
    }
    options = {
        "connect_timeout": 3,
        "options": "-c synchronous_commit=off",  # a wake-up that a crash loses is swept up
        "application_name": "portcullis broker",
        **{k: v for k, v in options.items() if k not in values},
    }
    quoted = {name: _quote(value) for name, value in values.items()}
    quoted["password"] += " " + make_conninfo(**options)
    return make_conninfo(**quoted)


def _quote(value: object) -> str:
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"
