"""The map. Each room brings its pages (`urlpatterns`) and its endpoints (`api_urlpatterns`)."""

from django.urls import include, path, re_path

import deliveries.urls
import events.urls
import sources.urls
import subscriptions.urls
import tenants.urls
from config import views

api_urlpatterns = [
    *tenants.urls.api_urlpatterns,
    *sources.urls.api_urlpatterns,
    *events.urls.api_urlpatterns,
    *subscriptions.urls.api_urlpatterns,
    *deliveries.urls.api_urlpatterns,
]

handler400 = "config.views.bad_request"
handler404 = "config.views.not_found"
handler500 = "config.views.server_error"

urlpatterns = [
    path("", views.dashboard, name="dashboard"),
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("favicon.ico", views.favicon, name="favicon"),
    path("robots.txt", views.robots, name="robots"),
    path("accounts/", include("allauth.account.urls")),
    path("api/v1/schema/", views.Schema.as_view(), name="schema"),
    path("api/v1/docs/", views.Docs.as_view(), name="api_docs"),
    path("api/v1/", include(api_urlpatterns)),
    path("", include(tenants.urls)),
    path("", include(sources.urls)),
    path("", include(events.urls)),
    path("", include(subscriptions.urls)),
    path("", include(deliveries.urls)),
    re_path(r"^api/.*[^/]$", views.without_slash, name="without_slash"),
]
