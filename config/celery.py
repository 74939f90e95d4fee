"""The Celery app. PostgreSQL is the only truth; a Celery message is only a wake-up (DESIGN §2).

By default the broker is pgmq in the portal's own database; what was tried of it is told in
docs/decisions/0003-pgmq-broker.md.
"""

import json
import os
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import psycopg
from celery import Celery
from celery.platforms import SecurityWarning
from celery.signals import celeryd_init, worker_process_init
from pgmq import PGMQueue
from psycopg import pq
from psycopg.conninfo import make_conninfo
from psycopg.errors import IdleInTransactionSessionTimeout, UndefinedTable

from config.logs import broker_outage, outage

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

QUEUE = "portcullis"
LOOK = 0.25  # seconds: so often a worker looks whether it is to stop
IDLE = 5.0  # seconds, as of other transactions that hold up everybody (decision 24)
MOST_WAITING = 200  # messages: RabbitMQ keeps so many, and of Redis's so many are looked at
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
    a look-up each instead of a message each. RabbitMQ lets nobody look: its queue has a length
    instead, and drops the oldest.
    """

    def send_task(self, name: str, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        options.pop("producer", None)  # beat's own never finds a RabbitMQ again that it lost; one of the pool does
        look = None if args or kwargs else _LOOKS.get(urlsplit(str(self.conf.broker_url)).scheme)
        if look is not None:
            with self.producer_or_acquire() as producer:
                is_waiting = look(producer.channel, name)
                self._reached()
                if is_waiting:
                    return None
        sent = super().send_task(name, args, kwargs, **options)
        self._reached()
        return sent

    def _reached(self) -> None:
        (outage if uses_pgmq(self.conf) else broker_outage).end()

    def connection_for_read(self, url: Any = None, **options: Any) -> Any:
        """The consumer's. Celery's pause between two tries grows to half a minute, and one restart after another of the
        broker could keep a worker out for as long as they last. A worker that is to stop finishes one more wait for
        messages, of 2 s where Celery has its way. And where pgmq's queue is gone, or a transaction stood still for
        too long (IDLE), connecting anew is all it takes: kombu would let the worker end."""
        connection = super().connection_for_read(url, **options)
        connection.connection_errors = (*connection.connection_errors, UndefinedTable, IdleInTransactionSessionTimeout)
        drain = connection.drain_events
        connection.drain_events = lambda timeout=LOOK, **more: drain(timeout=timeout and min(timeout, LOOK), **more)
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


def _waits_in_pgmq(channel: Any, task: str) -> bool:
    queue: PGMQueue = channel.pgmq
    try:
        with queue.pool.connection() as connection:
            return connection.execute(WAITING, [task]).fetchone() is not None
    except psycopg.errors.UndefinedTable:
        return False  # the first message ever makes the queue


def _waits_in_redis(channel: Any, task: str) -> bool:
    """A list, whose messages leave it when a worker reads them."""
    with channel.conn_or_acquire() as client:
        waiting = client.lrange(QUEUE, 0, MOST_WAITING - 1)
    return any(json.loads(message)["headers"]["task"] == task for message in waiting)


_LOOKS: dict[str, Callable[[Any, str], bool]] = {
    "pgmq": _waits_in_pgmq,
    "redis": _waits_in_redis,
    "rediss": _waits_in_redis,
}


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
    sets = [
        "-c synchronous_commit=off",  # a wake-up that a crash loses is swept up
        f"-c idle_in_transaction_session_timeout={IDLE * 1000:.0f}",
    ]
    options = {
        "connect_timeout": 3,
        "application_name": "portcullis broker",
        **{k: v for k, v in options.items() if k not in values},
        "options": " ".join([*sets, options.get("options", "")]).strip(),
    }
    quoted = {name: _quote(value) for name, value in values.items()}
    quoted["password"] += " " + make_conninfo(**options)
    return make_conninfo(**quoted)


def _quote(value: object) -> str:
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"
