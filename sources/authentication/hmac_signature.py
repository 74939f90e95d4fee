"""A keyed hash of the body, or of the body with more, in a header (spec P6, B3; RFC 2104).

The hash runs over the bytes on the wire, before decompression and parsing. As it comes, the header
value is ``sha256=<hex>``, ``sha1=<hex>`` or the bare hex string, in either case; the other settings
fit the schemes of many senders (``sources.authentication.scheme``). SHA-1 is for senders that have
nothing newer: HMAC-SHA-1 itself stands (RFC 6194 section 3.3).
"""

import hmac
import secrets as randomness
from base64 import b64encode
from collections.abc import Mapping, Sequence

from sources.authentication.contract import InboundRequest, LiveSecret, Prove, Refusal, Verdict
from sources.authentication.diagnosis import evidence_of
from sources.authentication.encodings import decode, encode, encoded_width
from sources.authentication.settings import Setting, clean_choice
from sources.authentication.signed import SignedRequest, header_setting, scheme_settings

DIGEST_BYTES = {"sha256": 32, "sha1": 20, "sha512": 64}
BASE64_PREFIX = "whsec_"  # of keys of Standard Webhooks
MIN_KEY_BYTES = 16

KEY_ENCODINGS = (
    ("utf-8", "The secret as it stands"),
    ("base64", "Base64, after whsec_ if it begins so"),
    ("hex", "Hexadecimal"),
)
_HASHES = (("sha256", "SHA-256"), ("sha1", "SHA-1"), ("sha512", "SHA-512"))


def signature(algorithm: str, key: bytes, message: bytes) -> str:
    """The lowercase hex HMAC of a message."""
    return hmac.digest(key, message, algorithm).hex()


def clean_algorithm(given: object) -> str:
    name = str(given).strip().lower().replace("-", "").replace(" ", "")
    if name not in DIGEST_BYTES:
        raise ValueError("Choose sha256, sha1 or sha512.")
    return name


class HmacSignature(SignedRequest):
    name = "hmac"
    title = "HMAC"
    summary = "The sender signs every body with a secret key. Proves origin and integrity."
    prefix = "pcl_hmac_"
    settings = (
        header_setting("X-Signature"),
        Setting(
            "algorithm",
            "Hashing algorithm",
            "SHA-256, unless the sender can do something else only.",
            clean_algorithm,
            default="sha256",
            choices=_HASHES,
        ),
        *scheme_settings(
            prefix="", encoding="hex", signed="{body}", timestamp="", identifier="", signatures="one", tolerance=300
        ),
        Setting(
            "key_encoding",
            "Key",
            "How the key is written in the secret.",
            clean_choice(KEY_ENCODINGS),
            default="utf-8",
            choices=KEY_ENCODINGS,
            advanced=True,
        ),
    )

    def prepared(self, config: Mapping[str, object], secrets: Sequence[LiveSecret]) -> Prove:
        """With one key and nothing but the body signed, the usual post is accepted by a comparison of what it must be.

        Whatever is not just that, the careful way looks at from the beginning.
        """
        carefully = super().prepared(config, secrets)
        scheme, keys = self.scheme(config), self.keys(config, secrets)
        usual = scheme.signs_body_alone and not scheme.separator and scheme.timestamp is None and scheme.id is None
        if len(secrets) != 1 or len(keys) != 1 or secrets[0].ends_at is not None or not usual:
            return carefully
        if config.get("encoding", "hex") != "hex":
            return carefully
        key, algorithm = keys[0][1], self._algorithm(config)
        wanted, start = scheme.header.lower().encode(), scheme.prefix or scheme.implied
        accepted = Verdict(True, secret_id=secrets[0].id)

        def prove(request: InboundRequest) -> Verdict:
            found = b""
            for name, value in request.headers:
                if name == wanted:
                    if found:
                        return carefully(request)
                    found = value
                elif b"_" in name:
                    return carefully(request)
            expected = start + hmac.digest(key, request.body, algorithm).hex().encode()
            return accepted if hmac.compare_digest(expected, found) else carefully(request)

        return prove

    def width(self, config: Mapping[str, object]) -> int:
        return encoded_width(DIGEST_BYTES[self._algorithm(config)], str(self.setting(config, "encoding")))

    def implied_prefix(self, config: Mapping[str, object]) -> str:
        return f"{self._algorithm(config)}="

    def key(self, value: bytes, config: Mapping[str, object]) -> bytes:
        encoding = config.get("key_encoding", "utf-8")
        if encoding == "utf-8":
            return value
        if encoding == "base64":
            value = value.removeprefix(BASE64_PREFIX.encode())
        return decode(value, str(encoding))

    def _signed_with(
        self, key: bytes, message: bytes, signatures: Sequence[bytes], config: Mapping[str, object]
    ) -> bool:
        digest = hmac.digest(key, message, str(config.get("algorithm", "sha256")))
        if config.get("encoding", "hex") == "hex":
            expected = digest.hex().encode()
            signatures = [one.lower() for one in signatures]
        else:
            expected = encode(digest, "base64")
        # The text, not what it decodes to: one signature has one spelling in base64.
        found = False
        for one in signatures:
            found |= hmac.compare_digest(expected, one)
        return found

    def _draw_secret(self, config: Mapping[str, object]) -> str:
        encoding = config.get("key_encoding", "utf-8")
        if encoding == "base64":
            return BASE64_PREFIX + b64encode(randomness.token_bytes(32)).decode()
        return randomness.token_hex(32) if encoding == "hex" else super()._draw_secret(config)

    def _clean_key(self, secret: str, config: Mapping[str, object]) -> str:
        try:
            size = len(self.key(secret.encode(), config))
        except ValueError:
            encoding = {"hex": "hexadecimal"}.get(str(config.get("key_encoding")), "base64")
            raise ValueError(f"The key of this source is written in {encoding}; this is not.") from None
        if size < MIN_KEY_BYTES:
            raise ValueError(f"The key has {size} bytes; at least {MIN_KEY_BYTES} are needed.")
        return secret

    def _evidence(
        self,
        config: Mapping[str, object],
        live: Sequence[LiveSecret],
        ended: Sequence[LiveSecret],
        request: InboundRequest,
        refusal: Refusal,
    ) -> dict[str, str | int]:
        keys, old = self.keys(config, live), self.keys(config, ended)
        return evidence_of(
            self.scheme(config),
            request,
            reason=refusal.reason,
            algorithm=self._algorithm(config),
            encoding=str(self.setting(config, "encoding")),
            key_encoding=str(self.setting(config, "key_encoding")),
            key=keys[0][1] if keys else b"",
            ended=[key for _, key in old],
            secrets=[secret.value for secret in (*live, *ended) if secret.value],
        )

    def _algorithm(self, config: Mapping[str, object]) -> str:
        return clean_algorithm(self.setting(config, "algorithm"))
