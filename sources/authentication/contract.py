"""What every inbound authentication method is given and what it answers (spec P5-P9, D1, D3, B5).

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
from functools import lru_cache, partial
from hashlib import sha256
from types import MappingProxyType
from typing import NamedTuple

from sources.authentication.settings import RESERVED_HEADERS as RESERVED_HEADERS
from sources.authentication.settings import Setting as Setting
from sources.authentication.settings import clean_header_name as clean_header_name
from sources.authentication.settings import clean_header_text as clean_header_text
from sources.authentication.settings import clean_switch as clean_switch
from sources.authentication.settings import clean_whole_number as clean_whole_number

MAX_SECRET_BYTES = 1024

# What helps an admin to see why a sender fails: names, counts, beginnings. Never a secret (B5).
Evidence = Mapping[str, str | int]
NO_EVIDENCE: Evidence = MappingProxyType({})

_PROOF_LIKE = re.compile(r"(?=.*(?:sign|hmac|token|auth|secret|key|webhook|svix))[!#$%&'*+.^_`|~0-9a-z-]{1,64}")
_HEADERS_NAMED = 8


class ConfigError(Exception):
    """Settings or a secret that cannot be used. ``errors`` maps a field to a sentence."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        self.errors = dict(errors)
        super().__init__("; ".join(f"{name}: {message}" for name, message in errors.items()))


class Refusal(Exception):
    """Raised inside a method to leave early. Never holds a secret or a whole expected signature."""

    def __init__(self, reason: str, detail: str, evidence: Evidence = NO_EVIDENCE) -> None:
        self.reason = reason
        self.detail = detail
        self.evidence = evidence
        super().__init__(reason)


@lru_cache(maxsize=4096)
def _on_the_wire(name: str) -> bytes:
    return name.lower().encode("ascii", "replace")


class InboundRequest(NamedTuple):
    """One request as it stood on the wire.

    ``headers`` are (lowercased name, value) in wire order with duplicates kept, never joined and
    never folded through CGI names. ``received_at`` is POSIX seconds. ``url`` is the whole public
    URL as the sender knows it, with its query; empty where it is not known.
    """

    method: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    received_at: float
    url: str = ""

    def values(self, name: str) -> tuple[bytes, ...]:
        """Every value sent under this name, in wire order, outer whitespace removed."""
        wanted = _on_the_wire(name)
        return tuple(value.strip(b" \t") for key, value in self.headers if key == wanted)

    def header(self, name: str) -> bytes | None:
        """The first value under this name, or None. For authentication use ``only``."""
        found = self.values(name)
        return found[0] if found else None

    def only(self, name: str) -> bytes:
        """The single value of an authentication header; missing or repeated is a refusal.

        Two copies mean that a proxy and the portal could each believe a different one; X_Sig counts
        as a copy of X-Sig, since servers on the way make one of the other. A value with a line
        break was folded (RFC 9112 section 5.2), and may be read in two ways as well.
        """
        wanted = _on_the_wire(name)
        found: bytes | None = None
        copies = 0
        for key, value in self.headers:
            if key == wanted:
                found = value
                copies += 1
            elif b"_" in key and key.replace(b"_", b"-") == wanted:
                copies += 1
        if found is None:
            raise Refusal("header_missing", f"The request has no {name} header.", self._seen(name))
        if copies > 1:
            raise Refusal(
                "header_duplicated", f"The request has {copies} {name} headers; one is allowed.", self._seen(name)
            )
        found = found.strip(b" \t")
        if not found:
            raise Refusal("header_missing", f"The {name} header is empty.", self._seen(name))
        if b"\n" in found or b"\r" in found or b"\x00" in found:
            raise Refusal("header_malformed", f"The {name} header has a line break in it.", self._seen(name))
        return found

    def _seen(self, name: str) -> Evidence:
        """The header that was looked for, and the names of those present that look like a proof."""
        names = (key.decode("latin-1") for key, _ in self.headers)
        seen = [one for one in names if _PROOF_LIKE.fullmatch(one)]
        return {"header": name, "headers_seen": ", ".join(dict.fromkeys(seen[:_HEADERS_NAMED]))}


@dataclass(frozen=True)
class LiveSecret:
    """A credential that is valid now.

    ``value`` is present only where the method computes with it (HMAC, JWT). A secret that is
    merely presented is known by its SHA-256 ``digest``, so reading the database reveals none.
    From ``ends_at`` (POSIX seconds) on it proves nothing; it then only helps to say that a sender
    still uses it.
    """

    id: str
    key_id: str = ""
    value: bytes | None = field(default=None, repr=False)
    digest: bytes | None = field(default=None, repr=False)
    ends_at: float | None = None

    def matches(self, presented: bytes) -> bool:
        """Whether this secret was presented, in constant time whatever its length."""
        digest = self.digest
        if digest is None:
            if self.value is None:
                return False
            digest = sha256(self.value).digest()
        return hmac.compare_digest(sha256(presented).digest(), digest)


class Verdict(NamedTuple):
    """Whether the sender proved itself.

    ``reason`` is a stable code; ``detail`` is a sentence for the admin, never for the sender, and
    holds names, counts and clock differences only. ``claims`` are a verified token's, so that the
    caller can match them to a body it had to decompress first, or remember a ``jti``. ``evidence``
    says why a refused sender failed, for the admin as well (B5).
    """

    accepted: bool
    secret_id: str | None = None
    reason: str = ""
    detail: str = ""
    claims: Mapping[str, object] | None = None
    evidence: Evidence = NO_EVIDENCE

    def __repr__(self) -> str:  # without what a sender claims of people
        return f"Verdict(accepted={self.accepted}, secret_id={self.secret_id!r}, reason={self.reason!r})"


