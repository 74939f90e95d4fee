"""What a message looks like. Pure: received bytes in, the frozen bytes and headers of a delivery out.

The bytes are made once and stay the same over all attempts; the one exception is S4's timestamp,
which `subscriptions.signing` renews in place. A payload that is JSON is spliced in byte by byte,
never parsed and written again: 1.0, 1e400, duplicate keys and the sender's white space arrive
as they were sent.

A shape without an envelope of its own names the event in headers: `raw` in `X-Portal-Event-Id` and
`X-Portal-Event-Type`, CloudEvents' binary mode in `ce-…`. No scheme signs headers; docs/signatures.md says so.
"""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import NoReturn

import orjson

JSON = "application/json"
CLOUDEVENTS_JSON = "application/cloudevents+json"
CLOUDEVENTS_BATCH = "application/cloudevents-batch+json"
CONFIRMATION_TYPE = "portal.subscription.confirmation"
CHALLENGE_TYPE = "portal.subscription.challenge"
TEST_TYPE = "test.webhook-event"
ID_HEADER, TYPE_HEADER = "X-Portal-Event-Id", "X-Portal-Event-Type"
_FALLBACK_CONTENT_TYPE = "application/octet-stream"
# Parameters included; anything a header could be broken with is not in it.
_CONTENT_TYPE = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,254}")
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\s\";]+)", re.IGNORECASE)
# CloudEvents, HTTP binding 1.0.2, 3.1.3.2: what stands for itself in a header's value.
_PLAIN = frozenset(range(0x21, 0x7F)) - frozenset(b'"%')
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))  # json.dumps would make one at each call

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Shape:
    """One form of body a subscription can ask for."""

    name: str
    title: str
    summary: str


@dataclass(frozen=True)
class Message:
    """A body ready to be kept and sent, its Content-Type, and the headers of its shape."""

    body: bytes = field(repr=False)
    content_type: str
    headers: Headers = ()


SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        shape.name: shape
        for shape in (
            Shape(
                "envelope",
                "Envelope",
                "JSON with id, type, timestamp, severity and source; what was received is in data.",
            ),
            Shape(
                "raw",
                "As received",
                "The very bytes and content type that were received, nothing around them. The event's id and type "
                f"travel in {ID_HEADER} and {TYPE_HEADER}.",
            ),
            Shape(
                "cloudevents",
                "CloudEvents, structured",
                f"CloudEvents 1.0 as one JSON document, {CLOUDEVENTS_JSON}: the attributes, and what was received in "
                "data or data_base64.",
            ),
            Shape(
                "cloudevents_binary",
                "CloudEvents, binary",
                "CloudEvents 1.0 with the attributes in ce-… headers; the body is what was received.",
            ),
            Shape(
                "timestamped",
                "Event and payload",
                "JSON with event, payload and timestamp; the only one that X-Signature over the body can sign.",
            ),
        )
    }
)


# Those that pass on the content type that was received; the others only name it where the payload is no JSON.
WITH_CONTENT_TYPE = frozenset({"raw", "cloudevents", "cloudevents_binary"})


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
    owner: str = "",
    is_json: bool | None = None,
) -> Message:
    """The message of one event in the given shape; raises ValueError for an unknown one.

    `source` and `owner` are UUIDs. CloudEvents demand a source: where the event has none, its owner stands for it.
    `is_json` says that the payload is known to be JSON, so that it need not be looked at; None is: look.
    """
    if shape == "raw":
        headers = ((ID_HEADER, percent_encoded(event_id)), (TYPE_HEADER, percent_encoded(event_type)))
        return Message(payload_raw, _fit_for_a_header(content_type), headers)
    if shape == "timestamped":
        return Message(timestamped(event_type, payload_raw, content_type, is_json=is_json), JSON)
    if shape == "envelope":
        body = envelope(
            event_type,
            event_id,
            occurred_at,
            payload_raw,
            content_type=content_type,
            severity=severity,
            source=source,
            is_json=is_json,
        )
        return Message(body, JSON)
    if shape in ("cloudevents", "cloudevents_binary"):
        attributes = {
            "specversion": "1.0",
            "id": event_id,
            "source": f"urn:uuid:{source or owner}",
            "type": event_type,
            "time": rfc3339(occurred_at),
        } | ({"severity": severity} if severity else {})
        return _cloud_event(shape, attributes, payload_raw, _fit_for_a_header(content_type))
    raise ValueError(f"There is no message shape {shape!r}.")


