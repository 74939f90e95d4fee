"""What is kept of a subscription is never believed by itself: whoever changes it is felt by the next message."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from standardwebhooks import Webhook, WebhookVerificationError

from deliveries import lines
from deliveries.endpoints import Endpoint, Endpoints
from deliveries.routing import route
from subscriptions.models import SigningSecret, Subscription
from tenants.scope import system_scope
from tests.receiver import Receiver


@pytest.fixture
def told(subscribe, happen, deliver):
    """(subscription, secret) that was told something already, by the dispatcher of `deliver`."""
    subscription, secret = subscribe()
    happen()
    deliver()
    return subscription, secret


@pytest.mark.parametrize("how", ["verb", "sql"])
def test_a_url_that_changed_is_felt_by_the_next_message(told, happen, deliver, receiver, how):
    subscription, _ = told
    with Receiver() as other:
        with system_scope():
            if how == "verb":
                subscription.change_url(other.url)
                Subscription.objects.filter(pk=subscription.pk).update(state="idle")
            else:
                subscription.url = other.url
                sealed = subscription._meta.get_field("url").value_from_object(subscription)
                with connection.cursor() as cursor:
                    cursor.execute(
                        "UPDATE subscriptions_subscription SET url = %s WHERE id = %s", [sealed, subscription.pk]
                    )
        happen()
        deliver()
        assert any(posted.headers.get("webhook-id") for posted in other.posted)
    assert len(receiver.posted) == 1


def test_headers_that_changed_are_felt_by_the_next_message(told, happen, deliver, receiver):
    with system_scope():
        told[0].configure(headers={"X-Key": "fresh"})
    happen()
    deliver()
    assert receiver.posted[-1].headers["x-key"] == "fresh"


def test_a_rotated_secret_is_felt_by_the_next_message(told, happen, deliver, receiver):
    subscription, old = told
    with system_scope():
        new, _ = subscription.rotate_secret(timedelta(0))
    happen()
    deliver()
    last = receiver.posted[-1]
    Webhook(new).verify(last.body, last.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(last.body, last.headers)


@pytest.mark.parametrize("verb", ["disable", "delete"])
def test_what_was_disabled_or_deleted_after_a_message_gets_no_other(told, happen, dispatcher, receiver, verb):
    happen()
    route()
    with system_scope():
        told[0].disable("By a test.") if verb == "disable" else told[0].delete()
    dispatcher.drain()
    assert len(receiver.posted) == 1


def test_what_did_not_change_is_not_opened_again(told, happen, deliver, monkeypatch):
    opened = []
    monkeypatch.setattr("vault.keyring.Keyring.open", lambda *arguments: opened.append(arguments) or b"")
    happen()
    deliver()
    assert opened == []


def test_a_secret_signs_until_its_end_although_nothing_changes(subscribe):
    subscription, _ = subscribe()
    now = timezone.now()
    with system_scope():
        subscription.rotate_secret(timedelta(hours=1))
        secrets = list(SigningSecret.objects.order_by("-id"))
    endpoint = Endpoint((), subscription, secrets)
    signatures = [
        dict(endpoint.signer("standard_webhooks", at).sign("m", 1, b"").headers)["webhook-signature"].split(" ")
        for at in (now, now + timedelta(hours=2))
    ]
    assert [len(one) for one in signatures] == [2, 1]


def test_one_that_does_not_open_is_asked_again(subscribe):
    """A key that was put back into the keyring changes no row."""
    subscription, _ = subscribe()
    sealed = bytes(Subscription._meta.get_field("url").value_from_object(subscription))
    endpoints = Endpoints()
    with system_scope(), connection.cursor() as cursor:
        cursor.execute("UPDATE subscriptions_subscription SET url = %s", [b"\x01\x02k9" + sealed[4:]])
    assert lines.run(endpoints.current([subscription.pk]))[subscription.pk].problem is not None
    assert not endpoints._kept
