"""Which events a subscription is sent, in the API: the fields of a choice, and what trying one answers."""

from collections.abc import Iterable
from uuid import UUID

from rest_framework import serializers

from sources.models import Source
from subscriptions.expressions import EVENT_FIELDS, MAX_LENGTH, clean_expression
from subscriptions.filters import clean_patterns
from subscriptions.models import Subscription
from subscriptions.trying import check_filter
from tenants.fields import KnownFieldsOnly
from tenants.models import Site

MAX_CHOSEN = 100


class ChoiceFields(serializers.Serializer):
    """The fields of a choice. What is not given is not narrowed (in a PATCH: not changed)."""

    event_types = serializers.ListField(
        child=serializers.CharField(max_length=200),
        required=False,
        help_text="Types or patterns such as user.*; none stands for all.",
    )
    sources = serializers.ListField(
        child=serializers.UUIDField(),
        required=False,
        max_length=MAX_CHOSEN,
        help_text="Only events of these sources; none stands for all, and for events of no source. One that is "
        "deleted stays until it is taken out: it sends no events.",
    )
    sites = serializers.ListField(
        child=serializers.UUIDField(),
        required=False,
        max_length=MAX_CHOSEN,
        help_text="Only events of these sites; none stands for all, and for events of no site.",
    )
    filter = serializers.CharField(
        required=False,
        allow_blank=True,
        trim_whitespace=False,
        style={"base_template": "textarea.html"},
        help_text=f"A CEL expression over `event` ({', '.join(EVENT_FIELDS)}) and `payload` (null without one), up to "
        f"{MAX_LENGTH} characters: events of which it says true are sent. An error is no match, and is counted. "
        "Empty: no filter.",
    )

    def validate_event_types(self, patterns: list[str]) -> list[str]:
        try:
            return clean_patterns(patterns)
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from None

    def validate_sources(self, ids: list[UUID]) -> list[UUID]:
        return _known(ids, Source.objects.present(), "sources", "There is no such source: {}.")

    def validate_sites(self, ids: list[UUID]) -> list[UUID]:
        return _known(ids, Site.objects.all(), "sites", "There is no such site: {}.")

    def validate_filter(self, text: str) -> str:
        """One that is saved already is not asked about again."""
        try:
            text = clean_expression(text)
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from None
        if text and text != getattr(self.instance, "filter", ""):
            problem = check_filter(text)
            if problem:
                raise serializers.ValidationError(problem)
        return text


def _known(ids: Iterable[UUID], present, field: str, sentence: str) -> list[UUID]:
    """Each once. One that is gone may stay where it is: taking it out without a word would widen the choice."""
    ids = list(dict.fromkeys(ids))
    missing = set(ids) - set(present.filter(pk__in=ids).values_list("pk", flat=True))
    if missing:
        kept = Subscription.objects.present().filter(**{f"{field}__overlap": list(missing)})
        missing -= {one for chosen in kept.values_list(field, flat=True) for one in chosen}
    if missing:
        raise serializers.ValidationError([sentence.format(one) for one in ids if one in missing])
    return ids


class TryChoiceSerializer(KnownFieldsOnly, ChoiceFields):
    min_severity = serializers.ChoiceField(Subscription._meta.get_field("min_severity").choices, required=False)


class TriedEventSerializer(serializers.Serializer):
    id = serializers.UUIDField(source="event.pk")
    type = serializers.CharField(source="event.type")
    severity = serializers.CharField(source="event.severity")
    received_at = serializers.DateTimeField(source="event.received_at")
    matched = serializers.BooleanField()
    verdict = serializers.CharField(help_text="Whether it would be sent, and why not, in words.")


class FilterProblemSerializer(serializers.Serializer):
    problem = serializers.CharField()
    count = serializers.IntegerField()


class ChoiceTrialSerializer(serializers.Serializer):
    """What a choice makes of the latest events."""

    tried = serializers.IntegerField()
    matched = serializers.IntegerField()
    is_whole = serializers.BooleanField(help_text="false: it took too long; older events were not tried.")
    summary = serializers.CharField(help_text="The same in words.")
    events = TriedEventSerializer(many=True, help_text="Newest first.")
    problems = FilterProblemSerializer(many=True, help_text="What went wrong with the filter; the most frequent first.")


class FilterErrorsSerializer(serializers.Serializer):
    """Events that the filter said nothing of since it was last changed."""

    count = serializers.IntegerField(source="filter_errors")
    last = serializers.CharField(source="filter_error", help_text="What was wrong with the last one.")
    last_event = serializers.UUIDField(source="filter_error_event", allow_null=True)
