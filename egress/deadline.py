"""One deadline over a whole exchange."""

import asyncio


class Deadline:
    """`asyncio.timeout`, which looks for the running loop four times: in Python 3.11 each is a system call."""

    __slots__ = ("_cancels_before", "_struck", "_task", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._task = asyncio.current_task(loop)
        self._cancels_before = self._task.cancelling() if self._task else 0
        self._struck = False
        self._timer = loop.call_later(seconds, self._strike)

    def _strike(self) -> None:
        self._struck = True
        if self._task is not None:
            self._task.cancel()

    def has_struck(self) -> bool:
        """Whether a CancelledError that came is this deadline's, and nobody else's besides."""
        return self._struck and self._task is not None and self._task.uncancel() <= self._cancels_before

    def end(self) -> None:
        self._timer.cancel()
