"""Authentication to the receiver in the API and on the pages: what goes in, what comes out, what is on record."""

import logging
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from subscriptions.models import Subscription
from tenants.models import AuditEntry
from tenants.scope import system_scope, tenant_scope
from tests.authorities import Authority
from tests.subscriptions.conftest import URL

LIST = "/api/v1/subscriptions/"
NEW = {"name": "Desk", "url": URL}
SECRET = "s3cret-arst-qwfp"
BASIC = {"method": "basic", "username": "portal", "password": SECRET}
BEARER = {"method": "bearer", "token": SECRET}
OAUTH2 = {
    "method": "oauth2",
    "token_url": "https://login.example.com/token",
    "client_id": "portal-1",
    "client_secret": SECRET,
    "scope": "events.write",
    "client_authentication": "client_secret_post",
}


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def mtls(authority):
    certificate, key = authority.issue("portal.example")
    return {"method": "mtls", "certificate": certificate + authority.certificate, "private_key": key}


@pytest.fixture
def kinds(mtls):
    return {"basic": BASIC, "bearer": BEARER, "oauth2": OAUTH2, "mtls": mtls}


def errors(answer) -> dict[str, str]:
    assert answer.status_code == 400, answer.content
    return {error["field"]: error["detail"] for error in answer.json()["errors"]}


def one(made) -> str:
    return f"{LIST}{made['id']}/"


def sealed(subscription_id) -> Subscription:
    with system_scope():
        return Subscription.objects.get(pk=subscription_id)


# Create and read ----------------------------------------------------------------------------------


def test_without_a_word_there_is_none(api):
    made = api("admin").post(LIST, NEW).json()
    assert made["auth"] == {"method": "none"}
    assert sealed(made["id"]).auth_secrets is None


@pytest.mark.spec("T3")
@pytest.mark.parametrize(
    ("given", "read"),
    [
        (BASIC, {"method": "basic", "username": "portal"}),
        (BEARER, {"method": "bearer"}),
        (OAUTH2, {name: value for name, value in OAUTH2.items() if name != "client_secret"}),
    ],
)
def test_what_can_be_read_is_and_what_is_secret_is_not(api, given, read):
    client = api("admin")
    answer = client.post(LIST, NEW | {"auth": given})
    assert answer.status_code == 201
    for shown in (answer.json(), client.get(one(answer.json())).json(), client.get(LIST).json()["results"][0]):
        assert shown["auth"] == read
    assert SECRET not in answer.content.decode()
    assert SECRET in sealed(answer.json()["id"]).auth_secrets.values()


def test_of_a_certificate_subject_issuer_expiry_and_fingerprint_are_read(api, mtls):
    answer = api("admin").post(LIST, NEW | {"auth": mtls})
    read = answer.json()["auth"]
    assert (read["subject"], read["issuer"]) == ("CN=portal.example", "CN=Test authority")
    assert set(read) == {"method", "subject", "issuer", "expires_at", "fingerprint"}
    assert "BEGIN" not in answer.content.decode()
    assert sealed(answer.json()["id"]).auth_secrets == {
        "certificate": mtls["certificate"],
        "private_key": mtls["private_key"],
    }


@pytest.mark.parametrize(
    ("auth", "fields"),
    [
        ({}, {"auth.method"}),
        ({"method": "kerberos"}, {"auth.method"}),
        ({"method": "basic", "username": "x"}, {"auth.password"}),
        (BASIC | {"passwort": "x"}, {"auth.passwort"}),
        (BASIC | {"token": "x"}, {"auth.token"}),
        (OAUTH2 | {"token_url": "https://localhost/token"}, {"auth.token_url"}),
        (OAUTH2 | {"client_authentication": "none"}, {"auth.client_authentication"}),
        ({"method": "mtls", "certificate": "x", "private_key": "x"}, {"auth.certificate"}),
        ("basic", {"auth"}),
    ],
)
def test_what_is_wrong_is_an_error_of_its_field(api, auth, fields):
    answer = api("admin").post(LIST, NEW | {"auth": auth})
    assert set(errors(answer)) == fields
    assert SECRET not in answer.content.decode()


