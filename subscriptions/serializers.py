"""What the API shows of subscriptions. URL and header values go in and never come out (T1, T3)."""

from datetime import datetime

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from subscriptions.answers import ACTIONS
from subscriptions.auth_serializers import AuthSerializer
from subscriptions.challenges import FAILURES
from subscriptions.choice_serializers import FilterErrorsSerializer
from subscriptions.failing import BREAKER_STATES, Breaker
from subscriptions.models import SigningSecret, Subscription
from subscriptions.signing import (
    MAX_HEADER_NAME,
    MAX_PREFIX,
)
from subscriptions.snippets import snippets
from tenants.fields import KnownFieldsOnly


class _Rules(serializers.DictField):
    """None of those that make no sense: a list does not fail over one row."""

    def to_representation(self, value):
        return super().to_representation(value) if isinstance(value, dict) else {}


class SigningSecretSerializer(serializers.ModelSerializer):
    class Meta:
        model = SigningSecret
        fields = ("id", "last_four", "public_key", "created_at", "last_used_at", "expires_at")
        read_only_fields = fields
        extra_kwargs = {"public_key": {"help_text": "Of a key pair: what the receiver verifies with. It is no secret."}}


class SigningOptionsSerializer(KnownFieldsOnly, serializers.Serializer):
    """Names of headers, where the scheme leaves them open; others are refused."""

    prefix = serializers.CharField(
        required=False,
        max_length=MAX_PREFIX,
        help_text="Of timestamp_and_body: X-<prefix>-Signature and X-<prefix>-Timestamp.",
    )
    signature_header = serializers.CharField(
        required=False, max_length=MAX_HEADER_NAME, help_text="Of stripe, github and timestamped_body."
    )
    timestamp_header = serializers.CharField(
        required=False, max_length=MAX_HEADER_NAME, help_text="Of timestamped_body."
    )
    id_header = serializers.CharField(required=False, max_length=MAX_HEADER_NAME, help_text="Of timestamped_body.")


class SigningHeadersSerializer(serializers.Serializer):
    """The headers that carry id, timestamp and signature; empty where the scheme has none for it."""

    id = serializers.CharField()
    timestamp = serializers.CharField()
    signature = serializers.CharField()


class BreakerSerializer(serializers.Serializer):
    state = serializers.ChoiceField(
        BREAKER_STATES,
        help_text=(
            "open: its receiver failed again and again, and nothing is sent until `until`; probing: the next delivery "
            "shows whether it closes."
        ),
    )
    until = serializers.DateTimeField(allow_null=True)


