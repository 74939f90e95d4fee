"""A wake-up is merged with those around it, and never in the way of what was accepted."""

import asyncio
import threading
import time

import psycopg
import pytest

from config.celery import WAITING, app
from events import wakeup as module
from events.wakeup import HEARD, ROUTE, LoopWakeup, Wakeup
from tests.portal import wait_for


def test_a_wake_up_that_finds_no_thread_is_forgotten_and_the_next_one_is_planned(monkeypatch):
    wakeup = Wakeup("some.task", interval=60)

    def refuse(self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Timer, "start", refuse)
        wakeup.wake()
    monkeypatch.setattr(threading.Timer, "start", lambda self: None)
    wakeup.wake()
    assert wakeup._planned is not None


class Line:
    """Answers whether a wake-up waits unread; or fails, where the answer is an exception."""

    def __init__(self, answer=None):
        self.answer = answer
        self.asked = []

    async def ask(self, statement, parameters):
        self.asked.append((statement, parameters))
        await asyncio.sleep(0)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def sent(monkeypatch):
    names = []
    monkeypatch.setattr(module, "send", names.append)
    return names


@pytest.fixture
def on_pgmq(monkeypatch):
    monkeypatch.setattr(type(app), "waiting_wakeup", WAITING)


def after(wakeup, *acts):
    """Do these in an event loop, one after another, and let what they planned happen."""

    async def scenario():
        for act in acts:
            act()
            await asyncio.sleep(0.05)
        wakeup.stop()

    asyncio.run(scenario())


def test_in_an_event_loop_a_burst_is_one_wake_up_and_what_follows_another(sent, on_pgmq):
    wakeup = LoopWakeup("some.task", Line(), interval=0.01)
    after(wakeup, lambda: [wakeup.wake() for _ in range(100)], wakeup.wake)
    assert sent == ["some.task", "some.task"]


def test_a_message_that_waits_unread_stands_for_this_one(sent, on_pgmq):
    line = Line((1,))
    wakeup = LoopWakeup("some.task", line, interval=0.01)
    after(wakeup, wakeup.wake)
    assert (line.asked, sent) == ([(WAITING, ["some.task"])], [])


def test_with_another_broker_nobody_is_asked(sent):
    line = Line((1,))
    wakeup = LoopWakeup("some.task", line, interval=0.01)
    after(wakeup, wakeup.wake)
    assert (line.asked, sent) == ([], ["some.task"])


def test_a_database_that_is_away_leaves_it_to_the_sweep(sent, on_pgmq, caplog):
    wakeup = LoopWakeup("some.task", Line(psycopg.OperationalError("gone")), interval=0.01)
    after(wakeup, wakeup.wake)
    assert sent == []
    assert "the sweep will find the work" in caplog.text


def test_what_is_committed_while_it_looks_gets_another(sent, on_pgmq):
    line = Line()
    wakeup = LoopWakeup("some.task", line, interval=0)
    ask = line.ask

    async def ask_and_be_woken(*asked):
        if len(line.asked) == 0:
            wakeup.wake()
        return await ask(*asked)

    line.ask = ask_and_be_woken
    after(wakeup, wakeup.wake)
    assert sent == ["some.task", "some.task"]


def test_stopping_forgets_what_is_planned(sent, on_pgmq):
    wakeup = LoopWakeup("some.task", Line(), interval=60)
    after(wakeup, wakeup.wake, wakeup.wake)
    assert sent == ["some.task"]


def test_workers_that_listen_are_told_each_time_and_get_few_messages(sent, on_pgmq):
    line = Line()
    wakeup = LoopWakeup(ROUTE, line, interval=0.001)
    after(wakeup, *[wakeup.wake] * 4)
    assert [statement for statement, _ in line.asked].count(HEARD) == 4
    assert sent == [ROUTE]


def test_after_a_while_they_get_another_message(sent, on_pgmq, monkeypatch):
    monkeypatch.setattr(module, "MESSAGE_INTERVAL", 0.02)
    wakeup = LoopWakeup(ROUTE, Line(), interval=0.001)
    after(wakeup, wakeup.wake, wakeup.wake)
    assert sent == [ROUTE, ROUTE]


class Broker:
    """One that does not answer until it is told to."""

    def __init__(self):
        self.asked = []
        self.lets_go = threading.Event()

    def __call__(self, task):
        self.asked.append(task)
        assert self.lets_go.wait(20)


@pytest.fixture
def silent_broker(monkeypatch):
    broker = Broker()
    monkeypatch.setattr(module, "send", broker)
    yield broker
    broker.lets_go.set()


@pytest.mark.spec("B11")
def test_a_broker_that_hangs_holds_up_one_thread_of_the_door(silent_broker):
    """The door has few threads, and needs them for large bodies."""
    wakeup = LoopWakeup("some.task", Line(), interval=0.001)

    async def scenario():
        for _ in range(20):
            wakeup.wake()
            await asyncio.sleep(0.005)
        told = list(silent_broker.asked)
        silent_broker.lets_go.set()
        while wakeup._planned and not wakeup._planned.done():
            await asyncio.sleep(0.005)
        return told

    assert asyncio.run(scenario()) == ["some.task"]
    assert silent_broker.asked == ["some.task"] * 2  # what was said meanwhile is said once


@pytest.mark.spec("B11")
def test_a_broker_that_hangs_holds_up_one_thread_of_a_process(silent_broker):
    wakeup = Wakeup("some.task", interval=0.001)
    for _ in range(20):
        wakeup.wake()
        time.sleep(0.005)
    assert silent_broker.asked == ["some.task"]
    silent_broker.lets_go.set()
    wait_for(lambda: wakeup._planned is None, "it lets go")
    assert silent_broker.asked == ["some.task"] * 2
    wakeup.wake()
    wait_for(lambda: len(silent_broker.asked) == 3, "the next one leaves as ever")
