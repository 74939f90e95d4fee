"""The broker in the portal's own database: what docs/decisions/0003-pgmq-broker.md relies on."""

import kombu.pools
import psycopg
import pytest
from kombu.exceptions import OperationalError
from pgmq.base import PGMQConfig

from config.celery import QUEUE, Portcullis, pgmq_conn_string

TASK = "tests.nothing.to_do"


@pytest.fixture
def sql(db, settings):
    """Runs SQL in the test database, outside the test's transaction, as the broker does.

    A transaction could not undo what the broker commits: the queue is dropped at the end.
    """
    dsn = PGMQConfig(conn_string=pgmq_conn_string(settings.DATABASES["default"])).dsn
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield lambda query, *values: connection.execute(query, values).fetchone()
        kombu.pools.reset()  # closes the broker's connections, which may hold the queue
        connection.execute("SELECT pgmq.drop_queue(%s)", [QUEUE])


@pytest.fixture
def app(sql, settings):
    """An app like the portal's, whose broker lies in the test database."""
    app = Portcullis("tests", set_as_current=False)
    app.conf.update(
        broker_url="pgmq://localhost/",
        broker_transport_options={
            **settings.CELERY_BROKER_TRANSPORT_OPTIONS,
            "conn_string": pgmq_conn_string(settings.DATABASES["default"]),
        },
        task_default_queue=QUEUE,
        task_ignore_result=True,
    )
    return app


@pytest.fixture
def waiting(sql):
    return lambda: sql(f"SELECT count(*) FROM pgmq.q_{QUEUE}")[0]


def test_wake_ups_that_nobody_reads_do_not_pile_up(app, waiting):
    for _ in range(20):
        app.send_task(TASK)
    assert waiting() == 1


def test_wake_ups_of_another_task_are_another_matter(app, waiting):
    app.send_task(TASK)
    app.send_task(f"{TASK}.either")
    assert waiting() == 2


def test_a_message_with_arguments_is_always_sent(app, waiting):
    for number in range(3):
        app.send_task(TASK, args=[number])
    assert waiting() == 3


def test_a_wake_up_follows_one_that_was_read(app, sql, waiting):
    app.send_task(TASK)
    sql("SELECT msg_id FROM pgmq.read(%s, 60, 1)", QUEUE)
    app.send_task(TASK)
    assert waiting() == 2


def test_a_publisher_does_not_listen(app, sql):
    app.send_task(TASK)
    listening = sql(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE %s",
        "LISTEN%",
    )
    assert listening == (0,)


def test_conn_string_survives_what_pgmq_does_to_it():
    database = {
        "NAME": "the name",
        "USER": "o'neil",
        "PASSWORD": r"a\b 'c' d",
        "HOST": "",
        "PORT": "",
        "OPTIONS": {"host": "/With Space/dir", "port": 5432, "sslmode": "require", "pool": True},
    }
    rebuilt = psycopg.conninfo.conninfo_to_dict(PGMQConfig(conn_string=pgmq_conn_string(database)).dsn)
    assert {name: rebuilt[name] for name in ("host", "dbname", "user", "password", "sslmode")} == {
        "host": "/With Space/dir",
        "dbname": "the name",
        "user": "o'neil",
        "password": r"a\b 'c' d",
        "sslmode": "require",
    }
    assert "pool" not in rebuilt


def test_a_worker_whose_clock_is_ten_minutes_ahead_still_hears_of_work(settings):
    """Found by the torture: it took every wake-up and every sweep for expired, and being alone delivered nothing."""
    expiries = [settings.WAKEUP_EXPIRES, *(one["options"]["expires"] for one in settings.CELERY_BEAT_SCHEDULE.values())]
    assert min(expiries) > 600


def test_the_worker_looks_for_its_broker_again_within_two_seconds(monkeypatch):
    """Found by the torture: with pauses of half a minute it was out for as long as PostgreSQL kept restarting."""
    monkeypatch.setattr("kombu.utils.functional.sleep", lambda seconds: None)
    pauses = []
    app = Portcullis("elsewhere", set_as_current=False)
    with app.connection_for_read("redis://127.0.0.1:1/0") as broker, pytest.raises(OperationalError):
        broker.ensure_connection(lambda error, pause: pauses.append(pause), 8)
    assert len(pauses) == 8
    assert max(pauses) <= 2
