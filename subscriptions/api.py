"""The endpoints of subscriptions. Each verb lives on the model; here it is allowed and told of."""

import logging
from datetime import timedelta

from django.db.models import Prefetch, Q
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_view
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.exceptions import APIException, Throttled
from rest_framework.response import Response

from subscriptions.choice_serializers import ChoiceTrialSerializer, TryChoiceSerializer
from subscriptions.evaluator import OutOfOrder
from subscriptions.models import SigningSecret, Subscription, TooManyConfirmations, WrongState
from subscriptions.serializers import (
    NoticeSentSerializer,
    RevealedSubscriptionSerializer,
    RotatedSerializer,
    SubscriptionSerializer,
    told,
)
from subscriptions.trying import Busy, try_choice
from subscriptions.verify_api import VerifiesSignatures
from subscriptions.write_serializers import HIDDEN, DisableSerializer, RotateSerializer, SubscriptionWriteSerializer
from tenants.openapi import TOO_MANY
from tenants.permissions import Permission
from tenants.problems import Conflict
from tenants.viewsets import TenantViewSet, changes, plain

logger = logging.getLogger(__name__)
NO_STORE = {"Cache-Control": "no-store"}


class FiltersOutOfOrder(APIException):
    """The process that asks expressions does not start. Nothing can be said about a filter."""

    status_code = 503
    default_detail = "Filters cannot be tried or saved just now. Try again later."
    default_code = "filters_out_of_order"


class SubscriptionFilter(filters.FilterSet):
    """The same for the API and the page."""

    search = filters.CharFilter(method="by_words", label="Part of the name or the hint")
    state = filters.ChoiceFilter(choices=Subscription.State.choices)

    class Meta:
        model = Subscription
        fields = ("search", "state")

    def by_words(self, queryset, name, value):
        return queryset.filter(Q(name__icontains=value) | Q(hint__icontains=value))


