"""The main job, from the first command to the delivery log, with other people's code at both ends."""

import hashlib
import hmac
import json
import subprocess
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tests.portal import call, clean_environment, wait_for
from tests.receiver import Receiver

pytestmark = pytest.mark.journey


@pytest.fixture
def receiver():
    with Receiver() as listening:
        yield listening


def arrived(receiver, count=1):
    wait_for(lambda: len(receiver.posted) >= count, f"{count} messages arrive")
    return receiver.posted[count - 1]


def signed_by(posted, secret):
    """Whether `standardwebhooks` finds this secret's signature on what arrived."""
    try:
        Webhook(secret).verify(posted.body, posted.headers)
    except WebhookVerificationError:
        return False
    return True


def post_signed(source, secret, body=b'{"type": "order.created"}'):
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return call("POST", source["url"], body, {source["auth"]["header"]: f"sha256={digest}"})


def run_in_bash(snippet):
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", snippet], env=clean_environment(), capture_output=True, text=True,
        timeout=30, check=True,
    ).stdout  # fmt: skip


@pytest.mark.spec("P6", "P13", "T4", "B4")
def test_what_the_pasted_snippet_sends_arrives_signed_and_unchanged(tenant, receiver):
    source = tenant.create_source("hmac")
    subscription = tenant.post("subscriptions/", name="Receiver", url=receiver.url)
    assert subscription["state"] == "pending"

    confirmation = arrived(receiver)
    assert signed_by(confirmation, subscription["secret"])
    link = json.loads(confirmation.body)["data"]["confirmation_url"]
    assert call("GET", link).status == 200
    assert tenant.get(f"subscriptions/{subscription['id']}/")["state"] == "idle"

    curl = next(snippet["code"] for snippet in source["snippets"] if snippet["language"] == "bash")
    answer = run_in_bash(curl)
    assert answer.startswith("HTTP/1.1 202"), answer

    message = arrived(receiver, 2)
    assert signed_by(message, subscription["secret"])
    sent = curl.splitlines()[0].removeprefix("body='").removesuffix("'").encode()
    assert message.body.endswith(b'"data":' + sent + b"}")

    event = tenant.get("events/")["results"][0]
    assert message.headers["webhook-id"] == event["id"] == json.loads(message.body)["id"]
    delivery = wait_for(
        lambda: tenant.get(f"deliveries/?event={event['id']}&status=delivered")["results"], "the log shows it"
    )[0]
    [attempt] = tenant.get(f"deliveries/{delivery['id']}/")["attempts"]
    assert (attempt["status_code"], attempt["number"], attempt["outcome"]) == (204, 1, "delivered")


@pytest.mark.spec("B4")
def test_while_a_signing_secret_is_rotated_both_sign(tenant, receiver):
    subscription = tenant.subscribe(receiver)
    rotated = tenant.post(f"subscriptions/{subscription['id']}/rotate-secret/", overlap_seconds=3600)
    tenant.post("events/", type="order.created", payload={"n": 1})
    both = arrived(receiver)
    assert signed_by(both, subscription["secret"])
    assert signed_by(both, rotated["secret"])

    tenant.post(f"subscriptions/{subscription['id']}/end-overlap/")
    tenant.post("events/", type="order.created", payload={"n": 2})
    after = arrived(receiver, 2)
    assert not signed_by(after, subscription["secret"])
    assert signed_by(after, rotated["secret"])


@pytest.mark.spec("S7", "T5")
def test_a_test_event_arrives(tenant, receiver):
    subscription = tenant.subscribe(receiver)
    tenant.post(f"subscriptions/{subscription['id']}/test/")
    message = arrived(receiver)
    assert signed_by(message, subscription["secret"])
    content = json.loads(message.body)
    assert content["type"] == "test.webhook-event"
    assert content["data"]["company"].startswith("Acme")


@pytest.mark.spec("S4")
def test_the_other_scheme_signs_the_whole_body(tenant, receiver):
    subscription = tenant.subscribe(receiver, signing="timestamped_body")
    tenant.post("events/", type="order.created", payload={"n": 1})
    message = arrived(receiver)
    expected = hmac.new(subscription["secret"].encode(), message.body, hashlib.sha256).hexdigest()
    content = json.loads(message.body)
    assert message.headers["x-signature"] == expected
    assert message.headers["x-timestamp"] == str(content["timestamp"])
    assert abs(time.time() - content["timestamp"]) < 60
    assert (content["event"], content["payload"]) == ("order.created", {"n": 1})
    event = tenant.get("events/")["results"][0]
    assert message.headers["x-webhook-event-id"] == event["id"]


@pytest.mark.spec("B1")
def test_while_a_source_secret_is_rotated_both_are_accepted(tenant):
    source = tenant.create_source("hmac")
    rotated = tenant.post(f"sources/{source['id']}/rotate-secret/", overlap_seconds=3600)
    # A revoked or new secret counts within a second, everywhere (DESIGN §2).
    wait_for(lambda: post_signed(source, rotated["secret"]).status == 202, "the new secret is accepted", 5)
    assert post_signed(source, source["secret"]).status == 202

    tenant.post(f"sources/{source['id']}/end-overlap/")
    wait_for(lambda: post_signed(source, source["secret"]).status == 401, "the old one is refused", 5)
    assert post_signed(source, rotated["secret"]).status == 202


@pytest.mark.spec("B5")
def test_the_admin_sees_why_a_sender_was_refused_and_the_sender_does_not(tenant):
    source = tenant.create_source("hmac")
    refusal = post_signed(source, "not the secret")
    assert refusal.status == 401
    assert b"signature" not in refusal.body
    receipt = wait_for(lambda: tenant.get("receipts/")["results"], "the refusal to be on record")[0]
    assert (receipt["status_code"], receipt["reason"]) == (401, "signature_mismatch")


def test_a_portal_tells_that_it_is_up_and_ready(portal):
    assert call("GET", f"{portal.url}/healthz").body == b"ok\n"
    assert call("GET", f"{portal.url}/readyz").json()["status"] == "ready"
