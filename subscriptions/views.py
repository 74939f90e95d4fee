"""Pages of subscriptions: they read and compose; their forms and buttons call the API."""

import json

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET
from django_htmx.http import HTMX_STOP_POLLING

from events.models import Event
from sources.models import Source
from subscriptions import answers, flow, receiver_auth, schedules, snippets
from subscriptions.api import SubscriptionFilter
from subscriptions.failing import OPENS_AFTER, Breaker
from subscriptions.messages import CONFIRMATION_TYPE, SHAPES
from subscriptions.models import Notice, Subscription
from subscriptions.policies import POLICIES, meanings
from subscriptions.signing import SCHEMES, Scheme
from subscriptions.soundness import unreadable
from subscriptions.trying import EVENTS
from tenants.actors import Actor
from tenants.addresses import client_address
from tenants.models import AuditEntry, Site
from tenants.pages import requires
from tenants.pagination import page_of
from tenants.permissions import Permission
from tenants.problems import problem_response
from tenants.scope import system_scope
from vault.credentials import DEFAULT_OVERLAP, OVERLAPS

RECENT_EVENTS = 500  # how far back the create page looks for event types to propose
# Tabs that the answer of the API fills; those that it has nothing for are not shown.
PLACEHOLDERS = [{"label": label, "code": f"{{snippets.{place}.code}}"} for place, label in enumerate(snippets.LABELS)]
FILTER_EXAMPLES = (
    "payload.amount > 1000",
    'payload.customer.country in ["CH", "AT", "DE"]',
    'has(payload.items) && payload.items.exists(item, item.sku.startsWith("A-"))',
    'event.source == "Shop" || event.severity == "high"',
)
EXAMPLE_TYPES = ("*", "login.*", "*.failed", "order.created")
STATE_KIND = {"pending": "warn", "idle": "ok", "disabled": "bad"}
WAYS = [
    ("push", "Posted to a URL", "As soon as there is something to tell."),
    ("pull", "Polled by its receiver", "For one that cannot open a port: it fetches what waits, with an API key."),
]
VERIFICATIONS = [
    ("link", "Confirmation link", "A link is posted to the URL. Whoever opens it agrees."),
    (
        "challenge",
        "Challenge",
        "A random value is posted to the URL, and has to come back as the answer: now, and every 24 hours before the "
        "next message.",
    ),
]
OPTION_LABELS = {
    "prefix": "Prefix of the headers",
    "signature_header": "Header of the signature",
    "timestamp_header": "Header of the timestamp",
    "id_header": "Header of the id",
}
OPTION_HELP = {"prefix": "Acme makes X-Acme-Signature and X-Acme-Timestamp."}
CONFIRMATION_EXAMPLE = {
    "type": CONFIRMATION_TYPE,
    "data": {"message": "…", "confirmation_url": "https://…/confirm/…"},
}


@requires(Permission.READ, of_webhooks=True)
def subscriptions(request: HttpRequest) -> HttpResponse:
    """The list, or only its table where htmx asks."""
    present = Subscription.objects.present().with_last_sent().defer("url", "headers", "auth_secrets")
    found = SubscriptionFilter(request.GET, present)
    page = page_of(found.qs, request)
    context = {
        "page": page,
        "rows": [(one, STATE_KIND.get(one.state, "bad")) for one in page.rows],
        "states": Subscription.State.choices,
        "active": any(request.GET.get(name) for name in found.filters),
    }
    template = "_subscription_table.html" if request.htmx else "subscription_list.html"
    response = render(request, f"subscriptions/{template}", context)
    patch_vary_headers(response, ["HX-Request"])
    return response


@requires(Permission.CONFIGURE, of_webhooks=True)
def subscription_create(request: HttpRequest) -> HttpResponse:
    context = _choices(request) | {
        "confirmation": CONFIRMATION_EXAMPLE,
        "url_help": _url_help(),
        "placeholders": PLACEHOLDERS,
    }
    return render(request, "subscriptions/subscription_create.html", context)


@requires(Permission.READ, of_webhooks=True)
def subscription(request: HttpRequest, pk) -> HttpResponse:
    """One subscription: its state and why, what it asks for, its secrets without their values."""
    found = _find(pk)
    if wrong := unreadable(found):
        return _unreadable(request, found, wrong)
    secrets = list(found.signing_secrets.live().defer("value"))
    public_key = next((one.public_key for one in secrets if one.public_key), None)
    return render(
        request,
        "subscriptions/subscription_detail.html",
        _state_of(found)
        | _chosen(request, found)
        | _trouble_of(found)
        | {
            "secrets": secrets,
            "overlap_ends": max((one.expires_at for one in secrets if one.expires_at), default=None),
            "scheme": found.scheme,
            "signing_headers": found.signing_headers.all(),
            "variable": snippets.PUBLIC_KEY_VARIABLE if found.scheme.has_public_key else snippets.SECRET_VARIABLE,
            "shape": SHAPES[found.shape],
            "policy": found.delivery_policy,
            "meanings": _meanings(found),
            **_auth_of(found),
            # A public key is no secret: it is filled in.
            "verifiers": snippets.snippets(found.signing, public_key, found.signing_options),
            "overlaps": OVERLAPS.items(),
            "default_overlap": DEFAULT_OVERLAP,
        },
    )


