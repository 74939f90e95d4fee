"""Opens a compressed body, once and within bounds (spec P3). Pure.

Which coding:
- gzip (RFC 1952) and zstd (RFC 8878) are recognised by their magic numbers, declared or not: no text and no JSON
  starts so.
- deflate has no magic number and must be declared. It is the zlib format (RFC 9110 section 8.4.1.2), or raw deflate,
  which many senders mean by it: a raw stream written by an encoder never starts like zlib's header.
- A body is opened once. Several codings in one header are refused, and so is what, once open, is compressed again.

Bounds. Each byte of a hostile body is looked at a fixed number of times, whatever it claims about itself:
- Output is made in pieces of 64 KB, and only counted beyond `KEPT_BYTES`: what turns out too large never was in
  memory. What fits is opened a second time then, into a buffer of its own; few bodies are so large.
- Gzip members, zstd frames (skippable ones too) and zstd blocks are counted.
- The window of zstd, which is memory that a few bytes can ask for, is bounded before anything is allocated.
"""

import io
import re
import zlib
from collections.abc import Callable, Generator, Iterator

import zstandard

GZIP_MAGIC = b"\x1f\x8b\x08"
MAX_MEMBERS = 1000  # of gzip; frames of zstd
MAX_BLOCKS = 20_000  # of zstd
MAX_WINDOW = 1 << 23  # bytes; what RFC 8878 section 3.1.1.1.2 wants every decoder to support, and no more
KEPT_BYTES = 4_000_000  # of output, before it is known how much there is

_PIECE = 16_384  # of input
_OUTPUT_PIECE = 65_536
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
_RLE_BLOCK = 1
_GZIP, _ZSTD, _DEFLATE = "gzip", "zstd", "deflate"
_CODINGS = {b"gzip": _GZIP, b"x-gzip": _GZIP, b"zstd": _ZSTD, b"deflate": _DEFLATE}  # RFC 9110 section 8.4.1

Pieces = Iterator[bytes]


class DecodeError(Exception):
    """A body that cannot be opened. ``status`` is the HTTP status for the sender."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        self.status = status
        self.code = code
        self.detail = detail
        super().__init__(detail)


def open_body(body: bytes, content_encoding: bytes | None, max_output: int) -> bytes:
    """The body as it was before compression, of at most ``max_output`` bytes.

    ``content_encoding`` is the header's value, several joined by commas. Raises ``DecodeError``: 415 for a coding
    that is not read here, 400 for a body that is not what it was declared to be, or damaged, or compressed twice, 413
    for one too large when open or made of too many parts.
    """
    declared = _declared(content_encoding) if content_encoding else None
    found = _recognised(body)
    if declared == _DEFLATE:
        if found is not None:
            raise _wrong(declared)
        found = _DEFLATE
    elif declared is not None and declared != found:
        raise _wrong(declared)
    if found is None:
        if len(body) > max_output:
            raise _too_large(max_output)
        return body
    opened = _OPENERS[found](body, max_output)
    if _recognised(opened) is not None:
        raise DecodeError(400, "encoding_nested", "The body is compressed twice. It is opened once only.")
    return opened


def is_packed(body: bytes) -> bool:
    """Whether a body says itself that it is compressed."""
    return _recognised(body) is not None


def _declared(header: bytes) -> str | None:
    named = [coding.strip(b" \t").lower() for coding in header.split(b",")]
    codings = [coding for coding in named if coding not in (b"", b"identity")]
    if not codings:
        return None
    if len(codings) > 1:
        raise DecodeError(415, "encoding_unsupported", "Content-Encoding names several codings; use one.")
    if codings[0] not in _CODINGS:
        name = re.sub(r"[^ -~]", "?", codings[0][:40].decode("latin-1"))
        detail = f'Content-Encoding "{name}" is not supported; use gzip, zstd or deflate.'
        raise DecodeError(415, "encoding_unsupported", detail)
    return _CODINGS[codings[0]]


def _recognised(body: bytes) -> str | None:
    if body.startswith(GZIP_MAGIC):
        return _GZIP
    if body.startswith(_ZSTD_MAGIC) or _SKIPPABLE.match(body):
        return _ZSTD
    return None


def _gunzip(body: bytes, max_output: int) -> bytes:
    """All members of a gzip file, one after another (RFC 1952 section 2.2)."""
    return _gathered(lambda: _members(body), max_output, KEPT_BYTES)


def _inflate(body: bytes, max_output: int) -> bytes:
    is_zlib = len(body) > 1 and body[0] & 0x0F == zlib.DEFLATED and (body[0] << 8 | body[1]) % 31 == 0
    return _gathered(lambda: _deflated(body, zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS), max_output, KEPT_BYTES)


def _unzstd(body: bytes, max_output: int) -> bytes:
    """All frames, one after another (RFC 8878 section 3.1). A window is memory too, so that the less is kept."""
    window = _check_frames(body, max_output)
    return _gathered(lambda: _frames(body), max_output, max(0, KEPT_BYTES - window))


_OPENERS: dict[str, Callable[[bytes, int], bytes]] = {_GZIP: _gunzip, _ZSTD: _unzstd, _DEFLATE: _inflate}


def _gathered(pieces: Callable[[], Pieces], max_output: int, kept: int) -> bytes:
    """What the pieces are together. They are asked for a second time where they are more than ``kept`` bytes."""
    output = io.BytesIO()  # it gives its bytes away without a copy
    size = 0
    for piece in pieces():
        size += len(piece)
        if size > max_output:
            raise _too_large(max_output)
        if size <= kept:
            output.write(piece)
        elif output.tell():
            output = io.BytesIO()
    if size > kept:
        for piece in pieces():
            output.write(piece)
    return output.getvalue()


def _members(body: bytes) -> Pieces:
    """Fed in small pieces, because zlib copies what it did not consume: that keeps time linear in the body."""
    position = members = 0
    while position < len(body):
        if members and not body[position] and not body[position:].strip(b"\x00"):
            return  # zero padding after the last member, which gzip itself ignores
        members += 1
        if members > MAX_MEMBERS:
            raise DecodeError(413, "too_many_members", f"The gzip body has more than {MAX_MEMBERS} members.")
        position = yield from _zlib_stream(body, position, 16 + zlib.MAX_WBITS, _GZIP)


def _deflated(body: bytes, wbits: int) -> Pieces:
    end = yield from _zlib_stream(body, 0, wbits, _DEFLATE)
    if end < len(body):
        raise _corrupt(_DEFLATE, "has something after its end")


def _zlib_stream(body: bytes, position: int, wbits: int, coding: str) -> Generator[bytes, None, int]:
    """One stream's output, in pieces; the value at the end is where the stream ended."""
    stream = zlib.decompressobj(wbits=wbits)
    waiting = b""
    while not stream.eof:
        if not waiting:
            waiting = body[position : position + _PIECE]
            if not waiting:
                raise _corrupt(coding, "ends too early")
            position += len(waiting)
        try:
            output = stream.decompress(waiting, _OUTPUT_PIECE)
        except zlib.error:
            raise _corrupt(coding) from None
        waiting = stream.unconsumed_tail
        if output:
            yield output
    return position - len(stream.unused_data)


