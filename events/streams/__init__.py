"""Divides a body into events (spec P4), and reads each one for search and rules. Pure.

Constraints first:
- ``Item.raw`` is a slice of the input, never re-serialised: 1.0 stays 1.0, keys keep their order and a repeated key
  stays repeated. It is what receivers get and signatures cover. (The one exception is JSON inside a form, whose
  percent-encoding is taken off.)
- ``Item.parsed`` is the optional projection for PostgreSQL's jsonb, which has limits of its own: no NUL, no lone
  surrogate, no NaN, and a short 1e131071 that becomes 128 KB. JSON that is beyond them is an event all the same, with
  ``problem`` saying why it has no projection. In the projection the last of repeated keys wins (as in jsonb), and
  fractions are doubles.
- Nothing here recurses on the sender's nesting, except the C parser, which is called only where a linear scan found the
  nesting within ``MAX_PARSE_DEPTH``.
- A body is divided whole or not at all. What is wrong with one event is said with its index.

What is one event:
- ``json``: the document. One document is the whole body byte for byte, outer whitespace included. Objects one after
  another ({"a":1}{"b":2}) are an event each.
- ``json_array``: an element of the body, or of the array at ``envelope``. ``[]`` and ``null`` are no events.
- ``lines``: a line that is not blank, without its line ending. A line that is not JSON is plain text, and its
  projection is the text itself, as a JSON string.
- ``xml``: the document, or each element called ``xml_root`` (`events.streams.xml` has the JSON form).
- ``auto``: the first of these rules that fits.
  1. Declared a form and written like one: JSON in a field ``payload`` is divided by the rules below, another form is
     one event. (Of the fixed types, ``json`` and ``json_array`` read ``payload`` too.)
  2. Starts with ``[`` and is an array: ``json_array``.   3. Is one JSON document: ``json``.
  4. Several lines that each are JSON: ``lines``.         5. Starts with ``{``, objects one after another: ``json``.
  6. Starts with ``<`` and a letter, ``?`` or ``!``: ``xml``.
  7. Starts with anything but ``{`` and ``[``: ``lines``.
  What starts like JSON or XML but is not is an error rather than text: it is a sender's mistake.
"""

import re

from events.streams import documents, forms, lines, xml
from events.streams.items import (
    BINARY_TYPE,
    FORM_TYPE,
    JSON_TYPE,
    MAX_DEPTH,
    MAX_ITEM_BYTES,
    MAX_ITEMS,
    MAX_PARSE_DEPTH,
    MAX_PROJECTION_BYTES,
    TEXT_TYPE,
    XML_TYPE,
    Item,
    Limits,
    StreamError,
)
from events.streams.reading import BOM, SPACE, depth, first_value

STREAM_TYPES = ("auto", "json", "lines", "json_array", "xml")
LIMITS = Limits()

__all__ = [
    "BINARY_TYPE",
    "FORM_TYPE",
    "JSON_TYPE",
    "LIMITS",
    "MAX_DEPTH",
    "MAX_ITEMS",
    "MAX_ITEM_BYTES",
    "MAX_PARSE_DEPTH",
    "MAX_PROJECTION_BYTES",
    "STREAM_TYPES",
    "TEXT_TYPE",
    "XML_TYPE",
    "Item",
    "Limits",
    "StreamError",
    "depth",
    "split",
]

_XML = re.compile(r"<[?!A-Za-z_:]")  # not the <34> that begins a syslog line
_WITH_FORMS = ("auto", "json", "json_array")


def split(
    body: bytes,
    stream_type: str = "auto",
    *,
    envelope: str = "",
    xml_root: str = "",
    content_type: bytes = b"",
    limits: Limits = LIMITS,
) -> list[Item]:
    """The events of a body, in order. Raises ``StreamError``; ``ValueError`` for a wrong stream type.

    ``envelope`` is the path to the array of a ``json_array``: keys and indexes joined by dots. ``xml_root`` names the
    elements of ``xml`` that are events. ``content_type`` is the header's value; it matters for forms only.
    """
    if stream_type not in STREAM_TYPES:
        raise ValueError(f"no such stream type: {stream_type!r}")
    if (stream_type == "auto" and body.startswith(b"{")) or stream_type == "json":
        item = documents.plain_document(body, limits)
        if item is not None:
            return [item]
    if not body.removeprefix(BOM.encode()).strip(SPACE.encode()):
        raise StreamError(400, "body_empty", "The body is empty.")
    if stream_type == "lines":
        return lines.lines(body, limits)
    if content_type and stream_type in _WITH_FORMS and forms.is_form(body, content_type):
        fields = forms.fields_of(body)
        payload = forms.payload_of(fields)
        if payload is not None:
            return split(payload, stream_type, envelope=envelope, limits=limits)
        if stream_type == "auto":
            return [forms.form_event(body, fields, limits)]
    text = _text(body)
    if stream_type == "json":
        return documents.documents(body, text, limits)
    if stream_type == "json_array":
        return documents.elements(body, text, limits, envelope)
    if stream_type == "xml":
        return xml.documents(body, limits, xml_root)
    return _infer(body, text, limits, xml_root)


def _text(body: bytes) -> str:
    wide = _wide(body)
    if wide:
        raise StreamError(400, "not_utf8", f"The body is {wide}. Send it as UTF-8.")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise StreamError(400, "not_utf8", f"The body is not UTF-8 text (byte {error.start}).") from None


def _wide(body: bytes) -> str:
    """UTF-16 or UTF-32 where the body is that, by its byte order mark or by the zeros of its first character: ASCII, in
    all JSON and XML.
    """
    if body.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        return "UTF-32"
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16"
    if 0 not in body[:2]:
        return ""
    return "UTF-32" if body[1:3] == b"\x00\x00" else "UTF-16"


def _infer(body: bytes, text: str, limits: Limits, xml_root: str) -> list[Item]:
    start = text[first_value(text) : first_value(text) + 1]
    if start == "<" and _XML.match(text, first_value(text)):
        return xml.documents(body, limits, xml_root)
    if start == "{" and lines.begins_with_a_document(text):
        try:
            return lines.lines(body, limits, only_json=True)
        except StreamError as error:
            if error.status != 400:
                raise
    try:
        if start == "[":
            return documents.elements(body, text, limits)
        return documents.documents(body, text, limits, several=False)
    except StreamError as error:
        if error.status != 400:
            raise
        failure = error
    try:
        items = lines.lines(body, limits, only_json=True)
    except StreamError as error:
        if error.status != 400:
            raise
        if start not in ("{", "["):
            return lines.lines(body, limits)
        # The first line is broken too: then it was never meant as lines.
        failure = failure if error.index == 0 else error
    else:
        if len(items) > 1:
            return items
    if start == "{":
        try:
            return documents.documents(body, text, limits)
        except StreamError as error:
            if error.status != 400:
                raise
    raise failure
