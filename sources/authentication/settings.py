"""The settings of a method, and how what an admin typed becomes a stored value.

Every ``clean`` here raises ``ValueError`` with a sentence for the admin.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

MAX_HEADER_NAME = 64

# RFC 9110 section 5.6.2 token, minus "_": proxies fold X_Sig into X-Sig, or drop it silently.
_TOKEN = re.compile(r"[!#$%&'*+.^`|~0-9A-Za-z-]+")

# Hop-by-hop fields (RFC 9110 section 7.6.1) never arrive as sent; the others mean something to
# servers and proxies on the way, which may rewrite, merge or refuse them.
RESERVED_HEADERS = frozenset(
    (
        "accept",
        "accept-charset",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "cookie2",
        "date",
        "expect",
        "forwarded",
        "host",
        "idempotency-key",
        "keep-alive",
        "origin",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "referer",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-real-ip",
    )
)


@dataclass(frozen=True)
class Setting:
    """One field of a method's configuration: enough to validate it and to draw it as a form.

    ``clean`` takes whatever JSON or a form sent and returns the stored value, or raises
    ``ValueError`` with a sentence. A ``default`` of None means that a value is required.
    ``advanced`` ones are for senders with a scheme of their own; a form folds them away.
    """

    name: str
    label: str
    help: str
    clean: Callable[[object], object]
    default: object = None
    choices: tuple[tuple[str, str], ...] = ()
    advanced: bool = False


def clean_header_name(given: object) -> str:
    """A header name that a sender can set and that reaches the portal unchanged."""
    if not isinstance(given, str):
        raise ValueError("Enter text.")
    name = given.strip()
    if "_" in name:
        raise ValueError("Use a hyphen: many proxies drop header names with an underscore.")
    if not _TOKEN.fullmatch(name):
        raise ValueError("A header name has letters, digits and hyphens, and no spaces.")
    if len(name) > MAX_HEADER_NAME:
        raise ValueError(f"Use at most {MAX_HEADER_NAME} characters.")
    if name.lower() in RESERVED_HEADERS or name.lower().startswith("sec-"):
        raise ValueError(f"{name} is reserved by HTTP; choose another name.")
    return name


def clean_header_text(secret: str) -> str:
    """Text that survives in a header value: visible ASCII, spaces allowed inside."""
    if not re.fullmatch(r"[\x20-\x7e]*", secret):
        raise ValueError("It travels in a header: use letters, digits and ASCII punctuation.")
    return secret


def clean_whole_number(low: int, high: int) -> Callable[[object], int]:
    def clean(given: object) -> int:
        text = str(given).strip()
        if isinstance(given, bool) or not re.fullmatch(r"[0-9]{1,9}", text):
            raise ValueError("Enter a whole number.")
        if not low <= int(text) <= high:
            raise ValueError(f"Enter a number from {low} to {high}.")
        return int(text)

    return clean


def clean_switch(given: object) -> bool:
    meaning = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}
    try:
        return meaning[str(given).strip().lower()]
    except KeyError:
        raise ValueError("Enter true or false.") from None


def clean_choice(choices: tuple[tuple[str, str], ...]) -> Callable[[object], str]:
    def clean(given: object) -> str:
        name = str(given).strip().lower()
        if name not in dict(choices):
            raise ValueError(f"Choose one of: {', '.join(value for value, _ in choices)}.")
        return name

    return clean
