"""Receivers that mean harm: every attempt ends in its time, and little of what they send is kept.

Here a time is asserted, because the row itself is one: the timeout, and a second. Each runs on asyncio's loop and on
uvloop, which sends for real.
"""

import asyncio
import gzip
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import pytest
import uvloop

from egress.client import KEPT_BODY, KEPT_HEADERS, READ_BODY, Client, Outcome, OutgoingRequest
from egress.connector import Request
from tests.egress.posting import LOOPBACK, reset
from tests.egress.receivers import Behaviour, http, read_request, receiver, self_signed

TIMEOUT = 0.6
HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BODY = b"x" * 16_000_000  # more than the kernel takes for either end


@dataclass(frozen=True)
class Hostile:
    behave: Behaviour
    errors: set[str]
    body: bytes = b"{}"


def endless(head: bytes, again: bytes, pause: float = 0.0) -> Behaviour:
    def behave(conn: socket.socket) -> None:
        read_request(conn)
        conn.sendall(head)
        while True:
            conn.sendall(again)
            time.sleep(pause)

    return behave


def once(answer: bytes, then: Callable[[socket.socket], object] = lambda conn: time.sleep(5)) -> Behaviour:
    def behave(conn: socket.socket) -> None:
        read_request(conn)
        conn.sendall(answer)
        then(conn)

    return behave


def before_the_request(conn: socket.socket) -> None:
    conn.sendall(http(200, b"early"))
    time.sleep(5)


def after_the_headers(conn: socket.socket) -> None:
    """Answers what it has hardly begun to read, and reads no more."""
    conn.recv(100)
    conn.sendall(http(200, b"enough"))
    time.sleep(5)


def never_reads(conn: socket.socket) -> None:
    time.sleep(5)


def resets_the_upload(conn: socket.socket) -> None:
    conn.recv(100)
    reset(conn)


def sip(conn: socket.socket) -> None:
    """Reads a byte at a time."""
    while conn.recv(1):
        time.sleep(0.02)


def stop_writing(conn: socket.socket) -> None:
    conn.shutdown(socket.SHUT_WR)
    time.sleep(5)


def stop_reading(conn: socket.socket) -> None:
    conn.shutdown(socket.SHUT_RD)
    time.sleep(5)


BOMB = gzip.compress(bytes(30_000_000))

RECEIVERS = {
    "never answers": Hostile(once(b""), {"timeout"}),
    "drips a status line": Hostile(endless(b"HTTP/1.1 200 ", b"O", 0.05), {"timeout"}),
    "drips headers": Hostile(endless(HEAD, b"X: y\r\n", 0.05), {"timeout"}),
    "drips a body": Hostile(endless(CHUNKED, b"1\r\nx\r\n", 0.05), {"timeout"}),
    "drips a body of a million": Hostile(endless(HEAD + b"Content-Length: 1000000\r\n\r\n", b"x", 0.05), {"timeout"}),
    "stops in the middle of a body": Hostile(once(HEAD + b"Content-Length: 9\r\n\r\nhalf"), {"timeout"}),
    "endless body": Hostile(endless(HEAD + b"\r\n", b"x" * 65536), {""}),
    "endless chunks": Hostile(endless(CHUNKED, b"1000\r\n" + b"x" * 4096 + b"\r\n"), {""}),
    "endless tiny chunks": Hostile(endless(CHUNKED, b"1\r\nx\r\n" * 5000), {""}),
    "endless chunk extension": Hostile(endless(CHUNKED + b"1;", b"x" * 65536), {"timeout", "protocol"}),
    "endless trailers": Hostile(endless(CHUNKED + b"0\r\n", b"X: y\r\n" * 5000), {"reset", "protocol", "too_large"}),
    "endless status line": Hostile(endless(b"HTTP/1.1 200 ", b"O" * 65536), {"too_large", "protocol"}),
    "endless header": Hostile(endless(HEAD + b"X: ", b"y" * 65536), {"too_large"}),
    "endless headers": Hostile(endless(HEAD, b"X: y\r\n" * 5000), {"too_large"}),
    "endless empty lines": Hostile(endless(b"", b"\r\n" * 5000), {"timeout", "protocol"}),
    "the largest header": Hostile(once(HEAD + (b"X: " + b"y" * 8000 + b"\r\n") * 120 + b"\r\n", stop_writing), {""}),
    "flood of 100 Continue": Hostile(endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2000), {"too_large"}),
    "flood of 103 with headers": Hostile(
        endless(b"", (b"HTTP/1.1 103 Early Hints\r\n" + b"Link: x\r\n" * 100 + b"\r\n") * 20), {"too_large"}
    ),
    "switches protocols": Hostile(
        endless(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", b"x" * 65536),
        {"", "protocol"},
    ),
    "compressed bomb": Hostile(once(http(200, BOMB, "Content-Encoding: gzip\r\n")), {""}),
    "bomb as a transfer coding": Hostile(
        once(HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BOMB), BOMB)),
        {"", "protocol"},
    ),
    "a length of 10 ** 18": Hostile(endless(HEAD + b"Content-Length: %d\r\n\r\n" % 10**18, b"x" * 65536), {""}),
    "a length beyond numbers": Hostile(once(HEAD + b"Content-Length: %d\r\n\r\n" % 10**40), {"protocol"}),
    "half closes without an answer": Hostile(once(b"", stop_writing), {"reset"}),
    "half closes after an answer": Hostile(once(HEAD + b"\r\nall of it", stop_writing), {""}),
    "stops reading": Hostile(once(b"", stop_reading), {"timeout", "reset"}),
    "closes at once": Hostile(socket.socket.close, {"reset"}),
    "resets at once": Hostile(reset, {"reset", "connect"}),
    "resets in the middle": Hostile(once(HEAD + b"Content-Length: 9\r\n\r\nhalf", reset), {"reset"}),
    "answers before the request": Hostile(before_the_request, {"", "protocol"}),
    "answers before a large request": Hostile(before_the_request, {"", "protocol"}, BODY),
    "answers in the middle of a large request": Hostile(after_the_headers, {""}, BODY),
    "never reads": Hostile(never_reads, {"timeout"}, BODY),
    "sips": Hostile(sip, {"timeout"}, BODY),
    "resets the upload": Hostile(resets_the_upload, {"reset"}, BODY),
    "two answers at once": Hostile(once(http(200, b"one") + http(500, b"two")), {""}),
}


