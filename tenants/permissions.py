"""Roles and what each may do. `docs/roles.md` is this table for people; a test holds the two together."""

from enum import StrEnum

from django.db import models
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.permissions import SAFE_METHODS, BasePermission


class Role(models.TextChoices):
    OWNER = "owner", "Owner"
    ADMIN = "admin", "Admin"
    MEMBER = "member", "Member"
    VIEWER = "viewer", "Viewer"


class Permission(StrEnum):
    READ = "read"  # see sources, events, subscriptions, deliveries
    OPERATE = "operate"  # publish an event, send a test, challenge, resend, replay, cancel, poll
    CONFIGURE = "configure"  # create, edit, rotate, pause, delete sources, subscriptions and sites
    MANAGE_KEYS = "manage_keys"  # API keys
    MANAGE_MEMBERS = "manage_members"  # invite, change roles, remove
    READ_AUDIT = "read_audit"  # the audit log
    MANAGE_TENANT = "manage_tenant"  # the tenant's name and retention; who is an owner


_MEMBER = {Permission.READ, Permission.OPERATE}
_ADMIN = _MEMBER | {
    Permission.CONFIGURE,
    Permission.MANAGE_KEYS,
    Permission.MANAGE_MEMBERS,
    Permission.READ_AUDIT,
}
GRANTS: dict[str, frozenset[Permission]] = {
    Role.VIEWER: frozenset({Permission.READ}),
    Role.MEMBER: frozenset(_MEMBER),
    Role.ADMIN: frozenset(_ADMIN),
    Role.OWNER: frozenset(Permission),
}
RANK = {Role.VIEWER: 0, Role.MEMBER: 1, Role.ADMIN: 2, Role.OWNER: 3}


def roles_above(role: str) -> list[str]:
    return [other for other, rank in RANK.items() if rank > RANK[Role(role)]]


def outranks_or_equals(role: str, other: str) -> bool:
    """May somebody with `role` give or take `other`? Nobody hands out more than they hold."""
    return RANK[Role(role)] >= RANK[Role(other)]


WEBHOOKS_OFF = "Webhooks are switched off for this workspace. Whoever runs this portal can switch them on."


class IsOperator(BasePermission):
    """Staff with a session. An API key never gets here, whatever its role and whoever made it.

    To everybody else an object here is another tenant's, and so 404.
    """

    message = "Only operators may do this."

    def has_permission(self, request, view) -> bool:
        actor = getattr(request, "actor", None)
        if actor is None:
            return False
        allowed = actor.kind == "user" and actor.user.is_staff and not actor.user.must_change_password
        if not allowed and getattr(view, "detail", False):
            raise NotFound
        if actor.kind == "api_key":  # else DRF asks for the credentials that it was given
            raise PermissionDenied("No API key may do this: operators sign in to the portal.")
        return allowed


class HasTenantPermission(BasePermission):
    """Allows what the view's `permissions` map asks for, by action; READ for safe methods.

    An action that writes and is not in the map is refused: access is denied by default. What is part of webhooks
    (`of_webhooks`) is refused where an operator has switched them off (S1).
    """

    def has_permission(self, request, view) -> bool:
        needed = getattr(view, "permissions", {}).get(getattr(view, "action", None) or request.method.lower())
        if needed is None and request.method in SAFE_METHODS:
            needed = Permission.READ
        actor = getattr(request, "actor", None)
        if actor is None:
            return False
        self.message = actor.obstacle or f"The role {actor.role} does not allow this."
        if getattr(view, "of_webhooks", False) and not actor.obstacle and not actor.tenant.webhooks:
            self.message = WEBHOOKS_OFF
            return False
        return needed is not None and actor.can(needed)
