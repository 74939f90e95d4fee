"""JSON Web Tokens, HS256 (spec D1, D3; RFC 7515, RFC 7519, RFC 7520, RFC 8725)."""

import base64
import hmac
import json
from hashlib import sha256

import jwt
import pytest

from sources.authentication import METHODS, ConfigError, InboundRequest, LiveSecret
from sources.authentication.json_web_token import claims_match

METHOD = METHODS["jwt"]
CONFIG = METHOD.clean_config({})
NOW = 1_700_000_000
KEY = b"0123456789abcdef0123456789abcdef"
SECRET = LiveSecret("s1", key_id="123", value=KEY)
FRESH = {"iat": NOW}


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def token(claims=FRESH, key=KEY, header=None):
    """Made by PyJWT, for claims that it is willing to write."""
    return jwt.encode(claims, key, algorithm="HS256", headers=header or {"kid": "123"}).encode()


def raw_token(payload, key=KEY, header=b'{"alg":"HS256","kid":"123","typ":"JWT"}'):
    """Signed correctly, whatever the payload and the header say."""
    signed = base64url(header) + b"." + base64url(payload)
    return signed + b"." + base64url(hmac.digest(key, signed, sha256))


def verify(sent, *, body=b"{}", now=NOW, secrets=(SECRET,), name=b"x-webhook-jwt", **settings):
    headers = ((name, sent),)
    request = InboundRequest("POST", headers, body, float(now))
    return METHOD.verify(METHOD.clean_config(settings), secrets, request)


@pytest.mark.spec("D1", "B2")
def test_a_fresh_token_is_accepted_and_its_claims_are_handed_on():
    verdict = verify(token({"iat": NOW, "jti": "7"}))
    assert (verdict.accepted, verdict.secret_id) == (True, "s1")
    assert verdict.claims == {"iat": NOW, "jti": "7"}


@pytest.mark.spec("D1")
@pytest.mark.parametrize("scheme", [b"Bearer ", b"bearer "])
def test_the_token_may_stand_in_authorization(scheme):
    assert verify(scheme + token(), name=b"authorization").accepted


def test_the_header_can_be_chosen():
    assert verify(token(), name=b"x-my-token", header="X-My-Token").accepted
    assert verify(token(), name=b"x-webhook-jwt", header="X-My-Token").reason == "header_missing"
    assert verify(token(), name=b"authorization", header="Authorization").accepted


@pytest.mark.spec("D3")
def test_a_token_with_a_timestamp_and_other_claims_is_accepted():
    claims = {"Site": "Security Operations", "Timestamp": NOW + 0.25, "Param1": "my_param_value"}
    header = {"alg": "HS256", "kid": "123", "typ": "JWT"}
    assert verify(token(claims, header=header)).accepted


def test_rfc_7520_vector_proves_its_signature():
    # Section 4.4: the payload is prose, so a correct signature leads on to that refusal.
    key = base64.urlsafe_b64decode("hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg=")
    secret = LiveSecret("s1", key_id="018c0ae5-4d9b-471b-bfd6-eef314bc7037", value=key)
    sent = (
        b"eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9."
        b"SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0"
        b"ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5v"
        b"IGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4."
        b"s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7p0"
    )
    verdict = verify(sent, secrets=[secret])
    assert (verdict.reason, verdict.detail) == (
        "token_malformed",
        "The token's payload is no JSON object.",
    )
    other = LiveSecret("s1", key_id=secret.key_id, value=KEY)
    assert verify(sent, secrets=[other]).reason == "signature_mismatch"


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"iat": NOW - 360}, ""),
        ({"iat": NOW - 361}, "token_too_old"),
        ({"iat": NOW + 60}, ""),
        ({"iat": NOW + 61}, "token_not_yet_valid"),
        ({"Timestamp": NOW - 361}, "token_too_old"),
        ({"Timestamp": NOW - 0.5}, ""),
        ({"iat": NOW, "Timestamp": NOW - 361}, "token_too_old"),
        ({"exp": NOW - 60}, ""),
        ({"exp": NOW - 61}, "token_expired"),
        ({"exp": NOW + 360}, ""),
        ({"exp": NOW + 361}, "token_unbounded"),
        ({"iat": NOW, "exp": NOW + 3600}, ""),
        ({"iat": NOW - 400, "exp": NOW + 3600}, "token_too_old"),
        ({"iat": NOW, "exp": NOW - 61}, "token_expired"),
        ({"iat": NOW, "nbf": NOW + 61}, "token_not_yet_valid"),
        ({}, "token_unbounded"),
        ({"exp": None}, "claim_malformed"),
        ({"exp": "1700000000"}, "claim_malformed"),
        ({"exp": True}, "claim_malformed"),
        ({"exp": [NOW]}, "claim_malformed"),
        ({"iat": -1}, "claim_malformed"),
        ({"exp": 10**400}, "claim_malformed"),
        ({"iat": NOW, "exp": 1e300}, "claim_malformed"),
        ({"exp": float("nan")}, "claim_malformed"),
        ({"exp": float("inf")}, "claim_malformed"),
    ],
)
def test_the_age_is_bounded_and_strange_times_are_refused(claims, reason):
    verdict = verify(raw_token(json.dumps(claims).encode()))
    assert verdict.reason == reason
    assert verdict.accepted is (reason == "")


