"""JSON Web Tokens, HS256 (spec D1, D3; RFC 7515, RFC 7519, RFC 7520, RFC 8725)."""

import base64
import hmac
import json
from hashlib import sha256

import jwt
import pytest

from sources.authentication import METHODS, ConfigError, InboundRequest, LiveSecret
from sources.authentication.token_claims import mismatched_claims
from tests.attack.tokens import TOKENS

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
    ("claims", "body", "wrong"),
    [
        ({}, {"a": 1}, []),
        ({"iat": 5}, {"a": 1}, []),
        ({"a": 1}, {"a": 1, "b": 2}, []),
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": 1}, {"a": 2}, ["a"]),
        ({"a": 1}, {"a": "1"}, ["a"]),
        ({"a": 1}, {"a": True}, ["a"]),
        ({"a": 0}, {"a": None}, ["a"]),
        ({"a": {"b": [1, None]}}, {"a": {"b": [1, None]}}, []),
        ({"a": {"b": [1, True]}}, {"a": {"b": [1, 1]}}, ["a"]),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, ["a"]),
        ({"a": [1, 2]}, {"a": [2, 1]}, ["a"]),
        ({"a": []}, {"a": {}}, ["a"]),
        ({"a": float("inf")}, {"a": float("inf")}, ["a"]),
        ({"a": 2**53 + 1}, {"a": float(2**53)}, ["a"]),
        ({"a": 1, "b": 1, "c": 1}, {"a": 2, "b": 1, "c": 2}, ["a", "c"]),
        ({"sub": "ada"}, {"sub": "eve"}, ["sub"]),
        ({"iat": 1, "exp": 2, "nbf": 3, "jti": "x"}, {"iat": 9, "exp": 9, "nbf": 9, "jti": 9}, []),
    ],
)
def test_claims_that_repeat_a_field_must_have_its_value(claims, body, wrong):
    assert mismatched_claims(claims, body) == wrong


def check_opened(claims, body, **settings):
    return METHOD.check_opened(METHOD.clean_config(settings), claims, body)


@pytest.mark.spec("D3")
@pytest.mark.parametrize(
    ("body", "agrees"),
    [
        (b'{"Username":"Admin","x":1}', True),
        (b'\xef\xbb\xbf{"Username":"Admin"}', True),
        (b'{"x":1}', True),
        (b'{"Username":"admin"}', False),
        (b'{"Username":"Admin","Username":"Admin"}', False),
        (b'["Admin"]', False),
        (b"not json", False),
        (b"", False),
        (b"[" * 100_000, False),
    ],
    ids=["same", "with a mark", "absent", "other", "twice", "array", "text", "empty", "deep"],
)
def test_the_opened_body_must_agree_with_the_claims(body, agrees):
    claims = {"iat": NOW, "Username": "Admin"}
    verdict = check_opened(claims, body)
    if agrees:
        assert verdict is None
    else:
        assert (verdict.accepted, verdict.reason) == (False, "claims_mismatch")
        assert verdict.evidence == {"claims": "Username"}
    assert check_opened(claims, body, claims_match_body=False) is None


@pytest.mark.spec("D3")
@pytest.mark.parametrize("body", [b"not json", b"[1]", b'{"iat": 1}', b""], ids=["text", "array", "iat", "empty"])
def test_a_token_that_repeats_nothing_fits_any_body(body):
    assert check_opened({}, body) is None
    assert check_opened({"iat": NOW, "exp": NOW + 9, "jti": "1"}, body) is None
    assert check_opened({"Timestamp": NOW, "iss": "them"}, body) is None


def test_verifying_does_not_look_at_the_body():
    """It may be compressed still: the door asks again once it is open."""
    verdict = verify(token({"iat": NOW, "Username": "Admin"}), body=b'{"Username": "Eve"}')
    assert verdict.accepted
    assert check_opened(verdict.claims, b'{"Username": "Eve"}').reason == "claims_mismatch"


