"""What all authentication methods share: settings, secrets, headers, and never raising."""

import hmac
import itertools
import os
from dataclasses import replace
from hashlib import sha256

import pytest

from sources.authentication import (
    METHODS,
    ConfigError,
    InboundRequest,
    LiveSecret,
    verify_unknown,
)
from sources.authentication.contract import Refusal
from sources.authentication.hmac_signature import signature
from sources.presets import PRESETS
from tests.attack.verification import SENDERS

NOW = 1_700_000_000.0
KEY = b"0123456789abcdef0123456789abcdef"


def request(*headers, body=b"{}"):
    return InboundRequest("POST", tuple(headers), body, NOW)


def live(method, value=KEY):
    if METHODS[method].keeps_value:
        return LiveSecret("s1", key_id="k1", value=value)
    return LiveSecret("s1", key_id="k1", digest=sha256(value).digest())


def config_of(method):
    return METHODS[method].clean_config({"username": "ada"} if method == "basic" else {})


@pytest.mark.spec("P5", "P6", "P7", "P8", "P9", "D1")
def test_every_method_of_the_specification_exists():
    assert set(METHODS) == {"shared_secret", "hmac", "ed25519", "bearer", "basic", "jwt", "none"}


@pytest.mark.parametrize("method", [name for name in METHODS if name != "none"])
def test_a_source_without_a_live_secret_refuses(method):
    assert METHODS[method].verify(config_of(method), [], request()).reason == "no_secret"


@pytest.mark.spec("P9")
def test_none_accepts_anything_and_warns():
    assert METHODS["none"].verify({}, [], request()).accepted
    assert METHODS["none"].warning


@pytest.mark.parametrize(
    "method", [name for name, method in METHODS.items() if method.has_secret and method.makes_secret]
)
def test_generated_secrets_are_long_recognisable_different_and_typeable(method):
    first, second = METHODS[method].generate_secret(), METHODS[method].generate_secret()
    assert first != second
    assert first.startswith("pcl_")
    assert len(first) >= len("pcl_") + 43
    assert METHODS[method].clean_secret(first) == first


def test_a_public_key_is_never_made():
    with pytest.raises(ConfigError) as caught:
        METHODS["ed25519"].generate_secret()
    assert list(caught.value.errors) == ["secret"]


@pytest.mark.parametrize(
    ("method", "least"),
    [("bearer", 16), ("shared_secret", 16), ("hmac", 16), ("jwt", 32), ("basic", 8)],
)
def test_short_typed_secrets_are_refused(method, least):
    assert METHODS[method].clean_secret("x" * least) == "x" * least
    with pytest.raises(ConfigError) as caught:
        METHODS[method].clean_secret("x" * (least - 1))
    assert list(caught.value.errors) == ["secret"]


@pytest.mark.parametrize("method", [name for name in METHODS if name != "none"])
@pytest.mark.parametrize("typed", ["x" * 20 + "\n" + "x" * 20, "\ud800" * 40, "x" * 1025])
def test_unusable_typed_secrets_are_refused(method, typed):
    with pytest.raises(ConfigError):
        METHODS[method].clean_secret(typed)


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "Connection",
        "Cookie",
        "X_Sig",
        "X Sig",
        "X-Sig:",
        "X-\u00dc",
        "X-Sig\r\nA",
        "x" * 65,
        "Sec-Fetch-Mode",
        5.5j,
    ],
)
def test_header_names_that_cannot_work_are_refused(name):
    for method in ("shared_secret", "hmac", "jwt"):
        with pytest.raises(ConfigError) as caught:
            METHODS[method].clean_config({"header": name})
        assert list(caught.value.errors) == ["header"]


def test_settings_that_a_method_does_not_have_are_refused():
    with pytest.raises(ConfigError) as caught:
        METHODS["hmac"].clean_config({"alogrithm": "sha1"})
    assert list(caught.value.errors) == ["alogrithm"]


def test_all_wrong_settings_are_named_at_once():
    with pytest.raises(ConfigError) as caught:
        METHODS["hmac"].clean_config({"algorithm": "md5", "header": "Host"})
    assert set(caught.value.errors) == {"algorithm", "header"}


@pytest.mark.parametrize("method", METHODS)
def test_cleaning_is_idempotent(method):
    config = config_of(method)
    assert METHODS[method].clean_config(config) == config


def test_neither_secret_nor_digest_is_in_a_repr():
    text = repr(LiveSecret("s1", value=b"value-of-secret", digest=b"digest-of-secret"))
    assert "of-secret" not in text


def test_a_secret_without_value_and_digest_matches_nothing():
    assert not LiveSecret("s1").matches(b"")


def test_headers_are_found_by_exact_name_only():
    sent = request((b"x_sig", b"1"), (b"x-sig", b" 2\t"), (b"x-sig", b"3"))
    assert sent.values("X-Sig") == (b"2", b"3")
    assert sent.header("X-Sig") == b"2"
    assert sent.header("X-Other") is None


