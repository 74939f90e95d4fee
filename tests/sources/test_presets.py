"""Each preset takes what its sender really posts: by the sender's own library, or a vector that it published.

Where a library only verifies, it is asked about posts made here: it and the preset must take the same ones.
"""

import base64
import hashlib
import hmac
import json
import time
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
from tests import vendors

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


def digest(secret: str, message: bytes) -> str:
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


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


def as_linear(secret, sent):
    content = {"action": "create", "type": "Comment", "data": {"body": "9 €"}, "webhookTimestamp": sent}
    body = json.dumps(content, ensure_ascii=False).encode()
    return {"Linear-Signature": digest(secret, body)}, body


@pytest.mark.spec("B3")
def test_linear_s_library_takes_and_refuses_the_same_posts():
    """`LinearWebhookClient` of @linear/sdk, which only verifies. Its clock is the machine's: the posts are of now."""
    secret, now = "lin_wh_" + "c" * 32, time.time()
    headers, body = as_linear(secret, int(now * 1000))
    posts = {
        "right": (headers, body),
        "of another secret": as_linear("lin_wh_" + "d" * 32, int(now * 1000)),
        "with a space more": (headers, body + b" "),
        "with another value": (headers, body.replace(b"create", b"remove")),
        "unsigned": ({}, body),
        "old": as_linear(secret, int((now - 600) * 1000)),
        "of the future": as_linear(secret, int((now + 600) * 1000)),
    }
    said = [status for status, _ in vendors.answers("@linear/sdk", secret, list(posts.values()))]
    assert dict(zip(posts, said, strict=True)) == {name: 200 if name == "right" else 400 for name in posts}
    taken = {name for name, post in posts.items() if verify("linear", *post, secret=secret, now=now).accepted}
    assert taken == {"right"}


def as_zoom(secret, body, sent=NOW):
    signature = "v0=" + digest(secret, f"v0:{sent}:".encode() + body)
    return {"x-zm-request-timestamp": str(sent), "x-zm-signature": signature}, body


