"""Deliveries prove to the receiver who sends them, and the record of an attempt shows how, without the proof itself."""

import json
import logging

import pytest
from django.db import connection
from django.utils import timezone

from deliveries.models import Attempt, Delivery, Outbox
from egress.authentication import MASK
from subscriptions import receiver_auth
from subscriptions.models import Subscription
from subscriptions.verification import portal_guard
from tenants.scope import system_scope, tenant_scope
from tests.authorities import Authority
from tests.egress import receivers
from tests.receiver import Answer
from tests.token_server import TokenServer

SECRET = "s3cret-arst-qwfp"


@pytest.fixture
def tokens():
    with TokenServer(mark="t0ken-zxcv") as running:
        yield running


@pytest.fixture
def authority(tmp_path, monkeypatch):
    """One that the portal trusts, as it trusts the system's."""
    made = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.file))
    return made


@pytest.fixture
def authenticate(cast):
    def change(subscription, method: str, **given) -> None:
        auth = receiver_auth.clean(method, given, portal_guard(), timezone.now())
        with tenant_scope(subscription.tenant_id):
            subscription.configure(auth=auth)

    return change


@pytest.fixture
def subscribe_by_oauth(subscribe, authenticate, tokens):
    def make(**changes):
        subscription, _ = subscribe(policy="exponential")
        given = {"token_url": tokens.url, "client_id": "portal", "client_secret": SECRET} | changes
        authenticate(subscription, "oauth2", **given)
        return subscription

    return make


def attempts() -> list[Attempt]:
    with system_scope():
        return list(Attempt.objects.order_by("id"))


def statuses() -> list[str]:
    with system_scope():
        return list(Delivery.objects.order_by("id").values_list("status", flat=True))


def authorizations(receiver) -> list[str]:
    return [posted.headers.get("authorization") for posted in receiver.posted]


@pytest.mark.parametrize(
    ("method", "given", "sent", "shown"),
    [
        ("basic", {"username": "portal", "password": SECRET}, "Basic cG9ydGFsOnMzY3JldC1hcnN0LXF3ZnA=", "Basic"),
        ("basic", {"username": "ü", "password": ":"}, "Basic w7w6Og==", "Basic"),
        ("bearer", {"token": f"Bearer {SECRET}"}, f"Bearer {SECRET}", "Bearer"),
    ],
)
def test_a_header_is_sent_and_masked_in_the_record(
    subscribe, authenticate, happen, deliver, receiver, method, given, sent, shown
):
    subscription, _ = subscribe()
    authenticate(subscription, method, **given)
    happen()
    deliver()
    assert authorizations(receiver) == [sent]
    (attempt,) = attempts()
    assert ["Authorization", f"{shown} {MASK}"] in attempt.request_headers
    assert sent not in json.dumps(attempt.request_headers)


def test_deliveries_share_a_token(subscribe_by_oauth, happen, deliver, receiver, tokens):
    subscribe_by_oauth(scope="events.write")
    for _ in range(50):
        happen()
    deliver()
    assert authorizations(receiver) == ["Bearer t0ken-zxcv-1"] * 50
    assert [form["scope"] for form in tokens.forms] == ["events.write"]
    assert statuses() == ["delivered"] * 50


def test_what_is_renewed_stands_in_the_record(subscribe_by_oauth, happen, deliver, receiver):
    subscribe_by_oauth()
    receiver.answer = lambda posted: Answer(204 if posted.headers["authorization"].endswith("-2") else 401)
    happen()
    deliver()
    (attempt,) = attempts()
    assert (attempt.number, attempt.status_code, attempt.error, attempt.outcome) == (1, 204, "", "delivered")
    assert attempt.detail.startswith("The receiver answered 401 after ")
    assert "sent once more" in attempt.detail
    assert ["Authorization", f"Bearer {MASK}"] in attempt.request_headers


def test_without_a_token_the_attempt_failed_and_is_made_again(
    subscribe_by_oauth, happen, deliver, receiver, tokens, monkeypatch
):
    monkeypatch.setattr("egress.oauth.REST", 0.0)
    subscribe_by_oauth()
    give = tokens.answer
    tokens.answer = Answer(401, b'{"error": "invalid_client", "error_description": "s3cret-arst-qwfp"}')
    happen()
    deliver()
    (attempt,) = attempts()
    assert (attempt.status_code, attempt.error, attempt.outcome) == (None, "oauth_token", "retry")
    assert attempt.detail == "No access token: the token endpoint answered 401 (invalid_client)."
    with system_scope():
        assert Delivery.objects.get().reason == "There was no access token to send with."
        Outbox.objects.update(due_at=timezone.now())
    assert receiver.posted == []
    tokens.answer = give
    deliver()
    assert statuses() == ["delivered"]


def test_401_of_the_token_endpoint_is_not_the_receivers(subscribe_by_oauth, happen, deliver, tokens):
    subscription = subscribe_by_oauth()
    with tenant_scope(subscription.tenant_id):
        subscription.configure(policy="post_once")
    tokens.answer = Answer(401)
    happen()
    deliver()
    assert statuses() == ["failed"]
    with system_scope():
        assert Subscription.objects.get().state == "idle"


