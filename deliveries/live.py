"""What the live log asks for while it waits: rows that came since it was drawn, and whether those shown went on.

Events never change; a delivery does, from pending to its end. So beside `events.live`'s count of what is new the log
remembers, in `seen`, how its rows stood.
"""

import hashlib
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace

from django.http import HttpRequest

from deliveries.filters import DeliveryFilter
from deliveries.models import Delivery
from events import live
from events.looking import links_of
from events.search import TooSlow

ROUTE = "deliveries_new"


@dataclass(frozen=True)
class Marker(live.Marker):
    has_changed: bool = False


def marker_of(request: HttpRequest, rows: Sequence[Delivery]) -> Marker:
    """Of a log just drawn."""
    return Marker(f"{live.marker_of(request, list(rows), ROUTE).url}&seen={_standing(rows)}")


def news(request: HttpRequest, size: int) -> Marker:
    """The marker again, with what has come, and whether one of the `size` newest rows that fit has changed."""
    seen = request.GET.get("seen", "")
    asked = copy(request)
    asked.GET = request.GET.copy()
    asked.GET.pop("seen", None)
    counted = live.new_since(asked, DeliveryFilter, Delivery)
    marker = Marker(counted.url, counted.count, counted.is_more, counted.query)
    if counted.count or request.GET.get("before") or request.GET.get("after"):
        return marker
    for name in ("floor", "known"):
        asked.GET.pop(name, None)
    rows = Delivery.objects.only("id", "status", "attempt_count")
    try:
        page = links_of(DeliveryFilter(asked.GET, queryset=rows), asked, size)
    except TooSlow:
        return marker
    return replace(marker, has_changed=_standing(page.rows) != seen)


def _standing(rows: Sequence[Delivery]) -> str:
    text = " ".join(f"{row.pk}:{row.status}:{row.attempt_count}" for row in rows)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
