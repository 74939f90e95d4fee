"""The fields of a request's head, read faster than gunicorn's parser in Python does, with the same result.

It takes a head line by line and looks at every byte of every name and value in a loop, which for a signature alone
takes longer than to check what was signed. Here a head that is there as a whole is taken apart at C speed, and what
most requests of a sender repeat is read once. Whatever is not perfectly usual is left to gunicorn, untouched: it alone
says what is wrong with a request (tests/config/test_header_fields.py holds both against each other).
"""

import re

from gunicorn.asgi.parser import DEFAULT_MAX_FIELD_LINE, PythonProtocol

REMEMBERED = 1024  # fields, and none longer than
REMEMBERED_BYTES = 64  # which signatures are: they would only push the others out

# RFC 9110 sections 5.1, 5.5 and 5.6.2; no white space before the colon (RFC 9112 section 5.1).
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([^\x00-\x08\x0a-\x1f\x7f]*)")

gunicorns = PythonProtocol._parse_headers
_known: dict[bytes, tuple[bytes, bytes]] = {}


def parse_headers(parser: PythonProtocol) -> bool:
    """In place of the parser's own method. Whether the head is whole."""
    buffer = parser._buffer
    # A head that is no longer than one field may be has no field that is too long.
    end = buffer.find(b"\r\n\r\n", 0, parser._limit_request_field_size or DEFAULT_MAX_FIELD_LINE)
    if end < 0 or parser._on_header:
        return gunicorns(parser)
    fields = []
    for line in bytes(buffer[:end]).split(b"\r\n"):
        field = _known.get(line) or _read(line)
        if field is None:
            return gunicorns(parser)
        fields.append(field)
    if 0 < parser._limit_request_fields < parser._header_count + len(fields):
        return gunicorns(parser)
    del buffer[: end + 4]
    parser._scan_from = 0
    parser._header_count += len(fields)
    parser._headers_list += fields
    parser._finalize_headers()
    return True


def install() -> None:
    """A subclass would not do: gunicorn asks for the very class in places."""
    PythonProtocol._parse_headers = parse_headers


def _read(line: bytes) -> tuple[bytes, bytes] | None:
    """(lowercased name, value), or None for what is no field."""
    found = _FIELD.fullmatch(line)
    if found is None:
        return None
    field = found[1].lower(), found[2].strip(b" \t")
    if len(line) <= REMEMBERED_BYTES:
        if len(_known) >= REMEMBERED:
            _known.clear()
        _known[line] = field
    return field
