"""Payloads in SQL: what `data` holds, or the body itself where it is the payload (`Event.body_is_data`).

Constraints first:
- No other body is ever cast: 72 KB of `1e131071` are 1 GB of jsonb. So a cast stands in a CASE, whose branches
  PostgreSQL takes in their order; AND and OR it may turn around.
- A cast costs ten times as much as a look into jsonb, and a search looks at rows one by one. So a body is cast only
  where it holds bytes without which there is no match. They may be there by chance: the cast decides.
- Which bytes those are follows from JSON and from what `streams.Item.plain` promises. A text stands there letter by
  letter, but for escapes. A number has no zero in front, and no exponent: 42 is 42, 42.0 or -0, never 4.2e1.
"""

import json
import re
from decimal import Decimal

from django.db import models

from events.conditions import Condition, Operator

_SPACE = r"[ \t\n\r]*"
_END = r"[ \t\n\r,}]"
_SPECIAL = re.compile(r"([\\.^$*+?()\[\]{}|])")
_INDEX = re.compile(r"\s*[+-]?[0-9]+")  # what `#>` may take for a place in a list

Sql = tuple[str, list[object]]


class _OfPayload(models.Func):
    """An expression over the three columns that hold a payload between them."""

    def __init__(self) -> None:
        super().__init__("body_is_data", "body", "data")

    def columns(self, compiler) -> list[str]:
        return [compiler.compile(column)[0] for column in self.source_expressions]


class Holds(_OfPayload):
    """Does a condition hold for a payload? Path and values are parameters, never part of the statement."""

    output_field = models.BooleanField()

    def __init__(self, condition: Condition) -> None:
        super().__init__()
        self.condition = condition

    def as_sql(self, compiler, connection, **context):
        body_is_data, body, data = self.columns(compiler)
        in_data, params = self._test(data)
        in_body, _ = self._test(f"convert_from({body}, 'UTF8')::jsonb")
        may_be, needed = _may_be_in(body, self.condition)
        otherwise = self.condition.operator in (Operator.IS_NOT, Operator.ABSENT)
        sql = f"(CASE WHEN NOT {body_is_data} THEN {in_data} WHEN {may_be} THEN {in_body} ELSE {otherwise} END)"
        return sql, [*params, *needed, *params]

    def _test(self, payload: str) -> Sql:
        found, params = f"({payload} #> %s::text[])", [list(self.condition.path)]
        if self.condition.operator is Operator.EXISTS:
            return f"({found} IS NOT NULL)", params
        if self.condition.operator is Operator.ABSENT:
            return f"({found} IS NULL)", params
        values = self.condition.wanted
        equal = f"coalesce({found} IN ({', '.join(['%s::jsonb'] * len(values))}), false)"
        return equal if self.condition.operator is Operator.IS else f"(NOT {equal})", [*params, *values]


class PayloadText(_OfPayload):
    """A payload as text, for words to be looked for.

    A body as it was sent: that is jsonb's text but for spaces, order and repeated names, where nothing in it is
    written as `\\/` or `\\u0041`.
    """

    output_field = models.TextField()

    def as_sql(self, compiler, connection, **context):
        body_is_data, body, data = self.columns(compiler)
        text = f"convert_from({body}, 'UTF8')"
        as_sent, params = _any_in(body, {"\\u", "\\/"})
        return (
            f"(CASE WHEN NOT {body_is_data} THEN {data}::text WHEN NOT {as_sent} THEN {text}"
            f" ELSE {text}::jsonb::text END)",
            params,
        )


def _may_be_in(body: str, condition: Condition) -> Sql:
    """Does a plain body hold what it cannot do without if the path leads to a wanted value; or to anything at all?"""
    names = [name for name in condition.path if not _INDEX.fullmatch(name)]
    if condition.operator in (Operator.EXISTS, Operator.ABSENT):
        return _any_in(body, _written(_quoted(names[-1]))) if names else ("true", [])
    needed, params = _any_in(body, set().union(*(_written(value) for value in condition.wanted)))
    if condition.path[-1:] != tuple(names[-1:]):
        return needed, params
    beside, more = _beside_its_name(body, _quoted(names[-1]), condition.wanted)
    return f"({needed} AND {beside})", [*params, *more]


def _beside_its_name(body: str, name: str, values: list[str]) -> Sql:
    """Does a wanted value stand right after its name?

    Asked only where the value was found: half of all bodies have a 42 somewhere. A regular expression costs as much as
    half a cast.
    """
    texts = [value for value in (name, *values) if value.startswith('"')]
    if any("\\" in text for text in texts):
        return "true", []
    spelled = "|".join(_pattern(value) for value in values)
    pattern = f"{_literally(name)}{_SPACE}:{_SPACE}({spelled})"
    escaped, params = _any_in(body, {_escape_in("".join(texts))})
    return f"({escaped} OR convert_from({body}, 'UTF8') ~ %s)", [*params, pattern]


def _any_in(body: str, needles: set[str]) -> Sql:
    """Does a body hold one of these texts? One that holds another need not be looked for."""
    fewest = sorted(one for one in needles if not any(other in one for other in needles - {one}))
    return (
        f"({' OR '.join([f'position(%s in {body}) > 0'] * len(fewest))})",
        [needle.encode() for needle in fewest],
    )


def _written(value: str) -> set[str]:
    """Texts of which a plain body holds one, if it holds this JSON scalar."""
    if not value.startswith('"'):
        return {_digits(value)}
    if "\\" in value:
        return {"\\"}
    return {value[1:], _escape_in(value)}  # without its first quote: a byte that is everywhere makes the search slow


def _escape_in(text: str) -> str:
    """What a body holds that writes this text, which needs no backslash, with one all the same."""
    if "/" in text:
        return "\\"
    return "\\u00" if text.isascii() else "\\u"


def _pattern(value: str) -> str:
    """A regular expression for every way to write a JSON scalar in a plain body, as a member of an object."""
    if value.startswith('"'):
        return _literally(value)
    digits = _digits(value)
    zeros = "0*" if "." in digits else r"(\.0+)?"
    return f"{'-?' if digits == '0' else ''}{_literally(digits)}{zeros}{_END}"


def _literally(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)


def _digits(value: str) -> str:
    """How a number begins, however many zeros end it; a word as it is."""
    if value in ("true", "false", "null"):
        return value
    number = Decimal(value)
    text = format(number, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text if number else text.removeprefix("-")


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)
