"""Inviting: the link appears once, the mail goes out after the commit, nobody hands out more than they hold."""

import re

import pytest
from django.core import mail

from tenants.models import AuditEntry, Invitation
from tenants.permissions import Role
from tenants.scope import tenant_scope

URL = "/api/v1/invitations/"
BODY = {"email": "New@Acme.example", "role": "member"}


@pytest.fixture
def invited(api, django_capture_on_commit_callbacks):
    def invite(by=Role.ADMIN, **changes) -> dict:
        with django_capture_on_commit_callbacks(execute=True):
            answer = api(by).post(URL, BODY | changes)
        assert answer.status_code == 201, answer.json()
        return answer.json()

    return invite


def test_the_link_appears_once(api, invited):
    created = invited()
    assert "/invitations/" in created["url"]
    read = api(Role.ADMIN).get(f"{URL}{created['id']}/").json()
    token = created["url"].rstrip("/").rsplit("/", 1)[-1]
    assert "url" not in read
    assert token not in str(read) + str(api(Role.ADMIN).get(URL).json())


def test_the_token_is_nowhere_in_the_database_or_the_audit_log(cast, invited):
    token = invited()["url"].rstrip("/").rsplit("/", 1)[-1]
    with tenant_scope(cast.tenant.pk):
        row = str(Invitation.objects.values().get()) + str(list(AuditEntry.objects.values()))
    assert token not in row


def test_it_is_mailed(invited):
    created = invited()
    (message,) = mail.outbox
    assert message.to == ["new@acme.example"]
    assert created["url"] in message.body


def test_nothing_is_mailed_when_it_was_refused(api, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        assert api(Role.ADMIN).post(URL, BODY | {"role": "owner"}).status_code == 403
    assert mail.outbox == []


def test_a_tenants_name_cannot_add_headers_to_the_mail(cast, invited):
    with tenant_scope(cast.tenant.pk):
        cast.tenant.name = "Acme\nBcc: all@example.com"
        cast.tenant.save()
    invited()
    assert re.fullmatch("[^\r\n]+", mail.outbox[0].subject)
    assert mail.outbox[0].recipients() == ["new@acme.example"]


def test_a_failing_mail_server_does_not_undo_the_invitation(settings, cast, invited):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1  # nobody listens there
    assert invited()["state"] == "open"


@pytest.mark.parametrize("role", [Role.MEMBER, Role.VIEWER])
def test_a_lesser_role_neither_invites_nor_sees(api, role):
    assert api(role).post(URL, BODY).status_code == 403
    assert api(role).get(URL).status_code == 403


def test_an_admin_cannot_invite_an_owner(api):
    answer = api(Role.ADMIN).post(URL, BODY | {"role": "owner"})
    assert answer.status_code == 403
    assert "owner" in answer.json()["detail"]


def test_a_member_is_not_invited_again(api):
    answer = api().post(URL, {"email": "VIEWER@acme.example", "role": "admin"})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "email"


def test_a_second_invitation_ends_the_first(api, invited):
    first, second = invited(), invited()
    states = {row["id"]: row["state"] for row in api().get(URL).json()["results"]}
    assert states == {first["id"]: "revoked", second["id"]: "open"}


def test_an_admin_cannot_replace_an_owners_invitation(api, invited):
    invited(Role.OWNER, role="owner")
    assert api(Role.ADMIN).post(URL, BODY).status_code == 403


@pytest.mark.parametrize("verb", ["revoke", "delete"])
def test_a_revoked_one_cannot_be_revoked_again(api, invited, verb):
    url = f"{URL}{invited()['id']}/"
    client = api(Role.ADMIN)
    revoke = (lambda: client.post(f"{url}revoke/")) if verb == "revoke" else (lambda: client.delete(url))
    assert revoke().status_code in (200, 204)
    assert revoke().status_code == 409


def test_an_admin_cannot_revoke_an_owners_invitation(api, invited):
    url = f"{URL}{invited(Role.OWNER, role='owner')['id']}/revoke/"
    assert api(Role.ADMIN).post(url).status_code == 403


def test_a_strangers_view(stranger_api, invited):
    url = f"{URL}{invited()['id']}/"
    assert stranger_api.get(URL).json()["results"] == []
    assert stranger_api.get(url).status_code == 404
    assert stranger_api.post(f"{url}revoke/").status_code == 404
