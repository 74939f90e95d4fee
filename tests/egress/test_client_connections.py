"""Which connections Client opens, trusts, keeps and shares."""

import asyncio
import socket
import ssl
import threading
import time

import pytest

from egress.client import Client, Outcome, OutgoingRequest
from egress.guard import Guard
from tests.egress.canaries import noting_connects
from tests.egress.posting import LOOPBACK, post, reset
from tests.egress.receivers import (
    FixedResolver,
    answering,
    goes_stale,
    http,
    read_request,
    receiver,
    self_signed,
)

# TLS


@pytest.fixture
def tls_receiver(tmp_path):
    server, certificate = self_signed(tmp_path)
    seen: list[bytes] = []
    with receiver(answering(http(200, b"over TLS"), seen), server) as far:
        far.requests = seen
        yield far, ssl.create_default_context(cafile=str(certificate))


def test_a_trusted_certificate_is_ok(tls_receiver):
    far, trust = tls_receiver
    resolver = FixedResolver("127.0.0.1")
    url = far.url(scheme="https", host="hooks.example.com")
    outcome = post(url, resolver=resolver, ssl_context=trust)
    assert outcome.ok
    assert resolver.asked == ["hooks.example.com"]
    assert 0 < outcome.dns_ms + outcome.tls_ms < outcome.connect_ms


def test_a_self_signed_certificate_is_tls(tls_receiver):
    far, _ = tls_receiver
    outcome = post(far.url(scheme="https"))
    assert (outcome.error, outcome.status) == ("tls", None)
    assert "self-signed" in outcome.detail or "self signed" in outcome.detail


def test_a_certificate_for_another_name_is_tls(tls_receiver):
    far, trust = tls_receiver
    url = far.url(scheme="https", host="other.example.com")
    assert post(url, resolver=FixedResolver("127.0.0.1"), ssl_context=trust).error == "tls"


def test_a_server_without_tls_is_tls():
    def plain(conn):
        conn.recv(100)
        conn.sendall(http(400))

    with receiver(plain) as far:
        assert post(far.url(scheme="https")).error == "tls"


def test_neither_a_proxy_nor_a_password_is_taken_from_the_environment(tls_receiver, tmp_path, monkeypatch):
    far, trust = tls_receiver
    netrc = tmp_path / "netrc"
    netrc.write_text("machine hooks.example.com login portal password hunter2\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    url = far.url(scheme="https", host="hooks.example.com")
    assert post(url, resolver=FixedResolver("127.0.0.1"), ssl_context=trust).ok
    assert b"authorization" not in far.requests[0].lower()


# The guard at the socket


@pytest.mark.spec("S8")
@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_a_public_name_with_a_private_address_is_refused(address):
    outcome = post("https://rebound.example.com/", guard=Guard(), resolver=FixedResolver(address))
    assert (outcome.error, outcome.address) == ("refused", "")
    assert address not in outcome.detail


@pytest.mark.spec("S8")
def test_no_connection_is_opened_to_a_refused_address():
    with receiver(answering(http(200))) as far:
        guard = Guard(allow=["10.0.0.0/8"])
        url = far.url(scheme="https", host="rebound.example.com")
        outcome = post(url, guard=guard, resolver=FixedResolver("127.0.0.1"))
        assert far.connections == 0
    assert outcome.error == "refused"


@pytest.fixture
def connected():
    """Every address that this process connects a socket to."""
    with noting_connects() as connects:
        yield connects


@pytest.mark.spec("S8")
@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/h",
        "http://receiver.internal/h",
        "http://receiver/h",
        "http://receiver.internal:443/h",
        "https://example.com:9000/h",
        "https://receiver.internal:22/h",
    ],
)
def test_with_an_opened_network_http_and_odd_ports_reach_no_public_address(url, connected):
    outcome = post(url, timeout=1.0, resolver=FixedResolver("93.184.216.34"))
    assert (outcome.error, outcome.address) == ("refused", "")
    assert connected == []


