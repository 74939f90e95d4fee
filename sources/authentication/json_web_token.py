"""A JSON Web Token signed with HS256 (spec D1, D3; RFC 7515, RFC 7519, RFC 8725).

What stands fixed, so that a token cannot choose its own verification:
- The algorithm is HS256, whatever the token's header says (RFC 8725 section 3.1).
- The key is one of the source's own, found by the ``kid`` that the header must name. ``jku``,
  ``x5u``, ``jwk`` and ``x5c`` are ignored; a header with ``crit``, ``b64`` or ``zip``, with a key
  twice or of another type than JWT is refused.
- Each part is canonical base64url without padding (RFC 7515 section 2), so one token has one spelling.
- Keys shorter than the hash (32 bytes, RFC 7518 section 3.2) are never used.
- The token must say when it was made (``iat``, or ``Timestamp``, D3) or until
  when it holds (``exp``), in POSIX seconds, and neither may reach beyond the maximum age. Only a
  source that switches ``require_timestamp`` off accepts a token without any, the empty payload
  ``{}`` included.

A token does not cover the body. ``check_opened`` ties the two together field by field, once the
body was decompressed; ``once`` says which token must not come again. Both are the caller's to ask.
"""

import base64
import hmac
import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence

import jwt

from sources.authentication.contract import (
    InboundRequest,
    LiveSecret,
    Method,
    Refusal,
    Verdict,
    authorization,
    first_match,
)
from sources.authentication.settings import Setting, clean_header_name, clean_switch, clean_whole_number
from sources.authentication.token_claims import (
    acceptable_until,
    check_body,
    check_times,
    jti_digest,
    jti_of,
    read_object,
)

MIN_KEY_BYTES = 32
MAX_TOKEN_BYTES = 8192
MAX_SAMPLE_KEYS = 50
MAX_SAMPLE_KEY = 128
SINGLE_USE = (
    ("accept", "Any number of times, until it is too old"),
    ("once", "Once, where it has a jti"),
    ("required", "Once, and a jti is required"),
)

_PART = re.compile(rb"[A-Za-z0-9_-]+")
_KEY_ID = re.compile(r"[0-9a-f]{12}")
_SIGNER = jwt.PyJWS(algorithms=["HS256"])
_EXTENSIONS = ("crit", "b64", "zip")


def _part(text: bytes) -> bytes:
    """The bytes of one part; refused unless this is the one way to write them."""
    decoded = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4)) if len(text) % 4 != 1 else b""
    if base64.urlsafe_b64encode(decoded).rstrip(b"=") != text:
        raise Refusal("token_malformed", "A part of the token is no base64url.")
    return decoded


def clean_single_use(given: object) -> str:
    name = str(given).strip().lower()
    if name not in dict(SINGLE_USE):
        raise ValueError("Choose accept, once or required.")
    return name


