"""How a body is shown to a person: JSON indented, other text as it is, anything else as a hexdump.
Pure, bounded.

JSON is re-indented as text rather than parsed and printed: the page then shows what was sent,
digit for digit, with its duplicate keys and its 1e131071 (which Python would print as Infinity).
"""

import json
import re
from typing import NamedTuple

SHOWN_BYTES = 64 * 1024
HEXDUMP_BYTES = 4 * 1024

_LEXEME = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class Shown(NamedTuple):
    """`kind` is json, text, binary or empty; `size` the whole body in bytes; `truncated` when
    `text` is only a part.
    """

    kind: str
    text: str
    size: int
    truncated: bool


def reindent(text: str, limit: int = SHOWN_BYTES) -> tuple[str, bool]:
    """Valid JSON `text` with two-space indentation, its tokens unchanged; stops after `limit`
    characters.

    Returns the text and whether it was cut. Indentation stops growing at 32 levels.
    """
    out: list[str] = []
    depth = used = 0
    previous = ""
    for match in _LEXEME.finditer(text):
        lexeme = match.group()
        if lexeme in "}]":
            depth -= 1
        opened = previous in ("{", "[")
        if lexeme in "}]":
            piece = lexeme if opened else "\n" + "  " * min(depth, 32) + lexeme
        elif opened or previous == ",":
            piece = "\n" + "  " * min(depth, 32) + lexeme
        elif previous == ":":
            piece = " " + lexeme
        else:
            piece = lexeme
        if lexeme in "{[":
            depth += 1
        previous = lexeme
        used += len(piece)
        if used > limit:
            out.append(piece[: max(0, limit - used + len(piece))])
            return "".join(out), True
        out.append(piece)
    return "".join(out), False


def hexdump(data: bytes) -> str:
    """Sixteen bytes a line: offset, hexadecimal in two groups of eight, printable ASCII."""
    lines = []
    for offset in range(0, len(data), 16):
        part = data[offset : offset + 16]
        digits = f"{part[:8].hex(' '):<23}  {part[8:].hex(' '):<23}"
        printable = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{offset:08x}  {digits}  |{printable}|")
    return "\n".join(lines)


def present(body: object) -> Shown:
    """What to show of `body`: the bytes as received, a str, or an already parsed JSON value."""
    if body is None or body == b"" or body == "":
        return Shown("empty", "", 0, False)
    if isinstance(body, memoryview | bytearray):
        body = bytes(body)
    if isinstance(body, bytes):
        return _bytes(body)
    if isinstance(body, str):
        return _bytes(body.encode("utf-8", "backslashreplace"))
    text = json.dumps(body, ensure_ascii=False, default=str)
    data = text.encode("utf-8", "backslashreplace")
    pretty, cut = reindent(data.decode())
    return Shown("json", pretty, len(data), cut)


def _bytes(body: bytes) -> Shown:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = None
    if text is None or _UNPRINTABLE.search(text):
        return Shown("binary", hexdump(body[:HEXDUMP_BYTES]), len(body), len(body) > HEXDUMP_BYTES)
    if _is_json(text):
        pretty, cut = reindent(text)
        return Shown("json", pretty, len(body), cut)
    return Shown("text", text[:SHOWN_BYTES], len(body), len(text) > SHOWN_BYTES)


def _is_json(text: str) -> bool:
    """Only objects and arrays count, and numbers stay text: a 5,000-digit integer is not an error
    here.
    """
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return False
    return True
