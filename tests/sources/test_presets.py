"""Each preset takes what its sender really posts: by the sender's own library, or a vector that it published."""

import base64
import hashlib
import hmac
import json
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime

import pytest
import standardwebhooks
import stripe
import svix.webhooks
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from slack_sdk.signature import SignatureVerifier
from twilio.request_validator import RequestValidator

from sources import reading
from sources.authentication import METHODS, InboundRequest, LiveSecret
from sources.models import Source
from sources.presets import PORTAL, PRESETS, SENDER

URL = "https://portal.example.com/in/abcdefghijklmnopqrstuvwxyz012345"
BODY = b'{"type": "invoice.paid", "data": {"total": "9 \xe2\x82\xac"}}'
NOW = 1_700_000_000


def verify(preset, headers, body=BODY, *, secret, now=NOW, url=URL):
    known = PRESETS[preset]
    method = METHODS[known.method]
    config = method.clean_config(known.config)
    value = method.clean_secret(secret, config).encode()
    credential = LiveSecret(
        "s1",
        value=value if method.keeps_value else None,
        digest=None if method.keeps_value else hashlib.sha256(value).digest(),
    )
    sent = tuple((name.lower().encode(), value.encode()) for name, value in headers.items())
    return method.verify(config, [credential], InboundRequest("POST", sent, body, float(now), url))


# ── The senders' own libraries ───────────────────────────────────────────────────────────────────


@pytest.mark.spec("B3")
def test_stripe_s_library_signs_for_it():
    secret = "whsec_test_secret_0123456789abcdef"
    header = stripe.WebhookSignature.generate_signature_header(BODY.decode(), secret, NOW)
    assert verify("stripe", {"Stripe-Signature": header}, secret=secret).accepted
    assert verify("stripe", {"Stripe-Signature": header}, secret=secret, now=NOW + 301).reason == "timestamp_too_old"
    assert verify("stripe", {"Stripe-Signature": header}, secret=secret[:-1] + "x").reason == "signature_mismatch"


@pytest.mark.spec("B3")
@pytest.mark.parametrize(
    ("preset", "start", "library"),
    [
        ("standard_webhooks", "webhook", standardwebhooks.Webhook),
        ("gitlab_signed", "webhook", standardwebhooks.Webhook),
        ("svix", "svix", svix.webhooks.Webhook),
    ],
)
def test_the_libraries_of_standard_webhooks_sign_for_it(preset, start, library):
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    signature = library(secret).sign("msg_1", datetime.fromtimestamp(NOW, tz=UTC), BODY.decode())
    headers = {f"{start}-id": "msg_1", f"{start}-timestamp": str(NOW), f"{start}-signature": signature}
    assert verify(preset, headers, secret=secret).accepted
    assert verify(preset, headers, secret=secret.removeprefix("whsec_")).accepted
    assert not verify(preset, {**headers, f"{start}-id": "msg_2"}, secret=secret).accepted


@pytest.mark.spec("B3")
def test_slack_s_library_signs_for_it():
    secret = "8f742231b10e8888abcd99yyyzzz85a5"
    signature = SignatureVerifier(secret).generate_signature(timestamp=str(NOW), body=BODY)
    headers = {"X-Slack-Signature": signature, "X-Slack-Request-Timestamp": str(NOW)}
    assert verify("slack", headers, secret=secret).accepted


FORM = "application/x-www-form-urlencoded"


@pytest.mark.spec("B3")
@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"From=%2B14158675309&Body=Hello+there&Media=", {"From": "+14158675309", "Body": "Hello there", "Media": ""}),
        (b"Body=%E2%82%AC+%26+more&AccountSid=AC1", {"Body": "€ & more", "AccountSid": "AC1"}),
        (b"", {}),
    ],
    ids=["spaces", "unicode", "empty"],
)
def test_twilio_s_library_signs_forms_for_it(body, fields):
    signature = RequestValidator("12345678901234567890123456789012").compute_signature(URL, fields)
    headers = {"X-Twilio-Signature": signature, "Content-Type": FORM}
    assert verify("twilio", headers, body, secret="12345678901234567890123456789012").accepted


class Repeated(dict):
    def getlist(self, name):
        return self[name]


@pytest.mark.spec("B3")
def test_twilio_s_library_signs_a_repeated_field_for_it():
    fields = Repeated(MediaUrl=["https://b.example/2", "https://a.example/1", "https://a.example/1"])
    signature = RequestValidator("12345678901234567890123456789012").compute_signature(URL, fields)
    body = b"MediaUrl=https://b.example/2&MediaUrl=https://a.example/1&MediaUrl=https://a.example/1"
    headers = {"X-Twilio-Signature": signature, "Content-Type": FORM}
    assert verify("twilio", headers, body, secret="12345678901234567890123456789012").accepted


