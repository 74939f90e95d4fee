"""Finding what arrived (P17): the query parameters of events and receipts, for the API, the pages and the export alike.

Time, source and receipt are ranges of an index, and refusals have one of their own (`by_index`). All else is looked
for row by row, newest first, without an index that every event that comes in would have to pay for:
`events.looking` bounds how many rows one request looks at.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import django_filters
from django import forms
from django.core.validators import RegexValidator
from django.db import OperationalError, connection, models, transaction
from django.db.models import Q
from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from psycopg.errors import QueryCanceled
from rest_framework.exceptions import APIException

from events.conditions import MAX_CONDITIONS, Condition, ConditionError, parse
from events.models import Event, Receipt, SchemaVersion, Severity
from events.payloads import Holds, PayloadText
from tenants.ids import time_of

PATIENCE = 5000  # milliseconds
MAX_WORDS = 200  # characters
MADE_WITHIN = timedelta(minutes=1)  # of its receipt an event gets its id
RANGES = {
    "1h": ("Last hour", timedelta(hours=1)),
    "24h": ("Last 24 hours", timedelta(hours=24)),
    "7d": ("Last 7 days", timedelta(days=7)),
    "30d": ("Last 30 days", timedelta(days=30)),
}
# Walk an index in order and stop, whatever else looks cheaper. PostgreSQL takes the row security policy to let one
# row in a hundred through; believing in so few, it would read and sort a tenant's every row to find the newest fifty.
IN_ORDER = {
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_sort": "off",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
}


class TooSlow(APIException):
    """The search took longer than PATIENCE."""

    status_code = 422
    default_detail = "The search took too long. Give a shorter time, or filter by source."
    default_code = "too_slow"


@contextmanager
def bounded_time(milliseconds: int | None = None, *, in_order: bool = True) -> Iterator[None]:
    """Queries inside walk indexes and are each stopped after PATIENCE, which raises TooSlow.

    `in_order=False` for those that an index finds few rows for, in no order: these have to be sorted. The transaction
    around goes on.
    """
    settings = (IN_ORDER if in_order else {}) | {"statement_timeout": str(milliseconds or PATIENCE)}
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("; ".join(f"SET LOCAL {name} = {value}" for name, value in settings.items()))
            yield
            cursor.execute("; ".join(f"SET LOCAL {name} TO DEFAULT" for name in settings))
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            raise TooSlow from error
        raise


class Words(models.Func):
    """Do all of these texts together hold a word, whatever the case of its letters?

    One ILIKE over the joined texts: a third of the time of an OR of `icontains`, which copies each in capitals.
    """

    output_field = models.BooleanField()

    def __init__(self, word: str, *texts: str | models.Expression) -> None:
        super().__init__(*texts)
        self.word = word

    def as_sql(self, compiler, connection, **context):
        parts, params = [], []
        for expression in self.source_expressions:
            sql, given = compiler.compile(expression)
            parts.append(f"coalesce({sql}::text, '')")
            params += given
        joined = " || E'\\n' || ".join(parts)
        return f"({joined} ILIKE %s)", [*params, f"%{connection.ops.prep_for_like_query(self.word)}%"]


class ManyTexts(forms.MultipleHiddenInput):
    """A parameter that may be given several times."""


class ConditionsField(forms.Field):
    """`where`, up to MAX_CONDITIONS times. Cleans to a list of `Condition`, each once."""

    widget = ManyTexts

    def clean(self, value) -> list[Condition]:
        texts = list(dict.fromkeys(text.strip() for text in value or [] if text.strip()))
        if len(texts) > MAX_CONDITIONS:
            raise forms.ValidationError(f"At most {MAX_CONDITIONS} conditions can be asked at once.")
        try:
            return [parse(text) for text in texts]
        except ConditionError as error:
            raise forms.ValidationError(str(error)) from None


@extend_schema_field({"type": "array", "items": {"type": "string"}, "maxItems": MAX_CONDITIONS})
class ConditionsFilter(django_filters.Filter):
    field_class = ConditionsField


class BoundedFilter(django_filters.FilterSet):
    """Query parameters of a list that `events.looking` looks through in slices."""

    in_order = True  # whether an index gives the rows in the order of the list

    @property
    def given(self) -> dict:
        """The parameters that were given and could be read, by name."""
        values = self.form.cleaned_data if self.is_bound and self.errors is not None else {}
        return {name: value for name, value in values.items() if value not in (None, "", [])}

    @property
    def is_exact(self) -> bool:
        """Does an index find just the rows asked for, so that none are looked at in vain?"""
        return not self.given.keys() - self.by_index

    @property
    def by_index(self) -> frozenset[str]:
        """The parameters that an index answers."""
        raise NotImplementedError

    @property
    def base(self):
        """The rows that have to be looked at: those that an index finds, whatever else is asked of them."""
        queryset = self.queryset.all()
        for name in self.by_index & self.filters.keys():
            queryset = self.filters[name].filter(queryset, self.given.get(name))
        return queryset


class ArrivedFilter(BoundedFilter):
    """Query parameters of events and receipts."""

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
    def identifier(self) -> uuid.UUID | None:
        """What `q` asks for, where that is an id."""
        return _identifier(self.given.get("q", ""))

    @property
    def is_exact(self) -> bool:
        return self.identifier is not None or super().is_exact

    @property
    def by_index(self) -> frozenset[str]:
        return frozenset({"since", "until", "range", "source", "receipt"})


class EventFilter(ArrivedFilter):
    type = django_filters.CharFilter(
        method="by_type", max_length=128, help_text="An event type, or its beginning and `*`: `order.*`."
    )
    severity = django_filters.ChoiceFilter(choices=Severity.choices)
    receipt = django_filters.UUIDFilter(method="by_receipt", help_text="Events that one request brought.")
    parsed = django_filters.BooleanFilter(
        method="by_parsed", help_text="Whether the payload could be read, so that its fields can be searched."
    )
    schema = django_filters.CharFilter(
        method="by_schema",
        validators=[RegexValidator(r"\A(failed|none|[0-9a-fA-F-]{32,36})\Z", "Give a schema's id, failed or none.")],
        help_text="The id of the schema that accepts it; `failed`: it fits none; `none`: it was not checked.",
    )
    where = ConditionsFilter(
        method="by_conditions",
        help_text=f"`user.id=42`, `user.id!=42`, `user.id` (there is one) or `!user.id`; up to {MAX_CONDITIONS} times.",
    )
    q = django_filters.CharFilter(
        method="by_words",
        max_length=MAX_WORDS,
        help_text="The id of an event or a receipt, or words in type, title or payload.",
    )

    class Meta:
        model = Event
        fields = []

    def by_type(self, queryset, name, value):
        if value.endswith("*"):
            return queryset.filter(type__startswith=value.removesuffix("*"))
        return queryset.filter(type=value)

    def by_receipt(self, queryset, name, value):
        """Ids say when: the range prunes partitions, and only ids made by the door (v7) can have events."""
        return queryset.made_of(Receipt(pk=value)) if _is_of_our_time(value) else queryset.none()

    def by_parsed(self, queryset, name, value):
        return queryset.filter(data_problem="") if value else queryset.exclude(data_problem="")

    def by_schema(self, queryset, name, value):
        if value == "failed":
            return queryset.exclude(schema_problem="")
        if value == "none":
            return queryset.filter(schema_version_id=None, schema_problem="")
        versions = SchemaVersion.objects.filter(schema=_identifier(value)).values_list("pk", flat=True)
        return queryset.filter(schema_version_id__in=list(versions))

    def by_conditions(self, queryset, name, value):
        for condition in value:
            queryset = queryset.filter(Holds(condition))
        return queryset

    def by_words(self, queryset, name, value):
        if (identifier := _identifier(value)) is not None:
            if not _is_of_our_time(identifier):
                return queryset.filter(id=identifier)
            at = time_of(identifier)
            nearby = queryset.since(at).before(at + MADE_WITHIN)
            return nearby.filter(Q(id=identifier) | Q(receipt_id=identifier))
        for word in value.split():
            queryset = queryset.filter(Words(word, "type", "title", PayloadText()))
        return queryset


class ReceiptFilter(ArrivedFilter):
    status = django_filters.ChoiceFilter(choices=Receipt.Status.choices)
    reason = django_filters.CharFilter(method="by_reason", max_length=40)
    status_code = django_filters.NumberFilter(min_value=100, max_value=599)
    q = django_filters.CharFilter(
        method="by_words", max_length=MAX_WORDS, help_text="An id, or words in reason, detail or headers."
    )

    class Meta:
        model = Receipt
        fields = []

    @property
    def by_index(self) -> frozenset[str]:
        """Refusals are few among many, and lie in an index of their own, which accepted receipts never touch."""
        refused = self.given.get("status") == Receipt.Status.REFUSED
        return super().by_index | {"status"} if refused else super().by_index

    @property
    def base(self):
        base = super().base
        return base.filter(status=Receipt.Status.REFUSED) if self.given.get("reason") else base

    def by_reason(self, queryset, name, value):
        """Only refusals have one."""
        return queryset.filter(status=Receipt.Status.REFUSED, reason=value)

    def by_words(self, queryset, name, value):
        if (identifier := _identifier(value)) is not None:
            return queryset.filter(id=identifier)
        for word in value.split():
            queryset = queryset.filter(Words(word, "reason", "detail", "headers"))
        return queryset


def _identifier(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text.strip())
    except ValueError:
        return None


def _is_of_our_time(identifier: uuid.UUID) -> bool:
    """A UUIDv7 whose time is one: 48 bits of milliseconds reach beyond the year 9999."""
    return identifier.version == 7 and identifier.int >> 80 < 253_402_300_000_000
