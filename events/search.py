"""Finding what arrived: time becomes a range of ids, so that partitions prune; words are looked for in a bounded time.

Words look through payloads row by row, without an index. Where no time is given they look at the last
SEARCHED_WINDOW, and whatever is given, the database stops after PATIENCE.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import django_filters
from django.db import OperationalError, connection, transaction
from django.db.models import Q, TextField
from django.db.models.functions import Cast
from django.utils import timezone
from psycopg.errors import QueryCanceled
from rest_framework.exceptions import APIException

from events.models import Event, Receipt, Severity

SEARCHED_WINDOW = timedelta(hours=24)
PATIENCE = 5000  # milliseconds
MAX_WORDS = 200  # characters
RANGES = {
    "1h": ("Last hour", timedelta(hours=1)),
    "24h": ("Last 24 hours", timedelta(hours=24)),
    "7d": ("Last 7 days", timedelta(days=7)),
    "30d": ("Last 30 days", timedelta(days=30)),
}


class TooSlow(APIException):
    """The search took longer than PATIENCE."""

    status_code = 422
    default_detail = "The search took too long. Give a shorter time, or filter by source or type."
    default_code = "too_slow"


@contextmanager
def bounded_time() -> Iterator[None]:
    """Queries inside are stopped after PATIENCE, which raises TooSlow; the transaction around goes on."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = {PATIENCE}")
            yield
            cursor.execute("SET LOCAL statement_timeout TO DEFAULT")
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            raise TooSlow from error
        raise


class ArrivedFilter(django_filters.FilterSet):
    """Query parameters of events and receipts, for the API and the pages alike."""

    since = django_filters.IsoDateTimeFilter(method="by_since", help_text="Received then or later (RFC 3339).")
    until = django_filters.IsoDateTimeFilter(method="by_until", help_text="Received before this moment (RFC 3339).")
    range = django_filters.ChoiceFilter(
        method="by_range", choices=[(name, label) for name, (label, _) in RANGES.items()], help_text="Received lately."
    )
    source = django_filters.UUIDFilter("source_id")
    site = django_filters.UUIDFilter("site_id")

    def by_since(self, queryset, name, value):
        return queryset.since(value)

    def by_until(self, queryset, name, value):
        return queryset.before(value)

    def by_range(self, queryset, name, value):
        return queryset.since(timezone.now() - RANGES[value][1])

    @property
    def is_narrowed(self) -> bool:
        """Whether words are looked for in the last SEARCHED_WINDOW only, because nothing says since when."""
        given = self.form.cleaned_data
        return bool(given.get("q")) and not (given.get("since") or given.get("range"))

    def in_bounded_window(self, queryset):
        if not self.is_narrowed:
            return queryset
        until = self.form.cleaned_data.get("until") or timezone.now()
        return queryset.since(until - SEARCHED_WINDOW)


class EventFilter(ArrivedFilter):
    type = django_filters.CharFilter(
        method="by_type", max_length=128, help_text="An event type, or its beginning and `*`: `order.*`."
    )
    severity = django_filters.ChoiceFilter(choices=Severity.choices)
    receipt = django_filters.UUIDFilter("receipt_id")
    q = django_filters.CharFilter(
        method="by_words",
        max_length=MAX_WORDS,
        help_text="An id, or words in the type or the payload. Without `since` or `range`: of the last 24 hours.",
    )

    class Meta:
        model = Event
        fields = []

    def by_type(self, queryset, name, value):
        if value.endswith("*"):
            return queryset.filter(type__startswith=value.removesuffix("*"))
        return queryset.filter(type=value)

    def by_words(self, queryset, name, value):
        if (identifier := _identifier(value)) is not None:
            return queryset.filter(Q(id=identifier) | Q(receipt_id=identifier))
        queryset = self.in_bounded_window(queryset).annotate(text=Cast("data", TextField()))
        for word in value.split():
            queryset = queryset.filter(Q(type__icontains=word) | Q(text__icontains=word))
        return queryset


class ReceiptFilter(ArrivedFilter):
    status = django_filters.ChoiceFilter(choices=Receipt.Status.choices)
    reason = django_filters.CharFilter(max_length=40)
    status_code = django_filters.NumberFilter(min_value=100, max_value=599)
    q = django_filters.CharFilter(
        method="by_words",
        max_length=MAX_WORDS,
        help_text="An id, or words in reason, detail or headers. Without `since` or `range`: of the last 24 hours.",
    )

    class Meta:
        model = Receipt
        fields = []

    def by_words(self, queryset, name, value):
        if (identifier := _identifier(value)) is not None:
            return queryset.filter(id=identifier)
        queryset = self.in_bounded_window(queryset).annotate(text=Cast("headers", TextField()))
        for word in value.split():
            queryset = queryset.filter(Q(reason__icontains=word) | Q(detail__icontains=word) | Q(text__icontains=word))
        return queryset


def _identifier(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text.strip())
    except ValueError:
        return None
