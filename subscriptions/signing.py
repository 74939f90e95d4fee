"""How a message proves that it comes from the portal. Pure: bytes and strings in, headers out.

The schemes, as data in `SCHEMES`:

    name                       what is signed           how it is written
    standard_webhooks          id.timestamp.body        v1,base64(HMAC) for each live secret     (B4)
    standard_webhooks_ed25519  id.timestamp.body        v1a,base64(Ed25519) for each live key    (B4, RFC 8032)
    stripe                     timestamp.body           t=…,v1=hex(HMAC) for each live secret
    timestamped_body           body, with its time      hex(HMAC)                                (S4)
    timestamp_and_body         timestamp:body           hex(HMAC)                                (N5)
    slack                      v0:timestamp:body        v0=hex(HMAC)
    github                     body                     sha256=hex(HMAC)
    none                       nothing                  no header at all

The HMAC is always HMAC-SHA256. Where the header is a list, every live secret signs during an overlap. The others have
room for one signature: there the newest secret alone signs (S6: "a new secret that signs from then on"), and a
receiver that rotates has to accept both of its secrets for a while, since we cannot send both signatures.

The names of the headers can be chosen per subscription where no library of the scheme insists on them (`options`).
"""

import base64
import binascii
import hmac
import re
import secrets as randomness
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from subscriptions.headers import why_not_ours

WHSEC, WHSK, WHPK = "whsec_", "whsk_", "whpk_"
MIN_KEY_BYTES, MAX_KEY_BYTES = 24, 64
GENERATED_KEY_BYTES = 32
ED25519_SEED_BYTES = 32
DEFAULT_PREFIX = "Portcullis"
MAX_PREFIX, MAX_HEADER_NAME = 40, 64

_MESSAGE_ID = re.compile(r"[A-Za-z0-9_\-]{1,256}")
_TIMESTAMP_AT_END = re.compile(rb',"timestamp":[0-9]+\}\Z')
_PREFIX = re.compile(r"[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*")
_ANY_SHAPE = ("envelope", "raw", "cloudevents", "cloudevents_binary")

Headers = tuple[tuple[str, str], ...]
NO_OPTIONS: Mapping[str, str] = MappingProxyType({})


