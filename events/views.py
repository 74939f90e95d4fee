"""Pages of what arrived. They only read."""

import re
from datetime import UTC

from django.conf import settings
from django.db.models import BinaryField, F, Func, Value
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.cache import patch_vary_headers

from events.arrivals import DETAILS
from events.conditions import Condition, Operator
from events.export import FORMATS
from events.intake import REFUSED_BODY_BYTES
from events.live import marker_of, new_since
from events.looking import PageLinks, links_of
from events.models import Event, Receipt, Severity
from events.reasons import EXPLANATIONS
from events.refusals import checks_of, comparison_of, groups_of, next_step
from events.schema_views import verdict_of
from events.search import RANGES, EventFilter, ReceiptFilter, TooSlow
from events.trees import tree_of
from sources.models import Source
from tenants.models import Site
from tenants.pages import is_slot, requires
from tenants.permissions import Permission

SEVERITY_KIND = {"low": "idle", "medium": "warn", "high": "bad"}
PREVIEW_BYTES = 160
RAW_SHOWN = 65_536  # characters
LISTED_EVENTS = 20  # of one receipt
SLOT_ROWS = 10
PAGE_ROWS = 50
BUILDER = ("field", "operator", "value", "add")
OPERATORS = [("=", "is"), ("!=", "is not"), ("exists", "exists"), ("absent", "is missing")]

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SPACES = re.compile(r"\s+")


def listed_events():
    """What a row of the list shows, and nothing else of an event."""
    preview = Func(F("body"), Value(1), Value(PREVIEW_BYTES), function="substring", output_field=BinaryField())
    rows = Event.objects.prefetch_related("source", "site")
    return rows.defer("body", "data").annotate(beginning=preview)


@requires(Permission.READ)
def events(request: HttpRequest) -> HttpResponse:
    """The list, or only its table where htmx asks: the live tail fetches that again and again."""
    asked, added = _with_condition(request.GET)
    if added is not None and not request.htmx:
        return redirect(f"{request.path}?{asked.urlencode()}")
    request.GET = asked
    wanted = EventFilter(asked, queryset=listed_events())
    page, too_slow = _page(wanted, request)
    rows = [(event, SEVERITY_KIND[event.severity], _one_line(event.beginning)) for event in page.rows]
    context = _list(request, wanted, page, too_slow, "events_new") | {
        "rows": rows,
        "severities": Severity.choices,
        "example": _example(),
        "conditions": [(str(one), _in_words(one), _without(asked, str(one))) for one in wanted.given.get("where", [])],
        "operators": OPERATORS,
        "builder": request.GET if added is None else None,
        "export": _exports("api-event-export", asked),
        "more_open": any(asked.get(name) for name in ("since", "until", "parsed", "schema", "where")),
    }
    response = _render(request, "events/_event_table.html" if request.htmx else "events/event_list.html", context)
    if added is not None:
        response["HX-Push-Url"] = f"{request.path}?{asked.urlencode()}"
    return response


@requires(Permission.READ)
def event(request: HttpRequest, pk) -> HttpResponse:
    found = get_object_or_404(Event.objects.select_related("source", "site"), pk=pk)
    body, payload = bytes(found.body), found.payload
    context = {
        "event": found,
        "kind": SEVERITY_KIND[found.severity],
        "body": body,
        "tree": tree_of(payload) if isinstance(payload, dict | list) else None,
        "raw": _raw_text(body),
        "raw_is_cut": len(body) > RAW_SHOWN,
        "receipt": Receipt.objects.filter(pk=found.receipt_id).defer("body").first() if found.receipt_id else None,
        "download": reverse("api-event-raw", args=[found.pk]),
        "verdict": verdict_of(found),
        "nav": "events",
    }
    panel = request.htmx and request.htmx.target == "panel"
    return _render(request, "events/_event_panel.html" if panel else "events/event_detail.html", context)


@requires(Permission.READ)
def events_new(request: HttpRequest) -> HttpResponse:
    """How many events that fit came since the list was drawn: what the live list asks for while it waits."""
    counted = new_since(request, EventFilter, Event)
    return _render(request, "events/_new.html", {"marker": counted, "list_url": reverse("events")})


@requires(Permission.READ)
def receipts(request: HttpRequest) -> HttpResponse:
    """Every request that came, accepted or refused; only the table where htmx asks."""
    wanted = ReceiptFilter(
        request.GET, queryset=Receipt.objects.prefetch_related("source", "site").defer("body", "headers", "evidence")
    )
    page, too_slow = _page(wanted, request)
    context = _list(request, wanted, page, too_slow, "receipts_new") | {
        "rows": page.rows,
        "statuses": Receipt.Status.choices,
        "reasons": sorted(EXPLANATIONS),
        "export": _exports("api-receipt-export", request.GET),
        "tabs": _receipt_tabs("receipts"),
    }
    return _render(request, "events/_receipt_table.html" if request.htmx else "events/receipt_list.html", context)


@requires(Permission.READ)
def receipts_new(request: HttpRequest) -> HttpResponse:
    counted = new_since(request, ReceiptFilter, Receipt)
    return _render(request, "events/_new.html", {"marker": counted, "list_url": reverse("receipts")})


