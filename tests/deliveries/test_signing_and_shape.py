"""Every scheme and shape on its way: an event, a test and a confirmation, on a real socket."""

import base64
import json
from datetime import timedelta

import pytest
import stripe
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from events.models import Event, Receipt
from sources.models import Source
from subscriptions.models import Notice
from subscriptions.signing import SCHEMES
from subscriptions.snippets import snippets
from tenants.scope import system_scope, tenant_scope

BODY = b'{ "n": 1.0,\t"n": 1e400, "\xc3\xbc": null }\n'
SIGNING = [scheme.name for scheme in SCHEMES.values() if scheme.signs]
SHAPES = ("envelope", "raw", "cloudevents", "cloudevents_binary")


def verifier(subscription, key: str):
    """The receiver's Python of the subscription's own page."""
    code = snippets(subscription.signing, key, subscription.signing_options)[0].code
    namespace: dict = {}
    exec(compile(code, "snippet", "exec"), namespace)  # noqa: S102 - our own code, under test
    return namespace["verify"]


@pytest.mark.spec("B4", "S4", "N5")
@pytest.mark.parametrize("scheme", SIGNING)
def test_a_receiver_believes_what_arrives(subscribe, happen, deliver, receiver, scheme):
    subscription, key = subscribe(signing=scheme, shape=SCHEMES[scheme].shapes[0])
    happen()
    deliver()
    (posted,) = receiver.posted
    assert verifier(subscription, key)(posted.headers, posted.body)


@pytest.mark.spec("N5")
def test_the_chosen_headers_arrive_also_where_it_is_tried_again(subscribe, happen, deliver, receiver):
    subscription, key = subscribe(signing="timestamp_and_body", signing_options={"prefix": "Acme"})
    happen()
    deliver()
    (posted,) = receiver.posted
    assert posted.headers["x-acme-signature"]
    assert verifier(subscription, key)(posted.headers, posted.body)


def test_during_a_rotation_stripe_s_library_takes_either_secret(subscribe, happen, deliver, receiver):
    subscription, old = subscribe(signing="stripe", shape="raw")
    with system_scope():
        new, _ = subscription.rotate_secret(timedelta(hours=1))
    happen(body=BODY)
    deliver()
    (posted,) = receiver.posted
    for secret in (old, new):
        assert stripe.WebhookSignature.verify_header(
            posted.body.decode(), posted.headers["stripe-signature"], secret, 300
        )


@pytest.mark.spec("B4")
def test_during_a_rotation_both_keys_sign(subscribe, happen, deliver, receiver):
    subscription, old = subscribe(signing="standard_webhooks_ed25519")
    with system_scope():
        new, _ = subscription.rotate_secret(timedelta(hours=1))
    happen()
    deliver()
    (posted,) = receiver.posted
    content = f"{posted.headers['webhook-id']}.{posted.headers['webhook-timestamp']}.".encode() + posted.body
    signatures = posted.headers["webhook-signature"].split(" ")
    for key, signature in zip((new, old), signatures, strict=True):
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key.removeprefix("whpk_")))
        public.verify(base64.b64decode(signature.removeprefix("v1a,")), content)


@pytest.mark.spec("S6")
def test_where_one_signature_fits_the_new_secret_signs_at_once(subscribe, happen, deliver, receiver):
    subscription, old = subscribe(signing="github")
    with system_scope():
        new, until = subscription.rotate_secret(timedelta(hours=1))
    happen()
    deliver()
    (posted,) = receiver.posted
    assert until is None
    assert verifier(subscription, new)(posted.headers, posted.body)
    assert not verifier(subscription, old)(posted.headers, posted.body)


def test_what_is_not_signed_arrives_without_a_signature(subscribe, happen, deliver, receiver):
    subscribe(signing="none", shape="raw")
    happen(body=BODY)
    assert deliver() == 1
    (posted,) = receiver.posted
    assert posted.body == BODY
    assert not any("signature" in name or name.startswith("webhook-") for name in posted.headers)