def test_a_certificate_needs_https(api, mtls, settings):
    settings.EGRESS_ALLOW = ["127.0.0.0/8"]
    plain = NEW | {"url": "http://127.0.0.1:9009/hook", "auth": mtls}
    assert "https" in errors(api("admin").post(LIST, plain))["auth"]


# Change -------------------------------------------------------------------------------------------


def test_it_is_replaced_as_a_whole(api):
    client = api("admin")
    made = client.post(LIST, NEW | {"auth": OAUTH2}).json()
    assert client.patch(one(made), {"auth": BASIC}).json()["auth"] == {"method": "basic", "username": "portal"}
    assert sealed(made["id"]).auth_secrets == {"password": SECRET}
    assert client.patch(one(made), {"auth": {"method": "none"}}).json()["auth"] == {"method": "none"}
    assert sealed(made["id"]).auth_secrets is None
    assert "auth.client_secret" in errors(client.patch(one(made), {"auth": OAUTH2 | {"client_secret": ""}}))


def test_what_is_not_named_stays(api):
    client = api("admin")
    made = client.post(LIST, NEW | {"auth": BASIC}).json()
    assert client.patch(one(made), {"name": "Other"}).json()["auth"]["username"] == "portal"
    assert sealed(made["id"]).auth_secrets == {"password": SECRET}


@pytest.mark.parametrize("kind", ["basic", "bearer", "oauth2", "mtls"])
def test_it_does_not_follow_the_url_to_another_host(api, kinds, kind):
    client = api("admin")
    made = client.post(LIST, NEW | {"auth": kinds[kind]}).json()
    elsewhere = {"url": "https://attacker.example/hook"}
    assert set(errors(client.patch(one(made), elsewhere))) == {"auth"}
    assert client.patch(one(made), {"url": "https://receiver.example/other"}).status_code == 200
    assert client.patch(one(made), elsewhere | {"auth": {"method": "none"}}).status_code == 200


def test_without_any_the_url_may_change(api):
    client = api("admin")
    made = client.post(LIST, NEW).json()
    assert client.patch(one(made), {"url": "https://other.example/hook"}).status_code == 200


@pytest.mark.parametrize("auth", [BASIC, BEARER, OAUTH2])
def test_there_is_one_authorization(api, auth):
    client, header = api("admin"), {"headers": {"authorization": "x"}}
    assert set(errors(client.post(LIST, NEW | {"auth": auth} | header))) == {"auth"}
    first = client.post(LIST, NEW | {"auth": auth}).json()
    assert set(errors(client.patch(one(first), header))) == {"headers"}
    second = client.post(LIST, NEW | {"name": "Other"} | header).json()
    assert set(errors(client.patch(one(second), {"auth": auth}))) == {"auth"}
    assert client.patch(one(second), {"auth": auth, "headers": {}}).status_code == 200


def test_a_signature_in_authorization_leaves_no_room_for_it(api):
    signed = {"signing": "github", "signing_options": {"signature_header": "Authorization"}}
    assert set(errors(api("admin").post(LIST, NEW | {"auth": BASIC} | signed))) == {"auth"}


def test_a_certificate_goes_with_an_authorization_header(api, mtls):
    both = NEW | {"auth": mtls, "headers": {"Authorization": "x"}}
    assert api("admin").post(LIST, both).status_code == 201


def test_deleting_destroys_it(api):
    client = api("admin")
    made = client.post(LIST, NEW | {"auth": OAUTH2}).json()
    client.delete(one(made))
    gone = sealed(made["id"])
    assert (gone.auth_method, gone.auth_config, gone.auth_secrets) == ("none", {}, None)


# On record, and nowhere else ----------------------------------------------------------------------


