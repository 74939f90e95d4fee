"""HMAC over the body (spec P6), with the vectors of RFC 4231, RFC 2202 and GitHub."""

import pytest

from sources.authentication import METHODS, ConfigError, InboundRequest, LiveSecret
from sources.authentication.hmac_signature import signature

METHOD = METHODS["hmac"]
SHA256 = METHOD.clean_config({})
SHA1 = METHOD.clean_config({"algorithm": "SHA-1"})

# GitHub's documentation, "Testing the webhook payload validation".
GITHUB_KEY = b"It's a Secret to Everybody"
GITHUB_BODY = b"Hello, World!"
GITHUB_HEX = b"757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"

RFC_4231 = [
    (b"\x0b" * 20, b"Hi There",
     "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (b"Jefe", b"what do ya want for nothing?",
     "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    (b"\xaa" * 20, b"\xdd" * 50,
     "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    (b"\xaa" * 131, b"Test Using Larger Than Block-Size Key - Hash Key First",
     "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"),
]  # fmt: skip
RFC_2202 = [
    (b"\x0b" * 20, b"Hi There", "b617318655057264e28bc0b6fb378c8ef146be00"),
    (b"Jefe", b"what do ya want for nothing?", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
]


def verify(*values, body=GITHUB_BODY, key=GITHUB_KEY, config=SHA256, others=()):
    headers = tuple((b"x-signature", value) for value in values)
    secrets = [LiveSecret("s1", value=key), *others]
    return METHOD.verify(config, secrets, InboundRequest("POST", headers, body, 0.0))


@pytest.mark.spec("P6")
@pytest.mark.parametrize(("key", "body", "expected"), RFC_4231)
def test_rfc_4231_vectors_are_accepted(key, body, expected):
    assert signature("sha256", key, body) == expected
    assert verify(b"sha256=" + expected.encode(), body=body, key=key).secret_id == "s1"


@pytest.mark.spec("P6")
@pytest.mark.parametrize(("key", "body", "expected"), RFC_2202)
def test_rfc_2202_vectors_are_accepted(key, body, expected):
    assert verify(b"sha1=" + expected.encode(), body=body, key=key, config=SHA1).accepted


@pytest.mark.parametrize(
    "value",
    [
        b"sha256=" + GITHUB_HEX,
        GITHUB_HEX,
        b"sha256=" + GITHUB_HEX.upper(),
        b"SHA256=" + GITHUB_HEX,
        b"  sha256=" + GITHUB_HEX + b"\t",
    ],
)
def test_github_s_vector_is_accepted_in_every_spelling(value):
    assert verify(value).accepted


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"sha256=" + GITHUB_HEX[:-1] + b"f", "signature_mismatch"),
        (b"sha1=" + GITHUB_HEX[:40], "algorithm_mismatch"),
        (b"sha512=" + GITHUB_HEX * 2, "algorithm_mismatch"),
        (GITHUB_HEX[:40], "header_malformed"),
        (GITHUB_HEX[:-1], "header_malformed"),
        (GITHUB_HEX + b"0", "header_malformed"),
        (GITHUB_HEX[:30] + b" " + GITHUB_HEX[31:], "header_malformed"),
        (GITHUB_HEX + b"\n", "header_malformed"),
        (b"sha256=" + b"\xb2" * 64, "header_malformed"),
        (b"sha256=", "header_malformed"),
        (b"", "header_missing"),
    ],
)
def test_anything_else_is_refused_without_telling_the_signature(value, reason):
    verdict = verify(value)
    assert verdict.reason == reason
    assert GITHUB_HEX.decode() not in verdict.detail


def test_a_changed_byte_of_the_body_is_refused():
    assert verify(b"sha256=" + GITHUB_HEX, body=b"Hello, World?").reason == "signature_mismatch"


def test_two_signatures_are_refused():
    value = b"sha256=" + GITHUB_HEX
    assert verify(value, value).reason == "header_duplicated"


@pytest.mark.spec("B1")
def test_during_a_rotation_either_key_is_accepted_and_named():
    previous = LiveSecret("s2", value=GITHUB_KEY)
    assert verify(b"sha256=" + GITHUB_HEX, key=b"another key", others=[previous]).secret_id == "s2"


@pytest.mark.parametrize("key", [None, b""])
def test_a_secret_without_a_key_is_never_used(key):
    forged = signature("sha256", b"", GITHUB_BODY).encode()
    assert verify(forged, key=key).reason == "no_secret"


@pytest.mark.parametrize("name", ["md5", "sha384", "", "none"])
def test_only_known_algorithms_can_be_chosen(name):
    if name:
        with pytest.raises(ConfigError):
            METHOD.clean_config({"algorithm": name})
    else:
        assert METHOD.clean_config({"algorithm": name})["algorithm"] == "sha256"
