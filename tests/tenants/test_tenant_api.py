"""One's own tenant: its name, and how long it keeps things."""

import pytest

from tenants.models import AuditEntry, Tenant
from tenants.permissions import Role
from tenants.scope import system_scope, tenant_scope

URL = "/api/v1/tenant/"


def test_everybody_reads_their_own(api, stranger_api):
    assert api(Role.VIEWER).get(URL).json()["name"] == "Acme"
    assert stranger_api.get(URL).json()["name"] == "Globex"


def test_nobody_without_a_key(client, db):
    assert client.get(URL).status_code == 401


def test_an_owner_changes_it_and_the_change_is_audited(api, cast):
    answer = api().patch(URL, {"name": "Acme Ltd", "retention_days": 7})
    assert answer.json()["retention_days"] == 7
    with tenant_scope(cast.tenant.pk):
        assert AuditEntry.objects.get(action="tenant.changed").change == {
            "name": ["Acme", "Acme Ltd"],
            "retention_days": [None, 7],
        }


@pytest.mark.parametrize("role", [Role.ADMIN, Role.MEMBER, Role.VIEWER])
def test_others_do_not(api, role):
    assert api(role).patch(URL, {"name": "x"}).status_code == 403


@pytest.mark.parametrize("days", [0, -1, 31, 100000])
def test_retention_beyond_the_portals_is_refused_with_the_bounds(api, settings, days):
    settings.RETENTION_DAYS = 30
    answer = api().patch(URL, {"retention_days": days})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "retention_days"


def test_the_refusal_says_what_is_allowed(api, settings):
    settings.RETENTION_DAYS = 30
    assert "1 to 30 days" in api().patch(URL, {"retention_days": 31}).json()["errors"][0]["detail"]


def test_an_empty_retention_is_the_portals(api):
    assert api().patch(URL, {"retention_days": None}).json()["retention_days"] is None


def test_the_status_is_not_the_tenants_to_change(api, cast):
    api().patch(URL, {"status": "suspended", "name": "Acme"})
    with system_scope():
        assert Tenant.objects.get(pk=cast.tenant.pk).is_active


def test_saving_the_name_does_not_undo_a_suspension_that_came_between(cast):
    from tenants.serializers import TenantSerializer

    with system_scope():
        stale = Tenant.objects.get(pk=cast.tenant.pk)
        cast.tenant.suspend()
        TenantSerializer().update(stale, {"name": "New"})
        assert not Tenant.objects.get(pk=cast.tenant.pk).is_active


def test_a_suspended_tenant_is_refused_with_the_reason(api, browser, cast):
    key, person = api(), browser(cast.owner)
    with system_scope():
        cast.tenant.suspend()
    for client in (key, person):
        answer = client.get(URL)
        assert answer.status_code == 403
        assert "suspended" in answer.json()["detail"]
    page = person.get("/members/")
    assert page.status_code == 403
    assert "Acme is suspended" in page.content.decode()
