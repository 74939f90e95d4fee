"""Asking for a replay, with its count, and watching it; asking to cancel what is pending."""

import json
from datetime import timedelta

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django_htmx.http import trigger_client_event

from deliveries import replay as replaying
from deliveries.filters import DeliveryFilter
from deliveries.models import MAX_CANCELLED, Delivery, Replay
from deliveries.replay_serializers import OfSubscriptionSerializer, ReplayAskSerializer, SelectionSerializer
from subscriptions.models import Subscription, WrongState
from tenants.pages import requires
from tenants.permissions import Permission

SHOWN = 5
MANY = ("status", "delivery")  # what a selection may say several times
BY_DEFAULT = timedelta(days=1)
MOMENT = "%Y-%m-%dT%H:%M:%S"
STATE_KIND = {"running": "busy", "finished": "ok", "stopped": "idle", "failed": "bad"}


@requires(Permission.READ, of_webhooks=True)
def replay(request: HttpRequest, pk) -> HttpResponse:
    """How far a replay got: a page, or only that part, asked again until it ended."""
    found = get_object_or_404(Replay.objects.select_related("subscription"), pk=pk)
    context = {"replay": found, "kind": STATE_KIND[found.state], "nav": "deliveries"}
    response = render(request, "deliveries/_replay.html" if request.htmx else "deliveries/replay_detail.html", context)
    patch_vary_headers(response, ["HX-Request"])
    return response if found.is_running else trigger_client_event(response, "delivery-ended")


@requires(Permission.READ, of_webhooks=True)
def replays_of(request: HttpRequest, subscription) -> HttpResponse:
    """The latest replays to one subscription, as a part of its page."""
    found = get_object_or_404(Subscription.objects.present().only("id", "name"), pk=subscription)
    latest = Replay.objects.filter(subscription=found).select_related("subscription")[:SHOWN]
    return render(request, "deliveries/_replays.html", {"replays": [(one, STATE_KIND[one.state]) for one in latest]})


@requires(Permission.OPERATE, of_webhooks=True)
def replay_new(request: HttpRequest) -> HttpResponse:
    """What a dialog asks before a replay is started: what, since when, and how many that are."""
    body, subscription = _body(request)
    context = {"body": json.dumps(body), "asked": body, "subscription": subscription}
    if "chosen" in request.GET and not subscription:
        context["problem"] = _why_not_chosen(request)
    else:
        context |= _counted(body)
    if "since" in body:
        context["since"] = body["since"]
    return render(request, "deliveries/_replay_new.html", context)


@requires(Permission.OPERATE, of_webhooks=True)
def cancel_new(request: HttpRequest) -> HttpResponse:
    """What a dialog asks before everything pending for a subscription is cancelled."""
    body = {"subscription": request.GET.get("subscription", "")}
    asked, context = OfSubscriptionSerializer(data=body), {}
    if asked.is_valid():
        subscription = context["subscription"] = asked.validated_data["subscription"]
        try:
            context["counted"] = Delivery.objects.count_pending(subscription)
        except WrongState as error:
            context["problem"] = str(error)
    else:
        context["problem"] = _first(asked.errors)
    context |= {"body": json.dumps(body), "most": MAX_CANCELLED}
    return render(request, "deliveries/_cancel_new.html", context)


def _body(request: HttpRequest) -> tuple[dict, Subscription | None]:
    """What the API would be asked, from the query: the choices of the dialog, else what is likely wanted."""
    query = request.GET
    body: dict = {"subscription": query.get("subscription", ""), "kind": query.get("kind", "")}
    if "chosen" in query:
        body["subscription"] = _subscription_of(query.getlist("delivery"))
    chosen = OfSubscriptionSerializer(data={"subscription": body["subscription"]})
    subscription = chosen.validated_data["subscription"] if chosen.is_valid() else None
    if body["kind"] == Replay.Kind.DELIVERIES:
        given = {
            name: query.getlist(name) if name in MANY else query.get(name) for name in SelectionSerializer().fields
        }
        return body | {"selection": {name: value for name, value in given.items() if value}}, subscription
    disabled_at = subscription.disabled_at if subscription else None
    if not body["kind"]:
        body["kind"] = str(Replay.Kind.MISSED if disabled_at else Replay.Kind.EVENTS)
    since = query.get("since") or f"{disabled_at or timezone.now() - BY_DEFAULT:{MOMENT}}"
    return body | {"since": since}, subscription


def _subscription_of(deliveries: list[str]) -> str:
    """The one that the chosen deliveries went to; "" where there is none, or more than one."""
    chosen = DeliveryFilter({"delivery": deliveries}, queryset=Delivery.objects.all())
    if not chosen.given:
        return ""
    found = set(chosen.qs.order_by().values_list("subscription_id", flat=True))
    return str(found.pop()) if len(found) == 1 else ""


def _why_not_chosen(request: HttpRequest) -> str:
    """Why the chosen deliveries cannot be sent again, where the choice itself is the reason."""
    if not request.GET.getlist("delivery"):
        return "Choose at least one delivery that has ended: tick the box at its left."
    return "These deliveries went to different subscriptions. Choose those of one."


def _counted(body: dict) -> dict:
    """`counted`, or `problem`: why it cannot be started."""
    asked = ReplayAskSerializer(data=body)
    if not asked.is_valid():
        return {"problem": _first(asked.errors)}
    try:
        replay = asked.asked()
    except WrongState as error:
        return {"problem": str(error)}
    if Replay.objects.running().filter(subscription=replay.subscription).exists():
        return {"problem": "A replay to this subscription is running already."}
    return {"counted": replaying.count(replay), "what": replay.describe()}


def _first(errors) -> str:
    """The first sentence of a serializer's errors."""
    while not isinstance(errors, str):
        errors = next(iter(errors.values())) if isinstance(errors, dict) else errors[0]
    return errors
