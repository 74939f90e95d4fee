"""The delivery log's filters, for the API and the page alike."""

from uuid import UUID

import django_filters as filters
from django import forms
from django.db import models
from django.utils import timezone
from drf_spectacular.utils import extend_schema_field

from deliveries.models import Attempt, Delivery
from events.search import RANGES, BoundedFilter, ManyTexts
from tenants.ids import lowest_uuid7

MAX_CHOSEN = 200


class IdsField(forms.Field):
    """A parameter that may be given several times. Cleans to a list of ids, each once."""

    widget = ManyTexts

    def clean(self, value) -> list[UUID]:
        texts = [text.strip() for text in value or [] if text.strip()]
        if len(texts) > MAX_CHOSEN:
            raise forms.ValidationError(f"At most {MAX_CHOSEN} can be asked for at once.")
        try:
            return list(dict.fromkeys(UUID(text) for text in texts))
        except ValueError:
            raise forms.ValidationError("Enter valid UUIDs.") from None


@extend_schema_field({"type": "array", "items": {"type": "string", "format": "uuid"}, "maxItems": MAX_CHOSEN})
class IdsFilter(filters.Filter):
    field_class = IdsField


class DeliveryFilter(BoundedFilter):
    """Time and subscription are ranges of an index. An event, a notice and the deliveries themselves are found by
    indexes of their own, few at a time; all else is looked for row by row (`events.looking`)."""

    POINTED = frozenset({"event", "notice", "delivery"})

    delivery = IdsFilter(method="filter_delivery", label="Just these; up to 200 times.")
    subscription = filters.UUIDFilter(field_name="subscription_id")
    event = filters.UUIDFilter(field_name="event_id")
    notice = filters.UUIDFilter(field_name="notice_id")
    status = filters.MultipleChoiceFilter(choices=Delivery.Status.choices)
    kind = filters.ChoiceFilter(choices=Delivery.Kind.choices)
    event_type = filters.CharFilter(field_name="event_type")
    range = filters.ChoiceFilter(
        method="filter_range", choices=[(name, label) for name, (label, _) in RANGES.items()], label="Created lately."
    )
    since = filters.IsoDateTimeFilter(method="filter_since", label="Created at or after (RFC 3339)")
    until = filters.IsoDateTimeFilter(method="filter_until", label="Created before (RFC 3339)")

    class Meta:
        model = Delivery
        fields: list[str] = []

    @property
    def by_index(self) -> frozenset[str]:
        return frozenset({"subscription", "range", "since", "until"})

    @property
    def is_pointed(self) -> bool:
        return bool(self.given.keys() & self.POINTED)

    @property
    def is_exact(self) -> bool:
        return self.is_pointed or super().is_exact

    @property
    def in_order(self) -> bool:
        return not self.is_pointed

    def filter_delivery(self, queryset: models.QuerySet, name: str, value) -> models.QuerySet:
        return queryset.filter(id__in=value)

    def filter_range(self, queryset: models.QuerySet, name: str, value) -> models.QuerySet:
        return queryset.filter(id__gte=lowest_uuid7(timezone.now() - RANGES[value][1]))

    def filter_since(self, queryset: models.QuerySet, name: str, value) -> models.QuerySet:
        return queryset.filter(id__gte=lowest_uuid7(value))

    def filter_until(self, queryset: models.QuerySet, name: str, value) -> models.QuerySet:
        return queryset.filter(id__lt=lowest_uuid7(value))


class AttemptFilter(filters.FilterSet):
    delivery = filters.UUIDFilter(field_name="delivery_id")
    subscription = filters.UUIDFilter(field_name="subscription_id")
    outcome = filters.CharFilter()

    class Meta:
        model = Attempt
        fields: list[str] = []
