"""Who may change who is in: nobody gives or takes more than they hold, and a tenant keeps an owner."""

import threading

import pytest
from django.db import connection

from tenants.models import ApiKey, AuditEntry, Invitation, Membership, User
from tenants.permissions import Role
from tenants.scope import system_scope, tenant_scope

URL = "/api/v1/members/"


def membership_of(user: User, tenant) -> Membership:
    with system_scope():
        return Membership.objects.get(user=user, tenant=tenant)


@pytest.fixture
def member_url(cast):
    return lambda user: f"{URL}{membership_of(user, cast.tenant).pk}/"


def role_of(user, tenant) -> str:
    return membership_of(user, tenant).role


def test_everybody_sees_the_members_of_their_own_tenant_only(api, cast):
    emails = {row["user"]["email"] for row in api(Role.VIEWER).get(URL).json()["results"]}
    assert emails == {f"{role}@acme.example" for role in Role.values}


def test_an_admin_changes_a_role_and_it_is_audited(api, cast, member_url):
    answer = api(Role.ADMIN).patch(member_url(cast.viewer), {"role": "member"})
    assert answer.status_code == 200, answer.json()
    assert role_of(cast.viewer, cast.tenant) == "member"
    with tenant_scope(cast.tenant.pk):
        entry = AuditEntry.objects.get(action="member.role_changed")
    assert entry.change == {"role": ["viewer", "member"]}
    assert entry.actor_kind == "api_key"


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER])
def test_a_lesser_role_changes_nobody(api, cast, member_url, role):
    assert api(role).patch(member_url(cast.viewer), {"role": "viewer"}).status_code == 403
    assert api(role).delete(member_url(cast.viewer)).status_code == 403


def test_an_admin_cannot_make_an_owner(api, cast, member_url):
    answer = api(Role.ADMIN).patch(member_url(cast.member), {"role": "owner"})
    assert answer.status_code == 403
    assert role_of(cast.member, cast.tenant) == "member"


def test_an_admin_cannot_demote_or_remove_an_owner(api, cast, member_url):
    admin = api(Role.ADMIN)
    assert admin.patch(member_url(cast.owner), {"role": "viewer"}).status_code == 403
    assert admin.delete(member_url(cast.owner)).status_code == 403
    assert role_of(cast.owner, cast.tenant) == "owner"


def test_an_unknown_role_names_the_field(api, cast, member_url):
    answer = api().patch(member_url(cast.viewer), {"role": "king"})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "role"


def test_the_last_owner_cannot_be_demoted(api, cast, member_url):
    answer = api().patch(member_url(cast.owner), {"role": "admin"})
    assert answer.status_code == 409
    assert role_of(cast.owner, cast.tenant) == "owner"


def test_the_last_owner_cannot_leave(browser, cast, member_url):
    assert browser(cast.owner).delete(member_url(cast.owner)).status_code == 409


def test_an_owner_who_cannot_sign_in_does_not_count(api, cast, member_url):
    with system_scope():
        retired = User.objects.create_user("retired@acme.example", None, is_active=False)
        Membership.objects.create(tenant=cast.tenant, user=retired, role=Role.OWNER)
    assert api().patch(member_url(cast.owner), {"role": "admin"}).status_code == 409


def test_one_of_two_owners_may_go(browser, api, cast, member_url):
    assert api().patch(member_url(cast.admin), {"role": "owner"}).status_code == 200
    assert browser(cast.owner).delete(member_url(cast.owner)).status_code == 204


def test_a_viewer_may_leave_but_remove_nobody_else(browser, cast, member_url):
    viewer = browser(cast.viewer)
    url = member_url(cast.viewer)
    assert viewer.delete(member_url(cast.member)).status_code == 403
    assert viewer.delete(url).status_code == 204
    with tenant_scope(cast.tenant.pk):
        assert AuditEntry.objects.get(action="member.left").object_label == "viewer@acme.example (viewer)"


