"""How senders prove who they are: one pure module for each method (spec P5-P9, D1, D3, B3).

``METHODS[name].verify(config, live_secrets, request)`` is all that the ingest door needs.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

from sources.authentication.basic import Basic
from sources.authentication.bearer import Bearer
from sources.authentication.contract import (
    RESERVED_HEADERS,
    ConfigError,
    InboundRequest,
    LiveSecret,
    Method,
    Setting,
    Verdict,
    clean_header_name,
)
from sources.authentication.ed25519 import Ed25519Signature
from sources.authentication.hmac_signature import HmacSignature
from sources.authentication.json_web_token import JsonWebToken
from sources.authentication.none import NoAuthentication
from sources.authentication.shared_secret import SharedSecret

__all__ = [
    "METHODS",
    "RESERVED_HEADERS",
    "ConfigError",
    "InboundRequest",
    "LiveSecret",
    "Method",
    "Setting",
    "Verdict",
    "clean_header_name",
    "verify_unknown",
]

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        method.name: method
        for method in (
            SharedSecret(),
            HmacSignature(),
            Ed25519Signature(),
            Bearer(),
            Basic(),
            JsonWebToken(),
            NoAuthentication(),
        )
    }
)

_NOBODY = LiveSecret(id="", value=b"\x00" * 32, digest=b"\x00" * 32)
_HEX_SIGNATURE = re.compile(rb"(?:[A-Za-z0-9-]{1,16}=)?([0-9A-Fa-f]{40}|[0-9A-Fa-f]{64}|[0-9A-Fa-f]{128})")
_BASE64_SIGNATURE = re.compile(rb"(?:[A-Za-z0-9]{1,8}[=,])?([A-Za-z0-9+/]{27}=|[A-Za-z0-9+/]{43}=|[A-Za-z0-9+/]{86}==)")
_ALGORITHMS = {40: "sha1", 64: "sha256", 128: "sha512", 28: "sha1", 44: "sha256", 88: "sha512"}


def verify_unknown(request: InboundRequest) -> Verdict:
    """Refuse a request for a source that does not exist, in the time of a wrong secret.

    What a wrong secret costs depends on the method; the only part large enough to see from
    outside is hashing the body. So a request that carries something which an HMAC source would
    have hashed it for is refused by an HMAC with a key that nobody has, and otherwise one digest is
    compared.
    """
    for _, value in request.headers:
        for item in re.split(rb"[, ]", value.strip(b" \t")[:2048])[-3:]:
            found = _HEX_SIGNATURE.fullmatch(item) or _BASE64_SIGNATURE.fullmatch(item)
            if found:
                encoding = "hex" if found.re is _HEX_SIGNATURE else "base64"
                config = {"header": "X-Signature", "algorithm": _ALGORITHMS[len(found[1])], "encoding": encoding}
                asked = request._replace(headers=((b"x-signature", found[1]),))
                refused = METHODS["hmac"].verify(config, [_NOBODY], asked)
                return UNKNOWN._replace(evidence=refused.evidence)
    _NOBODY.matches(request.header("Authorization") or b"")
    return UNKNOWN


UNKNOWN = Verdict(False, reason="source_unknown", detail="No source has this URL.")
