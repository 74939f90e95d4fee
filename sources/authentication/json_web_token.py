"""A JSON Web Token signed with HS256 (spec D1, D3; RFC 7515, RFC 7519, RFC 8725).

What stands fixed, so that a token cannot choose its own verification:
- The algorithm is HS256, whatever the token's header says (RFC 8725 section 3.1).
- The key is one of the source's own, found by the ``kid`` that the header must name. ``jku``,
  ``x5u``, ``jwk`` and ``x5c`` are ignored; a header with ``crit`` or ``b64`` is refused.
- Keys shorter than the hash (32 bytes, RFC 7518 section 3.2) are never used.
- The token must say when it was made (``iat``, or ``Timestamp``, D3) or until
  when it holds (``exp``), in POSIX seconds, and neither may reach beyond the maximum age. Only a
  source that switches ``require_timestamp`` off accepts a token without any, the empty payload
  ``{}`` included.
A token does not cover the body. ``claims_match_body`` ties the two together field by field.
"""

import hmac
import json
import re
from collections.abc import Mapping, Sequence

import jwt

from sources.authentication.contract import (
    InboundRequest,
    LiveSecret,
    Method,
    Refusal,
    Setting,
    Verdict,
    authorization,
    clean_header_name,
    clean_switch,
    clean_whole_number,
    first_match,
)

MIN_KEY_BYTES = 32
MAX_TOKEN_BYTES = 8192
END_OF_TIME = 253_402_300_799  # the last second of the year 9999, UTC

# Claims with a meaning of their own (RFC 7519 section 4.1) are not copies of the body's fields.
REGISTERED_CLAIMS = frozenset(("iss", "sub", "aud", "exp", "nbf", "iat", "jti"))

_COMPACT = re.compile(rb"[A-Za-z0-9_-]+={0,2}\.[A-Za-z0-9_-]+={0,2}\.[A-Za-z0-9_-]+={0,2}")
_SIGNER = jwt.PyJWS(algorithms=["HS256"])


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A repeated key would let the portal and the receiver read different values."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is repeated")
    return found