@requires(Permission.CONFIGURE, of_webhooks=True)
def subscription_edit(request: HttpRequest, pk) -> HttpResponse:
    found = _find(pk)
    if wrong := unreadable(found):
        return _unreadable(request, found, wrong)
    scheme = found.scheme
    context = _choices(request, found) | {
        "subscription": found,
        "scheme": scheme,
        "options": _option_fields(scheme, found.chosen_options),
        **_auth_of(found),
        "fitting_shapes": [(name, SHAPES[name].title) for name in scheme.shapes],
        "written_delays": ", ".join(schedules.written(found.delays or ())),
    }
    return render(request, "subscriptions/subscription_edit.html", context)


@requires(Permission.READ, of_webhooks=True)
def subscription_state(request: HttpRequest, pk) -> HttpResponse:
    """The state and what can be done about it; asked for again and again while its receiver is being asked."""
    found = _find(pk)
    context = _state_of(found) | {"brief": "brief" in request.GET, "polled": True}
    return render(
        request,
        "subscriptions/_subscription_state.html",
        context,
        status=HTMX_STOP_POLLING if context["settled"] else 200,
    )


@csrf_exempt
@require_GET
def subscription_confirm(request: HttpRequest, token: str) -> HttpResponse:
    """The receiver agrees (T4). The one GET that acts: browsers and curl do no more than open a link.

    HEAD does not, nor does a browser that only fetches ahead. Whatever is wrong with a token, the
    answer is the same: a stranger learns nothing from it.
    """
    if _only_looks_ahead(request):
        return _private(problem_response(403, "Open the link itself to confirm."))
    with system_scope():
        agreed = Subscription.objects.confirm(token)
        if agreed is not None:
            receiver = Actor(
                kind="receiver",
                label="The receiver",
                tenant=agreed.tenant,
                address=client_address(request),
            )
            AuditEntry.record(receiver, "subscription.confirmed", agreed, {"state": ["pending", "idle"]})
    return _private(_agreed(request, agreed) if agreed else _not_agreed(request))


def _agreed(request: HttpRequest, agreed: Subscription) -> HttpResponse:
    if _reads_pages(request):
        context = {"tenant_name": agreed.tenant.name}
        return render(request, "subscriptions/subscription_confirmed.html", context)
    sentence = f"Confirmed. {agreed.tenant.name} sends events to this URL from now on."
    return JsonResponse({"state": agreed.state, "detail": sentence})


def _not_agreed(request: HttpRequest) -> HttpResponse:
    if _reads_pages(request):
        return render(request, "subscriptions/subscription_unconfirmed.html", status=404)
    return problem_response(404, "This confirmation link is not valid, or not any more.")


def _private(response: HttpResponse) -> HttpResponse:
    """The URL is a secret until it was used: it is not passed on, kept or indexed."""
    response["Cache-Control"] = "no-store"
    response["Referrer-Policy"] = "no-referrer"
    response["X-Robots-Tag"] = "noindex, nofollow"
    patch_vary_headers(response, ["Accept"])
    return response


def _reads_pages(request: HttpRequest) -> bool:
    """Browsers ask for text/html; curl and most programs take anything, and get JSON."""
    return request.get_preferred_type(["application/json", "text/html"]) == "text/html"


def _only_looks_ahead(request: HttpRequest) -> bool:
    purposes = (request.headers.get(name, "") for name in ("Sec-Purpose", "Purpose", "X-Moz"))
    return any(word in purpose.lower() for purpose in purposes for word in ("prefetch", "prerender", "preview"))


def _find(pk) -> Subscription:
    present = Subscription.objects.present().with_last_sent().select_related("created_by", "failing")
    return get_object_or_404(present.defer("url", "headers", "auth_secrets"), pk=pk)


def _unreadable(request: HttpRequest, found: Subscription, wrong: list[tuple[str, str]]) -> HttpResponse:
    context = {"subscription": found, "unreadable": wrong}
    return render(request, "subscriptions/subscription_unreadable.html", context)


def _state_of(found: Subscription) -> dict:
    """The notice of the last confirmation link or challenge goes along: the page shows what became of it."""
    notice = None
    is_idle = found.state == Subscription.State.IDLE
    settled = found.state != Subscription.State.PENDING and not (is_idle and found.challenge_code)
    if not settled:
        kind = Notice.Kind.CHALLENGE if found.is_challenged else Notice.Kind.CONFIRMATION
        notice = found.notices.filter(kind=kind).defer("payload").first()
    return {"subscription": found, "kind": STATE_KIND.get(found.state, "bad"), "notice": notice, "settled": settled}


def _auth_of(found: Subscription) -> dict:
    return {
        "auth": found.auth_config,
        "auth_method": found.auth_method,
        "auth_title": receiver_auth.METHODS[found.auth_method].title,
        "auth_expiry": receiver_auth.expiry(found.auth_config, timezone.now()),
    }