def run(loop_factory, url: str, body: bytes = b"{}", **client) -> Outcome:
    async def one() -> Outcome:
        async with Client(LOOPBACK, **client) as open_client:
            return await asyncio.wait_for(open_client.post(OutgoingRequest(url, (), body, TIMEOUT)), TIMEOUT + 1)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(one())


@pytest.fixture(params=["asyncio", "uvloop"])
def loop_factory(request):
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}[request.param]


@pytest.mark.spec("S8")
@pytest.mark.parametrize("name", RECEIVERS)
def test_an_attempt_ends_in_time_and_keeps_little(loop_factory, name):
    hostile = RECEIVERS[name]
    with receiver(hostile.behave) as far:
        outcome = run(loop_factory, far.url(), hostile.body)
    assert outcome.error in hostile.errors, outcome
    assert len(outcome.body) <= KEPT_BODY <= 64 * 1024
    assert sum(len(name) + len(value) for name, value in outcome.headers) <= KEPT_HEADERS
    assert outcome.total_ms <= (TIMEOUT + 1) * 1000


@pytest.mark.parametrize(
    "name",
    [
        "endless body",
        "endless chunk extension",
        "endless trailers",
        "endless header",
        "endless headers",
        "endless empty lines",
        "flood of 100 Continue",
        "flood of 103 with headers",
        "switches protocols",
        "compressed bomb",
        "bomb as a transfer coding",
        "the largest header",
    ],
)
def test_it_does_not_pile_up_in_memory(name):
    with receiver(RECEIVERS[name].behave) as far:
        tracemalloc.start()
        try:
            run(uvloop.new_event_loop, far.url())
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 12_000_000


# TLS


def silent(conn: socket.socket) -> None:
    time.sleep(5)


def drips_a_handshake(conn: socket.socket) -> None:
    for byte in b"\x16\x03\x03\x40\x00" + bytes(16_000):
        conn.sendall(bytes([byte]))
        time.sleep(0.05)


@pytest.mark.spec("S8")
@pytest.mark.parametrize("behave", [silent, drips_a_handshake])
def test_a_handshake_that_never_ends_is_a_timeout(loop_factory, behave):
    with receiver(behave) as far:
        assert run(loop_factory, far.url(scheme="https")).error == "timeout"


