"""What the endpoints of events take and give."""

import json

from django.conf import settings
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from events.classification import TYPE_NAME
from events.models import Event, Receipt, Severity
from events.streams import Item, StreamError, split
from sources.serializers import not_operational
from tenants.fields import KnownFieldsOnly
from tenants.models import Site


class ReceiptSerializer(serializers.ModelSerializer):
    received_at = serializers.DateTimeField(read_only=True)
    source = serializers.UUIDField(source="source_id", read_only=True)
    site = serializers.UUIDField(source="site_id", read_only=True, allow_null=True)
    explanation = serializers.CharField(read_only=True, help_text="The reason in plain words.")
    suppressed = serializers.IntegerField(
        read_only=True, help_text="Refusals that followed within the minute and are only counted here."
    )

    class Meta:
        model = Receipt
        fields = [
            "id",
            "received_at",
            "source",
            "site",
            "status",
            "status_code",
            "reason",
            "explanation",
            "detail",
            "client_address",
            "content_type",
            "body_size",
            "event_count",
            "suppressed",
        ]
        read_only_fields = fields


class ReceiptDetailSerializer(ReceiptSerializer):
    headers = serializers.ListField(
        child=serializers.ListField(child=serializers.CharField(), min_length=2, max_length=2),
        read_only=True,
        help_text="`[name, value]` in the order received; secrets are masked.",
    )
    evidence = serializers.DictField(
        read_only=True,
        allow_null=True,
        help_text="What helps to see why it was refused: names, counts and beginnings, never a secret.",
    )

    class Meta(ReceiptSerializer.Meta):
        fields = [*ReceiptSerializer.Meta.fields, "headers", "evidence"]
        read_only_fields = fields


class ReceiptNowSerializer(ReceiptDetailSerializer):
    """One receipt, and what is still happening to it."""

    unpacking = serializers.BooleanField(
        read_only=True, help_text="Very many events came in it, and a worker is still making them."
    )

    class Meta(ReceiptDetailSerializer.Meta):
        fields = [*ReceiptDetailSerializer.Meta.fields, "unpacking"]
        read_only_fields = fields


class EventSerializer(serializers.ModelSerializer):
    received_at = serializers.DateTimeField(read_only=True)
    source = serializers.UUIDField(source="source_id", read_only=True, allow_null=True)
    site = serializers.UUIDField(source="site_id", read_only=True, allow_null=True)
    receipt = serializers.UUIDField(source="receipt_id", read_only=True, allow_null=True)
    schema_version = serializers.UUIDField(
        source="schema_version_id", read_only=True, allow_null=True, help_text="The schema version that accepts it."
    )

    class Meta:
        model = Event
        fields = [
            "id",
            "received_at",
            "occurred_at",
            "type",
            "severity",
            "title",
            "source",
            "site",
            "receipt",
            "schema_version",
            "schema_problem",
            "content_type",
            "data_problem",
        ]
        read_only_fields = fields


@extend_schema_field(OpenApiTypes.ANY)
class AnyJSON(serializers.JSONField):
    """Any JSON value."""


class EventDetailSerializer(EventSerializer):
    data = AnyJSON(
        source="payload", read_only=True, allow_null=True, help_text="The payload; null where `data_problem` says why."
    )

    class Meta(EventSerializer.Meta):
        fields = [*EventSerializer.Meta.fields, "data"]
        read_only_fields = fields


class PublishSerializer(KnownFieldsOnly, serializers.Serializer):
    """An event that the tenant's own backend publishes. `validated_data["item"]` is the payload as an event's body."""

    type = serializers.RegexField(
        rf"^{TYPE_NAME.pattern}\Z",
        validators=[not_operational],
        help_text="Letters, digits, `.`, `_` and `-`; not beginning with `portal.`.",
    )
    payload = AnyJSON(help_text="Any JSON value but null.")
    severity = serializers.ChoiceField(choices=Severity.choices, default=Severity.LOW)
    site = serializers.PrimaryKeyRelatedField(
        queryset=Site.objects.all(), required=False, allow_null=True, default=None, pk_field=serializers.UUIDField()
    )

    def get_fields(self):
        fields = super().get_fields()
        fields["site"].queryset = Site.objects.all()  # asked anew: the scope of this request
        return fields

    def validate_payload(self, value) -> Item:
        try:
            body = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        except (ValueError, RecursionError):  # 1e999, half a surrogate pair, or nested beyond any use
            raise serializers.ValidationError("This JSON cannot be kept.") from None
        if len(body) > settings.INGEST_MAX_BYTES:
            raise serializers.ValidationError(f"The payload is larger than {settings.INGEST_MAX_BYTES} bytes.")
        try:
            return split(body, "json")[0]
        except StreamError as error:
            raise serializers.ValidationError(error.detail) from None