@requires(Permission.READ)
def receipt(request: HttpRequest, pk) -> HttpResponse:
    found = get_object_or_404(Receipt.objects.select_related("source", "site"), pk=pk)
    body = found.kept_bytes
    refused = found.status == Receipt.Status.REFUSED
    context = {
        "receipt": found,
        "refused": refused,
        "told": DETAILS.get(found.status_code, "") if refused else "",
        "next_step": next_step(found.reason) if refused else "",
        "comparison": comparison_of(found) if refused else [],
        "checks": checks_of(found) if refused else None,
        "hint": (found.evidence or {}).get("hint", ""),
        "body": body,
        "is_cut": refused and found.body_size > REFUSED_BODY_BYTES,
        "events": Event.objects.made_of(found).defer("body", "data")[:LISTED_EVENTS],
        "download": reverse("api-receipt-raw", args=[found.pk]),
        "nav": "receipts",
    }
    panel = request.htmx and request.htmx.target == "panel"
    return _render(request, "events/_receipt_panel.html" if panel else "events/receipt_detail.html", context)


@requires(Permission.READ)
def refusals(request: HttpRequest) -> HttpResponse:
    """Why senders fail: refused requests by source and reason, or the part of it that another page shows."""
    asked = request.GET.copy()
    if not any(asked.get(name) for name in ("range", "since", "until")):
        asked["range"] = "24h"
    wanted = ReceiptFilter(asked, queryset=Receipt.objects.all())
    try:
        summary, too_slow = groups_of(wanted), ""
    except TooSlow as error:
        summary, too_slow = None, str(error.detail)
    context = {
        "summary": summary,
        "too_slow": too_slow,
        "mistakes": _mistakes(wanted),
        "slot": is_slot(request),
        "chosen_range": asked.get("range", ""),
        "active": any(request.GET.get(name) for name in wanted.filters),
        "nav": "receipts",
        "tabs": _receipt_tabs("refusals"),
    }
    if not request.htmx:
        context |= _choices(request)
    template = "events/_refusal_table.html" if request.htmx else "events/refusal_list.html"
    return _render(request, template, context)


def _receipt_tabs(current: str) -> list[dict]:
    tabs = [("receipts", "All requests"), ("refusals", "Why senders fail")]
    return [{"label": label, "url": reverse(name), "current": name == current} for name, label in tabs]


def _page(wanted, request: HttpRequest) -> tuple[PageLinks, str]:
    """The page of rows, and a sentence where the search had to be stopped."""
    try:
        return links_of(wanted, request, SLOT_ROWS if is_slot(request) else PAGE_ROWS), ""
    except TooSlow as error:
        return PageLinks([]), str(error.detail)


def _list(request: HttpRequest, wanted, page: PageLinks, too_slow: str, live: str) -> dict:
    """What both lists need. A part that htmx fetches does not draw the filters."""
    context = {
        "page": page,
        "slot": is_slot(request),
        "too_slow": too_slow,
        "mistakes": _mistakes(wanted),
        "active": any(request.GET.get(name) for name in wanted.filters),
        "marker": None if is_slot(request) else marker_of(request, page.rows, live),
    }
    if request.htmx:
        return context
    return context | _choices(request) | {"since": _for_input(wanted, "since"), "until": _for_input(wanted, "until")}


def _choices(request: HttpRequest) -> dict:
    return {
        "sources": Source.objects.present().visible_to(request.actor).order_by("name"),
        "sites": Site.objects.order_by("name"),
        "ranges": [(name, label) for name, (label, _) in RANGES.items()],
    }


def _mistakes(wanted) -> list[tuple[str, str]]:
    """Filters that could not be read, and were left out, each with the reason."""
    return [(name, " ".join(errors)) for name, errors in wanted.errors.items()]


def _for_input(wanted, name: str) -> str:
    """A moment as `<input type="datetime-local">` takes it, in UTC."""
    moment = wanted.given.get(name)
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}" if moment else ""


def _with_condition(query: QueryDict) -> tuple[QueryDict, str | None]:
    """The query without the inputs of the builder, and the condition that they make, where its button was pressed."""
    query = query.copy()
    field, operator, value, pressed = (query.get(name, "").strip() for name in BUILDER)
    for name in BUILDER:
        query.pop(name, None)
    if not pressed or not field:
        return query, None
    condition = {"exists": field, "absent": f"!{field}"}.get(operator, f"{field}{operator or '='}{value}")
    query.setlist("where", [*query.getlist("where"), condition])
    for cursor in ("before", "after"):
        query.pop(cursor, None)
    return query, condition


def _without(query: QueryDict, condition: str) -> str:
    """The query string that asks for all else."""
    query = query.copy()
    query.setlist("where", [text for text in query.getlist("where") if text.strip() != condition])
    return f"?{query.urlencode()}"


def _in_words(condition: Condition) -> str:
    name = ".".join(condition.path)
    words = {
        Operator.IS: f"{name} is {condition.value}",
        Operator.IS_NOT: f"{name} is not {condition.value}",
        Operator.EXISTS: f"{name} exists",
        Operator.ABSENT: f"{name} is missing",
    }
    return words[condition.operator]


def _exports(route: str, query: QueryDict) -> list[tuple[str, str]]:
    """Label and address of each kind of export, with the filters in force."""
    links = []
    for kind, label in FORMATS.items():
        asked = query.copy()
        for name in ("before", "after"):
            asked.pop(name, None)
        asked["as"] = kind
        links.append((label, f"{reverse(route)}?{asked.urlencode()}"))
    return links


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
