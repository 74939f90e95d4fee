from django.urls import path, re_path
from rest_framework.routers import SimpleRouter

from events import alarm_api, alarm_views, api, door_api, schema_api, schema_views, views

router = SimpleRouter(use_regex_path=False)
router.register("receipts", api.ReceiptViewSet, "api-receipt")
router.register("events", api.EventViewSet, "api-event")
router.register("alarms", alarm_api.AlarmViewSet, "api-alarm")
router.register("alarm-episodes", alarm_api.AlarmEpisodeViewSet, "api-alarm-episode")
router.register("schemas", schema_api.SchemaViewSet, "api-schema")
router.register("schema-versions", schema_api.SchemaVersionViewSet, "api-schema-version")
router.register("event-types", schema_api.EventTypeViewSet, "api-event-type")

SOURCE_SCHEMAS = schema_api.SourceSchemasViewSet.as_view(
    {"get": "retrieve", "put": "update"}, basename="api-source-schemas", detail=True
)

api_urlpatterns = [
    path("sources/<uuid:pk>/schemas/", SOURCE_SCHEMAS, name="api-source-schemas"),
    *router.urls,
]

urlpatterns = [
    path("in/<str:key>", door_api.IngestDoor.as_view(), name="ingest"),
    path("in/<str:key>/<str:site>", door_api.IngestSite.as_view(), name="ingest_site"),
    re_path(r"^in/(?P<rest>[\s\S]*)\Z", door_api.IngestAnywhere.as_view(), name="ingest_anywhere"),
    path("alarms/", alarm_views.alarms, name="alarms"),
    path("sources/health/", alarm_views.source_states, name="source_states"),
    path("sources/<uuid:pk>/health/", alarm_views.source_health, name="source_health"),
    path("sources/<uuid:pk>/schemas/", schema_views.source_schemas, name="source_schemas"),
    path("schemas/", schema_views.schemas, name="schemas"),
    path("schemas/create/", schema_views.schema_create, name="schema_create"),
    path("schemas/infer/", schema_views.schema_infer, name="schema_infer"),
    path("schemas/<uuid:pk>/", schema_views.schema, name="schema_detail"),
    path("schemas/<uuid:pk>/verdicts/", schema_views.schema_verdicts, name="schema_verdicts"),
    path("event-types/", schema_views.event_types, name="catalogue"),
    path("events/", views.events, name="events"),
    path("events/new/", views.events_new, name="events_new"),
    path("events/<uuid:pk>/", views.event, name="event"),
    path("receipts/", views.receipts, name="receipts"),
    path("receipts/new/", views.receipts_new, name="receipts_new"),
    path("receipts/<uuid:pk>/", views.receipt, name="receipt"),
    path("refusals/", views.refusals, name="refusals"),
]
