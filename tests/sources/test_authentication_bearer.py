"""A bearer token (spec P7, RFC 6750)."""

from hashlib import sha256

import pytest

from sources.authentication import METHODS, ConfigError, InboundRequest, LiveSecret

METHOD = METHODS["bearer"]
RFC_6750_TOKEN = b"mF_9.B5f-4.1JqM"  # section 2.1
SECRET = LiveSecret("s1", digest=sha256(RFC_6750_TOKEN).digest())


def verify(*values):
    headers = tuple((b"authorization", value) for value in values)
    return METHOD.verify({}, [SECRET], InboundRequest("POST", headers, b"", 0.0))


@pytest.mark.spec("P7")
@pytest.mark.parametrize("scheme", [b"Bearer", b"bearer", b"BEARER"])
def test_the_token_is_accepted_in_any_case_of_the_scheme(scheme):
    assert verify(scheme + b" " + RFC_6750_TOKEN).secret_id == "s1"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"Bearer mF_9.B5f-4.1JqN", "secret_mismatch"),
        (b"Bearer mf_9.b5f-4.1jqm", "secret_mismatch"),
        (b"Bearer mF_9.B5f-4.1JqM extra", "secret_mismatch"),
        (b"Basic mF_9.B5f-4.1JqM", "scheme_wrong"),
        (b"mF_9.B5f-4.1JqM", "scheme_wrong"),
        (b"Bearer", "header_malformed"),
        (b"Bearer   ", "header_malformed"),
        (b"", "header_missing"),
    ],
)
def test_anything_else_is_refused_with_its_reason(value, reason):
    assert verify(value).reason == reason


def test_two_authorization_headers_are_refused():
    assert verify(b"Bearer " + RFC_6750_TOKEN, b"Basic eA==").reason == "header_duplicated"


@pytest.mark.spec("P7")
@pytest.mark.parametrize("front", ["Bearer ", "bearer  ", "Authorization: Bearer "])
def test_a_typed_scheme_is_not_part_of_the_token(front):
    assert METHOD.clean_secret(front + "0123456789abcdef") == "0123456789abcdef"


@pytest.mark.parametrize("typed", ["Bearer", "Bearer short", "two words 0123456789"])
def test_a_typed_token_without_substance_is_refused(typed):
    with pytest.raises(ConfigError):
        METHOD.clean_secret(typed)