@pytest.mark.spec("S8")
def test_tls_that_never_says_goodbye_holds_nothing_up(loop_factory, tmp_path):
    """Neither the answer's end nor the client's waits for the receiver's close_notify."""
    server, certificate = self_signed(tmp_path)
    trust = ssl.create_default_context(cafile=str(certificate))
    with receiver(once(HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\nok"), server) as far:
        outcome = run(loop_factory, far.url(scheme="https"), ssl_context=trust)
    assert (outcome.error, outcome.body) == ("", b"ok")


# Nothing is left behind, and others are not held up


@pytest.mark.spec("S8")
@pytest.mark.parametrize(
    "name", ["never reads", "answers before a large request", "answers in the middle of a large request"]
)
def test_an_upload_that_was_broken_off_keeps_no_socket(loop_factory, name):
    """A transport that is merely closed goes on offering what it holds to a receiver that reads no more."""

    async def sockets_left(url: str, port: int) -> int:
        async with Client(LOOPBACK) as client:
            await client.post(OutgoingRequest(url, (), BODY, TIMEOUT))
            await asyncio.sleep(0.1)
            left = psutil.Process().net_connections(kind="tcp")
            return sum(bool(one.raddr) and one.raddr.port == port and one.status == "ESTABLISHED" for one in left)

    with receiver(RECEIVERS[name].behave) as far, asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(sockets_left(far.url(), far.port)) == 0


def test_a_flood_of_informational_answers_does_not_hold_up_the_others():
    """Each of them is parsed for nothing, and all receivers share one loop."""
    flood = endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2000)
    done = threading.Event()

    async def beside(flooded: str, sound: str) -> int:
        async with Client(LOOPBACK) as client:
            floods = [asyncio.create_task(client.post(OutgoingRequest(flooded, (), b"", 5.0))) for _ in range(8)]
            await asyncio.wait(floods, timeout=4.0)
            ended = sum(task.done() for task in floods)
            outcome = await asyncio.wait_for(client.post(OutgoingRequest(sound, (), b"{}", TIMEOUT)), TIMEOUT + 1)
            assert outcome.ok
            for task in floods:
                task.cancel()
            await asyncio.gather(*floods, return_exceptions=True)
            return ended

    with receiver(flood) as flooding, receiver(once(http(200), lambda conn: done.wait(5))) as sound:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            assert runner.run(beside(flooding.url(), sound.url())) == 8
        done.set()


# Answers and their requests


def test_an_answer_that_nobody_asked_for_answers_no_later_request(loop_factory):
    """On a connection kept open, what comes between two requests is not the second one's answer."""
    connections = []

    def behave(conn: socket.socket) -> None:
        connections.append(conn)
        read_request(conn)
        conn.sendall(http(200, b"asked"))
        time.sleep(0.1)
        if len(connections) == 1:
            conn.sendall(http(200, b"not asked"))
            time.sleep(5)

    async def two(url: str) -> list[Outcome]:
        async with Client(LOOPBACK) as client:
            first = await client.post(OutgoingRequest(url, (), b"{}", TIMEOUT))
            await asyncio.sleep(0.3)
            return [first, await client.post(OutgoingRequest(url, (), b"{}", TIMEOUT))]

    with receiver(behave) as far, asyncio.Runner(loop_factory=loop_factory) as runner:
        outcomes = runner.run(two(far.url()))
    assert [outcome.body for outcome in outcomes] == [b"asked", b"asked"]


def test_an_answer_to_nothing_delivers_nothing(loop_factory, monkeypatch):
    send = Request.send

    async def late(self, conn):
        await asyncio.sleep(0.2)
        return await send(self, conn)

    monkeypatch.setattr(Request, "send", late)
    with receiver(before_the_request) as far:
        outcome = run(loop_factory, far.url())
    assert (outcome.error, outcome.status) == ("protocol", None)
    assert outcome.detail == "The receiver answered before it was asked."


def test_what_a_request_left_unsent_is_not_sent_before_the_next(loop_factory):
    """An early answer breaks the request off, so its connection must not carry another."""
    with receiver(after_the_headers) as far:

        async def two() -> list[Outcome]:
            async with Client(LOOPBACK) as client:
                return [await client.post(OutgoingRequest(far.url(), (), BODY, TIMEOUT)) for _ in range(2)]

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            outcomes = runner.run(two())
        assert far.connections == 2
    assert [outcome.body for outcome in outcomes] == [b"enough", b"enough"]


def test_no_more_is_read_than_is_worth_keeping():
    assert READ_BODY <= 64 * 1024