def test_age_and_clock_difference_can_be_set():
    assert verify(token({"iat": NOW - 900}), max_age_seconds=900, leeway_seconds=0).accepted
    assert not verify(token({"iat": NOW - 901}), max_age_seconds=900, leeway_seconds=0).accepted


@pytest.mark.spec("D3")
def test_an_empty_payload_is_accepted_where_no_time_is_required():
    assert verify(token({})).reason == "token_unbounded"
    assert verify(token({}), require_timestamp=False).accepted


@pytest.mark.parametrize("payload", [b"[]", b"null", b"", b"{", b"[" * 5000, b'{"exp":1,"exp":2}'])
def test_a_payload_that_is_no_plain_object_is_refused(payload):
    assert verify(raw_token(payload)).reason == "token_malformed"


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"alg": "none", "kid": "123"}, "algorithm_mismatch"),
        ({"alg": "hs256", "kid": "123"}, "algorithm_mismatch"),
        ({"alg": "HS384", "kid": "123"}, "algorithm_mismatch"),
        ({"alg": "RS256", "kid": "123"}, "algorithm_mismatch"),
        ({"alg": ["HS256"], "kid": "123"}, "algorithm_mismatch"),
        ({"kid": "123"}, "algorithm_mismatch"),
        ({"alg": "HS256"}, "key_unknown"),
        ({"alg": "HS256", "kid": ""}, "key_unknown"),
        ({"alg": "HS256", "kid": "124"}, "key_unknown"),
        ({"alg": "HS256", "kid": "../../dev/null"}, "key_unknown"),
        ({"alg": "HS256", "kid": 123}, "token_malformed"),
        ({"alg": "HS256", "kid": "123", "crit": ["exp"]}, "token_malformed"),
        ({"alg": "HS256", "kid": "123", "b64": True}, "token_malformed"),
        ([], "token_malformed"),
    ],
)
def test_the_token_s_header_cannot_choose_the_verification(header, reason):
    sent = raw_token(b'{"iat":%d}' % NOW, header=json.dumps(header).encode())
    assert verify(sent).reason == reason


def test_keys_named_or_carried_by_the_token_are_ignored():
    elsewhere = {"jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/"}
    carried = {"jwk": {"kty": "oct", "k": base64url(b"e" * 32).decode()}}
    header = json.dumps({"alg": "HS256", "kid": "123", **elsewhere, **carried}).encode()
    payload = b'{"iat":%d}' % NOW
    assert verify(raw_token(payload, header=header)).accepted
    assert verify(raw_token(payload, header=header, key=b"e" * 32)).reason == "signature_mismatch"


def test_a_token_must_be_signed_with_the_very_key_that_it_names():
    other = LiveSecret("s2", key_id="456", value=b"f" * 32)
    assert verify(token(key=b"f" * 32, header={"kid": "456"}), secrets=[SECRET, other]).accepted
    assert verify(token(key=b"f" * 32, header={"kid": "123"}), secrets=[SECRET, other]).reason == "signature_mismatch"