@pytest.fixture
def received(cast, happen):
    """received(payload, content_type) → an event that is the whole body of a post."""

    def make(payload, content_type, **more):
        with tenant_scope(cast.tenant.pk):
            source = Source.objects.create(tenant=cast.tenant, name="Gateway", auth_method="none")
            fields = {"status": "accepted", "status_code": 202, "event_count": 1} | more
            receipt = Receipt.objects.create(tenant=cast.tenant, source=source, content_type=content_type, **fields)
        return happen(body=payload, source=source, receipt=receipt)

    return make


@pytest.mark.parametrize("shape", ["raw", "cloudevents_binary"])
def test_bytes_and_content_type_arrive_as_they_were_received(subscribe, received, deliver, receiver, shape):
    subscribe(shape=shape)
    event = received(BODY, 'application/vnd.acme+json; charset="utf-8"; v=2')
    deliver()
    (posted,) = receiver.posted
    assert posted.body == BODY
    assert posted.headers["content-type"] == 'application/vnd.acme+json; charset="utf-8"; v=2'
    names = ("x-portal-event-id", "x-portal-event-type") if shape == "raw" else ("ce-id", "ce-type")
    assert [posted.headers[name] for name in names] == [str(event.pk), "user.created"]


@pytest.mark.parametrize("more", [{"event_count": 2}, {"body": b"packed"}])
def test_a_piece_of_a_post_has_the_content_type_that_it_was_found_to_be(subscribe, received, deliver, receiver, more):
    subscribe(shape="raw")
    received(BODY, "application/x-ndjson", **more)
    deliver()
    assert receiver.posted[0].headers["content-type"] == "application/json"


def test_structured_cloudevents_carry_the_payload_byte_by_byte(subscribe, received, deliver, receiver):
    _, secret = subscribe(shape="cloudevents")
    event = received(BODY, "application/json; charset=utf-8")
    deliver()
    (posted,) = receiver.posted
    assert posted.headers["content-type"] == "application/cloudevents+json"
    assert posted.body.endswith(b',"data":' + BODY + b"}")
    document = json.loads(posted.body)
    assert document["id"] == posted.headers["webhook-id"] == str(event.pk)
    assert document["source"] == f"urn:uuid:{event.source_id}"
    assert document["datacontenttype"] == "application/json; charset=utf-8"


def test_the_api_and_the_page_show_what_was_sent(subscribe, received, deliver, receiver, api, browser, cast):
    subscribe(shape="cloudevents")
    received(BODY, "application/json; charset=utf-8")
    deliver()
    listed = api("viewer").get("/api/v1/deliveries/").json()["results"][0]
    detail = api("viewer").get(f"/api/v1/deliveries/{listed['id']}/").json()
    assert detail["body"] == receiver.posted[0].body.decode()
    assert browser(cast.viewer).get(f"/deliveries/{listed['id']}/").status_code == 200


@pytest.mark.spec("T4", "T5")
@pytest.mark.parametrize("shape", SHAPES)
def test_tests_and_confirmations_come_in_the_shape_too(subscribe, deliver, receiver, shape):
    idle, _ = subscribe(shape=shape)
    pending, _ = subscribe(shape=shape, state="pending", name="Other")
    with system_scope():
        idle.send_test()
        pending.send_confirmation()
    assert deliver() == 2
    with system_scope():
        ids = {notice.event_type: str(notice.pk) for notice in Notice.objects.all()}
    found = {}
    for posted in receiver.posted:
        document = json.loads(posted.body)
        named = posted.headers.get("ce-type") or posted.headers.get("x-portal-event-type") or document["type"]
        found[named] = (
            posted.headers.get("ce-id") or posted.headers.get("x-portal-event-id") or posted.headers["webhook-id"]
        )
        assert posted.headers["webhook-id"] == found[named]
    assert found == ids


def test_a_receipt_may_be_gone_before_its_event(subscribe, received, deliver, receiver):
    """The content type is then what the event was found to be."""
    subscribe(shape="raw")
    event = received(BODY, "application/vnd.acme+json")
    with system_scope():
        Receipt.objects.filter(pk=event.receipt_id).delete()
        assert Event.objects.filter(pk=event.pk).exists()
    deliver()
    assert receiver.posted[0].headers["content-type"] == "application/json"
