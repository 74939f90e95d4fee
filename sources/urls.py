from django.urls import path
from rest_framework.routers import SimpleRouter

from sources import views
from sources.api import SourcePresetViewSet, SourceViewSet

router = SimpleRouter(use_regex_path=False)
router.register("sources", SourceViewSet, basename="api_source")
api_urlpatterns = [
    *router.urls,
    path("source-presets/", SourcePresetViewSet.as_view({"get": "catalogue"}), name="api_source_presets"),
]

urlpatterns = [
    path("sources/", views.sources, name="sources"),
    path("sources/without-token/", views.sources_without_token, name="sources_without_token"),
    path("sources/create/", views.source_create, name="source_create"),
    path("sources/<uuid:pk>/", views.source, name="source"),
    path("sources/<uuid:pk>/edit/", views.source_edit, name="source_edit"),
]
