"""The endpoints of tenancy: members, invitations, API keys, sites, the tenant itself, the audit log."""

from django.db import IntegrityError, transaction
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied
from rest_framework.response import Response

from tenants import invitations
from tenants.filters import ApiKeyFilter, AuditFilter, InvitationFilter, MemberFilter
from tenants.models import ApiKey, AuditEntry, Invitation, LastOwner, Membership, Site, Tenant
from tenants.permissions import Permission
from tenants.problems import Conflict
from tenants.serializers import (
    ApiKeySerializer,
    AuditEntrySerializer,
    InvitationSerializer,
    IssuedApiKeySerializer,
    IssuedInvitationSerializer,
    MemberRoleSerializer,
    MemberSerializer,
    SiteSerializer,
    TenantSerializer,
)
from tenants.viewsets import TenantViewSet, changes

LAST_OWNER = "A tenant keeps at least one owner: make somebody else an owner first."
KEEP_API_KEYS = OpenApiParameter(
    "keep_api_keys",
    bool,
    description="Keep the API keys that the person made; else they are revoked with the membership.",
)


class HandsOutAccess(TenantViewSet):
    """What gives somebody a way in, or takes it."""

    def one_at_a_time(self) -> None:
        """Wait for whoever is changing who may do what here. Raises PermissionDenied if that was the actor's role.

        Else somebody who is being removed, and asks for keys or invitations all the while, would keep one.
        """
        self.tenant.lock_members()
        if not self.actor.still_holds_role():
            raise PermissionDenied("Your role was changed a moment ago.")


class MemberViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, HandsOutAccess):
    """Who belongs to the tenant, with which role. New people come by invitation."""

    model = Membership
    serializer_class = MemberSerializer
    filterset_class = MemberFilter
    # Anybody may leave; that is looked at in destroy.
    permissions = {"partial_update": Permission.MANAGE_MEMBERS, "destroy": Permission.READ}

    def get_queryset(self):
        return super().get_queryset().select_related("user")

    @extend_schema(request=MemberRoleSerializer, responses=MemberSerializer)
    def partial_update(self, request, *args, **kwargs):
        """Change the role. 403 beyond one's own role, 409 for the last owner."""
        membership = self._locked()
        wanted = MemberRoleSerializer(data=request.data, context=self.get_serializer_context())
        wanted.is_valid(raise_exception=True)
        self._refuse_above(membership)
        change = changes(membership, {"role": wanted.validated_data["role"]})
        if change:
            try:
                revoked = membership.change_role(**wanted.validated_data)
            except LastOwner:
                raise Conflict(LAST_OWNER) from None
            self.audit("member.role_changed", membership, change | _revoked(revoked))
        return Response(self.get_serializer(membership).data)

    @extend_schema(parameters=[KEEP_API_KEYS])
    def destroy(self, request, *args, **kwargs):
        """Remove somebody, or leave. API keys that the person made are revoked unless a colleague keeps them."""
        membership = self._locked()
        leaves = membership.user_id == getattr(self.actor.user, "pk", None)
        keep = request.query_params.get("keep_api_keys", "").lower() in {"1", "true", "yes"}
        if not leaves:
            if not self.actor.can(Permission.MANAGE_MEMBERS):
                raise PermissionDenied(f"The role {self.actor.role} does not allow this.")
            self._refuse_above(membership)
        elif keep:
            raise PermissionDenied("Who leaves cannot keep their own API keys: ask a colleague to remove you.")
        try:
            revoked = membership.end(keep_api_keys=keep)
        except LastOwner:
            raise Conflict(LAST_OWNER) from None
        self.audit("member.left" if leaves else "member.removed", membership, _revoked(revoked))
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _locked(self) -> Membership:
        """As it is once nobody else can change it: a check made before the lock may be stale."""
        self.one_at_a_time()
        return self.get_object()

    def _refuse_above(self, membership: Membership) -> None:
        if not self.actor.may_hand_out(membership.role):
            raise PermissionDenied(f"The role {self.actor.role} cannot change who is {membership.role}.")


def _revoked(count: int) -> dict:
    return {"api_keys_revoked": count} if count else {}


class InvitationViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, HandsOutAccess):
    """Links by which people join. The answer of creating one holds the link, `url`, for the only time."""

    model = Invitation
    serializer_class = InvitationSerializer
    filterset_class = InvitationFilter
    permissions = dict.fromkeys(("list", "retrieve", "create", "destroy", "revoke"), Permission.MANAGE_MEMBERS)

    def get_queryset(self):
        return super().get_queryset().select_related("invited_by")

    @extend_schema(request=InvitationSerializer, responses={201: IssuedInvitationSerializer})
    def create(self, request, *args, **kwargs):
        """Invite by email. An open invitation to the same address ends; its link works no more."""
        wanted = self.get_serializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        self.one_at_a_time()
        for earlier in Invitation.objects.open().filter(tenant=self.tenant, email=wanted.validated_data["email"]):
            self._refuse_above(earlier)
        invitation, token = Invitation.issue(
            tenant=self.tenant, invited_by=self.actor.answerable, **wanted.validated_data
        )
        invitation.url = invitations.link(token)
        invitations.send_on_commit(invitation, invitation.url)
        self.audit("invitation.created", invitation)
        answer = IssuedInvitationSerializer(invitation, context=self.get_serializer_context())
        return Response(answer.data, status=status.HTTP_201_CREATED)

    @extend_schema(request=None, responses=InvitationSerializer)
    @action(detail=True, methods=["post"])
    def revoke(self, request, *args, **kwargs):
        """Take it back: the link works no more. 409 if it was accepted or revoked already."""
        return Response(self.get_serializer(self._revoke()).data)

    def destroy(self, request, *args, **kwargs):
        """The same as `revoke/`. The row stays, for the audit log's sake."""
        self._revoke()
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _revoke(self) -> Invitation:
        invitation = self.get_object()
        self._refuse_above(invitation)
        if not invitation.revoke():
            raise Conflict(f"This invitation is {invitation.state} already.")
        invitation.refresh_from_db()
        self.audit("invitation.revoked", invitation)
        return invitation

    def _refuse_above(self, invitation: Invitation) -> None:
        if not self.actor.may_hand_out(invitation.role):
            raise PermissionDenied(f"The role {self.actor.role} cannot take back an invitation as {invitation.role}.")


class ApiKeyViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, HandsOutAccess):
    """Keys for programs. The answer of creating one holds the key, `secret`, for the only time."""

    model = ApiKey
    serializer_class = ApiKeySerializer
    filterset_class = ApiKeyFilter
    permissions = dict.fromkeys(("list", "retrieve", "create", "destroy", "revoke"), Permission.MANAGE_KEYS)

    def get_queryset(self):
        return super().get_queryset().select_related("created_by")

    @extend_schema(request=ApiKeySerializer, responses={201: IssuedApiKeySerializer})
    def create(self, request, *args, **kwargs):
        """A key acts with its own role, which is at most the maker's."""
        wanted = self.get_serializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        self.one_at_a_time()
        key, secret = ApiKey.issue(
            tenant=self.tenant,
            created_by=self.actor.answerable,
            made_with=self.actor.api_key,
            **wanted.validated_data,
        )
        key.secret = secret
        self.audit("api_key.created", key, {"role": [None, key.role]})
        answer = IssuedApiKeySerializer(key, context=self.get_serializer_context())
        return Response(answer.data, status=status.HTTP_201_CREATED)

    @extend_schema(request=None, responses=ApiKeySerializer)
    @action(detail=True, methods=["post"])
    def revoke(self, request, *args, **kwargs):
        """It stops working with the next request, and so do the keys made with it. 409 if it was revoked already."""
        return Response(self.get_serializer(self._revoke()).data)

    def destroy(self, request, *args, **kwargs):
        """The same as `revoke/`. The row stays, for the audit log's sake."""
        self._revoke()
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _revoke(self) -> ApiKey:
        self.one_at_a_time()
        key = self.get_object()
        if not self.actor.may_hand_out(key.role):
            raise PermissionDenied(f"The role {self.actor.role} cannot revoke a key that is {key.role}.")
        ended = key.revoke()
        if not ended:
            raise Conflict("This key is revoked already.")
        key.refresh_from_db()
        self.audit("api_key.revoked", key, _revoked(ended - 1))
        return key


class SiteViewSet(
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    mixins.CreateModelMixin,
    mixins.UpdateModelMixin,
    mixins.DestroyModelMixin,
    TenantViewSet,
):
    """Places that events can be sent for. Its slug is the end of its URLs: changing it changes them."""

    model = Site
    serializer_class = SiteSerializer
    http_method_names = ["get", "post", "patch", "delete", "head", "options"]
    permissions = dict.fromkeys(("create", "partial_update", "destroy"), Permission.CONFIGURE)

    def perform_create(self, serializer):
        """Its slug is made of the name unless one is given."""
        site = self._save(serializer, tenant=self.tenant)
        self.audit("site.created", site, {"slug": [None, site.slug]})

    def perform_update(self, serializer):
        change = changes(serializer.instance, serializer.validated_data)
        site = self._save(serializer)
        if change:
            self.audit("site.changed", site, change)

    def perform_destroy(self, site):
        """Its URLs are gone; what came in through them is kept."""
        self.audit("site.deleted", site, {"slug": [site.slug, None]})
        site.delete()

    def _save(self, serializer, **owner) -> Site:
        """The serializer looked for the slug; of two requests at once the constraint stops the second."""
        try:
            with transaction.atomic():
                return serializer.save(**owner)
        except IntegrityError:
            raise Conflict("There is a site with this slug already.") from None


@extend_schema_view(
    retrieve=extend_schema(summary="Read one's own tenant", description="The one that the key or session acts for."),
    partial_update=extend_schema(summary="Change one's own tenant"),
)
class OwnTenantViewSet(mixins.RetrieveModelMixin, mixins.UpdateModelMixin, TenantViewSet):
    """The tenant that the key or the session acts for."""

    model = Tenant
    serializer_class = TenantSerializer
    pagination_class = None
    permissions = {"partial_update": Permission.MANAGE_TENANT}

    def get_object(self) -> Tenant:
        return self.tenant

    def perform_update(self, serializer):
        change = changes(serializer.instance, serializer.validated_data)
        tenant = serializer.save()
        if change:
            self.audit("tenant.changed", tenant, change)


class AuditViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, TenantViewSet):
    """Who did what, on what, from where, when. Nothing here can be changed."""

    model = AuditEntry
    serializer_class = AuditEntrySerializer
    filterset_class = AuditFilter
    permissions = dict.fromkeys(("list", "retrieve"), Permission.READ_AUDIT)