def _check_frames(body: bytes, max_output: int) -> int:
    """The largest window that the frames of a zstd body ask for, once all their headers were found within bounds.

    Goes from block header to block header (RFC 8878 section 3.1.1.2) and looks at nothing between.
    """
    position = frames = blocks = largest = 0
    while position < len(body):
        frames += 1
        if frames > MAX_MEMBERS:
            raise DecodeError(413, "too_many_members", f"The zstd body has more than {MAX_MEMBERS} frames.")
        if _SKIPPABLE.match(body, position):
            position += 8 + int.from_bytes(body[position + 4 : position + 8], "little")
            if position > len(body):
                raise _corrupt(_ZSTD, "ends too early")
            continue
        position, window, has_checksum = _frame_header(body, position, max_output)
        largest = max(largest, window)
        is_last = False
        while not is_last:
            header = int.from_bytes(body[position : position + 3], "little")
            size = header >> 3
            position += 3 + (1 if header >> 1 & 3 == _RLE_BLOCK else size)
            is_last = bool(header & 1)
            if position > len(body):
                raise _corrupt(_ZSTD, "ends too early")
            blocks += 1
            if blocks > MAX_BLOCKS:
                raise DecodeError(413, "too_many_members", f"The zstd body has more than {MAX_BLOCKS} blocks.")
        position += 4 if has_checksum else 0
    if position > len(body):
        raise _corrupt(_ZSTD, "ends too early")
    return largest


def _frame_header(body: bytes, position: int, max_output: int) -> tuple[int, int, bool]:
    """Where the first block starts, the window in bytes, and whether a checksum follows the last block."""
    header = body[position : position + 18]
    try:
        frame = zstandard.get_frame_parameters(header)
        start = position + zstandard.frame_header_size(header)
    except zstandard.ZstdError:
        raise _corrupt(_ZSTD) from None
    if frame.dict_id:
        raise DecodeError(400, "encoding_unsupported", "The zstd body needs a dictionary; compress it without one.")
    if frame.content_size != zstandard.CONTENTSIZE_UNKNOWN and frame.content_size > max_output:
        raise _too_large(max_output)
    if frame.window_size > MAX_WINDOW:
        detail = f"The zstd body needs a window of {frame.window_size} bytes; at most {MAX_WINDOW} are allowed."
        raise DecodeError(413, "window_too_large", detail)
    return start, frame.window_size, frame.has_checksum


def _frames(body: bytes) -> Pieces:
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
    try:
        with decompressor.stream_reader(body, read_across_frames=True) as reader:
            while piece := reader.read(_OUTPUT_PIECE):
                yield piece
    except zstandard.ZstdError:
        raise _corrupt(_ZSTD) from None


def _wrong(coding: str) -> DecodeError:
    return DecodeError(400, "encoding_wrong", f"Content-Encoding says {coding}, but the body is not {coding}.")


def _corrupt(coding: str, how: str = "is corrupt") -> DecodeError:
    return DecodeError(400, "body_corrupt", f"The {coding} body {how}.")


def _too_large(max_output: int) -> DecodeError:
    return DecodeError(413, "body_too_large", f"The body is larger than {max_output} bytes when opened.")
