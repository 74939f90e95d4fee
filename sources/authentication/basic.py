"""``Authorization: Basic`` with a user name and a password (spec P8, RFC 7617, UTF-8)."""

import base64
import binascii
import hmac
import unicodedata
from collections.abc import Mapping, Sequence
from hashlib import sha256

from sources.authentication.contract import (
    InboundRequest,
    LiveSecret,
    Method,
    Refusal,
    Setting,
    Verdict,
    authorization,
    first_match,
)
from sources.authentication.diagnosis import comparison_hint


def clean_username(given: object) -> str:
    """RFC 7617 section 2: a user-id has no colon and no control characters."""
    if not isinstance(given, str):
        raise ValueError("Enter text.")
    name = unicodedata.normalize("NFC", given)
    if ":" in name:
        raise ValueError("A user name cannot contain a colon.")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise ValueError("Control characters are not allowed.")
    if len(name) > 128:
        raise ValueError("Use at most 128 characters.")
    return name


def read_credentials(encoded: bytes) -> tuple[bytes, bytes]:
    """User name and password, each NFC-normalised UTF-8 (RFC 7617 section 2.1).

    The first colon divides; the password may contain more. Refuses what is not base64, UTF-8 or
    divided.
    """
    try:
        raw = base64.b64decode(encoded, validate=True)
        text = raw.decode()
    except (binascii.Error, ValueError):
        raise Refusal("credentials_malformed", "The Basic credentials are not base64 of UTF-8 text.") from None
    if base64.b64encode(raw) != encoded:
        raise Refusal("credentials_malformed", "The Basic credentials have bits that base64 leaves unused.")
    username, colon, password = unicodedata.normalize("NFC", text).partition(":")
    if not colon:
        raise Refusal("credentials_malformed", "The Basic credentials contain no colon.")
    return username.encode(), password.encode()


class Basic(Method):
    name = "basic"
    title = "Basic"
    summary = "A user name and a password, for tools that speak nothing else."
    prefix = "pcl_pass_"
    min_secret_bytes = 8
    settings = (Setting("username", "User name", "Sent together with the password.", clean_username),)

    def _prove(
        self,
        config: Mapping[str, object],
        secrets: Sequence[LiveSecret],
        request: InboundRequest,
    ) -> Verdict:
        username, password = read_credentials(authorization(request, "Basic"))
        expected = str(config.get("username", "")).encode("utf-8", "replace")
        match = first_match(secrets, lambda secret: secret.matches(password))
        # Digests first: the comparison then takes as long for every length of name.
        right_name = hmac.compare_digest(sha256(username).digest(), sha256(expected).digest())
        if match is None or not right_name:
            wrong = " and ".join(
                name for name, right in (("user name", right_name), ("password", match is not None)) if not right
            )
            raise Refusal(
                "secret_mismatch",
                "The user name or the password is not valid.",
                {"wrong": wrong, "header": "Authorization"},
            )
        return Verdict(True, secret_id=match.id)

    def _evidence(
        self,
        config: Mapping[str, object],
        live: Sequence[LiveSecret],
        ended: Sequence[LiveSecret],
        request: InboundRequest,
        refusal: Refusal,
    ) -> dict[str, str | int]:
        if refusal.reason != "secret_mismatch":
            return {"header": "Authorization"}
        _, password = read_credentials(authorization(request, "Basic"))
        return dict(comparison_hint(password, live, ended))