@pytest.mark.spec("B3")
def test_zoom_s_library_takes_and_refuses_the_same_posts():
    """`AwsLambdaReceiver` of @zoom/rivet, which only verifies, and JSON as JavaScript writes it; it bounds no age."""
    secret = "f" * 22
    headers, body = as_zoom(secret, '{"event":"meeting.started","payload":{"topic":"9 €"}}'.encode())
    posts = {
        "right": (headers, body),
        "of another secret": as_zoom("e" * 22, body),
        "with another value": (headers, body.replace(b"started", b"stopped")),
        "with another time": ({**headers, "x-zm-request-timestamp": str(NOW + 1)}, body),
        "without a prefix": ({**headers, "x-zm-signature": headers["x-zm-signature"].removeprefix("v0=")}, body),
        "unsigned": ({}, body),
    }
    said = [status for status, _ in vendors.answers("@zoom/rivet", secret, list(posts.values()))]
    assert dict(zip(posts, said, strict=True)) == {name: 200 if name == "right" else 400 for name in posts}
    assert {name for name, post in posts.items() if verify("zoom", *post, secret=secret).accepted} == {"right"}


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
# The tests of PagerDuty's library for Go, PagerDuty/go-pagerduty, webhookv3/webhookv3_test.go.
PAGERDUTY_SECRET = "lDQHScfUeXUKaQRNF+8XIiDKZ7XX3itBAYzwU0TARw8lJqRnkKl2iB1anSb0Z+IK"
PAGERDUTY_BODY = (
    b'{"event":{"id":"01BWDWL3NYY7LUFPZCC28QUCMK","event_type":"incident.priority_updated",'
    b'"resource_type":"incident","occurred_at":"2021-04-26T17:36:27.458Z",'
    b'"agent":{"html_url":"https://acme.pagerduty.com/users/PLH1HKV","id":"PLH1HKV",'
    b'"self":"https://api.pagerduty.com/users/PLH1HKV","summary":"Tenex Engineer","type":"user_reference"},'
    b'"client":null,"data":{"id":"PGR0VU2","type":"incident","self":"https://api.pagerduty.com/incidents/PGR0VU2",'
    b'"html_url":"https://acme.pagerduty.com/incidents/PGR0VU2","number":2,"status":"triggered",'
    b'"title":"A little bump in the road",'
    b'"service":{"html_url":"https://acme.pagerduty.com/services/PF9KMXH","id":"PF9KMXH",'
    b'"self":"https://api.pagerduty.com/services/PF9KMXH","summary":"API Service","type":"service_reference"},'
    b'"assignees":[{"html_url":"https://acme.pagerduty.com/users/PTUXL6G","id":"PTUXL6G",'
    b'"self":"https://api.pagerduty.com/users/PTUXL6G","summary":"User 123","type":"user_reference"}],'
    b'"escalation_policy":{"html_url":"https://acme.pagerduty.com/escalation_policies/PUS0KTE","id":"PUS0KTE",'
    b'"self":"https://api.pagerduty.com/escalation_policies/PUS0KTE","summary":"Default",'
    b'"type":"escalation_policy_reference"},'
    b'"teams":[{"html_url":"https://acme.pagerduty.com/teams/PFCVPS0","id":"PFCVPS0",'
    b'"self":"https://api.pagerduty.com/teams/PFCVPS0","summary":"Engineering","type":"team_reference"}],'
    b'"priority":{"html_url":"https://acme.pagerduty.com/account/incident_priorities","id":"PSO75BM",'
    b'"self":"https://api.pagerduty.com/priorities/PSO75BM","summary":"P1","type":"priority_reference"},'
    b'"urgency":"high","conference_bridge":{"conference_number":1000,"conference_url":"https://example.com"},'
    b'"resolve_reason":null}}}'
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


@pytest.mark.spec("B3")
def test_the_vector_of_the_tests_of_pagerduty():
    right = "v1=0c0b9495b893a39e70d1fea2fe11fbe0a825f88b9f67846f6cc07dd2bc5476cd"
    wrong = "v1=7020c8a7ec668a9b7012bc3dd82e483394b038f4230acc6785efbf2a7d8bcaf5"

    def accepted(header, body=PAGERDUTY_BODY):
        return verify("pagerduty", {"X-PagerDuty-Signature": header}, body, secret=PAGERDUTY_SECRET).accepted

    assert accepted(right)
    assert not accepted(wrong)
    assert not accepted("")
    assert not accepted(right, b"")
    # Both at once, as "Verifying Signatures" has it while secrets change
    assert accepted(f"{wrong},{right}")


@pytest.mark.spec("B3")
@pytest.mark.parametrize("first", ["", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= "], ids=["alone", "second"])
def test_the_vector_of_the_tests_of_svix_s_server(first):
    """`test_asymmetric_key_signing` of svix/svix-webhooks; the public key is the second half of its private key."""
    signature = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": first + signature,
    }

    def outcome(body):
        secret = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
        return verify("standard_webhooks_ed25519", headers, body, secret=secret, now=1_614_265_330)

    assert outcome(b'{"test": 2432232314}').accepted
    assert outcome(b'{"test":2432232314}').reason == "signature_mismatch"


def test_twilio_s_url_must_have_no_query_of_its_own():
    """The vector of Twilio's documentation: a part of its query could as well be the first field."""
    method = METHODS["hmac"]
    body = b"CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212"
    headers = ((b"x-twilio-signature", b"RSOYDt4T1cUTdK1PDd93/VVr8B8="), (b"content-type", FORM.encode()))
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    request = InboundRequest("POST", headers, body, 0.0, url)
    config = method.clean_config(PRESETS["twilio"].config)
    assert method.verify(config, [LiveSecret("s1", value=b"12345")], request).reason == "signature_ambiguous"


# ── Signatures that the senders' own published code made, on record ──────────────────────────────

# Of these there is no published vector and no package among those of the tests: their code was run once on these bytes.
META = (
    "meta",
    "X-Hub-Signature-256",
    "0123456789abcdef0123456789abcdef",
    # Letters beyond ASCII escaped, as "Validating payloads" has it
    b'{"object":"page","entry":[{"id":"0","time":1700000000,"changes":'
    rb'[{"field":"feed","value":{"message":"\u00e4\u00f6\u00e5 9 \u20ac"}}]}]}',
    "sha256=4c31b87708f52f65d0c79a8daca42894e6a0bba4bea991f8c81ffdab6de4f97e",
)
SENTRY = (
    "sentry",
    "Sentry-Hook-Signature",
    "fedcba9876543210" * 4,
    b'{"action":"created","installation":{"uuid":"a8e5d37a-696c-4c54-adb5-b3f28d64c7de"},"data":{"issue":'
    b'{"id":"1170820242","title":"9 \xe2\x82\xac"}},"actor":{"type":"application","id":"sentry","name":"Sentry"}}',
    "f49029aae2702f40839e5dcc8c0428b335e264e0d0415061df2e2ebf2e0cca1d",
)
INTERCOM = (
    "intercom",
    "X-Hub-Signature",
    "0123456789abcdef0123456789abcdef",
    b'{"type":"notification_event","id":"notif_78c122d0-23ba-11e4-9464-79b01267cc2e","topic":"user.created",'
    b'"data":{"item":{"name":"Hoban Washburne"}}}',
    "sha1=c683ce79764336fa1a65f1ab3dc17e96098ae3b5",
)
SHOPIFY = (
    "shopify",
    "X-Shopify-Hmac-SHA256",
    "test-webhook-secret",
    b'{"id":1234567890,"email":"customer@example.com","total_price":"123.45"}',
    "QNyObTlKbMx2qDlPF/ZOZcBqg5OgPg+2oky3zldc0Gw=",
)


@pytest.mark.spec("B3")
@pytest.mark.parametrize("record", [META, SENTRY, INTERCOM, SHOPIFY], ids=lambda record: record[0])
def test_what_the_senders_code_signed(record):
    """Who signed, and who took that and refused the mutations:

    - Meta: `generateXHub256Sig` of WhatsApp/WhatsApp-Nodejs-SDK 0.0.5-Alpha (src/utils.ts) signed it;
      `verifyRequestSignature` of fbsamples/whatsapp-business-jaspers-market (app.js) took it. That SDK is archived.
    - Sentry: `build_signature` of getsentry/sentry (src/sentry/sentry_apps/models/sentry_app.py), which signs what
      Sentry sends; `is_correct_sentry_signature` of getsentry/integration-platform-example
      (backend-py/src/api/middleware/verify_sentry_signature.py) took it.
    - Intercom: intercom-archive/intercom-webhooks (python/flask/webhook_flask.py), this key in place of its own,
      computed it and called it a match.
    - Shopify: a vector of SQLPage's tests; `verify_webhook_req` of Shopify's package shopifyapp 1.0.2 took it.
    """
    preset, header, secret, body, signature = record
    other = signature.replace("3", "4")
    assert verify(preset, {header: signature}, body, secret=secret).accepted
    assert verify(preset, {header: signature}, body + b" ", secret=secret).reason == "signature_mismatch"
    assert verify(preset, {header: other}, body, secret=secret).reason == "signature_mismatch"


# ── The requests that the senders document, where nothing is signed ──────────────────────────────


def read(preset, headers, event):
    """What the preset's reading finds, without the setting that finds the events."""
    sent = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    places = {setting: text for setting, text in PRESETS[preset].reading.items() if setting != "envelope"}
    return {setting: reading.reader(text)(sent, event) for setting, text in places.items()}


@pytest.mark.spec("B3")
def test_the_request_of_gitlab_s_documentation():
    """ "Project webhooks API", the events of a project webhook: its headers, with a token where it is redacted.

    That X-Gitlab-Token is the token itself, is in gitlabhq/gitlabhq, spec/services/web_hook_service_spec.rb.
    """
    token = "0123456789abcdef"
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GitLab/17.1.0-pre",
        "Idempotency-Key": "3a427872-00df-429c-9bc9-a9475de2efe4",
        "X-Gitlab-Event": "Push Hook",
        "X-Gitlab-Webhook-UUID": "3c5c0404-c866-44bc-a5f6-452bb1bfc76e",
        "X-Gitlab-Instance": "https://gitlab.example.com",
        "X-Gitlab-Event-UUID": "9cebe914-4827-408f-b014-cfa23a47a35f",
        "X-Gitlab-Token": token,
    }
    body = b'{"object_kind":"push","event_name":"push","ref":"refs/heads/master"}'
    assert verify("gitlab", headers, body, secret=token).accepted
    assert not verify("gitlab", {**headers, "X-Gitlab-Token": "[REDACTED]"}, body, secret=token).accepted
    assert not verify("gitlab", {**headers, "X-Gitlab-Token": ""}, body, secret=token).accepted
    found = read("gitlab", headers, json.loads(body))
    assert found == {"event_type": "Push Hook", "idempotency_key": "3a427872-00df-429c-9bc9-a9475de2efe4"}


@pytest.mark.spec("B3")
def test_the_request_of_okta_s_documentation():
    """ "Event hooks", HTTP headers and the sample event delivery payload, shortened; the key of the support article."""
    key = "my-shared-secret"
    headers = {"Accept": "application/json", "Content-Type": "application/json", "Authorization": key}
    event = {
        "version": "0",
        "severity": "INFO",
        "uuid": "f790999f-fe87-467a-9880-6982a583986c",
        "published": "2018-03-28T22:23:07.777Z",
        "eventType": "user.session.start",
        "displayMessage": "User login to Okta",
    }
    delivery = {"eventType": "com.okta.event_hook", "eventTypeVersion": "1.0", "data": {"events": [event]}}
    body = json.dumps(delivery).encode()
    assert verify("okta", headers, body, secret=key).accepted
    assert not verify("okta", {**headers, "Authorization": "Bearer " + key}, body, secret=key).accepted
    assert not verify("okta", {**headers, "Authorization": "another-secret-0"}, body, secret=key).accepted
    assert reading.reader(PRESETS["okta"].reading["envelope"])([], delivery) == [event]
    assert read("okta", headers, event) == {
        "event_type": "user.session.start",
        "severity": "INFO",
        "idempotency_key": "f790999f-fe87-467a-9880-6982a583986c",
        "occurred_at": "2018-03-28T22:23:07.777Z",
        "title": "User login to Okta",
    }


# ── As the senders' documentation describes it, written here anew ────────────────────────────────


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