@pytest.mark.spec("B1")
def test_during_a_rotation_two_secrets_may_share_a_key_id():
    previous = LiveSecret("s2", key_id="123", value=b"f" * 32)
    assert verify(token(key=b"f" * 32), secrets=[SECRET, previous]).secret_id == "s2"


@pytest.mark.parametrize("value", [None, b"", b"k" * 31])
def test_keys_shorter_than_the_hash_are_never_used(value):
    short = LiveSecret("s1", key_id="123", value=value)
    sent = raw_token(b'{"iat":%d}' % NOW, key=value or b"")
    assert verify(sent, secrets=[short]).reason == "no_secret"


def test_a_key_without_an_id_is_never_used():
    assert verify(token(), secrets=[LiveSecret("s1", value=KEY)]).reason == "no_secret"


@pytest.mark.parametrize(
    "sent",
    [b"a.b", b"a.b.c.d", b"e30.e30.!!!", b"x" * 9000, b"{}", b"..", token() + b"\xff", b"a b.c.d"],
)
def test_what_is_no_token_is_refused(sent):
    assert verify(sent).reason == "token_malformed"


def test_every_changed_character_is_refused():
    sent = token()
    for place in range(len(sent)):
        other = b"A" if sent[place : place + 1] != b"A" else b"B"
        assert not verify(sent[:place] + other + sent[place + 1 :]).accepted


@pytest.mark.parametrize("second", [b"x-webhook-jwt", b"authorization"])
def test_two_tokens_are_refused(second):
    value = b"Bearer " + token()
    headers = ((b"x-webhook-jwt", token()), (second, value))
    verdict = METHOD.verify(CONFIG, [SECRET], InboundRequest("POST", headers, b"{}", float(NOW)))
    assert verdict.reason == "header_duplicated"


def test_two_authorization_headers_are_refused():
    headers = ((b"authorization", b"Bearer " + token()), (b"authorization", b"Basic eA=="))
    verdict = METHOD.verify(CONFIG, [SECRET], InboundRequest("POST", headers, b"{}", float(NOW)))
    assert verdict.reason == "header_duplicated"


@pytest.mark.spec("D3")
@pytest.mark.parametrize(
    ("claims", "body", "same"),
    [
        ({}, {"a": 1}, True),
        ({"iat": 5}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, True),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"a": 1}, {"a": "1"}, False),
        ({"a": 1}, {"a": True}, False),
        ({"a": 0}, {"a": None}, False),
        ({"a": {"b": [1, None]}}, {"a": {"b": [1, None]}}, True),
        ({"a": {"b": [1, True]}}, {"a": {"b": [1, 1]}}, False),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, False),
        ({"a": [1, 2]}, {"a": [2, 1]}, False),
        ({"a": []}, {"a": {}}, False),
    ],
)
def test_claims_that_repeat_a_field_must_have_its_value(claims, body, same):
    assert claims_match(claims, body) is same


@pytest.mark.spec("D3")
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"Username":"Admin","x":1}', ""),
        (b'{"x":1}', ""),
        (b'{"Username":"admin"}', "claims_mismatch"),
        (b'{"Username":"Admin","Username":"Admin"}', "claims_mismatch"),
        (b'["Admin"]', "claims_mismatch"),
        (b"not json", "claims_mismatch"),
        (b"[" * 100_000, "claims_mismatch"),
    ],
)
def test_a_source_can_demand_that_the_body_agrees(body, reason):
    sent = token({"iat": NOW, "Username": "Admin"})
    assert verify(sent, body=body, claims_match_body=True).reason == reason
    assert verify(sent, body=body).accepted


def test_a_public_key_file_is_no_secret():
    with pytest.raises(ConfigError):
        METHOD.clean_secret("-----BEGIN PUBLIC KEY-----" + "A" * 40 + "-----END PUBLIC KEY-----")


@pytest.mark.parametrize(
    "settings",
    [{"max_age_seconds": 0}, {"max_age_seconds": "long"}, {"leeway_seconds": 301},
     {"leeway_seconds": True}, {"require_timestamp": "maybe"}, {"claims_match_body": 2}],
)  # fmt: skip
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError) as caught:
        METHOD.clean_config(settings)
    assert list(caught.value.errors) == list(settings)
