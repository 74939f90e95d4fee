"""Client.post against real sockets: every end of a request is an Outcome."""

import asyncio
import socket
import threading
import time

import pytest
import uvloop

from egress.client import KEPT_BODY, Client, OutgoingRequest
from tests.egress.posting import LOOPBACK, post, reset
from tests.egress.receivers import (
    FixedResolver,
    answering,
    http,
    read_request,
    receiver,
)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# What is sent and what is learnt


def test_a_200_is_ok():
    with receiver(answering(http(200, b"thanks", "X-Trace: 7\r\n"))) as far:
        outcome = post(far.url())
    assert outcome.ok
    assert (outcome.status, outcome.body, outcome.error) == (200, b"thanks", "")
    assert ("X-Trace", "7") in outcome.headers
    assert outcome.address == f"127.0.0.1:{far.port}"
    assert outcome.connect_ms is not None
    assert outcome.connect_ms <= outcome.total_ms


def test_it_tells_where_the_time_went():
    with receiver(answering(http(200, b"thanks"))) as far:
        first, second = post(far.url(), times=2)
    assert 0 <= first.dns_ms <= first.connect_ms
    assert first.tls_ms is None  # http
    assert 0 < first.first_byte_ms <= first.total_ms - first.connect_ms
    assert (second.dns_ms, second.connect_ms, second.tls_ms) == (None, None, None)  # it was open
    assert 0 < second.first_byte_ms <= second.total_ms


def test_the_request_on_the_wire_is_exactly_what_was_given():
    seen = []
    headers = [("Content-Type", "application/json"), ("webhook-id", "msg_1"), ("X-A", "é")]
    with receiver(answering(http(204), seen)) as far:
        post(far.url("/a%2Fb/../c?q=%7E+1"), body=b'{"a": 1}\n', headers=headers)
    assert seen == [
        (
            "POST /a%2Fb/../c?q=%7E+1 HTTP/1.1\r\n"
            f"Host: 127.0.0.1:{far.port}\r\n"
            "Content-Type: application/json\r\n"
            "webhook-id: msg_1\r\n"
            "X-A: é\r\n"
            "User-Agent: Portcullis\r\n"
            "Content-Length: 9\r\n"
            "\r\n"
            '{"a": 1}\n'
        ).encode()
    ]


def test_the_user_agent_can_be_set():
    seen = []
    with receiver(answering(http(204), seen)) as far:
        post(far.url(), user_agent="Portcullis/1.2")
    assert b"\r\nUser-Agent: Portcullis/1.2\r\n" in seen[0]


def test_a_user_agent_given_as_a_header_wins():
    seen = []
    with receiver(answering(http(204), seen)) as far:
        post(far.url(), headers=[("user-agent", "mine")])
    assert b"\r\nuser-agent: mine\r\n" in seen[0]
    assert b"Portcullis" not in seen[0]


@pytest.mark.parametrize("status", [300, 400, 401, 404, 410, 429, 500, 503])
def test_another_status_is_an_answer_but_not_ok(status):
    with receiver(answering(http(status, b"no"))) as far:
        outcome = post(far.url())
    assert (outcome.status, outcome.error, outcome.ok) == (status, "", False)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status):
    seen = []
    with receiver(answering(http(204), seen)) as other:
        answer = http(status, b"", f"Location: {other.url()}\r\n")
        with receiver(answering(answer)) as far:
            outcome = post(far.url())
    assert outcome.status == status
    assert seen == []


def test_cookies_are_not_kept():
    seen = []
    with receiver(answering(http(200, b"", "Set-Cookie: a=b\r\n"), seen)) as far:
        post(far.url(), times=2)
    assert len(seen) == 2
    assert b"cookie" not in seen[1].lower()


def test_a_compressed_body_is_kept_as_received():
    with receiver(answering(http(200, b"not gzip", "Content-Encoding: gzip\r\n"))) as far:
        outcome = post(far.url())
    assert outcome.ok
    assert outcome.body == b"not gzip"


