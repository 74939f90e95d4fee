"""What every inbound authentication method is given and what it answers (spec P5-P9, D1, D3).

Pure: bytes and headers in, a verdict out. No Django, no database, no clock: the time of arrival is
part of the request. Errors are drawn as two trees that never meet:

    ConfigError   an admin typed something that cannot work; carries a message for each field
    Refusal       a sender did not prove who it is; turned into a ``Verdict`` before it leaves
"""

import hmac
import re
import secrets as randomness
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

MAX_SECRET_BYTES = 1024
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


class ConfigError(Exception):
    """Settings or a secret that cannot be used. ``errors`` maps a field to a sentence."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        self.errors = dict(errors)
        super().__init__("; ".join(f"{name}: {message}" for name, message in errors.items()))


class Refusal(Exception):
    """Raised inside a method to leave early. Never holds a secret or an expected signature."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(reason)


@dataclass(frozen=True)
class InboundRequest:
    """One request as it stood on the wire.

    ``headers`` are (lowercased name, value) in wire order with duplicates kept, never joined and
    never folded through CGI names. ``received_at`` is POSIX seconds.
    """

    method: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    received_at: float

    def values(self, name: str) -> tuple[bytes, ...]:
        """Every value sent under this name, in wire order, outer whitespace removed."""
        wanted = name.lower().encode("ascii", "replace")
        return tuple(value.strip(b" \t") for key, value in self.headers if key == wanted)

    def header(self, name: str) -> bytes | None:
        """The first value under this name, or None. For authentication use ``only``."""
        found = self.values(name)
        return found[0] if found else None

    def only(self, name: str) -> bytes:
        """The single value of an authentication header; missing or repeated is a refusal.

        Two copies mean that a proxy and the portal could each believe a different one.
        """
        found = self.values(name)
        if not found:
            raise Refusal("header_missing", f"The request has no {name} header.")
        if len(found) > 1:
            raise Refusal("header_duplicated", f"The request has {len(found)} {name} headers; one is allowed.")
        if not found[0]:
            raise Refusal("header_missing", f"The {name} header is empty.")
        return found[0]


@dataclass(frozen=True)
class LiveSecret:
    """A credential that is valid now.

    ``value`` is present only where the method computes with it (HMAC, JWT). A secret that is
    merely presented is known by its SHA-256 ``digest``, so reading the database reveals none.
    """

    id: str
    key_id: str = ""
    value: bytes | None = field(default=None, repr=False)
    digest: bytes | None = field(default=None, repr=False)

    def matches(self, presented: bytes) -> bool:
        """Whether this secret was presented, in constant time whatever its length."""
        digest = self.digest
        if digest is None:
            if self.value is None:
                return False
            digest = sha256(self.value).digest()
        return hmac.compare_digest(sha256(presented).digest(), digest)


@dataclass(frozen=True)
class Verdict:
    """Whether the sender proved itself.

    ``reason`` is a stable code; ``detail`` is a sentence for the admin, never for the sender, and
    holds names, counts and clock differences only. ``claims`` are a verified token's, so that the
    caller can match them to a body it had to decompress first, or remember a ``jti``.
    """

    accepted: bool
    secret_id: str | None = None
    reason: str = ""
    detail: str = ""
    claims: Mapping[str, object] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Setting:
    """One field of a method's configuration: enough to validate it and to draw it as a form.

    ``clean`` takes whatever JSON or a form sent and returns the stored value, or raises
    ``ValueError`` with a sentence. A ``default`` of None means that a value is required.
    """

    name: str
    label: str
    help: str
    clean: Callable[[object], object]
    default: object = None
    choices: tuple[tuple[str, str], ...] = ()


