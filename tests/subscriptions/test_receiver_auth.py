"""What may be said about authenticating to a receiver, what of it can be read, and what becomes of it."""

from datetime import UTC, datetime, timedelta

import pytest

from egress.authentication import Authorization
from egress.certificates import ClientCertificate
from egress.guard import Guard
from egress.oauth import ClientCredentials
from subscriptions.receiver_auth import AuthRefused, ReceiverAuth, authentication, clean, expiry
from tests.authorities import Authority

NOW = datetime.now(UTC)
OAUTH2 = {"token_url": "https://login.example.com/token", "client_id": "portal", "client_secret": "s3cret"}


def cleaned(method: str, **given) -> ReceiverAuth:
    return clean(method, given, Guard(), NOW)


def made(auth: ReceiverAuth):
    return authentication(auth, owner="one", receiver="https://receiver.example/")


def test_none_is_nothing():
    assert cleaned("none") == ReceiverAuth()
    assert made(cleaned("none")) is None


def test_basic_is_a_header_in_utf_8():
    auth = cleaned("basic", username="portal", password="pä ss:wörd")
    assert auth.config == {"username": "portal"}
    assert made(auth) == Authorization("Basic", "cG9ydGFsOnDDpCBzczp3w7ZyZA==")


@pytest.mark.parametrize("typed", ["abc.DEF", "Bearer abc.DEF", " bearer  abc.DEF "])
def test_of_a_token_the_word_before_it_is_left_out(typed):
    auth = cleaned("bearer", token=typed)
    assert auth.config == {}
    assert made(auth) == Authorization("Bearer", "abc.DEF")


def test_oauth2_can_be_read_but_for_its_secret():
    auth = cleaned("oauth2", **OAUTH2, scope="a b", audience="")
    assert auth.config == {
        "token_url": "https://login.example.com/token",
        "client_id": "portal",
        "scope": "a b",
        "client_authentication": "client_secret_basic",
    }
    assert auth.secrets == {"client_secret": "s3cret"}
    assert made(auth) == ClientCredentials(
        "one", "https://login.example.com/token", "portal", "s3cret", "https://receiver.example/", scope="a b"
    )


def test_of_a_certificate_its_particulars_can_be_read(tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.issue("portal")
    auth = cleaned("mtls", certificate=certificate, private_key=key)
    assert set(auth.config) == {"subject", "issuer", "expires_at", "fingerprint"}
    assert auth.config["subject"] == "CN=portal"
    assert made(auth) == ClientCertificate("one", datetime.fromisoformat(auth.config["expires_at"]), certificate, key)


@pytest.mark.parametrize(
    ("method", "given", "fields"),
    [
        ("none", {"token": "x"}, {"token"}),
        ("basic", {}, {"username", "password"}),
        ("basic", {"username": "a:b", "password": "x"}, {"username"}),
        ("basic", {"username": "a\nb", "password": "x\x00"}, {"username", "password"}),
        ("basic", {"username": "a", "password": "b", "token": "c"}, {"token"}),
        ("bearer", {"token": ""}, {"token"}),
        ("bearer", {"token": "Bearer "}, {"token"}),
        ("bearer", {"token": "two words"}, {"token"}),
        ("bearer", {"token": "tök"}, {"token"}),
        ("bearer", {"token": "a\r\nX-B: c"}, {"token"}),
        ("oauth2", {}, {"token_url", "client_id", "client_secret"}),
        ("oauth2", OAUTH2 | {"token_url": "http://login.example.com/"}, {"token_url"}),
        ("oauth2", OAUTH2 | {"token_url": "https://127.0.0.1/"}, {"token_url"}),
        ("oauth2", OAUTH2 | {"token_url": "https://u:p@login.example.com/"}, {"token_url"}),
        ("oauth2", OAUTH2 | {"scope": "ä"}, {"scope"}),
        ("oauth2", OAUTH2 | {"client_authentication": "private_key_jwt"}, {"client_authentication"}),
        ("oauth2", OAUTH2 | {"client_id": "a\nb", "audience": "\u2028"}, {"client_id", "audience"}),
        ("mtls", {"certificate": "x", "private_key": "y"}, {"certificate"}),
    ],
)
def test_what_is_refused_is_named_and_repeats_no_value(method, given, fields):
    with pytest.raises(AuthRefused) as caught:
        cleaned(method, **given)
    assert set(caught.value.errors) == fields
    assert all(sentence.endswith(".") for sentence in caught.value.errors.values())


@pytest.mark.parametrize(
    "auth",
    [
        ReceiverAuth("bearer"),
        ReceiverAuth("basic", {"username": "x"}),
        ReceiverAuth("oauth2", {"token_url": "https://x.example/"}, {"client_secret": "x"}),
        ReceiverAuth("oauth2", OAUTH2 | {"more": "x"}),
        ReceiverAuth("mtls", {"expires_at": "soon"}),
        ReceiverAuth("kerberos"),
    ],
)
def test_what_is_incomplete_is_not_taken_for_nothing(auth):
    with pytest.raises(ValueError, match=r"authentication is|isoformat"):
        made(auth)


def test_no_representation_shows_a_secret():
    auth = cleaned("oauth2", **OAUTH2)
    assert "s3cret" not in f"{auth!r} {made(auth)!r}"


@pytest.mark.parametrize(("days", "is_over", "is_near"), [(-1, True, False), (29, False, True), (31, False, False)])
def test_an_end_is_near_for_thirty_days(days, is_over, is_near):
    told = expiry({"expires_at": (NOW + timedelta(days=days)).isoformat()}, NOW)
    assert (told.is_over, told.is_near) == (is_over, is_near)
    assert expiry({"username": "x"}, NOW) is None
