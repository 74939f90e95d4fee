"""Reads JSON values, and finds out whether PostgreSQL can have them. Pure.

There are three ways, because the door reads thousands of small bodies a second:
- A document that stands alone is read by orjson, if it is `tame`: a few searches at C speed found nothing that orjson
  would read otherwise than JSON is meant, or that PostgreSQL could not cast. What it reads is ``plain``.
- One among others is read by the standard library's parser with next to no hooks, since orjson does not tell where a
  value ends. It gives up at the slightest doubt; what it reads is ``plain`` under the same conditions.
- The careful way notes what keeps a value from being projected, and goes on: the end of the value must be found anyway.
"""

import json
import re
from functools import cached_property
from itertools import accumulate

import orjson

from events.streams.items import JSON_TYPE, MAX_DEPTH, MAX_PARSE_DEPTH, Item, Limits, StreamError, too_deep

MAX_DIGITS = 100
MAX_EXPONENT = 308

SPACE = " \t\n\r"
BOM = "\ufeff"

_SPACES = re.compile(r"[ \t\n\r]*")
_LONG_NUMBER = b"0" * (MAX_DIGITS + 1)
_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"000000000")
_FLAT = bytes.maketrans(b"123456789E{", b"000000000e[")
_BEYOND_INT64 = b"0" * 19  # orjson would make a double of it
_BEFORE_NUMBER = (b"", b":", b",", b"[", b" ", b"\t", b"\n", b"\r")
_EXACT = 16  # characters with a point: 15 digits, which a double and back leaves as they are
_INFINITE = (float("inf"), float("-inf"))
# Only an escape can bring these in: as raw bytes neither JSON nor UTF-8 allows them.
_SUSPICIOUS = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEP = [0] * 256
_STEP[ord("[")] = _STEP[ord("{")] = 1
_STEP[ord("]")] = _STEP[ord("}")] = -1


class _NotPlain(ValueError):
    """Not necessarily wrong: to be read carefully."""


def _short_fraction(digits: str) -> float:
    if len(digits) > _EXACT or "e" in digits or "E" in digits:
        raise _NotPlain
    return float(digits)


def _no_constant(name: str) -> None:
    raise _NotPlain(name)


read_quickly = json.JSONDecoder(parse_float=_short_fraction, parse_constant=_no_constant).raw_decode
"""(text, position) → (value, where it ends). Raises ValueError or RecursionError for what needs the careful way.

The value is plain if the text it was read from is `unsuspicious` and `shallow` too, and it is not null.
"""


def flattened(raw: bytes) -> bytes:
    """All digits 0, all exponents `e`, all that opens `[`: what can then be searched for in one go."""
    return raw.translate(_FLAT)


def tame(raw: bytes, flat: bytes) -> bool:
    """Whether orjson reads what is meant, and jsonb takes it: no number has an exponent, none more digits in a row than
    64 bits hold, no escape is NUL. (Half surrogate pairs orjson itself refuses.)
    """
    if _BEYOND_INT64 in flat or b"\\u0000" in raw:
        return False
    return b"0e" not in flat or not _has_exponent(flat)


def _has_exponent(flat: bytes) -> bool:
    """Whether an `e` follows what may be a number: what stands before its digits is no quote and no letter.

    Ids are full of such letters, and a regular expression would look at every byte.
    """
    at = flat.find(b"0e")
    while at >= 0:
        if flat[max(0, at - 40) : at].rstrip(b"0.-")[-1:] in _BEFORE_NUMBER:
            return True
        at = flat.find(b"0e", at + 2)
    return False


def unsuspicious(raw: bytes) -> bool:
    """Whether no escape can be NUL or half a surrogate pair, and no number has more than MAX_DIGITS digits."""
    return not (b"\\" in raw and _SUSPICIOUS.search(raw)) and _LONG_NUMBER not in raw.translate(_DIGITS_TO_ZERO)


def read_alone(raw: bytes, *, is_tame: bool) -> object | None:
    """The value of a shallow document that nothing follows, if it is plain; None for null, and for all other ways."""
    value: object | None
    try:
        if is_tame:
            value = orjson.loads(raw)
            return value
        if not unsuspicious(raw):
            return None
        text = raw.decode()
        value, end = read_quickly(text, skip_space(text, 0))
    except (ValueError, RecursionError):
        return None
    return None if text[end:].strip(SPACE) else value


