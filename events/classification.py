"""What an event is called and how much it matters, read out of its payload. Pure.

The payload's own word wins: the first of the top-level fields `type`, `event_type`, `event` that is text and
a valid type name; then the source's type; then the source's kind (`event` or `incident`).
"""

import json
import re

TYPE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
TYPE_FIELDS = ("type", "event_type", "event")
SEVERITIES = {
    "low": "low",
    "medium": "medium",
    "high": "high",
    "critical": "high",
    "info": "low",
    "informational": "low",
}


def document_of(raw: bytes) -> object:
    """What can be classified of JSON that has no projection: too large, or with a number that cannot be stored.

    Its nesting was bounded when it was split. None for what is no JSON.
    """
    try:
        return json.loads(raw, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError):
        return None


def event_type(parsed: object, default: str) -> str:
    """The type of an event, at most 128 characters of `A-Z a-z 0-9 _ . -`."""
    if isinstance(parsed, dict):
        for name in TYPE_FIELDS:
            value = parsed.get(name)
            if isinstance(value, str) and TYPE_NAME.fullmatch(value):
                return value
    return default


def severity(parsed: object) -> str:
    """low, medium or high, from the top-level field `severity` in any case; low where it says nothing known."""
    value = parsed.get("severity") if isinstance(parsed, dict) else None
    return SEVERITIES.get(value.strip().lower(), "low") if isinstance(value, str) else "low"
