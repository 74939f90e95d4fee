"""Pages of schemas and of the types of events there are (P11, P12). They only read; the API acts."""

import difflib
import json
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.cache import patch_vary_headers
from django.utils.dateparse import parse_datetime

from events import schema_reports
from events.models import Event, Schema, SchemaAttachment, SchemaVersion
from events.schema_api import SchemaFilter
from events.schema_language import DIALECT, written
from events.schema_reports import FAILURES_SHOWN, SPANS, Verdicts, Window
from events.schema_serializers import InferSerializer, ProposalSerializer
from events.search import RANGES, TooSlow
from sources.models import Source
from tenants.pages import requires
from tenants.pagination import page_of
from tenants.permissions import Permission

STARTING_DOCUMENT = {"$schema": DIALECT, "type": "object", "properties": {}, "required": []}
VERSIONS_SHOWN = 100  # the newest
FILLED_ROWS = range(FAILURES_SHOWN)


@requires(Permission.READ)
def schemas(request: HttpRequest) -> HttpResponse:
    """The list, or only its table where htmx asks."""
    wanted = SchemaFilter(request.GET, queryset=Schema.objects.present().with_published_number())
    page = page_of(wanted.qs, request)
    attached = {}
    visible = _visible_sources(request)
    attachments = SchemaAttachment.objects.filter(schema__in=page.rows, source__in=visible).select_related("source")
    for one in attachments.order_by("source__name"):
        attached.setdefault(one.schema_id, []).append(one.source)
    context = {
        "page": page,
        "rows": [(schema, attached.get(schema.pk, [])) for schema in page.rows],
        "active": any(request.GET.get(name) for name in wanted.filters),
    }
    return _render(request, "events/_schema_table.html" if request.htmx else "events/schema_list.html", context)


@requires(Permission.CONFIGURE)
def schema_create(request: HttpRequest) -> HttpResponse:
    """Write a schema by hand."""
    context = {
        "document": written(STARTING_DOCUMENT),
        "sources": _choices(_visible_sources(request)),
        "event_type": request.GET.get("event_type", "")[:128],
        "nav": "schemas",
    }
    return render(request, "events/schema_create.html", context)


@requires(Permission.OPERATE)
def schema_infer(request: HttpRequest) -> HttpResponse:
    """Choose a source and a window; then the proposal made of its events, to be edited, tried again and published.

    `?schema=` names one that gets the proposal as its next version.
    """
    schema = None
    if identifier := _identifier(request.GET.get("schema", "")):
        schema = get_object_or_404(Schema.objects.present(), pk=identifier)
    sources = _visible_sources(request)
    context = {
        "schema": schema,
        "sources": _choices(sources),
        "ranges": [(name, label) for name, (label, _) in RANGES.items()],
        "range": request.GET.get("range") or "7d",
        "chosen": request.GET.get("source", ""),
        "event_type": request.GET.get("event_type", "")[:128],
        "rows_to_fill": FILLED_ROWS,
        "nav": "schemas",
    }
    if request.GET.get("source"):
        context |= _proposal(request)
    return render(request, "events/schema_infer.html", context)


def _proposal(request: HttpRequest) -> dict:
    """What the page shows of a proposal, or why there is none."""
    given = {name: request.GET[name] for name in ("source", "range", "event_type") if request.GET.get(name)}
    wanted = InferSerializer(data={"range": "7d"} | given, context={"request": request})
    if not wanted.is_valid():
        return {"errors": {name: " ".join(map(str, words)) for name, words in wanted.errors.items()}}
    window: Window = wanted.validated_data["window"]
    try:
        proposal = schema_reports.propose(window)
    except TooSlow as error:
        return {"too_slow": str(error.detail)}
    types = proposal.types
    return {
        "window": window,
        "proposal": proposal,
        "document": written(proposal.document),
        "types": types.most_common(8),
        "suggested_type": window.event_type or (next(iter(types)) if len(types) == 1 else ""),
        "inferred_from": json.dumps(ProposalSerializer(proposal, context={"request": request}).data["inferred_from"]),
        "trial_body": json.dumps(
            {
                "source": str(window.source.pk),
                "since": window.since.isoformat(),
                "until": window.until.isoformat(),
                "event_type": window.event_type,
            }
        ),
    }


@requires(Permission.READ)
def schema(request: HttpRequest, pk: UUID) -> HttpResponse:
    """One schema: the version in force (or `?version=`), what changed from the one before, where it is used."""
    found = get_object_or_404(Schema.objects.present().select_related("created_by"), pk=pk)
    versions = list(found.versions.select_related("published_by").defer("text")[:VERSIONS_SHOWN])
    shown = _shown(versions, request.GET.get("version", ""))
    before = next((one for one in versions if shown and one.number < shown.number), None)
    draft = next((one for one in versions if one.is_draft), None)
    attached = schema_reports.attached_sources(found, _visible_sources(request))
    context = {
        "schema": found,
        "versions": versions,
        "shown": shown,
        "in_force": next((one for one in versions if not one.is_draft), None),
        "draft": draft,
        "before": before,
        "difference": _difference(before, shown) if before and shown else [],
        "document": shown.text if shown else "",
        "next_document": draft.text if draft else (shown.text if shown else written(STARTING_DOCUMENT)),
        "next_number": draft.number if draft else (versions[0].number if versions else 0) + 1,
        "origin": _origin(shown, _visible_sources(request)),
        "attached": attached,
        "attachable": _choices(_visible_sources(request).exclude(pk__in=[source.pk for source in attached])),
        "nav": "schemas",
    }
    return render(request, "events/schema_detail.html", context)


