"""What the endpoints of alarms take and give."""

from datetime import timedelta

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from events.alarms import ENDED, KINDS, Alarm, AlarmEpisode
from events.health import LONGEST_SILENCE, SHORTEST_SILENCE, Kind
from tenants.fields import KnownFieldsOnly

MINUTE = timedelta(minutes=1)
MAX_COUNT = 10_000
SETTINGS = {
    Kind.SILENCE: {"enabled", "window_minutes"},
    Kind.AUTHENTICATION: {"enabled", "min_count", "percent"},
    Kind.CLASSIFICATION: {"enabled", "min_count", "percent"},
}
FOREIGN = {
    "window_minutes": "The window of this alarm is fixed.",
    "min_count": "An alarm about silence counts nothing.",
    "percent": "An alarm about silence counts nothing.",
}


class AlarmEpisodeSerializer(serializers.ModelSerializer):
    source = serializers.UUIDField(source="alarm.source_id", read_only=True)
    alarm = serializers.UUIDField(source="alarm_id", read_only=True)
    kind = serializers.ChoiceField(source="alarm.kind", choices=KINDS, read_only=True)
    since = serializers.DateTimeField(read_only=True, help_text="When the trouble began, as far as it can be told.")
    ended = serializers.ChoiceField(
        choices=ENDED, allow_blank=True, read_only=True, help_text="Why it is over; empty while it goes on."
    )
    counted = serializers.IntegerField(
        read_only=True,
        help_text="Requests (authentication) or events (classification) that were looked at when it rang.",
    )
    failed = serializers.IntegerField(
        read_only=True, help_text="How many of them were refused for their proof, or fit no schema."
    )

    class Meta:
        model = AlarmEpisode
        fields = [
            "id",
            "alarm",
            "source",
            "kind",
            "since",
            "opened_at",
            "cleared_at",
            "ended",
            "window_minutes",
            "min_count",
            "percent",
            "counted",
            "failed",
        ]
        read_only_fields = fields


class AlarmSerializer(KnownFieldsOnly, serializers.ModelSerializer):
    source = serializers.UUIDField(source="source_id", read_only=True)
    source_name = serializers.CharField(source="source.name", read_only=True)
    window_minutes = serializers.IntegerField(
        min_value=SHORTEST_SILENCE // MINUTE,
        max_value=LONGEST_SILENCE // MINUTE,
        help_text="Silence: how long nothing may come, from 15 minutes to 30 days. Of the others it is fixed.",
    )
    min_count = serializers.IntegerField(
        min_value=1,
        max_value=MAX_COUNT,
        allow_null=True,
        help_text="Rings from so many on: refusals (authentication), events looked at (classification).",
    )
    percent = serializers.IntegerField(
        min_value=0,
        max_value=99,
        allow_null=True,
        help_text="Rings when more than so many percent were refused, or fit no schema.",
    )
    episode = serializers.SerializerMethodField(help_text="The episode that goes on, or null.")

    class Meta:
        model = Alarm
        fields = [
            "id",
            "source",
            "source_name",
            "kind",
            "enabled",
            "window_minutes",
            "min_count",
            "percent",
            "state",
            "state_changed_at",
            "watched_since",
            "episode",
        ]
        read_only_fields = ["id", "kind", "state", "state_changed_at", "watched_since"]

    def validate(self, values):
        kind = Kind(self.instance.kind)
        errors = {name: [FOREIGN[name]] for name in values.keys() - SETTINGS[kind]}
        errors |= {
            name: ["This field may not be null."]
            for name in ("min_count", "percent")
            if name not in errors and name in values and values[name] is None
        }
        if errors:
            raise serializers.ValidationError(errors)
        return values

    @extend_schema_field(AlarmEpisodeSerializer(allow_null=True))
    def get_episode(self, alarm):
        return AlarmEpisodeSerializer(alarm.open_episodes[0]).data if alarm.open_episodes else None