def batch(messages: Sequence[Message]) -> Message:
    """Many messages of one shape as one: a JSON array of them (T6; of CloudEvents, the JSON format's section 4)."""
    kind = CLOUDEVENTS_BATCH if messages[0].content_type == CLOUDEVENTS_JSON else JSON
    return Message(b"[%s]" % b",".join([message.body for message in messages]), kind)


def _cloud_event(shape: str, attributes: Mapping[str, str], payload_raw: bytes, content_type: str) -> Message:
    """CloudEvents 1.0.2: the JSON format, or the binary mode of the HTTP binding.

    In the latter `datacontenttype` is the Content-Type itself. Media types that declare no JSON have `data` as a
    string where they are UTF-8 text, and all that might not come out of a JSON string as it went in is base64.
    """
    if shape == "cloudevents_binary":
        headers = tuple((f"ce-{name}", percent_encoded(value)) for name, value in attributes.items())
        return Message(payload_raw, content_type, headers)
    head = _dump({**attributes, "datacontenttype": content_type})[:-1]
    name, data = _cloud_data(payload_raw, content_type)
    return Message(b'%s,"%s":%s}' % (head, name, data), CLOUDEVENTS_JSON)


def _cloud_data(payload_raw: bytes, content_type: str) -> tuple[bytes, bytes]:
    media_type = content_type.partition(";")[0].strip().lower()
    encoded = b"data_base64", _dump(base64.b64encode(payload_raw).decode())
    try:
        text = payload_raw.decode()
    except UnicodeDecodeError:
        return encoded
    charset = _CHARSET.search(content_type)
    if charset and charset[1].lower() not in ("utf-8", "us-ascii"):
        return encoded
    if media_type.endswith(("/json", "+json")):
        return (b"data", payload_raw) if _is_json(text) else encoded
    is_text = media_type.startswith("text/") or media_type.endswith(("/xml", "+xml", "/x-www-form-urlencoded"))
    return (b"data", _dump(text)) if is_text else encoded


def _fit_for_a_header(content_type: str) -> str:
    return content_type if _CONTENT_TYPE.fullmatch(content_type) else _FALLBACK_CONTENT_TYPE


def percent_encoded(value: str) -> str:
    """As CloudEvents' HTTP binding (3.1.3.2) puts text into a header: space, ", % and all beyond ASCII encoded."""
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in value.encode("utf-8", "replace"))


def envelope(
    event_type: str,
    event_id: str,
    occurred_at: datetime,
    payload_raw: bytes,
    *,
    content_type: str = JSON,
    severity: str | None = None,
    source: str | None = None,
    is_json: bool | None = None,
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
    return b'%s,"data":%s}' % (_dump(head)[:-1], embeddable(payload_raw, content_type, is_json=is_json))


def timestamped(event_type: str, payload_raw: bytes, content_type: str = JSON, *, is_json: bool | None = None) -> bytes:
    """S4's body, `{"event", "payload", "timestamp"}`; the timestamp is 0 until it is signed."""
    return b'{"event":%s,"payload":%s,"timestamp":0}' % (
        _dump(event_type),
        embeddable(payload_raw, content_type, is_json=is_json),
    )


def confirmation(
    shape: str, confirmation_url: str, occurred_at: datetime, *, message_id: str = "", owner: str = ""
) -> Message:
    """The message that asks a receiver to agree (T4); opening the link is agreeing.

    The raw shape has no form of its own for it, so its body is the envelope's. The others have theirs, or their
    receivers could not read or verify the one message they must not take from a stranger.
    """
    data = _dump(
        {
            "message": (
                "Someone wants to send events to this URL. To agree, open confirmation_url with GET, "
                "in a browser or by a program. If you do not expect this, do nothing."
            ),
            "confirmation_url": confirmation_url,
        }
    )
    if shape in ("envelope", "raw"):
        head = _dump({"type": CONFIRMATION_TYPE, "timestamp": rfc3339(occurred_at)})[:-1]
        data = b'%s,"data":%s}' % (head, data)
        if shape == "envelope":
            return Message(data, JSON)
    return build(
        shape,
        event_type=CONFIRMATION_TYPE,
        event_id=message_id,
        occurred_at=occurred_at,
        payload_raw=data,
        owner=owner,
    )


def embeddable(payload_raw: bytes, content_type: str = JSON, *, is_json: bool | None = None) -> bytes:
    """The payload as a JSON value: itself when it is one, else wrapped (see `envelope`)."""
    if is_json:
        return payload_raw
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
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


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
    try:
        return orjson.dumps(value)
    except TypeError:  # lone surrogates, which have no UTF-8; the bytes of all else are the same
        return _ENCODER.encode(value).encode("utf-8", "replace")