def read_object(text: bytes) -> dict[str, object] | None:
    """A JSON object without repeated keys, or None for anything else."""
    try:
        found = json.loads(text, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def same_value(first: object, second: object) -> bool:
    """JSON equality: numbers by value, booleans are not numbers, arrays in order.

    Iterative, because the nesting is the sender's.
    """
    pending = [(first, second)]
    while pending:
        one, other = pending.pop()
        if isinstance(one, dict) and isinstance(other, dict):
            if one.keys() != other.keys():
                return False
            pending.extend((one[key], other[key]) for key in one)
        elif isinstance(one, list) and isinstance(other, list):
            if len(one) != len(other):
                return False
            pending.extend(zip(one, other, strict=True))
        elif isinstance(one, bool) or isinstance(other, bool):
            if one is not other:
                return False
        elif isinstance(one, dict | list) or isinstance(other, dict | list) or one != other:
            return False
    return True


def mismatched_claims(claims: Mapping[str, object], body_object: Mapping[str, object]) -> list[str]:
    """Names of claims that repeat a first-level key of the body with another value (D3)."""
    return [name for name, value in claims.items() if name in body_object and not same_value(value, body_object[name])]


def claims_match(claims: Mapping[str, object], body_object: Mapping[str, object]) -> bool:
    """Whether every claim named like a first-level key of the body has the body's value (D3)."""
    return not mismatched_claims(claims, body_object)


def check_body(claims: Mapping[str, object], body: bytes) -> None:
    """Refuse unless the body agrees with the claims.

    A body that is no JSON object has no fields to agree with; it is refused when the token claims
    any, so that the check cannot be shaken off by sending something else.
    """
    found = read_object(body)
    if found is None:
        if claims.keys() - REGISTERED_CLAIMS - {"Timestamp"}:
            raise Refusal("claims_mismatch", "The token has claims; the body is no JSON object.")
        return
    wrong = mismatched_claims(claims, found)
    if wrong:
        raise Refusal("claims_mismatch", f"{len(wrong)} claims of the token differ from the body's fields.")


def _seconds(claims: Mapping[str, object], name: str) -> float | None:
    """A NumericDate (RFC 7519 section 2) or None. Text, NaN and astronomic dates are refused."""
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refusal("claim_malformed", f"The claim {name} is not a number of seconds.")
    if not 0 <= value <= END_OF_TIME:  # false for NaN too
        raise Refusal("claim_malformed", f"The claim {name} is outside of any calendar.")
    return float(value)


def check_times(
    claims: Mapping[str, object],
    now: float,
    *,
    max_age: int,
    leeway: int,
    require_timestamp: bool = True,
) -> None:
    """Refuse a token that is too old, not yet valid, or not bounded in time. Seconds throughout.

    Where the token says when it was made, that bounds its age. Where it has only ``exp``, that
    may lie at most ``max_age`` ahead: a token that holds for years is a password in disguise.
    """
    made = [when for name in ("iat", "Timestamp") if (when := _seconds(claims, name)) is not None]
    expires = _seconds(claims, "exp")
    not_before = _seconds(claims, "nbf")
    if require_timestamp and not made and expires is None:
        raise Refusal("token_unbounded", "The token has none of iat, Timestamp and exp.")
    for when in made:
        if when > now + leeway:
            raise Refusal("token_not_yet_valid", f"It was made {when - now:.0f} s in the future.")
        if when < now - max_age - leeway:
            raise Refusal(
                "token_too_old",
                f"It was made {now - when:.0f} s ago; at most {max_age} s are allowed.",
            )
    if not_before is not None and not_before > now + leeway:
        raise Refusal("token_not_yet_valid", f"It is valid in {not_before - now:.0f} s.")
    if expires is not None and expires < now - leeway:
        raise Refusal("token_expired", f"It expired {now - expires:.0f} s ago.")
    if expires is not None and not made and expires > now + max_age + leeway:
        raise Refusal(
            "token_unbounded",
            f"It expires in {expires - now:.0f} s; without iat, at most {max_age} s are allowed.",
        )


class JsonWebToken(Method):
    name = "jwt"
    title = "JSON Web Token"
    summary = "The sender makes a short-lived signed token (HS256) for every request."
    keeps_value = True
    prefix = "pcl_jwt_"
    min_secret_bytes = MIN_KEY_BYTES
    settings = (
        Setting(
            "header",
            "Header name",
            "The header that carries the token; Authorization: Bearer is accepted as well.",
            clean_header_name,
            default="X-Webhook-JWT",
        ),
        Setting(
            "max_age_seconds",
            "Maximum age",
            "Seconds for which a token is accepted after it was made.",
            clean_whole_number(10, 86_400),
            default=300,
        ),
        Setting(
            "leeway_seconds",
            "Clock difference",
            "Seconds by which the sender's clock may be wrong.",
            clean_whole_number(0, 300),
            default=60,
        ),
        Setting(
            "require_timestamp",
            "Require a time",
            "Refuse tokens without iat, Timestamp or exp, which never grow old.",
            clean_switch,
            default=True,
        ),
        Setting(
            "claims_match_body",
            "Match claims to the body",
            "Claims named like a first-level field of the body must have that field's value.",
            clean_switch,
            default=False,
        ),
    )

    def _clean_typed(self, secret: str) -> str:
        secret = super()._clean_typed(secret)
        if len(secret.encode()) >= MIN_KEY_BYTES:
            try:
                _SIGNER.encode(b"{}", secret.encode(), algorithm="HS256")
            except jwt.PyJWTError:
                raise ValueError("This is a public-key file, not a secret for HS256.") from None
        return secret

    def _prove(
        self,
        config: Mapping[str, object],
        secrets: Sequence[LiveSecret],
        request: InboundRequest,
    ) -> Verdict:
        token = self._token(config, request)
        match = self._signed_by(token, secrets)
        claims = read_object(_SIGNER.decode(token, options={"verify_signature": False}))
        if claims is None:
            raise Refusal("token_malformed", "The token's payload is no JSON object.")
        check_times(
            claims,
            request.received_at,
            max_age=int(str(self.setting(config, "max_age_seconds"))),
            leeway=int(str(self.setting(config, "leeway_seconds"))),
            require_timestamp=bool(self.setting(config, "require_timestamp")),
        )
        if self.setting(config, "claims_match_body"):
            check_body(claims, request.body)
        return Verdict(True, secret_id=match.id, claims=claims)

    def _token(self, config: Mapping[str, object], request: InboundRequest) -> bytes:
        """The one token of the request, from the source's header or from Authorization."""
        header = str(self.setting(config, "header"))
        bearers = [
            value
            for value in request.values("Authorization")
            if value[:7].lower() == b"bearer " and header.lower() != "authorization"
        ]
        own = request.values(header)
        if own and bearers:
            raise Refusal("header_duplicated", f"Both {header} and Authorization carry a token.")
        token = authorization(request, "Bearer") if bearers and not own else request.only(header)
        if token[:7].lower() == b"bearer ":
            token = token[7:].strip(b" \t")
        if len(token) > MAX_TOKEN_BYTES:
            raise Refusal(
                "token_malformed",
                f"The token has {len(token)} bytes; at most {MAX_TOKEN_BYTES} are allowed.",
            )
        if not _COMPACT.fullmatch(token):
            raise Refusal("token_malformed", "The token is not three base64url parts with dots.")
        return token

    def _signed_by(self, token: bytes, secrets: Sequence[LiveSecret]) -> LiveSecret:
        """The live key that signed the token and bears the name that its header gives."""
        try:
            header = _SIGNER.get_unverified_header(token)
        except jwt.PyJWTError:
            raise Refusal("token_malformed", "The token's header cannot be read.") from None
        if header.get("alg") != "HS256":
            raise Refusal("algorithm_mismatch", "The token's alg is not HS256.")
        if "crit" in header or "b64" in header:
            raise Refusal("token_malformed", "The token's header asks for an unknown extension.")
        kid = header.get("kid")
        if not isinstance(kid, str) or not kid:
            raise Refusal("key_unknown", "The token's header names no key (kid).")
        named = kid.encode("utf-8", "replace")
        keys = [item for item in secrets if item.key_id and len(item.value or b"") >= MIN_KEY_BYTES]
        if not keys:
            raise Refusal("no_secret", "The source has no valid secret at this time.")
        known = first_match(keys, lambda item: hmac.compare_digest(item.key_id.encode(), named))

        def signed(item: LiveSecret) -> bool:
            try:
                _SIGNER.decode(token, item.value or b"", algorithms=["HS256"])
            except jwt.PyJWTError:
                return False
            return hmac.compare_digest(item.key_id.encode(), named)

        match = first_match(keys, signed)
        if known is None:
            raise Refusal("key_unknown", "The token's kid is that of no valid key of this source.")
        if match is None:
            raise Refusal("signature_mismatch", "The token was not signed with the key it names.")
        return match