def shallow(raw: bytes, limit: int = MAX_DEPTH) -> bool:
    """Whether brackets nest no deeper than a limit; most bodies do not have that many at all."""
    return _brackets(raw) <= limit or depth(raw) <= limit


def _brackets(raw: bytes) -> int:
    return raw.count(b"{") + raw.count(b"[")


def depth(raw: bytes) -> int:
    """How deep brackets nest outside of strings. Linear, at C speed, whatever the input.

    Exact up to the first byte that is not JSON, which is as far as a parser ever gets; so it is never less than what
    the parser will see.
    """
    if b"\\" in raw:
        raw = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = b"".join(raw.split(b'"')[::2]).translate(None, _NOT_BRACKETS)
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0)


def check_depth(body: bytes) -> int:
    """How deep a body is nested at most. Raises StreamError where that is too deep to be parsed: parsers recurse."""
    brackets = _brackets(body)
    deepest = brackets if brackets <= MAX_DEPTH else depth(body)
    if deepest > MAX_PARSE_DEPTH:
        raise too_deep()
    return deepest


def not_json(error: json.JSONDecodeError, index: int | None = None) -> StreamError:
    return StreamError(400, "not_json", f"The body is not JSON: {error.msg} (character {error.pos}).", index)


def first_value(text: str) -> int:
    """Where the first value begins; a byte order mark is skipped (RFC 8259 section 8.1)."""
    return skip_space(text, 1 if text.startswith(BOM) else 0)


def skip_space(text: str, position: int) -> int:
    found = _SPACES.match(text, position)
    return found.end() if found else position


class Reader:
    """Reads the values of one body. Raises StreamError for one that is nested too deep."""

    def __init__(self, body: bytes, text: str, limits: Limits) -> None:
        deepest = check_depth(body)
        self.body = body
        self.text = text
        self.limits = limits
        self._is_ascii = len(body) == len(text)
        self._is_plain = deepest <= MAX_DEPTH and unsuspicious(body)

    @cached_property
    def careful(self) -> "Careful":
        return Careful(self.limits)

    def event(self, position: int, index: int) -> tuple[Item, int]:
        """The event whose JSON begins at a position, and where it ends."""
        try:
            value, end = read_quickly(self.text, position)
        except (ValueError, RecursionError):
            value, end = None, position
        raw = self._slice(position, end)
        if (
            value is not None
            and len(raw) <= self.limits.projection_bytes
            and (self._is_plain or (unsuspicious(raw) and shallow(raw)))
        ):
            self.limits.check_size(raw, index)
            return Item(raw, JSON_TYPE, value, "", True), end
        value, end = self.careful.read(self.text, position, index)
        raw = self._slice(position, end)
        self.limits.check_size(raw, index)
        return self.careful.item(raw, value), end

    def _slice(self, start: int, end: int) -> bytes:
        return self.body[start:end] if self._is_ascii else self.text[start:end].encode()


class Careful:
    """Reads values whose depth was checked, and knows what keeps the latest one from being projected."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._problem = ""
        self._growth = 0
        self._decoder = json.JSONDecoder(
            parse_int=self._integer, parse_float=self._fraction, parse_constant=self._constant
        )

    def read(self, text: str, position: int, index: int | None) -> tuple[object, int]:
        """The value at a position and where it ends."""
        self._problem = ""
        self._growth = 0
        try:
            value, end = self._decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise not_json(error, index) from None
        except RecursionError:  # the caller's own stack was deep already
            raise too_deep(index) from None
        return value, end

    def item(self, raw: bytes, value: object) -> Item:
        """The event for the value that was read last."""
        problem = self._problem or self._unprojectable(raw, value)
        return Item(raw, JSON_TYPE, None if problem else value, problem)

    def _unprojectable(self, raw: bytes, value: object) -> str:
        if len(raw) + self._growth > self.limits.projection_bytes:
            return self.limits.too_large()
        if not shallow(raw):
            return f"The JSON is nested deeper than {MAX_DEPTH} levels."
        if b"\\" in raw and _SUSPICIOUS.search(raw) and _unstorable(value):
            return "The JSON contains text that cannot be stored: NUL or half a surrogate pair."
        return ""

    def _integer(self, digits: str) -> int:
        if len(digits) > MAX_DIGITS + digits.startswith("-"):
            self._problem = f"The JSON contains a number of more than {MAX_DIGITS} digits."
            return 0
        return int(digits)

    def _fraction(self, digits: str) -> float:
        if len(digits) <= MAX_DIGITS and "e" not in digits and "E" not in digits:
            return float(digits)
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
