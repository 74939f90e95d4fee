"""Keys for programs: shown once, no more than their maker, dead at the next request."""

from datetime import timedelta

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from tenants.models import ApiKey, AuditEntry
from tenants.permissions import Role
from tenants.scope import system_scope, tenant_scope

URL = "/api/v1/api-keys/"


def client_of(secret: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return client


def create(client, **changes) -> dict:
    answer = client.post(URL, {"name": "ci", "role": "viewer", **changes}, content_type="application/json")
    assert answer.status_code == 201, answer.json()
    return answer.json()


@pytest.fixture
def owner(browser, cast):
    return browser(cast.owner)


def test_the_key_appears_once_and_works(owner):
    created = create(owner)
    assert client_of(created["secret"]).get("/api/v1/tenant/").json()["name"] == "Acme"
    reads = str(owner.get(f"{URL}{created['id']}/").json()) + str(owner.get(URL).json())
    assert created["secret"] not in reads
    assert created["secret"] not in owner.get("/api-keys/").content.decode()
    assert created["secret"][-4:] in reads


def test_only_its_digest_is_kept(cast, owner):
    secret = create(owner)["secret"]
    with tenant_scope(cast.tenant.pk):
        assert secret not in str(ApiKey.objects.values()) + str(list(AuditEntry.objects.values()))


def test_it_acts_with_its_own_role_not_its_makers(owner):
    viewer = client_of(create(owner, role="viewer")["secret"])
    assert viewer.get("/api/v1/members/").status_code == 200
    assert viewer.get(URL).status_code == 403


@pytest.mark.parametrize("role", [Role.MEMBER, Role.VIEWER])
def test_a_lesser_role_neither_makes_nor_sees_keys(api, role):
    assert api(role).get(URL).status_code == 403
    assert api(role).post(URL, {"name": "x", "role": "viewer"}).status_code == 403


def test_an_admin_cannot_make_an_owners_key(api):
    assert api(Role.ADMIN).post(URL, {"name": "x", "role": "owner"}).status_code == 403


def test_an_admin_cannot_revoke_an_owners_key(api, owner):
    created = create(owner, role="owner")
    assert api(Role.ADMIN).delete(f"{URL}{created['id']}/").status_code == 403


def test_a_revoked_key_is_refused_at_the_next_request(owner):
    created = create(owner)
    key = client_of(created["secret"])
    assert key.get("/api/v1/tenant/").status_code == 200
    assert owner.post(f"{URL}{created['id']}/revoke/").json()["state"] == "revoked"
    answer = key.get("/api/v1/tenant/")
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"].startswith("Bearer")
    assert owner.delete(f"{URL}{created['id']}/").status_code == 409


def test_an_expired_key_is_refused(cast, owner):
    created = create(owner, expires_at=(timezone.now() + timedelta(hours=1)).isoformat())
    with system_scope():
        ApiKey.objects.filter(pk=created["id"]).update(expires_at=timezone.now())
    assert client_of(created["secret"]).get("/api/v1/tenant/").status_code == 401
    assert [row["state"] for row in owner.get(URL).json()["results"]] == ["expired"]
    assert owner.get(f"{URL}?live=true").json()["results"] == []


def test_an_expiry_in_the_past_names_the_field(api):
    answer = api().post(URL, {"name": "x", "role": "viewer", "expires_at": "2001-01-01T00:00:00Z"})
    assert answer.json()["errors"][0]["field"] == "expires_at"


def test_a_key_cannot_make_one_that_outlives_it(owner):
    soon = timezone.now() + timedelta(hours=1)
    key = client_of(create(owner, role="admin", expires_at=soon.isoformat())["secret"])
    body = {"name": "x", "role": "viewer"}
    assert key.post(URL, body).status_code == 400
    assert key.post(URL, body | {"expires_at": (soon + timedelta(hours=1)).isoformat()}).status_code == 400
    assert key.post(URL, body | {"expires_at": soon.isoformat()}).status_code == 201


def test_what_a_key_makes_is_its_makers(owner):
    key = client_of(create(owner, role="admin")["secret"])
    assert key.post(URL, {"name": "x", "role": "viewer"}).json()["created_by"] == "owner@acme.example"


def test_use_is_noted(cast, owner):
    created = create(owner)
    assert created["last_used_at"] is None
    client_of(created["secret"]).get("/api/v1/tenant/")
    assert owner.get(f"{URL}{created['id']}/").json()["last_used_at"] is not None


@pytest.mark.parametrize("token", ["", "pk_", "pk_nonsense", "Bearer", "pk_" + "0" * 48, "pk_é" * 12, "\x00"])
def test_what_is_no_key_is_401(db, token):
    assert client_of(token).get("/api/v1/tenant/").status_code == 401


def test_a_bad_key_is_not_saved_by_a_session(owner):
    """Who sends a key means the key: falling back to the cookie would hide that it is dead."""
    assert owner.get("/api/v1/tenant/", headers={"Authorization": "Bearer pk_dead"}).status_code == 401


def test_a_strangers_view(stranger_api, owner):
    created = create(owner)
    assert created["id"] not in {row["id"] for row in stranger_api.get(URL).json()["results"]}
    assert stranger_api.delete(f"{URL}{created['id']}/").status_code == 404


def test_revoking_a_key_ends_the_keys_made_with_it(api, cast):
    def made_with(client, name):
        made = client.post("/api/v1/api-keys/", {"name": name, "role": "owner"}).json()
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {made['secret']}")
        return made["id"], client

    leaked, first = made_with(api("owner"), "leaked")
    _, second = made_with(first, "child")
    _, third = made_with(second, "grandchild")
    _, other = made_with(api("owner"), "other")
    assert third.get("/api/v1/sources/").status_code == 200
    assert api("owner").post(f"/api/v1/api-keys/{leaked}/revoke/").status_code == 200
    assert [client.get("/api/v1/sources/").status_code for client in (first, second, third, other)] == [
        401, 401, 401, 200,
    ]  # fmt: skip
    with tenant_scope(cast.tenant.pk):
        assert AuditEntry.objects.filter(action="api_key.revoked").get().change == {"api_keys_revoked": 2}
