"""Tokens that somebody might try, and what must come of each (D3, B2; RFC 7515, RFC 7519, RFC 8725).

    for case in TOKENS:
        header_value = case.build(secret, key_id, now)      # text; send it as latin-1
        # case.reason is the refusal's, empty for the few that must be accepted

`secret` is the source's, `key_id` its key's, `now` POSIX seconds. A new token each time: those with a `jti` can be sent
again and again. Nothing here is made with the code that it is sent to.
"""

import base64
import hmac
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass

Claims = dict[str, object]


@dataclass(frozen=True)
class TokenCase:
    name: str
    build: Callable[[str, str, float], str]
    reason: str


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def raw(header: bytes, payload: bytes, key: bytes, digest: str = "sha256") -> str:
    """Signed correctly, whatever the header and the payload say."""
    signed = f"{base64url(header)}.{base64url(payload)}"
    return f"{signed}.{base64url(hmac.digest(key, signed.encode(), digest))}"


def signed(header: object, claims: object, key: bytes, digest: str = "sha256") -> str:
    return raw(json.dumps(header).encode(), json.dumps(claims).encode(), key, digest)


def plain(secret: str, key_id: str, now: float, **claims: object) -> str:
    return signed({"alg": "HS256", "kid": key_id, "typ": "JWT"}, {"iat": int(now), **claims}, secret.encode())


def with_header(change: Callable[[str], dict], reason: str, digest: str = "sha256") -> Callable[[str], TokenCase]:
    """The header of a good token with these fields changed; None takes one away."""

    def build(secret: str, key_id: str, now: float) -> str:
        header = {"alg": "HS256", "kid": key_id, "typ": "JWT"} | change(key_id)
        kept = {name: value for name, value in header.items() if value is not None}
        return signed(kept, {"iat": int(now)}, secret.encode(), digest)

    return lambda name: TokenCase(name, build, reason)


def with_header_text(text: Callable[[str], str], reason: str) -> Callable[[str], TokenCase]:
    def build(secret: str, key_id: str, now: float) -> str:
        return raw(text(key_id).encode(), b'{"iat":%d}' % now, secret.encode())

    return lambda name: TokenCase(name, build, reason)


def with_claims(claims: Callable[[float], Claims], reason: str) -> Callable[[str], TokenCase]:
    def build(secret: str, key_id: str, now: float) -> str:
        return signed({"alg": "HS256", "kid": key_id}, claims(int(now)), secret.encode())

    return lambda name: TokenCase(name, build, reason)


def with_payload(payload: Callable[[float], bytes], reason: str) -> Callable[[str], TokenCase]:
    def build(secret: str, key_id: str, now: float) -> str:
        return raw(json.dumps({"alg": "HS256", "kid": key_id}).encode(), payload(int(now)), secret.encode())

    return lambda name: TokenCase(name, build, reason)


def with_key(key: Callable[[str, str], bytes], reason: str = "signature_mismatch") -> Callable[[str], TokenCase]:
    def build(secret: str, key_id: str, now: float) -> str:
        return signed({"alg": "HS256", "kid": key_id}, {"iat": int(now)}, key(secret, key_id))

    return lambda name: TokenCase(name, build, reason)


def rewritten(change: Callable[[str], str], reason: str) -> Callable[[str], TokenCase]:
    """A good token, changed as text."""
    return lambda name: TokenCase(name, lambda secret, key_id, now: change(plain(secret, key_id, now)), reason)


def unsigned(alg: str) -> Callable[[str], TokenCase]:
    def build(secret: str, key_id: str, now: float) -> str:
        header = json.dumps({"alg": alg, "kid": key_id, "typ": "JWT"}).encode()
        payload = b'{"iat":%d}' % now
        return f"{base64url(header)}.{base64url(payload)}."

    return lambda name: TokenCase(name, build, "token_malformed")


def parts(change: Callable[[str, str, str], str]) -> Callable[[str], str]:
    return lambda token: change(*token.split("."))


