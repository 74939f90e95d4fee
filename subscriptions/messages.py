"""What a message looks like. Pure: received bytes in, the frozen bytes of a delivery out.

The bytes are made once and stay the same over all attempts; the one exception is S4's timestamp,
which `subscriptions.signing` renews in place. A payload that is JSON is spliced in byte by byte,
never parsed and written again: 1.0, 1e400, duplicate keys and the sender's white space arrive
as they were sent.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import NoReturn

JSON = "application/json"
CONFIRMATION_TYPE = "portal.subscription.confirmation"
TEST_TYPE = "test.webhook-event"
_FALLBACK_CONTENT_TYPE = "application/octet-stream"
# Parameters included; anything a header could be broken with is not in it.
_CONTENT_TYPE = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,254}")


@dataclass(frozen=True)
class Shape:
    """One form of body a subscription can ask for."""

    name: str
    title: str
    summary: str


@dataclass(frozen=True)
class Message:
    """A body ready to be kept and sent, and its Content-Type."""

    body: bytes = field(repr=False)
    content_type: str


SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        shape.name: shape
        for shape in (
            Shape(
                "envelope",
                "Envelope",
                "JSON with id, type, timestamp, severity and source; what was received is in data.",
            ),
            Shape("raw", "As received", "The very bytes that were received, nothing around them."),
            Shape("timestamped", "Event and payload", "JSON with event, payload and timestamp."),
        )
    }
)


def build(
    shape: str,
    *,
    event_type: str,
    event_id: str,
    occurred_at: datetime,
    payload_raw: bytes,
    content_type: str = JSON,
    severity: str | None = None,
    source: str | None = None,
) -> Message:
    """The message of one event in the given shape; raises ValueError for an unknown one."""
    if shape == "raw":
        fits = _CONTENT_TYPE.fullmatch(content_type)
        return Message(payload_raw, content_type if fits else _FALLBACK_CONTENT_TYPE)
    if shape == "timestamped":
        return Message(timestamped(event_type, payload_raw, content_type), JSON)
    if shape == "envelope":
        body = envelope(
            event_type,
            event_id,
            occurred_at,
            payload_raw,
            content_type=content_type,
            severity=severity,
            source=source,
        )
        return Message(body, JSON)
    raise ValueError(f"There is no message shape {shape!r}.")


def envelope(
    event_type: str,
    event_id: str,
    occurred_at: datetime,
    payload_raw: bytes,
    *,
    content_type: str = JSON,
    severity: str | None = None,
    source: str | None = None,
) -> bytes:
    """`{"id", "type", "timestamp", "severity", "source", "data"}`; severity and source may be null.

    `data` is the payload itself when it is JSON, else an object with its `content_type` and
    either `text` (UTF-8) or `data_base64`.
    """
    head = {
        "id": event_id,
        "type": event_type,
        "timestamp": rfc3339(occurred_at),
        "severity": severity,
        "source": source,
    }
    return b'%s,"data":%s}' % (_dump(head)[:-1], embeddable(payload_raw, content_type))


def timestamped(event_type: str, payload_raw: bytes, content_type: str = JSON) -> bytes:
    """S4's body, `{"event", "payload", "timestamp"}`; the timestamp is 0 until it is signed."""
    return b'{"event":%s,"payload":%s,"timestamp":0}' % (
        _dump(event_type),
        embeddable(payload_raw, content_type),
    )


def confirmation(shape: str, confirmation_url: str, occurred_at: datetime) -> Message:
    """The message that asks a receiver to agree (T4); opening the link is agreeing.

    The raw shape has no form of its own for it, so it takes the envelope's. S4's has its own,
    or its receivers could not verify the one message they must not take from a stranger.
    """
    data = {
        "message": (
            "Someone wants to send events to this URL. To agree, open confirmation_url with GET, "
            "in a browser or by a program. If you do not expect this, do nothing."
        ),
        "confirmation_url": confirmation_url,
    }
    if shape == "timestamped":
        return Message(timestamped(CONFIRMATION_TYPE, _dump(data)), JSON)
    head = {"type": CONFIRMATION_TYPE, "timestamp": rfc3339(occurred_at), "data": data}
    return Message(_dump(head), JSON)


def embeddable(payload_raw: bytes, content_type: str = JSON) -> bytes:
    """The payload as a JSON value: itself when it is one, else wrapped (see `envelope`)."""
    try:
        text = payload_raw.decode()
    except UnicodeDecodeError:
        encoded = base64.b64encode(payload_raw).decode()
        return _dump({"content_type": content_type, "data_base64": encoded})
    if _is_json(text):
        return payload_raw
    return _dump({"content_type": content_type, "text": text})


def rfc3339(moment: datetime) -> str:
    """UTC with microseconds and a Z; raises ValueError for a time without a zone."""
    if moment.tzinfo is None:
        raise ValueError("The time has no time zone.")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _is_json(text: str) -> bool:
    """RFC 8259, and shallow enough for a receiver's parser as well as ours."""
    try:
        # Numbers are not converted: a million digits are JSON, and reading them is quadratic.
        json.loads(text, parse_int=len, parse_float=len, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(constant: str) -> NoReturn:
    """NaN and Infinity, which Python reads and JSON does not have."""
    raise ValueError(constant)


def _dump(value: object) -> bytes:
    # "replace" only meets lone surrogates, which have no UTF-8.
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")
