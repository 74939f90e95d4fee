"""Signature schemes as settings (spec P6, B3), and what a refusal tells the admin (B5)."""

import base64
import hashlib
import hmac

import pytest

from sources.authentication import METHODS, ConfigError, InboundRequest, LiveSecret
from sources.authentication.scheme import template_parts
from sources.authentication.signed import _compiled

METHOD = METHODS["hmac"]
KEY = b"0123456789abcdef0123456789abcdef"
NOW = 1_700_000_000
BODY = b'{"a": 1}'


def sign(message, algorithm="sha256", key=KEY):
    return hmac.new(key, message, getattr(hashlib, algorithm))


def verify(settings, *headers, body=BODY, key=KEY, others=(), url=""):
    config = METHOD.clean_config(settings)
    request = InboundRequest("POST", headers, body, float(NOW), url)
    return METHOD.verify(config, [LiveSecret("s1", value=key), *others], request)


def errors(**settings):
    with pytest.raises(ConfigError) as caught:
        METHOD.clean_config(settings)
    return caught.value.errors


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("", None),
        ("{body}", None),
        ("{timestamp}.{body}", None),
        ("{timestamp}{body}", None),
        ("no field", "{body}"),
        ("{timestamp}", "{body}"),
        ("{body}{form}", "either"),
        ("{body}{body}", "once"),
        ("{payload}", "There is no {payload}"),
        ("{body", "brace"),
        ("body}", "brace"),
        ("{{body}}", "brace"),
        ("{id}{body}", "between"),
        ("{body}{id}", "between"),
        ("{timestamp}{id}.{body}", "between"),
        ("0{timestamp}.{body}", "digit"),
        ("{timestamp}1{body}", "digit"),
        ("\u00e9{body}", "ASCII"),
        ("{body}" + "x" * 200, "at most"),
        (7, "text"),
    ],
)
def test_templates_are_checked_with_a_clear_message(template, words):
    settings = {"signed": template, "timestamp": "X-T"} if "timestamp" in str(template) else {"signed": template}
    if words is None:
        assert METHOD.clean_config(settings)
    else:
        assert words in errors(**settings)["signed"]


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"signed": "{timestamp}.{body}"}, "timestamp"),
        ({"timestamp": "X-T"}, "timestamp"),
        ({"signed": "{timestamp}.{body}", "timestamp": "path:at"}, "timestamp"),
        ({"signed": "{url}{form}", "timestamp": "path:at"}, "timestamp"),
        ({"signed": "{timestamp}.{body}", "timestamp": "element:t"}, "signatures"),
        ({"signed": "{id}.{body}"}, "id"),
        ({"id": "X-Id"}, "id"),
        ({"id": "path:id", "signed": "{id}.{body}"}, "id"),
        ({"timestamp": "cookie:t"}, "timestamp"),
        ({"timestamp": "header:X_T"}, "timestamp"),
        ({"timestamp": "element:t t"}, "timestamp"),
        ({"timestamp": "path:a..b"}, "timestamp"),
        ({"prefix": "v1, ", "signatures": "space"}, "prefix"),
        ({"prefix": "v1,", "signatures": "comma"}, "prefix"),
        ({"prefix": "\u00e9"}, "prefix"),
        ({"prefix": "x" * 33}, "prefix"),
        ({"encoding": "base32"}, "encoding"),
        ({"signatures": "many"}, "signatures"),
        ({"key_encoding": "pem"}, "key_encoding"),
        ({"tolerance_seconds": -1}, "tolerance_seconds"),
        ({"tolerance_seconds": 86_401}, "tolerance_seconds"),
    ],
)
def test_settings_that_cannot_work_together_are_named(settings, field):
    assert list(errors(**settings)) == [field]


def test_what_is_left_at_its_default_is_not_stored():
    assert METHOD.clean_config({"signed": "{body}", "prefix": "", "tolerance_seconds": 300}) == {
        "header": "X-Signature",
        "algorithm": "sha256",
    }


def test_a_stored_config_from_before_works_as_before():
    config = {"header": "X-Signature", "algorithm": "sha1"}
    request = InboundRequest("POST", ((b"x-signature", b"SHA1=" + sign(BODY, "sha1").hexdigest().encode()),), BODY, 0.0)
    assert METHOD.verify(config, [LiveSecret("s1", value=KEY)], request).accepted


def test_templates_are_divided():
    assert template_parts("v0:{timestamp}:{body}") == (b"v0:", "timestamp", b":", "body")


def test_settings_are_compiled_once():
    config = METHOD.clean_config({"header": "X-Once", "prefix": "once="})
    assert METHOD.scheme(config) is METHOD.scheme(dict(config))
    assert _compiled.cache_info().hits >= 1


