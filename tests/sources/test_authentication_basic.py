"""Basic authentication (spec P8, RFC 7617)."""

import base64
import unicodedata
from hashlib import sha256

import pytest

from sources.authentication import METHODS, ConfigError, InboundRequest, LiveSecret

METHOD = METHODS["basic"]


def verify(username, password, *values):
    headers = tuple((b"authorization", value) for value in values)
    secret = LiveSecret("s1", digest=sha256(password.encode()).digest())
    config = METHOD.clean_config({"username": username})
    return METHOD.verify(config, [secret], InboundRequest("POST", headers, b"", 0.0))


def encoded(text, charset="utf-8"):
    return b"Basic " + base64.b64encode(text.encode(charset))


@pytest.mark.spec("P8")
@pytest.mark.parametrize(
    ("username", "password", "value"),
    [
        ("Aladdin", "open sesame", b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),  # RFC 7617 section 2
        ("test", "123\u00a3", b"Basic dGVzdDoxMjPCow=="),  # RFC 7617 section 2.1
        ("Aladdin", "open sesame", b"basic  QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
    ],
)
def test_the_published_vectors_are_accepted(username, password, value):
    assert verify(username, password, value).secret_id == "s1"


def test_a_password_may_contain_colons():
    assert verify("ada", "a:b:c:d:e", encoded("ada:a:b:c:d:e")).accepted


def test_composed_and_decomposed_text_are_the_same():
    sent = unicodedata.normalize("NFD", "ren\u00e9e:caf\u00e9cr\u00e8me")
    assert verify("ren\u00e9e", "caf\u00e9cr\u00e8me", encoded(sent)).accepted


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (encoded("ada:wrong horse"), "secret_mismatch"),
        (encoded("eve:right horse"), "secret_mismatch"),
        (encoded(":right horse"), "secret_mismatch"),
        (encoded("right horse"), "credentials_malformed"),
        (encoded("ada:right hors\u00e9", "latin-1"), "credentials_malformed"),
        (b"Basic not*base64", "credentials_malformed"),
        (b"Basic YWRhOnJpZ2h0IGhvcnNl\xc3", "credentials_malformed"),
        (b"Bearer YWRhOnJpZ2h0IGhvcnNl", "scheme_wrong"),
    ],
)
def test_anything_else_is_refused_with_its_reason(value, reason):
    verdict = verify("ada", "right horse", value)
    assert verdict.reason == reason
    assert "horse" not in verdict.detail


def test_two_authorization_headers_are_refused():
    value = encoded("ada:right horse")
    assert verify("ada", "right horse", value, value).reason == "header_duplicated"


@pytest.mark.parametrize("username", ["a:b", "a\nb", "", None, "x" * 129])
def test_unusable_user_names_are_refused(username):
    with pytest.raises(ConfigError) as caught:
        METHOD.clean_config({"username": username})
    assert list(caught.value.errors) == ["username"]


def test_credentials_have_one_spelling():
    """The last letter before the padding has bits that decoders drop."""
    secret = LiveSecret("s1", digest=sha256(b"012345678").digest())
    right = base64.b64encode(b"ada:012345678")
    assert right.endswith(b"OA==")
    for value, accepted in ((right, True), (right[:-3] + b"B==", False), (right.rstrip(b"="), False)):
        request = InboundRequest("POST", ((b"authorization", b"Basic " + value),), b"", 0.0)
        assert METHODS["basic"].verify({"username": "ada"}, [secret], request).accepted is accepted
