"""JSON documents, and the elements of JSON arrays. Pure.

Values are read one at a time, so that the count of events bounds memory.
"""

import json
from collections.abc import Iterator

from events.streams.items import JSON_TYPE, MAX_DEPTH, MAX_ITEMS, Item, Limits, StreamError, too_deep
from events.streams.reading import (
    Reader,
    depth,
    first_value,
    flattened,
    not_json,
    read_alone,
    skip_space,
    tame,
)

_skip = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str).raw_decode  # whatever numbers mean


def plain_document(body: bytes, limits: Limits) -> Item | None:
    """The whole body as one plain event; None where that is not certain at once."""
    if len(body) > limits.projection_bytes or len(body) > limits.item_bytes:
        return None
    flat = flattened(body)
    if flat.count(b"[") > MAX_DEPTH and depth(body) > MAX_DEPTH:
        return None
    value = read_alone(body, is_tame=tame(body, flat))
    return None if value is None else Item(body, JSON_TYPE, value, "", True)


def documents(body: bytes, text: str, limits: Limits, *, several: bool = True) -> list[Item]:
    """One document, or objects one after another."""
    reader = Reader(body, text, limits)
    position = first_value(text)
    value, end = reader.careful.read(text, position, 0)
    after = skip_space(text, end)
    if after == len(text):
        limits.check_size(body, None)
        return [reader.careful.item(body, value)]
    items: list[Item] = []
    while True:
        if not several or text[position] != "{":
            raise StreamError(400, "not_json", f"Something follows the JSON (character {after}).")
        limits.check_count(len(items) + 1)
        item, end = reader.event(position, len(items))
        items.append(item)
        position = skip_space(text, end)
        if position == len(text):
            return items


def elements(body: bytes, text: str, limits: Limits, envelope: str = "") -> list[Item]:
    """The elements of the array at a path of keys and indexes (`data.items`, `results.0.rows`), or of the body itself.

    An empty array, or null in its place, is no events.
    """
    reader = Reader(body, text, limits)
    if not envelope:
        return list(_elements(reader, first_value(text), ends_body=True))
    try:
        _, end = _skip(text, first_value(text))
    except json.JSONDecodeError as error:
        raise not_json(error) from None
    except RecursionError:  # the caller's own stack was deep already
        raise too_deep() from None
    after = skip_space(text, end)
    if after != len(text):
        raise StreamError(400, "not_json", f"Something follows the JSON (character {after}).")
    return list(_elements(reader, _located(text, envelope), envelope))


def _elements(reader: Reader, position: int, envelope: str = "", *, ends_body: bool = False) -> Iterator[Item]:
    text = reader.text
    if text[position : position + 1] != "[":
        value, end = reader.careful.read(text, position, None)
        if ends_body and skip_space(text, end) != len(text):
            raise StreamError(400, "not_json", f"Something follows the JSON (character {end}).")
        if value is None and text[position] == "n":
            return
        where = f"“{envelope}” is" if envelope else "The body is"
        raise StreamError(422, "not_an_array", f"{where} not a JSON array.")
    index = 0
    position = skip_space(text, position + 1)
    if text[position : position + 1] != "]":
        while True:
            reader.limits.check_count(index + 1)
            item, end = reader.event(position, index)
            yield item
            position = skip_space(text, end)
            separator = text[position : position + 1]
            if separator == "]":
                break
            if separator != ",":
                raise StreamError(400, "not_json", f"A comma or ] is missing (character {position}).", index)
            position = skip_space(text, position + 1)
            index += 1
    after = skip_space(text, position + 1)
    if ends_body and after != len(text):
        raise StreamError(400, "not_json", f"Something follows the array (character {after}).")


def _located(text: str, envelope: str) -> int:
    """Where the value at a path begins, in a text that is known to be JSON."""
    position = first_value(text)
    keys = envelope.split(".")
    for number, key in enumerate(keys):
        found = None
        kind = text[position]
        if kind == "{":
            found = _member(text, position, key)
        elif kind == "[" and key.isascii() and key.isdigit():
            found = _element(text, position, int(key[:9]))
        if found is None:
            where = f" in “{'.'.join(keys[:number])}”" if number else ""
            detail = f"The source expects its events at “{envelope}”, and there is no “{key}”{where}."
            raise StreamError(422, "envelope_missing", detail)
        position = found
    return position


def _siblings() -> Iterator[int]:
    """Counts what is passed on the way, within bounds: each costs as much as an event."""
    yield from range(MAX_ITEMS)
    detail = f"An object or array around the events has more than {MAX_ITEMS} fields or elements."
    raise StreamError(413, "too_many_fields", detail)


def _member(text: str, position: int, key: str) -> int | None:
    """Where the value of a key begins; of its last one, as in jsonb, where it is repeated."""
    found = None
    position = skip_space(text, position + 1)
    for _ in _siblings():
        if text[position] == "}":
            break
        name, position = _skip(text, position)
        position = skip_space(text, skip_space(text, position) + 1)
        if name == key:
            found = position
        _, position = _skip(text, position)
        position = skip_space(text, position)
        if text[position] == ",":
            position = skip_space(text, position + 1)
    return found


def _element(text: str, position: int, wanted: int) -> int | None:
    position = skip_space(text, position + 1)
    for index in _siblings():
        if text[position] == "]":
            break
        if index == wanted:
            return position
        _, position = _skip(text, position)
        position = skip_space(text, position)
        if text[position] == ",":
            position = skip_space(text, position + 1)
    return None
