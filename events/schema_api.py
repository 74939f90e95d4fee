"""The endpoints of schemas (P11, P12). Each verb lives on a model; here it is allowed and told of."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import IntegrityError, transaction
from django.db.models import Prefetch
from django.shortcuts import get_object_or_404
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import mixins, serializers, status
from rest_framework.decorators import action
from rest_framework.response import Response

from events.models import Schema, SchemaAttachment, SchemaVersion
from events.schema_language import CompiledSchema
from events.schema_models import MAX_ATTACHED, NotDraft, TooManyAttached
from events.schema_reports import event_types, propose, try_schema
from events.schema_serializers import (
    AttachedSchemaSerializer,
    AttachmentSerializer,
    DraftSerializer,
    EventTypeSerializer,
    InferSerializer,
    ProposalSerializer,
    SchemaCreateSerializer,
    SchemaSerializer,
    SchemaVersionSerializer,
    SourceSchemasSerializer,
    TrialSerializer,
    TrySerializer,
)
from sources.models import Source
from tenants.pagination import ByName
from tenants.permissions import Permission
from tenants.problems import Conflict
from tenants.viewsets import TenantViewSet, changes

EXAMPLE = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"id": {"type": "integer"}, "door": {"type": "string"}},
    "required": ["id"],
}
LAST_DAY = {"source": "01930000-0000-7000-8000-000000000000", "range": "24h"}
FULL = f"A source has {MAX_ATTACHED} schemas at most."
ID = [OpenApiParameter("id", OpenApiTypes.UUID, OpenApiParameter.PATH)]


@contextmanager
def one_of_each_name() -> Iterator[None]:
    """Of two requests at once that want a name, the database lets one through; the other is told."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError:
        message = "There is one of this name already. Choose another."
        raise serializers.ValidationError({"name": [message]}) from None


class SchemaFilter(filters.FilterSet):
    """The same for the API and the page."""

    search = filters.CharFilter(field_name="name", lookup_expr="icontains", label="Part of the name")
    event_type = filters.CharFilter(max_length=128, label="The type that it describes")
    source = filters.UUIDFilter("attachments__source", label="Attached to this source")

    class Meta:
        model = Schema
        fields = ["search", "event_type", "source"]


