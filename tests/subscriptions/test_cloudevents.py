"""CloudEvents 1.0, judged by the project's own library for JavaScript."""

import base64
import json
from datetime import UTC, datetime

import pytest

from subscriptions.messages import CONFIRMATION_TYPE, build, confirmation, percent_encoded
from tests import vendors

AT = datetime(2025, 3, 1, 12, 30, 0, 250_000, tzinfo=UTC)
SOURCE = "0195512d-0000-7000-8000-000000000001"
OWNER = "0195512d-0000-7000-8000-00000000000f"
STRUCTURED, BINARY = "cloudevents", "cloudevents_binary"


def event(shape, payload=b'{"a": 1.0}', content_type="application/json", **more):
    fields = {"event_type": "user.created", "severity": "high", "source": SOURCE, "owner": OWNER} | more
    return build(shape, event_id="evt-1", occurred_at=AT, payload_raw=payload, content_type=content_type, **fields)


def document(payload, content_type):
    return json.loads(event(STRUCTURED, payload, content_type).body)


def judged(*messages):
    """What the library makes of them, `data` included; raises where it refuses one."""
    posts = [({"Content-Type": one.content_type, **dict(one.headers)}, one.body) for one in messages]
    found = vendors.answers("cloudevents", "", posts)
    assert [status for status, _ in found] == [200] * len(messages), found
    return [json.loads(said) for _, said in found]


def test_the_library_reads_the_same_from_both_modes():
    ours, theirs = judged(event(STRUCTURED), event(BINARY))
    expected = {
        "specversion": "1.0",
        "id": "evt-1",
        "source": f"urn:uuid:{SOURCE}",
        "type": "user.created",
        "time": "2025-03-01T12:30:00.250Z",
        "datacontenttype": "application/json",
        "severity": "high",
        "data": {"a": 1},
    }
    for said in (ours, theirs):
        assert {**said, "time": said["time"][:23] + "Z"} == expected


def test_the_library_decodes_what_is_no_text():
    (said,) = judged(event(STRUCTURED, b"\x00\xff", "image/png"))
    assert base64.b64decode(said["data_base64"]) == b"\x00\xff"


@pytest.mark.parametrize("shape", [STRUCTURED, BINARY])
def test_the_library_reads_a_confirmation(shape):
    message = confirmation(shape, "https://portal.example.com/confirm/x", AT, message_id="n-1", owner=OWNER)
    (said,) = judged(message)
    assert (said["id"], said["type"], said["source"]) == ("n-1", CONFIRMATION_TYPE, f"urn:uuid:{OWNER}")
    assert said["data"]["confirmation_url"] == "https://portal.example.com/confirm/x"


@pytest.mark.parametrize(
    "payload", [b'{ "a" : 1.0,\n "a": 1e400, "b": "\\u00e9" }\n', b"[1, 2]", b"null", '"ü"'.encode()]
)
@pytest.mark.parametrize("content_type", ["application/json", "application/vnd.acme+json; charset=utf-8", "Text/JSON"])
def test_json_is_spliced_in_byte_by_byte(payload, content_type):
    message = event(STRUCTURED, payload, content_type)
    assert message.content_type == "application/cloudevents+json"
    assert message.body.endswith(b',"data":' + payload + b"}")
    assert json.loads(message.body)["datacontenttype"] == content_type


@pytest.mark.parametrize(
    "content_type", ["text/plain", "text/csv; charset=UTF-8", "application/soap+xml", "application/xml"]
)
def test_text_is_a_string(content_type):
    found = document("a,ü\r\n".encode(), content_type)
    assert (found["data"], found["datacontenttype"]) == ("a,ü\r\n", content_type)
    assert "data_base64" not in found


@pytest.mark.parametrize(
    ("payload", "content_type"),
    [
        (b"\xff\xfe", "text/plain"),
        (b"abc", "text/plain; charset=iso-8859-1"),
        (b'{"a":1}', "application/octet-stream"),
        (b"{", "application/json"),
        (b"\xef\xbb\xbf{}", "application/json"),
        ('{"a":1}'.encode("utf-16"), "application/json; charset=utf-16"),
        (b"a\x00b", "image/png"),
    ],
)
def test_what_might_not_come_out_as_it_went_in_is_base64(payload, content_type):
    found = document(payload, content_type)
    assert base64.b64decode(found["data_base64"]) == payload
    assert "data" not in found


@pytest.mark.parametrize("payload", [b'{ "a": 1 }\n', b"\x00\xff", b""])
def test_in_binary_mode_the_body_is_what_was_received(payload):
    message = event(BINARY, payload, "application/vnd.acme; v=1")
    assert (message.body, message.content_type) == (payload, "application/vnd.acme; v=1")
    assert dict(message.headers) == {
        "ce-specversion": "1.0",
        "ce-id": "evt-1",
        "ce-source": f"urn:uuid:{SOURCE}",
        "ce-type": "user.created",
        "ce-time": "2025-03-01T12:30:00.250000Z",
        "ce-severity": "high",
    }


@pytest.mark.parametrize(
    ("value", "header"),
    [
        ("Euro € 😀", "Euro%20%E2%82%AC%20%F0%9F%98%80"),  # the binding's own example, 3.1.3.2
        ('say "hi"', "say%20%22hi%22"),
        ("100%", "100%25"),
        ("a\r\nb", "a%0D%0Ab"),
        ("~!#$&'()*+,/:;=?@[]", "~!#$&'()*+,/:;=?@[]"),
    ],
)
def test_headers_are_percent_encoded_as_the_http_binding_says(value, header):
    assert percent_encoded(value) == header


def test_a_type_beyond_ascii_travels_in_ascii():
    message = event(BINARY, event_type="größe.geändert 100%")
    assert all(name.isascii() and value.isascii() for name, value in message.headers)
    assert dict(message.headers)["ce-type"] == "gr%C3%B6%C3%9Fe.ge%C3%A4ndert%20100%25"


def test_without_a_source_the_owner_stands_for_it_and_a_severity_is_optional():
    found = json.loads(event(STRUCTURED, source=None, severity=None).body)
    assert found["source"] == f"urn:uuid:{OWNER}"
    assert "severity" not in found
    assert "ce-severity" not in dict(event(BINARY, severity=None).headers)


def test_a_content_type_that_no_header_can_carry_is_octets():
    assert document(b"{}", "a\r\nb")["datacontenttype"] == "application/octet-stream"
    assert event(BINARY, b"{}", "a\r\nb").content_type == "application/octet-stream"