def test_the_audit_log_says_which_kind(api, cast):
    client = api("admin")
    made = client.post(LIST, NEW | {"auth": BASIC}).json()
    for auth in (BEARER, BEARER | {"token": "another"}):
        client.patch(one(made), {"auth": auth})
    with tenant_scope(cast.tenant.pk):
        written = list(AuditEntry.objects.order_by("id").values_list("change", flat=True))
    assert [change["auth"] for change in written] == [[None, "basic"], ["basic", "bearer"], "changed"]


@pytest.mark.spec("T3", "B10")
@pytest.mark.parametrize("kind", ["basic", "bearer", "oauth2", "mtls"])
def test_its_secrets_are_in_no_page_log_or_column(api, browser, cast, caplog, kinds, kind):
    caplog.set_level(logging.DEBUG)
    client = api("owner")
    made = client.post(LIST, NEW | {"auth": kinds[kind]}).json()
    client.patch(one(made), {"auth": kinds[kind], "hint": "changed"})
    secret = SECRET if kind != "mtls" else kinds[kind]["private_key"].split("\n")[1]
    texts = [caplog.text, client.get(one(made)).content.decode(), client.get(LIST).content.decode()]
    texts += [browser(cast.owner).get(f"/subscriptions/{made['id']}/{part}").content.decode() for part in ("", "edit/")]
    with system_scope(), connection.cursor() as cursor:
        for table in ("subscriptions_subscription", "tenants_auditentry"):
            cursor.execute(f"SELECT row_to_json(t)::text FROM {table} t")  # noqa: S608 (our tables)
            texts += [row for (row,) in cursor.fetchall()]
        row = Subscription.objects.get(pk=made["id"])
        assert secret in str(row.auth_secrets)
        texts.append(f"{row!r} {row.__dict__!r}")
    assert not any(form in text for text in texts for form in (secret, secret.encode().hex()))


# The pages ----------------------------------------------------------------------------------------


def page(browser, user, made, part="") -> str:
    answer = browser(user).get(f"/subscriptions/{made['id']}/{part}")
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_forms_offer_every_kind(api, browser, cast):
    made = api("admin").post(LIST, NEW).json()
    forms = [browser(cast.admin).get("/subscriptions/new/").content.decode(), page(browser, cast.admin, made, "edit/")]
    for form in forms:
        for method in ("none", "basic", "bearer", "oauth2", "mtls"):
            assert f'<option value="{method}"' in form
            assert method == "none" or f'data-show-when="auth.method={method}"' in form


def test_the_detail_shows_what_can_be_read(api, browser, cast):
    made = api("admin").post(LIST, NEW | {"auth": OAUTH2}).json()
    shown = page(browser, cast.viewer, made)
    for words in ("OAuth 2 client credentials", "portal-1", "https://login.example.com/token", "client_secret_post"):
        assert words in shown


def test_what_was_typed_is_escaped(api, browser, cast):
    nasty = "<script>alert(1)</script>"
    made = api("admin").post(LIST, NEW | {"auth": OAUTH2 | {"client_id": nasty, "audience": nasty}}).json()
    for part in ("", "edit/"):
        assert nasty not in page(browser, cast.admin, made, part)


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (-1, "The client certificate has expired."),
        (20, "The client certificate expires"),
        (40, None),
    ],
)
def test_an_end_that_is_near_is_said_on_the_page(api, browser, cast, mtls, days, words):
    made = api("admin").post(LIST, NEW | {"auth": mtls}).json()
    with tenant_scope(cast.tenant.pk):
        row = Subscription.objects.get(pk=made["id"])
        row.auth_config["expires_at"] = (timezone.now() + timedelta(days=days)).isoformat()
        row.save(update_fields=["auth_config"])
    shown = page(browser, cast.viewer, made)
    assert "CN=portal.example" in shown
    assert "<strong>The client certificate" in shown if words else "<strong>The client certificate" not in shown
    assert not words or words in shown
