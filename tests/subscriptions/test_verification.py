"""The confirmation link, as browsers, curl and scanners open it."""

import logging

import pytest

from egress.guard import UrlRefused
from subscriptions.models import Subscription
from subscriptions.verification import portal_guard
from tenants.models import AuditEntry
from tenants.scope import system_scope
from tests.subscriptions.conftest import token_of

BROWSER = {"HTTP_ACCEPT": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
CURL = {"HTTP_ACCEPT": "*/*", "HTTP_USER_AGENT": "curl/8.0"}


def link(subscription) -> str:
    return f"/confirm/{token_of(subscription)}"


def state_of(subscription) -> str:
    with system_scope():
        return Subscription.objects.get(pk=subscription.pk).state


@pytest.mark.spec("T4")
def test_a_browser_that_opens_the_link_confirms(client, make):
    subscription = make()
    answer = client.get(link(subscription), **BROWSER)
    assert answer.status_code == 200
    assert "Acme sends events to this URL" in answer.content.decode()
    assert state_of(subscription) == "idle"


@pytest.mark.spec("T4")
def test_curl_confirms_and_gets_json(client, make):
    subscription = make()
    answer = client.get(link(subscription), **CURL)
    assert answer.json()["state"] == "idle"
    assert state_of(subscription) == "idle"


@pytest.mark.parametrize("method", ["head", "post", "options", "put"])
def test_only_get_confirms(client, make, method):
    subscription = make()
    assert getattr(client, method)(link(subscription)).status_code == 405
    assert state_of(subscription) == "pending"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_SEC_PURPOSE", "prefetch;prerender"),
        ("HTTP_PURPOSE", "prefetch"),
        ("HTTP_PURPOSE", "preview"),
        ("HTTP_X_MOZ", "prefetch"),
    ],
)
def test_looking_ahead_does_not_confirm(client, make, name, value):
    subscription = make()
    assert client.get(link(subscription), **{name: value}).status_code == 403
    assert state_of(subscription) == "pending"


@pytest.mark.parametrize("accept", [BROWSER, CURL])
def test_a_used_token_and_an_unknown_one_get_the_same_answer(client, make, accept):
    subscription = make()
    used = link(subscription)
    client.get(used)
    with system_scope():
        Subscription.objects.get(pk=subscription.pk).disable("By a test.")
    first, second = client.get(used, **accept), client.get("/confirm/nonsense", **accept)
    assert (first.status_code, second.status_code) == (404, 404)
    assert first.content == second.content
    assert b"Acme" not in first.content
    assert b"Desk" not in first.content


@pytest.mark.parametrize("accept", [BROWSER, CURL])
@pytest.mark.parametrize("good", [True, False])
def test_the_link_is_not_passed_on_kept_or_indexed(client, make, accept, good):
    answer = client.get(link(make()) if good else "/confirm/nonsense", **accept)
    assert answer["Referrer-Policy"] == "no-referrer"
    assert answer["Cache-Control"] == "no-store"
    assert "noindex" in answer["X-Robots-Tag"]


def test_the_audit_log_says_that_the_receiver_agreed_and_from_where(client, make):
    subscription = make()
    client.get(link(subscription), REMOTE_ADDR="203.0.113.7")
    with system_scope():
        entry = AuditEntry.objects.get(action="subscription.confirmed")
    assert (entry.actor_kind, entry.address) == ("receiver", "203.0.113.7")
    assert (entry.tenant_id, entry.object_id) == (subscription.tenant_id, subscription.pk)


def test_a_signed_in_stranger_who_has_the_link_confirms_too(browser, cast, make):
    """Whoever can read what is posted to the URL is the receiver, whatever else they are."""
    subscription = make()
    assert browser(cast.stranger).get(link(subscription), **CURL).status_code == 200
    assert state_of(subscription) == "idle"


def test_a_token_is_in_no_log(client, make, caplog):
    caplog.set_level(logging.DEBUG)
    subscription = make()
    token = token_of(subscription)
    client.get(f"/confirm/{token}")
    assert token not in caplog.text


def test_the_guard_knows_the_portal_by_its_own_addresses(settings):
    settings.PORTAL_URL = "https://hooks.example.com"
    settings.EGRESS_ALLOW = ["127.0.0.0/8"]
    for url in ("https://hooks.example.com:8443/in/x", f"http://127.0.0.1:{settings.PORT}/in/x"):
        with pytest.raises(UrlRefused) as refused:
            portal_guard().check_url(url)
        assert refused.value.code == "own_host"