@requires(Permission.READ)
def schema_verdicts(request: HttpRequest, pk: UUID) -> HttpResponse:
    """A part of its page: what its sources' events were found to be, in the span that `?span=` names."""
    found = get_object_or_404(Schema.objects.present(), pk=pk)
    attached = schema_reports.attached_sources(found, _visible_sources(request))
    context = {"schema": found, "attached": attached} | _verdicts(
        request, attached, schema_reports.versions_of(found), request.GET.get("span", "")
    )
    return render(request, "events/_schema_verdicts.html", context)


@requires(Permission.READ)
def source_schemas(request: HttpRequest, pk: UUID) -> HttpResponse:
    """A part of a source's page: its schemas in their order, and how many of its events fit none of them."""
    source = get_object_or_404(_visible_sources(request), pk=pk)
    attached = list(
        Schema.objects.filter(attachments__source=source).with_published_number().order_by("attachments__position")
    )
    ids = [str(one.pk) for one in attached]
    rows = [
        {"schema": one, "up": json.dumps({"schemas": _moved(ids, place)}) if place else ""}
        for place, one in enumerate(attached)
    ]
    others = Schema.objects.present().exclude(pk__in=[one.pk for one in attached]).order_by("name")
    context = {
        "source": source,
        "rows": rows,
        "attachable": [(str(one.pk), one.name) for one in others],
        "attach_body": json.dumps({"source": str(source.pk)}),
    }
    if attached:
        context |= _verdicts(request, [source], [], "24h")
    return render(request, "events/_source_schemas.html", context)


@requires(Permission.READ)
def event_types(request: HttpRequest) -> HttpResponse:
    """What there is to subscribe to, or only the table where htmx asks."""
    search = request.GET.get("search", "")[:128]
    context = {"active": bool(search), "types": [], "can_infer": request.actor.can(Permission.OPERATE)}
    try:
        context["types"] = schema_reports.event_types(request.actor.tenant.pk, _visible_sources(request), search)
    except TooSlow as error:
        context["too_slow"] = str(error.detail)
    template = "events/_event_type_table.html" if request.htmx else "events/event_type_list.html"
    return _render(request, template, context)


def verdict_of(event: Event) -> dict:
    """The schema's verdict on one event, for its page: `word`, `kind`, and the schema or the problem."""
    if event.schema_version_id:
        versions = SchemaVersion.objects.filter(pk=event.schema_version_id).select_related("schema")
        return {"kind": "ok", "word": "Fits", "version": versions.defer("text").first()}
    if event.schema_problem:
        return {"kind": "bad", "word": "Fits no schema", "problem": event.schema_problem}
    return {"kind": "idle", "word": "Not checked"}


def _verdicts(request: HttpRequest, sources: list[Source], versions: list[UUID], name: str) -> dict:
    span = SPANS.get(name, SPANS["24h"])
    context: dict = {
        "span": span,
        "spans": [
            {"label": one.title, "url": f"{request.path}?span={key}", "current": one is span}
            for key, one in SPANS.items()
        ],
        "labels": [start.strftime(span.label) for start in span.starts()],
    }
    try:
        found = schema_reports.verdicts([source.pk for source in sources], versions, span)
    except TooSlow:
        return context | {"too_slow": "There are too many events to count them here. Look at the last 24 hours."}
    drift = "–" if found.drift is None else f"{found.drift:.1f} %"
    checked = f"of {found.judged:,} that were checked"
    return context | {"verdicts": found, "series": _series(found), "drift": drift, "checked": checked}


def _series(found: Verdicts) -> list[dict]:
    bars = (
        ("This schema", "ok", found.matched),
        ("Another schema", "accent", found.other),
        ("Fit no schema", "bad", found.unfit),
        ("Not checked", "idle", found.unseen),
    )
    return [{"name": name, "kind": kind, "values": values} for name, kind, values in bars if any(values)]


def _shown(versions: list[SchemaVersion], wanted: str) -> SchemaVersion | None:
    """The version of that number; else the one in force, else the draft."""
    asked = next((one for one in versions if str(one.number) == wanted), None)
    return asked or next((one for one in versions if not one.is_draft), None) or next(iter(versions), None)


def _difference(before: SchemaVersion, after: SchemaVersion) -> list[tuple[str, str]]:
    """`(added | removed | same | gap, line)`: what changed, with two lines around it."""
    kinds = {"+": "added", "-": "removed", " ": "same"}
    lines = difflib.unified_diff(before.text.splitlines(), after.text.splitlines(), n=2, lineterm="")
    found = []
    for line in list(lines)[2:]:
        found.append(("gap", "⋯") if line.startswith("@@") else (kinds[line[0]], line[1:]))
    return found


def _origin(version: SchemaVersion | None, visible) -> dict | None:
    """`inferred_from` for people: times as times, the source by its name where they may see it."""
    if version is None or not version.inferred_from:
        return None
    kept = version.inferred_from
    return kept | {
        "source": visible.filter(pk=kept["source"]).first(),
        "since": parse_datetime(kept["since"]),
        "until": parse_datetime(kept["until"]),
    }


def _moved(ids: list[str], place: int) -> list[str]:
    """The order in which the one at `place` has changed with the one above."""
    return [*ids[: place - 1], ids[place], ids[place - 1], *ids[place + 1 :]]


def _visible_sources(request: HttpRequest):
    return Source.objects.present().visible_to(request.actor)


def _choices(sources) -> list[tuple[str, str]]:
    return [(str(source.pk), source.name) for source in sources.order_by("name")]


def _identifier(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _render(request: HttpRequest, template: str, context: dict) -> HttpResponse:
    response = render(request, template, context)
    patch_vary_headers(response, ["HX-Request"])
    return response
