"""`docs/roles.md` says what `tenants/permissions.py` does."""

import re
from pathlib import Path

import pytest
from rest_framework.test import APIRequestFactory

from tenants.actors import Actor
from tenants.models import Tenant, User
from tenants.permissions import GRANTS, HasTenantPermission, Permission, Role

PAGE = Path(__file__).parents[2] / "docs" / "roles.md"


def table() -> dict[str, set[str]]:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    roles = [cell.strip().lower() for cell in lines[0].strip("|").split("|")][1:]
    granted = {role: set() for role in roles}
    for line in lines[2:]:
        name, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        permission = re.match(r"`(\w+)`", name).group(1)
        for role, cell in zip(roles, cells, strict=True):
            assert cell in ("yes", "")
            if cell == "yes":
                granted[role].add(permission)
    return granted


def test_the_documented_table_is_the_one_in_force():
    assert table() == {str(role): {str(p) for p in granted} for role, granted in GRANTS.items()}


def test_every_permission_is_documented():
    assert set().union(*table().values()) == {str(permission) for permission in Permission}


def test_each_role_holds_what_the_one_below_holds():
    ranked = [GRANTS[role] for role in (Role.VIEWER, Role.MEMBER, Role.ADMIN, Role.OWNER)]
    assert all(lower < higher for lower, higher in zip(ranked, ranked[1:], strict=False))


class View:
    permissions = {"create": Permission.CONFIGURE}
    action = None


@pytest.mark.parametrize(
    ("role", "method", "action", "allowed"),
    [
        (Role.OWNER, "post", "create", True),
        (Role.VIEWER, "post", "create", False),
        (Role.VIEWER, "get", "list", True),
        (Role.OWNER, "post", "explode", False),
        (Role.OWNER, "delete", None, False),
    ],
)
def test_what_writes_and_is_not_in_the_map_is_refused(role, method, action, allowed):
    view = View()
    view.action = action
    request = getattr(APIRequestFactory(), method)("/")
    request.actor = Actor("user", "x", tenant=Tenant(name="t"), role=role, user=User())
    assert HasTenantPermission().has_permission(request, view) is allowed


def test_a_suspended_tenant_or_a_one_time_password_leaves_nothing():
    tenant = Tenant(name="t")
    assert (
        Actor("user", "x", tenant=tenant, role=Role.OWNER, user=User(must_change_password=True)).permissions
        == frozenset()
    )
    tenant.status = Tenant.Status.SUSPENDED
    assert Actor("api_key", "x", tenant=tenant, role=Role.OWNER).permissions == frozenset()
