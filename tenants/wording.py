"""What the audit log keeps, in words for people. Pure."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

NOTHING = "—"
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")
_SPANS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def field_in_words(field: str) -> str:
    """`event_types` → “event types”; the unit of a duration stands in its value."""
    return field.removesuffix("_seconds").replace("_", " ")


def value_in_words(field: str, value: object) -> str:
    """Lists with commas, times as short UTC, durations with a unit, yes and no; a dash where nothing is."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value in ("", [], {}):
        return NOTHING
    if isinstance(value, list):
        return ", ".join(value_in_words(field, one) for one in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{field_in_words(key)}: {value_in_words(key, one)}" for key, one in value.items())
    if isinstance(value, int) and field.endswith("_seconds"):
        return _span(value)
    if isinstance(value, str) and _INSTANT.match(value):
        return _instant(value)
    return str(value)


def _span(seconds: int) -> str:
    """In the largest unit that it is whole in: 604800 → “7 days”, 5400 → “90 minutes”."""
    if not seconds:
        return "none"
    size, unit = next((size, unit) for size, unit in _SPANS if seconds % size == 0)
    count = seconds // size
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


def _instant(text: str) -> str:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text
    at = at.astimezone(UTC) if at.tzinfo else at
    return f"{at.day} {at:%b %Y, %H:%M} UTC"
