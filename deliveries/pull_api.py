"""Polling (docs/pull.md): its answer, and the endpoint under the subscription that it is about."""

import base64

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.response import Response

from deliveries import pull
from deliveries.pull import MAX_MESSAGES, Polled, UnknownCursor
from subscriptions.models import Subscription, WrongState
from tenants.fields import KnownFieldsOnly
from tenants.permissions import Permission
from tenants.problems import Conflict
from tenants.viewsets import TenantViewSet

LIMIT = 100
TEXT, BASE64 = "text", "base64"


class PollSerializer(KnownFieldsOnly, serializers.Serializer):
    after = serializers.RegexField(
        r"\A[0-9]{1,18}\Z",
        required=False,
        help_text=(
            "The cursor of an earlier answer: everything up to it is acknowledged, and never answered again. Without "
            "it nothing is, and the answer goes on after what was acknowledged last."
        ),
    )
    limit = serializers.IntegerField(
        required=False, default=LIMIT, min_value=1, max_value=MAX_MESSAGES, help_text="How many messages at most."
    )


class PolledSerializer(serializers.Serializer):
    """One message, as it would have been posted now."""

    id = serializers.CharField(help_text="The message id: the same whenever the message is answered again, or resent.")
    delivery = serializers.UUIDField()
    type = serializers.CharField()
    cursor = serializers.CharField(help_text="Acknowledges this message and all before it.")
    headers = serializers.DictField(
        child=serializers.CharField(), help_text="Content-Type, those of the shape, and those of the signature."
    )
    body = serializers.CharField(help_text="Text, or base64 of bytes that are not UTF-8: `encoding` says which.")
    encoding = serializers.ChoiceField([TEXT, BASE64])


class PollAnswerSerializer(serializers.Serializer):
    messages = PolledSerializer(many=True)
    next = serializers.CharField(help_text="What to give as `after`, once these are processed.")
    done = serializers.BooleanField(help_text="Whether nothing is left after these: ask again in a while.")


class PollViewSet(TenantViewSet):
    """Messages of a subscription that is polled."""

    model = Subscription
    of_webhooks = True
    permissions = {"poll": Permission.OPERATE}
    filter_backends = ()
    pagination_class = None

    def get_queryset(self):
        return super().get_queryset().present().defer("url", "headers")

    def handle_exception(self, exc):
        if isinstance(exc, WrongState):
            exc = Conflict(str(exc))
        elif isinstance(exc, UnknownCursor):
            exc = ValidationError({"after": [str(exc)]})
        return super().handle_exception(exc)

    @extend_schema(
        summary="Poll the messages of a subscription",
        parameters=[
            OpenApiParameter("after", OpenApiTypes.STR, description=PollSerializer().fields["after"].help_text),
            OpenApiParameter(
                "limit",
                {"type": "integer", "minimum": 1, "maximum": MAX_MESSAGES, "default": LIMIT},
                description=PollSerializer().fields["limit"].help_text,
            ),
        ],
        responses=PollAnswerSerializer,
    )
    @action(detail=True, methods=["get"])
    def poll(self, request, pk=None):
        """What waits to be fetched, oldest first; `after` acknowledges. With an API key only.

        409 unless its delivery is pull and it is idle.
        """
        subscription = self.get_object()
        # A GET that acknowledges must not be something that another site can have a signed-in browser do.
        if self.actor.kind != "api_key":
            raise PermissionDenied("Polling takes an API key: a page that is opened must not acknowledge anything.")
        asked = PollSerializer(data=request.query_params.dict())
        asked.is_valid(raise_exception=True)
        after = asked.validated_data.get("after")
        answer = pull.poll(subscription.pk, None if after is None else int(after), asked.validated_data["limit"])
        return Response(
            {
                "messages": [_shown(message) for message in answer.messages],
                "next": str(answer.cursor),
                "done": not answer.is_left,
            }
        )


def _shown(message: Polled) -> dict:
    try:
        body, encoding = message.body.decode(), TEXT
    except UnicodeDecodeError:
        body, encoding = base64.b64encode(message.body).decode(), BASE64
    return {
        "id": message.delivery.message_id,
        "delivery": message.delivery.pk,
        "type": message.delivery.event_type,
        "cursor": str(message.cursor),
        "headers": dict(message.headers),
        "body": body,
        "encoding": encoding,
    }
