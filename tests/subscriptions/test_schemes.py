"""The other schemes: published vectors, and code that is not ours, say whether they are signed right."""

import base64
import subprocess
import sys
import time
from pathlib import Path

import pytest
import stripe
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from slack_sdk.signature import SignatureVerifier
from standardwebhooks import WebhookVerificationError
from svix.webhooks import Webhook as SvixWebhook

from subscriptions.signing import (
    SCHEMES,
    OptionsRefused,
    clean_options,
    generate_secret,
    public_key,
    sign,
    signing_key,
)
from tests import vendors

BODY = '{"a": "ü", "b": 1.0}\n'.encode()
PAIR = "standard_webhooks_ed25519"
ALONE = ["timestamp_and_body", "slack", "github", "timestamped_body"]
NODE = Path(sys.executable).with_name("node")


def sign_now(scheme, secrets, body=BODY, message_id="msg_1", **more):
    return sign(scheme, secrets, message_id=message_id, timestamp=int(time.time()), body=body, **more)


def header(signed, name):
    return dict(signed.headers)[name]


# Standard Webhooks, as Svix's library has it ------------------------------------------------------


@pytest.mark.spec("B4")
def test_svix_s_library_verifies_each_secret_of_an_overlap_and_no_other():
    new, old = generate_secret("standard_webhooks"), generate_secret("standard_webhooks")
    headers = dict(sign_now("standard_webhooks", [new, old]).headers)
    for secret in (new, old):
        SvixWebhook(secret).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        SvixWebhook(generate_secret("standard_webhooks")).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        SvixWebhook(new).verify(BODY + b" ", headers)


# The key pair -------------------------------------------------------------------------------------


@pytest.mark.spec("B4")
def test_the_vector_of_svix_s_server():
    """`test_asymmetric_key_signing` of svix/svix-webhooks; its private key has the public one behind it."""
    secret = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
    signed = sign(
        PAIR,
        [secret],
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        body=b'{"test": 2432232314}',
    )
    assert header(signed, "webhook-signature") == (
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
    )
    assert public_key(PAIR, secret) == "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="


@pytest.mark.spec("B4")
def test_the_keys_of_rfc_8032():
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    told = public_key(PAIR, "whsk_" + base64.b64encode(seed).decode())
    assert base64.b64decode(told.removeprefix("whpk_")) == public


@pytest.mark.spec("B4")
def test_during_an_overlap_both_keys_sign():
    secrets = [generate_secret(PAIR), generate_secret(PAIR)]
    signed = sign_now(PAIR, secrets)
    content = f"msg_1.{header(signed, 'webhook-timestamp')}.".encode() + BODY
    signatures = header(signed, "webhook-signature").split(" ")
    for secret, signature in zip(secrets, signatures, strict=True):
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key(PAIR, secret).removeprefix("whpk_")))
        made = base64.b64decode(signature.removeprefix("v1a,"))
        key.verify(made, content)
        with pytest.raises(InvalidSignature):
            key.verify(made, content + b" ")


@pytest.mark.spec("B4")
def test_openssl_of_node_verifies_it():
    secret = generate_secret(PAIR)
    signed = sign_now(PAIR, [secret])
    content = f"msg_1.{header(signed, 'webhook-timestamp')}.".encode() + BODY
    code = """
        const { createPublicKey, verify } = require("node:crypto");
        const [key, signature, ...contents] = process.argv.slice(1).map((one) => Buffer.from(one, "base64"));
        const start = Buffer.from("302a300506032b6570032100", "hex");
        const found = createPublicKey({ key: Buffer.concat([start, key]), format: "der", type: "spki" });
        console.log(contents.map((content) => verify(null, content, found, signature)).join());
    """
    given = [
        public_key(PAIR, secret).removeprefix("whpk_"),
        header(signed, "webhook-signature").removeprefix("v1a,"),
        base64.b64encode(content).decode(),
        base64.b64encode(content + b" ").decode(),
    ]
    run = subprocess.run([NODE, "--eval", code, *given], capture_output=True, text=True, check=True, timeout=30)
    assert run.stdout.strip() == "true,false"