class SubscriptionSerializer(serializers.ModelSerializer):
    """What may be read of a subscription."""

    auth = serializers.SerializerMethodField(help_text="How messages authenticate to the receiver, without secrets.")
    signing_options = serializers.SerializerMethodField(help_text="What can be chosen about its headers, as it is now.")
    signing_headers = SigningHeadersSerializer(read_only=True)
    can_overlap = serializers.BooleanField(
        read_only=True,
        help_text=(
            "Whether two secrets can sign one message during a rotation. If not, a new secret signs at once, and a "
            "receiver that only knows the previous one cannot verify any more."
        ),
    )
    filter_errors = FilterErrorsSerializer(source="*", read_only=True)
    secrets = serializers.SerializerMethodField(help_text="What signs now, newest first.")
    code = serializers.SerializerMethodField(
        help_text=(
            "Why its receiver has not passed its last challenge: 40012, it was not reached or did not answer; 42201, "
            "it gave another answer. `state_reason` says it in words. Null where nothing is wrong."
        )
    )
    acknowledged_cursor = serializers.SerializerMethodField(
        help_text="Of one that is polled: up to where its receiver has acknowledged. Null for others."
    )
    delays = serializers.ListField(
        child=serializers.IntegerField(),
        read_only=True,
        allow_null=True,
        help_text="The waits of the custom policy, in seconds; null with any other.",
    )
    rules = _Rules(
        child=serializers.ChoiceField(list(ACTIONS.items())),
        read_only=True,
        help_text="What answers mean other than the policy says.",
    )
    failing_since = serializers.SerializerMethodField(
        help_text="The first failure since the last success; null where the latest request succeeded."
    )
    disables_at = serializers.SerializerMethodField(
        help_text="When it is disabled if nothing succeeds until then; null where nothing fails."
    )
    breaker = serializers.SerializerMethodField()

    class Meta:
        model = Subscription
        fields = (
            "id",
            "name",
            "hint",
            "state",
            "state_reason",
            "code",
            "state_changed_at",
            "confirmed_at",
            "challenged_at",
            "confirmation_expires_at",
            "event_types",
            "min_severity",
            "sources",
            "sites",
            "filter",
            "filter_errors",
            "header_names",
            "auth",
            "delivery",
            "acknowledged_cursor",
            "polled_at",
            "verification",
            "signing",
            "signing_options",
            "signing_headers",
            "can_overlap",
            "shape",
            "policy",
            "delays",
            "rules",
            "failing_since",
            "disables_at",
            "breaker",
            "mode",
            "max_per_minute",
            "max_in_flight",
            "secrets",
            "created_at",
        )
        read_only_fields = fields

    @extend_schema_field(serializers.ChoiceField(sorted(FAILURES), allow_null=True))
    def get_code(self, subscription):
        return subscription.challenge_code or None

    def get_acknowledged_cursor(self, subscription) -> str | None:
        return str(subscription.pull_acknowledged) if subscription.is_polled else None

    @extend_schema_field(AuthSerializer)
    def get_auth(self, subscription):
        return {"method": subscription.auth_method, **subscription.auth_config}

    @extend_schema_field(SigningOptionsSerializer)
    def get_signing_options(self, subscription):
        return subscription.chosen_options

    def get_failing_since(self, subscription) -> datetime | None:
        return subscription.trouble and subscription.trouble.since

    def get_disables_at(self, subscription) -> datetime | None:
        return subscription.trouble and subscription.trouble.disables_at

    @extend_schema_field(BreakerSerializer)
    def get_breaker(self, subscription):
        trouble = subscription.trouble
        state = trouble.breaker() if trouble else Breaker.CLOSED
        return BreakerSerializer({"state": state, "until": trouble.open_until if trouble else None}).data

    @extend_schema_field(SigningSecretSerializer(many=True))
    def get_secrets(self, subscription):
        live = getattr(subscription, "prefetched", None)
        if live is None:
            live = subscription.signing_secrets.live().defer("value")
        return SigningSecretSerializer(live, many=True).data


class SnippetSerializer(serializers.Serializer):
    label = serializers.CharField()
    language = serializers.CharField()
    code = serializers.CharField()


class ToldSerializer(serializers.Serializer):
    """What a receiver verifies with, as the one answer tells it that made it."""

    secret = serializers.CharField(
        allow_null=True, help_text="Told this once. Null with a key pair, and where nothing is signed."
    )
    public_key = serializers.CharField(
        allow_null=True, help_text="Of a key pair. It can be read again; the private key never leaves the portal."
    )


def told(subscription: Subscription, key: str) -> dict[str, str | None]:
    """What `create_pending` and `rotate_secret` gave, under its right name."""
    public = subscription.scheme.has_public_key
    return {"secret": None if public else key or None, "public_key": key if public else None}


class RevealedSubscriptionSerializer(SubscriptionSerializer):
    """The one answer that carries the signing secret, and code that verifies with it.

    The subscription is given its `key`: what `create_pending` told.
    """

    secret = serializers.SerializerMethodField(
        help_text="Told this once. Null with a key pair, and where nothing is signed."
    )
    public_key = serializers.SerializerMethodField(
        help_text="Of a key pair. It can be read again; the private key never leaves the portal."
    )
    snippets = serializers.SerializerMethodField()

    class Meta(SubscriptionSerializer.Meta):
        fields = (*SubscriptionSerializer.Meta.fields, "secret", "public_key", "snippets")
        read_only_fields = fields

    def get_secret(self, subscription) -> str | None:
        return told(subscription, subscription.key)["secret"]

    def get_public_key(self, subscription) -> str | None:
        return told(subscription, subscription.key)["public_key"]

    @extend_schema_field(SnippetSerializer(many=True))
    def get_snippets(self, subscription):
        verifiers = snippets(subscription.signing, subscription.key, subscription.signing_options)
        return SnippetSerializer(verifiers, many=True).data


class RotatedSerializer(ToldSerializer):
    previous_valid_until = serializers.DateTimeField(allow_null=True)


class NoticeSentSerializer(serializers.Serializer):
    notice = serializers.UUIDField(help_text="What its delivery can be found by.")
