"""Divides a body into events (spec P4), and reads each one for search and rules. Pure.

Constraints first:
- ``Item.raw`` is a slice of the input, never re-serialised: 1.0 stays 1.0, keys keep their order
  and a repeated key stays repeated. It is what receivers get and signatures cover.
- ``Item.parsed`` is the optional projection for PostgreSQL's jsonb, which has limits of its own:
  no NUL, no lone surrogate, no NaN, and a short 1e131071 that becomes 128 KB. JSON that is
  beyond them is an event all the same, with ``problem`` saying why it has no projection.
  In the projection the last of repeated keys wins (as in jsonb), and fractions are doubles.
- Nothing here recurses on the sender's nesting, except the C parser, which is called only after
  a linear scan found the nesting within ``MAX_PARSE_DEPTH``.

What is one event:
- ``json``: the document. One document is the whole body byte for byte, outer whitespace included.
  Objects one after another ({"a":1}{"b":2}) are an event each.
- ``json_array``: an element. ``[]`` and ``null`` are no events.
- ``lines``: a line that is not blank, without its line ending. A line that is not JSON is plain
  text, and its projection is the text itself, as a JSON string.
- ``auto``: an array is taken as ``json_array``, any other document as ``json``, several lines that
  each are JSON as ``lines``, and text that does not start like an object or array as ``lines``.
  What starts like JSON but is not is an error rather than text: it is a sender's mistake; and XML
  is refused rather than torn into lines.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

STREAM_TYPES = ("auto", "json", "lines", "json_array")
JSON_TYPE = "application/json"
TEXT_TYPE = "text/plain; charset=utf-8"
BINARY_TYPE = "application/octet-stream"

MAX_DEPTH = 64  # of a projection
MAX_PARSE_DEPTH = 500  # of any body: half of Python's recursion limit
MAX_DIGITS = 100
MAX_EXPONENT = 308
MAX_ITEMS = 10_000
MAX_ITEM_BYTES = 1_048_576
MAX_PROJECTION_BYTES = 262_144

_BOM = "\ufeff"
_SPACE = re.compile(r"[ \t\n\r]*")
_SPACE_BYTES = b" \t\n\r"
_BLANK_LINES = re.compile(rb"[ \t\r\n]*\n")
_XML = re.compile(r"<[?!A-Za-z]")  # not the <34> that begins a syslog line
_SUSPICIOUS = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEP = [0] * 256
_STEP[ord("[")] = _STEP[ord("{")] = 1
_STEP[ord("]")] = _STEP[ord("}")] = -1


@dataclass(frozen=True, slots=True)
class Item:
    """One event. ``parsed`` is None with a ``problem``, or for a JSON null."""

    raw: bytes
    content_type: str
    parsed: object | None
    problem: str = ""


class StreamError(Exception):
    """A body that cannot be divided.

    ``status`` is the HTTP status for the sender: 400 not JSON, 413 too much, 415 XML, 422 not of
    the configured shape. ``index`` counts elements or non-blank lines from 0; None is the whole
    body.
    """

    def __init__(self, status: int, code: str, detail: str, index: int | None = None) -> None:
        self.status = status
        self.code = code
        self.detail = detail
        self.index = index
        super().__init__(detail)


@dataclass(frozen=True)
class _Limits:
    items: int
    item_bytes: int
    projection_bytes: int

    def check_count(self, count: int) -> None:
        if count > self.items:
            raise StreamError(413, "too_many_events", f"The body has more than {self.items} events.", self.items)

    def check_size(self, raw: bytes, index: int | None) -> None:
        if len(raw) > self.item_bytes:
            raise StreamError(
                413,
                "event_too_large",
                f"An event has {len(raw)} bytes; at most {self.item_bytes} are allowed.",
                index,
            )


def split(
    body: bytes,
    stream_type: str = "auto",
    *,
    max_items: int = MAX_ITEMS,
    max_item_bytes: int = MAX_ITEM_BYTES,
    max_projection_bytes: int = MAX_PROJECTION_BYTES,
) -> list[Item]:
    """The events of a body, in order. Raises ``StreamError``; ``ValueError`` for a wrong type."""
    if stream_type not in STREAM_TYPES:
        raise ValueError(f"no such stream type: {stream_type!r}")
    limits = _Limits(max_items, max_item_bytes, max_projection_bytes)
    if not body.removeprefix(_BOM.encode()).strip(_SPACE_BYTES):
        raise StreamError(400, "body_empty", "The body is empty.")
    if stream_type == "lines":
        return list(_lines(body, limits))
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise StreamError(400, "not_utf8", f"The body is not UTF-8 text (byte {error.start}).") from None
    if _deeper(body, MAX_PARSE_DEPTH):
        raise StreamError(422, "too_deep", f"The body is nested deeper than {MAX_PARSE_DEPTH} levels.")
    if stream_type == "json":
        return _documents(body, text, limits)
    if stream_type == "json_array":
        return list(_elements(body, text, limits))
    return _infer(body, text, limits)


def depth(text: bytes) -> int:
    """How deep brackets nest outside of strings. Linear, at C speed, whatever the input.

    Exact up to the first byte that is not JSON, which is as far as a parser ever gets; so it is
    never less than what the parser will see.
    """
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = b"".join(text.split(b'"')[::2]).translate(None, _NOT_BRACKETS)
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0)


def _deeper(text: bytes, limit: int) -> bool:
    """Whether brackets nest deeper than a limit; most bodies do not have that many at all."""
    return text.count(b"[") + text.count(b"{") > limit and depth(text) > limit


def _infer(body: bytes, text: str, limits: _Limits) -> list[Item]:
    start = text[_start(text) : _start(text) + 1]
    try:
        if start == "[":
            return list(_elements(body, text, limits))
        return _documents(body, text, limits, several=False)
    except StreamError as error:
        if error.status != 400:
            raise
        failure = error
    try:
        items = list(_lines(body, limits, only_json=True))
    except StreamError as error:
        if error.status != 400:
            raise
        if _XML.match(text, _start(text)):
            raise StreamError(415, "xml_unsupported", "XML is not supported.") from None
        if start not in ("{", "["):
            return list(_lines(body, limits))
        # The first line is broken too: then it was never meant as lines.
        failure = failure if error.index == 0 else error
    else:
        if len(items) > 1:
            return items
    if start == "{":
        try:
            return _documents(body, text, limits)
        except StreamError as error:
            if error.status != 400:
                raise
    raise failure


def _start(text: str) -> int:
    """Where the first value begins; a byte order mark is skipped (RFC 8259 section 8.1)."""
    found = _SPACE.match(text, 1 if text.startswith(_BOM) else 0)
    return found.end() if found else 0


def _skip_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position


def _documents(body: bytes, text: str, limits: _Limits, *, several: bool = True) -> list[Item]:
    """One document, or objects one after another."""
    reader = _Reader(limits)
    position = _start(text)
    value, end = reader.read(text, position, 0)
    after = _skip_space(text, end)
    if after == len(text):
        limits.check_size(body, None)
        return [reader.item(body, value)]
    items: list[Item] = []
    while True:
        if not several or text[position] != "{":
            raise StreamError(400, "not_json", f"Something follows the JSON (character {after}).")
        limits.check_count(len(items) + 1)
        raw = text[position:end].encode()
        limits.check_size(raw, len(items))
        items.append(reader.item(raw, value))
        position = after
        if position == len(text):
            return items
        value, end = reader.read(text, position, len(items))
        after = _skip_space(text, end)


def _elements(body: bytes, text: str, limits: _Limits) -> Iterator[Item]:
    """The elements of the top-level array, one read at a time, so that the count bounds memory."""
    position = _start(text)
    if text[position : position + 1] != "[":
        _Reader(limits).read(text, position, None)
        if text.strip(" \t\n\r") == "null":
            return
        raise StreamError(422, "not_an_array", "The body is not a JSON array.")
    reader = _Reader(limits)
    index = 0
    position = _skip_space(text, position + 1)
    if text[position : position + 1] != "]":
        while True:
            limits.check_count(index + 1)
            value, end = reader.read(text, position, index)
            raw = text[position:end].encode()
            limits.check_size(raw, index)
            yield reader.item(raw, value)
            position = _skip_space(text, end)
            separator = text[position : position + 1]
            if separator == "]":
                break
            if separator != ",":
                raise StreamError(400, "not_json", f"A comma or ] is missing (character {position}).", index)
            position = _skip_space(text, position + 1)
            index += 1
    after = _skip_space(text, position + 1)
    if after != len(text):
        raise StreamError(400, "not_json", f"Something follows the array (character {after}).")


def _lines(body: bytes, limits: _Limits, *, only_json: bool = False) -> Iterator[Item]:
    reader = _Reader(limits)
    index = 0
    if body.startswith(_BOM.encode()):
        body = body[3:]
    for ended in _each_line(body):
        line = ended.rstrip(b"\r")
        if not line.strip(_SPACE_BYTES):
            continue
        limits.check_count(index + 1)
        limits.check_size(line, index)
        yield _line(line, reader, index, only_json=only_json)
        index += 1


def _each_line(body: bytes) -> Iterator[bytes]:
    """Lines one by one, runs of blank ones skipped at once: a megabyte of line feeds is cheap."""
    position = 0
    while position < len(body):
        blank = _BLANK_LINES.match(body, position)
        if blank:
            position = blank.end()
        end = body.find(b"\n", position)
        end = len(body) if end < 0 else end
        yield body[position:end]
        position = end + 1


def _line(line: bytes, reader: "_Reader", index: int, *, only_json: bool) -> Item:
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return Item(line, BINARY_TYPE, None, "The line is not UTF-8 text.")
    try:
        if _deeper(line, MAX_PARSE_DEPTH):
            raise StreamError(400, "too_deep", "The line is nested too deep.", index)
        value, end = reader.read(text, _skip_space(text, 0), index)
        if _skip_space(text, end) != len(text):
            raise StreamError(400, "not_json", f"Something follows the JSON in line {index}.", index)
        return reader.item(line, value)
    except StreamError:
        if only_json:
            raise
    problem = ""
    if "\x00" in text:
        problem = "The text contains NUL."
    elif len(line) > reader.limits.projection_bytes:
        problem = reader.too_large()
    return Item(line, TEXT_TYPE, None if problem else text, problem)


class _Reader:
    """Reads JSON values, and notes what keeps the latest one from being projected.

    The hooks note and go on instead of raising: the end of the value must be found anyway.
    """

    def __init__(self, limits: _Limits) -> None:
        self.limits = limits
        self._problem = ""
        self._growth = 0
        self._decoder = json.JSONDecoder(
            parse_int=self._integer, parse_float=self._fraction, parse_constant=self._constant
        )

    def read(self, text: str, position: int, index: int | None) -> tuple[object, int]:
        """The value at a position and where it ends. Depth must have been checked before."""
        self._problem = ""
        self._growth = 0
        try:
            value, end = self._decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise StreamError(
                400,
                "not_json",
                f"The body is not JSON: {error.msg} (character {error.pos}).",
                index,
            ) from None
        except RecursionError:  # the caller's own stack was deep already
            raise StreamError(422, "too_deep", "The body is nested too deep.", index) from None
        return value, end

    def item(self, raw: bytes, value: object) -> Item:
        """The event for the value that was read last."""
        problem = self._problem or self._unprojectable(raw, value)
        return Item(raw, JSON_TYPE, None if problem else value, problem)

    def too_large(self) -> str:
        return f"The event is larger than the {self.limits.projection_bytes} bytes kept for search."

    def _unprojectable(self, raw: bytes, value: object) -> str:
        if len(raw) + self._growth > self.limits.projection_bytes:
            return self.too_large()
        if _deeper(raw, MAX_DEPTH):
            return f"The JSON is nested deeper than {MAX_DEPTH} levels."
        # Only an escape can bring these in: as raw bytes neither JSON nor UTF-8 allows them.
        if b"\\u" in raw and _SUSPICIOUS.search(raw.decode()) and _unstorable(value):
            return "The JSON contains text that cannot be stored: NUL or half a surrogate pair."
        return ""

    def _integer(self, digits: str) -> int:
        if len(digits) > MAX_DIGITS + digits.startswith("-"):
            self._problem = f"The JSON contains a number of more than {MAX_DIGITS} digits."
            return 0
        return int(digits)

    def _fraction(self, digits: str) -> float:
        mantissa, _, exponent = digits.lower().partition("e")
        if len(mantissa) - mantissa.startswith("-") - ("." in mantissa) > MAX_DIGITS:
            self._problem = f"The JSON contains a number of more than {MAX_DIGITS} digits."
            return 0.0
        power = exponent.lstrip("+-").lstrip("0")
        value = float(digits)
        if len(power) > 3 or (power and int(power) > MAX_EXPONENT) or value in _INFINITE:
            self._problem = f"The JSON contains a number beyond 1e{MAX_EXPONENT}."
            return 0.0
        if power:
            self._growth += int(power)  # jsonb writes numbers out in full
        return value

    def _constant(self, name: str) -> None:
        self._problem = f"The body contains {name}, which is not JSON."


_INFINITE = (float("inf"), float("-inf"))


def _unstorable(value: object) -> bool:
    """Whether any text in a value, keys included, is beyond jsonb. Iterative."""
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, str):
            if _UNSTORABLE.search(one):
                return True
        elif isinstance(one, list):
            pending.extend(one)
        elif isinstance(one, dict):
            pending.extend(one)
            pending.extend(one.values())
    return False
