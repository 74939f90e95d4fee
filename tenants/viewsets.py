"""What every tenant-owned endpoint has in common."""

from typing import ClassVar

from django.http import Http404
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.viewsets import GenericViewSet

from tenants.models import AuditEntry
from tenants.openapi import ProblemSchema
from tenants.parsers import StrictJSONParser
from tenants.permissions import HasTenantPermission, Permission


class TenantViewSet(GenericViewSet):
    """Rows of the acting tenant only; another tenant's id is 404.

    `permissions` maps each writing action to the permission that it needs; reading needs READ. `of_webhooks`: only
    where they are switched on.
    """

    permission_classes = (HasTenantPermission,)
    parser_classes = (StrictJSONParser,)
    schema = ProblemSchema()
    permissions: ClassVar[dict[str, Permission]] = {}
    of_webhooks: ClassVar[bool] = False
    model: ClassVar[type]
    lookup_value_converter = "uuid"

    def get_queryset(self):
        """Asked anew for each request: a queryset made at import would have no scope, and so no rows, for ever."""
        queryset = self.model.objects.all()
        if getattr(self, "swagger_fake_view", False):
            return queryset.none()
        return queryset.filter(tenant=self.tenant)

    def initial(self, request, *args, **kwargs):
        """A method that no action answers is 405, before anybody is told what their role does not allow."""
        if self.action is None or request.method.lower() not in self.http_method_names:
            raise MethodNotAllowed(request.method)
        super().initial(request, *args, **kwargs)

    def get_object(self):
        """What an update compares, merges and writes is the row as it stands: another waits for this one to end.

        Without that, of two at once the later would put back what the earlier replaced, or what was deleted.
        """
        if self.action == "partial_update":
            rows = self.model.objects.filter(pk=self.kwargs["pk"]).select_for_update(no_key=True)
            rows.values_list("pk").first()
        return super().get_object()

    @property
    def actor(self):
        return self.request.actor

    @property
    def tenant(self):
        if self.actor is None or self.actor.tenant is None:
            raise Http404
        return self.actor.tenant

    def audit(self, action: str, target, change: dict | None = None) -> None:
        AuditEntry.record(self.actor, action, target, change)


def changes(instance, validated: dict, *, hidden: frozenset[str] = frozenset()) -> dict:
    """`{field: [old, new]}` of what an update will change, for the audit log; hidden fields only say "changed"."""
    difference = {}
    for field, new in validated.items():
        if field in hidden:
            difference[field] = "changed"
        elif (old := getattr(instance, field, None)) != new:
            difference[field] = [plain(old), plain(new)]
    return difference


def plain(value):
    """The value as the audit log can keep it."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value if isinstance(value, (str, int, float, bool, dict, type(None))) else str(value)
