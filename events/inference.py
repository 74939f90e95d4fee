"""A schema made from examples (P12). Pure.

Conservative: it says only what all examples agree on, and every example fits it. The same examples give the same
schema, whatever their order.

- One type of value: that type; `integer` and `number` together are `number`; `null` beside one type makes it nullable.
- Several types, nothing but `null`, or an object with more than MAX_FIELDS different members: anything (`{}`).
- A member that every example of an object has is required. Others are allowed: an object is never closed.
- Text gets a format where all of it has that format. No enumerations: what was seen is not all that may come.
"""

import re
from collections.abc import Iterable

from events.schema_language import DIALECT, CompiledSchema, is_too_long

MAX_FIELDS = 200
MAX_LEVELS = 20
FORMATTED_LENGTH = 320  # characters; longer text has no format

# A look that costs little, so that the validator is asked about likely text only.
_LOOKS = {
    "date-time": re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d"),
    "uuid": re.compile(r"[0-9A-Fa-f]{8}-"),
    "email": re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+\Z"),
}
_FORMATS = {name: CompiledSchema({"format": name}) for name in _LOOKS}


class _Shape:
    """What was seen in one place: the types, and what was below."""

    __slots__ = ("types", "objects", "fields", "is_wide", "items", "formats")

    def __init__(self) -> None:
        self.types: set[str] = set()
        self.objects = 0
        self.fields: dict[str, tuple[_Shape, list[int]]] = {}
        self.is_wide = False
        self.items: _Shape | None = None
        self.formats: set[str] = set(_FORMATS)

    def see(self, value: object, levels: int) -> None:
        """Take in one value. What lies more than `levels` below is not looked at."""
        if isinstance(value, dict):
            self.types.add("object")
            self._see_object(value, levels)
        elif isinstance(value, list):
            self.types.add("array")
            if levels and value:
                self.items = self.items or _Shape()
                for item in value:
                    self.items.see(item, levels - 1)
        elif isinstance(value, str):
            self.types.add("string")
            if self.formats:
                self.formats = {name for name in self.formats if _has_format(value, name)}
        else:
            self.types.add(_type_of_scalar(value))

    def _see_object(self, value: dict[str, object], levels: int) -> None:
        self.objects += 1
        if self.is_wide or not levels:
            return
        for name, below in value.items():
            if name not in self.fields:
                if len(self.fields) >= MAX_FIELDS:
                    self.is_wide = True
                    self.fields.clear()
                    return
                self.fields[name] = (_Shape(), [0])
            shape, seen = self.fields[name]
            shape.see(below, levels - 1)
            seen[0] += 1

    def schema(self, levels: int) -> dict[str, object]:
        """What all that was seen agrees on, as far as `levels` below."""
        types = set(self.types)
        if "number" in types:
            types.discard("integer")
        nullable = "null" in types
        types.discard("null")
        if len(types) != 1:
            return {}
        (name,) = types
        if name == "object" and (self.is_wide or not levels):
            return {}
        found: dict[str, object] = {"type": [name, "null"] if nullable else name}
        if name == "string" and self.formats:
            found["format"] = min(self.formats)
        if name == "array" and self.items is not None and levels:
            found["items"] = self.items.schema(levels - 1)
        if name == "object":
            fields = sorted(self.fields.items())
            if fields:
                found["properties"] = {name: shape.schema(levels - 1) for name, (shape, _) in fields}
            required = [name for name, (_, seen) in fields if seen[0] == self.objects]
            if required:
                found["required"] = required
        return found


def infer(documents: Iterable[object]) -> dict[str, object]:
    """A JSON Schema 2020-12 that every one of the documents fits; within the bounds of `events.schema_language`.

    Where it would grow too large, what lies deep down stays open.
    """
    root = _Shape()
    for document in documents:
        root.see(document, MAX_LEVELS)
    kept: dict[str, object] = {"$schema": DIALECT}
    for levels in range(1, MAX_LEVELS + 1):
        found = {"$schema": DIALECT, **root.schema(levels)}
        if found == kept or is_too_long(found):  # there is nothing below, or too much
            break
        kept = found
    return kept


def _type_of_scalar(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    return "integer" if isinstance(value, int) else "number"


def _has_format(text: str, name: str) -> bool:
    if len(text) > FORMATTED_LENGTH or not _LOOKS[name].match(text):
        return False
    return not _FORMATS[name].problem_of(text)
