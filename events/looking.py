"""How far a search looks: a bounded number of rows for a bounded time, and always an answer.

Rows are looked at in slices along the index, newest first. A slice's end is found in the index, then the filters
run between the two ends. Slices grow as fast as the rows let them. When a page is full, or the budget spent, the
search says where it stopped; the link to what is older goes on from there. So a search costs the same whatever is
stored, and nobody waits for a result that has to be thrown away.
"""

import time
from dataclasses import dataclass
from uuid import UUID

from django.db import models
from django.http import HttpRequest
from rest_framework.pagination import Cursor
from rest_framework.response import Response

from events import search
from events.search import BoundedFilter, TooSlow, bounded_time
from tenants.ids import time_of
from tenants.pagination import NewestFirst

FIRST_SLICE = 500  # rows; of the largest payloads that can be searched these are 128 MB
LARGEST_SLICE = 100_000
GROWTH = 8
OVERRUN = 0.5  # seconds that a slice may take beyond the budget before it is stopped


@dataclass(frozen=True)
class Budget:
    rows: int
    seconds: float


PAGE = Budget(200_000, 1.5)
GLANCE = Budget(5_000, 0.5)  # of the live list, again and again

now = time.monotonic


@dataclass(frozen=True)
class Found:
    """Rows in the direction looked. `stopped_at` is the last id looked at, where the budget ended before the rows."""

    rows: list
    stopped_at: UUID | None = None
    looked: int = 0


def look(
    wanted: BoundedFilter,
    size: int,
    *,
    below: UUID | None = None,
    above: UUID | None = None,
    budget: Budget | None = None,
) -> Found:
    """At most `size` rows that fit: the newest (below an id), or with `above` the oldest of those that are newer.

    Raises TooSlow where not even a part could be looked at in time.
    """
    budget = budget or PAGE
    upward = above is not None
    order = "pk" if upward else "-pk"
    edge = above if upward else below
    if wanted.is_exact:
        with bounded_time(in_order=wanted.in_order):
            return Found(list(_beyond(wanted.qs, edge, upward).order_by(order)[:size]))
    started, looked, length, patience = now(), 0, min(FIRST_SLICE, budget.rows), search.PATIENCE
    rows: list = []
    while True:
        try:
            with bounded_time(patience):
                end = _end_of_slice(_beyond(wanted.base, edge, upward), order, length)
                part = _up_to(_beyond(wanted.qs, edge, upward), end, upward)
                rows += part.order_by(order)[: size - len(rows)]
        except TooSlow:
            if not looked:
                raise
            return Found(rows, edge, looked)
        if len(rows) >= size or end is None:
            return Found(rows, None, looked)
        looked, edge = looked + length, end
        left = budget.seconds - (now() - started)
        if looked >= budget.rows or left <= 0:
            return Found(rows, edge, looked)
        pace = looked / max(now() - started, 0.001)  # rows a second; half of that, for what follows may be cold
        length = min(length * GROWTH, LARGEST_SLICE, budget.rows - looked, max(FIRST_SLICE, int(pace * left / 2)))
        patience = min(search.PATIENCE, int((left + OVERRUN) * 1000))


def _beyond(queryset: models.QuerySet, edge: UUID | None, upward: bool) -> models.QuerySet:
    if edge is None:
        return queryset
    return queryset.filter(pk__gt=edge) if upward else queryset.filter(pk__lt=edge)


def _up_to(queryset: models.QuerySet, end: UUID | None, upward: bool) -> models.QuerySet:
    if end is None:
        return queryset
    return queryset.filter(pk__lte=end) if upward else queryset.filter(pk__gte=end)


def _end_of_slice(base: models.QuerySet, order: str, length: int) -> UUID | None:
    """The id of the slice's last row; None where fewer rows are left."""
    return next(iter(base.order_by(order).values_list("pk", flat=True)[length - 1 : length]), None)


@dataclass(frozen=True)
class SearchPage:
    """Rows newest first, and from where to go on: ids, None where there is nothing more."""

    rows: list
    newer: UUID | None
    older: UUID | None
    looked: int = 0
    stopped_at: UUID | None = None

    @property
    def searched_to(self):
        """The moment back to which the search got, where it had to stop before the end."""
        return time_of(self.stopped_at) if self.stopped_at else None