@pytest.mark.spec("B3")
def test_twilio_s_library_signs_json_for_it():
    validator = RequestValidator("12345678901234567890123456789012")
    url = f"{URL}?bodySHA256={validator.compute_hash(BODY.decode())}"
    headers = {"X-Twilio-Signature": validator.compute_signature(url, {}), "Content-Type": "application/json"}
    secret = "12345678901234567890123456789012"
    assert verify("twilio", headers, secret=secret, url=url).accepted
    assert not verify("twilio", headers, BODY + b" ", secret=secret, url=url).accepted
    assert not verify("twilio", headers, b"", secret=secret, url=url).accepted
    assert not verify("twilio", {**headers, "Content-Type": FORM}, b"&", secret=secret, url=url).accepted
    # The same signature over a URL whose query became a form field
    moved = f"%3FbodySHA256%3D{validator.compute_hash(BODY.decode())}=".encode()
    assert not verify("twilio", {**headers, "Content-Type": FORM}, moved, secret=secret).accepted


# ── Published vectors ────────────────────────────────────────────────────────────────────────────

HUB_SECRET = "It's a Secret to Everybody"
# GitHub's documentation, "Testing the webhook payload validation".
GITHUB = b"Hello, World!", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
# Bitbucket's documentation, "Secure webhooks".
BITBUCKET = b"Hello World!", "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9"
# Slack's documentation, "Verifying requests from Slack".
SLACK_BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
    b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
    b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
    b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)


@pytest.mark.spec("B3")
@pytest.mark.parametrize(
    ("preset", "header", "vector"),
    [("github", "X-Hub-Signature-256", GITHUB), ("bitbucket", "X-Hub-Signature", BITBUCKET)],
)
def test_the_vectors_of_the_hub_signatures(preset, header, vector):
    body, signature = vector
    assert verify(preset, {header: signature}, body, secret=HUB_SECRET).accepted
    assert not verify(preset, {header: signature.removeprefix("sha256=")}, body, secret=HUB_SECRET).accepted


@pytest.mark.spec("B3")
def test_the_vector_of_slack_s_documentation():
    headers = {
        "X-Slack-Signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
        "X-Slack-Request-Timestamp": "1531420618",
    }
    secret = "8f742231b10e8888abcd99yyyzzz85a5"
    assert verify("slack", headers, SLACK_BODY, secret=secret, now=1_531_420_618).accepted


@pytest.mark.spec("B3")
def test_the_vector_of_svix_s_documentation():
    headers = {
        "svix-id": "msg_loFOjxBNrRLzqYUf",
        "svix-timestamp": "1731705121",
        "svix-signature": "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
    }
    body = b'{"event_type":"ping","data":{"success":true}}'
    assert verify("svix", headers, body, secret="whsec_plJ3nmyCDGBKInavdOK15jsl", now=1_731_705_121).accepted


@pytest.mark.spec("B3")
def test_the_vector_of_the_tests_of_standard_webhooks():
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert verify("standard_webhooks", headers, b'{"test": 2432232314}', secret=secret, now=1_614_265_330).accepted


def test_twilio_s_url_must_have_no_query_of_its_own():
    """The vector of Twilio's documentation: a part of its query could as well be the first field."""
    method = METHODS["hmac"]
    body = b"CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212"
    headers = ((b"x-twilio-signature", b"RSOYDt4T1cUTdK1PDd93/VVr8B8="), (b"content-type", FORM.encode()))
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    request = InboundRequest("POST", headers, body, 0.0, url)
    config = method.clean_config(PRESETS["twilio"].config)
    assert method.verify(config, [LiveSecret("s1", value=b"12345")], request).reason == "signature_ambiguous"


# ── As the senders' documentation describes it, written here anew ────────────────────────────────


def digest(secret: str, message: bytes, algorithm: str = "sha256") -> str:
    return hmac.new(secret.encode(), message, getattr(hashlib, algorithm)).hexdigest()


@pytest.mark.spec("B3")
def test_pagerduty_signs_with_several_secrets_at_once():
    """ "Verifying webhook signatures": X-PagerDuty-Signature is v1=<hex>, more than one while secrets change."""
    first, second = "a" * 40, "b" * 40
    header = f"v1={digest(second, BODY)},v1={digest(first, BODY)}"
    assert verify("pagerduty", {"X-PagerDuty-Signature": header}, secret=first).accepted
    assert verify("pagerduty", {"X-PagerDuty-Signature": header}, secret=second).accepted
    assert not verify("pagerduty", {"X-PagerDuty-Signature": header}, secret="c" * 40).accepted