@pytest.mark.parametrize(
    "secret", ["", "hunter2", "whsk_", "whsk_*hunter2*", "whsec_aHVudGVyMg==", "whsk_aHVudGVyMg=="]
)
def test_a_malformed_private_key_is_refused_and_not_repeated(secret):
    with pytest.raises(ValueError, match="whsk_|32 bytes") as refusal:
        sign_now(PAIR, [secret])
    assert "hunter2" not in str(refusal.value)
    assert "aHVudGVyMg" not in str(refusal.value)


def test_only_a_pair_has_a_public_key():
    for scheme in SCHEMES.values():
        if scheme.signs:
            assert bool(public_key(scheme.name, generate_secret(scheme.name))) is scheme.has_public_key


# Stripe's style -----------------------------------------------------------------------------------


def stripe_believes(body: bytes, value: str, secret: str, tolerance=300) -> bool:
    try:
        return stripe.WebhookSignature.verify_header(body.decode(), value, secret, tolerance)
    except stripe.SignatureVerificationError:
        return False


def test_stripe_s_library_verifies_each_secret_of_an_overlap_and_no_other():
    new, old = generate_secret("stripe"), generate_secret("stripe")
    value = header(sign_now("stripe", [new, old]), "Stripe-Signature")
    assert value.count("v1=") == 2
    assert stripe_believes(BODY, value, new)
    assert stripe_believes(BODY, value, old)
    assert not stripe_believes(BODY, value, generate_secret("stripe"))
    assert not stripe_believes(BODY + b" ", value, new)


def test_stripe_s_library_refuses_an_old_message():
    secret = generate_secret("stripe")
    signed = sign("stripe", [secret], message_id="m", timestamp=int(time.time()) - 3600, body=BODY)
    assert not stripe_believes(BODY, header(signed, "Stripe-Signature"), secret)


# GitHub's style -----------------------------------------------------------------------------------


def test_the_vector_of_github_s_documentation():
    """ "Validating webhook deliveries", "Testing the webhook payload validation"."""
    signed = sign("github", ["It's a Secret to Everybody"], message_id="m", timestamp=1, body=b"Hello, World!")
    assert signed.headers == (
        ("X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"),
    )


def test_octokit_verifies_it_and_nothing_else():
    secret = generate_secret("github")
    genuine, of_another = sign_now("github", [secret]), sign_now("github", [generate_secret("github")])
    posts = [
        (dict(genuine.headers), BODY),
        (dict(genuine.headers), BODY + b" "),
        (dict(of_another.headers), BODY),
    ]
    assert [status for status, _ in vendors.answers("@octokit/webhooks-methods", secret, posts)] == [204, 401, 401]


# Slack's style ------------------------------------------------------------------------------------


def slack_believes(signed, body: bytes, secret: str) -> bool:
    return SignatureVerifier(secret).is_valid_request(body, dict(signed.headers))


@pytest.mark.spec("N5")
def test_slack_s_library_verifies_the_newest_secret_and_nothing_else():
    new, old = generate_secret("slack"), generate_secret("slack")
    signed = sign_now("slack", [new, old])
    assert signed.body == BODY
    assert slack_believes(signed, BODY, new)
    assert not slack_believes(signed, BODY, old)
    assert not slack_believes(signed, BODY + b" ", new)


@pytest.mark.parametrize("later", [-3600, 3600])
def test_slack_s_library_refuses_what_was_signed_at_another_time(later):
    secret = generate_secret("slack")
    signed = sign("slack", [secret], message_id="m", timestamp=int(time.time()) + later, body=BODY)
    assert not slack_believes(signed, BODY, secret)


