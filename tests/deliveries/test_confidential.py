"""What is kept of an answer, where the receiver repeats what it was sent in confidence; and what nobody agreed to."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from deliveries.models import Attempt, Delivery, Outbox
from egress.guard import UrlRefused
from subscriptions.models import Notice, Subscription
from subscriptions.verification import portal_guard
from tenants.scope import system_scope, tenant_scope
from tests.receiver import Answer


@pytest.fixture
def echo(receiver):
    """It answers with all that it was sent, in its body and in a header."""

    def answer(posted):
        said = json.dumps({"headers": posted.headers, "body": posted.body.decode(), "path": posted.path})
        return Answer(200, said.encode(), {"X-Echo": json.dumps(posted.headers), "Location": receiver.url})

    receiver.answer = answer
    return receiver


def kept() -> str:
    with system_scope():
        rows = Attempt.objects.order_by("id")
        return "\n".join(f"{one.response_headers} {bytes(one.response_body)} {one.detail}" for one in rows)


@pytest.fixture
def pending(subscribe, cast):
    """pending(**fields) → a subscription that has just been sent its link."""

    def make(**fields):
        subscription, _ = subscribe(state="pending", **fields)
        with tenant_scope(cast.tenant.pk):
            subscription.send_confirmation()
        return subscription

    return make


def link_of(receiver) -> str:
    return json.loads(receiver.posted[-1].body)["data"]["confirmation_url"]


@pytest.mark.spec("T4")
def test_who_repeats_the_confirmation_link_has_not_agreed(pending, echo, deliver, api, browser, cast):
    """Whoever could read the link here could open it in the receiver's place."""
    pending()
    assert deliver() == 1
    token = link_of(echo).rsplit("/", 1)[1]
    assert token not in kept()
    with system_scope():
        attempt = Attempt.objects.get()
        assert (attempt.status_code, attempt.response_headers, bytes(attempt.response_body)) == (200, [], b"")
    answer = api().get(f"/api/v1/attempts/?delivery={attempt.delivery_id}")
    assert answer.status_code == 200
    assert token not in answer.content.decode()
    page = browser(cast.viewer).get(f"/deliveries/{attempt.delivery_id}/").content.decode()
    assert token not in page
    assert "it may repeat the link" in page


@pytest.mark.spec("T3")
@pytest.mark.parametrize("auth", ["none", "basic"])
def test_custom_headers_and_passwords_are_not_kept(auth, subscribe, echo, happen, deliver, cast):
    subscription, _ = subscribe(headers={"X-Api-Key": "s3cret-value-of-a-header"}, url=echo.url + "?token=in-the-url")
    if auth == "basic":
        with tenant_scope(cast.tenant.pk):
            subscription.auth_method, subscription.auth_config = "basic", {"username": "someone"}
            subscription.auth_secrets = {"password": "pass-word-of-basic"}
            subscription.save()
        echo_headers = echo.answer
        echo.answer = lambda posted: Answer(200, echo_headers(posted).body + b" someone:pass-word-of-basic")
    happen()
    assert deliver() == 1
    said = kept()
    for secret in ("s3cret-value-of-a-header", "in-the-url", "pass-word-of-basic"):
        assert secret not in said
    assert echo.posted[0].headers["x-api-key"] == "s3cret-value-of-a-header"


@pytest.mark.spec("T4")
def test_a_link_is_tried_again_as_the_portal_says(pending, receiver, deliver):
    """Not as the subscription does: its receiver has agreed to nothing."""
    pending(policy="custom", delays=[1] * 30)
    receiver.answer = Answer(500)
    deliver()
    with system_scope():
        due = Outbox.objects.get().due_at
    assert due > timezone.now() + timedelta(seconds=3)


@pytest.mark.spec("T4")
def test_rules_of_its_own_mean_nothing_for_a_link(pending, receiver, deliver, cast):
    subscription = pending(rules={"5xx": "disable"})
    receiver.answer = Answer(500)
    deliver()
    with tenant_scope(cast.tenant.pk):
        assert Subscription.objects.get(pk=subscription.pk).state == "pending"


@pytest.mark.spec("T4")
def test_a_link_that_was_superseded_is_not_tried_again(pending, receiver, deliver, cast):
    subscription = pending()
    receiver.answer = Answer(500)
    deliver()
    first = link_of(receiver)
    with tenant_scope(cast.tenant.pk):
        subscription.send_confirmation(timezone.now() + timedelta(minutes=1))
        Outbox.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    receiver.answer = Answer(204)
    deliver()
    assert len(receiver.posted) == 2
    assert link_of(receiver) != first
    with system_scope():
        assert [one.status for one in Delivery.objects.order_by("id")] == ["cancelled", "delivered"]
        assert Notice.objects.count() == 2


@pytest.mark.parametrize("fields", [{"policy": "post_once"}, {"rules": {"no_answer": "disable"}}])
def test_what_the_portal_cannot_make_is_no_answer_of_the_receiver(fields, subscribe, happen, deliver, receiver, cast):
    subscription, _ = subscribe(**fields)
    with system_scope():
        Subscription.objects.filter(pk=subscription.pk).update(signing="of another planet")
    happen()
    deliver()
    with tenant_scope(cast.tenant.pk):
        delivery = Delivery.objects.get()
        assert delivery.status == "pending"
        assert delivery.reason == "The portal could not make the message."
        assert Subscription.objects.get(pk=subscription.pk).state == "idle"
        Delivery.objects.update(signing="standard_webhooks")
        Outbox.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    deliver()
    assert len(receiver.posted) == 1
    with tenant_scope(cast.tenant.pk):
        assert Delivery.objects.get().status == "delivered"


@pytest.mark.parametrize(("host", "written"), [("10.1.2.3", "10.1.2.3"), ("fd00::5", "[fd00::5]")])
def test_the_portal_s_own_address_is_refused_where_private_ones_are_open(settings, host, written):
    settings.HOST, settings.EGRESS_ALLOW = host, ["10.0.0.0/8", "fd00::/8"]
    with pytest.raises(UrlRefused) as refusal:
        portal_guard().check_url(f"http://{written}:{settings.PORT}/in/key")
    assert refusal.value.code == "own_host"
    portal_guard().check_url(f"http://{written}:1/hook")
