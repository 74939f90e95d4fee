"""Acknowledged means kept (B11), through the death of the worker and of the whole portal in mid-dispatch."""

import itertools
import json
import signal
import threading
import time
from collections import Counter

import psutil
import pytest

from tests.portal import Portal, Tenant, call, wait_for
from tests.receiver import Answer, Receiver

pytestmark = [pytest.mark.journey, pytest.mark.spec("B11")]

LEASE = "20"  # seconds, the shortest: what a dead worker held comes again after so long


def slowly(posted):
    """Long enough that many requests are under way at any moment."""
    time.sleep(0.4)
    return Answer(204)


class Sender(threading.Thread):
    """Posts numbered events one after another until it is told to stop; `acked` are those answered with 202."""

    _numbers = itertools.count()

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.stopping = threading.Event()
        self.acked: list[int] = []

    def run(self) -> None:
        while not self.stopping.wait(0.02):
            number = next(self._numbers)
            body = json.dumps({"type": "order.created", "n": number}).encode()
            try:
                if call("POST", self.url, body).status == 202:
                    self.acked.append(number)
            except OSError:
                self.stopping.wait(0.1)  # nobody there: not acknowledged, so nothing was promised


class Senders:
    """Five at once. `with Senders(url) as senders:` they send until the block ends."""

    def __init__(self, url: str) -> None:
        self.threads = [Sender(url) for _ in range(5)]

    def __enter__(self) -> "Senders":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc) -> None:
        for thread in self.threads:
            thread.stopping.set()
        for thread in self.threads:
            thread.join(40)

    @property
    def acked(self) -> list[int]:
        return [number for thread in self.threads for number in list(thread.acked)]


def numbers(receiver):
    return Counter(json.loads(posted.body)["n"] for posted in list(receiver.posted))


def delivered(tenant: Tenant) -> set[str]:
    """Ids of the messages that the portal has written down as delivered."""
    return {one["message_id"] for one in tenant.all("deliveries/?status=delivered&kind=event&limit=200")}


@pytest.fixture
def portal():
    """One of its own for each test: it is killed."""
    with Portal(DELIVERY_LEASE_SECONDS=LEASE) as running:
        yield running


@pytest.fixture
def receiver():
    with Receiver() as listening:
        yield listening


@pytest.fixture
def tenant(portal):
    return portal.create_tenant("Acme")


@pytest.fixture
def source(tenant, receiver):
    """A source whose events go to the slow receiver, as they are."""
    tenant.subscribe(receiver, shape="raw")
    receiver.answer = slowly
    return tenant.create_source("none")


def test_a_killed_worker_loses_nothing_and_repeats_only_what_was_in_flight(portal, tenant, receiver, source):
    with Senders(source["url"]) as senders:
        wait_for(lambda: len(receiver.posted) >= 100 and delivered(tenant), "the worker is in the middle of it")
        killed = portal.workers()
        assert killed
        for process in killed:
            process.send_signal(signal.SIGKILL)
        psutil.wait_procs(killed, timeout=5)
        time.sleep(0.3)  # what was on the wire reaches the receiver; no new worker has started so soon
        told_by_then = {posted.headers["webhook-id"] for posted in list(receiver.posted)}
        in_flight = told_by_then - delivered(tenant)
        assert in_flight
        wait_for(lambda: len(senders.acked) >= 300, "the senders go on meanwhile")

    acked = set(senders.acked)
    wait_for(lambda: numbers(receiver).keys() >= acked, "everything acknowledged arrives", 60)
    wait_for(lambda: not tenant.all("deliveries/?status=pending"), "all of it is written down as delivered", 60)
    assert numbers(receiver).keys() == acked
    arrivals = Counter(posted.headers["webhook-id"] for posted in receiver.posted)
    assert len(arrivals) == len(acked)  # one id an event, the same each time
    assert {message for message, count in arrivals.items() if count > 1} <= in_flight
    assert len(receiver.posted) <= len(acked) + len(in_flight)


def test_a_portal_that_is_stopped_in_mid_dispatch_goes_on_after_the_next_start(portal, tenant, receiver, source):
    with Senders(source["url"]) as senders:
        wait_for(lambda: len(receiver.posted) >= 40, "the worker is in the middle of it")
        assert portal.stop(signal.SIGTERM) == 0
        assert portal.processes() == []

    acked = set(senders.acked)
    assert len(acked) >= 40
    portal.start()
    # What was kept while the answer no longer reached its sender arrives as well.
    wait_for(lambda: numbers(receiver).keys() >= acked, "everything acknowledged arrives", 60)
    wait_for(lambda: not tenant.all("deliveries/?status=pending"), "all of it is written down")
    assert set(numbers(receiver).values()) == {1}  # it was asked, not killed: nothing twice

    assert portal.stop(signal.SIGINT) == 0
    portal.start()
    assert call("GET", f"{portal.url}/readyz").status == 200
    assert portal.stop(signal.SIGTERM) == 0
    assert portal.processes() == []
    assert "Traceback" not in portal.log()