@extend_schema_view(
    partial_update=extend_schema(request=SubscriptionWriteSerializer, responses=SubscriptionSerializer),
    create=extend_schema(
        request=SubscriptionWriteSerializer,
        responses={201: RevealedSubscriptionSerializer},
        examples=[
            OpenApiExample(
                "Sign-ins of some importance",
                {
                    "name": "On-call pager",
                    "url": "https://hooks.example.com/portcullis",
                    "event_types": ["login.*", "incident.opened"],
                    "min_severity": "medium",
                    "headers": {"X-Pager-Team": "blue"},
                },
                request_only=True,
            ),
            OpenApiExample(
                "To a gateway that wants an access token",
                {
                    "name": "Gateway",
                    "url": "https://api.example.com/events",
                    "auth": {
                        "method": "oauth2",
                        "token_url": "https://login.example.com/oauth2/token",
                        "client_id": "portcullis",
                        "client_secret": "…",
                        "scope": "events.write",
                    },
                },
                request_only=True,
            ),
            OpenApiExample(
                "CloudEvents for a receiver with a scheme of its own",
                {
                    "name": "Ledger",
                    "url": "https://ledger.example.com/in",
                    "signing": "timestamp_and_body",
                    "signing_options": {"prefix": "Acme"},
                    "shape": "cloudevents",
                },
                request_only=True,
            ),
            OpenApiExample(
                "Waits and answers of its own",
                {
                    "name": "Night shift",
                    "url": "https://night.example.com/in",
                    "policy": "custom",
                    "delays": "5s, 5m, 1h",
                    "rules": {"404": "fail", "5xx": "retry", "timeout": "deliver"},
                },
                request_only=True,
            ),
        ],
    ),
)
class SubscriptionViewSet(
    VerifiesSignatures, mixins.ListModelMixin, mixins.RetrieveModelMixin, mixins.DestroyModelMixin, TenantViewSet
):
    """Who wants to be told. URL, header values and credentials are write-only; a secret is answered once."""

    model = Subscription
    of_webhooks = True
    serializer_class = SubscriptionSerializer
    filterset_class = SubscriptionFilter
    lookup_value_converter = "uuid"
    permissions = {
        "create": Permission.CONFIGURE,
        "partial_update": Permission.CONFIGURE,
        "destroy": Permission.CONFIGURE,
        "rotate_secret": Permission.CONFIGURE,
        "end_overlap": Permission.CONFIGURE,
        "disable": Permission.CONFIGURE,
        "enable": Permission.CONFIGURE,
        "send_confirmation": Permission.OPERATE,
        "challenge": Permission.OPERATE,
        "test": Permission.OPERATE,
        "try_filter": Permission.CONFIGURE,
        "verify": Permission.OPERATE,
    }

    def get_queryset(self):
        queryset = super().get_queryset().present().select_related("failing").defer("url", "headers", "auth_secrets")
        if self.action != "list":
            return queryset
        live = SigningSecret.objects.live().defer("value")
        return queryset.prefetch_related(Prefetch("signing_secrets", live, to_attr="prefetched"))

    def handle_exception(self, exc):
        if isinstance(exc, WrongState):
            exc = Conflict(str(exc))
        elif isinstance(exc, TooManyConfirmations):
            wait, exc = exc.wait, Throttled(detail=str(exc))
            exc.wait = max(1, round(wait + 0.5))
        elif isinstance(exc, Busy):
            exc = Throttled(wait=5, detail="Others are trying their filters just now. Try again in a few seconds.")
        elif isinstance(exc, OutOfOrder):
            logger.error("%s", exc)
            exc = FiltersOutOfOrder()
        return super().handle_exception(exc)

    def create(self, request):
        """A subscription, pending until its receiver follows the link or answers the challenge that is posted to it.

        One that is polled is idle at once.
        """
        writer = SubscriptionWriteSerializer(data=request.data)
        writer.is_valid(raise_exception=True)
        fields = writer.validated_data
        subscription, key = Subscription.objects.create_pending(self.tenant, self.actor.user, **fields)
        shown = {name: value for name, value in fields.items() if name not in HIDDEN and value != {}}
        shown |= {"header_names": list(subscription.header_names), "auth": subscription.auth_method}
        # Pairs of old and new: a bare list of two event types would be read as one.
        self.audit("subscription.created", subscription, {name: [None, plain(value)] for name, value in shown.items()})
        subscription.key = key
        return Response(
            RevealedSubscriptionSerializer(subscription).data,
            status=status.HTTP_201_CREATED,
            headers=NO_STORE,
        )

    def partial_update(self, request, pk=None):
        """Change settings. Headers and authentication are replaced as a whole; another URL has to be confirmed anew."""
        subscription = self.get_object()
        writer = SubscriptionWriteSerializer(subscription, data=request.data, partial=True)
        writer.is_valid(raise_exception=True)
        fields = dict(writer.validated_data)
        difference = changes(subscription, fields, hidden=HIDDEN)
        if "auth" in fields and (change := [subscription.auth_method, fields["auth"].method]) != change[::-1]:
            difference["auth"] = change
        url = fields.pop("url", None)
        subscription.configure(**fields)
        if url is not None and not subscription.change_url(url):
            difference.pop("url")
        if difference:
            self.audit("subscription.changed", subscription, difference)
        return Response(SubscriptionSerializer(subscription).data)

    def perform_destroy(self, subscription):
        """What was sent stays in the log; secrets, URL, headers and authentication are destroyed."""
        subscription.delete()
        self.audit("subscription.deleted", subscription)

    @extend_schema(
        summary="Try a choice against the latest events",
        request=TryChoiceSerializer,
        responses={200: ChoiceTrialSerializer, **TOO_MANY},
        examples=[
            OpenApiExample(
                "Large orders of one shop",
                {"event_types": ["order.*"], "filter": "payload.amount > 1000 && event.source == 'Shop'"},
                request_only=True,
            )
        ],
    )
    @action(detail=False, methods=["post"], url_path="try-filter", filter_backends=[], pagination_class=None)
    def try_filter(self, request):
        """What event types, severity, sources, sites and filter would make of the latest 50 events. Nothing is kept.

        In bounded time: where that is up, `is_whole` is false. A wrong expression is a 400 that says where.
        """
        asked = TryChoiceSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        given = {"event_types": ["*"]} | asked.validated_data
        return Response(ChoiceTrialSerializer(try_choice(Subscription(tenant=self.tenant, **given))).data)

    @extend_schema(
        summary="Send another confirmation link to a subscription",
        request=None,
        responses={202: NoticeSentSerializer, **TOO_MANY},
    )
    @action(detail=True, methods=["post"], url_path="send-confirmation")
    def send_confirmation(self, request, pk=None):
        """Post a new confirmation link; older ones stop working. Only while pending (else 409)."""
        subscription = self.get_object()
        notice = subscription.send_confirmation()
        self.audit("subscription.confirmation_sent", subscription)
        return Response({"notice": notice.pk}, status=status.HTTP_202_ACCEPTED)

    @extend_schema(
        summary="Challenge the receiver of a subscription",
        request=None,
        responses={202: NoticeSentSerializer, **TOO_MANY},
    )
    @action(detail=True, methods=["post"])
    def challenge(self, request, pk=None):
        """Post a challenge now; one that is under way counts no more. Only if it is verified so, and not disabled."""
        subscription = self.get_object()
        notice = subscription.send_challenge()
        self.audit("subscription.challenged", subscription)
        return Response({"notice": notice.pk}, status=status.HTTP_202_ACCEPTED)

    @extend_schema(request=None, responses={202: NoticeSentSerializer})
    @action(detail=True, methods=["post"])
    def test(self, request, pk=None):
        """Send a test event, `test.webhook-event`. Only while idle (else 409)."""
        subscription = self.get_object()
        notice = subscription.send_test()
        self.audit("subscription.tested", subscription)
        return Response({"notice": notice.pk}, status=status.HTTP_202_ACCEPTED)

    @extend_schema(
        request=RotateSerializer,
        responses=RotatedSerializer,
        examples=[OpenApiExample("With a day to change over", {"overlap_seconds": 86400}, request_only=True)],
    )
    @action(detail=True, methods=["post"], url_path="rotate-secret")
    def rotate_secret(self, request, pk=None):
        """A new signing secret, answered once. The previous one signs as well until the overlap ends.

        Where the scheme has room for one signature (`can_overlap` is false) the new secret signs at once; so that
        nobody learns it afterwards, `overlap_seconds` then has to be given, as 0. Without signing: 409.
        """
        subscription = self.get_object()
        asked = RotateSerializer(data=request.data, context={"subscription": subscription})
        asked.is_valid(raise_exception=True)
        overlap = timedelta(seconds=asked.validated_data.get("overlap_seconds", 0))
        key, until = subscription.rotate_secret(overlap)
        shown = {"previous_valid_until": until.isoformat() if until else None}
        self.audit("subscription.secret_rotated", subscription, shown)
        answer = RotatedSerializer(told(subscription, key) | {"previous_valid_until": until})
        return Response(answer.data, headers=NO_STORE)

    @extend_schema(request=None, responses=SubscriptionSerializer)
    @action(detail=True, methods=["post"], url_path="end-overlap")
    def end_overlap(self, request, pk=None):
        """Only the newest secret signs from now on."""
        subscription = self.get_object()
        if not subscription.end_overlap():
            raise Conflict("Only one secret signs: there is no overlap to end.")
        self.audit("subscription.overlap_ended", subscription)
        return Response(SubscriptionSerializer(subscription).data)

    @extend_schema(request=DisableSerializer, responses=SubscriptionSerializer)
    @action(detail=True, methods=["post"])
    def disable(self, request, pk=None):
        """Send nothing more until it is enabled again."""
        asked = DisableSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        subscription = self.get_object()
        before = subscription.state
        reason = asked.validated_data.get("reason") or f"By {self.actor.label}."
        if not subscription.disable(reason):
            raise Conflict("The subscription is disabled already.")
        self.audit("subscription.disabled", subscription, {"state": [before, subscription.state]})
        return Response(SubscriptionSerializer(subscription).data)

    @extend_schema(request=None, responses=SubscriptionSerializer)
    @action(detail=True, methods=["post"])
    def enable(self, request, pk=None):
        """Send again; a receiver that never confirmed this URL is asked first."""
        subscription = self.get_object()
        if not subscription.enable():
            raise Conflict(f"Only a disabled subscription can be enabled; this one is {subscription.state}.")
        self.audit("subscription.enabled", subscription, {"state": ["disabled", subscription.state]})
        return Response(SubscriptionSerializer(subscription).data)