class Method(ABC):
    """A way to prove who sends. Stateless: one instance serves every source."""

    name: str
    title: str
    summary: str
    warning: str = ""
    settings: tuple[Setting, ...] = ()
    has_secret: bool = True
    keeps_value: bool = False
    prefix: str = "pcl_"
    min_secret_bytes: int = 16

    def clean_config(self, raw: Mapping[str, object]) -> dict[str, object]:
        """The settings to store, defaults filled in.

        Raises ``ConfigError`` with a message for every wrong field; a setting that this method
        does not have is wrong too, because a silently ignored one looks like protection.
        """
        errors = {
            str(name): "This method has no such setting."
            for name in raw
            if name not in {setting.name for setting in self.settings}
        }
        cleaned: dict[str, object] = {}
        for setting in self.settings:
            given = raw.get(setting.name)
            if given is None or given == "":
                if setting.default is None:
                    errors[setting.name] = "This field is required."
                cleaned[setting.name] = setting.default
                continue
            try:
                cleaned[setting.name] = setting.clean(given)
            except ValueError as error:
                errors[setting.name] = str(error)
        if errors:
            raise ConfigError(errors)
        return cleaned

    def setting(self, config: Mapping[str, object], name: str) -> object:
        """A stored setting, or its default for a source saved before the setting existed."""
        default = next(item.default for item in self.settings if item.name == name)
        return config.get(name, default)

    def generate_secret(self) -> str:
        """A new secret: 256 random bits, URL-safe, with a prefix that secret scanners can find."""
        return self.prefix + randomness.token_urlsafe(32) if self.has_secret else ""

    def clean_secret(self, typed: str) -> str:
        """A secret that an admin chose, trimmed. Raises ``ConfigError`` on the field ``secret``."""
        if not self.has_secret:
            raise ConfigError({"secret": "This method has no secret."})
        try:
            secret = self._clean_typed(unicodedata.normalize("NFC", typed).strip())
            size = len(secret.encode())
        except UnicodeEncodeError:
            raise ConfigError({"secret": "This is not valid text."}) from None
        except ValueError as error:
            raise ConfigError({"secret": str(error)}) from None
        if size < self.min_secret_bytes:
            raise ConfigError({"secret": f"Use at least {self.min_secret_bytes} characters; {size} were given."})
        if size > MAX_SECRET_BYTES:
            raise ConfigError({"secret": f"Use at most {MAX_SECRET_BYTES} bytes."})
        return secret

    def _clean_typed(self, secret: str) -> str:
        """Hook for what a method allows in a typed secret; ``ValueError`` says what is wrong."""
        if any(unicodedata.category(character) == "Cc" for character in secret):
            raise ValueError("Control characters are not allowed.")
        return secret

    def verify(
        self,
        config: Mapping[str, object],
        secrets: Sequence[LiveSecret],
        request: InboundRequest,
    ) -> Verdict:
        """Whether the request proves itself against any live secret. Never raises for its bytes."""
        try:
            if self.has_secret and not secrets:
                raise Refusal("no_secret", "The source has no valid secret at this time.")
            return self._prove(config, secrets, request)
        except Refusal as refusal:
            return Verdict(False, reason=refusal.reason, detail=refusal.detail)

    @abstractmethod
    def _prove(
        self,
        config: Mapping[str, object],
        secrets: Sequence[LiveSecret],
        request: InboundRequest,
    ) -> Verdict:
        """Return an accepting verdict or raise ``Refusal``."""


def first_match(secrets: Sequence[LiveSecret], test: Callable[[LiveSecret], bool]) -> LiveSecret | None:
    """The first secret that passes, after trying all: time must not tell which one it was."""
    found: LiveSecret | None = None
    for secret in secrets:
        passed = test(secret)
        if passed and found is None:
            found = secret
    return found


def authorization(request: InboundRequest, scheme: str) -> bytes:
    """The credentials of the one Authorization header, whose scheme (RFC 9110 11.1) must match."""
    value = request.only("Authorization")
    given, _, credentials = value.partition(b" ")
    if given.lower() != scheme.lower().encode():
        raise Refusal("scheme_wrong", f'The Authorization header does not say "{scheme}".')
    credentials = credentials.strip(b" \t")
    if not credentials:
        raise Refusal("header_malformed", f'Nothing follows "{scheme}" in Authorization.')
    return credentials


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
