"""Replays in the API: what is asked, how much it is, how far it got."""

from django.utils import timezone
from rest_framework import serializers

from deliveries.filters import MAX_CHOSEN
from deliveries.models import Delivery, Replay
from subscriptions.models import Subscription
from tenants.fields import KnownFieldsOnly

ENDED = [choice for choice in Delivery.Status.choices if choice[0] != Delivery.Status.PENDING]


class OfSubscriptionSerializer(KnownFieldsOnly, serializers.Serializer):
    subscription = serializers.UUIDField()

    def validate_subscription(self, value) -> Subscription:
        found = Subscription.objects.present().defer("url", "headers", "auth_secrets").filter(pk=value).first()
        if found is None:
            raise serializers.ValidationError("There is no such subscription.")
        return found


class SelectionSerializer(KnownFieldsOnly, serializers.Serializer):
    """The parameters of the deliveries list, with the same meaning. What is pending is sent anyway."""

    delivery = serializers.ListField(
        child=serializers.UUIDField(), required=False, allow_empty=False, max_length=MAX_CHOSEN,
        help_text="Just these.",
    )  # fmt: skip
    status = serializers.ListField(child=serializers.ChoiceField(ENDED), required=False, max_length=len(ENDED))
    event_type = serializers.CharField(max_length=128, required=False)
    event = serializers.UUIDField(required=False)
    since = serializers.DateTimeField(required=False, help_text="Created at or after.")
    until = serializers.DateTimeField(required=False, help_text="Created before.")

    def to_internal_value(self, data):
        """As it is kept with the replay: texts, in the API's own forms."""
        values = super().to_internal_value(data)
        return {
            name: value if isinstance(value, str) else self.fields[name].to_representation(value)
            for name, value in values.items()
        }


class ReplayAskSerializer(OfSubscriptionSerializer):
    kind = serializers.ChoiceField(
        Replay.Kind.choices,
        help_text="`deliveries`: events of the deliveries selected. `events`: every event since a moment that the "
        "subscription asks for. `missed`: what failed, died or was cancelled since then, and events that it was never "
        "sent.",
    )
    since = serializers.DateTimeField(
        required=False, help_text="For `events`, and for `missed`, where it may be left out: since it was disabled."
    )
    selection = SelectionSerializer(required=False, help_text="For `deliveries`; without it all that have ended.")

    def validate_since(self, value):
        if value > timezone.now():
            raise serializers.ValidationError("That moment is still to come.")
        return value

    def validate(self, attrs):
        kind, mistakes = attrs["kind"], {}
        if kind == Replay.Kind.EVENTS and "since" not in attrs:
            mistakes["since"] = ["Say since when."]
        if kind == Replay.Kind.DELIVERIES and "since" in attrs:
            mistakes["since"] = ["Of deliveries, `selection` says since when."]
        if kind != Replay.Kind.DELIVERIES and "selection" in attrs:
            mistakes["selection"] = ["Only deliveries are selected."]
        if mistakes:
            raise serializers.ValidationError(mistakes)
        return attrs

    def asked(self) -> Replay:
        """Raises WrongState."""
        given = self.validated_data
        return Replay.asked(
            given["subscription"], given["kind"], since=given.get("since"), selection=given.get("selection")
        )


class CountedSerializer(serializers.Serializer):
    count = serializers.IntegerField()
    is_exact = serializers.BooleanField(help_text="false: at least so many; counting took too long.")


class CancelledSerializer(serializers.Serializer):
    cancelled = serializers.IntegerField()
    left = serializers.IntegerField(help_text="Still pending: more than are cancelled at once. Ask again.")


class ReplaySerializer(serializers.ModelSerializer):
    selection = SelectionSerializer(read_only=True)
    waiting = serializers.IntegerField(
        source="waiting_count", help_text="Of those done, how many waited to be sent when it was last looked at."
    )

    class Meta:
        model = Replay
        fields = (
            "id", "subscription", "kind", "since", "selection", "state", "reason", "total", "total_is_exact", "done",
            "waiting", "asked_by", "created_at", "ended_at",
        )  # fmt: skip
        read_only_fields = fields
