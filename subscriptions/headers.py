"""A subscription's own headers (T3): which names and values may be added to a post. Pure.

The names of signature headers that people choose are held to the same rules (`why_not_ours`).
"""

import re
from collections.abc import Iterable, Mapping

MAX_HEADERS = 20
MAX_TOTAL_BYTES = 4096

# RFC 9110 section 7.6.1, and what else belongs to a connection and not to a message.
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
        "expect",
    }
)
# Written by the portal: a second one would change what is signed, or how the request is framed.
RESERVED = frozenset(
    {
        "host",
        "content-length",
        "content-type",
        "content-encoding",
        "accept-encoding",
        "cookie",
        "cookie2",
        "set-cookie",
        "date",
        "via",
        "forwarded",
        "x-signature",
        "x-timestamp",
        "x-webhook-event-id",
        "x-hub-signature-256",
        "x-slack-signature",
        "x-slack-request-timestamp",
        "stripe-signature",
    }
)
RESERVED_PREFIXES = ("webhook-", "proxy-", "sec-", "x-forwarded-", "x-portal-", "ce-")

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class HeadersRefused(ValueError):
    """`errors` maps each offending name to what is wrong with it; "" stands for the whole.

    No message repeats a value: values are secrets.
    """

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__(" ".join(errors.values()))
        self.errors = errors


def clean_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers with surrounding white space taken off; raises HeadersRefused."""
    cleaned: dict[str, str] = {}
    errors: dict[str, str] = {}
    seen: set[str] = set()
    for given_name, given_value in headers.items():
        name, value = given_name.strip(" \t"), given_value.strip(" \t")
        problem = _problem(name, value)
        if not problem and name.lower() in seen:
            problem = f"{name} is given twice."
        if problem:
            errors[given_name] = problem
        seen.add(name.lower())
        cleaned[name] = value
    if len(headers) > MAX_HEADERS:
        errors[""] = f"There can be at most {MAX_HEADERS} headers."
    elif not errors and _size(cleaned) > MAX_TOTAL_BYTES:
        errors[""] = f"The headers may have at most {MAX_TOTAL_BYTES} bytes together."
    if errors:
        raise HeadersRefused(errors)
    return cleaned


def why_not_ours(name: str) -> str:
    """Why a person may not give this name to a header, or an empty string."""
    if not name:
        return "A header needs a name."
    if not _TOKEN.fullmatch(name):
        return f"{name[:80]!r} is not a header name: use letters, digits and hyphens."
    lower = name.lower()
    if lower in HOP_BY_HOP:
        return f"{name} belongs to the connection and cannot be set."
    if lower in RESERVED or lower.startswith(RESERVED_PREFIXES):
        return f"{name} is set by the portal and cannot be replaced."
    return ""


def in_common(names: Iterable[str], others: Iterable[str]) -> list[str]:
    """Those of `names` that are among `others` too, in whatever case."""
    known = {other.lower() for other in others}
    return [name for name in names if name.lower() in known]


def _problem(name: str, value: str) -> str:
    if refusal := why_not_ours(name):
        return refusal
    if not value:
        return f"{name} needs a value."
    if any(ord(char) < 32 and char != "\t" or 127 <= ord(char) < 160 for char in value):
        return f"The value of {name} contains line breaks or control characters."
    if any(ord(char) > 255 for char in value):
        return f"The value of {name} contains characters a header cannot carry (Latin-1 only)."
    return ""


def _size(headers: Mapping[str, str]) -> int:
    """As on the wire: the client writes header values as UTF-8."""
    return sum(len(f"{name}: {value}\r\n".encode()) for name, value in headers.items())
