"""The pages of sources: they read and compose; their forms and buttons call the API."""

import json
import time

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.cache import patch_vary_headers

from sources.api import SourceFilter
from sources.authentication import METHODS
from sources.models import Source
from sources.serializers import snippets_for
from sources.snippets import SAMPLE_BODY, jwt_header, jwt_payload
from tenants.models import Site
from tenants.pages import requires
from tenants.pagination import page_of
from tenants.permissions import Permission
from vault.credentials import DEFAULT_OVERLAP, OVERLAPS

ENDED_SHOWN = 5  # retired secrets that the page still names, so that "who used the old one?" can be answered


@requires(Permission.READ)
def sources(request: HttpRequest) -> HttpResponse:
    """The list, or only its table where htmx asks."""
    found = SourceFilter(request.GET, queryset=Source.objects.present())
    page = page_of(found.qs, request)
    context = {
        "page": page,
        "rows": [(source, *state_of(source)) for source in page.rows],
        "filter": found,
        "methods": METHODS.values(),
        "statuses": Source.Status.choices,
        "active": any(request.GET.get(name) for name in found.filters),
    }
    template = "sources/_source_table.html" if request.htmx else "sources/source_list.html"
    response = render(request, template, context)
    patch_vary_headers(response, ["HX-Request"])
    return response


@requires(Permission.CONFIGURE)
def source_create(request: HttpRequest) -> HttpResponse:
    """A tile for each method.

    The answer of the API becomes the success screen, in the browser alone.
    """
    context = {
        "methods": [_form_of(method) for method in METHODS.values()],
        "kinds": [(Source.Kind.EVENT, "Events"), (Source.Kind.INCIDENT, "Incidents")],
        "stream_types": Source.StreamType.choices,
        "placeholders": [
            {"label": "curl", "code": "{snippets.0.code}"},
            {"label": "Python", "code": "{snippets.1.code}"},
        ],
    }
    return render(request, "sources/source_create.html", context)


@requires(Permission.READ)
def source(request: HttpRequest, pk) -> HttpResponse:
    """One source: its URL, its secrets without their values, how to send to it, what arrived."""
    found = get_object_or_404(Source.objects.present().select_related("created_by"), pk=pk)
    kind, word = state_of(found)
    sites = list(Site.objects.filter(tenant=found.tenant_id))
    site = next((site for site in sites if site.slug == request.GET.get("site")), None)
    may_post = request.actor.can(Permission.OPERATE)
    url = found.url_for_site(site.slug) if site else found.url
    credentials = _credentials(found)
    live = [credential for credential, state in credentials if state != "ended"]
    key_id = live[0].key_id if live else None
    context = {
        "source": found,
        "state": {"kind": kind, "word": word},
        "method": found.method,
        "settings": _settings_of(found),
        "url": url if may_post else found.masked_url,
        "sites": sites if may_post else [],
        "site": site,
        "snippets": _snippets(found, key_id, url) if may_post else [],
        "token": _token_templates(found, key_id) if may_post and found.auth_method == "jwt" else None,
        "credentials": credentials,
        "overlapping": max((one.expires_at for one in live if one.expires_at), default=None),
        "overlaps": list(OVERLAPS.items()),
        "default_overlap": DEFAULT_OVERLAP,
        "placeholders": [
            {"label": "curl", "code": "{snippets.0.code}"},
            {"label": "Python", "code": "{snippets.1.code}"},
        ],
    }
    return render(request, "sources/source_detail.html", context)


@requires(Permission.CONFIGURE)
def source_edit(request: HttpRequest, pk) -> HttpResponse:
    found = get_object_or_404(Source.objects.present(), pk=pk)
    context = {
        "source": found,
        "method": _form_of(found.method, found.auth_config),
        "stream_types": Source.StreamType.choices,
    }
    return render(request, "sources/source_edit.html", context)


def state_of(source: Source) -> tuple[str, str]:
    """The dot and the word of a source."""
    if source.status == Source.Status.PAUSED:
        return "warn", "Paused"
    return ("ok", "Active") if source.last_received_at else ("idle", "Nothing received")


def _form_of(method, config=None) -> dict:
    """A method and its settings as the fields of a form."""
    return {
        "name": method.name,
        "title": method.title,
        "summary": method.summary,
        "warning": method.warning,
        "has_secret": method.has_secret,
        "minimum": method.min_secret_bytes,
        "fields": [_field_of(method, setting, config) for setting in method.settings],
    }


def _field_of(method, setting, config) -> dict:
    """`components/field.html` arguments of one setting."""
    value = setting.default if config is None else config.get(setting.name, setting.default)
    kinds = {bool: "checkbox", int: "number"}
    return {
        "id": f"f-{method.name}-{setting.name}",
        "name": f"auth.{setting.name}",
        "label": setting.label,
        "help": setting.help,
        "type": "select" if setting.choices else kinds.get(type(setting.default), "text"),
        "options": setting.choices,
        "value": value,
        "checked": value is True,
        "required": setting.default is None,
    }


def _settings_of(source: Source) -> list[tuple[str, str, str]]:
    """Label, help and stored value of each setting, in people's words."""
    words = []
    for setting in source.method.settings:
        value = source.auth_config.get(setting.name, setting.default)
        if isinstance(value, bool):
            value = "yes" if value else "no"
        elif setting.name.endswith("_seconds"):
            value = f"{value} s"
        words.append((setting.label, setting.help, dict(setting.choices).get(value, value)))
    return words


def _credentials(source: Source) -> list[tuple]:
    """`(credential, current | overlap | ended)`, newest first. Values are not even loaded."""
    now = timezone.now()
    kept = list(source.credentials.defer("value", "digest").order_by("-id"))
    live = [one for one in kept if one.expires_at is None or one.expires_at > now]
    ended = [(one, "ended") for one in kept if one not in live][:ENDED_SHOWN]
    return [(one, "current" if one.is_current else "overlap") for one in live] + ended


def _snippets(source: Source, key_id: str | None, url: str) -> list[dict]:
    made = snippets_for(source, None, key_id, url)
    return [{"label": snippet["title"], "code": snippet["code"]} for snippet in made]


def _token_templates(source: Source, key_id: str | None) -> dict[str, str]:
    """The header and a payload of a token, to copy (D3)."""
    body = json.loads(SAMPLE_BODY) if source.auth_config.get("claims_match_body") else {}
    return {
        "header": json.dumps(jwt_header(source.auth_config, key_id or ""), indent=2),
        "payload": json.dumps(jwt_payload(body, int(time.time())), indent=2),
    }
