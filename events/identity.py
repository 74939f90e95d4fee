"""Which event it is: its type, severity, time and title, and the key by which a sender says that it sent it before.

Pure. Each is looked for at the place that the source names (`sources.reading`), then in the usual fields at the top of
the payload; what is found but makes no sense counts as not found. Never raises for what a payload holds.

- Type: `type`, `event_type` or `event`, where that is a valid name; else the source's default. At a named place any
  text will do: of `/`, `:` and dots each run becomes one dot, of other characters that a name cannot have one `_`, both
  are taken off the ends, and what is beyond 128 characters is cut off (`orders/create` → `orders.create`, `Push Hook` →
  `Push_Hook`). Types that begin with `portal.` are the portal's own: who sends one gets the default.
- Severity: `severity` or `level`, in any case, by `SEVERITIES`; at a named place also the numbers of syslog (RFC 5424
  section 6.2.1). `low` where nothing is said.
- Time: `occurred_at`, `timestamp`, `time`, `created_at` or `created`: RFC 3339, without an offset taken as UTC; or a
  number since 1970, whose magnitude says whether it counts seconds, milliseconds, microseconds or nanoseconds. From
  1970 to 2100; a number only from 1973 on, since smaller ones are durations more often than times.
- Title: `title`, `summary` or `subject`, as one line.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from events.classification import TYPE_NAME
from sources.reading import OPERATIONAL, Headers, reader, text_of

IDEMPOTENCY_SECONDS = 86_400
IDEMPOTENCY_HEADER = "header:Idempotency-Key"
MAX_TYPE = 128
MAX_TITLE = 200
ELLIPSIS = "…"

TYPE_FIELDS = ("type", "event_type", "event")
SEVERITY_FIELDS = ("severity", "level")
TIME_FIELDS = ("occurred_at", "timestamp", "time", "created_at", "created")
TITLE_FIELDS = ("title", "summary", "subject")

SEVERITIES: Mapping[str, str] = {
    **dict.fromkeys(("high", "critical", "crit", "fatal", "emergency", "emerg", "panic", "alert", "severe"), "high"),
    **dict.fromkeys(("urgent", "blocker", "major", "error", "err"), "high"),
    **dict.fromkeys(("medium", "moderate", "minor", "warning", "warn"), "medium"),
    **dict.fromkeys(("low", "notice", "informational", "information", "info", "debug", "trace", "none"), "low"),
}
SYSLOG = ("high", "high", "high", "high", "medium", "low", "low", "low")

_TO_DOT = re.compile(r" ?[/:.][ /:.]*")  # of text with single spaces: a run would be looked at from each of its spaces
_TO_UNDERSCORE = re.compile(r"[^A-Za-z0-9_.-]+")
_RFC3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,12}))?)?"
    r" ?([Zz]|UTC|[+-][0-9]{2}:?[0-9]{2})?"
)
_NUMBER = re.compile(r"[0-9]{9,19}(?:\.[0-9]{1,12})?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_NUMBER = 1e8  # seconds: March 1973
_LAST = datetime(2101, 1, 1, tzinfo=UTC)
_LAST_SECOND = int(_LAST.timestamp())
_UNITS = ((1e11, 1_000_000), (1e14, 1_000), (1e17, 1))  # numbers below count units of so many microseconds
# What turns the direction of the text around it: a title could read as another one.
_TURNS = dict.fromkeys(map(ord, "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"))
_NOT_ONE_LINE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class Identity(NamedTuple):
    type: str
    severity: str
    occurred_at: datetime | None = None
    title: str = ""


def identify(reading: Mapping[str, object], headers: Headers, document: object, default_type: str) -> Identity:
    """What one event is called. `document` is its payload as parsed, None where it is no JSON."""
    if not reading:
        if not isinstance(document, dict):
            return Identity(default_type, "low")
        return Identity(
            _usual_type(document, default_type),
            _usual_severity(document),
            _usual_time(document),
            _usual_title(document),
        )
    usual = document if isinstance(document, dict) else {}
    name = type_name(text_of(_at(reading, "event_type", headers, document)))
    level = _level(_at(reading, "severity", headers, document))
    moment = moment_of(_at(reading, "occurred_at", headers, document))
    title = one_line(text_of(_at(reading, "title", headers, document)))
    return Identity(
        _own(name, default_type) if name else _usual_type(usual, default_type),
        level or _usual_severity(usual),
        moment or _usual_time(usual),
        title or _usual_title(usual),
    )


def idempotency_digest(
    reading: Mapping[str, object], headers: Headers, documents: Sequence[object], site: str | None = None
) -> bytes | None:
    """16 bytes that stand for the key of a post (B6), or None where the sender gave none.

    The place that the source names counts first, a path only for a post of exactly one event: the key is one of the
    whole post. Then the header `Idempotency-Key`. Keys from different places, or for different sites, are never the
    same one.
    """
    places = (str(reading.get("idempotency_key") or ""), IDEMPOTENCY_HEADER) if reading else (IDEMPOTENCY_HEADER,)
    for place in places:
        if not place or not (place.startswith("header:") or len(documents) == 1):
            continue
        key = text_of(reader(place)(headers, documents[0] if documents else None))
        if key:
            said = f"{site or ''}\0{place.lower() if place.startswith('header:') else place}\0{key}"
            return hashlib.sha256(said.encode("utf-8", "surrogatepass")).digest()[:16]
    return None


def type_name(text: str) -> str:
    """A type's name made of any text; "" where nothing is left of it."""
    if TYPE_NAME.fullmatch(text):
        return text
    text = " ".join(text[: 4 * MAX_TYPE].split())
    return _TO_UNDERSCORE.sub("_", _TO_DOT.sub(".", text)).strip("._")[:MAX_TYPE].strip("._")