@extend_schema_view(
    retrieve=extend_schema(parameters=ID),
    partial_update=extend_schema(parameters=ID, request=SchemaSerializer),
    destroy=extend_schema(parameters=ID),
)
class SchemaViewSet(
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    mixins.UpdateModelMixin,
    mixins.DestroyModelMixin,
    TenantViewSet,
):
    """What events look like: JSON Schema 2020-12, in versions, attached to sources."""

    model = Schema
    serializer_class = SchemaSerializer
    filterset_class = SchemaFilter
    http_method_names = ["get", "post", "patch", "delete", "head", "options"]
    permissions = {
        "create": Permission.CONFIGURE,
        "partial_update": Permission.CONFIGURE,
        "destroy": Permission.CONFIGURE,
        "attach": Permission.CONFIGURE,
        "detach": Permission.CONFIGURE,
        "infer": Permission.OPERATE,
        "test": Permission.OPERATE,
    }

    def get_queryset(self):
        queryset = super().get_queryset().present().with_published_number()
        if getattr(self, "swagger_fake_view", False):
            return queryset
        visible = SchemaAttachment.objects.filter(source__in=Source.objects.present().visible_to(self.actor))
        return queryset.prefetch_related(Prefetch("attachments", queryset=visible, to_attr="attached"))

    @extend_schema(
        request=SchemaCreateSerializer,
        responses={201: SchemaSerializer},
        examples=[
            OpenApiExample(
                "Published and put to work in one act",
                {"name": "Door", "event_type": "door.opened", "document": EXAMPLE, "publish": True},
                request_only=True,
            )
        ],
    )
    def create(self, request, *args, **kwargs):
        """Create a schema; with its first version, published and attached, where the request says so."""
        wanted = SchemaCreateSerializer(data=request.data, context=self.get_serializer_context())
        wanted.is_valid(raise_exception=True)
        values = wanted.validated_data
        document, inferred_from = values.pop("document", None), values.pop("inferred_from", None)
        publish, attach = values.pop("publish"), values.pop("attach", [])
        with one_of_each_name():
            schema = Schema.objects.create(tenant=self.tenant, created_by=self.actor.user, **values)
        self.audit("schema.created", schema, {"name": [None, schema.name]})
        if document is not None:
            draft = schema.draft(document, self.actor.user, inferred_from)
            if publish:
                self._publish(draft, schema)
        for source in attach:
            self._attach(schema, source)
        return Response(self._presented(schema), status=status.HTTP_201_CREATED)

    def perform_update(self, serializer):
        change = changes(serializer.instance, serializer.validated_data)
        with one_of_each_name():
            serializer.save()
        if change:
            self.audit("schema.updated", serializer.instance, change)

    def perform_destroy(self, schema):
        """It classifies nothing any more. What was classified by it keeps its name."""
        if schema.delete():
            self.audit("schema.deleted", schema)

    @extend_schema(parameters=ID, request=AttachmentSerializer, responses=SchemaSerializer)
    @action(detail=True, methods=["post"])
    def attach(self, request, pk=None):
        """Let it classify what a source gets from now on."""
        schema = self.get_object()
        wanted = AttachmentSerializer(data=request.data, context=self.get_serializer_context())
        wanted.is_valid(raise_exception=True)
        self._attach(schema, wanted.validated_data["source"], wanted.validated_data.get("position"))
        return Response(self._presented(schema))

    @extend_schema(parameters=ID, request=AttachmentSerializer, responses=SchemaSerializer)
    @action(detail=True, methods=["post"])
    def detach(self, request, pk=None):
        """Let it classify nothing of a source any more."""
        schema = self.get_object()
        wanted = AttachmentSerializer(data=request.data, context=self.get_serializer_context())
        wanted.is_valid(raise_exception=True)
        source = wanted.validated_data["source"]
        if schema.detach(source):
            self.audit("schema.detached", schema, {"source": [source.name, None]})
        return Response(self._presented(schema))

    @extend_schema(
        request=InferSerializer,
        responses=ProposalSerializer,
        examples=[OpenApiExample("Of the last day", LAST_DAY, request_only=True)],
    )
    @action(detail=False, methods=["post"])
    def infer(self, request):
        """Propose a schema made of received events, and try it on more of them. Nothing is kept."""
        wanted = InferSerializer(data=request.data, context=self.get_serializer_context())
        wanted.is_valid(raise_exception=True)
        window = wanted.validated_data["window"]
        proposal = propose(window, wanted.validated_data["sample"])
        return Response(ProposalSerializer(proposal, context=self.get_serializer_context()).data)

    @extend_schema(
        request=TrySerializer,
        responses=TrialSerializer,
        examples=[OpenApiExample("On the last day", LAST_DAY | {"document": EXAMPLE}, request_only=True)],
    )
    @action(detail=False, methods=["post"])
    def test(self, request):
        """Try a schema on received events: how many fit, and which do not. Nothing is kept."""
        wanted = TrySerializer(data=request.data, context=self.get_serializer_context())
        wanted.is_valid(raise_exception=True)
        trial = try_schema(CompiledSchema(wanted.validated_data["document"]), wanted.validated_data["window"])
        return Response(TrialSerializer(trial).data)

    def _attach(self, schema: Schema, source: Source, position: int | None = None) -> None:
        try:
            if schema.attach(source, position):
                self.audit("schema.attached", schema, {"source": [None, source.name]})
        except TooManyAttached:
            raise Conflict(FULL) from None

    def _publish(self, draft: SchemaVersion, schema: Schema) -> None:
        draft.publish(self.actor.user)
        self.audit("schema.published", schema, {"version": [None, draft.number]})

    def _presented(self, schema: Schema) -> dict:
        return self.get_serializer(self.get_queryset().get(pk=schema.pk)).data


class VersionFilter(filters.FilterSet):
    schema = filters.UUIDFilter("schema_id")
    status = filters.ChoiceFilter(choices=SchemaVersion.Status.choices)

    class Meta:
        model = SchemaVersion
        fields = ["schema", "status"]


