"""Operators: every tenant, with a session; never with an API key."""

import pytest
from rest_framework.test import APIClient

from tenants.models import ApiKey, AuditEntry, Invitation, Membership, Tenant
from tenants.permissions import Role
from tenants.scope import system_scope, tenant_scope

URL = "/api/v1/tenants/"
NEW = {"name": "Initech", "owner": "Bill@initech.example"}


@pytest.fixture
def operator(browser, cast):
    client = APIClient()
    client.force_login(cast.operator)
    return client


def test_an_operator_sees_every_tenant_with_members_and_activity(operator, browser, cast):
    browser(cast.owner)  # signs in: an activity of Acme's
    rows = {row["name"]: row for row in operator.get(URL).json()["results"]}
    assert rows["Acme"]["member_count"] == 4
    assert rows["Acme"]["last_activity_at"] is not None
    assert rows["Globex"]["member_count"] == 1
    assert rows["Globex"]["last_activity_at"] is None


def test_search(operator):
    assert [row["name"] for row in operator.get(f"{URL}?q=glob").json()["results"]] == ["Globex"]


def test_creating_one_invites_its_owner_with_a_link_shown_once(operator, cast):
    created = operator.post(URL, NEW)
    assert created.status_code == 201, created.json()
    token = created.json()["url"].rstrip("/").rsplit("/", 1)[-1]
    with system_scope():
        invitation = Invitation.objects.by_token(token).get()
    assert (invitation.email, invitation.role) == ("bill@initech.example", "owner")
    assert str(invitation.tenant_id) == created.json()["id"]
    assert "url" not in operator.get(f"{URL}{created.json()['id']}/").json()


def test_creating_is_audited_in_the_new_tenant(operator, cast):
    created = operator.post(URL, NEW).json()
    with tenant_scope(created["id"]):
        entries = AuditEntry.objects.order_by("id")
        assert [(e.action, e.actor_label) for e in entries] == [
            ("tenant.created", "operator@portal.example"),
            ("invitation.created", "operator@portal.example"),
        ]


def test_a_refused_creation_leaves_nothing(operator, cast):
    assert operator.post(URL, NEW | {"owner": "nobody"}).status_code == 400
    with system_scope():
        assert Tenant.objects.count() == 2


def test_suspend_and_resume(operator, browser, cast):
    owner = browser(cast.owner)
    url = f"{URL}{cast.tenant.pk}/"
    assert operator.post(f"{url}suspend/").json()["status"] == "suspended"
    assert owner.get("/api/v1/members/").status_code == 403
    assert operator.post(f"{url}suspend/").status_code == 409
    assert operator.post(f"{url}resume/").json()["status"] == "active"
    assert owner.get("/api/v1/members/").status_code == 200
    actions = [row["action"] for row in owner.get("/api/v1/audit/").json()["results"]]
    assert actions == ["tenant.resumed", "tenant.suspended"]


def test_rename(operator, cast):
    assert operator.patch(f"{URL}{cast.tenant.pk}/", {"name": "Acme 2"}).json()["name"] == "Acme 2"
    with tenant_scope(cast.tenant.pk):
        assert AuditEntry.objects.get().change == {"name": ["Acme", "Acme 2"]}


def test_an_operator_in_a_tenant_still_sees_the_others(operator, cast):
    with system_scope():
        Membership.objects.create(tenant=cast.tenant, user=cast.operator, role=Role.VIEWER)
    assert len(operator.get(URL).json()["results"]) == 2
    assert operator.post(f"{URL}{cast.other_tenant.pk}/suspend/").status_code == 200


def test_an_operator_reads_no_tenants_rows_elsewhere(operator):
    assert operator.get("/api/v1/members/").status_code == 403
    assert operator.get("/members/").url == "/operators/tenants/"


REFUSED = [
    ("get", "", 403), ("post", "", 403), ("get", "{id}/", 404), ("patch", "{id}/", 404),
    ("post", "{id}/suspend/", 404), ("post", "{id}/resume/", 404),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "code"), REFUSED)
def test_an_owner_is_no_operator(browser, cast, method, path, code):
    url = URL + path.format(id=cast.tenant.pk)
    assert getattr(browser(cast.owner), method)(url, {}, content_type="application/json").status_code == code


@pytest.mark.parametrize(("method", "path", "code"), REFUSED)
def test_an_operators_api_key_is_no_operator(cast, method, path, code):
    with system_scope():
        Membership.objects.create(tenant=cast.tenant, user=cast.operator, role=Role.OWNER)
        _, token = ApiKey.issue(tenant=cast.tenant, name="x", role=Role.OWNER, created_by=cast.operator)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    with_session_too = APIClient()
    with_session_too.force_login(cast.operator)
    with_session_too.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    url = URL + path.format(id=cast.other_tenant.pk)
    assert getattr(client, method)(url, {}).status_code in (401, 403, 404)
    assert getattr(with_session_too, method)(url, {}).status_code == code
    with system_scope():
        assert Tenant.objects.get(pk=cast.other_tenant.pk).is_active


def test_a_write_needs_the_csrf_token(cast):
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(cast.operator)
    assert client.post(URL, NEW).status_code == 403


def test_an_operator_with_a_one_time_password_changes_it_first(operator, cast):
    cast.operator.must_change_password = True
    cast.operator.save()
    assert operator.get(URL).status_code == 403
    assert operator.get("/operators/tenants/").url == "/accounts/password/change/"


def test_the_page(operator, browser, cast):
    assert "Globex" in operator.get("/operators/tenants/").content.decode()
    assert browser(cast.owner).get("/operators/tenants/").status_code == 403


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_valid_api_key_is_told_that_it_may_not(api, method):
    answer = getattr(api("owner"), method)(URL, NEW if method == "post" else None)
    assert answer.status_code == 403
    assert "API key" in answer.json()["detail"]
