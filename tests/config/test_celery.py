"""The brokers: what docs/decisions/0003-pgmq-broker.md relies on, and what docs/deploy/brokers.md says."""

import json
import os
import socket
import subprocess
import sys

import kombu.pools
import psycopg
import pytest
from kombu.exceptions import OperationalError
from pgmq.base import PGMQConfig

from config import celery
from config.celery import LOOK, QUEUE, Portcullis, pgmq_conn_string
from tests import brokers
from tests.portal import ROOT, clean_environment, free_port, wait_for

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


def app_of(settings):
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
def app(sql, settings):
    return app_of(settings)


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


def test_options_of_the_database_are_kept_beside_the_brokers():
    database = {"NAME": "n", "USER": "u", "HOST": "h", "OPTIONS": {"options": "-c search_path=x"}}
    rebuilt = psycopg.conninfo.conninfo_to_dict(PGMQConfig(conn_string=pgmq_conn_string(database)).dsn)
    assert rebuilt["options"].startswith("-c synchronous_commit=off ")
    assert rebuilt["options"].endswith(" -c search_path=x")


def test_a_consumer_that_stands_still_lets_go_of_the_queue(sql, settings, monkeypatch):
    """Decision 24. What the worker then meets is one of the errors for which it connects anew."""
    monkeypatch.setattr(celery, "IDLE", 0.3)
    app = app_of(settings)
    app.send_task(TASK)
    with app.connection_for_read() as connection:
        queue = connection.default_channel.pgmq
        frozen = queue.pool.getconn()
        frozen.execute("SELECT * FROM pgmq.read(%s, 60, 1)", [QUEUE])
        sql("SELECT set_config('lock_timeout', '10s', false)")
        sql("SELECT pgmq.drop_queue(%s)", QUEUE)
        with pytest.raises(connection.connection_errors):
            frozen.commit()
        queue.pool.putconn(frozen)
        queue.create_queue(QUEUE)
        queue.send(QUEUE, {})
        assert queue.read(QUEUE).message == {}


def test_a_consumer_whose_queue_is_gone_connects_anew(app, sql):
    app.send_task(TASK)
    with app.connection_for_read() as connection:
        queue = connection.default_channel.pgmq
        sql("SELECT pgmq.drop_queue(%s)", QUEUE)
        with pytest.raises(connection.connection_errors):
            queue.read(QUEUE)


# RabbitMQ and Redis -------------------------------------------------------------------------------

SENDS = """
import json, sys, django
django.setup()
from config.celery import app
from events.wakeup import send
for _ in range(int(sys.argv[1])):
    send("tests.nothing.to_do")
print(json.dumps(app.conf.broker_url))
"""


def sends(url, times, tmp_path):
    """The standard error of a process that sends a wake-up so many times."""
    done = subprocess.run(
        [sys.executable, "-c", SENDS, str(times)], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        env=clean_environment(
            CELERY_BROKER_URL=url, VAR=str(tmp_path), DATABASE_URL=os.environ["DATABASE_URL"],
            DJANGO_SETTINGS_MODULE="config.settings",
        ),
        timeout=100, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == url
    return done.stderr


@pytest.mark.spec("B11")
@pytest.mark.parametrize("scheme", ["redis", "amqp"])
@pytest.mark.parametrize("listens", [True, False], ids=["silent", "absent"])
def test_a_publisher_gives_up_on_a_broker_that_does_not_answer(scheme, listens, tmp_path):
    """One that hangs as well: without limits redis-py would wait for ever. It is said once."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if listens:
            server.listen()
        said = sends(f"{scheme}://127.0.0.1:{server.getsockname()[1]}//", 3, tmp_path)
    assert said.count("The broker does not answer") == 1, said
    assert "Traceback" not in said
    assert said.count("\n") == 1, said


@pytest.mark.spec("B11")
def test_in_redis_wake_ups_that_nobody_reads_do_not_pile_up(tmp_path):
    if brokers.find_redis() is None:
        missed = "NOT TESTED: Redis as the broker. `python tests/brokers.py` installs it where it can."
        pytest.fail(missed) if os.environ.get("CI") else pytest.skip(missed)
    with brokers.Redis(free_port()) as broker:
        wait_for(broker.answers, "Redis answers")
        assert sends(broker.url, 20, tmp_path) == ""
        assert broker.waiting() == 1


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


@pytest.mark.parametrize(("asked", "waited"), [(2.0, LOOK), (0, 0), (None, None)])
def test_a_worker_looks_often_whether_it_is_to_stop(app, monkeypatch, asked, waited):
    seen = []
    monkeypatch.setattr(kombu.Connection, "drain_events", lambda self, **given: seen.append(given))
    app.connection_for_read("memory://").drain_events(timeout=asked)
    assert seen == [{"timeout": waited}]
