"""Names that lead somewhere else a moment later: 10,000 sends, and none to a private address (S8).

The resolver is the far end of DNS: its answers live for no time at all (the client's cache is emptied after every
send) and alternate between outside and inside. The sockets are real up to their connect, which counts and is refused
by the test: what the guard lets pass to a public address must not leave this machine.
"""

import asyncio
import errno
import ipaddress
import itertools
import socket
from collections import Counter

import pytest

from egress.client import Client, OutgoingRequest
from egress.connector import Connector
from egress.guard import Guard
from tests.egress.canaries import noting_connects
from tests.egress.receivers import FixedResolver

SENDS = 10_000
AT_ONCE = 100

PUBLIC = ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"]
PRIVATE = ["127.0.0.1", "::1", "10.1.2.3", "169.254.169.254", "::ffff:10.1.2.3", "100.64.0.1", "fd00:ec2::254"]


class Alternating(FixedResolver):
    """A public address, a private one, then both at once, in either order."""

    def __init__(self) -> None:
        super().__init__()
        public, private = itertools.cycle(PUBLIC), itertools.cycle(PRIVATE)
        self._answers = itertools.cycle(
            [
                lambda: [next(public)],
                lambda: [next(private)],
                lambda: [next(public), next(private)],
                lambda: [next(private), next(public)],
            ]
        )
        self.told: Counter[str] = Counter()

    async def resolve(self, host, port=0, family=socket.AF_INET):
        self.addresses = next(self._answers)()
        self.told.update(self.addresses)
        return await super().resolve(host, port, family)


class NoSocket(socket.socket):
    """Counts what it is to be connected to, and goes nowhere."""

    connects: Counter[str] = Counter()

    def connect(self, address) -> None:
        self.connects[address[0]] += 1
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")


class Watched(Connector):
    def _open_socket(self, addr_info):
        with super()._open_socket(addr_info) as passed:
            return NoSocket(passed.family, passed.type, passed.proto)


async def send_many(resolver: FixedResolver, sends: int) -> Counter[str]:
    async with Client(Guard(), resolver=resolver) as client:
        ends: Counter[str] = Counter()
        for batch in range(sends // AT_ONCE):
            # Requests at once for one name share an answer, so each of these has a name of its own.
            requests = [OutgoingRequest(f"https://{n}.rebound.example.com/", (), b"{}") for n in range(AT_ONCE)]
            outcomes = await asyncio.gather(*map(client.post, requests))
            ends.update(outcome.error for outcome in outcomes)
            assert client._session is not None
            client._session.connector.clear_dns_cache()
            assert len(resolver.asked) == (batch + 1) * AT_ONCE
        return ends


@pytest.fixture
def connects(monkeypatch):
    counter: Counter[str] = Counter()
    monkeypatch.setattr(NoSocket, "connects", counter)
    monkeypatch.setattr("egress.client.Connector", Watched)
    with noting_connects() as others:
        yield counter
    assert others == []  # a socket that is not ours would have left this machine


@pytest.mark.spec("S8")
def test_rebinding_reaches_no_private_address_and_blocks_no_public_one(connects):
    resolver = Alternating()
    ends = asyncio.run(send_many(resolver, SENDS))
    assert len(resolver.asked) == SENDS
    assert set(resolver.told) == {*PUBLIC, *PRIVATE}
    # Each time a public address was answered it was connected to (at least once: the connector tries
    # what is left of several again), and nothing else ever was.
    assert set(connects) == set(PUBLIC)
    assert all(connects[address] >= resolver.told[address] for address in PUBLIC)
    assert ends == Counter(connect=SENDS * 3 // 4, refused=SENDS // 4)


@pytest.mark.spec("S8")
def test_a_guard_with_a_hole_would_be_seen(connects, monkeypatch):
    monkeypatch.setattr("egress.guard.DENIED_IPV4", (ipaddress.IPv4Network("127.0.0.0/8"),))
    asyncio.run(send_many(Alternating(), 4 * AT_ONCE))
    assert connects["10.1.2.3"] > 0
    assert connects["127.0.0.1"] == 0
