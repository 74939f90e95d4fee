"""The door behind the server that runs it in production, as a process of its own."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import pytest
from django.core.management import call_command
from django.db import connection, connections

from events.models import Event, Receipt
from sources.models import Source
from tenants.models import Tenant
from tenants.scope import system_scope, tenant_scope
from tests.portal import ROOT, free_port, wait_for

pytestmark = pytest.mark.django_db(transaction=True)

BOUND = 1_000_000  # headers and body


class Server:
    def __init__(self, application: str, log) -> None:
        self.port = free_port()
        database = urlsplit(os.environ["DATABASE_URL"])._replace(path="/" + connection.settings_dict["NAME"])
        # urlunsplit drops the // of an address without a host.
        url = (
            urlunsplit(database)
            if database.hostname
            else f"postgresql://{database.netloc}{database.path}?{database.query}"
        )
        environment = {**os.environ, "DATABASE_URL": url, "PORT": str(self.port), "WEB_CONCURRENCY": "1"}
        command = [sys.executable, "-m", "gunicorn", "--config", "config/gunicorn.py", application]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )

    def answers(self) -> bool:
        assert self.process.poll() is None, "the server ended"
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1):
                return True
        except OSError:
            return False


@contextmanager
def served(application: str, log) -> Iterator[Server]:
    server = Server(application, log)
    try:
        wait_for(server.answers, "gunicorn listens", 60)
        yield server
    finally:
        server.process.terminate()
        try:
            server.process.wait(30)
        finally:
            server.process.kill()
            server.process.wait()


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    with (tmp_path_factory.mktemp("gunicorn") / "log").open("wb") as file:
        yield file


@pytest.fixture(scope="module")
def stage(django_db_setup, django_db_blocker):
    """A tenant; the tables are emptied once, after the last test."""
    with django_db_blocker.unblock():
        with system_scope():
            tenant = Tenant.objects.create(name="Acme")
        try:
            yield tenant
        finally:
            call_command("flush", verbosity=0, interactive=False, inhibit_post_migrate=True)
            connections.close_all()


@pytest.fixture
def _django_db_helper(stage):
    """In place of pytest-django's, which empties all tables after each test."""


@pytest.fixture(scope="module")
def server(stage, log):
    with served("tests.events.hurried:application", log) as running:
        yield running


@pytest.fixture
def source(stage):
    with tenant_scope(stage.pk):
        return Source.objects.create_with_secret(stage, None, "A source", "none", {})[0]


class Wire:
    """Bytes as they are, to and from the server."""

    def __init__(self, server: Server) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), 20)
        self.reader = self.socket.makefile("rb")

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *exc) -> None:
        self.reader.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def status(self) -> int:
        """Of an interim or final answer; 0 where the connection ended."""
        line = self.reader.readline()
        return int(line.split(b" ")[1]) if line else 0

    def rest(self) -> tuple[dict[str, str], bytes]:
        headers = {}
        while (line := self.reader.readline().rstrip()) != b"":
            name, _, value = line.partition(b":")
            headers[name.decode().lower()] = value.decode().strip()
        return headers, self.reader.read(int(headers.get("content-length", 0)))

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        return (self.status(), *self.rest())