def test_the_names_of_wrong_claims_are_shown_in_bounds_and_without_values():
    claims = {f"claim-{number}\x00\ud800": f"value-{number}" for number in range(20)} | {"x" * 500: 1}
    verdict = check_opened(claims, json.dumps(dict.fromkeys(claims)).encode())
    assert len(verdict.evidence["claims"]) < 700
    assert verdict.evidence["claims"].endswith(", …")
    assert "value" not in verdict.evidence["claims"]
    verdict.evidence["claims"].encode()
    assert "\x00" not in verdict.evidence["claims"]


# ── Once ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def once(claims, *, now=NOW, **settings):
    return METHOD.once(METHOD.clean_config(settings), claims, float(now))


@pytest.mark.spec("D3")
@pytest.mark.parametrize(
    ("claims", "seconds"),
    [
        ({"iat": NOW}, 361),
        ({"iat": NOW - 360}, 1),
        ({"iat": NOW + 60}, 421),
        ({"Timestamp": NOW - 100.5}, 260),
        ({"iat": NOW, "Timestamp": NOW - 100}, 261),
        ({"exp": NOW + 10}, 71),
        ({"iat": NOW, "exp": NOW + 10}, 71),
        ({"iat": NOW, "exp": NOW + 7200}, 361),
    ],
)
def test_a_jti_is_remembered_until_its_token_is_too_old(claims, seconds):
    digest, remembered = once({**claims, "jti": "7"})
    assert (digest, remembered) == (sha256(b"7").digest()[:16], seconds)
    sent = raw_token(json.dumps({**claims, "jti": "7"}).encode())
    assert verify(sent).accepted
    assert not verify(sent, now=NOW + seconds).accepted, "forgotten before it was refused for its age"


def test_what_is_remembered_depends_on_the_whole_jti():
    names = ["7", "8", " 7", "j" * 256, "j" * 255 + "k", "\ud800", "é"]
    assert len({once({"iat": NOW, "jti": name})[0] for name in names}) == len(names)


@pytest.mark.spec("D3")
def test_whether_a_token_counts_once_is_the_source_s_choice():
    named, nameless = {"iat": NOW, "jti": "7"}, {"iat": NOW}
    assert once(named) is not None
    assert once(named, single_use="required") is not None
    assert once(named, single_use="accept") is None
    assert once(nameless) is None
    assert verify(token(nameless)).accepted
    assert verify(token(nameless), single_use="required").reason == "jti_missing"
    assert verify(token(named), single_use="required").accepted


def test_a_token_that_counts_once_has_an_end():
    sent = token({"jti": "7"})
    assert verify(sent, require_timestamp=False).reason == "token_unbounded"
    assert verify(sent, require_timestamp=False, single_use="accept").accepted


# ── Attacks and evidence ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.spec("B2", "D3")
@pytest.mark.parametrize("case", TOKENS, ids=lambda case: case.name)
def test_what_somebody_might_try(case):
    secret, key_id = METHOD.prefix + "s" * 43, "0123456789ab"
    live = LiveSecret("s1", key_id=key_id, value=secret.encode())
    sent = case.build(secret, key_id, float(NOW))
    verdict = verify(sent.encode("latin-1"), secrets=[live])
    assert (verdict.reason, verdict.accepted) == (case.reason, not case.reason)
    told = f"{verdict.detail} {dict(verdict.evidence)}"
    assert secret not in told
    assert not [part for part in sent.removeprefix("Bearer ").split(".") if len(part) > 15 and part in told]


