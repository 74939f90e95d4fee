"""The pages of sources: they read and compose; their forms and buttons call the API."""

import json
import time

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.cache import patch_vary_headers

from sources.api import SourceFilter
from sources.authentication import METHODS
from sources.models import JWT, Source
from sources.presets import PRESETS, Preset
from sources.serializers import snippets_for
from sources.setting_forms import reading_fields, reading_in_words, rules_fields, rules_in_words
from sources.token_snippets import repeated_fields, token_header, token_payload
from tenants.models import Membership, Site
from tenants.pages import requires
from tenants.pagination import page_of
from tenants.permissions import Permission
from vault.credentials import DEFAULT_OVERLAP, OVERLAPS

ENDED_SHOWN = 5  # retired secrets that the page still names, so that "who used the old one?" can be answered
NAMED = 20  # sources that the question names before it is a matter of numbers
PLACEHOLDERS = [
    {"label": label, "code": f"{{snippets.{place}.code}}"}
    for place, label in enumerate(("curl", "Python", "Node", "Go"))
]


@requires(Permission.READ)
def sources(request: HttpRequest) -> HttpResponse:
    """The list, or only its table where htmx asks."""
    found = SourceFilter(request.GET, queryset=Source.objects.present().visible_to(request.actor))
    page = page_of(found.qs, request)
    context = {
        "page": page,
        "rows": [(source, *state_of(source, request.actor.tenant)) for source in page.rows],
        "refused": _refused_by_require_jwt(request.actor).count() if request.actor.tenant.require_jwt else 0,
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
    """A tile for each sender that the portal knows, and for each method.

    The answer of the API becomes the success screen, in the browser alone.
    """
    context = {
        "presets": [_preset_tile(preset) for preset in PRESETS.values()],
        "methods": [_form_of(method) for method in METHODS.values()],
        "methods_that_make": ",".join(name for name, one in METHODS.items() if one.has_secret and one.makes_secret),
        "methods_without_making": ",".join(name for name, one in METHODS.items() if not one.makes_secret),
        "kinds": [(Source.Kind.EVENT, "Events"), (Source.Kind.INCIDENT, "Incidents")],
        "stream_types": Source.StreamType.choices,
        "placeholders": PLACEHOLDERS,
        **_people(request),
    }
    return render(request, "sources/source_create.html", context)


@requires(Permission.READ)
def source(request: HttpRequest, pk) -> HttpResponse:
    """One source: its URL, its secrets without their values, how to send to it, what arrived."""
    visible = Source.objects.present().visible_to(request.actor).select_related("created_by", "assigned_to")
    found = get_object_or_404(visible, pk=pk)
    kind, word = state_of(found, request.actor.tenant)
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
        "preset": PRESETS.get(found.preset),
        "settings": _settings_of(found),
        "reading_words": reading_in_words(found),
        "rule_words": rules_in_words(found),
        "url": url if may_post else found.masked_url,
        "sites": sites if may_post else [],
        "site": site,
        "snippets": _snippets(found, key_id, url) if may_post else [],
        "token": _token_templates(found, key_id) if may_post and found.auth_method == JWT else None,
        "refused": is_refused(found, request.actor.tenant),
        "may_reveal": found.method.has_secret and not found.obstacle_to_reveal(request.actor),
        "credentials": credentials,
        "overlapping": max((one.expires_at for one in live if one.expires_at), default=None),
        "overlaps": list(OVERLAPS.items()),
        "default_overlap": DEFAULT_OVERLAP,
        "placeholders": PLACEHOLDERS,
    }
    return render(request, "sources/source_detail.html", context)


@requires(Permission.CONFIGURE)
def source_edit(request: HttpRequest, pk) -> HttpResponse:
    found = get_object_or_404(Source.objects.present(), pk=pk)
    context = {
        "source": found,
        "method": _form_of(found.method, found.auth_config),
        "stream_types": Source.StreamType.choices,
        "reading_fields": reading_fields(found),
        "rules_fields": rules_fields(found),
        **_people(request, found),
    }
    return render(request, "sources/source_edit.html", context)


