"""Signatures, judged by code that is not ours where there is some."""

import base64
import hashlib
import hmac
import json
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from subscriptions.messages import timestamped
from subscriptions.signing import SCHEMES, generate_secret, sign, signing_key, stamp

STANDARD, BODY_SCHEME = "standard_webhooks", "timestamped_body"
SIGNING = [scheme.name for scheme in SCHEMES.values() if scheme.signs]
BODY = '{"a": "ü", "b": 1.0}\n'.encode()


def sign_now(scheme, secrets, body=BODY, message_id="msg_1"):
    return sign(scheme, secrets, message_id=message_id, timestamp=int(time.time()), body=body)


@pytest.mark.spec("B4")
def test_the_published_vector_of_standard_webhooks():
    signed = sign(
        STANDARD,
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        body=b'{"test": 2432232314}',
    )
    assert dict(signed.headers) == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    assert signed.body == b'{"test": 2432232314}'


@pytest.mark.spec("B4")
def test_the_standard_library_verifies_it():
    secret = generate_secret(STANDARD)
    signed = sign_now(STANDARD, [secret])
    assert Webhook(secret).verify(signed.body, dict(signed.headers)) == {"a": "ü", "b": 1.0}


@pytest.mark.spec("B4")
def test_the_standard_library_notices_another_body():
    secret = generate_secret(STANDARD)
    signed = sign_now(STANDARD, [secret])
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(signed.body + b" ", dict(signed.headers))


@pytest.mark.spec("S6")
@pytest.mark.spec("B4")
def test_during_an_overlap_both_secrets_verify():
    new, old = generate_secret(STANDARD), generate_secret(STANDARD)
    headers = dict(sign_now(STANDARD, [new, old]).headers)
    assert headers["webhook-signature"].count("v1,") == 2
    for secret in (new, old):
        Webhook(secret).verify(BODY, headers)


def test_a_secret_that_is_not_live_does_not_verify():
    headers = dict(sign_now(STANDARD, [generate_secret(STANDARD)]).headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(generate_secret(STANDARD)).verify(BODY, headers)


def test_the_newest_secret_signs_first():
    new, old = generate_secret(STANDARD), generate_secret(STANDARD)
    both = dict(sign_now(STANDARD, [new, old]).headers)["webhook-signature"]
    alone = dict(sign_now(STANDARD, [new]).headers)["webhook-signature"]
    assert both.split()[0] == alone


@pytest.mark.spec("S4")
def test_the_body_signature_is_hex_over_the_complete_body():
    body = timestamped("user.created", b'{"a": 1.0}')
    signed = sign(BODY_SCHEME, ["secret"], message_id="m1", timestamp=1700000000, body=body)
    assert signed.body == b'{"event":"user.created","payload":{"a": 1.0},"timestamp":1700000000}'
    assert signed.headers == (
        ("X-Webhook-Event-Id", "m1"),
        ("X-Timestamp", "1700000000"),
        ("X-Signature", hmac.new(b"secret", signed.body, hashlib.sha256).hexdigest()),
    )


@pytest.mark.spec("S4")
def test_between_attempts_only_the_timestamp_changes():
    body = timestamped("user.created", b'{"timestamp":0}')
    first, second = stamp(body, 1700000000), stamp(stamp(body, 1700000000), 1700000060)
    assert second == first.replace(b"1700000000", b"1700000060")
    assert json.loads(second)["payload"] == {"timestamp": 0}


@pytest.mark.spec("S6")
def test_one_signature_fits_the_body_scheme_and_the_newest_secret_gives_it():
    body = timestamped("user.created", b"{}")
    both = sign(BODY_SCHEME, ["new", "old"], message_id="m", timestamp=1, body=body)
    alone = sign(BODY_SCHEME, ["new"], message_id="m", timestamp=1, body=body)
    assert both == alone
    assert not SCHEMES[BODY_SCHEME].carries_two
    assert SCHEMES[STANDARD].carries_two


@pytest.mark.spec("S4")
@pytest.mark.parametrize("body", [b"{}", b'{"timestamp":0,"a":1}', b'{"a":1,"timestamp":"0"}', b""])
def test_a_body_without_its_timestamp_at_the_end_is_not_signed(body):
    with pytest.raises(ValueError, match="timestamp"):
        sign(BODY_SCHEME, ["secret"], message_id="m", timestamp=1, body=body)


@pytest.mark.parametrize("scheme", SIGNING)
def test_a_generated_secret_has_256_bits_and_fits_its_scheme(scheme):
    first, second = generate_secret(scheme), generate_secret(scheme)
    assert first != second
    assert len(signing_key(scheme, first)) >= 32


@pytest.mark.parametrize("scheme", SIGNING)
def test_the_headers_are_those_the_scheme_names(scheme):
    body = timestamped("a", b"{}")
    signed = sign_now(scheme, [generate_secret(scheme)], body)
    assert tuple(name for name, _ in signed.headers) == SCHEMES[scheme].headers().all()


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "hunter2hunter2hunter2",
        "whsec_*hunter2*",
        "whsec_" + base64.b64encode(b"x" * 23).decode(),
        "whsec_" + base64.b64encode(b"x" * 65).decode(),
    ],
)
def test_a_malformed_standard_secret_is_refused(secret):
    with pytest.raises(ValueError, match="whsec_|24 to 64"):
        sign_now(STANDARD, [secret])


@pytest.mark.parametrize("secret", ["hunter2", "whsec_*hunter2*", "whsec_hunter2x"])
def test_the_refusal_of_a_secret_does_not_repeat_it(secret):
    with pytest.raises(ValueError, match="secret") as refusal:
        sign_now(STANDARD, [secret])
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("length", [24, 64])
def test_a_standard_secret_may_have_24_to_64_bytes(length):
    secret = "whsec_" + base64.b64encode(b"x" * length).decode()
    Webhook(secret).verify(BODY, dict(sign_now(STANDARD, [secret]).headers))


@pytest.mark.parametrize("message_id", ["", "a.b", "a b", "a\r\nb", "é"])
def test_a_message_id_that_would_confuse_the_signature_is_refused(message_id):
    with pytest.raises(ValueError, match="message id"):
        sign_now(STANDARD, [generate_secret(STANDARD)], message_id=message_id)


def test_nothing_is_signed_without_a_secret():
    with pytest.raises(ValueError, match="no secret"):
        sign_now(STANDARD, [])


def test_an_unknown_scheme_is_refused():
    with pytest.raises(ValueError, match="no signing scheme"):
        sign_now("rot13", ["x"])


def test_a_signed_message_does_not_show_its_signature():
    signed = sign_now(STANDARD, [generate_secret(STANDARD)])
    assert "v1," not in repr(signed)
