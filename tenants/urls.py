from django.urls import path
from rest_framework.routers import SimpleRouter

from tenants import api, views
from tenants.operators import OperatorTenantViewSet

router = SimpleRouter(use_regex_path=False)
router.register("members", api.MemberViewSet, "api-member")
router.register("invitations", api.InvitationViewSet, "api-invitation")
router.register("api-keys", api.ApiKeyViewSet, "api-key")
router.register("sites", api.SiteViewSet, "api-site")
router.register("audit", api.AuditViewSet, "api-audit")
router.register("tenants", OperatorTenantViewSet, "api-tenant")

api_urlpatterns = [
    path(
        "tenant/", api.OwnTenantViewSet.as_view({"get": "retrieve", "patch": "partial_update"}), name="api-own-tenant"
    ),
    *router.urls,
]

urlpatterns = [
    path("members/", views.members, name="members"),
    path("members/invitations/", views.members_invitations, name="members_invitations"),
    path("api-keys/", views.api_keys, name="api_keys"),
    path("audit/", views.audit, name="audit"),
    path("settings/", views.settings_page, name="settings"),
    path("operators/tenants/", views.operators_tenants, name="operators_tenants"),
    path("switch-tenant/", views.switch_tenant, name="switch_tenant"),
    path("invitations/<str:token>/", views.invitation, name="invitation"),
]
