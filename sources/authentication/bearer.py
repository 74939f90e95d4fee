"""``Authorization: Bearer <token>`` with an opaque token (spec P7, RFC 6750 section 2.1)."""

import re
from collections.abc import Mapping, Sequence

from sources.authentication.contract import (
    InboundRequest,
    LiveSecret,
    Method,
    Refusal,
    Verdict,
    authorization,
    first_match,
)
from sources.authentication.diagnosis import comparison_hint


class Bearer(Method):
    name = "bearer"
    title = "Bearer token"
    summary = "The sender puts a token in the Authorization header."
    prefix = "pcl_bearer_"

    def _clean_typed(self, secret: str) -> str:
        # People paste the whole header value; the scheme is not part of the token (P7).
        token = re.sub(r"^(authorization:\s*)?bearer\s+", "", secret, flags=re.IGNORECASE)
        if token.lower() == "bearer":
            raise ValueError('Enter the token that follows "Bearer".')
        if not re.fullmatch(r"[\x21-\x7e]*", token):
            raise ValueError("A token has letters, digits and ASCII punctuation, and no spaces.")
        return token

    def _prove(
        self,
        config: Mapping[str, object],
        secrets: Sequence[LiveSecret],
        request: InboundRequest,
    ) -> Verdict:
        presented = authorization(request, "Bearer")
        match = first_match(secrets, lambda secret: secret.matches(presented))
        if match is None:
            raise Refusal("secret_mismatch", f"The bearer token ({len(presented)} bytes) is not valid.")
        return Verdict(True, secret_id=match.id)

    def _evidence(
        self,
        config: Mapping[str, object],
        live: Sequence[LiveSecret],
        ended: Sequence[LiveSecret],
        request: InboundRequest,
        refusal: Refusal,
    ) -> dict[str, str | int]:
        value = request.header("Authorization") or b""
        presented = value[7:].strip(b" \t") if value[:7].lower() == b"bearer " else value
        return {"header": "Authorization", **comparison_hint(presented, live, ended)}
