"""Which events a subscription is told about: names, patterns, severities. Pure.

An event type is up to 128 letters, digits, hyphens and underscores in segments joined by full
stops: `user.created`, `test.webhook-event`. A pattern is the same, with `*` in place of whole
segments:

- as the last segment, `*` stands for the rest, one segment or more: `user.*` matches
  `user.created` and `user.email.changed`, but not `user`; `*` alone matches every type;
- anywhere else it stands for exactly one segment: `*.created` matches `user.created`, not
  `user.email.created`; `a.*.c` matches `a.b.c`.

Types beginning with `portal.` are operational events, about the portal itself. A wildcard does
not stand for their first segment: whoever asks for `*` wants events, not news about the plumbing.
`portal.*`, or a full name, asks for them.
"""

import re
from collections.abc import Collection, Iterable, Sequence

MAX_TYPE_LENGTH = 128
MAX_PATTERNS = 100
OPERATIONAL = "portal"
SEVERITIES = ("low", "medium", "high")

_TYPE = re.compile(r"[a-zA-Z0-9_\-]+(\.[a-zA-Z0-9_\-]+)*")
_PATTERN = re.compile(r"(\*|[a-zA-Z0-9_\-]+)(\.(\*|[a-zA-Z0-9_\-]+))*")


def clean_event_type(name: str) -> str:
    """The name without surrounding white space; raises ValueError with a message for people."""
    name = name.strip()
    if not name:
        raise ValueError("An event type cannot be empty.")
    if len(name) > MAX_TYPE_LENGTH:
        raise ValueError(f"An event type has at most {MAX_TYPE_LENGTH} characters.")
    if not _TYPE.fullmatch(name):
        raise ValueError(
            f"{name!r} is not an event type: use letters, digits, hyphens and underscores in "
            "segments joined by full stops, as in user.created."
        )
    return name


def clean_patterns(patterns: Iterable[str]) -> list[str]:
    """The patterns without duplicates and surrounding white space, in their order.

    None at all means every event, and is written out as `*`. Raises ValueError.
    """
    cleaned: dict[str, None] = {}
    for pattern in patterns:
        pattern = pattern.strip()
        if len(pattern) > MAX_TYPE_LENGTH:
            raise ValueError(f"An event type has at most {MAX_TYPE_LENGTH} characters.")
        if not _PATTERN.fullmatch(pattern):
            raise ValueError(
                f"{pattern!r} is not an event type or pattern: a * stands for whole segments, "
                "as in user.* or *.created."
            )
        cleaned[pattern] = None
    if len(cleaned) > MAX_PATTERNS:
        raise ValueError(f"A subscription has at most {MAX_PATTERNS} event types.")
    return list(cleaned) or ["*"]


def matches(patterns: Iterable[str], event_type: str) -> bool:
    """Whether one of the (clean) patterns stands for the event type; false without patterns."""
    segments = event_type.split(".")
    return any(_matches(pattern.split("."), segments) for pattern in patterns)


def severity_at_least(minimum: str, severity: str | None) -> bool:
    """Whether an event is severe enough (T2). Without a (known) severity it is low.

    Raises ValueError for an unknown minimum.
    """
    if minimum not in SEVERITIES:
        raise ValueError(f"There is no severity {minimum!r}.")
    return _rank(severity) >= _rank(minimum)


def among(chosen: Collection[object], belongs_to: object, event_type: str) -> bool:
    """Whether an event is of a chosen source, or of a chosen site; none chosen stands for all, and for none at all.

    An operational event that belongs to none is not narrowed: it was asked for by name.
    """
    if not chosen:
        return True
    if belongs_to is None:
        return event_type.partition(".")[0] == OPERATIONAL
    return belongs_to in chosen


def _matches(pattern: Sequence[str], segments: Sequence[str]) -> bool:
    if segments[0] == OPERATIONAL and pattern[0] == "*":
        return False
    rest_is_free = pattern[-1] == "*"
    if len(segments) < len(pattern) or (len(segments) > len(pattern) and not rest_is_free):
        return False
    return all(asked in ("*", segment) for asked, segment in zip(pattern, segments, strict=False))


def _rank(severity: str | None) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else 0
