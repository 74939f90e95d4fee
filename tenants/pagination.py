"""Cursor pagination, newest first by UUIDv7: stable while rows arrive, and the same cost on every page.

What is no table but worked out for each request goes by name instead.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from django.db import models
from django.http import HttpRequest
from rest_framework.exceptions import NotFound
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request


class LimitedPages(CursorPagination):
    page_size = 50
    page_size_query_param = "limit"
    max_page_size = 200


class NewestFirst(LimitedPages):
    ordering = "-id"

    def decode_cursor(self, request):
        """Whatever somebody made up as a cursor is a 404, like the malformed ones that DRF itself notices."""
        cursor = super().decode_cursor(request)
        if cursor is not None and cursor.position is not None:
            try:
                UUID(cursor.position)
            except ValueError:
                raise NotFound(self.invalid_cursor_message) from None
        return cursor


class Named(Protocol):
    name: str


class ByName(LimitedPages):
    """Pages of a sequence in memory that is sorted by name; no two rows have the same one."""

    def paginate_queryset(self, queryset: Sequence[Named], request: Request, view: object = None) -> list:
        self.base_url = request.build_absolute_uri()
        names = [row.name for row in queryset]
        cursor = self.decode_cursor(request) or Cursor(0, False, None)
        size = self.get_page_size(request)
        if cursor.reverse:
            end = len(names) if cursor.position is None else bisect_left(names, cursor.position)
            start = max(0, end - size)
        else:
            start = 0 if cursor.position is None else bisect_right(names, cursor.position)
            end = start + size
        self._next = Cursor(0, False, names[end - 1] if end else None) if end < len(names) else None
        self._previous = Cursor(0, True, names[start] if start < len(names) else None) if start else None
        return list(queryset[start:end])

    def get_next_link(self) -> str | None:
        return self.encode_cursor(self._next) if self._next else None

    def get_previous_link(self) -> str | None:
        return self.encode_cursor(self._previous) if self._previous else None


@dataclass(frozen=True)
class Page:
    """Rows of a list page, newest first, and the links to its neighbours (None where there are none)."""

    rows: list
    newer: str | None
    older: str | None


def page_of(queryset: models.QuerySet, request: HttpRequest, size: int = 50) -> Page:
    """The page that `?before=<id>` or `?after=<id>` names, else the newest. Filters stay in the links.

    The queryset's rows have UUIDv7 keys; its order is replaced. An id that is none is ignored.
    """
    before, after = _identifier(request, "before"), _identifier(request, "after")
    if after:
        found = list(queryset.filter(pk__gt=after).order_by("pk")[: size + 1])
        more_newer, more_older, rows = len(found) > size, True, found[:size][::-1]
        if not more_newer and len(rows) < size:  # the newest page: show it full
            return page_of(queryset, _without_cursor(request), size)
    else:
        found = list((queryset.filter(pk__lt=before) if before else queryset).order_by("-pk")[: size + 1])
        more_newer, more_older, rows = before is not None, len(found) > size, found[:size]
        if before and not rows:  # what it pointed below is gone: no dead end
            return page_of(queryset, _without_cursor(request), size)
    return Page(
        rows,
        _link(request, after=rows[0].pk) if rows and more_newer else None,
        _link(request, before=rows[-1].pk) if rows and more_older else None,
    )


def _identifier(request: HttpRequest, name: str) -> UUID | None:
    try:
        return UUID(request.GET.get(name, ""))
    except ValueError:
        return None


def _without_cursor(request: HttpRequest) -> HttpRequest:
    request = copy(request)
    request.GET = request.GET.copy()
    request.GET.pop("after", None)
    request.GET.pop("before", None)
    return request


def _link(request: HttpRequest, **cursor: UUID) -> str:
    query = _without_cursor(request).GET
    query.update({name: str(value) for name, value in cursor.items()})
    return f"{request.path}?{query.urlencode()}"