@pytest.mark.spec("S8")
def test_of_a_names_addresses_only_those_in_the_opened_network_are_connected_to(connected):
    with receiver(answering(http(200))) as far:
        url = far.url(host="receiver.internal")
        assert post(url, resolver=FixedResolver("93.184.216.34", "127.0.0.1")).ok
        assert connected == [("127.0.0.1", far.port)]


@pytest.mark.spec("S8")
def test_a_refused_url_is_not_even_resolved():
    resolver = FixedResolver("127.0.0.1")
    assert post("https://localhost/", guard=Guard(), resolver=resolver).error == "refused"
    assert resolver.asked == []


def test_a_name_with_one_open_address_goes_there():
    with receiver(answering(http(200))) as far:
        url = far.url(host="two.internal")
        assert post(url, resolver=FixedResolver("10.0.0.1", "127.0.0.1")).ok


# Connections


def test_connections_are_reused():
    with receiver(answering(http(200))) as far:
        outcomes = post(far.url(), times=3)
        assert far.connections == 1
    assert [outcome.connect_ms is None for outcome in outcomes] == [False, True, True]
    assert {outcome.address for outcome in outcomes} == {f"127.0.0.1:{far.port}"}


@pytest.mark.parametrize("ending", [socket.socket.close, reset])
def test_a_stale_connection_is_replaced_at_once(ending):
    with receiver(goes_stale(ending)) as far:
        first, second = post(far.url(), times=2)
        assert far.connections == 2
    assert (first.body, second.body) == (b"1", b"2")
    assert second.ok


def test_what_is_sent_again_is_the_same_to_the_byte():
    seen = []
    with receiver(goes_stale(socket.socket.close, seen)) as far:
        post(far.url(), times=2, headers=[("webhook-id", "msg_1"), ("webhook-signature", "v1,x")])
    assert len(seen) == 3
    assert seen[0] == seen[1] == seen[2]


def test_it_is_sent_again_once_and_not_more():
    def behave(conn):
        """Answers the first request of a connection and hangs up on the second; a new one at once."""
        if read_request(conn) and far.connections == 1:
            conn.sendall(http(200))
            read_request(conn)

    with receiver(behave) as far:
        _, second = post(far.url(), times=2)
        assert far.connections == 2
    assert second.error == "reset"


def test_a_reused_connection_that_began_to_answer_is_not_retried():
    def half_an_answer(conn):
        conn.sendall(b"HTTP/1.1 200 OK\r\nX-A: b")
        conn.close()

    with receiver(goes_stale(half_an_answer)) as far:
        _, second = post(far.url(), times=2)
        assert far.connections == 1
    assert second.error == "reset"


def most_at_once(limits, requests=6):
    """How many requests a receiver saw at the same time."""
    lock = threading.Lock()
    now, most = 0, 0

    def behave(conn):
        nonlocal now, most
        while read_request(conn):
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(0.1)
            with lock:
                now -= 1
            conn.sendall(http(200))

    async def run(url) -> list[Outcome]:
        async with Client(LOOPBACK, **limits) as client:
            request = OutgoingRequest(url, (), b"", 0.5)
            return await asyncio.gather(*(client.post(request) for _ in range(requests)))

    with receiver(behave) as far:
        outcomes = asyncio.run(run(far.url()))
    assert all(outcome.ok for outcome in outcomes)
    return most


def test_a_host_gets_no_more_than_its_limit_at_once():
    assert most_at_once({"per_host_limit": 2}) == 2


def test_waiting_for_a_slot_is_not_held_against_the_receiver():
    # Eight requests of 0.1 s, one at a time, each with a timeout of 0.5 s.
    assert most_at_once({"limit": 1}, requests=8) == 1


def test_hosts_are_forgotten_with_their_last_request():
    async def run(url):
        async with Client(LOOPBACK) as client:
            await client.post(OutgoingRequest(url, (), b""))
            return len(client._hosts)

    with receiver(answering(http(200))) as far:
        assert asyncio.run(run(far.url())) == 0
