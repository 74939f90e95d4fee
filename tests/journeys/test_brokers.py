"""The same story with RabbitMQ and with Redis as the broker: each is killed, started empty, and loses nothing."""

import json
import os
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests import brokers
from tests.portal import Portal, call, free_port, wait_for
from tests.receiver import Answer, Receiver

pytestmark = [pytest.mark.journey, pytest.mark.spec("B11"), pytest.mark.xdist_group("brokers")]

BURST = 1000


def make(name):
    if name == "redis":
        return brokers.Redis(free_port())
    return brokers.RabbitMQ(free_port(), (free_port(), free_port()))


@pytest.fixture(scope="module", params=brokers.FIND)
def broker(request):
    if brokers.FIND[request.param]() is None:
        missed = f"NOT TESTED: {request.param} as the broker. `python tests/brokers.py` installs it where it can."
        pytest.fail(missed) if os.environ.get("CI") else pytest.skip(missed)
    with make(request.param) as running:
        wait_for(running.answers, f"{request.param} answers", 60)
        yield running


@pytest.fixture(scope="module")
def portal(broker):
    with Portal(CELERY_BROKER_URL=broker.url, DELIVERY_LEASE_SECONDS="20") as running:
        yield running


@pytest.fixture(scope="module")
def tenant(portal):
    return portal.create_tenant("Acme")


@pytest.fixture(scope="module")
def receiver(portal):
    """One for each portal."""
    with Receiver() as listening:
        yield listening


@pytest.fixture(scope="module")
def source(tenant, receiver):
    tenant.subscribe(receiver, shape="raw")
    return tenant.create_source("none")


@pytest.fixture
def post(source, receiver):
    """Posts one event after another; answers with the status."""
    receiver.answer = Answer()
    receiver.posted.clear()

    def one(number):
        return call("POST", source["url"], json.dumps({"type": "order.created", "n": number}).encode()).status

    return one


def arrived(receiver):
    return Counter(json.loads(posted.body)["n"] for posted in list(receiver.posted))


def settle(tenant):
    wait_for(lambda: not tenant.all("deliveries/?status=pending"), "all of it is written down", 60)


def test_a_burst_leaves_few_messages_while_no_worker_reads(post, receiver, tenant, portal, broker):
    """And they hold nobody up afterwards."""
    stopped = portal.workers()
    for process in stopped:
        process.suspend()
    try:
        with ThreadPoolExecutor(16) as senders:
            assert set(senders.map(post, range(BURST))) == {202}
        assert broker.waiting() <= (10 if broker.name == "redis" else 200)
    finally:
        for process in stopped:
            process.resume()
    wait_for(lambda: arrived(receiver).keys() >= set(range(BURST)), "all arrive")
    wait_for(lambda: broker.waiting() == 0, "every message was read")
    settle(tenant)
    assert set(arrived(receiver).values()) == {1}


def test_a_killed_worker_and_a_broker_that_comes_back_empty_lose_nothing(post, receiver, tenant, portal, broker):
    """Both at once: while the broker is away the worker is started again, and the door answers as ever."""

    def slowly(posted):
        time.sleep(0.3)
        return Answer()

    receiver.answer = slowly
    before = portal.log()
    killed = portal.workers()
    with ThreadPoolExecutor(8) as senders:
        answers = [senders.submit(post, number) for number in range(100)]
        wait_for(lambda: len(receiver.posted) >= 20, "the worker is in the middle of it")
        for process in killed:
            process.send_signal(signal.SIGKILL)
        psutil.wait_procs(killed, timeout=5)
        broker.kill()
        answers += [senders.submit(post, number) for number in range(100, 200)]
        assert {answer.result() for answer in answers} == {202}
    receiver.answer = Answer()
    wait_for(lambda: "The broker does not answer" in portal.log().removeprefix(before), "somebody says so")
    broker.start()
    wait_for(lambda: arrived(receiver).keys() >= set(range(200)), "everything acknowledged arrives", 60)
    settle(tenant)

    assert post(200) == 202
    wait_for(lambda: 200 in arrived(receiver), "so does what comes afterwards")

    def said():
        return portal.log().removeprefix(before)

    gone, back = "The broker does not answer", "The broker is back."
    wait_for(lambda: said().count(back) == said().count(gone), "each says that it is back")
    assert "Traceback" not in said(), said()
    assert said().count("\n") < 20, said()


def test_an_event_that_was_refused_comes_again(post, receiver, tenant):
    """By the sweep: beat found the broker again, too, where the one before lost it."""
    answers = iter([Answer(503), Answer(204)])
    receiver.answer = lambda posted: next(answers)
    assert post(1) == 202
    wait_for(lambda: arrived(receiver) == {1: 2}, "it was refused, and comes again by the sweep")
    settle(tenant)
