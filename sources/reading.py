"""Where in a post things stand: the settings of a source that say how it is read (B6, D6). Pure.

A selector is one of
- `header:X-Name`, the value of a header; several of the name are joined by ", " (RFC 9110 section 5.3);
- a path into the event: keys joined by dots, numbers for array elements (`event.kind`, `items.0.id`). A leading
  `$.` or `path:` and indexes in brackets (`items[0].id`) are understood, and stored in the one spelling.

Type and title may be a template: text with selectors in braces (`{header:X-GitHub-Event}.{action}`). What the post
has not got is left out together with the text between it and what stands before it; with nothing at all in it,
the template gives nothing.

A selector is compiled once for each text, into a function that is called for each event.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from sources.authentication.contract import ConfigError, Setting

MAX_SELECTOR = 200  # characters
MAX_PARTS = 20
MAX_XML_NAME = 100
HEADER = "header:"
OPERATIONAL = "portal."  # types of events about the portal itself: no sender's event is called so

Headers = Sequence[tuple[bytes, bytes]]
Reader = Callable[[Headers, object], object | None]

# RFC 9110 section 5.6.2 token, minus "_", which proxies and servers drop.
_TOKEN = re.compile(r"[!#$%&'*+.^`|~0-9A-Za-z-]{1,64}")
_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})
_BRACKETS = re.compile(r"\[([0-9]{1,6})\]")
_INDEX = re.compile(r"[0-9]{1,6}")
_BRACES = re.compile(r"\{([^{}]*)\}")
_XML_NAME = re.compile(r"[^\W\d][\w.:-]*")


def clean_selector(given: object) -> str:
    """A selector in its one spelling. Raises `ValueError` with a sentence for the admin."""
    text = _one_line(given)
    if "{" in text or "}" in text:
        raise ValueError("Name one place here: braces combine several for the type and the title only.")
    if text.lower().startswith(HEADER):
        return HEADER + _header_name(text[len(HEADER) :].strip())
    return clean_path(text)


def clean_path(given: object) -> str:
    """A path into a payload: keys and array indexes, joined by dots."""
    text = _one_line(given).removeprefix("path:").strip()
    if text.lower().startswith(HEADER):
        raise ValueError("Name a place in the body here, not a header.")
    if text.startswith(("$.", "$[")):
        text = text[1:].removeprefix(".")
    parts = _BRACKETS.sub(r".\1", text).removeprefix(".").split(".")
    if not all(part.strip() for part in parts):
        raise ValueError("A path is made of keys joined by dots, such as event.kind; here one is empty.")
    if len(parts) > MAX_PARTS:
        raise ValueError(f"Use at most {MAX_PARTS} keys in a path.")
    return ".".join(parts)


def clean_template(given: object) -> str:
    """A selector, or text with selectors in braces."""
    text = _one_line(given)
    if "{" not in text and "}" not in text:
        return clean_selector(text)
    literals = _BRACES.split(text)[::2]
    if any("{" in literal or "}" in literal for literal in literals):
        raise ValueError("Close each brace before the next one opens, such as {header:X-Event}.{action}.")
    return _BRACES.sub(lambda found: "{" + clean_selector(found[1]) + "}", text)


def clean_xml_name(given: object) -> str:
    """The name of an element, as it stands in the tag."""
    text = _one_line(given).removeprefix("<").removesuffix(">")
    if len(text) > MAX_XML_NAME or not _XML_NAME.fullmatch(text):
        raise ValueError("Enter the name of an element, such as event.")
    return text


def _one_line(given: object) -> str:
    if not isinstance(given, str):
        raise ValueError("Enter text.")
    text = given.strip()
    if len(text) > MAX_SELECTOR:
        raise ValueError(f"Use at most {MAX_SELECTOR} characters.")
    if not text.isprintable():
        raise ValueError("Use one line of plain text, without control characters.")
    if not text:
        raise ValueError("Here a place is missing.")
    return text


def _header_name(name: str) -> str:
    if "_" in name:
        raise ValueError("Use a hyphen: many proxies drop header names with an underscore.")
    if not _TOKEN.fullmatch(name):
        raise ValueError("A header name has letters, digits and hyphens, at most 64, and no spaces: header:X-Event.")
    if name.lower() in _SECRET_HEADERS:
        raise ValueError(f"{name} holds a secret, which must not become a part of an event.")
    return name


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "envelope",
        "Array of events",
        "For JSON arrays: the path to the array, such as data.items. Left out, the body is the array.",
        clean_path,
        default="",
    ),
    Setting(
        "xml_element",
        "XML element",
        "For XML: the element that is one event, such as event. Left out, the document is one event.",
        clean_xml_name,
        default="",
    ),
    Setting(
        "event_type",
        "Type from",
        "Left out: the field type, event_type or event. Several places in braces: {header:X-Event}.{action}",
        clean_template,
        default="",
    ),
    Setting(
        "severity",
        "Severity from",
        "Left out: the field severity or level. Words, or numbers from 0 (emergency) to 7 (debug).",
        clean_selector,
        default="",
    ),
    Setting(
        "occurred_at",
        "Time from",
        "Left out: the field occurred_at, timestamp, time, created_at or created. RFC 3339, or seconds, "
        "milliseconds or microseconds since 1970.",
        clean_selector,
        default="",
    ),
    Setting(
        "title",
        "Title from",
        "Left out: the field title, summary or subject. Several places in braces: {repository.name}: {action}",
        clean_template,
        default="",
    ),
    Setting(
        "idempotency_key",
        "Idempotency key from",
        "What is the same when the sender sends a post again. Left out: the header Idempotency-Key.",
        clean_selector,
        default="",
    ),
)


def clean(raw: Mapping[str, object], settings: tuple[Setting, ...] = SETTINGS) -> dict[str, object]:
    """What is stored: the settings that are given. Raises `ConfigError` with a message for each wrong one."""
    known = {setting.name: setting.clean for setting in settings}
    errors = {str(name): "There is no such setting." for name in raw if name not in known}
    cleaned: dict[str, object] = {}
    for name, value in raw.items():
        if name in errors or value is None or value == "":
            continue
        try:
            cleaned[name] = known[name](value)
        except ValueError as error:
            errors[name] = str(error)
    if errors:
        raise ConfigError(errors)
    return cleaned


def headers_named(reading: Mapping[str, object]) -> dict[str, str]:
    """The headers, in lower case, that the settings read; with the setting that does."""
    named: dict[str, str] = {}
    for setting, text in reading.items():
        for place in [str(text), *_BRACES.findall(str(text))]:
            if place.startswith(HEADER):
                named[place[len(HEADER) :].lower()] = setting
    return named


@lru_cache(maxsize=4096)
def reader(text: str) -> Reader:
    """What reads this selector or template in a post. The reader raises nothing, and gives None for what is not there.

    A template gives text, a selector whatever stands there.
    """
    if "{" in text:
        pieces = _BRACES.split(text)
        return _template(pieces[::2], [reader(place) for place in pieces[1::2]])
    if text.startswith(HEADER):
        return _header(text[len(HEADER) :].lower().encode("ascii"))
    return _path(text.split("."))


def _header(name: bytes) -> Reader:
    def read(headers: Headers, document: object) -> object | None:
        values = [value for known, value in headers if known == name]
        return b", ".join(values).decode("utf-8", "replace").strip() if values else None

    return read


def _path(keys: Sequence[str]) -> Reader:
    steps = [(key, int(key) if _INDEX.fullmatch(key) else -1) for key in keys]

    def read(headers: Headers, document: object) -> object | None:
        for key, index in steps:
            if isinstance(document, dict):
                document = document.get(key)
            elif isinstance(document, list) and 0 <= index < len(document):
                document = document[index]
            else:
                return None
        return document

    return read


def _template(literals: Sequence[str], readers: Sequence[Reader]) -> Reader:
    def read(headers: Headers, document: object) -> object | None:
        said = ""
        for before, part in zip(["", *literals[1:-1]], readers, strict=True):
            text = text_of(part(headers, document))
            if text:
                said += (before if said else "") + text
        return f"{literals[0]}{said}{literals[-1]}" if said else None

    return read


def text_of(value: object) -> str:
    """A text or a number as text; "" for anything else."""
    if isinstance(value, str):
        return value.strip()
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""