def test_access_is_gone_at_the_next_request(browser, api, cast, member_url):
    member = browser(cast.member)
    assert member.get(URL).status_code == 200
    assert api().delete(member_url(cast.member)).status_code == 204
    assert member.get(URL).status_code == 403
    assert member.get("/members/").status_code == 404


def test_a_demotion_is_felt_at_the_next_request(browser, api, cast, member_url):
    admin = browser(cast.admin)
    assert admin.get("/api/v1/api-keys/").status_code == 200
    api().patch(member_url(cast.admin), {"role": "viewer"})
    assert admin.get("/api/v1/api-keys/").status_code == 403


@pytest.fixture
def keys_of_admin(cast):
    """One key of each rank, made by the admin."""
    with tenant_scope(cast.tenant.pk):
        return {
            role: ApiKey.issue(tenant=cast.tenant, name=role, role=role, created_by=cast.admin)[0]
            for role in (Role.ADMIN, Role.VIEWER)
        }


def states(keys) -> dict:
    with system_scope():
        return {role: ApiKey.objects.get(pk=key.pk).state for role, key in keys.items()}


def test_removing_a_person_revokes_the_keys_they_made(api, cast, member_url, keys_of_admin):
    api().delete(member_url(cast.admin))
    assert states(keys_of_admin) == {"admin": "revoked", "viewer": "revoked"}
    with tenant_scope(cast.tenant.pk):
        assert AuditEntry.objects.get(action="member.removed").change == {"api_keys_revoked": 2}


def test_a_colleague_may_keep_them(api, cast, member_url, keys_of_admin):
    api().delete(member_url(cast.admin) + "?keep_api_keys=true")
    assert states(keys_of_admin) == {"admin": "live", "viewer": "live"}


def test_who_leaves_cannot_keep_their_own_keys(browser, cast, member_url, keys_of_admin):
    answer = browser(cast.admin).delete(member_url(cast.admin) + "?keep_api_keys=true")
    assert answer.status_code == 403
    assert browser(cast.admin).delete(member_url(cast.admin)).status_code == 204
    assert states(keys_of_admin)["admin"] == "revoked"


def test_a_demotion_revokes_the_keys_that_can_do_more(api, cast, member_url, keys_of_admin):
    api().patch(member_url(cast.admin), {"role": "member"})
    assert states(keys_of_admin) == {"admin": "revoked", "viewer": "live"}


def test_removing_a_person_takes_back_their_open_invitations(api, cast, member_url):
    with tenant_scope(cast.tenant.pk):
        invitation, _ = Invitation.issue(
            tenant=cast.tenant, email="new@acme.example", role="viewer", invited_by=cast.admin
        )
    api().delete(member_url(cast.admin))
    with tenant_scope(cast.tenant.pk):
        assert Invitation.objects.get(pk=invitation.pk).state == "revoked"


def test_another_tenants_member_is_404(stranger_api, cast, member_url):
    url = member_url(cast.viewer)
    assert stranger_api.get(url).status_code == 404
    assert stranger_api.patch(url, {"role": "owner"}).status_code == 404
    assert stranger_api.delete(url).status_code == 404


@pytest.mark.django_db(transaction=True)
def test_two_owners_who_demote_each_other_leave_one(browser, api, cast, member_url):
    assert api().patch(member_url(cast.admin), {"role": "owner"}).status_code == 200
    clients = {cast.owner.pk: browser(cast.owner), cast.admin.pk: browser(cast.admin)}
    urls = {cast.owner.pk: member_url(cast.admin), cast.admin.pk: member_url(cast.owner)}
    start, answers = threading.Barrier(2), []

    def demote(user):
        try:
            start.wait()
            answers.append(
                clients[user].patch(urls[user], {"role": "viewer"}, content_type="application/json").status_code
            )
        finally:
            connection.close()

    threads = [threading.Thread(target=demote, args=(user,)) for user in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with system_scope():
        owners = Membership.objects.filter(tenant=cast.tenant, role=Role.OWNER).count()
    assert owners == 1, answers
