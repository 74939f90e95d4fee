"""Verifying what a receiver got, for the people who set it up. Nothing of it is kept, logged or audited."""

import time

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import Throttled
from rest_framework.response import Response

from events.limits import RateLimiter
from subscriptions.signature_check import check
from subscriptions.verify_serializers import PastedSerializer, VerdictSerializer
from tenants.openapi import TOO_MANY
from tenants.problems import Conflict

PER_MINUTE = 30  # of one subscription, in each web process
NO_STORE = {"Cache-Control": "no-store"}

_asked = RateLimiter()


class VerifiesSignatures:
    """The endpoint, for the viewset of subscriptions."""

    @extend_schema(
        summary="Verify a signature that a receiver got",
        request=PastedSerializer,
        responses={200: VerdictSerializer, **TOO_MANY},
        examples=[
            OpenApiExample(
                "Headers as a log has them",
                {
                    "headers": "webhook-id: 0193…\nwebhook-timestamp: 1777863721\nwebhook-signature: v1,K5oZ…=",
                    "body": '{"type":"user.created"}',
                },
                request_only=True,
            )
        ],
    )
    @action(detail=True, methods=["post"])
    def verify(self, request, pk=None):
        """Is this signature right under the secrets that sign now? What was given is not kept; no secret is shown.

        409 where nothing is signed; 429 after 30 in a minute.
        """
        subscription = self.get_object()
        if not subscription.scheme.signs:
            raise Conflict("The messages of this subscription are not signed: there is nothing to verify.")
        now = time.time()
        if (wait := _asked.take(subscription.pk, PER_MINUTE, now)) is not None:
            refusal = Throttled(detail="Too many signatures were verified within a minute.")
            refusal.wait = wait
            raise refusal
        pasted = PastedSerializer(data=request.data)
        pasted.is_valid(raise_exception=True)
        secrets = subscription.live_secrets()
        if not secrets:
            raise Conflict("No secret of this subscription can be read: rotate it to make a new one.")
        given = pasted.validated_data
        verdict = check(
            subscription.signing, secrets, given["headers"], given["body"], at=now, options=subscription.signing_options
        )
        return Response(VerdictSerializer(verdict).data, headers=NO_STORE)
