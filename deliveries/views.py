"""The delivery log and a delivery's timeline."""

from datetime import UTC, datetime

from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django_htmx.http import trigger_client_event

from deliveries.filters import DeliveryFilter
from deliveries.live import marker_of, news
from deliveries.models import Delivery, Replay
from deliveries.replay_serializers import SelectionSerializer
from events.looking import PageLinks, links_of
from events.search import RANGES, TooSlow
from subscriptions.models import Notice, Subscription
from tenants.pages import is_slot, requires
from tenants.permissions import Permission

SLOT_ROWS = 10
PAGE_ROWS = 50
OTHERS_SHOWN = 10
ATTEMPTS_SHOWN = 50  # the newest of them
STATUS_KIND = {
    "pending": "busy",
    "delivered": "ok",
    "failed": "warn",
    "dead": "bad",
    "cancelled": "idle",
}
OUTCOME_KIND = {
    "delivered": "ok",
    "retry": "warn",
    "failed": "bad",
    "dead": "bad",
    "disable": "bad",
    "late": "idle",
}
OUTCOME_WORDS = {
    "delivered": "Delivered",
    "retry": "To be tried again",
    "failed": "Refused for good",
    "dead": "The last one",
    "disable": "Disabled the subscription",
    "late": "Too late to count",
}


@requires(Permission.READ, of_webhooks=True)
def deliveries(request: HttpRequest) -> HttpResponse:
    """The log, or only its table where htmx asks; other pages load it with a filter into a part of theirs."""
    log = DeliveryFilter(request.GET, queryset=Delivery.objects.select_related("subscription"))
    slot = is_slot(request)
    page, too_slow = _page(log, request, SLOT_ROWS if slot else PAGE_ROWS)
    context = {
        "slot": slot,
        "page": page,
        "too_slow": too_slow,
        "mistakes": [(name, " ".join(errors)) for name, errors in log.errors.items()],
        "rows": _shown(page.rows),
        "resend": _resend_all(request, log) if page.rows and not slot else None,
        "can_choose": any(_is_choosable(row) for row in page.rows),
        "active": any(request.GET.get(name) for name in log.filters),
        "marker": None if slot else marker_of(request, page.rows),
    }
    if not request.htmx:
        context |= _choices(log)
    template = "deliveries/_table.html" if request.htmx else "deliveries/delivery_list.html"
    response = render(request, template, context)
    patch_vary_headers(response, ["HX-Request"])
    return response


@requires(Permission.READ, of_webhooks=True)
def deliveries_new(request: HttpRequest) -> HttpResponse:
    """What has come, or gone on, since the log was drawn: what the live log asks for while it waits."""
    return render(request, "deliveries/_new.html", {"marker": news(request, PAGE_ROWS)})


def _page(log: DeliveryFilter, request: HttpRequest, size: int) -> tuple[PageLinks, str]:
    """The page of rows, and a sentence where the search had to be stopped."""
    try:
        return links_of(log, request, size), ""
    except TooSlow as error:
        return PageLinks([]), str(error.detail)


def _choices(log: DeliveryFilter) -> dict:
    """What the filters offer. A part that htmx fetches does not draw them."""
    given = log.given
    return {
        "statuses": Delivery.Status.choices,
        "kinds": Delivery.Kind.choices,
        "subscriptions": Subscription.objects.present().order_by("name"),
        "ranges": [(name, label) for name, (label, _) in RANGES.items()],
        "chosen": given.get("delivery", []),
        "since": _for_input(given.get("since")),
        "until": _for_input(given.get("until")),
        "more_open": any(name in given for name in ("since", "until", "kind", "event", "notice", "delivery")),
    }