def _trouble_of(found: Subscription) -> dict:
    """How its receiver fails, and what a button says to try it now."""
    return {
        "trouble": found.trouble,
        "breaker": found.trouble.breaker() if found.trouble else Breaker.CLOSED,
        "opens_after": OPENS_AFTER,
        "try_now": json.dumps({"subscription": str(found.pk)}),
    }


def _meanings(found: Subscription) -> list[tuple[str, str, str]]:
    return [
        (answers.in_words(match), "Delivered" if match == "2xx" else answers.ACTIONS[action], whose)
        for match, action, whose in meanings(found.delivery_policy, found.rules)
    ]


def _url_help() -> str:
    """What `portal_guard` lets pass; an operator may have opened more than the rule."""
    rules = ["https and a public host name."]
    if settings.EGRESS_ALLOW:
        opened = ", ".join(map(str, settings.EGRESS_ALLOW))
        rules.append(f"Into networks that are open here ({opened}) also http, any port, an address or a local name.")
    return " ".join([*rules, "It is hidden once the subscription is created."])


def _choices(request: HttpRequest, found: Subscription | None = None) -> dict:
    recent = _recent_types()
    usual, *others = SCHEMES.values()
    return {
        "usual_scheme": usual,
        "other_schemes": others,
        "optional_fields": [(scheme.name, _option_fields(scheme, scheme.defaults())) for scheme in others],
        "shape_groups": _shape_groups(),
        "ways": WAYS,
        "verifications": VERIFICATIONS,
        "auth_methods": [(one.name, one.title) for one in receiver_auth.METHODS.values()],
        "client_authentications": receiver_auth.CLIENT_AUTHENTICATIONS.items(),
        "policies": [(one.name, one.title, one.summary) for one in POLICIES.values()],
        "source_options": _source_options(request, found),
        "site_options": _options(Site.objects.all(), found.sites if found else [], "a deleted site"),
        "actions": answers.ACTIONS.items(),
        "answers": ("404", "429", *answers.CLASSES, *answers.REASONS, answers.NO_ANSWER),
        "modes": [(one.name, one.title, one.summary) for one in flow.MODES.values()],
        "most": {"per_minute": flow.MAX_PER_MINUTE, "in_flight": flow.MAX_IN_FLIGHT},
        "severities": [("low", "Low: every event"), ("medium", "Medium and high"), ("high", "High only")],
        "proposed": recent or EXAMPLE_TYPES,
        "rows_to_fill": range(EVENTS),
        "filter_examples": FILTER_EXAMPLES,
        "proposed_label": "Received lately:" if recent else "For example:",
    }


def _source_options(request: HttpRequest, found: Subscription | None) -> list[tuple[str, str]]:
    visible = Source.objects.present().visible_to(request.actor)
    return _options(visible, found.sources if found else [], "a deleted source")


def _options(present, chosen: list, gone: str) -> list[tuple[str, str]]:
    """To choose from, by name. What was chosen and is gone stays, or saving the form would widen the choice."""
    names = {str(pk): name for pk, name in present.order_by("name").values_list("pk", "name")}
    return [*names.items(), *((str(pk), f"{gone} (…{str(pk)[-8:]})") for pk in chosen if str(pk) not in names)]


def _chosen(request: HttpRequest, found: Subscription) -> dict[str, list[str]]:
    """The names of chosen sources and sites; of those that are gone, or not for this reader's eyes, what they are."""
    visible = Source.objects.visible_to(request.actor).filter(pk__in=found.sources)
    sources = {one.pk: f"{one.name} (deleted)" if one.deleted_at else one.name for one in visible}
    sites = dict(Site.objects.filter(pk__in=found.sites).values_list("pk", "name"))
    return {
        "chosen_sources": [sources.get(pk, "a source that you may not see") for pk in found.sources],
        "chosen_sites": [sites.get(pk, "a deleted site") for pk in found.sites],
    }


def _shape_groups() -> list[tuple[str, list]]:
    """Which shapes there are to choose from under which schemes, these as `data-show-when` wants them."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for scheme in SCHEMES.values():
        groups.setdefault(scheme.shapes, []).append(scheme.name)
    return [(",".join(names), [SHAPES[name] for name in shapes]) for shapes, names in groups.items()]


def _option_fields(scheme: Scheme, values: dict[str, str]) -> list[dict[str, str]]:
    """What a scheme lets choose about its headers, as fields of a form."""
    return [
        {
            "id": f"f-{scheme.name}-{option}",
            "name": f"signing_options.{option}",
            "label": OPTION_LABELS[option],
            "value": values[option],
            "help": OPTION_HELP.get(option, ""),
        }
        for option in scheme.options
    ]


def _recent_types() -> list[str]:
    """Types among the latest events: a look at an index, not at the whole table."""
    latest = Event.objects.order_by("-id").values_list("type", flat=True)[:RECENT_EVENTS]
    return sorted(set(latest))[:12]
