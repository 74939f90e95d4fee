"""The delivery log's filters, for the API and the page alike."""

import django_filters as filters
from django.db import models

from deliveries.models import Attempt, Delivery
from tenants.ids import lowest_uuid7


class DeliveryFilter(filters.FilterSet):
    subscription = filters.UUIDFilter(field_name="subscription_id")
    event = filters.UUIDFilter(field_name="event_id")
    notice = filters.UUIDFilter(field_name="notice_id")
    status = filters.MultipleChoiceFilter(choices=Delivery.Status.choices)
    kind = filters.ChoiceFilter(choices=Delivery.Kind.choices)
    event_type = filters.CharFilter(field_name="event_type")
    since = filters.IsoDateTimeFilter(method="filter_since", label="Created at or after (RFC 3339)")
    until = filters.IsoDateTimeFilter(method="filter_until", label="Created before (RFC 3339)")

    class Meta:
        model = Delivery
        fields: list[str] = []

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
