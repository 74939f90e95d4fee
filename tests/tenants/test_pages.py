"""The pages of tenancy, and the door that every page has."""

import pytest
from django.test import Client
from django.utils import timezone

from tenants.models import ApiKey, Invitation, Membership, Site, Tenant, User
from tenants.permissions import Role
from tenants.scope import system_scope, tenant_scope

PAGES = {
    "/members/": "viewer",
    "/members/invitations/": "admin",
    "/settings/": "viewer",
    "/api-keys/": "admin",
    "/audit/": "admin",
}
LISTS = ["/members/", "/members/invitations/", "/api-keys/", "/audit/", "/operators/tenants/"]


@pytest.mark.parametrize(("url", "least"), PAGES.items())
def test_who_may_open_which(browser, cast, url, least):
    ranked = ["viewer", "member", "admin", "owner"]
    for role in ranked:
        expected = 200 if ranked.index(role) >= ranked.index(least) else 403
        assert browser(getattr(cast, role)).get(url).status_code == expected, role


@pytest.mark.parametrize("url", PAGES)
def test_pages_only_read_and_are_not_cached(browser, cast, url):
    owner = browser(cast.owner)
    assert owner.post(url).status_code == 405
    assert "no-store" in owner.get(url)["Cache-Control"]


@pytest.mark.parametrize("url", ["/accounts/email/", "/accounts/password/change/", "/accounts/logout/"])
def test_pages_of_the_account_are_not_cached_either(browser, cast, url):
    assert browser(cast.owner).get(url)["Cache-Control"] == "no-store"


def test_who_is_not_signed_in_comes_back_after_signing_in(cast):
    answer = Client().get("/audit/?q=x")
    assert answer.url == "/accounts/login/?next=/audit/%3Fq%3Dx"


def test_a_fragment_asked_for_after_the_session_ended_leads_the_whole_page_to_sign_in(cast):
    answer = Client().get("/audit/", headers={"HX-Request": "true", "HX-Current-URL": "http://testserver/audit/?q=x"})
    assert answer["HX-Redirect"] == "/accounts/login/?next=/audit/%3Fq%3Dx"


def test_a_person_without_a_tenant_is_told_what_to_do(browser, cast):
    loner = User.objects.create_user("loner@example.com", "correct horse battery")
    answer = browser(loner).get("/members/")
    assert answer.status_code == 404
    assert "loner@example.com" in answer.content.decode()
    assert browser(loner).get("/api/v1/tenant/").status_code == 403


def test_a_viewer_is_offered_nothing_they_may_not_do(browser, cast):
    with tenant_scope(cast.tenant.pk):
        Site.objects.create(tenant=cast.tenant, name="North")
        Invitation.issue(tenant=cast.tenant, email="new@acme.example", role="viewer")
    viewer = browser(cast.viewer)
    members = viewer.get("/members/").content.decode()
    assert "new@acme.example" not in members
    assert "/members/invitations/" not in members
    assert "Invite" not in members
    assert members.count('data-method="DELETE"') == 1  # leaving
    settings = viewer.get("/settings/").content.decode()
    assert "North" in settings
    assert "data-api" not in settings


def test_an_admin_is_offered_no_owner_to_change(browser, cast):
    page = browser(cast.admin).get("/members/").content.decode()
    with system_scope():
        owner = Membership.objects.get(user=cast.owner).pk
    assert f"/api/v1/members/{owner}/" not in page
    assert page.count('value="owner"') == 1  # in the filter


def test_an_admin_is_offered_no_owners_key_to_revoke(browser, cast):
    with tenant_scope(cast.tenant.pk):
        key, _ = ApiKey.issue(tenant=cast.tenant, name="root", role=Role.OWNER)
    page = browser(cast.admin).get("/api-keys/").content.decode()
    assert "root" in page
    assert f"{key.pk}/revoke" not in page


