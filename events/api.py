"""The endpoints of events: what arrived, and publishing from the tenant's own backend."""

import base64
from collections.abc import Sequence
from uuid import UUID

from django.db import connection
from django.db.models import F, Func, IntegerField, TextField
from django.db.models.functions import Cast, Coalesce, Length
from django.http import HttpResponse
from django.utils import timezone
from django_filters.utils import translate_validation
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.response import Response

from events.arrivals import KeptEvent
from events.division import projection
from events.export import FORMATS, ROWS, Kind, response_of, sized
from events.identity import identify
from events.looking import SearchPagination
from events.models import Event, Receipt
from events.search import EventFilter, ReceiptFilter
from events.serializers import (
    EventDetailSerializer,
    EventSerializer,
    PublishSerializer,
    ReceiptDetailSerializer,
    ReceiptNowSerializer,
    ReceiptSerializer,
)
from events.store import insert_events
from events.wakeup import ROUTE, wake_on_commit
from tenants.ids import uuid7
from tenants.permissions import Permission
from tenants.viewsets import TenantViewSet


class BytesRenderer(BaseRenderer):
    """Says what `…/raw/` answers; the bytes are written by the view itself."""

    media_type = "application/octet-stream"
    format = "bytes"
    charset = None
    render_style = "binary"

    def render(self, data, accepted_media_type=None, renderer_context=None):
        return data


class CSVRenderer(BytesRenderer):
    media_type = "text/csv"
    format = "csv"


class NDJSONRenderer(BytesRenderer):
    media_type = "application/x-ndjson"
    format = "ndjson"


FILES = [JSONRenderer, NDJSONRenderer, CSVRenderer]  # the first answers whoever accepts anything
RAW = extend_schema(
    responses={(200, "application/octet-stream"): OpenApiTypes.BINARY},
    summary="Download the bytes received",
    description="The bytes as they were received. Of a refused request only the first 4 KB are kept.",
)


def as_attachment(content: bytes, name: str) -> HttpResponse:
    """Somebody else's bytes, in a way that no browser runs them."""
    return HttpResponse(
        content,
        content_type="application/octet-stream",
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "sandbox; default-src 'none'",
        },
    )


EXPORT = extend_schema(
    parameters=[
        OpenApiParameter("as", enum=list(FORMATS), default="ndjson", description="Kind of file."),
        OpenApiParameter("format", exclude=True),
        OpenApiParameter("before", OpenApiTypes.UUID, description="Only what is older: where an export was cut."),
    ],
    filters=True,
    responses={(200, "application/x-ndjson"): OpenApiTypes.STR, (200, "text/csv"): OpenApiTypes.STR},
    summary="Export what a search finds",
    description=f"The filters of the list; newest first, at most {ROWS:,} rows. A file that ends early says so in its "
    'last line: `{"cut": {"rows", "reason", "before"}}`, in CSV a comment. CSV cells that a spreadsheet would '
    "take for a formula have an apostrophe in front. Each export stands in the audit log.",
)


class ArrivedViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, TenantViewSet):
    """Lists leave bodies out, and their search is bounded: it looks at so many rows and then says how far it got."""

    lookup_value_converter = "uuid"
    pagination_class = SearchPagination
    exported: Kind

    def filter_queryset(self, queryset):
        """The filter is kept for the paginator, which looks in slices."""
        found = super().filter_queryset(queryset)
        self.wanted = self.filterset_class(self.request.query_params, queryset=queryset)
        return found

    def export_file(self, request):
        """The filters, `as` and `before` as query parameters; every export leaves an entry in the audit log."""
        query = request.query_params
        wanted = self.filterset_class(query, queryset=sized(super().get_queryset(), self.exported))
        known = {*wanted.filters, "as", "before"}
        if unknown := sorted(set(query) - known):
            sentence = f"The export knows no such parameter. It knows {', '.join(sorted(known))}."
            raise ValidationError({name: [sentence] for name in unknown})
        if wanted.errors:
            raise translate_validation(wanted.errors)
        form = query.get("as", "ndjson")
        if form not in FORMATS:
            raise ValidationError({"as": [f"One of {', '.join(FORMATS)}."]})
        try:
            before = UUID(query["before"]) if "before" in query else None
        except ValueError:
            raise ValidationError({"before": ["An id."]}) from None
        filters = {name: query.getlist(name) for name in sorted(wanted.given)}
        self.audit(f"{self.exported.name}.exported", self.tenant, {"format": form, "filters": filters})
        return response_of(self.exported, wanted, self.tenant, form, before, timezone.now())


ID = [OpenApiParameter("id", OpenApiTypes.UUID, OpenApiParameter.PATH)]


