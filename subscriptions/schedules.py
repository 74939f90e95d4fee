"""Waits that a tenant chooses for itself: `5s, 5m, 1h`. Pure.

One to MAX_WAITS waits, each of 1 second to LONGEST_WAIT, together at most LONGEST_TOTAL: as long as the portal keeps
a message by default. They are kept exactly: no jitter is added to what somebody chose.
"""

import re
from collections.abc import Iterable, Sequence

MAX_WAITS = 30
LONGEST_WAIT = 7 * 86_400
LONGEST_TOTAL = 30 * 86_400
_UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))
_NAMES = {
    **dict.fromkeys(("", "s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
}
_WAIT = re.compile(r"([0-9]{1,7}) ?([a-z]*)")
_BETWEEN = re.compile(r"\s*[,;]\s*|\s+(?=[0-9])")


def clean_delays(given: str | Iterable[str | int]) -> list[int]:
    """The waits in seconds. Raises ValueError with a sentence for people."""
    parts = _BETWEEN.split(given.strip()) if isinstance(given, str) else list(given)
    delays = [_seconds(part) for part in parts if part != ""]
    if not 1 <= len(delays) <= MAX_WAITS:
        raise ValueError(f"Give 1 to {MAX_WAITS} waits, as in 5s, 5m, 1h.")
    if sum(delays) > LONGEST_TOTAL:
        raise ValueError("Together the waits may take at most 30 days.")
    return delays


def written(delays: Sequence[float], space: str = "") -> list[str]:
    """Each wait in the largest unit that it is whole in: `5s`, `90m`, `1d`."""
    return [_written(int(delay), space) for delay in delays]


def summary(delays: Sequence[float]) -> str:
    """The schedule in a sentence."""
    waits = written(delays, " ")
    if not waits:
        return "One attempt."
    last = waits.pop()
    then = f"{', '.join(waits)} and {last}" if waits else last
    return f"Up to {len(delays) + 1} attempts: at once, then after {then}."


def _seconds(part: str | int) -> int:
    if isinstance(part, bool) or not isinstance(part, int | str):
        raise ValueError("A wait is a number of seconds, or text such as 5m.")
    found = _WAIT.fullmatch(str(part).strip().lower())
    if found is None or found[2] not in _NAMES:
        raise ValueError(f"“{str(part)[:40]}” is no wait: write a whole number with s, m, h or d, as in 5m.")
    seconds = int(found[1]) * _NAMES[found[2]]
    if not 1 <= seconds <= LONGEST_WAIT:
        raise ValueError(f"“{part}” is no wait: each takes 1 second to 7 days.")
    return seconds


def _written(seconds: int, space: str) -> str:
    unit, size = next((unit, size) for unit, size in _UNITS if seconds % size == 0)
    return f"{seconds // size}{space}{'min' if space and unit == 'm' else unit}"