def _for_input(moment: datetime | None) -> str:
    """As `<input type="datetime-local">` takes it, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}" if moment else ""


@requires(Permission.READ, of_webhooks=True)
def delivery(request: HttpRequest, pk) -> HttpResponse:
    """One delivery: what was sent, every attempt at it, and what the receiver answered."""
    found = get_object_or_404(Delivery.objects.select_related("subscription", "event", "notice"), pk=pk)
    context = {
        "delivery": found,
        "kind": STATUS_KIND[found.status],
        **_timeline(found),
        "sent": found.shown_body(),
        "together": len(found.sent_together),
        "others": _others(found),
        "nav": "deliveries",
    }
    panel = request.htmx and request.htmx.target == "panel"
    response = render(request, "deliveries/_panel.html" if panel else "deliveries/delivery_detail.html", context)
    patch_vary_headers(response, ["HX-Request", "HX-Target"])
    return response


def _timeline(found: Delivery) -> dict:
    """Its attempts, oldest first, each with its kind and what was made of it."""
    newest = list(found.attempts.order_by("-id")[: ATTEMPTS_SHOWN + 1])
    shown = newest[:ATTEMPTS_SHOWN][::-1]
    return {
        "attempts": [(one, OUTCOME_KIND.get(one.outcome, "idle"), OUTCOME_WORDS.get(one.outcome, "")) for one in shown],
        "has_earlier": len(newest) > ATTEMPTS_SHOWN,
    }


@requires(Permission.READ, of_webhooks=True)
def delivery_of_notice(request: HttpRequest, notice) -> HttpResponse:
    """What has become of a test or a confirmation link: a part of a page, asked again until it ended.

    The end is told to the page as the event `delivery-ended`, so that its other parts can follow.
    """
    get_object_or_404(Notice.objects, pk=notice)
    found = Delivery.objects.filter(notice_id=notice).select_related("subscription").first()
    attempt = found.attempts.last() if found else None
    ended = found is not None and found.status != Delivery.Status.PENDING
    context = {
        "notice": notice,
        "delivery": found,
        "attempt": attempt,
        "kind": STATUS_KIND[found.status] if found else "busy",
        "ended": ended,
    }
    response = render(request, "deliveries/_of_notice.html", context)
    return trigger_client_event(response, "delivery-ended") if ended else response


def _resend_all(request: HttpRequest, log: DeliveryFilter) -> dict:
    """Where the dialog is that resends everything the filters show, or why there is none."""
    status = [one for one in request.GET.getlist("status") if one and one != Delivery.Status.PENDING]
    if not log.is_valid() or not request.GET.get("subscription"):
        return {"why_not": "Choose one subscription first"}
    if request.GET.get("kind", "") not in ("", Delivery.Kind.EVENT) or request.GET.get("notice"):
        return {"why_not": "Only events are sent again, not tests, confirmation links and challenges"}
    if not status and request.GET.get("status"):
        return {"why_not": "What is pending is sent anyway"}
    query = QueryDict(mutable=True)
    query.update({"kind": Replay.Kind.DELIVERIES.value, "subscription": request.GET["subscription"]})
    query.setlist("status", status)
    for name in SelectionSerializer().fields.keys() - {"status", "delivery"}:
        if value := request.GET.get(name):
            query[name] = value
    query.setlist("delivery", request.GET.getlist("delivery"))
    if "range" in log.given:
        # The replay runs later than this: what was "lately" is said as a moment.
        lately = timezone.now() - RANGES[log.given["range"]][1]
        query["since"] = max(log.given.get("since", lately), lately).isoformat(timespec="seconds")
    return {"url": f"{reverse('replay_new')}?{query.urlencode()}"}


def _others(found: Delivery) -> list[tuple[Delivery, str, bool]]:
    """Other deliveries of the same event to the same subscription: `(delivery, kind, is it the original)`.

    The oldest is the original, and shown first; the others are resends, newest first.
    """
    if found.event_id is None:
        return []
    same = Delivery.objects.filter(event_id=found.event_id, subscription_id=found.subscription_id)
    original = same.order_by("id").first()
    shown = [original, *same.exclude(pk=original.pk)[:OTHERS_SHOWN]]
    return [(one, STATUS_KIND[one.status], one.pk == original.pk) for one in shown if one.pk != found.pk]


def _shown(rows: list[Delivery]) -> list[tuple[Delivery, str]]:
    for row in rows:
        row.is_choosable = _is_choosable(row)
    return [(row, STATUS_KIND[row.status]) for row in rows]


def _is_choosable(row: Delivery) -> bool:
    """Can it be sent again? Tests and links are not, and what is pending is sent anyway."""
    return row.kind == Delivery.Kind.EVENT and row.status != Delivery.Status.PENDING