@pytest.mark.parametrize(
    ("settings", "make"),
    [
        ({"algorithm": "sha512"}, lambda: sign(BODY, "sha512").hexdigest()),
        (
            {"algorithm": "sha512", "encoding": "base64"},
            lambda: base64.b64encode(sign(BODY, "sha512").digest()).decode(),
        ),
        ({"encoding": "base64"}, lambda: base64.b64encode(sign(BODY).digest()).decode()),
        ({"encoding": "base64"}, lambda: "sha256=" + base64.b64encode(sign(BODY).digest()).decode()),
        ({"prefix": "HMAC "}, lambda: "HMAC " + sign(BODY).hexdigest()),
        ({"prefix": "none"}, lambda: sign(BODY).hexdigest()),
        ({"signed": "<{body}>"}, lambda: sign(b"<" + BODY + b">").hexdigest()),
        ({"signatures": "comma"}, lambda: f"{'0' * 64}, {sign(BODY).hexdigest()}"),
    ],
    ids=["sha512", "sha512 base64", "base64", "base64 with a name", "prefix", "no prefix", "literals", "list"],
)
def test_schemes_that_are_accepted(settings, make):
    assert verify(settings, (b"x-signature", make().encode())).accepted


def test_keys_in_base64_and_hex():
    for encoding, key in (
        ("base64", base64.b64encode(KEY)),
        ("base64", b"whsec_" + base64.b64encode(KEY)),
        ("hex", KEY.hex().encode()),
    ):
        assert verify({"key_encoding": encoding}, (b"x-signature", sign(BODY).hexdigest().encode()), key=key).accepted
    broken = verify({"key_encoding": "hex"}, (b"x-signature", sign(BODY).hexdigest().encode()), key=b"no hex")
    assert broken.reason == "no_secret"


@pytest.mark.parametrize(
    ("encoding", "typed"), [("base64", "whsec_!!!!"), ("hex", "xyz" * 10), ("base64", "whsec_c2hvcnRrZXk=")]
)
def test_a_typed_key_must_be_one(encoding, typed):
    with pytest.raises(ConfigError) as caught:
        METHOD.clean_secret(typed, METHOD.clean_config({"key_encoding": encoding}))
    assert list(caught.value.errors) == ["secret"]


@pytest.mark.parametrize("encoding", ["utf-8", "base64", "hex"])
def test_a_generated_key_is_written_as_the_settings_say(encoding):
    config = METHOD.clean_config({"key_encoding": encoding})
    secret = METHOD.generate_secret(config)
    assert METHOD.clean_secret(secret, config) == secret
    assert len(METHOD.key(secret.encode(), config)) >= 32


def test_a_digit_cannot_move_between_timestamp_and_body():
    settings = {"signed": "{timestamp}{body}", "timestamp": "X-T"}
    signed = sign(f"{NOW}000".encode() + b'7{"a": 1}').hexdigest().encode()
    moved = verify(settings, (b"x-signature", signed), (b"x-t", f"{NOW}000".encode()), body=b'7{"a": 1}')
    assert moved.reason == "signature_ambiguous"
    right = sign(f"{NOW}".encode() + BODY).hexdigest().encode()
    assert verify(settings, (b"x-signature", right), (b"x-t", str(NOW).encode())).accepted


def test_milliseconds_are_understood():
    settings = {"signed": "{timestamp}.{body}", "timestamp": "X-T"}
    for stamp, accepted in ((NOW * 1000 + 300_000, True), (NOW * 1000 + 300_001, False)):
        signed = sign(f"{stamp}.".encode() + BODY).hexdigest().encode()
        assert verify(settings, (b"x-signature", signed), (b"x-t", str(stamp).encode())).accepted is accepted


def test_tolerance_0_looks_at_no_clock():
    settings = {"signed": "{timestamp}.{body}", "timestamp": "X-T", "tolerance_seconds": 0}
    signed = sign(b"1000000000." + BODY).hexdigest().encode()
    assert verify(settings, (b"x-signature", signed), (b"x-t", b"1000000000")).accepted


def test_the_url_is_signed_and_must_be_known():
    settings = {"signed": "{url}{body}"}
    url = "https://portal.example.com/in/key"
    value = (b"x-signature", sign(url.encode() + BODY).hexdigest().encode())
    assert verify(settings, value, url=url).accepted
    assert verify(settings, value, url=url + "s").reason == "signature_mismatch"
    assert verify(settings, value).reason == "url_unknown"
    swallowed = (b"x-signature", sign(url.encode() + b"?x={}").hexdigest().encode())
    assert verify(settings, swallowed, url=url + "?x=", body=b"{}").reason == "signature_ambiguous"


