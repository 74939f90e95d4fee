"""What the live list asks for while it waits: how many rows that fit came since it was drawn.

The list itself is fetched again only when there are some, so waiting costs one glance at what is newest.
"""

from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlencode

from django.db import models
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from events.looking import GLANCE, identifier_in, look
from events.search import BoundedFilter, TooSlow
from tenants.ids import lowest_uuid7, time_of

LATE = timedelta(seconds=5)  # an id is made before its commit: what is committed later may sort below what is shown
COUNTED = 50


@dataclass(frozen=True)
class Marker:
    """`url` asks again; `count` have come, or more than that."""

    url: str
    count: int = 0
    is_more: bool = False
    query: str = ""


def marker_of(request: HttpRequest, rows: list, route: str) -> Marker:
    """Of a list just drawn. Rows from a little before its newest on are counted, and those it shows taken off."""
    is_newest = not (request.GET.get("before") or request.GET.get("after"))
    if not is_newest or not rows:
        floor, known = lowest_uuid7(timezone.now() - (LATE if is_newest else timedelta())), 0
    else:
        floor = max(lowest_uuid7(time_of(rows[0].pk) - LATE), rows[-1].pk)
        known = sum(row.pk >= floor for row in rows)
    return Marker(f"{reverse(route)}?{urlencode({'floor': floor, 'known': known})}&{request.GET.urlencode()}")


def new_since(request: HttpRequest, kind: type[BoundedFilter], model: type[models.Model]) -> Marker:
    """The marker again, with what has come meanwhile. Its `query` leads to the newest page, from whichever page."""
    query = request.GET.copy()
    floor = identifier_in(request, "floor") or lowest_uuid7(timezone.now())
    known = int(text) if (text := query.get("known", "")).isdecimal() and len(text) < 4 else 0
    for name in ("floor", "known", "before", "after"):
        query.pop(name, None)
    wanted = kind(query, queryset=model.objects.filter(pk__gte=floor).only("pk"))
    try:
        found = look(wanted, known + COUNTED + 1, budget=GLANCE)
    except TooSlow:
        return Marker(request.get_full_path(), query=query.urlencode())
    count = max(0, len(found.rows) - known)
    is_more = count > COUNTED or found.stopped_at is not None and count > 0
    return Marker(request.get_full_path(), min(count, COUNTED), is_more, query.urlencode())