@requires(Permission.MANAGE_TENANT)
def sources_without_token(request: HttpRequest) -> HttpResponse:
    """Which sources stop receiving while the tenant demands tokens (D2): a part of its settings page."""
    refused = _refused_by_require_jwt(request.actor)
    names = list(refused.order_by("name").values_list("pk", "name")[:NAMED])
    context = {"names": names, "count": refused.count(), "is_on": request.actor.tenant.require_jwt}
    return render(request, "sources/_without_token.html", context)


def _refused_by_require_jwt(actor):
    return Source.objects.present().visible_to(actor).refused_by_require_jwt()


def is_refused(source: Source, tenant) -> bool:
    """Whether the tenant's demand for tokens shuts this source (D2)."""
    return tenant.require_jwt and source.auth_method != JWT


def state_of(source: Source, tenant) -> tuple[str, str]:
    """The dot and the word of a source."""
    if is_refused(source, tenant):
        return "bad", "Refused: no token"
    if source.status == Source.Status.PAUSED:
        return "warn", "Paused"
    return ("ok", "Active") if source.last_received_at else ("idle", "Nothing received")


def _people(request: HttpRequest, source: Source | None = None) -> dict:
    """Whom a source can be assigned to, and who may see it and its secret."""
    members = Membership.objects.filter(tenant=request.actor.tenant).select_related("user").order_by("user__email")
    return {
        "people": [("", "Nobody"), *((one.user_id, one.user.email) for one in members)],
        "visibilities": Source.Visibility.choices,
        "reveals": Source.Reveal.choices,
        "holders": source is not None and source.reveal == Source.Reveal.HOLDERS,
    }


def _form_of(method, config=None) -> dict:
    """A method and its settings as the fields of a form."""
    return {
        "name": method.name,
        "title": method.title,
        "summary": method.summary,
        "warning": method.warning,
        "has_secret": method.has_secret,
        "makes_secret": method.has_secret and method.makes_secret,
        "minimum": method.min_secret_bytes,
        "fields": [_field_of(method, setting, config) for setting in method.settings if not setting.advanced],
        "advanced": [_field_of(method, setting, config) for setting in method.settings if setting.advanced],
        "is_special": any(setting.advanced and setting.name in (config or {}) for setting in method.settings),
    }


def _preset_tile(preset: Preset) -> dict:
    """A preset as the create form needs it."""
    return {
        "name": preset.name,
        "title": preset.title,
        "summary": preset.summary,
        "method_title": METHODS[preset.method].title,
        "header": METHODS[preset.method].setting(preset.config, "header"),
        "secret_from": preset.secret_from,
        "secret_after": preset.secret_after,
        "asks_for": preset.asks_for,
        "steps": preset.steps,
        "docs": preset.docs,
        "field_id": f"f-secret-{preset.name}",
        "field_label": f"{preset.title}: {preset.asks_for}",
    }


def _field_of(method, setting, config) -> dict:
    """`components/field.html` arguments of one setting."""
    value = setting.default if config is None else config.get(setting.name, setting.default)
    if isinstance(value, list | tuple):
        value = "\n".join(value)
    kinds = {bool: "checkbox", int: "number", tuple: "textarea"}
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
        if setting.advanced and setting.name not in source.auth_config:
            continue
        value = source.auth_config.get(setting.name, setting.default)
        if isinstance(value, bool):
            value = "yes" if value else "no"
        elif setting.name.endswith("_seconds"):
            value = f"{value} s"
        elif isinstance(value, list | tuple):
            value = ", ".join(value) or "none"
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


def _token_templates(source: Source, key_id: str | None) -> dict[str, object]:
    """The header and a payload of a token, to copy (D3), and the keys of the sample body that it is made of."""
    return {
        "header_name": source.method.setting(source.auth_config, "header"),
        "header": json.dumps(token_header(key_id or ""), indent=2),
        "payload": json.dumps(token_payload(source.auth_config, int(time.time())), indent=2, ensure_ascii=False),
        "keys": repeated_fields(source.auth_config),
        "keys_text": "\n".join(source.method.setting(source.auth_config, "sample_keys")),
    }
