"""A keyed hash of the body, as a hex string in a header (spec P6, RFC 2104).

The hash runs over the bytes on the wire, before decompression and parsing. The header value is
``sha256=<hex>``, ``sha1=<hex>`` or the bare hex string, in either case. SHA-1 is for senders that
have nothing newer: HMAC-SHA-1 itself stands (RFC 6194 section 3.3).
"""

import hmac
import re
from collections.abc import Mapping, Sequence

from sources.authentication.contract import (
    InboundRequest,
    LiveSecret,
    Method,
    Refusal,
    Setting,
    Verdict,
    clean_header_name,
    first_match,
)

HEX_DIGITS = {"sha256": 64, "sha1": 40}
_SIGNATURE = re.compile(rb"(?:([A-Za-z0-9-]{1,16})=)?([0-9A-Fa-f]+)")


def signature(algorithm: str, key: bytes, body: bytes) -> str:
    """The lowercase hex HMAC of a body."""
    return hmac.new(key, body, algorithm).hexdigest()


def read_signature(value: bytes, algorithm: str) -> bytes:
    """The lowercase hex part of a header value that was made with this algorithm."""
    found = _SIGNATURE.fullmatch(value)
    if found is None:
        raise Refusal(
            "header_malformed",
            f'The signature ({len(value)} bytes) is neither "{algorithm}=<hex>" nor hex digits.',
        )
    prefix, digits = found.groups()
    if prefix is not None and prefix.lower() != algorithm.encode():
        raise Refusal("algorithm_mismatch", f"The signature was not made with {algorithm}.")
    if len(digits) != HEX_DIGITS[algorithm]:
        raise Refusal(
            "header_malformed",
            f"The signature has {len(digits)} hex digits; {algorithm} has {HEX_DIGITS[algorithm]}.",
        )
    return digits.lower()


def clean_algorithm(given: object) -> str:
    name = str(given).strip().lower().replace("-", "").replace(" ", "")
    if name not in HEX_DIGITS:
        raise ValueError("Choose sha256 or sha1.")
    return name


class HmacSignature(Method):
    name = "hmac"
    title = "HMAC"
    summary = "The sender signs every body with a secret key. Proves origin and integrity."
    keeps_value = True
    prefix = "pcl_hmac_"
    settings = (
        Setting(
            "header",
            "Header name",
            "The header that carries the signature.",
            clean_header_name,
            default="X-Signature",
        ),
        Setting(
            "algorithm",
            "Hashing algorithm",
            "SHA-256, unless the sender can only do SHA-1.",
            clean_algorithm,
            default="sha256",
            choices=(("sha256", "SHA-256"), ("sha1", "SHA-1")),
        ),
    )

    def _prove(
        self,
        config: Mapping[str, object],
        secrets: Sequence[LiveSecret],
        request: InboundRequest,
    ) -> Verdict:
        header = str(self.setting(config, "header"))
        algorithm = clean_algorithm(self.setting(config, "algorithm"))
        presented = read_signature(request.only(header), algorithm)
        keys = [secret for secret in secrets if secret.value]
        if not keys:
            raise Refusal("no_secret", "The source has no valid secret at this time.")
        match = first_match(
            keys,
            lambda secret: hmac.compare_digest(
                signature(algorithm, secret.value or b"", request.body).encode(), presented
            ),
        )
        if match is None:
            raise Refusal(
                "signature_mismatch",
                f"The signature in {header} is not that of the {len(request.body)} bytes received: "
                "another key, or the body changed on the way.",
            )
        return Verdict(True, secret_id=match.id)
