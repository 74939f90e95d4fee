"""The corpus and the rebinding once more, in a network where every address of the world is a canary (S8).

Here nothing is stood in for: names are asked of a name server by the system's resolver, sockets are connected by the
kernel, and whoever is connected to hears it.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable

import pytest

from deliveries.dispatch import Dispatcher
from egress.client import Client, OutgoingRequest
from egress.guard import HTTPS_PORTS, Guard
from subscriptions.verification import portal_guard
from tests.egress.canaries import SocketCheckAlone
from tests.egress.corpus import CORPUS, HIDDEN_BY_DNS, METADATA, NAMES, PORTAL
from tests.egress.namespace import NotAllowed, World, alone, naming
from tests.egress.places import SENT, TYPED, Portal

PORT = 4443
SENDS, AT_ONCE = 10_000, 100
PUBLIC = ("93.184.216.34", "203.105.7.9", "2606:2800:220:1:248:1893:25c8:1946")
PRIVATE = ("127.0.0.1", "10.1.2.3", METADATA, "100.64.0.1", "::1", "fd00:ec2::254", "64:ff9b::7f00:1")
URLS = [spelling.at(PORT) for spelling in (*CORPUS, *HIDDEN_BY_DNS)]


def there(function: Callable[[], Counter[str]]) -> Counter[str]:
    try:
        return alone(function)
    except NotAllowed as error:
        pytest.skip(
            f"MISSED: no network namespace on this machine ({error}); the loopback's canaries listen elsewhere."
        )


@pytest.fixture
def portal(api, cast, settings, monkeypatch):
    """portal(guard) → a Portal, to be driven in the namespace."""
    settings.PORTAL_URL = f"https://{PORTAL}"
    settings.EGRESS_ALLOW = []
    monkeypatch.setattr("egress.guard.HTTPS_PORTS", HTTPS_PORTS | {PORT})
    monkeypatch.setattr("deliveries.sending.TIMEOUT", 4.0)
    return lambda guard: Portal(api("admin"), cast.tenant, cast.owner, Dispatcher(guard))


def told(portal: Portal, place: str) -> Counter[str]:
    """Who was connected to when a place was given every spelling."""
    world = World(PORT)
    with naming(lambda name: NAMES.get(name, ())):
        if place in TYPED:
            for url in URLS:
                TYPED[place](portal, url)
            portal.work()
        else:
            SENT[place](portal, URLS)
    return world.connects


@pytest.mark.spec("S8")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("place", [*TYPED, *SENT])
def test_nobody_in_the_world_is_connected_to(portal, place):
    assert there(lambda: told(portal(portal_guard()), place)) == {}


@pytest.mark.spec("S8")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("place", ["deliver", "token URL"])
def test_nor_where_the_sockets_check_is_all_there_is(portal, place):
    assert there(lambda: told(portal(SocketCheckAlone()), place)) == {}


@pytest.mark.spec("S8")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("place", ["deliver", "token URL"])
def test_without_a_guard_all_of_them_would_be(portal, place):
    """Else the tests above would show nothing."""
    connected = there(lambda: told(portal(SocketCheckAlone(allow=["0.0.0.0/0", "::/0"])), place))
    expected = {"127.0.0.1", "::1", METADATA, "10.0.0.1", "168.63.129.16", "100.100.100.200"}
    assert expected <= connected.keys()


def rebinding() -> tuple[Counter[str], Counter[str]]:
    """Who was connected to by 10,000 sends to names that lead elsewhere each time, and what they were told to be."""
    public, private, said = itertools.cycle(PUBLIC), itertools.cycle(PRIVATE), Counter()
    turns = itertools.cycle(
        [
            lambda: [next(public)],
            lambda: [next(private)],
            lambda: [next(public), next(private)],
            lambda: [next(private), next(public)],
            lambda: [*PUBLIC, *PRIVATE],
        ]
    )

    def answers(name: str) -> list[str]:
        addresses = next(turns)()
        said.update(addresses)
        return addresses

    async def send() -> None:
        async with Client(Guard()) as client:
            for _ in range(SENDS // AT_ONCE):
                requests = [OutgoingRequest(f"https://h{n}.rebound.example/", (), b"{}") for n in range(AT_ONCE)]
                outcomes = await asyncio.gather(*map(client.post, requests))
                assert all(outcome.error for outcome in outcomes)
                client._session.connector.clear_dns_cache()

    world = World(443)
    with naming(answers):
        asyncio.run(send())
    return world.connects, said


@pytest.mark.spec("S8")
@pytest.mark.django_db(transaction=True)
def test_ten_thousand_sends_to_names_that_rebind_reach_no_private_address():
    connected, said = there(rebinding)
    assert connected.keys() <= set(PUBLIC)
    assert connected.total() > SENDS / 4
    assert sum(said[address] for address in PRIVATE) > SENDS / 2