# ── What a refusal tells ─────────────────────────────────────────────────────────────────────────


@pytest.mark.spec("B5")
def test_evidence_of_another_key():
    value = sign(BODY, key=b"another key").hexdigest()
    verdict = verify({}, (b"x-signature", b"sha256=" + value.encode()))
    assert verdict.reason == "signature_mismatch"
    assert dict(verdict.evidence) == {
        "secrets_tried": 1,
        "header": "X-Signature",
        "signed": "{body}",
        "presented": value[:8],
        "computed": sign(BODY).hexdigest()[:8],
        "signed_bytes": len(BODY),
    }


@pytest.mark.spec("B5")
@pytest.mark.parametrize(
    ("secret", "value"),
    [
        (b"correct horse battery staple", b"correct horse battery staple"),
        (b"correct horse battery staple", b"another password of somebody"),
        (b"0123456789abcdef" * 4, b"0123456789abcdef" * 4),
        (b"0123456789abcdef" * 4, b"sha256=" + b"0123456789abcdef" * 4),
        (b"whsec_" + base64.b64encode(bytes(32)), base64.b64encode(bytes(32))),
    ],
    ids=["a password", "another's password", "in hex", "in hex, labelled", "in base64"],
)
def test_nothing_is_told_of_a_secret_sent_as_the_signature(secret, value):
    sent = InboundRequest("POST", ((b"x-signature", value),), BODY, NOW)
    verdict = METHODS["hmac"].verify(METHODS["hmac"].clean_config({}), [LiveSecret("1", value=secret)], sent)
    assert not verdict.accepted
    assert "presented" not in verdict.evidence
    assert value[:8].decode() not in str(dict(verdict.evidence)) + verdict.detail


@pytest.mark.spec("B5")
@pytest.mark.parametrize(
    ("settings", "value", "hint"),
    [
        ({}, lambda: sign(BODY + b"\n").hexdigest(), "for the body with a line break at its end"),
        ({}, lambda: sign(BODY, "sha1").hexdigest(), "with SHA-1"),
        ({}, lambda: "sha1=" + sign(BODY, "sha1").hexdigest(), "with SHA-1"),
        ({}, lambda: sign(BODY, "sha512").hexdigest(), "with SHA-512"),
        ({}, lambda: base64.b64encode(sign(BODY).digest()).decode(), "in base64 instead of hex"),
        ({"encoding": "base64"}, lambda: sign(BODY).hexdigest(), "in hex instead of base64"),
        ({}, lambda: base64.b64encode(sign(BODY, "sha1").digest()).decode(), "with SHA-1 and in base64 instead of hex"),
        ({"prefix": "v0="}, lambda: sign(BODY).hexdigest(), "with v0= before it"),
        ({}, lambda: f'"{sign(BODY).hexdigest()}"', "without what stands around it"),
        ({}, lambda: sign(BODY, key=KEY + b"\n").hexdigest(), "a line break at the end of the sender's copy"),
        (
            {"signed": "v0:{body}"},
            lambda: sign(BODY).hexdigest(),
            "for the body alone",
        ),
    ],
    ids=["newline", "sha1", "sha1 named", "sha512", "base64", "hex", "both", "prefix", "quotes", "key", "body alone"],
)
def test_evidence_finds_the_usual_mistakes(settings, value, hint):
    verdict = verify(settings, (b"x-signature", value().encode()))
    assert not verdict.accepted
    assert hint in verdict.evidence["hint"]


@pytest.mark.spec("B5")
def test_evidence_of_a_key_that_should_have_been_decoded():
    key = base64.b64encode(KEY)
    verdict = verify({}, (b"x-signature", sign(BODY).hexdigest().encode()), key=b"whsec_" + key)
    assert "decoded from base64" in verdict.evidence["hint"]


@pytest.mark.spec("B5")
def test_evidence_of_a_missing_newline():
    body = BODY + b"\r\n"
    verdict = verify({}, (b"x-signature", sign(BODY).hexdigest().encode()), body=body)
    assert "without the line break at its end" in verdict.evidence["hint"]


@pytest.mark.spec("B5")
@pytest.mark.parametrize("offset", [-400, 400])
def test_evidence_of_a_wrong_clock(offset):
    settings = {"signed": "{timestamp}.{body}", "timestamp": "X-T"}
    stamp = NOW + offset
    signed = sign(f"{stamp}.".encode() + BODY).hexdigest().encode()
    verdict = verify(settings, (b"x-signature", signed), (b"x-t", str(stamp).encode()))
    assert verdict.reason == ("timestamp_too_old" if offset < 0 else "timestamp_ahead")
    assert verdict.evidence["clock_difference"] == offset
    assert verdict.evidence["tolerance"] == 300
    assert "computed" not in verdict.evidence