def moment_of(value: object) -> datetime | None:
    """The time that a text or number says, in UTC; None for what is no time from 1970 to 2100."""
    if isinstance(value, str):
        text = value.strip()[:64]
        found = _RFC3339.fullmatch(text)
        if found:
            return _calendar_time(*found.groups())
        if not _NUMBER.fullmatch(text):
            return None
        value = int(text) if text.isdigit() else float(text)
    if type(value) is int and _FIRST_NUMBER <= value < _LAST_SECOND:  # what most senders write
        return datetime.fromtimestamp(value, UTC)
    if isinstance(value, bool) or not isinstance(value, int | float) or not _FIRST_NUMBER <= value < 1e20:
        return None
    scale = next((scale for below, scale in _UNITS if value < below), 0)
    microseconds = round(value * scale) if scale else int(value) // 1000
    return _within_reason(_EPOCH + timedelta(microseconds=microseconds)) if microseconds < 1e16 else None


def one_line(text: str) -> str:
    """A text as one line of at most 200 characters that PostgreSQL can store; cut with an ellipsis."""
    text = text[: 10 * MAX_TITLE]
    if not (text.isascii() and text.isprintable()):
        text = text.translate(_TURNS).encode("utf-8", "replace").decode()
    text = _NOT_ONE_LINE.sub(" ", text).strip()
    return text if len(text) <= MAX_TITLE else text[: MAX_TITLE - 1].rstrip() + ELLIPSIS


def _at(reading: Mapping[str, object], name: str, headers: Headers, document: object) -> object | None:
    place = reading.get(name)
    return reader(str(place))(headers, document) if place else None


def _own(name: str, default: str) -> str:
    return default if name.startswith(OPERATIONAL) else name


@lru_cache(maxsize=4096)
def _may_be_type(name: str) -> bool:
    return TYPE_NAME.fullmatch(name) is not None and not name.startswith(OPERATIONAL)


def _usual_type(document: Mapping[str, object], default: str) -> str:
    for field in TYPE_FIELDS:
        value = document.get(field)
        if isinstance(value, str) and len(value) <= MAX_TYPE and _may_be_type(value):
            return value
        if isinstance(value, str) and value.startswith(OPERATIONAL):
            return default
    return default


def _level(value: object) -> str:
    """low, medium or high for what stands at a named place; "" for what is none."""
    text = text_of(value).lower()
    number = text.removesuffix(".0")
    return SYSLOG[int(number)] if number in {"0", "1", "2", "3", "4", "5", "6", "7"} else SEVERITIES.get(text, "")


def _usual_severity(document: Mapping[str, object]) -> str:
    for field in SEVERITY_FIELDS:
        value = document.get(field)
        if isinstance(value, str) and (level := SEVERITIES.get(value[:32].strip().lower())):
            return level
    return "low"


def _usual_time(document: Mapping[str, object]) -> datetime | None:
    for field in TIME_FIELDS:
        value = document.get(field)
        if value is not None and (moment := moment_of(value)) is not None:
            return moment
    return None


def _usual_title(document: Mapping[str, object]) -> str:
    for field in TITLE_FIELDS:
        value = document.get(field)
        if isinstance(value, str) and (title := one_line(value)):
            return title
    return ""


def _calendar_time(
    day: str, minute: str, second: str | None, fraction: str | None, offset: str | None
) -> datetime | None:
    """RFC 3339 section 5.6. A leap second is the second before it; what is finer than a microsecond is cut off."""
    second = "59" if second == "60" else second or "00"
    zone = "+00:00" if offset is None or offset in ("Z", "z", "UTC") else offset
    try:
        said = datetime.fromisoformat(f"{day}T{minute}:{second}.{(fraction or '0')[:6]:0<6}{zone}")
        return _within_reason(said.astimezone(UTC))
    except (ValueError, OverflowError):
        return None


def _within_reason(moment: datetime) -> datetime | None:
    return moment if _EPOCH <= moment < _LAST else None
