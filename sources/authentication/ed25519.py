"""An Ed25519 signature in a header (Standard Webhooks ``v1a``, RFC 8032).

The sender signs with a private key that nobody else has; the source keeps the public key, which the
admin types and which is no secret. As it comes the settings are those of Standard Webhooks.
"""

import hmac
from collections.abc import Mapping, Sequence
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sources.authentication.contract import InboundRequest, LiveSecret, Refusal
from sources.authentication.diagnosis import presented_evidence
from sources.authentication.encodings import decode, encode, encoded_width
from sources.authentication.signed import SignedRequest, header_setting, scheme_settings

KEY_BYTES, SIGNATURE_BYTES = 32, 64
KEY_PREFIX = "whpk_"


class Ed25519Signature(SignedRequest):
    name = "ed25519"
    title = "Ed25519"
    summary = "The sender signs with a private key of its own; you enter the public key. No secret is shared."
    prefix = KEY_PREFIX
    makes_secret = False
    settings = (
        header_setting("webhook-signature"),
        *scheme_settings(
            prefix="v1a,",
            encoding="base64",
            signed="{id}.{timestamp}.{body}",
            timestamp="header:webhook-timestamp",
            identifier="header:webhook-id",
            signatures="space",
            tolerance=300,
        ),
    )

    def width(self, config: Mapping[str, object]) -> int:
        return encoded_width(SIGNATURE_BYTES, str(self.setting(config, "encoding")))

    def key(self, value: bytes, config: Mapping[str, object]) -> bytes:
        """32 bytes, written in base64 (after ``whpk_``, if it begins so) or as 64 hex digits."""
        text = value.removeprefix(KEY_PREFIX.encode())
        key = decode(text, "hex" if len(text) == 2 * KEY_BYTES else "base64")
        if len(key) != KEY_BYTES:
            raise ValueError("An Ed25519 public key has 32 bytes.")
        return key

    def _signed_with(
        self, key: bytes, message: bytes, signatures: Sequence[bytes], config: Mapping[str, object]
    ) -> bool:
        encoding = str(self.setting(config, "encoding"))
        found = False
        for one in signatures:
            try:
                raw = decode(one, encoding)
                _public_key(key).verify(raw, message)
            except (ValueError, InvalidSignature):
                continue
            # One signature has one spelling in base64.
            found |= hmac.compare_digest(encode(raw, encoding), one.lower() if encoding == "hex" else one)
        return found

    def _clean_key(self, secret: str, config: Mapping[str, object]) -> str:
        try:
            _public_key(self.key(secret.encode(), config))
        except ValueError:
            raise ValueError("Enter a public key: whpk_ and 44 characters of base64, or 64 hex digits.") from None
        return secret

    def _evidence(
        self,
        config: Mapping[str, object],
        live: Sequence[LiveSecret],
        ended: Sequence[LiveSecret],
        request: InboundRequest,
        refusal: Refusal,
    ) -> dict[str, str | int]:
        return presented_evidence(self.scheme(config), request)


@lru_cache(maxsize=1024)
def _public_key(key: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(key)
