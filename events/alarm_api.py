"""The endpoints of alarms: looking at them, and setting what they allow (P15)."""

import django_filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import mixins
from rest_framework.response import Response

from events import watch
from events.alarm_serializers import AlarmEpisodeSerializer, AlarmSerializer
from events.alarms import KINDS, STATES, Alarm, AlarmEpisode
from tenants.permissions import Permission
from tenants.viewsets import TenantViewSet, changes


class AlarmFilter(django_filters.FilterSet):
    """The same for the API and the page."""

    source = django_filters.UUIDFilter("source_id")
    kind = django_filters.ChoiceFilter(choices=KINDS)
    state = django_filters.ChoiceFilter(choices=STATES)
    enabled = django_filters.BooleanFilter()

    class Meta:
        model = Alarm
        fields = []


class EpisodeFilter(django_filters.FilterSet):
    alarm = django_filters.UUIDFilter("alarm_id")
    source = django_filters.UUIDFilter("alarm__source_id")
    kind = django_filters.ChoiceFilter("alarm__kind", choices=KINDS)
    open = django_filters.BooleanFilter("cleared_at", "isnull", help_text="Only those that go on, or that are over.")

    class Meta:
        model = AlarmEpisode
        fields = []


ID = [OpenApiParameter("id", OpenApiTypes.UUID, OpenApiParameter.PATH)]


@extend_schema_view(retrieve=extend_schema(parameters=ID))
class AlarmViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, TenantViewSet):
    """What watches over the sources. Each has three alarms from the start: silence, authentication, classification."""

    model = Alarm
    serializer_class = AlarmSerializer
    filterset_class = AlarmFilter
    http_method_names = ["get", "patch", "head", "options"]
    permissions = {"partial_update": Permission.CONFIGURE}

    def get_queryset(self):
        queryset = super().get_queryset()
        if getattr(self, "swagger_fake_view", False):
            return queryset
        return queryset.visible_to(self.actor).with_open_episode()

    def list(self, request, *args, **kwargs):
        """Alarms, newest first."""
        Alarm.objects.ensure()
        return super().list(request, *args, **kwargs)

    @extend_schema(
        parameters=ID,
        examples=[
            OpenApiExample("Silence: tell me after 15 minutes", {"window_minutes": 15}, request_only=True),
            OpenApiExample("Authentication: 50 refusals and more than half", {"min_count": 50, "percent": 50}),
        ],
    )
    def partial_update(self, request, *args, **kwargs):
        """Switch an alarm on or off, or set what it allows. It is judged by the new settings at once."""
        alarm = self.get_object()
        serializer = self.get_serializer(alarm, data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        if change := changes(alarm, serializer.validated_data):
            watch.configure(alarm, **serializer.validated_data)
            self.audit("alarm.updated", alarm, change)
        return Response(self.get_serializer(self.get_queryset().get(pk=alarm.pk)).data)


@extend_schema_view(retrieve=extend_schema(parameters=ID))
class AlarmEpisodeViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, TenantViewSet):
    """When alarms rang: from the beginning of a trouble to its end."""

    model = AlarmEpisode
    serializer_class = AlarmEpisodeSerializer
    filterset_class = EpisodeFilter

    def get_queryset(self):
        queryset = super().get_queryset()
        if getattr(self, "swagger_fake_view", False):
            return queryset
        return queryset.filter(alarm__in=Alarm.objects.visible_to(self.actor)).select_related("alarm")