@pytest.mark.spec("B5")
def test_the_search_for_mistakes_is_bounded(monkeypatch):
    made = []
    digest = hmac.digest
    monkeypatch.setattr(hmac, "digest", lambda *values: made.append(values) or digest(*values))
    big = b"x" * 65_537
    value = (b"x-signature", sign(BODY, key=b"another key").hexdigest().encode())
    assert verify({}, value).reason == "signature_mismatch"
    small_cost = len(made)
    made.clear()
    assert "hint" not in verify({}, value, body=big).evidence
    assert small_cost <= 1 + 1 + 4  # the proof, what is shown, and the tries
    assert len(made) <= 2


@pytest.mark.spec("B5")
def test_evidence_holds_no_whole_signature_and_no_key():
    value = sign(BODY, key=b"another key").hexdigest()
    for settings in ({}, {"encoding": "base64"}, {"prefix": "v0="}, {"algorithm": "sha512"}):
        told = repr(dict(verify(settings, (b"x-signature", value.encode())).evidence))
        for algorithm in ("sha1", "sha256", "sha512"):
            assert sign(BODY, algorithm).hexdigest()[8:20] not in told
            assert base64.b64encode(sign(BODY, algorithm).digest()).decode()[8:20] not in told
        assert KEY.decode()[:10] not in told


@pytest.mark.spec("B5")
@pytest.mark.parametrize(
    ("method", "header", "value", "expected"),
    [
        ("shared_secret", b"x-webhook-key", b'"' + KEY + b'"', "without the quotes"),
        ("shared_secret", b"x-webhook-key", b"Bearer " + KEY, "without the word before it"),
        ("shared_secret", b"x-webhook-key", KEY + b"\xa0", "without the white space"),
        ("bearer", b"authorization", b"Bearer Bearer " + KEY, "without the word before it"),
        ("bearer", b"authorization", b"Bearer '" + KEY + b"'", "without the quotes"),
    ],
)
def test_evidence_of_a_secret_in_a_wrong_wrapping(method, header, value, expected):
    secret = LiveSecret("s1", digest=hashlib.sha256(KEY).digest())
    verdict = METHODS[method].verify({}, [secret], InboundRequest("POST", ((header, value),), b"", 0.0))
    assert verdict.reason == "secret_mismatch"
    assert expected in verdict.evidence["hint"]


@pytest.mark.spec("B5")
def test_evidence_of_another_kind_of_secret_and_of_no_length():
    secret = LiveSecret("s1", digest=hashlib.sha256(KEY).digest())
    request = InboundRequest("POST", ((b"x-webhook-key", b"pcl_hmac_abcdefgh"),), b"", 0.0)
    verdict = METHODS["shared_secret"].verify({}, [secret], request)
    assert dict(verdict.evidence) == {"secrets_tried": 1, "header": "X-Webhook-Key", "begins": "pcl_hmac_"}


@pytest.mark.spec("B5", "P8")
def test_evidence_tells_the_user_name_from_the_password():
    secret = LiveSecret("s1", digest=hashlib.sha256(KEY).digest())
    for name, password, wrong in (
        ("ada", b"no", "password"),
        ("bob", KEY, "user name"),
        ("bob", b"no", "user name and password"),
    ):
        value = b"Basic " + base64.b64encode(name.encode() + b":" + password)
        request = InboundRequest("POST", ((b"authorization", value),), b"", 0.0)
        assert METHODS["basic"].verify({"username": "ada"}, [secret], request).evidence["wrong"] == wrong


def test_a_divider_cannot_move_between_id_timestamp_and_body():
    """`msg_1.T.` + `T.{}` and `msg_1.T` + `.T.` + `{}` are the same bytes; only one of them was sent."""
    settings = {"signed": "{id}.{timestamp}.{body}", "timestamp": "X-T", "id": "X-Id"}
    body = f"{NOW}.{{}}".encode()
    value = (b"x-signature", sign(f"msg_1.{NOW}.".encode() + body).hexdigest().encode())
    stamp = (b"x-t", str(NOW).encode())
    assert verify(settings, value, stamp, (b"x-id", b"msg_1"), body=body).accepted
    moved = verify(settings, value, stamp, (b"x-id", f"msg_1.{NOW}".encode()), body=b"{}")
    assert moved.reason == "header_malformed"