def page_of_search(
    wanted: BoundedFilter, size: int, *, before: UUID | None = None, after: UUID | None = None
) -> SearchPage:
    """The page below `before` or above `after`, else the newest."""
    if after is not None:
        found = look(wanted, size + 1, above=after)
        rows = found.rows[:size][::-1]
        more = len(found.rows) > size
        newer = (rows[0].pk if rows else None) if more else found.stopped_at
        return SearchPage(rows, newer, rows[-1].pk if rows else _next_above(after), found.looked, None)
    found = look(wanted, size + 1, below=before)
    rows = found.rows[:size]
    if len(found.rows) > size:
        return SearchPage(rows, _first(rows, before), rows[-1].pk, found.looked)
    return SearchPage(rows, _first(rows, before), found.stopped_at, found.looked, found.stopped_at)


def _first(rows: list, before: UUID | None) -> UUID | None:
    """Above which id stands what is newer than a page; None for the newest page."""
    if before is None:
        return None
    return rows[0].pk if rows else UUID(int=max(before.int - 1, 0))


def _next_above(after: UUID) -> UUID:
    return UUID(int=min(after.int + 1, 2**128 - 1))


class SearchPagination(NewestFirst):
    """NewestFirst over a bounded search. A page may be short, or empty, and have a `next` all the same."""

    def paginate_queryset(self, queryset, request, view=None):
        """The view's `wanted` is the filter that made the queryset."""
        self.request = request
        self.page_size = self.get_page_size(request)
        self.base_url = request.build_absolute_uri()
        cursor = self.decode_cursor(request)
        at = UUID(cursor.position) if cursor and cursor.position else None
        upward = bool(cursor and cursor.reverse)
        self.found = page_of_search(
            view.wanted, self.page_size, before=None if upward else at, after=at if upward else None
        )
        return self.found.rows

    def get_next_link(self):
        return self._link(self.found.older, reverse=False)

    def get_previous_link(self):
        return self._link(self.found.newer, reverse=True)

    def _link(self, at: UUID | None, *, reverse: bool) -> str | None:
        return at and self.encode_cursor(Cursor(offset=0, reverse=reverse, position=str(at)))

    def get_paginated_response(self, data):
        whole = super().get_paginated_response(data).data
        return Response(whole | {"searched_to": self.found.searched_to})

    def get_paginated_response_schema(self, schema):
        described = super().get_paginated_response_schema(schema)
        described["properties"]["searched_to"] = {
            "type": "string",
            "format": "date-time",
            "nullable": True,
            "description": "How far back the search got before it stopped; `next` goes on from there. "
            "null where it looked at everything.",
        }
        return described


@dataclass(frozen=True)
class PageLinks:
    """What `components/pager.html` and the notes of a search want to know."""

    rows: list
    newer: str | None = None
    older: str | None = None
    looked: int = 0
    searched_to: object = None


def links_of(wanted: BoundedFilter, request: HttpRequest, size: int) -> PageLinks:
    """The page that `?before=<id>` or `?after=<id>` names, else the newest. Filters stay in the links."""
    before, after = identifier_in(request, "before"), identifier_in(request, "after")
    page = page_of_search(wanted, size, before=before, after=after)
    if (after and page.newer is None and len(page.rows) < size) or (before and not page.rows and not page.older):
        page = page_of_search(wanted, size)  # the newest page, shown full; or what it pointed below is gone

    def link(**cursor: UUID | None) -> str | None:
        query = request.GET.copy()
        query.pop("before", None)
        query.pop("after", None)
        query.update({name: str(value) for name, value in cursor.items()})
        return None if None in cursor.values() else f"{request.path}?{query.urlencode()}"

    return PageLinks(page.rows, link(after=page.newer), link(before=page.older), page.looked, page.searched_to)


def identifier_in(request: HttpRequest, name: str) -> UUID | None:
    """A page's cursor; one that is none is ignored."""
    try:
        return UUID(request.GET.get(name, ""))
    except ValueError:
        return None
