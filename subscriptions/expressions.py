"""The language of a subscription's filter: what is taken for an expression, and what is told of one that fails. Pure.

A filter is one expression of CEL, the Common Expression Language, over two names: `event` and `payload`. What it is
asked with is made in `subscriptions.choice`, where it is asked in `subscriptions.evaluator`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

MAX_LENGTH = 2000
MAX_PAYLOAD = 256_000  # bytes
MAX_PROBLEM = 300
EVENT_FIELDS = (
    "id", "type", "severity", "source", "source_id", "site", "site_id", "title", "occurred_at", "received_at",
)  # fmt: skip

# What the library has by itself; operators have names that are no words.
FUNCTIONS = frozenset({
    "bytes", "contains", "double", "duration", "dyn", "endsWith", "getDate", "getDayOfMonth", "getDayOfWeek",
    "getDayOfYear", "getFullYear", "getHours", "getMilliseconds", "getMinutes", "getMonth", "getSeconds", "int",
    "matches", "size", "startsWith", "string", "timestamp", "type", "uint",
})  # fmt: skip
NAMES = frozenset({
    "event", "payload", "bool", "bytes", "double", "duration", "int", "list", "map", "null_type", "string", "timestamp",
    "type", "uint",
})  # fmt: skip

TOO_LONG = "It took too long for this event."
TOO_MUCH = "It used too much memory for this event."
TOO_LARGE = f"The payload is larger than {MAX_PAYLOAD // 1000} kB: an expression does not look into it."
UNREADABLE = "The payload holds too much to be read for an expression."
RESTING = "It took too long for several events in a row, and is not asked for a minute."

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_BOUND = re.compile(
    r"\.\s*(?:all|exists|exists_one|existsOne|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,(?:\s*([A-Za-z_]\w*)\s*,)?"
)
_PLACE = re.compile(r"ERROR: <input>:(\d+):(\d+): (?:Syntax error: )?([^\n]*)")
_INWARD = ("Incomplete `", "No `")  # what follows from another error, in words about the library
_PAYLOAD = re.compile(r"\bpayload\b")
_WORDS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r".*Recursion limit"), "it is nested too deeply"),
    (re.compile(r".*'<EOF>'.*\Z(?<!expecting <EOF>)"), "something is missing at its end"),
    (re.compile(r"token recognition error at: '= ?'"), "write == to compare"),
    (re.compile(r"token recognition error at: ''?\"?(?=['\"])"), "a text is not closed, or has a wrong \\ in it"),
    (re.compile(r"token recognition error at: '(.+)'"), r"\1 is not understood"),
    (re.compile(r"(?:extraneous|mismatched) input '(.+?)' expecting"), r"\1 is not expected here"),
    (re.compile(r"missing '(.+?)' at"), r"\1 is missing"),
    (re.compile(r"no viable alternative at input '(.+)'"), r"\1 is not understood"),
    (re.compile(r"unsupported syntax '(.+)'"), r"\1 is not supported"),
    (re.compile(r"reserved identifier: (\w+)"), r"\1 is a reserved word"),
)


@dataclass(frozen=True)
class Verdict:
    """What an expression said of an event. One with a problem is no match."""

    matched: bool
    problem: str = ""


def clean_expression(text: str) -> str:
    """The text without surrounding white space; "" is no filter at all. Raises ValueError with a sentence."""
    text = text.replace("\r\n", "\n").strip()
    if len(text) > MAX_LENGTH:
        raise ValueError(f"A filter has at most {MAX_LENGTH} characters; this one has {len(text)}.")
    if _CONTROL.search(text):
        raise ValueError("A filter is plain text, without control characters.")
    return text


def looks_into_payload(text: str) -> bool:
    """Whether it may ask for the payload. The word in a text constant counts too, and does no harm."""
    return bool(_PAYLOAD.search(text))


def unknown_names(text: str, variables: Iterable[str], functions: Iterable[str]) -> str:
    """What an expression names that there is not, in a sentence; else ""."""
    bound = {name for pair in _BOUND.findall(text) for name in pair if name}
    for name in sorted(set(variables) - NAMES - bound):
        return f"There is no {name}: an expression sees event and payload."
    for name in sorted(set(functions) - FUNCTIONS):
        if name.isidentifier():
            return f"There is no function {name}()."
    return ""


def explain_syntax(message: str) -> str:
    """Where and why a text is no expression, in plain words. `message` is the library's."""
    places = [place for place in _PLACE.findall(message) if not place[2].startswith(_INWARD)]
    if not places:
        return "This is not an expression."
    line, column, why = places[0]
    for pattern, words in _WORDS:
        if match := pattern.match(why):
            why = match.expand(words)
            break
    return f"Line {line}, column {column}: {_short(why).rstrip('.')}."


def explain_failure(kind: str, message: str) -> str:
    """Why an expression said nothing of an event. `kind` is the class of the library's exception."""
    message = _short(message)
    if kind == "KeyError":
        return f"There is no field {message}; has(…) asks whether there is."
    if kind == "TypeError" and message.startswith("No such overload"):
        return "Values of these kinds do not go together, or a value of this kind has no fields."
    if kind == "ZeroDivisionError":
        return "It divides by zero."
    if kind == "MemoryError":
        return TOO_MUCH
    first = message.partition(". ")[0].partition(" — ")[0].rstrip(".")
    return f"{first[:1].upper()}{first[1:]}." if first else "It failed."


def explain_kind(kind: str) -> str:
    """Of an expression whose value is neither true nor false. `kind` is a Python class."""
    names = {
        "int": "a number",
        "float": "a number",
        "str": "a text",
        "NoneType": "null",
        "list": "a list",
        "dict": "a map",
    }
    return f"Its value is {names.get(kind, 'something else')}, not true or false."


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MAX_PROBLEM - 80 else text[: MAX_PROBLEM - 81] + "…"