class OptionsRefused(ValueError):
    """`errors` maps each offending option to what is wrong with it."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__(" ".join(errors.values()))
        self.errors = errors


@dataclass(frozen=True)
class HeaderNames:
    """Where id, timestamp and signature stand; "" for what the scheme has no header for."""

    id: str = ""
    timestamp: str = ""
    signature: str = ""

    def all(self) -> tuple[str, ...]:
        return tuple(name for name in (self.id, self.timestamp, self.signature) if name)


@dataclass(frozen=True)
class Scheme:
    """One way of signing, as the portal shows it.

    `carries_two`: whether two secrets can sign one message, that is, whether a rotation with an
    overlap goes unnoticed by the receiver. `shapes`: the message shapes it can sign. `options`: what a
    subscription may set: `prefix`, or names of headers. `key`: `shared` is a secret that both sides know, `pair` a
    private key that never leaves the portal and a public one for the receiver, `none` no key.
    """

    name: str
    title: str
    summary: str
    carries_two: bool = False
    shapes: tuple[str, ...] = _ANY_SHAPE
    names: HeaderNames = HeaderNames()
    options: tuple[str, ...] = ()
    key: str = "shared"

    @property
    def signs(self) -> bool:
        return self.key != "none"

    @property
    def has_public_key(self) -> bool:
        return self.key == "pair"

    def defaults(self) -> dict[str, str]:
        """The options as they are where nobody chose."""
        chosen = {"prefix": DEFAULT_PREFIX} if "prefix" in self.options else {}
        named = {
            "id_header": self.names.id,
            "timestamp_header": self.names.timestamp,
            "signature_header": self.names.signature,
        }
        return chosen | {option: named[option] for option in self.options if option in named}

    def headers(self, options: Mapping[str, str] = NO_OPTIONS) -> HeaderNames:
        """The names of the headers under these options."""
        said = self.defaults() | dict(options)
        if "prefix" in said:
            return HeaderNames(timestamp=f"X-{said['prefix']}-Timestamp", signature=f"X-{said['prefix']}-Signature")
        return HeaderNames(
            id=said.get("id_header", self.names.id),
            timestamp=said.get("timestamp_header", self.names.timestamp),
            signature=said.get("signature_header", self.names.signature),
        )


@dataclass(frozen=True)
class Signed:
    """The headers to add, and the body to send: not always the one that was given (S4)."""

    headers: Headers = field(repr=False)
    body: bytes = field(repr=False)


_STANDARD_NAMES = HeaderNames("webhook-id", "webhook-timestamp", "webhook-signature")

SCHEMES: Mapping[str, Scheme] = MappingProxyType(
    {
        scheme.name: scheme
        for scheme in (
            Scheme(
                name="standard_webhooks",
                title="Standard Webhooks",
                summary=(
                    "webhook-signature: v1,<base64>, over id, timestamp and body. Verified by "
                    "ready-made libraries. During a rotation both secrets sign."
                ),
                carries_two=True,
                names=_STANDARD_NAMES,
            ),
            Scheme(
                name="standard_webhooks_ed25519",
                title="Standard Webhooks, key pair",
                summary=(
                    "webhook-signature: v1a,<base64>, Ed25519. The receiver gets a public key, which is no secret and "
                    "can sign nothing. During a rotation both keys sign."
                ),
                carries_two=True,
                names=_STANDARD_NAMES,
                key="pair",
            ),
            Scheme(
                name="stripe",
                title="Stripe-style",
                summary=(
                    "Stripe-Signature: t=<timestamp>,v1=<hex>, over timestamp and body, for receivers that verify as "
                    "Stripe's libraries do. During a rotation both secrets sign."
                ),
                carries_two=True,
                names=HeaderNames(signature="Stripe-Signature"),
                options=("signature_header",),
            ),
            Scheme(
                name="timestamp_and_body",
                title="X-<Prefix>-Signature",
                summary=(
                    "<hex>, over timestamp:body, with X-<Prefix>-Timestamp beside it. Any prefix. It has room for one "
                    "signature: after a rotation only the new secret signs."
                ),
                options=("prefix",),
            ),
            Scheme(
                name="slack",
                title="Slack-style",
                summary=(
                    "X-Slack-Signature: v0=<hex>, over v0:timestamp:body, with X-Slack-Request-Timestamp beside it, "
                    "for receivers that verify as Slack's libraries do. After a rotation only the new secret signs."
                ),
                names=HeaderNames(timestamp="X-Slack-Request-Timestamp", signature="X-Slack-Signature"),
                options=("timestamp_header", "signature_header"),
            ),
            Scheme(
                name="github",
                title="GitHub-style",
                summary=(
                    "X-Hub-Signature-256: sha256=<hex>, over the body alone, without any time: a recorded message can "
                    "be played again. After a rotation only the new secret signs."
                ),
                names=HeaderNames(signature="X-Hub-Signature-256"),
                options=("signature_header",),
            ),
            Scheme(
                name="timestamped_body",
                title="X-Signature over the body",
                summary=(
                    "X-Signature: <hex>, over the complete JSON body, which contains the "
                    "timestamp. It has room for one signature: after a rotation only the new "
                    "secret signs."
                ),
                shapes=("timestamped",),
                names=HeaderNames("X-Webhook-Event-Id", "X-Timestamp", "X-Signature"),
                options=("id_header", "timestamp_header", "signature_header"),
            ),
            Scheme(
                name="none",
                title="Not signed",
                summary="Nothing proves where a message comes from: whoever learns the URL is believed.",
                key="none",
            ),
        )
    }
)

# What a row names that this portal does not know: another version's, or a damaged one. Nothing can be sent for it.
UNKNOWN_SCHEME = Scheme("", "Unknown", "The portal does not know this way of signing, and sends nothing.", key="none")


def clean_options(scheme: str, options: Mapping[str, str]) -> dict[str, str]:
    """All options of the scheme, those that are not given at their defaults; raises OptionsRefused."""
    known = _known(scheme)
    cleaned = known.defaults()
    errors: dict[str, str] = {}
    for option, given in options.items():
        if option not in known.options:
            errors[option] = f"{known.title} has no such option."
        elif problem := _problem(option, given.strip(" \t"), cleaned[option]):
            errors[option] = problem
        else:
            cleaned[option] = given.strip(" \t")
    if not errors:
        errors = _said_twice(cleaned)
    if errors:
        raise OptionsRefused(errors)
    return cleaned


def _problem(option: str, given: str, default: str) -> str:
    if option != "prefix":
        if len(given) > MAX_HEADER_NAME:
            return f"A header name may have at most {MAX_HEADER_NAME} characters."
        return "" if given.lower() == default.lower() else why_not_ours(given)
    if len(given) > MAX_PREFIX or not _PREFIX.fullmatch(given):
        return f"Use 1 to {MAX_PREFIX} letters and digits, with hyphens between them."
    return why_not_ours(f"X-{given}-Signature")


def _said_twice(options: Mapping[str, str]) -> dict[str, str]:
    """One header cannot carry two things."""
    seen: set[str] = set()
    errors = {}
    for option, name in options.items():
        if option != "prefix" and name.lower() in seen:
            errors[option] = f"{name} carries something else already."
        seen.add(name.lower())
    return errors


def generate_secret(scheme: str) -> str:
    """A new secret of 256 bits, in the form the scheme's receivers expect; of a pair the private key."""
    known = _known(scheme)
    if not known.signs:
        raise ValueError(f"{known.title}: there is no secret.")
    key = randomness.token_bytes(GENERATED_KEY_BYTES)
    if scheme == "standard_webhooks":
        return WHSEC + base64.b64encode(key).decode()
    if known.has_public_key:
        return WHSK + base64.b64encode(key).decode()
    return key.hex()


def public_key(scheme: str, secret: str) -> str:
    """What a receiver verifies with, `whpk_…`, where that is not the secret itself; "" where it is."""
    if not _known(scheme).has_public_key:
        return ""
    private = Ed25519PrivateKey.from_private_bytes(signing_key(scheme, secret))
    return WHPK + base64.b64encode(private.public_key().public_bytes_raw()).decode()