def test_the_vector_of_slack_s_documentation():
    """ "Verifying requests from Slack"."""
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
        b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
        b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    secret = "8f742231b10e8888abcd99yyyzzz85a5"
    signed = sign("slack", [secret], message_id="m", timestamp=1531420618, body=body)
    assert signed.headers == (
        ("X-Slack-Request-Timestamp", "1531420618"),
        ("X-Slack-Signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
    )


# X-<Prefix>-Signature -----------------------------------------------------------------------------


@pytest.mark.spec("N5")
def test_the_vector_of_n5():
    signed = sign(
        "timestamp_and_body",
        ["super-secret-shhhh"],
        message_id="m",
        timestamp=1633368645,
        body=b"hello world foo bar goodnight moon",
        options={"prefix": "Acme"},
    )
    assert signed.headers == (
        ("X-Acme-Timestamp", "1633368645"),
        ("X-Acme-Signature", "1bb7619a9504474ffc14086d0423ad15db42606d3ca52afccb4a5b2125d7b703"),
    )
    assert signed.body == b"hello world foo bar goodnight moon"


@pytest.mark.spec("N5")
@pytest.mark.parametrize("prefix", ["Acme", "a", "ACME-2", "x" * 40])
def test_any_prefix_goes(prefix):
    options = clean_options("timestamp_and_body", {"prefix": f" {prefix} "})
    names = [name for name, _ in sign_now("timestamp_and_body", ["secret"], options=options).headers]
    assert names == [f"X-{prefix}-Timestamp", f"X-{prefix}-Signature"]


@pytest.mark.spec("N5")
@pytest.mark.parametrize(
    "prefix", ["", " ", "-a", "a-", "a--b", "a b", "ü", "a\r\nb", "a:b", "x" * 41, "Portal", "Forwarded-By"]
)
def test_a_prefix_that_makes_no_header_of_ours_is_refused(prefix):
    with pytest.raises(OptionsRefused) as refusal:
        clean_options("timestamp_and_body", {"prefix": prefix})
    assert list(refusal.value.errors) == ["prefix"]


# Names of headers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["stripe", "slack", "github", "timestamped_body"])
@pytest.mark.parametrize(
    "name",
    ["", "X A", "X:A", "X-Ü", "a\r\nb", "Connection", "TE", "Host", "Content-Type", "webhook-id", "ce-id",
     "X-Portal-Event-Id", "X-Forwarded-For", "Date", "x" * 65],
)  # fmt: skip
def test_a_name_that_no_header_of_a_person_may_have_is_refused(scheme, name):
    with pytest.raises(OptionsRefused) as refusal:
        clean_options(scheme, {"signature_header": name})
    assert list(refusal.value.errors) == ["signature_header"]


@pytest.mark.parametrize("scheme", ["stripe", "slack", "github", "timestamped_body"])
def test_the_signature_stands_in_the_header_that_was_chosen(scheme):
    options = clean_options(scheme, {"signature_header": "X-Acme-Proof"})
    body = b'{"a":1,"timestamp":0}'
    chosen, usual = sign_now(scheme, ["s"], body, options=options), sign_now(scheme, ["s"], body)
    assert header(chosen, "X-Acme-Proof") == header(usual, SCHEMES[scheme].headers().signature)
    assert len(chosen.headers) == len(usual.headers)


@pytest.mark.spec("S4")
def test_one_header_cannot_carry_two_things():
    with pytest.raises(OptionsRefused) as refusal:
        clean_options("timestamped_body", {"id_header": "X-A", "timestamp_header": "x-a"})
    assert len(refusal.value.errors) == 1


def test_the_usual_names_can_be_said():
    for scheme in SCHEMES.values():
        assert clean_options(scheme.name, scheme.defaults()) == clean_options(scheme.name, {}) == scheme.defaults()


@pytest.mark.parametrize("scheme", ["standard_webhooks", PAIR, "none"])
def test_where_libraries_look_for_the_names_nothing_can_be_chosen(scheme):
    with pytest.raises(OptionsRefused):
        clean_options(scheme, {"signature_header": "X-A"})


# What holds for all -------------------------------------------------------------------------------


@pytest.mark.spec("S6")
@pytest.mark.parametrize("scheme", ALONE)
def test_where_one_signature_fits_the_newest_secret_gives_it(scheme):
    body = b'{"a":1,"timestamp":0}'
    assert not SCHEMES[scheme].carries_two
    assert sign_now(scheme, ["new", "old"], body) == sign_now(scheme, ["new"], body)


@pytest.mark.parametrize("scheme", ["stripe", *ALONE])
def test_an_empty_secret_signs_nothing(scheme):
    with pytest.raises(ValueError, match="empty"):
        signing_key(scheme, "")


def test_none_adds_nothing_and_needs_nothing():
    signed = sign_now("none", [])
    assert (signed.headers, signed.body) == ((), BODY)
    with pytest.raises(ValueError, match="no secret"):
        generate_secret("none")
