"""How senders prove who they are: one pure module for each method (spec P5-P9, D1, D3).

``METHODS[name].verify(config, live_secrets, request)`` is all that the ingest door needs.
"""

import hmac
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
            Bearer(),
            Basic(),
            JsonWebToken(),
            NoAuthentication(),
        )
    }
)

_NOBODY = LiveSecret(id="", value=b"\x00" * 32, digest=b"\x00" * 32)
_HEX_SIGNATURE = re.compile(rb"(?:[A-Za-z0-9-]{1,16}=)?([0-9A-Fa-f]{64}|[0-9A-Fa-f]{40})")


def verify_unknown(request: InboundRequest) -> Verdict:
    """Refuse a request for a source that does not exist, in the time of a wrong secret.

    What a wrong secret costs depends on the method; the only part large enough to see from
    outside is hashing the body. So the body is hashed exactly when the request carries something
    that an HMAC source would have hashed it for, and otherwise one digest is compared.
    """
    for _, value in request.headers:
        found = _HEX_SIGNATURE.fullmatch(value.strip(b" \t"))
        if found:
            algorithm = "sha256" if len(found[1]) == 64 else "sha1"
            expected = hmac.new(b"\x00" * 32, request.body, algorithm).hexdigest()
            hmac.compare_digest(expected.encode(), found[1].lower())
            break
    else:
        _NOBODY.matches(request.header("Authorization") or b"")
    return Verdict(False, reason="source_unknown", detail="No source has this URL.")