def test_changed_credentials_are_used_at_once(subscribe_by_oauth, authenticate, happen, deliver, receiver, tokens):
    subscription = subscribe_by_oauth()
    happen()
    deliver()
    authenticate(subscription, "oauth2", token_url=tokens.url, client_id="portal", client_secret="another")
    happen()
    deliver()
    assert authorizations(receiver) == ["Bearer t0ken-zxcv-1", "Bearer t0ken-zxcv-2"]


@pytest.mark.spec("T4", "T5")
def test_links_and_tests_are_sent_with_it_too(cast, authenticate, deliver, receiver, opened):
    auth = receiver_auth.clean("bearer", {"token": SECRET}, portal_guard(), timezone.now())
    with tenant_scope(cast.tenant.pk):
        subscription, _ = Subscription.objects.create_pending(
            cast.tenant, cast.owner, name="Desk", url=receiver.url, event_types=["*"], auth=auth
        )
    deliver()
    with system_scope():
        token = json.loads(receiver.posted[0].body)["data"]["confirmation_url"].rsplit("/", 1)[1]
        subscription = Subscription.objects.confirm(token)
    with tenant_scope(cast.tenant.pk):
        subscription.send_test()
    deliver()
    assert authorizations(receiver) == [f"Bearer {SECRET}"] * 2
    assert statuses() == ["delivered"] * 2


@pytest.fixture
def demanding(authority):
    """A TLS receiver that lets in who has a certificate of the authority's; whose they were, in order."""
    seen = []

    def behave(conn):
        while receivers.read_request(conn):
            seen.append(conn.getpeercert()["subject"][0][0][1])
            conn.sendall(receivers.http(204))

    with receivers.receiver(behave, authority.server()) as far:
        far.requests = seen
        yield far


def test_a_client_certificate_is_presented(subscribe, authenticate, happen, deliver, authority, demanding):
    for name in ("one", "two"):
        subscription, _ = subscribe(name=name, url=demanding.url(scheme="https"))
        certificate, key = authority.issue(f"client-{name}")
        authenticate(subscription, "mtls", certificate=certificate, private_key=key)
    for _ in range(2):
        happen()
        deliver()
    assert sorted(demanding.requests) == ["client-one"] * 2 + ["client-two"] * 2
    assert demanding.connections == 2
    assert statuses() == ["delivered"] * 4


def test_an_expired_certificate_is_an_error_of_the_attempt(
    subscribe, authenticate, happen, deliver, authority, demanding
):
    subscription, _ = subscribe(url=demanding.url(scheme="https"))
    certificate, key = authority.issue("client")
    authenticate(subscription, "mtls", certificate=certificate, private_key=key)
    with tenant_scope(subscription.tenant_id):
        subscription.auth_config["expires_at"] = "2024-05-03T00:00:00+00:00"
        subscription.save(update_fields=["auth_config"])
    happen()
    deliver()
    (attempt,) = attempts()
    assert (attempt.error, attempt.outcome) == ("client_certificate", "retry")
    assert attempt.detail == "The client certificate expired on 3 May 2024: give the subscription a new one."
    assert demanding.connections == 0


def test_one_whose_secrets_are_gone_is_not_sent_without(subscribe, authenticate, happen, deliver, receiver):
    subscription, _ = subscribe()
    authenticate(subscription, "bearer", token=SECRET)
    with tenant_scope(subscription.tenant_id):
        Subscription.objects.update(auth_secrets=None)
    happen()
    deliver()
    assert receiver.posted == []
    assert [attempt.error for attempt in attempts()] == ["unsendable"]


@pytest.mark.spec("T3", "B10")
def test_neither_secrets_nor_tokens_are_kept_or_logged(
    subscribe_by_oauth, happen, deliver, receiver, caplog, browser, api, cast
):
    caplog.set_level(logging.DEBUG)
    subscription = subscribe_by_oauth()
    receiver.answer = lambda posted: Answer(
        401, posted.headers["authorization"].encode(), {"X-Echo": posted.headers["authorization"]}
    )
    happen()
    deliver()
    hidden = [SECRET, "t0ken-zxcv", SECRET.encode().hex(), b"t0ken-zxcv".hex()]
    texts = [caplog.text]
    with system_scope(), connection.cursor() as cursor:
        delivery = Delivery.objects.get()
        for table in ("deliveries_attempt", "deliveries_delivery", "subscriptions_subscription"):
            cursor.execute(f"SELECT row_to_json(t)::text FROM {table} t")  # noqa: S608 (our tables)
            texts += [row for (row,) in cursor.fetchall()]
    for url in (f"deliveries/{delivery.pk}/", f"subscriptions/{subscription.pk}/"):
        texts.append(api("owner").get(f"/api/v1/{url}").content.decode())
        texts.append(browser(cast.owner).get(f"/{url}").content.decode())
    assert len(texts) == 8
    assert [word for word in hidden if any(word in text for text in texts)] == []
