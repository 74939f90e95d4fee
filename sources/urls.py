from django.urls import path
from rest_framework.routers import SimpleRouter

from sources import views
from sources.api import SourceViewSet

router = SimpleRouter(use_regex_path=False)
router.register("sources", SourceViewSet, basename="api_source")
api_urlpatterns = router.urls

urlpatterns = [
    path("sources/", views.sources, name="sources"),
    path("sources/create/", views.source_create, name="source_create"),
    path("sources/<uuid:pk>/", views.source, name="source"),
    path("sources/<uuid:pk>/edit/", views.source_edit, name="source_edit"),
]
