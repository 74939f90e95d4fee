"""Who is acting in a request, for which tenant, with which role."""

from dataclasses import dataclass
from uuid import UUID

from tenants.models import ApiKey, Membership, Tenant, User
from tenants.permissions import GRANTS, Permission, outranks_or_equals
from tenants.scope import system_scope

SESSION_TENANT = "tenant"


@dataclass(frozen=True)
class Actor:
    """`kind` is user, api_key, receiver or system; `label` is what the audit log shows."""

    kind: str
    label: str
    identifier: UUID | None = None
    tenant: Tenant | None = None
    role: str | None = None
    address: str = ""
    user: User | None = None
    api_key: ApiKey | None = None

    @property
    def obstacle(self) -> str:
        """Why this actor may do nothing at all, whatever the role; empty if nothing stands in the way."""
        if self.user is not None and self.user.must_change_password:
            return "Change the one-time password first."
        if self.tenant is None or self.role is None:
            return "You do not belong to a tenant."
        if not self.tenant.is_active:
            return "This tenant is suspended."
        return ""

    def can(self, permission: Permission) -> bool:
        return not self.obstacle and permission in GRANTS[self.role]

    def may_hand_out(self, role: str) -> bool:
        """May this actor give or take `role`? Nobody hands out more than they hold."""
        return self.role is not None and outranks_or_equals(self.role, role)

    def still_holds_role(self) -> bool:
        """Whether nobody has taken this role away since the request began. Call `tenant.lock_members()` first."""
        if self.user is not None:
            return Membership.objects.filter(tenant=self.tenant, user=self.user, role=self.role).exists()
        return self.api_key is not None and ApiKey.objects.live().filter(pk=self.api_key.pk).exists()

    @property
    def answerable(self) -> User | None:
        """The person behind the act: themselves, or whoever made the API key. What a key makes is theirs too."""
        return self.user or (self.api_key.created_by if self.api_key else None)

    @property
    def permissions(self) -> frozenset[Permission]:
        return frozenset(p for p in Permission if self.can(p))


def system_actor(label: str, tenant: Tenant | None = None) -> Actor:
    """The portal itself: management commands, workers, clean-ups."""
    return Actor(kind="system", label=label, tenant=tenant)


def actor_for_token(token: str, address: str) -> Actor | None:
    """The actor behind an API key, or None if the key is malformed, unknown, expired or revoked."""
    if not ApiKey.well_formed(token):
        return None
    with system_scope():
        key = ApiKey.objects.live().by_token(token).select_related("tenant", "created_by").first()
        if key is None:
            return None
        key.touch()
    return Actor(
        kind="api_key",
        label=f"{key.name} (key …{key.last_four})",
        identifier=key.pk,
        tenant=key.tenant,
        role=key.role,
        address=address,
        api_key=key,
    )


def actor_for_user(
    user: User, chosen_tenant: str | None, address: str, page_tenant: str | None = None
) -> tuple[Actor, list[Membership]]:
    """The actor of a signed-in person and all their memberships, by tenant name.

    The tenant is the one that the asking page was drawn for, else the one chosen in the header, else the first.
    Without any membership the actor has none, and a page of a tenant that they have left acts for none either:
    what was meant for one tenant must not happen in another.
    """
    with system_scope():
        memberships = sorted(
            Membership.objects.filter(user=user).select_related("tenant"), key=lambda m: m.tenant.name.casefold()
        )
    wanted = page_tenant or chosen_tenant
    membership = next((m for m in memberships if str(m.tenant_id) == wanted), None)
    if membership is None and not page_tenant:
        membership = next(iter(memberships), None)
    return (
        Actor(
            kind="user",
            label=user.email,
            identifier=user.pk,
            tenant=membership.tenant if membership else None,
            role=membership.role if membership else None,
            address=address,
            user=user,
        ),
        memberships,
    )
