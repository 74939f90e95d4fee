"""A wake-up is merged with those around it, and never in the way of what was accepted."""

import threading

from events.wakeup import Wakeup


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