def head(source: Source, *headers: str, method: str = "POST") -> bytes:
    lines = [f"{method} /in/{source.ingest_key} HTTP/1.1", "Host: localhost", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def events_of(source: Source) -> list[Event]:
    with system_scope():
        return list(Event.objects.filter(source=source).order_by("id"))


def test_a_post_is_kept_and_the_connection_stays(server, source):
    with Wire(server) as wire:
        for number in range(3):
            body = b'{"n": %d}' % number
            wire.send(head(source, f"Content-Length: {len(body)}", "Content-Type: application/json") + body)
            status, headers, answer = wire.answer()
            assert (status, json.loads(answer)["events"]) == (202, 1)
            assert headers["x-content-type-options"] == "nosniff"
    assert [event.payload["n"] for event in events_of(source)] == [0, 1, 2]


def test_two_posts_sent_at_once_are_answered_in_order(server, source):
    one, two = (head(source, "Content-Length: 8") + b'{"n": %d}' % number for number in (1, 2))
    with Wire(server) as wire:
        wire.send(one + two)
        receipts = [json.loads(wire.answer()[2])["receipt"] for _ in range(2)]
    assert [str(event.receipt_id) for event in events_of(source)] == receipts
    assert [event.payload["n"] for event in events_of(source)] == [1, 2]


def test_a_chunked_body_is_put_together(server, source):
    with Wire(server) as wire:
        wire.send(head(source, "Transfer-Encoding: chunked"))
        for piece in (b'{"te', b'xt": "', b"x" * 5000, b'"}'):
            wire.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        wire.send(b"0\r\n\r\n")
        assert wire.status() == 202
    (event,) = events_of(source)
    assert bytes(event.body) == b'{"text": "' + b"x" * 5000 + b'"}'


def test_who_expects_to_be_asked_is(server, source):
    with Wire(server) as wire:
        wire.send(head(source, "Content-Length: 2", "Expect: 100-continue"))
        assert wire.status() == 100
        wire.rest()
        wire.send(b"{}")
        assert wire.status() == 202


@pytest.mark.spec("P2")
def test_who_announces_too_much_is_not_asked_for_it(server, source):
    with Wire(server) as wire:
        wire.send(head(source, f"Content-Length: {BOUND + 1}", "Expect: 100-continue"))
        assert wire.status() == 413


@pytest.mark.spec("P2")
@pytest.mark.parametrize(("beyond", "status"), [(0, 202), (1, 413)])
def test_a_megabyte_is_the_bound(server, source, beyond, status):
    length = 999_900  # six digits, so that the header's length does not depend on it
    fixed = sum(len(name) + len(value) + 4 for name, value in (("host", "localhost"), ("content-length", str(length))))
    fill = BOUND + beyond - length - fixed - len("x-fill") - 4
    with Wire(server) as wire:
        wire.send(head(source, f"Content-Length: {length}", "X-Fill: " + "y" * fill))
        wire.send(b'"' + b"x" * (length - 2) + b'"')
        assert wire.status() == status


def test_a_slow_body_is_given_up(server, source):
    with Wire(server) as wire:
        wire.send(head(source, "Content-Length: 100") + b'{"a":')
        status = wire.status()
    assert status in (408, 0)
    assert events_of(source) == []


def test_a_body_that_breaks_off_leaves_nothing(server, source):
    with Wire(server) as wire:
        wire.send(head(source, "Content-Length: 100") + b'{"a": 1}')
    with Wire(server) as wire:
        wire.send(head(source, "Content-Length: 2") + b"{}")
        assert wire.status() == 202
    assert [bytes(event.body) for event in events_of(source)] == [b"{}"]


@pytest.mark.spec("P1")
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS"])
def test_other_methods_are_refused_and_the_connection_stays_in_step(server, source, method):
    with Wire(server) as wire:
        wire.send(head(source, method=method) + head(source, "Content-Length: 2") + b"{}")
        assert wire.answer()[0] == 405
        assert wire.answer()[0] == 202


def test_what_is_not_the_doors_goes_on_to_the_portal(server):
    with Wire(server) as wire:
        wire.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert wire.status() == 200


def post(source: Source, body: bytes, *headers: str) -> bytes:
    return head(source, f"Content-Length: {len(body)}", *headers) + body


def test_many_at_once_are_answered_in_order_whatever_they_are(server, source):
    """Good and bad posts and other addresses behind one another in one piece: each takes its own way to its answer."""
    elsewhere = b"GET /accounts/login/ HTTP/1.1\r\nHost: localhost\r\n\r\n"
    pieces = [
        (post(source, b'{"n": 1}'), 202),
        (post(source, b'{"n": '), 400),
        (elsewhere, 200),
        (post(source, b'{"n": 2}'), 202),
        (head(source, method="PUT"), 405),
        (head(source, "Transfer-Encoding: chunked") + b"3\r\n{}\n\r\n3\r\n{}\n\r\n0\r\n\r\n", 202),
        (post(source, b"[" + b"1," * 40_000 + b"1]"), 413),
    ]
    pieces = pieces * 6
    with Wire(server) as wire:
        wire.send(b"".join(data for data, _ in pieces))
        assert [wire.answer()[0] for _ in pieces] == [status for _, status in pieces]
    assert [event.payload.get("n") for event in events_of(source)] == [1, 2, None, None] * 6


def test_hundreds_of_refusals_at_once_are_answered_one_by_one(server, source):
    with Wire(server) as wire:
        wire.send(post(source, b"{") * 1500)
        assert {wire.answer()[0] for _ in range(1500)} == {400}


def test_a_post_behind_one_that_is_being_kept_waits_for_its_turn(server, source):
    with Wire(server) as wire:
        for number in range(20):
            data = post(source, b'{"n": %d}' % number)
            wire.send(data[:-3])
            wire.send(data[-3:] + post(source, b'{"n": %d}' % (100 + number)))
            assert [wire.answer()[0] for _ in range(2)] == [202, 202]
    assert [event.payload["n"] for event in events_of(source)] == [n for one in range(20) for n in (one, 100 + one)]


def test_a_broken_request_behind_a_good_one_ends_the_connection_after_its_answer(server, source):
    with Wire(server) as wire:
        wire.send(post(source, b"{}") + b"POST / HTTP/1.1\nHost: a\n\n")
        assert wire.answer()[0] == 202
        assert wire.answer()[0] == 400
        assert wire.status() == 0


def test_who_does_not_want_the_connection_kept_is_told_that_it_ends(server, source):
    with Wire(server) as wire:
        wire.send(post(source, b"{}", "Connection: close") + post(source, b"{}"))
        status, headers, _ = wire.answer()
        assert (status, headers["connection"]) == (202, "close")
        assert wire.status() == 0
    assert len(events_of(source)) == 1


def test_a_sender_that_leaves_before_its_answer_has_its_event_kept(server, source):
    for _ in range(30):
        with Wire(server) as wire:
            wire.send(post(source, b"{}"))
    wait_for(lambda: len(events_of(source)) == 30, "all thirty are kept", 20)
    with Wire(server) as wire:
        wire.send(post(source, b"{}"))
        assert wire.status() == 202


def test_an_answer_to_head_has_no_body_and_each_says_when_it_was(server, source):
    with Wire(server) as wire:
        wire.send(head(source, method="HEAD") + post(source, b"{}"))
        status, headers, body = wire.answer()
        assert (status, headers["content-length"], body) == (405, "0", b"")
        status, headers, _ = wire.answer()
        assert status == 202
        assert headers["date"].endswith("GMT")


@pytest.mark.spec("P16", "B11")
def test_nothing_acknowledged_is_lost_when_the_server_is_stopped(stage, source, log):
    """50 connections post without a pause; SIGTERM comes in the middle, and gunicorn ends in order."""
    acknowledged: list[str] = []

    async def post_for_ever(session: aiohttp.ClientSession, url: str) -> None:
        while True:
            try:
                async with session.post(url, data=b'{"a": 1}') as response:
                    if response.status == 202:
                        acknowledged.append((await response.json())["receipt"])
                    elif response.status != 503:
                        pytest.fail(f"answered {response.status}")
            except (aiohttp.ClientError, OSError):
                return

    async def scenario(server: Server) -> None:
        url = f"http://127.0.0.1:{server.port}/in/{source.ingest_key}"
        connector = aiohttp.TCPConnector(limit=50)
        async with aiohttp.ClientSession(connector=connector) as session, asyncio.timeout(60):
            posting = [asyncio.create_task(post_for_ever(session, url)) for _ in range(200)]
            while len(acknowledged) < 1000:
                await asyncio.sleep(0.01)
            server.process.send_signal(signal.SIGTERM)
            await asyncio.gather(*posting)

    with served("config.asgi:application", log) as server:
        asyncio.run(scenario(server))
        assert server.process.wait(30) == 0
    with system_scope():
        kept = {str(pk) for pk in Receipt.objects.filter(source=source).values_list("pk", flat=True)}
        events = Event.objects.filter(source=source).count()
    assert len(set(acknowledged)) == len(acknowledged) >= 1000
    assert set(acknowledged) <= kept
    assert events == len(kept)
