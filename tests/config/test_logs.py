"""Secrets that stand in a path do not stand in a log."""

import logging
import sys

import psycopg
import pytest
from django.conf import settings
from django.test import Client
from psycopg_pool import PoolTimeout

from config import logs
from config.logs import MaskingFormatter, Outage, is_absence, mask

SECRET = "ik_hunter2hunter2hunter2"


@pytest.mark.parametrize(
    "path",
    [
        "/in/{}",
        "/in/{}/berlin?x=1",
        "/confirm/{}",
        "/invitations/{}/",
        "/accounts/confirm-email/{}/",
        "/accounts/password/reset/key/3-{}/",
    ],
)
def test_a_secret_in_a_path_is_masked(path):
    masked = mask(f'"GET {path.format(SECRET)} HTTP/1.1" 404')
    assert SECRET not in masked
    assert path.split("{")[0].removesuffix("3-") in masked


def test_other_paths_stay_readable():
    for path in ("/api/v1/invitations/01a2/", "/sources/01a2/", "/deliveries/?in=x"):
        assert mask(path) == path


def test_every_handler_masks():
    """Django itself logs the path of each refused request."""
    formatters = {handler["formatter"] for handler in settings.LOGGING["handlers"].values()}
    assert {settings.LOGGING["formatters"][name].get("()") for name in formatters} == {"config.logs.MaskingFormatter"}


@pytest.mark.parametrize("path", [f"/in/{SECRET}", f"/confirm/{SECRET}", f"/invitations/{SECRET}/"])
def test_what_django_logs_of_a_refusal_shows_no_secret(db, caplog, path):
    Client().post(path, data=b"{}", content_type="application/json")
    formatter = MaskingFormatter("{name}: {message}", style="{")
    assert SECRET not in "\n".join(formatter.format(record) for record in caplog.records)


def test_a_traceback_is_masked_too():
    try:
        raise ValueError(f"/confirm/{SECRET}")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())
    assert SECRET not in MaskingFormatter().format(record)


def record(name, message="It failed.", *arguments, error=None, **extra):
    exc_info = (type(error), error, None) if error else None
    made = logging.LogRecord(name, logging.ERROR, __file__, 1, message, arguments, exc_info)
    made.__dict__.update(extra)
    return made


def failed_schedule(cause):
    """What beat logs: its own error, raised while the database's was handled."""
    error = RuntimeError("Couldn't apply scheduled task sweep")
    error.__context__ = cause
    return record("celery.beat", error=error)


LOST = psycopg.errors.AdminShutdown("terminating connection")


def test_only_the_first_word_about_an_absent_database_is_left_as_one_line():
    outage = Outage("The database", is_absence)
    first = failed_schedule(LOST)
    assert outage.filter(first)
    assert (first.levelname, first.exc_info) == ("WARNING", None)
    assert "database does not answer" in first.getMessage()
    for again in (
        failed_schedule(LOST),
        record("psycopg.pool", "error connecting in %r: %s", "pool-1", "refused"),
        record("celery.worker.consumer.consumer", "%s (%r)", "Connection to broker lost.", LOST),
    ):
        assert not outage.filter(again)


def test_a_task_that_cannot_be_acknowledged_meanwhile_is_no_other_word():
    """Found by CI: kombu logs it with a traceback."""
    speaker = logging.getLogger("celery.worker.request")
    said = record(speaker.name, "Couldn't ack %r, reason:%r", "0ece", PoolTimeout("none after 1 s"), error=LOST)
    logs.outage.lasts = True
    try:
        assert not speaker.filter(said)
    finally:
        logs.outage.lasts = False


def test_its_return_is_said_once_and_the_next_absence_again(caplog):
    outage = Outage("The database", is_absence)
    outage.end()
    assert caplog.messages == []
    outage.filter(failed_schedule(LOST))
    outage.end()
    outage.end()
    assert caplog.messages == ["The database is back."]
    assert outage.filter(failed_schedule(LOST))


@pytest.mark.parametrize("error", [psycopg.errors.DeadlockDetected("deadlock"), ValueError("a fault of ours")])
def test_other_errors_keep_their_traceback_though_the_database_is_away(error):
    outage = Outage("The database", is_absence)
    outage.filter(failed_schedule(LOST))
    other = failed_schedule(error)
    assert outage.filter(other)
    assert other.exc_info
    assert other.levelname == "ERROR"


@pytest.mark.parametrize(("path", "said"), [("/nothing-here", 0), ("/api/v1/nothing/", 0), ("/api/v1/sources/", 1)])
def test_a_404_is_nothing_to_warn_of(db, caplog, path, said):
    Client().get(path)
    assert len([one for one in caplog.records if one.name == "django.request"]) == said