def clean_sample_keys(given: object) -> list[str]:
    """First-level keys of a body, from a list of them, a sample body, or either as text (JSON, lines, commas)."""
    if isinstance(given, str):
        try:
            found = json.loads(given)
        except (ValueError, RecursionError):
            if given.lstrip()[:1] in ("{", "["):
                raise ValueError("This is not valid JSON.") from None
            found = [name.strip() for name in re.split(r"[\n,]", given) if name.strip()]
        given = found
    if isinstance(given, Mapping):
        given = list(given)
    if not isinstance(given, list | tuple) or not all(isinstance(name, str) for name in given):
        raise ValueError("Give a JSON object, or a list of its first-level keys.")
    names = list(dict.fromkeys(given))
    if len(names) > MAX_SAMPLE_KEYS:
        raise ValueError(f"Give at most {MAX_SAMPLE_KEYS} keys; these are {len(names)}.")
    if any(not 0 < len(name) <= MAX_SAMPLE_KEY for name in names):
        raise ValueError(f"A key has 1 to {MAX_SAMPLE_KEY} characters.")
    if any(unicodedata.category(character) in ("Cc", "Cs") for name in names for character in name):
        raise ValueError("A key has a character that is no text.")
    return names


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
            "single_use",
            "A token is accepted",
            "A jti is the token's own name, a new one for each.",
            clean_single_use,
            default="once",
            choices=SINGLE_USE,
        ),
        Setting(
            "claims_match_body",
            "Match claims to the body",
            "Claims named like a first-level field of the body must have that field's value.",
            clean_switch,
            default=True,
        ),
        Setting(
            "sample_keys",
            "Fields in the payload",
            "Paste a sample body, or its first-level keys: the payload and the snippets repeat them. No value is kept.",
            clean_sample_keys,
            default=(),
        ),
    )

    def clean_config(self, raw: Mapping[str, object]) -> dict[str, object]:
        """As every method's; ``sample_body`` is another way to give ``sample_keys`` and wins over them."""
        given = {name: value for name, value in raw.items() if name != "sample_body"}
        if raw.get("sample_body") not in (None, ""):
            given["sample_keys"] = raw["sample_body"]
        cleaned = super().clean_config(given)
        return {**cleaned, "sample_keys": list(self._sample_keys(cleaned))}

    def _sample_keys(self, config: Mapping[str, object]) -> Sequence[str]:
        keys = self.setting(config, "sample_keys")
        return keys if isinstance(keys, list | tuple) else ()

    def _clean_typed(self, secret: str) -> str:
        secret = super()._clean_typed(secret)
        if len(secret.encode()) >= MIN_KEY_BYTES:
            try:
                _SIGNER.encode(b"{}", secret.encode(), algorithm="HS256")
            except jwt.PyJWTError:
                raise ValueError("This is a public-key file, not a secret for HS256.") from None
        return secret

    def check_opened(
        self, config: Mapping[str, object], claims: Mapping[str, object], opened_body: bytes
    ) -> Verdict | None:
        """A refusing verdict where the decompressed body contradicts the token's claims, else None (D3)."""
        if not self.setting(config, "claims_match_body"):
            return None
        try:
            check_body(claims, opened_body)
        except Refusal as refusal:
            return Verdict(False, reason=refusal.reason, detail=refusal.detail, evidence=refusal.evidence)
        return None

    def once(
        self, config: Mapping[str, object], claims: Mapping[str, object], received_at: float
    ) -> tuple[bytes, int] | None:
        """What to remember of an accepted token, and for how many seconds; None where it may come again.

        16 bytes stand for its ``jti``. It is remembered for longer than it is accepted, by a second at most.
        """
        jti = jti_of(claims)
        if jti is None or self.setting(config, "single_use") == "accept":
            return None
        max_age, leeway = self._whole(config, "max_age_seconds"), self._whole(config, "leeway_seconds")
        until = acceptable_until(claims, max_age=max_age, leeway=leeway)
        if until is None:
            return None
        return jti_digest(jti), max(1, math.floor(until - received_at) + 1)

    def _whole(self, config: Mapping[str, object], name: str) -> int:
        return int(str(self.setting(config, name)))

    def _prove(
        self,
        config: Mapping[str, object],
        secrets: Sequence[LiveSecret],
        request: InboundRequest,
    ) -> Verdict:
        token = self._token(config, request)
        header, payload, _ = (_part(part) for part in token.split(b"."))
        match = _signed_by(token, read_object(header), secrets)
        claims = read_object(payload)
        if claims is None:
            raise Refusal("token_malformed", "The token's payload is no JSON object.")
        max_age, leeway = self._whole(config, "max_age_seconds"), self._whole(config, "leeway_seconds")
        require_timestamp = bool(self.setting(config, "require_timestamp"))
        check_times(claims, request.received_at, max_age=max_age, leeway=leeway, require_timestamp=require_timestamp)
        self._check_jti(config, claims, max_age, leeway)
        return Verdict(True, secret_id=match.id, claims=claims)

    def _check_jti(self, config: Mapping[str, object], claims: Mapping[str, object], max_age: int, leeway: int) -> None:
        """A token that is accepted once has a name, and an end: it cannot be remembered for ever."""
        jti, single_use = jti_of(claims), self.setting(config, "single_use")
        if jti is None and single_use == "required":
            raise Refusal("jti_missing", "The token has no jti; this source requires one.")
        bounded = acceptable_until(claims, max_age=max_age, leeway=leeway) is not None
        if jti is not None and single_use != "accept" and not bounded:
            raise Refusal("token_unbounded", "A token with a jti needs one of iat, Timestamp and exp.")

    def _token(self, config: Mapping[str, object], request: InboundRequest) -> bytes:
        """The one token of the request, from the source's header or from Authorization."""
        header = str(self.setting(config, "header"))
        own_name = header.lower().encode()
        # X_Webhook_JWT counts: a server on the way may make the one of the other.
        own = any(name.replace(b"_", b"-") == own_name for name, _ in request.headers)
        bearer = own_name != b"authorization" and any(
            value[:7].lower() == b"bearer " for value in request.values("Authorization")
        )
        if own and bearer:
            raise Refusal("header_duplicated", f"Both {header} and Authorization carry a token.")
        token = authorization(request, "Bearer") if bearer else request.only(header)
        if token[:7].lower() == b"bearer ":
            token = token[7:].strip(b" \t")
        if len(token) > MAX_TOKEN_BYTES:
            raise Refusal(
                "token_malformed",
                f"The token has {len(token)} bytes; at most {MAX_TOKEN_BYTES} are allowed.",
            )
        parts = token.split(b".")
        if len(parts) != 3 or not all(_PART.fullmatch(part) for part in parts):
            padded = " Leave the padding (=) out." if b"=" in token else ""
            raise Refusal("token_malformed", f"The token is not three base64url parts with dots.{padded}")
        return token

    def _evidence(
        self,
        config: Mapping[str, object],
        live: Sequence[LiveSecret],
        ended: Sequence[LiveSecret],
        request: InboundRequest,
        refusal: Refusal,
    ) -> dict[str, str | int]:
        """The algorithm and the key that the token names: never a part of the token itself."""
        try:
            header = read_object(_part(self._token(config, request).partition(b".")[0]))
        except Refusal:
            return {}
        if header is None:
            return {}
        seen: dict[str, str | int] = {"alg": _alg_in_words(header.get("alg"))}
        kid = header.get("kid")
        if not isinstance(kid, str) or not kid:
            return {**seen, "key": "missing"}
        if _KEY_ID.fullmatch(kid):
            seen["key_id"] = kid
        if any(item.key_id == kid for item in live):
            return {**seen, "key": "known"}
        return {**seen, "key": "ended" if any(item.key_id == kid for item in ended) else "unknown"}


def _alg_in_words(alg: object) -> str:
    """What stands in the header, if it could be the name of an algorithm (RFC 7518 section 3.1)."""
    if alg is None:
        return "missing"
    return alg if isinstance(alg, str) and re.fullmatch(r"[A-Za-z0-9-]{1,16}", alg) else "no name of an algorithm"


def _signed_by(token: bytes, header: Mapping[str, object] | None, secrets: Sequence[LiveSecret]) -> LiveSecret:
    """The live key that signed the token and bears the name that its header gives."""
    if header is None:
        raise Refusal("token_malformed", "The token's header is no JSON object, or has a key twice.")
    if header.get("alg") != "HS256":
        raise Refusal("algorithm_mismatch", "The token's alg is not HS256.")
    if any(name in header for name in _EXTENSIONS):
        raise Refusal("token_malformed", "The token's header asks for an unknown extension.")
    if str(header.get("typ", "JWT")).upper() not in ("JWT", "APPLICATION/JWT"):
        raise Refusal("token_malformed", "The token's typ is not JWT.")
    kid = header.get("kid", "")
    if not isinstance(kid, str):
        raise Refusal("token_malformed", "The token's kid is no text.")
    if not kid:
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
