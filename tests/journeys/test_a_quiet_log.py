"""What a running portal writes into its log when nothing is wrong, and when its database restarts."""

import os
import signal

import pytest

from tests.portal import Portal, call, wait_for

pytestmark = pytest.mark.journey


@pytest.fixture
def portal():
    """One of its own: its database is killed."""
    with Portal() as running:
        yield running


def test_pages_files_and_wrong_addresses_leave_nothing_in_the_log(portal):
    before = portal.log()
    for path in ("/accounts/login/", "/static/portcullis/portal.js"):
        assert call("GET", portal.url + path).status == 200
    for path in ("/nothing", "/api/v1/nothing", "/in/nothing"):
        assert call("GET", portal.url + path).status == 404
    said = portal.log().removeprefix(before)
    assert "StreamingHttpResponse" not in said
    assert "Not Found" not in said


def test_a_database_that_restarts_is_told_of_in_a_line_each(portal):
    gone, back = "The database does not answer", "The database is back"
    before = portal.log()
    os.kill(int((portal.var / "postgres/postmaster.pid").read_text().splitlines()[0]), signal.SIGKILL)

    def said():
        return portal.log().removeprefix(before)

    wait_for(lambda: gone in said(), "somebody says that it is gone")  # beat may have nothing to ask in that moment
    wait_for(lambda: said().count(back) == said().count(gone), "each says that it is back")
    wait_for(portal.is_ready, "the portal is ready again")
    for noise in ("Traceback", "DeprecationWarning", "psycopg.pool", "Connection to broker lost"):
        assert noise not in said(), said()