@pytest.mark.parametrize(
    "headers",
    [
        ((b"x-sig", b"1"), (b"x_sig", b"1")),
        ((b"x_sig", b"1"), (b"x-sig", b"1")),
        ((b"x-sig", b"1"), (b"x-sig", b"1")),
        ((b"x-sig", b"1\r\n 2"),),
        ((b"x-sig", b"1\n2"),),
        ((b"x-sig", b"1\x002"),),
        ((b"x-sig", b" \t "),),
        ((b"x_sig", b"1"),),
        (),
    ],
    ids=[
        "underscore after",
        "underscore before",
        "twice",
        "folded",
        "line break",
        "NUL",
        "blank",
        "underscore",
        "none",
    ],
)
def test_an_authentication_header_that_is_not_there_just_once_is_refused(headers):
    with pytest.raises(Refusal) as caught:
        request(*headers).only("X-Sig")
    assert caught.value.reason in ("header_duplicated", "header_malformed", "header_missing")
    assert caught.value.evidence["header"] == "X-Sig"


@pytest.mark.spec("B5")
def test_a_missing_header_names_those_that_look_like_a_proof():
    sent = request((b"host", b"a"), (b"x-hub-signature-256", b"v"), (b"authorization", b"secret"), (b"\xff-key", b"x"))
    verdict = METHODS["hmac"].verify({}, [live("hmac")], sent)
    assert verdict.reason == "header_missing"
    assert verdict.evidence["header"] == "X-Signature"
    assert verdict.evidence["headers_seen"] == "x-hub-signature-256, authorization"
    assert verdict.evidence["secrets_tried"] == 1


@pytest.mark.spec("B1", "B5")
@pytest.mark.parametrize("method", ["shared_secret", "bearer", "hmac"])
def test_a_secret_that_ended_proves_nothing_and_is_recognised(method):
    value = {
        "shared_secret": (b"x-webhook-key", KEY),
        "bearer": (b"authorization", b"Bearer " + KEY),
        "hmac": (b"x-signature", signature("sha256", KEY, b"{}").encode()),
    }[method]
    ended = replace(live(method), id="old", ends_at=NOW)
    verdict = METHODS[method].verify({}, [live(method, b"another-secret-0123456789"), ended], request(value))
    assert not verdict.accepted
    assert "accepted before" in verdict.evidence["hint"]
    later = replace(ended, ends_at=NOW + 0.001)
    assert METHODS[method].verify({}, [later], request(value)).secret_id == "old"


NASTY = [
    b"",
    b"\x00",
    b"\xff" * 50,
    b"Bearer",
    b"Bearer  ",
    b"Bearer \xff",
    b"Basic !!!!",
    b"Basic",
    b"Basic gICA",
    b"Bearer a.b.c",
    b"Bearer " + b"a" * 9000,
    b"sha256=",
    b"sha256=" + b"g" * 64,
    b"=",
    b"a.b.c",
    b"e30.e30.e30",
    b"." * 9000,
    b"Bearer eyJhbGciOlsiSFMyNTYiXX0.e30.e30",
    b"eyJhbGciOiJub25lIn0.e30.",
    b"eyJhbGciOnt9fQ.e30.e30",
    b"W10.W10.W10",
]


@pytest.mark.parametrize("method", [name for name in METHODS if name != "none"])
def test_no_bytes_make_verification_raise_or_pass(method):
    names = [b"authorization", b"x-webhook-key", b"x-signature", b"x-webhook-jwt", b"\xff\x00"]
    noise = [os.urandom(size) for size in (1, 10, 100)]
    for name, value in itertools.product(names, NASTY + noise):
        for sent in (request((name, value), body=value), request((name, value), (name, value))):
            verdict = METHODS[method].verify(config_of(method), [live(method)], sent)
            assert not verdict.accepted
            assert verdict.reason
            assert verdict.detail


@pytest.mark.parametrize("value", NASTY + [b"a" * 64, b"sha1=" + b"A" * 40])
def test_an_unknown_source_is_always_refused(value):
    verdict = verify_unknown(request((b"authorization", value), (b"x-signature", value)))
    assert (verdict.accepted, verdict.reason) == (False, "source_unknown")


@pytest.mark.parametrize("size", [10, 10_000, 100_000])
@pytest.mark.parametrize("sender", [one for one in SENDERS if one.method == "hmac"], ids=lambda sender: sender.name)
def test_an_unknown_source_hashes_the_body_as_often_as_a_wrong_secret(monkeypatch, sender, size):
    """What the time of an answer could tell apart: how often the whole body is hashed."""
    body = sender.body if sender.name in ("linear", "twilio", "twilio, JSON") else b"x" * size
    post = sender.sign(sender.other_secret, "https://portal.example.com/in/key", body, NOW)
    sent = InboundRequest(
        "POST", tuple((name.lower().encode(), value) for name, value in post.headers), post.body, NOW, post.url
    )
    method = METHODS["hmac"]
    preset = PRESETS.get(sender.creation.get("preset", ""))
    given = {name: value for name, value in sender.creation.get("auth", {}).items() if name != "method"}
    config = method.clean_config(preset.config_with(given) if preset else given)
    hashed = []
    digest = hmac.digest
    monkeypatch.setattr(hmac, "digest", lambda *values: hashed.append(values) or digest(*values))
    assert not method.verify(config, [LiveSecret("s1", value=sender.secret.encode())], sent).accepted
    wrong, hashed[:] = len(hashed), []
    verify_unknown(sent)
    assert len(hashed) == wrong
