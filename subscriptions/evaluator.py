"""Asking expressions of people we do not know, safely: in a process of their own, that may die of them.

The library is fast, and bounds next to nothing: `map` and `filter` are quadratic, comprehensions nest, a text doubles
with every step of a chain (docs/decisions/0015-cel.md has the figures). No thread can be stopped inside it. So a child
process asks, under limits of CPU time and memory that kill it (`expression_process`). Its death is the answer, and the
next question starts another: about 30 ms.

An expression that was deadly STRIKES times in a row rests for REST seconds, so that it costs next to nothing; one that
answers has no strikes.
"""

import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from subscriptions.expressions import (
    RESTING,
    TOO_LONG,
    TOO_MUCH,
    UNREADABLE,
    Verdict,
    explain_failure,
    explain_kind,
    explain_syntax,
    unknown_names,
)

PATIENCE = 10.0  # seconds for an answer that costs a tenth of CPU time: the machine may be busy
STRIKES = 3
REST = 60.0
MAX_STRUCK = 1000  # expressions whose strikes are known
SCRIPT = Path(__file__).with_name("expression_process.py")
# The fault of whoever tidies up on this machine: asked once more. A second time it is the expression's memory.
FROM_OUTSIDE = frozenset({-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP})

now = time.monotonic
logger = logging.getLogger(__name__)


class OutOfOrder(Exception):
    """Expressions cannot be asked at all on this machine. Nothing is known about any of them."""


class _Died(Exception):
    """The child is no more. `status` as of subprocess; None if it was killed here, for it did not answer."""

    def __init__(self, status: int | None) -> None:
        super().__init__(f"exit status {status}")
        self.status = status

    @property
    def reason(self) -> str:
        return TOO_LONG if self.status in (None, -signal.SIGPROF) else TOO_MUCH


class Evaluator:
    """One child process, started when it is needed. Threads take turns; `close` it, or use it as a context."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._read = b""
        self._loaded = False
        self._lock = threading.RLock()
        self._strikes: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

    def __enter__(self) -> "Evaluator":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            if self._child is not None:
                self._bury()

    def check(self, text: str) -> str:
        """What is wrong with a text as an expression, in a sentence; "" if nothing is. Raises OutOfOrder."""
        with self._lock:
            for attempt in range(2):
                try:
                    self._say({"check": text})
                    answer = self._hear()
                    break
                except _Died as died:
                    if attempt or died.status not in FROM_OUTSIDE:
                        return "It takes too long, or too much memory, to be read: write it in a simpler way."
            if "syntax" in answer:
                return explain_syntax(answer["syntax"])
            return unknown_names(text, answer["variables"], answer["functions"])

    def verdicts(
        self, event: dict[str, object], payload: bytes, texts: Iterable[str], *, owner: str = ""
    ) -> dict[str, Verdict]:
        """What each expression says of an event; `payload` is JSON, b"" for null. Raises OutOfOrder.

        `owner` is who has strikes for what these events make of the expressions, not others who wrote the same.
        """
        with self._lock:
            known = {text: Verdict(False, RESTING) for text in texts if self._rests((owner, text))}
            left = [text for text in dict.fromkeys(texts) if text not in known]
            forgiven = False
            while left:
                try:
                    self._ask(event, payload, left, known)
                except _Died as died:
                    if died.status in FROM_OUTSIDE and not forgiven:
                        forgiven = True
                    else:
                        self._blame(died, left, known, owner)
                for text in left:
                    if text in known and not known[text].problem:
                        self._strikes.pop((owner, text), None)
                left = [text for text in left if text not in known]
            return known

    def _ask(self, event: dict[str, object], payload: bytes, texts: list[str], known: dict[str, Verdict]) -> None:
        """Fill `known` as far as the child comes. Raises _Died; its first answer is that the payload was read."""
        self._loaded = False
        self._say({"event": event, "size": len(payload), "ask": texts}, payload)
        self._hear()
        self._loaded = True
        for text in texts:
            known[text] = _verdict(self._hear())

    def _blame(self, died: _Died, texts: list[str], known: dict[str, Verdict], owner: str) -> None:
        """Of what the child died: the expression that it was asked last, or the payload, and so of all."""
        if not self._loaded:
            known.update(dict.fromkeys(texts, Verdict(False, UNREADABLE)))
            return
        deadly = next(text for text in texts if text not in known)
        known[deadly] = Verdict(False, died.reason)
        strikes, _ = self._strikes.pop((owner, deadly), (0, 0.0))
        self._strikes[owner, deadly] = (strikes + 1, now())
        if len(self._strikes) > MAX_STRUCK:
            self._strikes.popitem(last=False)

    def _rests(self, key: tuple[str, str]) -> bool:
        strikes, at = self._strikes.get(key, (0, 0.0))
        return strikes >= STRIKES and now() < at + REST

    # The child -----------------------------------------------------------------------------------

    def _say(self, question: dict[str, object], payload: bytes = b"") -> None:
        child = self._child or self._start()
        try:
            child.stdin.write(json.dumps(question).encode() + b"\n" + payload)  # type: ignore[union-attr]
            child.stdin.flush()  # type: ignore[union-attr]
        except BrokenPipeError:
            raise _Died(self._bury()) from None

    def _start(self) -> subprocess.Popen[bytes]:
        """Without our environment, which holds secrets, and in no group whose signals reach it."""
        environment = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
        try:
            self._child = subprocess.Popen(  # noqa: S603 (our own script)
                [sys.executable, "-I", "-X", "utf8", str(SCRIPT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=environment,
                start_new_session=True,
            )
            self._read = b""
            self._hear()
        except (OSError, _Died) as error:
            raise OutOfOrder(f"The process that asks expressions does not start ({error}).") from error
        return self._child

    def _hear(self) -> dict[str, Any]:
        """The next line it says. Raises _Died."""
        child = self._child
        if child is None or child.stdout is None:
            raise _Died(None)
        until = now() + PATIENCE
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            while b"\n" not in self._read:
                if not selector.select(max(0.0, until - now())):
                    self._bury()
                    raise _Died(None)
                part = os.read(child.stdout.fileno(), 65536)
                if not part:
                    raise _Died(self._bury())
                self._read += part
        line, _, self._read = self._read.partition(b"\n")
        return json.loads(line)  # type: ignore[no-any-return]

    def _bury(self) -> int | None:
        """End it, if it has not ended. Its status: its own, or that of our kill."""
        child, self._child = self._child, None
        if child is None:
            return None
        for pipe in (child.stdin, child.stdout):
            try:
                pipe.close()  # type: ignore[union-attr]
            except BrokenPipeError:
                logger.debug("It died before it read everything.")
        try:
            return child.wait(0.5)
        except subprocess.TimeoutExpired:
            child.kill()
            return child.wait()


def _verdict(answer: dict[str, Any]) -> Verdict:
    if "value" in answer:
        return Verdict(answer["value"])
    if "not_bool" in answer:
        return Verdict(False, explain_kind(answer["not_bool"]))
    return Verdict(False, explain_failure(*answer["failed"]))