@extend_schema_view(retrieve=extend_schema(parameters=ID), destroy=extend_schema(parameters=ID))
class SchemaVersionViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, mixins.DestroyModelMixin, TenantViewSet):
    """The versions of schemas. A schema has one draft at most; a published version never changes."""

    model = SchemaVersion
    serializer_class = SchemaVersionSerializer
    filterset_class = VersionFilter
    http_method_names = ["get", "post", "delete", "head", "options"]
    permissions = {
        "create": Permission.CONFIGURE,
        "destroy": Permission.CONFIGURE,
        "publish": Permission.CONFIGURE,
    }

    def get_queryset(self):
        return super().get_queryset().filter(schema__deleted_at=None).select_related("published_by")

    @extend_schema(
        request=DraftSerializer,
        responses={201: SchemaVersionSerializer},
        examples=[
            OpenApiExample("A draft", {"schema": LAST_DAY["source"], "document": EXAMPLE}, request_only=True),
        ],
    )
    def create(self, request, *args, **kwargs):
        """Write the next version: the open draft takes the document, or a new one is begun. `publish` ends it."""
        wanted = DraftSerializer(data=request.data, context=self.get_serializer_context())
        wanted.is_valid(raise_exception=True)
        values = wanted.validated_data
        schema = values["schema"]
        draft = schema.draft(values["document"], self.actor.user, values["inferred_from"])
        self.audit("schema.drafted", schema, {"version": [None, draft.number]})
        if values["publish"]:
            self._publish(draft)
        return Response(self.get_serializer(draft).data, status=status.HTTP_201_CREATED)

    @extend_schema(parameters=ID, request=None, responses=SchemaVersionSerializer)
    @action(detail=True, methods=["post"])
    def publish(self, request, pk=None):
        """Publish a draft: what arrives from now on is classified by it."""
        draft = self.get_object()
        self._publish(draft)
        return Response(self.get_serializer(draft).data)

    def perform_destroy(self, version):
        """Take a draft away."""
        try:
            version.discard()
        except NotDraft:
            raise Conflict("A published version stays: events are named after it.") from None
        self.audit("schema.draft_discarded", version.schema, {"version": [version.number, None]})

    def _publish(self, draft: SchemaVersion) -> None:
        try:
            draft.publish(self.actor.user)
        except NotDraft:
            raise Conflict("This version is published already.") from None
        self.audit("schema.published", draft.schema, {"version": [None, draft.number]})


@extend_schema_view(
    retrieve=extend_schema(summary="The schemas of a source", parameters=ID),
    update=extend_schema(summary="Set the schemas of a source", parameters=ID),
)
class SourceSchemasViewSet(TenantViewSet):
    """The schemas of one source, in the order in which they are tried: the first that accepts an event names it."""

    model = Source
    serializer_class = SourceSchemasSerializer
    filter_backends = []
    permissions = {"update": Permission.CONFIGURE}

    def get_queryset(self):
        queryset = super().get_queryset().present()
        return queryset if getattr(self, "swagger_fake_view", False) else queryset.visible_to(self.actor)

    @extend_schema(responses=AttachedSchemaSerializer(many=True))
    def retrieve(self, request, pk=None):
        return self._presented(self.get_object())

    @extend_schema(responses=AttachedSchemaSerializer(many=True))
    def update(self, request, pk=None):
        """These are its schemas from now on. What arrived before keeps its verdict."""
        source = get_object_or_404(self.get_queryset(), pk=pk)
        wanted = self.get_serializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        after = wanted.validated_data["schemas"]
        before = SchemaAttachment.objects.arrange(source, after)
        if before != after:
            names = [[schema.name for schema in one] for one in (before, after)]
            self.audit("source.schemas_changed", source, {"schemas": names})
        return self._presented(source)

    def _presented(self, source: Source) -> Response:
        schemas = Schema.objects.filter(attachments__source=source).with_published_number()
        in_order = schemas.order_by("attachments__position")
        return Response(AttachedSchemaSerializer(in_order, many=True).data)


class EventTypeFilter(filters.FilterSet):
    search = filters.CharFilter(label="Part of the type", method="untouched", max_length=128)

    def untouched(self, queryset, name, value):
        return queryset

    class Meta:
        model = Schema
        fields = ["search"]


class EventTypeViewSet(TenantViewSet):
    """The catalogue: types of events that came in the last 7 days, and those that schemas describe."""

    model = Schema
    serializer_class = EventTypeSerializer
    filterset_class = EventTypeFilter
    pagination_class = ByName

    @extend_schema(responses=EventTypeSerializer(many=True))
    def list(self, request, *args, **kwargs):
        """By name, the first 500; counts and the newest event of each."""
        self.filter_queryset(self.get_queryset())
        visible = Source.objects.present().visible_to(self.actor)
        found = event_types(self.tenant.pk, visible, request.query_params.get("search", ""))
        return self.get_paginated_response(self.get_serializer(self.paginate_queryset(found), many=True).data)
