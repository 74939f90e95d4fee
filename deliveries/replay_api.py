"""The endpoints of replays (B7). Counting and starting take the same body."""

from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.response import Response

from deliveries import replay as replaying
from deliveries.models import Replay
from deliveries.replay_serializers import CountedSerializer, ReplayAskSerializer, ReplaySerializer
from subscriptions.models import WrongState
from tenants.permissions import Permission
from tenants.problems import Conflict
from tenants.viewsets import TenantViewSet

SUBSCRIPTION = "01930000-0000-7000-8000-000000000000"
EXAMPLES = [
    OpenApiExample(
        "Everything since a moment",
        {"subscription": SUBSCRIPTION, "kind": "events", "since": "2026-05-04T03:02:01Z"},
        request_only=True,
    ),
    OpenApiExample(
        "What it missed since it was disabled", {"subscription": SUBSCRIPTION, "kind": "missed"}, request_only=True
    ),
    OpenApiExample(
        "A selection of deliveries",
        {
            "subscription": SUBSCRIPTION,
            "kind": "deliveries",
            "selection": {"status": ["failed", "dead"], "event_type": "order.paid"},
        },
        request_only=True,
    ),
]


class ReplayFilter(filters.FilterSet):
    subscription = filters.UUIDFilter(field_name="subscription_id")
    state = filters.ChoiceFilter(choices=Replay.State.choices)

    class Meta:
        model = Replay
        fields: list[str] = []


class ReplayViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, TenantViewSet):
    """What was sent once more in the background: new deliveries of the same events, with the same message ids."""

    model = Replay
    of_webhooks = True
    filterset_class = ReplayFilter
    serializer_class = ReplaySerializer
    lookup_value_converter = "uuid"
    permissions = {"create": Permission.OPERATE, "count": Permission.OPERATE, "stop": Permission.OPERATE}

    def handle_exception(self, exc):
        return super().handle_exception(Conflict(str(exc)) if isinstance(exc, WrongState) else exc)

    def _asked(self) -> Replay:
        asked = ReplayAskSerializer(data=self.request.data)
        asked.is_valid(raise_exception=True)
        return asked.asked()

    @extend_schema(request=ReplayAskSerializer, responses={201: ReplaySerializer}, examples=EXAMPLES)
    def create(self, request):
        """Start sending once more, in the background. 409 unless the subscription is idle and has no other running."""
        replay = self._asked()
        counted = replaying.count(replay)
        replay.start(counted.count, is_exact=counted.is_exact, asked_by=self.actor.label)
        self.audit(
            "replay.started",
            replay,
            {"kind": replay.kind, "what": replay.describe(), "count": _in_words(counted)},
        )
        return Response(ReplaySerializer(replay).data, status=status.HTTP_201_CREATED)

    @extend_schema(
        summary="Count what a replay would send", request=ReplayAskSerializer, responses=CountedSerializer,
        examples=EXAMPLES,
    )  # fmt: skip
    @action(detail=False, methods=["post"])
    def count(self, request):
        """How many events the same body would send if it were started now. Starts nothing."""
        return Response(CountedSerializer(replaying.count(self._asked())).data)

    @extend_schema(request=None, responses=ReplaySerializer)
    @action(detail=True, methods=["post"])
    def stop(self, request, pk=None):
        """Send no more of it. What it has made already is sent; cancel it where that is not wanted either."""
        replay = self.get_object()
        if not replay.stop(f"By {self.actor.label}."):
            raise Conflict(f"The replay is {replay.state}: there is nothing to stop.")
        self.audit("replay.stopped", replay, {"done": str(replay.done), "of": str(replay.total)})
        return Response(ReplaySerializer(replay).data)


def _in_words(counted) -> str:
    return str(counted.count) if counted.is_exact else f"at least {counted.count}"