def signing_key(scheme: str, secret: str) -> bytes:
    """The key a secret stands for; raises ValueError if it is not a secret of the scheme.

    Standard Webhooks: `whsec_` and the base64 of 24 to 64 bytes, the key being those bytes; of a pair `whsk_` and the
    base64 of Ed25519's 32, or of those and the public key's 32 after them, as other libraries keep them.
    All others: any text, the key being its UTF-8.
    """
    known = _known(scheme)
    # The messages must not repeat the secret.
    if known.has_public_key:
        key = _decoded(secret, WHSK)
        if len(key) not in (ED25519_SEED_BYTES, 2 * ED25519_SEED_BYTES):
            raise ValueError(f"The private key must hold {ED25519_SEED_BYTES} bytes.")
        return key[:ED25519_SEED_BYTES]
    if scheme == "standard_webhooks":
        key = _decoded(secret, WHSEC)
        if not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
            raise ValueError(f"The secret must hold {MIN_KEY_BYTES} to {MAX_KEY_BYTES} bytes.")
        return key
    if not secret:
        raise ValueError("The secret is empty.")
    return secret.encode()


def _decoded(secret: str, start: str) -> bytes:
    if not secret.startswith(start):
        raise ValueError(f"A Standard Webhooks secret of this kind begins with {start}.")
    try:
        return base64.b64decode(secret[len(start) :], validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"What follows {start} in the secret is not base64.") from None


class Signer:
    """Signs the messages of one scheme with the same secrets: what depends on these alone is worked out once.

    `secrets` are the live ones, newest first. Raises ValueError for an unknown scheme, where there is no secret, or
    for a malformed one.
    """

    __slots__ = ("_keys", "_names", "_scheme")

    def __init__(self, scheme: str, secrets: Sequence[str], options: Mapping[str, str] = NO_OPTIONS) -> None:
        known = _known(scheme)
        if known.signs and not secrets:
            raise ValueError("There is no secret to sign with.")
        self._scheme = scheme
        self._keys = [signing_key(scheme, secret) for secret in secrets] if known.signs else []
        self._names = known.headers(options)

    def sign(self, message_id: str, timestamp: int, body: bytes) -> Signed:
        """Raises ValueError when the parts do not fit the scheme: for S4 a body without a timestamp at its end."""
        if not self._keys:
            return Signed(headers=(), body=body)
        if not _MESSAGE_ID.fullmatch(message_id):
            # Standard Webhooks: the id is joined with full stops, so it cannot contain one.
            raise ValueError("The message id may contain letters, digits, hyphens and underscores.")
        if self._scheme == "timestamped_body":
            body = stamp(body, timestamp)
        names = self._names
        values = (
            (names.id, message_id),
            (names.timestamp, str(timestamp)),
            (names.signature, _signature(self._scheme, self._keys, message_id, timestamp, body)),
        )
        return Signed(headers=tuple([(name, value) for name, value in values if name]), body=body)


def sign(
    scheme: str,
    secrets: Sequence[str],
    *,
    message_id: str,
    timestamp: int,
    body: bytes,
    options: Mapping[str, str] = NO_OPTIONS,
) -> Signed:
    """Sign one attempt of a message.

    `message_id` is the same for every attempt; `timestamp` is the attempt's, in POSIX seconds. Raises ValueError as
    Signer does.
    """
    return Signer(scheme, secrets, options).sign(message_id, timestamp, body)


def _signature(scheme: str, keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """The value of the signature's header. Schemes that carry one signature take the newest key."""
    match scheme:
        case "standard_webhooks":
            signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
            return " ".join("v1," + base64.b64encode(_digest(key, signed)).decode() for key in keys)
        case "standard_webhooks_ed25519":
            signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
            made = (Ed25519PrivateKey.from_private_bytes(key).sign(signed) for key in keys)
            return " ".join("v1a," + base64.b64encode(signature).decode() for signature in made)
        case "stripe":
            signed = b"%d.%s" % (timestamp, body)
            return ",".join([f"t={timestamp}", *(f"v1={_digest(key, signed).hex()}" for key in keys)])
        case "timestamp_and_body":
            return _digest(keys[0], b"%d:%s" % (timestamp, body)).hex()
        case "slack":
            return "v0=" + _digest(keys[0], b"v0:%d:%s" % (timestamp, body)).hex()
        case "github":
            return "sha256=" + _digest(keys[0], body).hex()
        case _:
            return _digest(keys[0], body).hex()


def stamp(body: bytes, timestamp: int) -> bytes:
    """The body with the attempt's timestamp as its last field; nothing else changes (S4)."""
    stamped, count = _TIMESTAMP_AT_END.subn(b',"timestamp":%d}' % timestamp, body)
    if count != 1:
        raise ValueError("This scheme signs bodies that end with a timestamp field.")
    return stamped


def _known(scheme: str) -> Scheme:
    try:
        return SCHEMES[scheme]
    except KeyError:
        raise ValueError(f"There is no signing scheme {scheme!r}.") from None


def _digest(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")
