"""The delivery log and a delivery's timeline."""

from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from django_htmx.http import trigger_client_event

from deliveries.filters import DeliveryFilter
from deliveries.models import Delivery, Replay
from deliveries.replay_serializers import SelectionSerializer
from subscriptions.models import Notice, Subscription
from tenants.pages import is_slot, requires
from tenants.pagination import page_of
from tenants.permissions import Permission

SLOT_ROWS = 10
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


@requires(Permission.READ)
def deliveries(request: HttpRequest) -> HttpResponse:
    """The log, or only its table where htmx asks; other pages load it with a filter into a part of theirs."""
    log = DeliveryFilter(request.GET, queryset=Delivery.objects.select_related("subscription"))
    slot = is_slot(request)
    page = page_of(log.qs, request, size=SLOT_ROWS if slot else 50)
    context = {
        "slot": slot,
        "page": page,
        "rows": _shown(page.rows),
        "filter": log,
        "statuses": Delivery.Status.choices,
        "kinds": Delivery.Kind.choices,
        "subscriptions": Subscription.objects.present().order_by("name"),
        "resend": _resend_all(request, log) if page.rows and not slot else None,
        "active": any(request.GET.get(name) for name in log.filters),
    }
    template = "deliveries/_table.html" if request.htmx else "deliveries/delivery_list.html"
    response = render(request, template, context)
    patch_vary_headers(response, ["HX-Request"])
    return response


@requires(Permission.READ)
def delivery(request: HttpRequest, pk) -> HttpResponse:
    """One delivery: what was sent, every attempt at it, and what the receiver answered."""
    found = get_object_or_404(Delivery.objects.select_related("subscription", "event", "notice"), pk=pk)
    is_link = found.kind == Delivery.Kind.CONFIRMATION
    context = {
        "delivery": found,
        "kind": STATUS_KIND[found.status],
        **_timeline(found),
        "sent": found.shown_body(),
        "is_link": is_link,
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


@requires(Permission.READ)
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
        return {"why_not": "Only events are sent again, not tests and confirmation links"}
    if not status and request.GET.get("status"):
        return {"why_not": "What is pending is sent anyway"}
    query = QueryDict(mutable=True)
    query.update({"kind": Replay.Kind.DELIVERIES.value, "subscription": request.GET["subscription"]})
    query.setlist("status", status)
    for name in SelectionSerializer().fields.keys() - {"status"}:
        if value := request.GET.get(name):
            query[name] = value
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
    return [(row, STATUS_KIND[row.status]) for row in rows]
