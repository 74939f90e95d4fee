"""Pages and probes that belong to no room: the dashboard, health, the API's documentation."""

from django.core.exceptions import DisallowedHost
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.urls import is_valid_path, reverse
from django.utils.cache import patch_vary_headers
from django.views import defaults
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.permissions import SAFE_METHODS

from config.celery import app as celery_app
from deliveries import stats
from events.models import Alarm, Event
from events.partitions import missing_partitions
from sources.models import Source
from subscriptions.models import Subscription
from tenants.pages import requires
from tenants.permissions import Permission
from tenants.problems import problem_response
from vault.checks import keyring_trouble

BROKER_TIMEOUT = 3  # seconds
PROGRAMS = ("/api/", "/in/")  # who asks below these reads problem documents
UNKNOWN_HOST = "This portal does not answer for the host that the request names."
UNREADABLE = "The request could not be read."
OUT_KINDS = {
    "delivered": "ok",
    "pending": "busy",
    "failed": "warn",
    "dead": "bad",
    "cancelled": "idle",
}


class Schema(SpectacularAPIView):
    """The OpenAPI document of this API."""


class Docs(SpectacularSwaggerSplitView):
    """The same for people, served from this machine."""

    url_name = "schema"


def bad_request(request, exception):
    """400 of what was refused before any view saw it: a page for people, a problem document for programs."""
    if request.path_info.startswith(PROGRAMS):
        return problem_response(400, UNKNOWN_HOST if isinstance(exception, DisallowedHost) else UNREADABLE)
    return defaults.bad_request(request, exception)


def not_found(request, exception):
    """404 of an address that no view answers, likewise."""
    if request.path_info.startswith(PROGRAMS):
        return problem_response(404, "There is nothing at this address.")
    return defaults.page_not_found(request, exception)


@csrf_exempt
def without_slash(request):
    """An address of the API without its slash at the end: reading is sent on, and a change is told where to go.

    A client that follows a redirect asks again with GET, so its change would silently become a reading.
    """
    if not is_valid_path(request.path_info + "/"):
        return problem_response(404, "There is nothing at this address.")
    if request.method not in SAFE_METHODS:
        return problem_response(404, f"There is nothing at this address; did you mean {request.path}/?")
    return redirect(request.get_full_path(force_append_slash=True), permanent=True)


def server_error(request):
    """500 likewise; what happened is in the log only."""
    if request.path_info.startswith(PROGRAMS):
        return problem_response(500, "Something went wrong here. The error was logged.")
    return defaults.server_error(request)


@requires(Permission.READ)
def dashboard(request):
    """What came in, what went out, what is wrong, in the window that `?window=` names."""
    tenant = request.actor.tenant.pk
    window = stats.WINDOWS.get(request.GET.get("window"), stats.DAY)
    incoming, outgoing = stats.incoming(tenant, window), stats.outgoing(tenant, window)
    has = {
        "has_sources": Source.objects.present().exists(),
        "has_events": Event.objects.exists(),
        "has_subscriptions": not request.actor.tenant.webhooks or Subscription.objects.ready().exists(),
    }
    median = stats.median_ms(tenant)
    context = {
        **has,
        "is_new": not all(has.values()),
        "incoming": incoming,
        "outgoing": outgoing,
        "given_up": outgoing["failed"].total + outgoing["dead"].total,
        "median_note": f"median answer {median:.0f} ms" if median is not None else "",
        "window": window,
        "windows": [
            {"label": w.title, "url": f"?window={w.name}", "current": w is window} for w in stats.WINDOWS.values()
        ],
        "labels": [start.strftime(window.label) for start in window.starts()],
        "in_series": [
            {"name": "Events", "kind": "accent", "values": incoming["events"].values},
            {"name": "Refused", "kind": "bad", "values": incoming["refused"].values},
        ],
        "out_series": [
            {"name": name.capitalize(), "kind": kind, "values": outgoing[name].values}
            for name, kind in OUT_KINDS.items()
        ],
        "troubles": [*_ringing(request.actor), *stats.troubles(webhooks=request.actor.tenant.webhooks)],
    }
    response = render(request, "_dashboard.html" if request.htmx else "dashboard.html", context)
    patch_vary_headers(response, ["HX-Request"])
    return response


def _ringing(actor) -> list[stats.Trouble]:
    """One line about all sources whose alarms ring."""
    ringing = Alarm.objects.visible_to(actor).ringing()
    count = ringing.order_by().values("source").distinct().count()
    if not count:
        return []
    needs = "1 source needs" if count == 1 else f"{count} sources need"
    return [stats.Trouble("bad", f"{needs} attention.", f"{reverse('alarms')}?state=alarm")]


@require_safe
def favicon(request):
    """Browsers ask here where a page names no icon of its own, as an answer of the API does."""
    return redirect(static("portcullis/favicon.svg"))


@require_safe
def robots(request):
    """Nothing here is for search engines."""
    return HttpResponse("User-agent: *\nDisallow: /\n", content_type="text/plain")


@never_cache
def healthz(request):
    """Is the process up? Touches nothing else."""
    return HttpResponse("ok\n", content_type="text/plain")


@never_cache
def readyz(request):
    """May this portal be sent traffic? 503 names what is not ready, and why."""
    troubles = {}
    for name, check in READINESS.items():
        if trouble := check():
            troubles[name] = trouble
        if "database" in troubles:
            break  # the rest would each wait for it too
    if troubles:
        return problem_response(
            503,
            "Not ready: " + ", ".join(troubles) + ".",
            errors=[{"field": k, "detail": v} for k, v in troubles.items()],
        )
    return JsonResponse({"status": "ready", "checks": list(READINESS)})


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Exception as error:
        return f"The database does not answer ({type(error).__name__})."
    return ""


def _migrations() -> str:
    try:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except Exception as error:
        return f"The migrations cannot be read ({type(error).__name__})."
    return f"{len(plan)} migrations have not been applied: run `manage.py migrate`." if plan else ""


def _broker() -> str:
    try:
        with celery_app.connection_for_write(connect_timeout=BROKER_TIMEOUT) as broker:
            broker.ensure_connection(max_retries=1, timeout=BROKER_TIMEOUT)
    except Exception as error:
        return f"The broker does not answer ({type(error).__name__})."
    return ""


def _partitions() -> str:
    try:
        missing = missing_partitions()
    except Exception as error:
        return f"The partitions cannot be read ({type(error).__name__})."
    return f"{', '.join(missing)} is missing: is beat running?" if missing else ""


def _keyring() -> str:
    try:
        return keyring_trouble()
    except Exception as error:
        return f"The keyring cannot be tried ({type(error).__name__})."


READINESS = {
    "database": _database,
    "migrations": _migrations,
    "partitions": _partitions,
    "keyring": _keyring,
    "broker": _broker,
}
