"""One session, two tabs: what a page does happens in the tenant that it was drawn for."""

import pytest

from tenants.models import Membership, Site
from tenants.scope import system_scope, tenant_scope

SITE = {"name": "Hall"}


@pytest.fixture
def both(browser, cast):
    """The owner of one tenant, an admin of the other, who has switched to that one last."""
    with system_scope():
        Membership.objects.create(tenant=cast.other_tenant, user=cast.owner, role="admin")
    client = browser(cast.owner)
    client.post("/switch-tenant/", {"tenant": str(cast.other_tenant.pk)})
    return client


def post(client, tenant, path="/api/v1/sites/", body=SITE):
    headers = {"X-Portal-Tenant": str(tenant.pk)} if tenant else {}
    return client.post(path, body, content_type="application/json", headers=headers)


def sites(tenant):
    with tenant_scope(tenant.pk):
        return list(Site.objects.filter(tenant=tenant).values_list("name", flat=True))


def test_a_page_says_whose_it_is(both, cast):
    assert f'data-tenant="{cast.other_tenant.pk}"' in both.get("/settings/").text


def test_the_older_tab_acts_for_its_own_tenant(both, cast):
    assert post(both, cast.tenant).status_code == 201
    assert (sites(cast.tenant), sites(cast.other_tenant)) == (["Hall"], [])


def test_the_newer_tab_acts_for_the_chosen_one(both, cast):
    assert post(both, cast.other_tenant).status_code == 201
    assert (sites(cast.tenant), sites(cast.other_tenant)) == ([], ["Hall"])


def test_the_role_is_the_one_held_there(both, cast):
    headers = {"X-Portal-Tenant": str(cast.other_tenant.pk)}
    answer = both.patch("/api/v1/tenant/", {"name": "Mine"}, content_type="application/json", headers=headers)
    assert answer.status_code == 403


def test_a_page_of_a_tenant_that_was_left_does_nothing_elsewhere(both, cast):
    with system_scope():
        Membership.objects.filter(tenant=cast.tenant, user=cast.owner).delete()
    assert post(both, cast.tenant).status_code == 403
    assert (sites(cast.tenant), sites(cast.other_tenant)) == ([], [])


def test_a_stranger_gains_nothing_by_naming_a_tenant(browser, cast):
    client = browser(cast.stranger)
    assert post(client, cast.tenant).status_code == 403
    page = client.get("/sources/", headers={"X-Portal-Tenant": str(cast.tenant.pk)})
    assert page.status_code == 404
    assert sites(cast.tenant) == []


def test_a_key_acts_for_its_own_tenant_whatever_is_named(api, cast):
    headers = {"X-Portal-Tenant": str(cast.other_tenant.pk)}
    assert api().post("/api/v1/sites/", SITE, headers=headers).status_code == 201
    assert sites(cast.other_tenant) == []
