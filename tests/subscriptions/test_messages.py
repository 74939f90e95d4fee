"""The bytes of a message."""

import base64
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from subscriptions.messages import SHAPES, build, confirmation, envelope, rfc3339, timestamped
from subscriptions.signing import SCHEMES

AT = datetime(2025, 3, 1, 12, 30, 0, 250_000, tzinfo=UTC)


def wrap(payload, content_type="application/json"):
    return envelope(
        "user.created",
        "evt_1",
        AT,
        payload,
        content_type=content_type,
        severity="high",
        source="github",
    )


def test_the_envelope_names_the_event_and_carries_its_data():
    assert wrap(b'{"a":1}') == (
        b'{"id":"evt_1","type":"user.created","timestamp":"2025-03-01T12:30:00.250000Z",'
        b'"severity":"high","source":"github","data":{"a":1}}'
    )


def test_an_envelope_without_severity_and_source_says_null():
    content = json.loads(envelope("a", "1", AT, b"{}"))
    assert (content["severity"], content["source"]) == (None, None)


@pytest.mark.parametrize(
    "payload",
    [
        b'{ "a" : 1.0,\n "a": 1e400, "b": "\\u00e9" }\n',
        b"[1, 2]",
        b'"text"',
        b"12",
        b"null",
        b"1" * 10_000,
        '{"ü": "😀"}'.encode(),
        b'{"lone": "\\ud800"}',
    ],
)
def test_json_is_spliced_in_byte_by_byte(payload):
    assert wrap(payload).endswith(b',"data":' + payload + b"}")
    assert timestamped("a", payload) == b'{"event":"a","payload":' + payload + b',"timestamp":0}'


@pytest.mark.parametrize(
    "payload",
    [
        b"plain text",
        b"",
        b"<a>&</a>",
        b"{",
        b'{"a":1}{"b":2}',
        b"NaN",
        b'{"a": Infinity}',
        b"\xef\xbb\xbf{}",
        b'"\x01"',
        b"[" * 100_000 + b"]" * 100_000,
        b'{},"type":"forged"',
        b"line 1\nline 2",
    ],
)
def test_what_is_not_json_travels_as_text(payload):
    content = json.loads(wrap(payload, "text/plain"))
    assert content["data"] == {"content_type": "text/plain", "text": payload.decode()}
    assert content["type"] == "user.created"


@pytest.mark.parametrize("payload", [b"\xff\xfe\x00", '{"a":1}'.encode("utf-16"), b'{"a":"\xff"}'])
def test_what_is_not_text_travels_as_base64(payload):
    data = json.loads(wrap(payload, "image/png"))["data"]
    assert data.keys() == {"content_type", "data_base64"}
    assert base64.b64decode(data["data_base64"]) == payload


@pytest.mark.spec("S4")
def test_the_timestamped_shape_has_event_payload_and_timestamp():
    content = json.loads(timestamped("user.created", b'{"a":1}'))
    assert content == {"event": "user.created", "payload": {"a": 1}, "timestamp": 0}


@pytest.mark.parametrize("payload", [b'{ "a": 1 }\n', b"\x00\xff", b""])
def test_raw_is_what_was_received(payload):
    message = build(
        "raw",
        event_type="a",
        event_id="1",
        occurred_at=AT,
        payload_raw=payload,
        content_type="application/cloudevents+json; charset=utf-8",
    )
    assert message.body == payload
    assert message.content_type == "application/cloudevents+json; charset=utf-8"


@pytest.mark.parametrize("content_type", ["", "a\r\nb: c", "text/plain; a=é", "x" * 300])
def test_raw_does_not_pass_on_a_content_type_that_no_header_can_carry(content_type):
    message = build(
        "raw",
        event_type="a",
        event_id="1",
        occurred_at=AT,
        payload_raw=b"",
        content_type=content_type,
    )
    assert message.content_type == "application/octet-stream"


@pytest.mark.parametrize("shape", ["envelope", "timestamped"])
def test_the_other_shapes_are_json(shape):
    message = build(
        shape,
        event_type="a",
        event_id="1",
        occurred_at=AT,
        payload_raw=b"x",
        content_type="text/plain",
    )
    assert message.content_type == "application/json"
    json.loads(message.body)


@pytest.mark.parametrize(
    ("event_type", "shown"), [("user.created", "user.created"), ('a "b"%ü', "a%20%22b%22%25%C3%BC")]
)
def test_raw_names_the_event_in_headers(event_type, shown):
    message = build("raw", event_type=event_type, event_id="evt_1", occurred_at=AT, payload_raw=b"")
    assert message.headers == (("X-Portal-Event-Id", "evt_1"), ("X-Portal-Event-Type", shown))


def test_every_scheme_signs_known_shapes_and_every_shape_has_a_scheme():
    assert {shape for scheme in SCHEMES.values() for shape in scheme.shapes} == set(SHAPES)


def test_an_unknown_shape_is_refused():
    with pytest.raises(ValueError, match="no message shape"):
        build("round", event_type="a", event_id="1", occurred_at=AT, payload_raw=b"")


@pytest.mark.spec("T4")
@pytest.mark.parametrize("shape", ["envelope", "raw"])
def test_a_confirmation_carries_its_link(shape):
    content = json.loads(confirmation(shape, "https://portal.example.com/confirm/x", AT).body)
    assert content.keys() == {"type", "timestamp", "data"}
    assert content["type"] == "portal.subscription.confirmation"
    assert content["timestamp"] == "2025-03-01T12:30:00.250000Z"
    assert content["data"]["confirmation_url"] == "https://portal.example.com/confirm/x"
    assert "agree" in content["data"]["message"]


@pytest.mark.spec("T4")
def test_a_confirmation_in_the_timestamped_shape_can_be_signed_like_the_rest():
    body = confirmation("timestamped", "https://portal.example.com/confirm/x", AT).body
    content = json.loads(body)
    assert content["event"] == "portal.subscription.confirmation"
    assert content["payload"]["confirmation_url"] == "https://portal.example.com/confirm/x"
    assert body.endswith(b',"timestamp":0}')


def test_times_are_utc():
    assert rfc3339(AT.astimezone(timezone(timedelta(hours=5)))) == "2025-03-01T12:30:00.250000Z"


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="time zone"):
        rfc3339(AT.replace(tzinfo=None))


def test_a_message_does_not_show_its_body():
    message = confirmation("envelope", "https://portal.example.com/confirm/t0ken", AT)
    assert "t0ken" not in repr(message)
