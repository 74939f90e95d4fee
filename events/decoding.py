"""Opens a compressed body, within bounds (spec P3). Pure.

For now identity and gzip; deflate and zstd are refused as 415. Gzip is recognised by its magic
number (RFC 1952 section 2.3.1) whether or not it was declared: no text and no JSON starts so.
"""

import re
import zlib

GZIP_MAGIC = b"\x1f\x8b\x08"
MAX_MEMBERS = 1000
_CHUNK = 16_384
_NO_CODING = frozenset((b"", b"identity"))
_GZIP = frozenset((b"gzip", b"x-gzip"))  # RFC 9110 section 8.4.1.3 makes them equal


class DecodeError(Exception):
    """A body that cannot be opened. ``status`` is the HTTP status for the sender."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        self.status = status
        self.code = code
        self.detail = detail
        super().__init__(detail)


def open_body(body: bytes, content_encoding: bytes | None, max_output: int) -> bytes:
    """The body as it was before compression, of at most ``max_output`` bytes.

    ``content_encoding`` is the header's value. Raises ``DecodeError``: 415 for a coding that is
    not read here, 400 for a body that is not what it was declared to be, 413 for one too large.
    """
    coding = (content_encoding or b"").strip(b" \t").lower()
    if coding not in _NO_CODING and coding not in _GZIP:
        name = re.sub(r"[^ -~]", "?", coding[:40].decode("latin-1"))
        raise DecodeError(415, "encoding_unsupported", f'Content-Encoding "{name}" is not supported; use gzip.')
    if body.startswith(GZIP_MAGIC):
        return _gunzip(body, max_output)
    if coding in _GZIP:
        raise DecodeError(400, "encoding_wrong", "Content-Encoding says gzip, but the body is not gzip.")
    if len(body) > max_output:
        raise _too_large(max_output)
    return body


def _gunzip(body: bytes, max_output: int) -> bytes:
    """All members of a gzip file, one after another (RFC 1952 section 2.2).

    Fed in small pieces, because zlib copies what it did not consume; so that time stays linear
    in the body however many members it has, and memory stays within ``max_output``.
    """
    output = bytearray()
    position = members = 0
    while position < len(body):
        if members and not body[position:].strip(b"\x00"):
            break  # zero padding after the last member, which gzip itself ignores
        members += 1
        if members > MAX_MEMBERS:
            raise DecodeError(413, "too_many_members", f"The gzip body has more than {MAX_MEMBERS} members.")
        position = _member(body, position, output, max_output)
    return bytes(output)


def _member(body: bytes, position: int, output: bytearray, max_output: int) -> int:
    """Appends one member to ``output``; returns where the next one starts."""
    stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    while not stream.eof:
        piece = body[position : position + _CHUNK]
        if not piece:
            raise DecodeError(400, "body_corrupt", "The gzip body ends too early.")
        position += len(piece)
        try:
            # One byte more than allowed tells "full" from "too large"; 0 would mean no limit.
            output += stream.decompress(piece, max_output - len(output) + 1)
        except zlib.error:
            raise DecodeError(400, "body_corrupt", "The gzip body is corrupt.") from None
        if len(output) > max_output:
            raise _too_large(max_output)
    return position - len(stream.unused_data)


def _too_large(max_output: int) -> DecodeError:
    return DecodeError(413, "body_too_large", f"The body is larger than {max_output} bytes when opened.")
