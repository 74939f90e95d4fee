"""Whoever is being removed, and asks for a way back in at that moment, gets none."""

import pytest

from tenants.models import ApiKey, Invitation, Membership
from tenants.permissions import Role
from tenants.scope import system_scope
from tests.meanwhile import meanwhile

pytestmark = pytest.mark.django_db(transaction=True)
WAYS = {
    "api-keys": {"name": "back door", "role": "admin"},
    "invitations": {"email": "friend@example.com", "role": "admin"},
}


def lose(cast, verb):
    def act():
        cast.tenant.lock_members()
        verb(Membership.objects.get(tenant=cast.tenant, user=cast.admin))

    return act


@pytest.mark.parametrize("verb", [Membership.end, lambda held: held.change_role(Role.VIEWER)], ids=["end", "demote"])
@pytest.mark.parametrize("way", WAYS)
def test_no_way_back_in(browser, cast, way, verb):
    client = browser(cast.admin)
    answer = meanwhile(
        cast.tenant.pk,
        lose(cast, verb),
        lambda: client.post(f"/api/v1/{way}/", WAYS[way], content_type="application/json"),
    )
    assert answer.status_code == 403
    with system_scope():
        assert not ApiKey.objects.live().filter(name="back door").exists()
        assert not Invitation.objects.open().filter(email="friend@example.com").exists()


def test_no_accomplice_either(browser, cast):
    client = browser(cast.admin)
    with system_scope():
        accomplice = Membership.objects.get(tenant=cast.tenant, user=cast.viewer)
    answer = meanwhile(
        cast.tenant.pk,
        lose(cast, Membership.end),
        lambda: client.patch(f"/api/v1/members/{accomplice.pk}/", {"role": "admin"}, content_type="application/json"),
    )
    assert answer.status_code == 403
    with system_scope():
        assert Membership.objects.get(pk=accomplice.pk).role == Role.VIEWER


def test_a_key_that_is_revoked_makes_no_other(api, cast):
    client = api("admin")
    answer = meanwhile(
        cast.tenant.pk,
        lambda: (cast.tenant.lock_members(), ApiKey.objects.filter(name="admin key").revoke()),
        lambda: client.post("/api/v1/api-keys/", WAYS["api-keys"]),
    )
    assert answer.status_code == 403