def another_spelling(part: str) -> str:
    """The same bytes for a lax decoder: the last character has bits that stand for nothing."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return part[:-1] + alphabet[alphabet.index(part[-1]) + 1]


def with_other_payload(header: str, payload: str, signature: str) -> str:
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return f"{header}.{base64url(json.dumps({**claims, 'admin': True}).encode())}.{signature}"


_CASES: dict[str, Callable[[str], TokenCase]] = {
    # What must be accepted, so that refusing everything is no way to pass.
    "a plain token": rewritten(str, ""),
    "with a scheme in front": rewritten(lambda token: f"Bearer {token}", ""),
    "with Timestamp instead of iat": with_claims(lambda now: {"Timestamp": now + 0.25}, ""),
    "with exp alone, near": with_claims(lambda now: {"exp": now + 60}, ""),
    "with a jti": with_claims(lambda now: {"iat": now, "jti": secrets.token_hex(8)}, ""),
    "without typ": with_header(lambda key: {"typ": None}, ""),
    "keys named elsewhere are ignored": with_header(lambda key: {"jku": "http://127.0.0.1:1/", "x5u": "file:///"}, ""),
    # The algorithm.
    "alg none, unsigned": unsigned("none"),
    "alg None, unsigned": unsigned("None"),
    "alg nOnE, unsigned": unsigned("nOnE"),
    "alg HS256, unsigned": unsigned("HS256"),
    "alg none, signed": with_header(lambda key: {"alg": "none"}, "algorithm_mismatch"),
    "alg NONE, signed": with_header(lambda key: {"alg": "NONE"}, "algorithm_mismatch"),
    "alg empty": with_header(lambda key: {"alg": ""}, "algorithm_mismatch"),
    "alg missing": with_header(lambda key: {"alg": None}, "algorithm_mismatch"),
    "alg in small letters": with_header(lambda key: {"alg": "hs256"}, "algorithm_mismatch"),
    "alg with a blank": with_header(lambda key: {"alg": "HS256 "}, "algorithm_mismatch"),
    "alg HS384, signed so": with_header(lambda key: {"alg": "HS384"}, "algorithm_mismatch", "sha384"),
    "alg HS512, signed so": with_header(lambda key: {"alg": "HS512"}, "algorithm_mismatch", "sha512"),
    "alg HS256, signed with HS512": with_header(lambda key: {}, "signature_mismatch", "sha512"),
    "alg HS256, signed with HS1": with_header(lambda key: {}, "signature_mismatch", "sha1"),
    "alg RS256, signed as HS256": with_header(lambda key: {"alg": "RS256"}, "algorithm_mismatch"),
    "alg ES256, signed as HS256": with_header(lambda key: {"alg": "ES256"}, "algorithm_mismatch"),
    "alg EdDSA, signed as HS256": with_header(lambda key: {"alg": "EdDSA"}, "algorithm_mismatch"),
    "alg a list": with_header(lambda key: {"alg": ["HS256"]}, "algorithm_mismatch"),
    "alg a number": with_header(lambda key: {"alg": 256}, "algorithm_mismatch"),
    "alg twice, good last": with_header_text(
        lambda key: f'{{"alg":"none","alg":"HS256","kid":"{key}"}}', "token_malformed"
    ),
    "alg twice, good first": with_header_text(
        lambda key: f'{{"alg":"HS256","alg":"none","kid":"{key}"}}', "token_malformed"
    ),
    # The rest of the header.
    "kid missing": with_header(lambda key: {"kid": None}, "key_unknown"),
    "kid empty": with_header(lambda key: {"kid": ""}, "key_unknown"),
    "kid of nobody": with_header(lambda key: {"kid": "000000000000"}, "key_unknown"),
    "kid in capitals": with_header(lambda key: {"kid": f"{key}X".upper()}, "key_unknown"),
    "kid with a blank": with_header(lambda key: {"kid": f"{key} "}, "key_unknown"),
    "kid a path": with_header(lambda key: {"kid": "../../../../dev/null"}, "key_unknown"),
    "kid with SQL": with_header(lambda key: {"kid": f"{key}' OR '1'='1"}, "key_unknown"),
    "kid with a NUL": with_header(lambda key: {"kid": f"{key}\x00"}, "key_unknown"),
    "kid with half a surrogate pair": with_header(lambda key: {"kid": "\ud800"}, "key_unknown"),
    "kid very long": with_header(lambda key: {"kid": "a" * 4000}, "key_unknown"),
    "kid a command": with_header(lambda key: {"kid": "$(id)|`id`"}, "key_unknown"),
    "kid a number": with_header(lambda key: {"kid": 0}, "token_malformed"),
    "kid a list": with_header(lambda key: {"kid": [key]}, "token_malformed"),
    "kid an object": with_header(lambda key: {"kid": {"$ne": ""}}, "token_malformed"),
    "kid twice": with_header_text(
        lambda key: f'{{"alg":"HS256","kid":"000000000000","kid":"{key}"}}', "token_malformed"
    ),
    "crit": with_header(lambda key: {"crit": ["exp"], "exp": 1}, "token_malformed"),
    "crit empty": with_header(lambda key: {"crit": []}, "token_malformed"),
    "b64 false": with_header(lambda key: {"b64": False}, "token_malformed"),
    "zip": with_header(lambda key: {"zip": "DEF"}, "token_malformed"),
    "typ of something else": with_header(lambda key: {"typ": "at+jwt"}, "token_malformed"),
    "typ a list": with_header(lambda key: {"typ": ["JWT"]}, "token_malformed"),
    "header an array": with_header_text(lambda key: '["HS256"]', "token_malformed"),
    "header null": with_header_text(lambda key: "null", "token_malformed"),
    "header a text": with_header_text(lambda key: '"HS256"', "token_malformed"),
    "header no JSON": with_header_text(lambda key: "alg=HS256", "token_malformed"),
    "header very deep": with_header_text(lambda key: "[" * 3000, "token_malformed"),
    "header with a NaN": with_header_text(lambda key: f'{{"alg":NaN,"kid":"{key}"}}', "algorithm_mismatch"),
    # Another key.
    "signed with another secret": with_key(lambda secret, key: b"x" * 32),
    "signed with nothing": with_key(lambda secret, key: b""),
    "signed with the key id": with_key(lambda secret, key: key.encode()),
    "signed with the secret and a line break": with_key(lambda secret, key: secret.encode() + b"\n"),
    "signed with the beginning of the secret": with_key(lambda secret, key: secret.encode()[:-1]),
    "signed with the secret in capitals": with_key(lambda secret, key: secret.upper().encode() + b"!"),
    "carries its own key": lambda name: TokenCase(
        name,
        lambda secret, key, now: signed(
            {"alg": "HS256", "kid": key, "jwk": {"kty": "oct", "k": base64url(b"e" * 32)}}, {"iat": int(now)}, b"e" * 32
        ),
        "signature_mismatch",
    ),
    # Times.
    "no time at all": with_claims(lambda now: {}, "token_unbounded"),
    "exp a text": with_claims(lambda now: {"exp": str(now + 60)}, "claim_malformed"),
    "exp null": with_claims(lambda now: {"exp": None}, "claim_malformed"),
    "exp true": with_claims(lambda now: {"exp": True}, "claim_malformed"),
    "exp a list": with_claims(lambda now: {"exp": [now + 60]}, "claim_malformed"),
    "exp an object": with_claims(lambda now: {"exp": {"$gt": 0}}, "claim_malformed"),
    "exp negative": with_claims(lambda now: {"iat": now, "exp": -1}, "claim_malformed"),
    "exp of 400 digits": with_claims(lambda now: {"iat": now, "exp": 10**400}, "claim_malformed"),
    "exp of 5,000 digits": with_payload(lambda now: b'{"iat":%d,"exp":%s}' % (now, b"9" * 5000), "token_malformed"),
    "exp 1e308": with_claims(lambda now: {"iat": now, "exp": 1e308}, "claim_malformed"),
    "exp 1e400": with_payload(lambda now: b'{"iat":%d,"exp":1e400}' % now, "claim_malformed"),
    "exp Infinity": with_payload(lambda now: b'{"iat":%d,"exp":Infinity}' % now, "claim_malformed"),
    "exp NaN": with_payload(lambda now: b'{"iat":%d,"exp":NaN}' % now, "claim_malformed"),
    "exp in milliseconds": with_claims(lambda now: {"exp": now * 1000}, "claim_malformed"),
    "exp in ten years": with_claims(lambda now: {"exp": now + 315_360_000}, "token_unbounded"),
    "exp past": with_claims(lambda now: {"iat": now, "exp": now - 3600}, "token_expired"),
    "exp twice": with_payload(lambda now: b'{"exp":1,"exp":%d}' % (now + 60), "token_malformed"),
    "iat long ago, exp far": with_claims(lambda now: {"iat": now - 90_000, "exp": now + 3600}, "token_too_old"),
    "iat to come": with_claims(lambda now: {"iat": now + 7200}, "token_not_yet_valid"),
    "iat a text": with_claims(lambda now: {"iat": str(now)}, "claim_malformed"),
    "iat and an old Timestamp": with_claims(lambda now: {"iat": now, "Timestamp": now - 90_000}, "token_too_old"),
    "Timestamp a date": with_claims(lambda now: {"Timestamp": "2026-01-01T00:00:00Z"}, "claim_malformed"),
    "nbf to come": with_claims(lambda now: {"iat": now, "nbf": now + 7200}, "token_not_yet_valid"),
    "nbf a text": with_claims(lambda now: {"iat": now, "nbf": "0"}, "claim_malformed"),
    # Its own name.
    "jti empty": with_claims(lambda now: {"iat": now, "jti": ""}, "claim_malformed"),
    "jti null": with_claims(lambda now: {"iat": now, "jti": None}, "claim_malformed"),
    "jti a number": with_claims(lambda now: {"iat": now, "jti": 7}, "claim_malformed"),
    "jti a list": with_claims(lambda now: {"iat": now, "jti": ["7"]}, "claim_malformed"),
    "jti too long": with_claims(lambda now: {"iat": now, "jti": "j" * 257}, "claim_malformed"),
    # The payload.
    "payload an array": with_payload(lambda now: b'[{"iat":%d}]' % now, "token_malformed"),
    "payload null": with_payload(lambda now: b"null", "token_malformed"),
    "payload a text": with_payload(lambda now: b'"iat"', "token_malformed"),
    "payload cut": with_payload(lambda now: b'{"iat":%d' % now, "token_malformed"),
    "payload very deep": with_payload(lambda now: b'{"iat":' + b"[" * 4000, "token_malformed"),
    "payload no UTF-8": with_payload(lambda now: b'{"iat":%d,"a":"\xff\xfe"}' % now, "token_malformed"),
    "payload with more behind it": with_payload(lambda now: b'{"iat":%d}{}' % now, "token_malformed"),
    # How it is written.
    "two parts": rewritten(parts(lambda header, payload, signature: f"{header}.{payload}"), "token_malformed"),
    "four parts": rewritten(lambda token: f"{token}.{token[:8]}", "token_malformed"),
    "five parts, as if encrypted": rewritten(lambda token: f"{token}.e30.e30", "token_malformed"),
    "no signature": rewritten(parts(lambda header, payload, signature: f"{header}.{payload}."), "token_malformed"),
    "no payload": rewritten(parts(lambda header, payload, signature: f"{header}..{signature}"), "token_malformed"),
    "no header": rewritten(parts(lambda header, payload, signature: f".{payload}.{signature}"), "token_malformed"),
    "signature cut": rewritten(lambda token: token[:-3], "signature_mismatch"),
    "signature cut within a byte": rewritten(lambda token: token[:-2], "token_malformed"),
    "signature doubled": rewritten(
        parts(lambda header, payload, signature: f"{header}.{payload}.{signature[:-3] + signature}"),
        "signature_mismatch",
    ),
    "signature of zeros": rewritten(
        parts(lambda header, payload, signature: f"{header}.{payload}.{'A' * 43}"), "signature_mismatch"
    ),
    "signature spelt otherwise": rewritten(
        parts(lambda header, payload, signature: f"{header}.{payload}.{another_spelling(signature)}"), "token_malformed"
    ),
    "signature with padding": rewritten(lambda token: f"{token}=", "token_malformed"),
    "signature in hexadecimal": rewritten(
        parts(
            lambda header, payload, signature: f"{header}.{payload}.{base64.urlsafe_b64decode(signature + '=').hex()}"
        ),
        "signature_mismatch",
    ),
    "parts exchanged": rewritten(
        parts(lambda header, payload, signature: f"{payload}.{header}.{signature}"), "algorithm_mismatch"
    ),
    "payload of another": rewritten(parts(with_other_payload), "signature_mismatch"),
    "a blank within": rewritten(lambda token: token[:20] + " " + token[20:], "token_malformed"),
    "a tab within": rewritten(lambda token: token[:20] + "\t" + token[20:], "token_malformed"),
    "a comma and another": rewritten(lambda token: f"{token}, {token}", "token_malformed"),
    "dots escaped": rewritten(lambda token: token.replace(".", "%2E"), "token_malformed"),
    "in quotes": rewritten(lambda token: f'"{token}"', "token_malformed"),
    "in small letters": rewritten(str.lower, "token_malformed"),
    "a letter beyond ASCII": rewritten(lambda token: f"{token}é", "token_malformed"),
    "as JSON": rewritten(
        parts(
            lambda header, payload, signature: json.dumps(
                {"protected": header, "payload": payload, "signature": signature}
            )
        ),
        "token_malformed",
    ),
    "longer than any": with_claims(lambda now: {"iat": now, "filler": "x" * 7000}, "token_malformed"),
    "only dots": rewritten(lambda token: "..", "token_malformed"),
    "the scheme twice": rewritten(lambda token: f"Bearer Bearer {token}", "token_malformed"),
}

TOKENS: list[TokenCase] = [make(name) for name, make in _CASES.items()]