@pytest.mark.spec("B5")
@pytest.mark.parametrize(
    ("header", "shown"),
    [
        ({"alg": "HS256", "kid": "0123456789ab"}, {"alg": "HS256", "key": "known", "key_id": "0123456789ab"}),
        ({"alg": "HS256", "kid": "ba9876543210"}, {"alg": "HS256", "key": "ended", "key_id": "ba9876543210"}),
        ({"alg": "HS256", "kid": "ffffffffffff"}, {"alg": "HS256", "key": "unknown", "key_id": "ffffffffffff"}),
        ({"alg": "HS256", "kid": "their own"}, {"alg": "HS256", "key": "unknown"}),
        ({"alg": "RS256"}, {"alg": "RS256", "key": "missing"}),
        ({"kid": 7}, {"alg": "missing", "key": "missing"}),
        ({"alg": "<script>", "kid": ""}, {"alg": "no name of an algorithm", "key": "missing"}),
    ],
)
def test_a_refusal_says_which_key_and_algorithm_the_token_named(header, shown):
    live = LiveSecret("s1", key_id="0123456789ab", value=KEY)
    ended = LiveSecret("s2", key_id="ba9876543210", value=KEY, ends_at=NOW - 1.0)
    sent = raw_token(b'{"iat":%d}' % NOW, key=b"z" * 32, header=json.dumps(header).encode())
    verdict = verify(sent, secrets=[live, ended])
    assert not verdict.accepted
    assert {"secrets_tried": 1, **shown}.items() <= verdict.evidence.items()


@pytest.mark.spec("B5")
@pytest.mark.parametrize(
    ("claims", "shown"),
    [
        ({"iat": NOW - 4000}, {"age": 4000}),
        ({"iat": NOW + 4000}, {"clock_difference": -4000}),
        ({"iat": NOW, "nbf": NOW + 100}, {"clock_difference": -100}),
        ({"exp": NOW - 100}, {"clock_difference": 100}),
        ({"exp": "soon"}, {"claims": "exp"}),
        ({"iat": NOW, "jti": 7}, {"claims": "jti"}),
    ],
)
def test_a_refusal_says_how_far_the_clocks_are_apart(claims, shown):
    verdict = verify(raw_token(json.dumps(claims).encode()))
    assert shown.items() <= verdict.evidence.items()


# ── Settings ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.spec("D3")
@pytest.mark.parametrize(
    ("given", "keys"),
    [
        (["Username", "Site"], ["Username", "Site"]),
        ([], []),
        ({"Username": "Admin", "CommandParams": {"Artifact": None}}, ["Username", "CommandParams"]),
        ('{"Username": "Admin", "Site": "x"}', ["Username", "Site"]),
        ('["Username"]', ["Username"]),
        ("Username, Site\nCommandParams", ["Username", "Site", "CommandParams"]),
        (["Start Time", "Start Time"], ["Start Time"]),
    ],
)
def test_the_payload_s_fields_come_from_a_sample_body_or_a_list(given, keys):
    for name in ("sample_keys", "sample_body"):
        config = METHOD.clean_config({name: given})
        assert config["sample_keys"] == keys
        assert "sample_body" not in config
        assert "Admin" not in str(config), "values of the sample are not kept"
    again = METHOD.clean_config(config)
    assert again == config
    assert METHOD.clean_config({**config, "sample_body": '{"Other": 1}'})["sample_keys"] == ["Other"]


@pytest.mark.parametrize(
    "given",
    [7, [7], "{", "[1, 2]", [""], ["x" * 129], ["a\x00b"], ["\ud800"], [f"k{n}" for n in range(51)], "7"],
    ids=["number", "numbers", "cut", "numbers in text", "empty", "long", "nul", "half", "many", "digit"],
)
def test_what_is_no_list_of_keys_is_refused(given):
    with pytest.raises(ConfigError) as caught:
        METHOD.clean_config({"sample_keys": given})
    assert list(caught.value.errors) == ["sample_keys"]


def test_a_public_key_file_is_no_secret():
    with pytest.raises(ConfigError):
        METHOD.clean_secret("-----BEGIN PUBLIC KEY-----" + "A" * 40 + "-----END PUBLIC KEY-----")


@pytest.mark.parametrize(
    "settings",
    [{"max_age_seconds": 0}, {"max_age_seconds": "long"}, {"leeway_seconds": 301},
     {"leeway_seconds": True}, {"require_timestamp": "maybe"}, {"claims_match_body": 2},
     {"single_use": "twice"}],
)  # fmt: skip
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError) as caught:
        METHOD.clean_config(settings)
    assert list(caught.value.errors) == list(settings)
