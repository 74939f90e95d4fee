"""How often: a bound on the posts of a source within any 60 seconds. Pure; the caller tells the time.

Counted in this process's memory: N web processes let through up to N times as many. A share of 1/N each would refuse
a sender that keeps one connection, and so stays with one process, long before it has had its number.
"""

import threading
from collections import OrderedDict, deque
from uuid import UUID

PERIOD = 60  # seconds


class _Window:
    """The posts of one source within the last PERIOD, counted by whole seconds."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts: deque[list[int]] = deque()  # [second, posts], oldest first
        self.total = 0

    def forget_before(self, second: int) -> None:
        while self.counts and self.counts[0][0] < second:
            self.total -= self.counts.popleft()[1]

    def add(self, second: int) -> None:
        if self.counts and self.counts[-1][0] >= second:
            self.counts[-1][1] += 1
        else:
            self.counts.append([second, 1])
        self.total += 1


class RateLimiter:
    """At most so many posts of a source in any 60 seconds, in a burst or evenly. Safe for threads.

    Memory is bounded by the sources that posted within the last minute: those that fell silent are forgotten.
    """

    def __init__(self) -> None:
        self._windows: OrderedDict[UUID, _Window] = OrderedDict()  # the longest silent first
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._windows)

    def take(self, source_id: UUID, per_minute: int, at: float) -> int | None:
        """Take one at `at` (POSIX seconds). None if there was one left, else whole seconds until there is."""
        second = int(at)
        with self._lock:
            window = self._windows.get(source_id)
            if window is None or (window.counts and window.counts[-1][0] > second + PERIOD):  # the clock was set back
                window = self._windows[source_id] = _Window()
            window.forget_before(second - PERIOD)
            if window.total >= per_minute:
                return window.counts[0][0] + PERIOD + 1 - second
            window.add(second)
            self._windows.move_to_end(source_id)
            self._forget_silent(second)
            return None

    def _forget_silent(self, second: int) -> None:
        while self._windows:
            source_id, window = next(iter(self._windows.items()))
            if window.counts and abs(window.counts[-1][0] - second) <= PERIOD:
                return
            del self._windows[source_id]