@pytest.mark.spec("B3")
def test_linear_bounds_the_age_by_the_body_s_own_timestamp():
    """ "Webhooks": Linear-Signature is the hex HMAC of the body; webhookTimestamp in it is in milliseconds."""
    secret = "lin_wh_" + "c" * 32

    def posted(sent, **body):
        content = json.dumps({"action": "create", "type": "Issue", "webhookTimestamp": sent, **body}).encode()
        return verify("linear", {"Linear-Signature": digest(secret, content)}, content, secret=secret)

    assert posted(NOW * 1000).accepted
    assert posted((NOW - 300) * 1000).accepted
    assert posted((NOW - 301) * 1000).reason == "timestamp_too_old"
    assert posted((NOW + 301) * 1000).reason == "timestamp_ahead"
    for odd in (None, True, "yesterday", 1.5, [NOW], {}, -NOW, 10**400):
        assert posted(odd).reason == "timestamp_malformed", odd


@pytest.mark.spec("B3")
def test_intercom_signs_with_sha_1():
    """ "Signed notifications": X-Hub-Signature is sha1=<hex HMAC-SHA-1 of the body with the client secret>."""
    secret = "d" * 36
    assert verify("intercom", {"X-Hub-Signature": "sha1=" + digest(secret, BODY, "sha1")}, secret=secret).accepted


@pytest.mark.spec("B3")
def test_sentry_meta_and_shopify_sign_the_body():
    secret = "e" * 64
    assert verify("sentry", {"Sentry-Hook-Signature": digest(secret, BODY)}, secret=secret).accepted
    assert verify("meta", {"X-Hub-Signature-256": f"sha256={digest(secret, BODY)}"}, secret=secret).accepted
    # A vector of SQLPage's tests for Shopify's scheme
    body = b'{"id":1234567890,"email":"customer@example.com","total_price":"123.45"}'
    headers = {"X-Shopify-Hmac-SHA256": "QNyObTlKbMx2qDlPF/ZOZcBqg5OgPg+2oky3zldc0Gw="}
    assert verify("shopify", headers, body, secret="test-webhook-secret").accepted


@pytest.mark.spec("B3")
def test_zoom_signs_version_time_and_body():
    """ "Verify webhook events": v0=<hex of HMAC-SHA-256 over v0:{timestamp}:{body}>."""
    secret = "f" * 22
    headers = {
        "x-zm-request-timestamp": str(NOW),
        "x-zm-signature": "v0=" + digest(secret, f"v0:{NOW}:".encode() + BODY),
    }
    assert verify("zoom", headers, secret=secret).accepted


@pytest.mark.spec("B3")
def test_gitlab_and_okta_send_the_secret_itself():
    assert verify("gitlab", {"X-Gitlab-Token": "0123456789abcdef"}, secret="0123456789abcdef").accepted
    assert verify("okta", {"Authorization": "0123456789abcdef"}, secret="0123456789abcdef").accepted


@pytest.mark.spec("B3")
def test_standard_webhooks_with_a_key_pair():
    """Standard Webhooks, "Signature scheme": v1a is Ed25519 over the same content; keys of RFC 8032, test 1."""
    key = Ed25519PrivateKey.from_private_bytes(
        bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    )
    public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    signed = base64.b64encode(key.sign(f"msg_1.{NOW}.".encode() + BODY)).decode()
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(NOW), "webhook-signature": f"v1,AAAA v1a,{signed}"}
    for typed in (public, "whpk_" + base64.b64encode(bytes.fromhex(public)).decode()):
        assert verify("standard_webhooks_ed25519", headers, secret=typed).accepted


# ── The table itself ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("preset", PRESETS.values(), ids=list(PRESETS))
def test_every_preset_is_whole(preset):
    method = METHODS[preset.method]
    assert method.clean_config(preset.config)
    assert reading.clean(preset.reading) == dict(preset.reading)
    assert preset.stream_type in Source.StreamType.values
    assert preset.secret_from in (SENDER, PORTAL)
    assert preset.secret_from == SENDER or method.makes_secret
    assert not preset.secret_after or preset.secret_from == SENDER
    assert preset.docs.startswith("https://")
    assert preset.steps
    assert len(preset.name) <= Source._meta.get_field("preset").max_length
    with pytest.raises(FrozenInstanceError):
        preset.name = "other"


@pytest.mark.parametrize("preset", [one for one in PRESETS.values() if one.secret_from == PORTAL], ids=lambda p: p.name)
def test_a_generated_secret_fits_the_preset(preset):
    method = METHODS[preset.method]
    config = method.clean_config(preset.config)
    secret = method.generate_secret(config)
    assert method.clean_secret(secret, config) == secret
    assert method.name != "hmac" or len(method.key(secret.encode(), config)) >= 32


def test_gitlab_s_signing_token_is_made_in_its_form():
    method = METHODS["hmac"]
    secret = method.generate_secret(method.clean_config(PRESETS["gitlab_signed"].config))
    assert secret.startswith("whsec_")
    assert len(standardwebhooks.Webhook(secret)._whsecret) == 32
