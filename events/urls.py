from django.urls import path
from rest_framework.routers import SimpleRouter

from events import api, door, views

router = SimpleRouter(use_regex_path=False)
router.register("receipts", api.ReceiptViewSet, "api-receipt")
router.register("events", api.EventViewSet, "api-event")

api_urlpatterns = router.urls

urlpatterns = [
    path("in/<str:key>", door.IngestDoor.as_view(), name="ingest"),
    path("in/<str:key>/<str:site>", door.IngestSite.as_view(), name="ingest_site"),
    path("in/<path:rest>", door.IngestAnywhere.as_view(), name="ingest_anywhere"),
    path("events/", views.events, name="events"),
    path("events/<uuid:pk>/", views.event, name="event"),
    path("receipts/", views.receipts, name="receipts"),
    path("receipts/<uuid:pk>/", views.receipt, name="receipt"),
]
