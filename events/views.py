"""Pages of what arrived. They only read."""

import re

from django.conf import settings
from django.db.models import BinaryField, F, Func, Value
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.cache import patch_vary_headers

from events.arrivals import DETAILS
from events.intake import REFUSED_BODY_BYTES
from events.models import Event, Receipt, Severity
from events.reasons import EXPLANATIONS
from events.search import RANGES, EventFilter, ReceiptFilter, TooSlow, bounded_time
from sources.models import Source
from tenants.models import Site
from tenants.pages import is_slot, requires
from tenants.pagination import Page, page_of
from tenants.permissions import Permission

SEVERITY_KIND = {"low": "idle", "medium": "warn", "high": "bad"}
PREVIEW_BYTES = 160
RAW_SHOWN = 65_536  # characters
LISTED_EVENTS = 20  # of one receipt
SLOT_ROWS = 10

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SPACES = re.compile(r"\s+")


@requires(Permission.READ)
def events(request: HttpRequest) -> HttpResponse:
    """The list, or only its table where htmx asks: the live tail fetches that again and again."""
    preview = Func(F("body"), Value(1), Value(PREVIEW_BYTES), function="substring", output_field=BinaryField())
    wanted = EventFilter(
        request.GET,
        queryset=Event.objects.select_related("source", "site").defer("body", "data").annotate(beginning=preview),
    )
    page, too_slow = _page(wanted, request)
    rows = [(event, SEVERITY_KIND[event.severity], _one_line(event.beginning)) for event in page.rows]
    context = {"rows": rows, "severities": Severity.choices, "example": _example()} | _list(
        request, wanted, page, too_slow
    )
    return _render(request, "events/_event_table.html" if request.htmx else "events/event_list.html", context)


@requires(Permission.READ)
def event(request: HttpRequest, pk) -> HttpResponse:
    found = get_object_or_404(Event.objects.select_related("source", "site"), pk=pk)
    body = bytes(found.body)
    context = {
        "event": found,
        "kind": SEVERITY_KIND[found.severity],
        "body": body,
        "raw": _raw_text(body),
        "receipt": Receipt.objects.filter(pk=found.receipt_id).defer("body").first() if found.receipt_id else None,
        "download": reverse("api-event-raw", args=[found.pk]),
        "nav": "events",
    }
    panel = request.htmx and request.htmx.target == "panel"
    return _render(request, "events/_event_panel.html" if panel else "events/event_detail.html", context)


@requires(Permission.READ)
def receipts(request: HttpRequest) -> HttpResponse:
    """Every request that came, accepted or refused; only the table where htmx asks."""
    wanted = ReceiptFilter(
        request.GET, queryset=Receipt.objects.select_related("source", "site").defer("body", "headers")
    )
    page, too_slow = _page(wanted, request)
    context = {"rows": page.rows, "statuses": Receipt.Status.choices, "reasons": sorted(EXPLANATIONS)} | _list(
        request, wanted, page, too_slow
    )
    return _render(request, "events/_receipt_table.html" if request.htmx else "events/receipt_list.html", context)


@requires(Permission.READ)
def receipt(request: HttpRequest, pk) -> HttpResponse:
    found = get_object_or_404(Receipt.objects.select_related("source", "site"), pk=pk)
    body = found.kept_bytes
    refused = found.status == Receipt.Status.REFUSED
    context = {
        "receipt": found,
        "refused": refused,
        "told": DETAILS.get(found.status_code, "") if refused else "",
        "body": body,
        "is_cut": refused and found.body_size > REFUSED_BODY_BYTES,
        "events": Event.objects.made_of(found).defer("body", "data")[:LISTED_EVENTS],
        "download": reverse("api-receipt-raw", args=[found.pk]),
        "nav": "receipts",
    }
    panel = request.htmx and request.htmx.target == "panel"
    return _render(request, "events/_receipt_panel.html" if panel else "events/receipt_detail.html", context)


def _page(wanted, request: HttpRequest) -> tuple[Page, str]:
    """The page of rows, and a sentence where the search had to be stopped."""
    try:
        with bounded_time():
            return page_of(wanted.qs, request, size=SLOT_ROWS if is_slot(request) else 50), ""
    except TooSlow as error:
        return Page([], None, None), str(error.detail)


def _list(request: HttpRequest, wanted, page: Page, too_slow: str) -> dict:
    """What both lists need. A part that htmx fetches does not draw the filters."""
    context = {
        "page": page,
        "slot": is_slot(request),
        "too_slow": too_slow,
        "narrowed": wanted.is_narrowed,
        "active": any(request.GET.get(name) for name in wanted.filters),
    }
    if request.htmx:
        return context
    return context | {
        "sources": Source.objects.present().order_by("name"),
        "sites": Site.objects.order_by("name"),
        "ranges": [(name, label) for name, (label, _) in RANGES.items()],
    }


def _example() -> list[dict[str, str]]:
    """What to paste into a terminal while the list is empty."""
    url = f"{settings.PORTAL_URL}/in/"
    return [
        {
            "label": "curl",
            "code": f"curl {url}<key> \\\n  -H 'Content-Type: application/json' \\\n"
            '  -d \'{"type": "door.opened", "severity": "high"}\'',
        }
    ]


def _one_line(beginning: bytes | None) -> str:
    text = bytes(beginning or b"").decode("utf-8", "replace")
    return _CONTROL.sub("·", _SPACES.sub(" ", text)).strip()


def _raw_text(body: bytes) -> str | None:
    """The body as text, untouched; None for bytes that are none, which the page shows in hexadecimal."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return None if _CONTROL.search(text) else text[:RAW_SHOWN]


def _render(request: HttpRequest, template: str, context: dict) -> HttpResponse:
    response = render(request, template, context)
    patch_vary_headers(response, ["HX-Request", "HX-Target"])
    return response