def test_switching_the_tenant(browser, cast):
    with system_scope():
        Membership.objects.create(tenant=cast.other_tenant, user=cast.owner, role=Role.VIEWER)
    client = browser(cast.owner)
    assert client.get("/api/v1/tenant/").json()["name"] == "Acme"
    assert client.post("/switch-tenant/", {"tenant": cast.other_tenant.pk}).status_code == 302
    assert client.get("/api/v1/tenant/").json()["name"] == "Globex"
    assert client.get("/audit/").status_code == 403  # the role there counts


def test_a_tenant_that_one_was_removed_from_is_left(browser, cast):
    with system_scope():
        Membership.objects.create(tenant=cast.other_tenant, user=cast.owner, role=Role.VIEWER)
    client = browser(cast.owner)
    client.post("/switch-tenant/", {"tenant": cast.other_tenant.pk})
    with system_scope():
        Membership.objects.filter(tenant=cast.other_tenant, user=cast.owner).delete()
    assert client.get("/api/v1/tenant/").json()["name"] == "Acme"


def test_switching_needs_post_and_the_csrf_token(browser, cast):
    assert browser(cast.owner).get("/switch-tenant/").status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(cast.owner)
    assert strict.post("/switch-tenant/", {"tenant": cast.tenant.pk}).status_code == 403


@pytest.mark.parametrize("url", PAGES)
def test_user_text_is_escaped(browser, cast, url):
    evil = "<script>alert(1)</script>"
    with tenant_scope(cast.tenant.pk):
        cast.tenant.name = evil
        cast.tenant.save()
        cast.owner.name = evil
        cast.owner.save()
        Site.objects.create(tenant=cast.tenant, name=evil, slug="x")
        ApiKey.issue(tenant=cast.tenant, name=evil, role="viewer", created_by=cast.owner)
    assert "<script>alert" not in browser(cast.owner).get(url).content.decode()


def issue_keys(tenant, *names):
    with tenant_scope(tenant.pk):
        for name in names:
            ApiKey.issue(tenant=tenant, name=name, role="viewer")


def test_api_keys_are_found_by_name_and_state(browser, cast):
    issue_keys(cast.tenant, "billing", "shipping")
    with tenant_scope(cast.tenant.pk):
        ApiKey.objects.filter(name="shipping").revoke()
    owner = browser(cast.owner)
    for query, shown in {"?q=bill": "billing", "?live=false": "shipping", "?live=true": "billing"}.items():
        page = owner.get(f"/api-keys/{query}").text
        assert [name for name in ("billing", "shipping") if name in page] == [shown], query
    assert "No API key fits" in owner.get("/api-keys/?q=nothing").text


def test_api_keys_come_in_pages(browser, cast):
    issue_keys(cast.tenant, *(f"key-{number:03}" for number in range(51)))
    first = browser(cast.owner).get("/api-keys/")
    assert "key-050" in first.text
    assert "key-000" not in first.text
    assert "key-000" in browser(cast.owner).get(first.context["page"].older).text


def test_tenants_come_in_pages(browser, cast):
    with system_scope():
        for number in range(51):
            Tenant.objects.create(name=f"tenant-{number:03}")
    first = browser(cast.operator).get("/operators/tenants/")
    assert "tenant-050" in first.text
    assert "tenant-000" not in first.text
    assert "tenant-000" in browser(cast.operator).get(first.context["page"].older).text


def add_members(tenant, *names):
    with system_scope():
        for name in names:
            person = User.objects.create_user(f"{name.lower()}@staff.example", name=f"{name} Smith")
            Membership.objects.create(tenant=tenant, user=person, role=Role.VIEWER)


def test_members_are_found_by_name_address_and_role(browser, cast):
    add_members(cast.tenant, "Ada", "Grace")
    owner = browser(cast.owner)
    for query, found in {
        "?q=ada+smith": ["ada@staff.example"],
        "?q=GRACE@": ["grace@staff.example"],
        "?q=smith": ["grace@staff.example", "ada@staff.example"],
        "?role=admin": ["admin@acme.example"],
    }.items():
        rows = owner.get(f"/members/{query}").context["page"].rows
        assert [row.user.email for row in rows] == found, query
    assert "Clear the filters" in owner.get("/members/?q=nobody").text


