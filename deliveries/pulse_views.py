"""The operators' page of the whole portal, and the same as JSON."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_vary_headers
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from deliveries import pulse
from deliveries.heartbeats import Heartbeat
from tenants.authentication import PortalSessionAuthentication
from tenants.models import Tenant
from tenants.openapi import ProblemSchema
from tenants.pages import operators_only
from tenants.permissions import IsOperator
from tenants.scope import system_scope


@operators_only
def operators_pulse(request: HttpRequest) -> HttpResponse:
    """What waits, what passes, who works; only that part where htmx asks again."""
    with system_scope():
        taken = pulse.take()
    context = {
        "pulse": taken,
        "labels": [f"{start:%H:%M}" for start in taken.starts],
        "charts": [
            ("Events in, a minute", _series("Events", "accent", taken.events), taken.events),
            ("Requests out, a minute", _series("Requests", "ok", taken.attempts), taken.attempts),
        ],
        "shares": [("By what waits to be sent", taken.backlog), ("By requests of the last hour", taken.recent)],
        "workers": [(one, one.is_alive(taken.at)) for one in taken.workers],
        "sweeps": taken.sweep is not None and taken.sweep.is_alive(taken.at),
    }
    response = render(request, "deliveries/_pulse.html" if request.htmx else "deliveries/pulse.html", context)
    patch_vary_headers(response, ["HX-Request"])
    return response


def _series(name: str, kind: str, minutes: pulse.Minutes | None) -> list[dict]:
    return [{"name": name, "kind": kind, "values": minutes.values if minutes else []}]


class QueueSerializer(serializers.Serializer):
    name = serializers.CharField()
    count = serializers.IntegerField(allow_null=True, help_text="null where counting took too long.")
    is_exact = serializers.BooleanField(help_text="false: at least so many.")
    due = serializers.IntegerField(allow_null=True, help_text="Of those, how many could be worked on now.")
    oldest = serializers.DateTimeField(
        allow_null=True, help_text="When the first of them came or, of bundles and the outbox, was or will be due."
    )


class MinutesSerializer(serializers.Serializer):
    values = serializers.ListField(child=serializers.IntegerField())
    is_estimate = serializers.BooleanField(help_text="true: counted in the first seconds of each minute only.")


class WorkerSerializer(serializers.ModelSerializer):
    is_alive = serializers.SerializerMethodField(help_text="Whether it was heard of within 45 seconds.")

    class Meta:
        model = Heartbeat
        fields = ("name", "processes", "started_at", "seen_at", "is_alive")
        read_only_fields = fields

    def get_is_alive(self, worker) -> bool:
        return worker.is_alive()


class TenantShareSerializer(serializers.Serializer):
    tenant = serializers.UUIDField()
    name = serializers.CharField()
    count = serializers.IntegerField()
    share = serializers.FloatField(help_text="Between 0 and 1, of the rows looked at.")


class SharesSerializer(serializers.Serializer):
    rows = TenantShareSerializer(many=True, help_text="The ten with most.")
    looked = serializers.IntegerField()
    is_sample = serializers.BooleanField(help_text="true: there are more rows than were looked at.")


class PulseSerializer(serializers.Serializer):
    at = serializers.DateTimeField()
    queues = QueueSerializer(many=True)
    starts = serializers.ListField(child=serializers.DateTimeField(), help_text="Of the minutes, oldest first.")
    events = MinutesSerializer(allow_null=True, help_text="That came in, by the minute; null where it took too long.")
    attempts = MinutesSerializer(allow_null=True, help_text="Requests that were made, likewise.")
    workers = WorkerSerializer(many=True, help_text="Those heard of within a day.")
    sweep = WorkerSerializer(allow_null=True, help_text="The periodic sweep, which needs beat, broker and a worker.")
    backlog = SharesSerializer(allow_null=True, help_text="Tenants by what waits to be sent.")
    recent = SharesSerializer(allow_null=True, help_text="Tenants by requests of the last hour, the newest looked at.")


class OperatorPulseViewSet(GenericViewSet):
    """How the portal as a whole does. For staff with a session only: no API key gets here."""

    authentication_classes = (PortalSessionAuthentication,)
    permission_classes = (IsOperator,)
    schema = ProblemSchema()
    serializer_class = PulseSerializer
    pagination_class = None
    filter_backends = ()
    queryset = Tenant.objects.none()

    @extend_schema(summary="Read how the portal does", responses=PulseSerializer)
    def retrieve(self, request):
        """Queues, throughput of the last hour, workers, and the tenants with most of it."""
        with system_scope():
            return Response(PulseSerializer(pulse.take()).data)
