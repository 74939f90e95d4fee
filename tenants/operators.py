"""The endpoints of those who look after the portal itself: which tenants there are."""

from django.db import transaction
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from tenants import invitations
from tenants.authentication import PortalSessionAuthentication
from tenants.filters import TenantFilter
from tenants.models import AuditEntry, Invitation, Tenant
from tenants.openapi import ProblemSchema
from tenants.parsers import StrictJSONParser
from tenants.permissions import IsOperator, Role
from tenants.problems import Conflict
from tenants.scope import system_scope
from tenants.serializers import NewTenantSerializer, OpenedTenantSerializer, OperatorTenantSerializer
from tenants.viewsets import changes


class OperatorTenantViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, mixins.UpdateModelMixin, GenericViewSet):
    """Every tenant of the portal. For staff with a session only: no API key gets here."""

    authentication_classes = (PortalSessionAuthentication,)
    permission_classes = (IsOperator,)
    parser_classes = (StrictJSONParser,)
    schema = ProblemSchema()
    serializer_class = OperatorTenantSerializer
    filterset_class = TenantFilter
    lookup_value_converter = "uuid"
    http_method_names = ["get", "post", "patch", "head", "options"]

    def dispatch(self, request, *args, **kwargs):
        """In the scope of all tenants, and like every request in one transaction that a refusal undoes."""
        with system_scope():
            response = super().dispatch(request, *args, **kwargs)
            if response.status_code >= 400:
                transaction.set_rollback(True)
        return response

    def get_queryset(self):
        if getattr(self, "swagger_fake_view", False):
            return Tenant.objects.none()
        return Tenant.objects.with_activity()

    @extend_schema(request=NewTenantSerializer, responses={201: OpenedTenantSerializer})
    def create(self, request, *args, **kwargs):
        """A tenant, and an invitation as its owner: `url` is shown here for the only time, and mailed."""
        wanted = NewTenantSerializer(data=request.data, context=self.get_serializer_context())
        wanted.is_valid(raise_exception=True)
        owner = wanted.validated_data.pop("owner")
        tenant = Tenant.objects.create(**wanted.validated_data)
        self._audit("tenant.created", tenant)
        invitation, token = Invitation.issue(tenant=tenant, email=owner, role=Role.OWNER, invited_by=request.actor.user)
        self._audit("invitation.created", invitation)
        tenant = self.get_queryset().get(pk=tenant.pk)
        tenant.url = invitations.link(token)
        invitations.send_on_commit(invitation, tenant.url)
        answer = OpenedTenantSerializer(tenant, context=self.get_serializer_context())
        return Response(answer.data, status=status.HTTP_201_CREATED)

    def perform_update(self, serializer):
        change = changes(serializer.instance, serializer.validated_data)
        tenant = serializer.save()
        if change:
            self._audit("tenant.changed", tenant, change)

    @extend_schema(request=None, responses=OperatorTenantSerializer)
    @action(detail=True, methods=["post"])
    def suspend(self, request, *args, **kwargs):
        """Its people and keys are refused and its senders turned away. Nothing is lost."""
        return self._move("suspended", Tenant.suspend)

    @extend_schema(request=None, responses=OperatorTenantSerializer)
    @action(detail=True, methods=["post"])
    def resume(self, request, *args, **kwargs):
        """Its people, keys and senders are let in again."""
        return self._move("resumed", Tenant.resume)

    def _move(self, word: str, verb) -> Response:
        tenant = self.get_object()
        if not verb(tenant):
            raise Conflict(f"This tenant is {tenant.status} already.")
        self._audit(f"tenant.{word}", tenant)
        return Response(self.get_serializer(tenant).data)

    def _audit(self, act: str, target, change: dict | None = None) -> None:
        AuditEntry.record(self.request.actor, act, target, change)
