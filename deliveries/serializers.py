from rest_framework import serializers

from deliveries.models import Attempt, Delivery


class AttemptSerializer(serializers.ModelSerializer):
    """One HTTP request and its answer. `response_body` is text; bytes that are no UTF-8 are replaced."""

    sent_at = serializers.DateTimeField(source="signed_at", read_only=True)
    response_body = serializers.SerializerMethodField()

    class Meta:
        model = Attempt
        # Not `address`: it would say where the hidden URL leads (T1).
        fields = (
            "id", "delivery", "number", "sent_at", "outcome", "status_code", "error", "detail",
            "request_headers", "request_size", "response_headers", "response_body", "response_truncated",
            "dns_ms", "connect_ms", "tls_ms", "first_byte_ms", "total_ms",
        )  # fmt: skip
        read_only_fields = fields

    def get_response_body(self, attempt) -> str:
        return bytes(attempt.response_body).decode("utf-8", "replace")


class DeliverySerializer(serializers.ModelSerializer):
    created_at = serializers.DateTimeField(read_only=True)

    class Meta:
        model = Delivery
        fields = (
            "id", "subscription", "event", "notice", "kind", "event_type", "message_id", "status", "reason",
            "attempt_count", "last_status_code", "batch", "created_at", "next_attempt_at", "completed_at",
        )  # fmt: skip
        read_only_fields = fields


class DeliveryDetailSerializer(DeliverySerializer):
    body = serializers.SerializerMethodField(help_text="What was sent, as text; null where it is not shown or kept.")
    attempts = AttemptSerializer(many=True, read_only=True)

    class Meta(DeliverySerializer.Meta):
        fields = (*DeliverySerializer.Meta.fields, "body", "attempts")
        read_only_fields = fields

    def get_body(self, delivery) -> str | None:
        shown = delivery.shown_body()
        return shown[0].decode("utf-8", "replace") if shown else None


class TriedSerializer(serializers.Serializer):
    delivery = serializers.UUIDField(help_text="What is sent to try.")
