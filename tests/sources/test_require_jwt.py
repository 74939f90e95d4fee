"""The tenant's demand for tokens (D2): who may make it, what the pages say, what the door does."""

import time

import jwt
import pytest

from sources.models import Source
from sources.registry import DatabaseRegistry
from tenants.models import AuditEntry
from tenants.permissions import Role
from tenants.scope import system_scope, tenant_scope

pytestmark = pytest.mark.spec("D2")

URL = "/api/v1/tenant/"


@pytest.fixture
def make(cast):
    def make_source(name, method="hmac", config=None):
        with tenant_scope(cast.tenant.pk):
            return Source.objects.create_with_secret(cast.tenant, cast.owner, name, method, config or {})

    return make_source


def demand(cast, wanted=True):
    with system_scope():
        cast.tenant.require_jwt = wanted
        cast.tenant.save(update_fields=["require_jwt"])


def test_it_is_off_until_an_owner_turns_it_on(api, cast):
    assert api(Role.VIEWER).get(URL).json()["require_jwt"] is False
    assert api().patch(URL, {"require_jwt": True}).json()["require_jwt"] is True
    assert api().patch(URL, {"require_jwt": False}).json()["require_jwt"] is False
    with tenant_scope(cast.tenant.pk):
        entries = AuditEntry.objects.filter(action="tenant.changed").order_by("id")
        assert [entry.change for entry in entries] == [{"require_jwt": [False, True]}, {"require_jwt": [True, False]}]


@pytest.mark.parametrize("role", [Role.ADMIN, Role.MEMBER, Role.VIEWER])
def test_others_do_not(api, role):
    assert api(role).patch(URL, {"require_jwt": True}).status_code == 403


@pytest.mark.parametrize("value", ["perhaps", None, [], 7])
def test_it_is_on_or_off(api, value):
    answer = api().patch(URL, {"require_jwt": value})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "require_jwt"


def test_one_tenant_s_demand_is_not_another_s(api, stranger_api):
    api().patch(URL, {"require_jwt": True})
    assert stranger_api.get(URL).json()["require_jwt"] is False


def test_the_question_says_how_many_sources_would_stop(browser, cast, make):
    client = browser(cast.owner)
    assert "nothing would be refused" in client.get("/sources/without-token/").content.decode()
    make("Tokens", "jwt")
    make("Signed")
    make("<b>Keyed</b>", "shared_secret")
    gone, _ = make("Gone", "bearer")
    with tenant_scope(cast.tenant.pk):
        gone.delete()
    asked = client.get("/sources/without-token/").content.decode()
    assert "2 sources without tokens" in asked
    assert "would stop accepting at once" in asked
    assert "Signed" in asked
    assert "&lt;b&gt;Keyed" in asked
    assert "Tokens" not in asked
    assert "Gone" not in asked
    demand(cast)
    assert "are refused because of it" in client.get("/sources/without-token/").content.decode()


def test_many_are_counted_and_the_first_named(browser, cast, make):
    for number in range(22):
        make(f"Source {number:02}")
    asked = browser(cast.owner).get("/sources/without-token/").content.decode()
    assert "22 sources" in asked
    assert "Source 19" in asked
    assert "Source 20" not in asked


@pytest.mark.parametrize("role", ["admin", "member", "viewer"])
def test_who_cannot_change_it_is_not_asked(browser, cast, role):
    client = browser(getattr(cast, role))
    assert client.get("/sources/without-token/").status_code == 403
    page = client.get("/settings/").content.decode()
    assert "Require JSON Web Tokens" in page
    assert "require_jwt" not in page


def test_the_settings_page_asks_first_and_takes_it_back(browser, cast):
    client = browser(cast.owner)
    off = client.get("/settings/").content.decode()
    assert 'id="require-jwt"' in off
    assert "/sources/without-token/" in off
    demand(cast)
    on = client.get("/settings/").content.decode()
    assert 'id="require-jwt"' not in on
    assert "&quot;require_jwt&quot;: false" in on or '"require_jwt": false' in on


def test_sources_that_are_refused_for_it_say_so(browser, cast, make):
    refused, _ = make("Signed")
    welcome, _ = make("Tokens", "jwt")
    client = browser(cast.viewer)
    assert "refused" not in client.get("/sources/").content.decode().lower()
    demand(cast)
    listed = client.get("/sources/").content.decode()
    assert "1 source refused" in listed
    assert listed.count("Refused: no token") == 1
    assert "Everything sent to it is refused" in client.get(f"/sources/{refused.pk}/").content.decode()
    assert "Everything sent to it is refused" not in client.get(f"/sources/{welcome.pk}/").content.decode()
    assert "receives nothing" in browser(cast.owner).get("/sources/create/").content.decode()


def test_the_door_hears_of_it(cast, make):
    source, _ = make("Signed")
    registry = DatabaseRegistry()
    assert registry.find(source.ingest_key).require_jwt is False
    demand(cast)
    assert registry.find(source.ingest_key).require_jwt is True


@pytest.mark.django_db(transaction=True)
def test_only_tokens_come_in(cast, make, client):
    keyed, secret = make("Keyed", "shared_secret")
    tokens, key = make("Tokens", "jwt")
    with tenant_scope(cast.tenant.pk):
        key_id = tokens.current_credential.key_id

    def post(source, **headers):
        return client.post(f"/in/{source.ingest_key}", "{}", content_type="application/json", headers=headers)

    def token():
        return jwt.encode({"iat": int(time.time())}, key, "HS256", headers={"kid": key_id})

    assert post(keyed, **{"X-Webhook-Key": secret}).status_code == 202
    demand(cast)
    assert post(keyed, **{"X-Webhook-Key": secret}).status_code == 401
    assert post(tokens, **{"X-Webhook-JWT": token()}).status_code == 202
    assert post(tokens, Authorization=f"Bearer {token()}").status_code == 202
    demand(cast, wanted=False)
    assert post(keyed, **{"X-Webhook-Key": secret}).status_code == 202
