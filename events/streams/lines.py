"""Lines, each of them an event, JSON or not. Pure."""

import re
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import repeat

import orjson

from events.streams.items import BINARY_TYPE, JSON_TYPE, MAX_DEPTH, TEXT_TYPE, Item, Limits, StreamError
from events.streams.reading import (
    BOM,
    SPACE,
    Careful,
    check_depth,
    flattened,
    read_alone,
    read_quickly,
    skip_space,
    tame,
)

_SPACE_BYTES = SPACE.encode()
_BLANK_LINES = re.compile(rb"[ \t\r\n]*\n")


def lines(body: bytes, limits: Limits, *, only_json: bool = False) -> list[Item]:
    """An event for each line that is not blank, without its line ending.

    With ``only_json`` a line that is not JSON is an error, else it is text.
    """
    body = body.removeprefix(BOM.encode())
    flat = flattened(body)
    is_tame = tame(body, flat)
    if is_tame and (alike := _all_plain(body, flat, limits)) is not None:
        return alike
    plain_bytes = min(limits.projection_bytes, limits.item_bytes)
    careful = Careful(limits)
    items: list[Item] = []
    for ended in _each(body, limits):
        item = _plain(ended, plain_bytes, is_tame=is_tame)
        if item is None:
            line = ended.rstrip(b"\r")
            if not line.strip(_SPACE_BYTES):
                continue
            limits.check_size(line, len(items))
            item = _plain(line, plain_bytes, is_tame=tame(line, flattened(line))) or _careful(
                line, careful, len(items), only_json=only_json
            )
        items.append(item)
        if len(items) > limits.items:
            limits.check_count(len(items))
    return items


def _all_plain(body: bytes, flat: bytes, limits: Limits) -> list[Item] | None:
    """The events of a tame body whose lines are all plain, at C speed; None where one of them needs a closer look."""
    each = body.removesuffix(b"\n").split(b"\n")
    if len(each) > limits.items or max(map(len, each)) > min(limits.projection_bytes, limits.item_bytes):
        return None
    if b"\r" in body or max(map(bytes.count, flat.split(b"\n"), repeat(b"["))) > MAX_DEPTH:
        return None
    try:
        values = list(map(orjson.loads, each))
    except ValueError:  # or an empty line
        return None
    if None in values:
        return None
    fields = zip(each, repeat(JSON_TYPE), values, repeat(""), repeat(True))
    return list(map(partial(tuple.__new__, Item), fields))  # a third of the time of calling Item


def begins_with_a_document(text: str) -> bool:
    """Whether the first line is a document of its own and more follows: then the body is worth trying as lines."""
    line, _, rest = text.partition("\n")
    if not rest or line.count("{") + line.count("[") > MAX_DEPTH:
        return False
    try:
        _, end = read_quickly(line, skip_space(line, 0))
    except (ValueError, RecursionError):
        return False
    return not line[end:].strip(SPACE) and not rest.isspace()


def _each(body: bytes, limits: Limits) -> Iterable[bytes]:
    """The lines, some blank ones left out."""
    return body.split(b"\n") if body.count(b"\n") <= 2 * limits.items else _not_blank(body)


def _not_blank(body: bytes) -> Iterator[bytes]:
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


def _plain(line: bytes, plain_bytes: int, *, is_tame: bool) -> Item | None:
    """The event of a line; None where it is not plain at once, or has an ending to be taken off."""
    if len(line) > plain_bytes or line.count(b"{") + line.count(b"[") > MAX_DEPTH or line.endswith(b"\r"):
        return None
    value = read_alone(line, is_tame=is_tame)
    return None if value is None else Item(line, JSON_TYPE, value, "", True)


def _careful(line: bytes, careful: Careful, index: int, *, only_json: bool) -> Item:
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return Item(line, BINARY_TYPE, None, "The line is not UTF-8 text.")
    try:
        check_depth(line)
        value, end = careful.read(text, skip_space(text, 0), index)
        if skip_space(text, end) != len(text):
            raise StreamError(400, "not_json", f"Something follows the JSON in line {index + 1}.", index)
        return careful.item(line, value)
    except StreamError as error:
        if only_json:
            raise StreamError(400, error.code, error.detail, index) from None
    problem = ""
    if "\x00" in text:
        problem = "The text contains NUL."
    elif len(line) > careful.limits.projection_bytes:
        problem = careful.limits.too_large()
    return Item(line, TEXT_TYPE, None if problem else text, problem)
