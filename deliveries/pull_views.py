"""How a subscription is polled, and what waits for it: a part of its page."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse

from deliveries.models import MAX_COUNTED, queue_of
from subscriptions.models import Subscription
from tenants.pages import requires
from tenants.permissions import Permission


@requires(Permission.READ, of_webhooks=True)
def pull_of(request: HttpRequest, subscription) -> HttpResponse:
    """Asked again every few seconds: the backlog, and when it was last polled."""
    polled = Subscription.objects.present().filter(delivery=Subscription.Way.PULL).defer("url", "headers")
    found = get_object_or_404(polled, pk=subscription)
    context = {"subscription": found, "backlog": queue_of(found).count_of(found.pk, MAX_COUNTED)}
    if not request.GET.get("brief"):
        context["snippets"] = snippets(found)
    return render(request, "deliveries/_pull.html", context)


def snippets(subscription: Subscription) -> list[dict[str, str]]:
    address = settings.PORTAL_URL + reverse("api_poll-poll", args=[subscription.pk])
    head = f'curl -sS -H "Authorization: Bearer $PORTAL_API_KEY" \'{address}'
    return [
        {"label": "First", "code": f"{head}?limit=100'"},
        {"label": "Then", "code": f'{head}?limit=100&after=\'"$NEXT"'},
    ]