def test_members_come_in_pages(browser, cast):
    add_members(cast.tenant, *(f"person{number:02}" for number in range(51)))
    first = browser(cast.owner).get("/members/")
    assert "person50@" in first.text
    assert "owner@acme.example" not in first.text.partition('id="results"')[2]
    older = browser(cast.owner).get(first.context["page"].older)
    assert [row.user.email for row in older.context["page"].rows][-1] == "owner@acme.example"


def test_a_member_is_told_how_many_keys_go_with_them(browser, cast):
    with tenant_scope(cast.tenant.pk):
        for name in ("one", "two", "ended"):
            ApiKey.issue(tenant=cast.tenant, name=name, role="viewer", created_by=cast.member)
        ApiKey.objects.filter(name="ended").revoke()
    assert "2 API keys made by this person" in browser(cast.owner).get("/members/").text


@pytest.fixture
def invitations(cast):
    """One in each state, named for it."""
    with tenant_scope(cast.tenant.pk):
        for state in Invitation.State.values:
            Invitation.issue(tenant=cast.tenant, email=f"{state}@new.example", role=Role.MEMBER)
        now = timezone.now()
        named = Invitation.objects
        named.filter(email="expired@new.example").update(expires_at=now)
        named.filter(email="accepted@new.example").update(accepted_at=now)
        named.filter(email="revoked@new.example").update(revoked_at=now)


@pytest.mark.parametrize("state", Invitation.State.values)
def test_invitations_that_ended_are_shown_only_when_asked_for(browser, api, cast, invitations, state):
    owner = browser(cast.owner)
    page = owner.get("/members/invitations/", {"state": state})
    assert [row.email for row in page.context["page"].rows] == [f"{state}@new.example"]
    assert ("/revoke/" in page.text) == (state in {"open", "expired"})
    listed = api().get("/api/v1/invitations/", {"state": state}).json()["results"]
    assert [(one["email"], one["state"]) for one in listed] == [(f"{state}@new.example", state)]


@pytest.mark.parametrize("query", ["", "?state=", "?state=nonsense"])
def test_open_invitations_are_what_the_page_shows_first(browser, cast, invitations, query):
    rows = browser(cast.owner).get(f"/members/invitations/{query}").context["page"].rows
    assert [row.email for row in rows] == ["open@new.example"]


def test_the_members_page_says_how_many_invitations_are_open(browser, cast, invitations):
    assert [tab["count"] for tab in browser(cast.owner).get("/members/").context["tabs"]] == [None, 1]


def test_invitations_are_found_by_address_and_role(browser, cast, invitations):
    owner = browser(cast.owner)
    for query, count in {"?q=OPEN@": 1, "?q=elsewhere": 0, "?role=member": 1, "?role=owner": 0}.items():
        assert len(owner.get(f"/members/invitations/{query}").context["page"].rows) == count, query
    assert "Clear the filters" in owner.get("/members/invitations/?q=elsewhere").text


@pytest.mark.parametrize("url", LISTS)
def test_a_list_has_search_and_a_live_mode_and_answers_htmx_with_its_table(browser, cast, url):
    cast.owner.is_staff = True
    cast.owner.save()
    owner = browser(cast.owner)
    page = owner.get(url).text
    assert 'type="search" name="q"' in page
    assert 'data-live="#results"' in page
    part = owner.get(url, headers={"HX-Request": "true"}).text
    assert "<html" not in part
    assert part.strip() in page
    assert "Clear the filters" in owner.get(url, {"q": "nothing is named so"}).text


def test_a_filter_chosen_in_the_audit_log_survives_the_next_one(browser, cast):
    page = browser(cast.owner).get("/audit/?action=source.created").text
    assert '<input type="hidden" name="action" value="source.created">' in page
