"""How a message proves that it comes from the portal. Pure: bytes and strings in, headers out.

Two schemes, as data in `SCHEMES`:

- `standard_webhooks` (B4, https://www.standardwebhooks.com): HMAC-SHA256 over `id.timestamp.body`,
  base64. Its header is a list, so during an overlap every live secret signs.
- `timestamped_body` (S4): HMAC-SHA256, hex, over the complete JSON body, which carries the
  timestamp itself. Its header is one value, so it can carry one signature only. During an overlap
  the newest secret signs (S6: "a new secret that signs from then on"); a receiver that rotates
  has to accept both of its secrets for a while, since we cannot send both signatures.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets as randomness
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

WHSEC = "whsec_"
MIN_KEY_BYTES, MAX_KEY_BYTES = 24, 64
GENERATED_KEY_BYTES = 32

_MESSAGE_ID = re.compile(r"[A-Za-z0-9_\-]{1,256}")
_TIMESTAMP_AT_END = re.compile(rb',"timestamp":[0-9]+\}\Z')

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Scheme:
    """One way of signing, as the portal shows it.

    `carries_two`: whether two secrets can sign one message, that is, whether a rotation with an
    overlap goes unnoticed by the receiver. `shapes`: the message shapes it can sign.
    """

    name: str
    title: str
    summary: str
    carries_two: bool
    shapes: tuple[str, ...]
    id_header: str
    timestamp_header: str
    signature_header: str

    @property
    def headers(self) -> tuple[str, str, str]:
        return self.id_header, self.timestamp_header, self.signature_header


@dataclass(frozen=True)
class Signed:
    """The headers to add, and the body to send: not always the one that was given (S4)."""

    headers: Headers = field(repr=False)
    body: bytes = field(repr=False)


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
                shapes=("envelope", "raw"),
                id_header="webhook-id",
                timestamp_header="webhook-timestamp",
                signature_header="webhook-signature",
            ),
            Scheme(
                name="timestamped_body",
                title="X-Signature over the body",
                summary=(
                    "X-Signature: <hex>, over the complete JSON body, which contains the "
                    "timestamp. It has room for one signature: after a rotation only the new "
                    "secret signs."
                ),
                carries_two=False,
                shapes=("timestamped",),
                id_header="X-Webhook-Event-Id",
                timestamp_header="X-Timestamp",
                signature_header="X-Signature",
            ),
        )
    }
)


def generate_secret(scheme: str) -> str:
    """A new secret of 256 bits, in the form the scheme's receivers expect."""
    _known(scheme)
    key = randomness.token_bytes(GENERATED_KEY_BYTES)
    if scheme == "standard_webhooks":
        return WHSEC + base64.b64encode(key).decode()
    return key.hex()


def signing_key(scheme: str, secret: str) -> bytes:
    """The HMAC key a secret stands for; raises ValueError if it is not a secret of the scheme.

    Standard Webhooks: `whsec_` and the base64 of 24 to 64 bytes, the key being those bytes.
    S4: any text, the key being its UTF-8.
    """
    _known(scheme)
    if scheme == "timestamped_body":
        if not secret:
            raise ValueError("The secret is empty.")
        return secret.encode()
    # The messages must not repeat the secret.
    if not secret.startswith(WHSEC):
        raise ValueError(f"A Standard Webhooks secret begins with {WHSEC}.")
    try:
        key = base64.b64decode(secret[len(WHSEC) :], validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"What follows {WHSEC} in the secret is not base64.") from None
    if not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
        raise ValueError(f"The secret must hold {MIN_KEY_BYTES} to {MAX_KEY_BYTES} bytes.")
    return key


def sign(
    scheme: str,
    secrets: Sequence[str],
    *,
    message_id: str,
    timestamp: int,
    body: bytes,
) -> Signed:
    """Sign one attempt of a message.

    `secrets` are the live ones, newest first. `message_id` is the same for every attempt;
    `timestamp` is the attempt's, in POSIX seconds. Raises ValueError when the parts do not fit
    the scheme: no secret, a malformed one, or for S4 a body without a timestamp at its end.
    """
    known = _known(scheme)
    if not secrets:
        raise ValueError("There is no secret to sign with.")
    if not _MESSAGE_ID.fullmatch(message_id):
        # Standard Webhooks: the id is joined with full stops, so it cannot contain one.
        raise ValueError("The message id may contain letters, digits, hyphens and underscores.")
    keys = [signing_key(scheme, secret) for secret in secrets]
    if scheme == "timestamped_body":
        body = stamp(body, timestamp)
        signature = _digest(keys[0], body).hex()
    else:
        signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
        signature = " ".join("v1," + base64.b64encode(_digest(key, signed)).decode() for key in keys)
    return Signed(
        headers=(
            (known.id_header, message_id),
            (known.timestamp_header, str(timestamp)),
            (known.signature_header, signature),
        ),
        body=body,
    )


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
    return hmac.new(key, data, hashlib.sha256).digest()