def _receipts(ids: Sequence[UUID]):
    return Receipt.objects.filter(pk__in=ids).defer("body")


def _events(ids: Sequence[UUID]):
    return Event.objects.filter(pk__in=ids)


def _exported_event(event: Event) -> dict:
    """What the API says of it; the body too, where there is no reading of that."""
    row = dict(EventDetailSerializer(event).data)
    if row["data"] is not None:
        return row
    body = bytes(event.body)
    try:
        return row | {"body": body.decode()}
    except UnicodeDecodeError:
        return row | {"body_base64": base64.b64encode(body).decode()}


@extend_schema_view(retrieve=extend_schema(parameters=ID))
class ReceiptViewSet(ArrivedViewSet):
    """Inbound requests: accepted, or refused with the reason."""

    model = Receipt
    filterset_class = ReceiptFilter
    exported = Kind(
        name="receipts",
        columns=ReceiptDetailSerializer.Meta.fields,
        json_columns=frozenset(),
        load=_receipts,
        present=lambda receipt: dict(ReceiptDetailSerializer(receipt).data),
        size=Coalesce(Length(Cast("headers", TextField())), 0),
    )

    def get_serializer_class(self):
        return ReceiptSerializer if self.action == "list" else ReceiptNowSerializer

    def get_queryset(self):
        queryset = super().get_queryset()
        return queryset.defer("body", "headers", "evidence") if self.action == "list" else queryset

    @EXPORT
    @action(detail=False, pagination_class=None, renderer_classes=FILES)
    def export(self, request, *args, **kwargs):
        return self.export_file(request)

    @extend_schema(parameters=ID)
    @RAW
    @action(detail=True, renderer_classes=[BytesRenderer, JSONRenderer])
    def raw(self, request, *args, **kwargs):
        receipt = self.get_object()
        content = receipt.kept_bytes
        if content is None:
            raise NotFound("The bytes of this request are not kept.")
        return as_attachment(content, f"receipt-{receipt.pk}.bin")


@extend_schema_view(retrieve=extend_schema(parameters=ID))
class EventViewSet(ArrivedViewSet):
    """What arrived, and publishing an event of the tenant's own."""

    model = Event
    filterset_class = EventFilter
    exported = Kind(
        name="events",
        columns=[*EventDetailSerializer.Meta.fields, "body", "body_base64"],
        json_columns=frozenset({"data"}),
        load=_events,
        present=_exported_event,
        size=Func(F("body"), function="octet_length", output_field=IntegerField()),
    )
    permissions = {"create": Permission.OPERATE}

    def get_serializer_class(self):
        return EventSerializer if self.action == "list" else EventDetailSerializer

    def get_queryset(self):
        queryset = super().get_queryset()
        return queryset.defer("body", "data") if self.action == "list" else queryset

    @EXPORT
    @action(detail=False, pagination_class=None, renderer_classes=FILES)
    def export(self, request, *args, **kwargs):
        return self.export_file(request)

    @extend_schema(
        summary="Publish an event",
        request=PublishSerializer,
        responses={201: EventDetailSerializer},
        examples=[
            OpenApiExample(
                "A backup that is done",
                {"type": "backup.completed", "payload": {"job": "nightly", "bytes": 1048576}, "severity": "low"},
                request_only=True,
            )
        ],
    )
    def create(self, request, *args, **kwargs):
        """Publish an event. It is kept, and on its way to subscriptions, when this answers."""
        wanted = PublishSerializer(data=request.data, context=self.get_serializer_context())
        wanted.is_valid(raise_exception=True)
        item, site = wanted.validated_data["payload"], wanted.validated_data["site"]
        said = identify({}, (), item.parsed, "")
        event = KeptEvent(
            id=uuid7(),
            tenant_id=self.tenant.pk,
            source_id=None,
            receipt_id=None,
            site_id=site.pk if site else None,
            type=wanted.validated_data["type"],
            severity=wanted.validated_data["severity"],
            content_type=item.content_type,
            body=item.raw,
            data=None if item.plain else projection(item),
            data_problem=item.problem[:200],
            body_is_data=item.plain,
            title=said.title,
            occurred_at=said.occurred_at,
        )
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL synchronous_commit = on")
        insert_events([event])
        wake_on_commit(ROUTE)
        kept = self.get_queryset().get(pk=event.id)
        return Response(EventDetailSerializer(kept).data, status=status.HTTP_201_CREATED)

    @extend_schema(parameters=ID)
    @RAW
    @action(detail=True, renderer_classes=[BytesRenderer, JSONRenderer])
    def raw(self, request, *args, **kwargs):
        event = self.get_object()
        return as_attachment(bytes(event.body), f"event-{event.pk}.bin")