def test_proxy_settings_of_the_environment_are_ignored(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with receiver(answering(http(204))) as far:
        assert post(far.url()).ok


def test_it_runs_on_uvloop():
    async def run(url):
        async with Client(LOOPBACK) as client:
            return await client.post(OutgoingRequest(url, (), b"{}"))

    with (
        receiver(answering(http(200))) as far,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as r,
    ):
        outcome = r.run(run(far.url()))
    assert outcome.ok
    assert outcome.address == f"127.0.0.1:{far.port}"


# Bounds


def test_silence_is_a_timeout():
    with receiver(lambda conn: time.sleep(5)) as far:
        outcome = post(far.url(), timeout=0.3)
    assert (outcome.status, outcome.error) == (None, "timeout")


def test_a_body_that_drips_is_a_timeout_that_knows_the_status():
    def drip(conn):
        read_request(conn)
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        for _ in range(100):
            conn.sendall(b".")
            time.sleep(0.05)

    with receiver(drip) as far:
        outcome = post(far.url(), timeout=0.5)
    assert (outcome.status, outcome.error, outcome.ok) == (200, "timeout", False)
    assert outcome.body.startswith(b"..")


def test_headers_that_drip_are_a_timeout():
    def drip(conn):
        read_request(conn)
        conn.sendall(b"HTTP/1.1 200 OK\r\n")
        for _ in range(100):
            conn.sendall(b"X-A: b\r\n")
            time.sleep(0.05)

    with receiver(drip) as far:
        assert post(far.url(), timeout=0.5).error == "timeout"


def test_endless_informational_answers_are_a_timeout():
    def early(conn):
        read_request(conn)
        while True:
            conn.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            time.sleep(0.1)

    with receiver(early) as far:
        assert post(far.url(), timeout=0.5).error == "timeout"


def test_an_informational_answer_or_two_do_no_harm():
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    with receiver(answering(hint * 3 + http(200, b"then"))) as far:
        outcomes = post(far.url(), times=20)
        assert far.connections == 1
    assert {outcome.body for outcome in outcomes} == {b"then"}


def test_no_timeout_exceeds_thirty_seconds(monkeypatch):
    monkeypatch.setattr("egress.client.MAX_TIMEOUT", 0.3)
    with receiver(lambda conn: time.sleep(5)) as far:
        assert post(far.url(), timeout=3600).error == "timeout"


def test_an_endless_body_is_cut_and_its_connection_closed():
    sent = []
    closed = threading.Event()

    def endless(conn):
        read_request(conn)
        conn.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                conn.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")
                sent.append(4096)
        except OSError:
            closed.set()

    with receiver(endless) as far:
        outcome = post(far.url())
        assert closed.wait(5)
    assert outcome.ok
    assert outcome.body == b"x" * KEPT_BODY
    assert outcome.body_truncated


def test_a_body_between_the_bounds_is_kept_in_part_and_the_connection_reused():
    with receiver(answering(http(200, b"y" * 40_000))) as far:
        first, second = post(far.url(), times=2)
        assert far.connections == 1
    assert (len(first.body), first.body_truncated, first.error) == (KEPT_BODY, True, "")
    assert second.connect_ms is None


def test_a_body_of_the_kept_size_is_whole():
    with receiver(answering(http(200, b"y" * KEPT_BODY))) as far:
        outcome = post(far.url())
    assert (len(outcome.body), outcome.body_truncated) == (KEPT_BODY, False)


def test_a_flood_of_headers_is_too_large():
    def flood(conn):
        read_request(conn)
        conn.sendall(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 5000 + b"\r\n")

    with receiver(flood) as far:
        assert post(far.url()).error == "too_large"


def test_one_endless_header_is_too_large():
    def flood(conn):
        read_request(conn)
        conn.sendall(b"HTTP/1.1 200 OK\r\nX-A: " + b"b" * 200_000)

    with receiver(flood) as far:
        assert post(far.url()).error == "too_large"


def test_no_more_than_16_kb_of_headers_are_kept():
    many = "".join(f"X-{n}: {'v' * 1000}\r\n" for n in range(60))
    with receiver(answering(http(200, b"", many))) as far:
        outcome = post(far.url())
    assert outcome.ok
    assert 10_000 < sum(len(name) + len(value) for name, value in outcome.headers) <= 16_384


# Failures


def test_nobody_listens_is_connect():
    outcome = post(f"http://127.0.0.1:{free_port()}/")
    assert (outcome.status, outcome.error, outcome.address) == (None, "connect", "")


def test_a_name_that_does_not_resolve_is_dns():
    class Nowhere(FixedResolver):
        async def resolve(self, host, port=0, family=socket.AF_INET):
            raise socket.gaierror(-2, "Name or service not known")

    outcome = post("https://nowhere.example.com/", resolver=Nowhere())
    assert outcome.error == "dns"
    assert "nowhere.example.com" in outcome.detail


def test_a_connection_closed_without_an_answer_is_a_reset():
    with receiver(read_request) as far:
        assert post(far.url()).error == "reset"
        assert far.connections == 1


def test_a_reset_before_the_answer_is_a_reset():
    def behave(conn):
        read_request(conn)
        reset(conn)

    with receiver(behave) as far:
        assert post(far.url()).error == "reset"
        assert far.connections == 1


def test_a_reset_in_the_body_is_a_reset_that_knows_the_status():
    def behave(conn):
        read_request(conn)
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        time.sleep(0.2)
        reset(conn)

    with receiver(behave) as far:
        outcome = post(far.url())
    assert (outcome.status, outcome.error, outcome.body) == (200, "reset", b"half")


def test_an_incomplete_body_is_a_reset():
    def behave(conn):
        read_request(conn)
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

    with receiver(behave) as far:
        outcome = post(far.url())
    assert (outcome.status, outcome.error, outcome.ok) == (200, "reset", False)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_an_answer_that_is_not_http_is_protocol(answer):
    def behave(conn):
        read_request(conn)
        conn.sendall(answer)
        time.sleep(0.5)

    with receiver(behave) as far:
        assert post(far.url()).error == "protocol"


@pytest.mark.parametrize(
    "header",
    [
        ("X-A", "a\r\nX-B: c"),
        ("X-A", "a\nb"),
        ("X-A", "a\x00b"),
        ("X-A\r\n", "b"),
        ("X A", "b"),
        ("", "b"),
        ("Host", "other.example.com"),
        ("Content-Length", "5"),
        ("transfer-encoding", "chunked"),
    ],
)
def test_a_header_that_would_change_the_request_is_never_sent(header):
    with receiver(answering(http(200))) as far:
        outcome = post(far.url(), headers=[header])
        assert far.connections == 0
    assert outcome.error == "refused"


def test_cancellation_passes_through():
    async def run(url):
        async with Client(LOOPBACK) as client:
            task = asyncio.create_task(client.post(OutgoingRequest(url, (), b"")))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with receiver(lambda conn: time.sleep(5)) as far:
        asyncio.run(run(far.url()))


def test_the_request_does_not_show_its_secrets():
    request = OutgoingRequest("https://example.com/t0ken", (("X-Key", "s3cret"),), b"private")
    assert "t0ken" not in repr(request)
    assert "s3cret" not in repr(request)
    assert "private" not in repr(request)
