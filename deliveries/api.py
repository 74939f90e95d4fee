from drf_spectacular.utils import extend_schema
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.response import Response

from deliveries import breaker
from deliveries.filters import AttemptFilter, DeliveryFilter
from deliveries.models import Attempt, Delivery
from deliveries.replay_serializers import CancelledSerializer, CountedSerializer, OfSubscriptionSerializer
from deliveries.serializers import AttemptSerializer, DeliveryDetailSerializer, DeliverySerializer, TriedSerializer
from events.looking import SearchPagination
from subscriptions.models import WrongState
from tenants.permissions import Permission
from tenants.problems import Conflict
from tenants.viewsets import TenantViewSet


class DeliveryViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, TenantViewSet):
    """What was told to whom. One delivery is one message to one subscription; its attempts are the requests."""

    model = Delivery
    of_webhooks = True
    filterset_class = DeliveryFilter
    pagination_class = SearchPagination
    lookup_value_converter = "uuid"
    permissions = {
        "resend": Permission.OPERATE,
        "cancel": Permission.OPERATE,
        "cancel_pending": Permission.OPERATE,
        "count_pending": Permission.OPERATE,
        "try_now": Permission.OPERATE,
    }

    def handle_exception(self, exc):
        return super().handle_exception(Conflict(str(exc)) if isinstance(exc, WrongState) else exc)

    def filter_queryset(self, queryset):
        """The filter is kept for the paginator, which looks in slices."""
        found = super().filter_queryset(queryset)
        self.wanted = DeliveryFilter(self.request.query_params, queryset=queryset)
        return found

    def get_queryset(self):
        # A join, because the event may be gone already: then it is None and not an error.
        wanted = super().get_queryset()
        return wanted.select_related("event", "notice") if self.action == "retrieve" else wanted

    def get_serializer_class(self):
        return DeliveryDetailSerializer if self.action == "retrieve" else DeliverySerializer

    @extend_schema(request=None, responses={201: DeliverySerializer})
    @action(detail=True, methods=["post"])
    def resend(self, request, pk=None):
        """Tell the subscription of the same event again: a new delivery with the same message id."""
        delivery = self.get_object()
        again, why_not = delivery.resend()
        if again is None:
            raise Conflict(why_not)
        self.audit("delivery.resent", again, {"of": str(delivery.pk)})
        return Response(DeliverySerializer(again).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=None, responses=DeliverySerializer)
    @action(detail=True, methods=["post"])
    def cancel(self, request, pk=None):
        """Stop trying. A request that is under way is not called back."""
        delivery = self.get_object()
        if not delivery.cancel(f"Cancelled by {self.actor.label}."):
            raise Conflict(f"The delivery is {delivery.status}: there is nothing to cancel.")
        self.audit("delivery.cancelled", delivery)
        return Response(DeliverySerializer(delivery).data)

    @extend_schema(
        summary="Cancel whatever is pending for a subscription",
        request=OfSubscriptionSerializer,
        responses=CancelledSerializer,
    )
    @action(detail=False, methods=["post"], url_path="cancel-pending")
    def cancel_pending(self, request):
        """Stop trying, for all that waits for one subscription. Requests that are under way are not called back."""
        subscription = self._of_subscription()
        cancelled = Delivery.objects.cancel_pending(subscription, f"Cancelled by {self.actor.label}.")
        if not cancelled:
            raise Conflict("Nothing is pending for this subscription.")
        self.audit("subscription.pending_cancelled", subscription, {"deliveries": str(cancelled)})
        left = Delivery.objects.count_pending(subscription).count
        return Response(CancelledSerializer({"cancelled": cancelled, "left": left}).data)

    @extend_schema(
        summary="Count what is pending for a subscription",
        request=OfSubscriptionSerializer,
        responses=CountedSerializer,
    )
    @action(detail=False, methods=["post"], url_path="cancel-pending/count")
    def count_pending(self, request):
        """How many deliveries cancelling would cancel. Changes nothing."""
        return Response(CountedSerializer(Delivery.objects.count_pending(self._of_subscription())).data)

    @extend_schema(
        summary="Try a subscription's receiver now",
        request=OfSubscriptionSerializer,
        responses={202: TriedSerializer},
    )
    @action(detail=False, methods=["post"], url_path="try-now")
    def try_now(self, request):
        """End the cool-down of a subscription whose breaker is open: what waits longest is sent now, to try.

        If it is delivered, the breaker closes and the others follow; if not, the receiver is spared for longer. 409
        where the breaker is closed, or nothing waits.
        """
        subscription = self._of_subscription()
        delivery = breaker.try_now(subscription)
        self.audit("subscription.tried_now", subscription)
        return Response(TriedSerializer({"delivery": delivery}).data, status=status.HTTP_202_ACCEPTED)

    def _of_subscription(self):
        asked = OfSubscriptionSerializer(data=self.request.data)
        asked.is_valid(raise_exception=True)
        return asked.validated_data["subscription"]


class AttemptViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, TenantViewSet):
    """Every HTTP request that was made, newest first."""

    model = Attempt
    of_webhooks = True
    filterset_class = AttemptFilter
    serializer_class = AttemptSerializer
    lookup_value_converter = "uuid"