Prove = Callable[[InboundRequest], Verdict]


class Method(ABC):
    """A way to prove who sends. Stateless: one instance serves every source."""

    name: str
    title: str
    summary: str
    warning: str = ""
    settings: tuple[Setting, ...] = ()
    has_secret: bool = True
    makes_secret: bool = True  # False where only the sender can: the admin types a public key
    keeps_value: bool = False
    prefix: str = "pcl_"
    min_secret_bytes: int = 16

    def clean_config(self, raw: Mapping[str, object]) -> dict[str, object]:
        """The settings to store: defaults filled in, except for advanced ones that are left at theirs.

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
        errors = errors or self._clean_together(cleaned)
        if errors:
            raise ConfigError(errors)
        usual = {setting.name: setting.default for setting in self.settings if setting.advanced}
        return {name: value for name, value in cleaned.items() if name not in usual or value != usual[name]}

    def _clean_together(self, cleaned: Mapping[str, object]) -> dict[str, str]:
        """Hook for what settings demand of one another: a sentence for each wrong field."""
        return {}

    def setting(self, config: Mapping[str, object], name: str) -> object:
        """A stored setting, or its default for a source saved before the setting existed."""
        default = next(item.default for item in self.settings if item.name == name)
        return config.get(name, default)

    def single_headers(self, config: Mapping[str, object]) -> tuple[str, ...]:
        """The headers that it reads whose value holds no list: a comma in one means that two were joined."""
        names = [item.name for item in self.settings if item.name.endswith("header")]
        return tuple(str(self.setting(config, name)) for name in names)

    def generate_secret(self, config: Mapping[str, object] = MappingProxyType({})) -> str:
        """A new secret: 256 random bits, URL-safe, with a prefix that secret scanners can find.

        Empty for a method without one. Raises ``ConfigError`` where only the sender can make one.
        """
        if not self.makes_secret:
            raise ConfigError({"secret": "Enter the key that the sender gives you."})
        return self._draw_secret(config) if self.has_secret else ""

    def _draw_secret(self, config: Mapping[str, object]) -> str:
        return self.prefix + randomness.token_urlsafe(32)

    def clean_secret(self, typed: str, config: Mapping[str, object] = MappingProxyType({})) -> str:
        """A secret that an admin chose, trimmed. Raises ``ConfigError`` on the field ``secret``.

        ``config`` is what ``clean_config`` returned.
        """
        if not self.has_secret:
            raise ConfigError({"secret": "This method has no secret."})
        try:
            secret = self._clean_typed(unicodedata.normalize("NFC", typed).strip())
            size = len(secret.encode())
            if size < self.min_secret_bytes:
                raise ValueError(f"Use at least {self.min_secret_bytes} characters; {size} were given.")
            if size > MAX_SECRET_BYTES:
                raise ValueError(f"Use at most {MAX_SECRET_BYTES} bytes.")
            secret = self._clean_key(secret, config)
        except UnicodeEncodeError:
            raise ConfigError({"secret": "This is not valid text."}) from None
        except ValueError as error:
            raise ConfigError({"secret": str(error)}) from None
        return secret

    def _clean_key(self, secret: str, config: Mapping[str, object]) -> str:
        """Hook for what the settings demand of a typed secret; ``ValueError`` says what is wrong."""
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
        live = [secret for secret in secrets if secret.ends_at is None or secret.ends_at > request.received_at]
        try:
            if self.has_secret and not live:
                raise Refusal("no_secret", "The source has no valid secret at this time.")
            return self._prove(config, live, request)
        except Refusal as refusal:
            return self._refused(config, secrets, live, request, refusal)

    def prepared(self, config: Mapping[str, object], secrets: Sequence[LiveSecret]) -> Prove:
        """``verify`` for many requests of one source. What depends on the source alone may be worked out here."""
        return partial(self.verify, config, secrets)

    def _refused(
        self,
        config: Mapping[str, object],
        secrets: Sequence[LiveSecret],
        live: Sequence[LiveSecret],
        request: InboundRequest,
        refusal: Refusal,
    ) -> Verdict:
        ended = [secret for secret in secrets if secret not in live]
        evidence = {
            **({"secrets_tried": len(live)} if self.has_secret else {}),
            **self._evidence(config, live, ended, request, refusal),
            **refusal.evidence,
        }
        return Verdict(False, reason=refusal.reason, detail=refusal.detail, evidence=evidence)

    def _evidence(
        self,
        config: Mapping[str, object],
        live: Sequence[LiveSecret],
        ended: Sequence[LiveSecret],
        request: InboundRequest,
        refusal: Refusal,
    ) -> dict[str, str | int]:
        """Hook for what else can be said about a refusal. Runs for refused requests only."""
        return {}

    def check_opened(self, config: Mapping[str, object], claims: Mapping[str, object], body: bytes) -> Verdict | None:
        """A second look at an accepted request once its body is open; a verdict only where it is refused after all."""
        return None

    def once(
        self, config: Mapping[str, object], claims: Mapping[str, object], received_at: float
    ) -> tuple[bytes, int] | None:
        """16 bytes that no later request may bring again, and for how many seconds; None for no such thing."""
        return None

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
