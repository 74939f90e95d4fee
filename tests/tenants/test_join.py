"""Following an invitation's link: with an account, without one, as somebody else, too late."""

from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.test import Client
from django.utils import timezone

from tenants.models import AuditEntry, Invitation, Membership, User
from tenants.permissions import Role
from tenants.scope import system_scope, tenant_scope

NEW = {"name": "Nia Newcomer", "password": "a brass lantern"}


@pytest.fixture
def link(cast):
    def make(email="new@acme.example", role=Role.MEMBER) -> str:
        with tenant_scope(cast.tenant.pk):
            _, token = Invitation.issue(tenant=cast.tenant, email=email, role=role, invited_by=cast.owner)
        return f"/invitations/{token}/"

    return make


def test_the_page_shows_who_is_invited_where(link):
    page = Client().get(link()).content.decode()
    assert "new@acme.example" in page
    assert "Acme" in page


def test_a_new_person_joins_with_one_form_and_is_signed_in(cast, link):
    client = Client()
    answer = client.post(link(), NEW)
    assert answer.status_code == 302
    user = User.objects.get(email="new@acme.example")
    assert user.name == NEW["name"]
    assert user.check_password(NEW["password"])
    with tenant_scope(cast.tenant.pk):
        assert Membership.objects.get(user=user).role == "member"
    assert client.get("/members/").status_code == 200


def test_the_address_counts_as_verified(link):
    Client().post(link(), NEW)
    address = EmailAddress.objects.get(email="new@acme.example")
    assert address.verified
    assert address.primary


def test_joining_is_audited_in_the_tenant(cast, link):
    Client().post(link(), NEW)
    with tenant_scope(cast.tenant.pk):
        entry = AuditEntry.objects.get(action="invitation.accepted")
    assert entry.actor_label == "new@acme.example"


@pytest.mark.parametrize("password", ["short", "1234567890123", "password123", "new@acme.example"])
def test_a_weak_password_is_refused(link, password):
    page = Client().post(link(), NEW | {"password": password})
    assert page.status_code == 200
    assert not User.objects.filter(email="new@acme.example").exists()


def test_a_link_works_once(link):
    url = link()
    Client().post(url, NEW)
    assert Client().get(url).status_code == 410
    assert Client().post(url, NEW | {"name": "Second"}).status_code == 410
    assert not User.objects.filter(name="Second").exists()


def test_an_existing_person_is_sent_to_sign_in(cast, link):
    url = link("stranger@globex.example")
    page = Client().post(url, NEW)
    assert f"/accounts/login/?next={url}" in page.content.decode()
    cast.stranger.refresh_from_db()
    assert cast.stranger.check_password("correct horse battery")


def test_an_existing_person_joins_a_second_tenant(browser, cast, link):
    client = browser(cast.stranger)
    url = link("stranger@globex.example")
    assert "Join" in client.get(url).content.decode()
    assert client.post(url).status_code == 302
    assert client.get("/api/v1/tenant/").json()["name"] == "Acme"


def test_somebody_else_cannot_use_it(browser, cast, link):
    client = browser(cast.stranger)
    url = link("new@acme.example")
    assert "somebody else" in client.get(url).content.decode()
    client.post(url)
    with tenant_scope(cast.tenant.pk):
        assert not Membership.objects.filter(user=cast.stranger).exists()


def test_a_member_keeps_the_role_held(browser, cast, link):
    url = link("admin@acme.example", Role.VIEWER)
    browser(cast.admin).post(url)
    with tenant_scope(cast.tenant.pk):
        assert Membership.objects.get(user=cast.admin).role == "admin"


def test_an_unknown_token_is_404(cast):
    assert Client().get("/invitations/nonsense/").status_code == 404


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"revoked_at": timezone.now()}, "taken back"),
        ({"expires_at": timezone.now() - timedelta(seconds=1)}, "expired"),
    ],
)
def test_a_dead_link_says_so_and_does_nothing(cast, link, change, words):
    url = link()
    with tenant_scope(cast.tenant.pk):
        Invitation.objects.update(**change)
    page = Client().post(url, NEW)
    assert page.status_code == 410
    assert words in page.content.decode()
    assert not User.objects.filter(email="new@acme.example").exists()


def test_a_suspended_tenant_takes_nobody(cast, link):
    url = link()
    with system_scope():
        cast.tenant.suspend()
    assert Client().post(url, NEW).status_code == 410
