"""How a subscription does, as a part of its page and in the API."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from deliveries.figures import Figures, Share, figures_of
from events.search import TooSlow
from subscriptions.models import Subscription
from tenants.pages import requires
from tenants.permissions import Permission
from tenants.viewsets import TenantViewSet


@requires(Permission.READ, of_webhooks=True)
def subscription_figures(request: HttpRequest, subscription) -> HttpResponse:
    found = get_object_or_404(Subscription.objects.present().only("id", "name"), pk=subscription)
    try:
        context = _shown(figures_of(found.pk))
    except TooSlow:
        context = {"too_slow": True}
    return render(request, "deliveries/_figures.html", context | {"subscription": found})


def _shown(figures: Figures) -> dict:
    return {
        "figures": figures,
        "latency": [
            {"name": "p50", "kind": "accent", "values": [hour.p50_ms for hour in figures.hours]},
            {"name": "p95", "kind": "warn", "values": [hour.p95_ms for hour in figures.hours]},
        ],
        "requests": [
            {"name": "Delivered", "kind": "ok", "values": [hour.delivered for hour in figures.hours]},
            {"name": "Failed", "kind": "bad", "values": [hour.requests - hour.delivered for hour in figures.hours]},
        ],
        "labels": [f"{hour.start:%H:%M}" for hour in figures.hours],
        "day_kind": _kind(figures.day),
        "day_note": _note(figures.day),
        "week_kind": _kind(figures.week),
        "week_note": _note(figures.week),
    }


def _note(share: Share) -> str:
    of = "of those looked at" if share.is_sample else f"of {share.requests:,}"
    return f"{share.requests - share.delivered:,} {of} failed"


def _kind(share: Share) -> str:
    if share.rate is None:
        return "idle"
    return "ok" if share.rate >= 0.99 else "warn" if share.rate >= 0.9 else "bad"


class SuccessSerializer(serializers.Serializer):
    requests = serializers.IntegerField()
    delivered = serializers.IntegerField()
    rate = serializers.FloatField(allow_null=True, help_text="Between 0 and 1; null where nothing was sent.")
    is_sample = serializers.BooleanField(help_text="true: of an hour with many requests only the newest count.")


class HourSerializer(serializers.Serializer):
    start = serializers.DateTimeField()
    requests = serializers.IntegerField()
    delivered = serializers.IntegerField()
    p50_ms = serializers.FloatField(allow_null=True)
    p95_ms = serializers.FloatField(allow_null=True)


class BacklogSerializer(serializers.Serializer):
    count = serializers.IntegerField()
    is_exact = serializers.BooleanField(help_text="false: at least so many.")
    oldest_due = serializers.DateTimeField(
        allow_null=True, help_text="When the first of them is, or was, to be sent; null without any."
    )


class FiguresSerializer(serializers.Serializer):
    day = SuccessSerializer(help_text="The last 24 hours, the present one among them.")
    week = SuccessSerializer(help_text="The last 168 hours.")
    hours = HourSerializer(many=True, help_text="The last 24 hours, oldest first.")
    p50_ms = serializers.FloatField(allow_null=True, help_text="Of the last 24 hours.")
    p95_ms = serializers.FloatField(allow_null=True, help_text="Of the last 24 hours.")
    backlog = BacklogSerializer()


class SubscriptionFiguresViewSet(TenantViewSet):
    """How a subscription does."""

    model = Subscription
    of_webhooks = True
    serializer_class = FiguresSerializer

    def get_queryset(self):
        return super().get_queryset().present().only("id")

    @extend_schema(summary="Read how a subscription does", responses=FiguresSerializer)
    def retrieve(self, request, pk=None):
        """Success rates, latency and backlog. Requests are counted, not deliveries; 422 where it takes too long."""
        return Response(FiguresSerializer(figures_of(self.get_object().pk)).data)
