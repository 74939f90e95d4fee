"""Subscriptions in the API. URL and header values go in and never come out (T1, T3)."""

from urllib.parse import urlsplit

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from egress.guard import UrlRefused
from subscriptions.filters import clean_patterns
from subscriptions.headers import HeadersRefused, clean_headers
from subscriptions.messages import SHAPES
from subscriptions.models import SigningSecret, Subscription
from subscriptions.policies import POLICIES
from subscriptions.signing import SCHEMES
from subscriptions.snippets import snippets
from subscriptions.verification import portal_guard
from tenants.fields import KnownFieldsOnly, one_plain_line, refuse_taken
from vault.credentials import DEFAULT_OVERLAP, OVERLAPS

HIDDEN = frozenset({"url", "headers"})
DEFAULT_SIGNING = Subscription._meta.get_field("signing").default


def _choices(kinds) -> list[tuple[str, str]]:
    return [(kind.name, kind.title) for kind in kinds.values()]


class SigningSecretSerializer(serializers.ModelSerializer):
    class Meta:
        model = SigningSecret
        fields = ("id", "last_four", "created_at", "last_used_at", "expires_at")
        read_only_fields = fields


class SubscriptionSerializer(serializers.ModelSerializer):
    """What may be read of a subscription."""

    secrets = serializers.SerializerMethodField(help_text="What signs now, newest first.")

    class Meta:
        model = Subscription
        fields = (
            "id",
            "name",
            "hint",
            "state",
            "state_reason",
            "state_changed_at",
            "confirmed_at",
            "confirmation_expires_at",
            "event_types",
            "min_severity",
            "header_names",
            "verification",
            "signing",
            "shape",
            "policy",
            "secrets",
            "created_at",
        )
        read_only_fields = fields

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


class RevealedSubscriptionSerializer(SubscriptionSerializer):
    """The one answer that carries the signing secret, and code that verifies with it."""

    secret = serializers.CharField(read_only=True)
    snippets = serializers.SerializerMethodField()

    class Meta(SubscriptionSerializer.Meta):
        fields = (*SubscriptionSerializer.Meta.fields, "secret", "snippets")
        read_only_fields = fields

    @extend_schema_field(SnippetSerializer(many=True))
    def get_snippets(self, subscription):
        verifiers = snippets(subscription.signing, subscription.secret)
        return SnippetSerializer(verifiers, many=True).data


class SubscriptionWriteSerializer(KnownFieldsOnly, serializers.ModelSerializer):
    """What people set. The signing scheme is chosen once: its secrets have its form, and messages
    that are on their way are signed as it says."""

    url = serializers.CharField(
        write_only=True,
        max_length=2048,
        help_text="https, a public name. Changing it asks the receiver to confirm anew.",
    )
    event_types = serializers.ListField(
        child=serializers.CharField(max_length=200),
        required=False,
        help_text="Types or patterns such as user.*; none stands for all.",
    )
    headers = serializers.DictField(
        child=serializers.CharField(allow_blank=True, trim_whitespace=False),
        write_only=True,
        required=False,
        help_text="Sent with every message; values cannot be read back. Replaced as a whole.",
    )
    signing = serializers.ChoiceField(_choices(SCHEMES), required=False)
    shape = serializers.ChoiceField(_choices(SHAPES), required=False)
    policy = serializers.ChoiceField(_choices(POLICIES), required=False)

    class Meta:
        model = Subscription
        fields = (
            "name",
            "url",
            "hint",
            "event_types",
            "min_severity",
            "headers",
            "signing",
            "shape",
            "policy",
        )
        extra_kwargs = {
            "name": {"validators": [one_plain_line]},
            "hint": {"validators": [one_plain_line]},
        }

    def validate_name(self, name: str) -> str:
        return refuse_taken(name, Subscription.objects.present(), self.instance)

    def validate_url(self, url: str) -> str:
        try:
            portal_guard().check_url(url)
        except UrlRefused as refused:
            raise serializers.ValidationError(refused.sentence, refused.code) from None
        return url

    def validate_event_types(self, patterns: list[str]) -> list[str]:
        try:
            return clean_patterns(patterns)
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from None

    def validate_headers(self, headers: dict[str, str]) -> dict[str, str]:
        try:
            return clean_headers(headers)
        except HeadersRefused as refused:
            raise serializers.ValidationError({name: [sentence] for name, sentence in refused.errors.items()}) from None

    def validate_signing(self, signing: str) -> str:
        if self.instance is not None and signing != self.instance.signing:
            raise serializers.ValidationError("The signing scheme cannot be changed: create another subscription.")
        return signing

    def validate(self, attrs: dict) -> dict:
        if self.instance is None:
            attrs.setdefault("event_types", ["*"])
            attrs.setdefault("signing", DEFAULT_SIGNING)
            attrs.setdefault("shape", SCHEMES[attrs["signing"]].shapes[0])
        scheme = SCHEMES[attrs["signing"] if self.instance is None else self.instance.signing]
        if "shape" in attrs and attrs["shape"] not in scheme.shapes:
            fitting = " or ".join(SHAPES[name].title for name in scheme.shapes)
            raise serializers.ValidationError({"shape": f"{scheme.title} signs messages of the shape {fitting} only."})
        if self._takes_headers_elsewhere(attrs):
            raise serializers.ValidationError(
                {"headers": "The URL leads to another host: give the headers it is to get again."}
            )
        return attrs

    def _takes_headers_elsewhere(self, attrs: dict) -> bool:
        """Header values cannot be read, so they must not be sent to a host of one's choice either."""
        if self.instance is None or "url" not in attrs or "headers" in attrs:
            return False
        if not self.instance.header_names:
            return False
        old, new = urlsplit(self.instance.url), urlsplit(attrs["url"])
        return (old.scheme, old.netloc) != (new.scheme, new.netloc)


class DisableSerializer(KnownFieldsOnly, serializers.Serializer):
    reason = serializers.CharField(required=False, allow_blank=True, max_length=150)


class RotateSerializer(KnownFieldsOnly, serializers.Serializer):
    overlap_seconds = serializers.IntegerField(
        min_value=0,
        max_value=max(OVERLAPS),
        default=DEFAULT_OVERLAP,
        help_text="How long the previous secret signs as well, where the scheme can carry two.",
    )


class RotatedSerializer(serializers.Serializer):
    secret = serializers.CharField()
    previous_valid_until = serializers.DateTimeField(allow_null=True)


class NoticeSentSerializer(serializers.Serializer):
    notice = serializers.UUIDField(help_text="What its delivery can be found by.")
