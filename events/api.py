"""The endpoints of events: what arrived, and publishing from the tenant's own backend."""

from django.db import connection
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.response import Response

from events.arrivals import KeptEvent
from events.intake import projection
from events.models import Event, Receipt
from events.search import EventFilter, ReceiptFilter, bounded_time
from events.serializers import (
    EventDetailSerializer,
    EventSerializer,
    PublishSerializer,
    ReceiptDetailSerializer,
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


class ArrivedViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, TenantViewSet):
    """Lists leave bodies out, and their search ends in a bounded time."""

    lookup_value_converter = "uuid"

    def list(self, request, *args, **kwargs):
        with bounded_time():
            return super().list(request, *args, **kwargs)


ID = [OpenApiParameter("id", OpenApiTypes.UUID, OpenApiParameter.PATH)]


@extend_schema_view(retrieve=extend_schema(parameters=ID))
class ReceiptViewSet(ArrivedViewSet):
    """Inbound requests: accepted, or refused with the reason."""

    model = Receipt
    filterset_class = ReceiptFilter

    def get_serializer_class(self):
        return ReceiptSerializer if self.action == "list" else ReceiptDetailSerializer

    def get_queryset(self):
        queryset = super().get_queryset()
        return queryset.defer("body", "headers") if self.action == "list" else queryset

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
    permissions = {"create": Permission.OPERATE}

    def get_serializer_class(self):
        return EventSerializer if self.action == "list" else EventDetailSerializer

    def get_queryset(self):
        queryset = super().get_queryset().defer("body")
        return queryset.defer("body", "data") if self.action == "list" else queryset

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
            data=projection(item),
            data_problem=item.problem[:200],
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
