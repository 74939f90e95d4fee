"""What `where=` asks of a payload (P17): `user.id=42`, `user.id!=42`, `user.id`, `!user.id`. Pure.

A path is names with dots between them; a whole number steps into a list, and counts from its end where it is
negative: `items.0.sku`. A backslash makes a dot, an equals sign or an exclamation mark part of a name. A path without
a sign asks whether there is such a field, with `!` before it whether there is none.

Values compare by what they say: `42` is the number and the text, `"42"` the text alone. `!=` holds for everything
that `=` does not hold for, events without that field included.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

MAX_CONDITIONS = 5
MAX_LENGTH = 300  # characters of one condition
MAX_DEPTH = 10  # names of a path
MAX_NAME = 100  # characters of a name

_WORD = re.compile(r"true|false|null|-?(0|[1-9][0-9]{0,29})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?")
_ESCAPED = re.compile(r"([\\.=!])")


class ConditionError(ValueError):
    """A condition that cannot be asked; its text says why."""


class Operator(StrEnum):
    IS = "="
    IS_NOT = "!="
    EXISTS = "exists"
    ABSENT = "absent"


@dataclass(frozen=True)
class Condition:
    path: tuple[str, ...]
    operator: Operator
    value: str = ""

    def __str__(self) -> str:
        """As it is written in a URL; `parse` reads it back."""
        name = written_path(self.path)
        if self.operator is Operator.EXISTS:
            return name
        return f"!{name}" if self.operator is Operator.ABSENT else f"{name}{self.operator}{self.value}"

    @property
    def wanted(self) -> list[str]:
        """The JSON values that the field may be, as JSON text: every one a scalar of bounded size."""
        if len(self.value) > 1 and self.value[0] == self.value[-1] == '"':
            return [json.dumps(self.value[1:-1], ensure_ascii=False)]
        literal = [self.value] if _WORD.fullmatch(self.value) else []
        return [json.dumps(self.value, ensure_ascii=False), *literal]


def parse(text: str) -> Condition:
    """Raises ConditionError."""
    if len(text) > MAX_LENGTH:
        raise ConditionError(f"A condition has at most {MAX_LENGTH} characters.")
    if "\x00" in text:
        raise ConditionError("A condition holds no NUL.")
    absent = text.startswith("!")
    path: list[str] = []
    name = ""
    letters = _letters(text[1:] if absent else text)
    for letter, rest, is_escaped in letters:
        if not is_escaped and letter == ".":
            path.append(name)
            name = ""
        elif not is_escaped and (letter == "=" or (letter == "!" and rest.startswith("="))):
            if absent:
                raise ConditionError("“!” before a field asks that there is none, and then takes no value.")
            operator = Operator.IS if letter == "=" else Operator.IS_NOT
            return Condition(_checked([*path, name]), operator, rest.removeprefix("=") if letter == "!" else rest)
        else:
            name += letter
    return Condition(_checked([*path, name]), Operator.ABSENT if absent else Operator.EXISTS)


def written_path(path: tuple[str, ...]) -> str:
    return ".".join(_ESCAPED.sub(r"\\\1", name) for name in path)


def _letters(text: str) -> Iterator[tuple[str, str, bool]]:
    """Each letter, what stands after it, and whether a backslash made it a plain one."""
    at = 0
    while at < len(text):
        is_escaped = text[at] == "\\"
        at += is_escaped
        if at == len(text):
            raise ConditionError("A backslash has to stand before something.")
        yield text[at], text[at + 1 :], is_escaped
        at += 1


def _checked(path: list[str]) -> tuple[str, ...]:
    if not all(path):
        raise ConditionError("Write field=value, and a field of a field with a dot: user.id=42.")
    if len(path) > MAX_DEPTH:
        raise ConditionError(f"A field lies at most {MAX_DEPTH} names deep.")
    if any(len(name) > MAX_NAME for name in path):
        raise ConditionError(f"A name has at most {MAX_NAME} characters.")
    return tuple(path)
