"""What the pages show of a source's health (P14, P15). They only read; the API acts."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.cache import patch_vary_headers

from events.alarm_api import AlarmFilter
from events.alarm_serializers import MAX_COUNT
from events.alarms import KINDS, STATES, Alarm, AlarmEpisode
from events.health import DEFAULTS, SILENCES, Health, Kind, State, health, rule
from events.search import TooSlow, bounded_time
from sources.models import Source
from sources.views import is_refused, state_of
from tenants.ids import lowest_uuid7
from tenants.models import Tenant
from tenants.pages import requires
from tenants.pagination import page_of
from tenants.permissions import Permission

HEALTH_WORDS = {
    Health.HEALTHY: ("ok", "Healthy"),
    Health.SILENT: ("bad", "Silent"),
    Health.FAILING: ("bad", "Failing"),
    Health.WAITING: ("idle", "Nothing received"),
    Health.PAUSED: ("warn", "Paused"),
}
STATE_WORDS = {
    State.OK: ("ok", "OK"),
    State.ALARM: ("bad", "Alarm"),
    State.INSUFFICIENT_DATA: ("idle", "Insufficient data"),
}
FORMS = {
    Kind.SILENCE: {"title": "When no events are processed", "switch": "Alert when no events are processed"},
    Kind.AUTHENTICATION: {
        "title": "When requests are refused",
        "switch": "Alert when requests do not prove who sends them",
        "count_label": "Refused within 15 minutes (at least)",
        "count_help": "Requests answered with 401.",
        "percent_help": "Of all requests of the source within these 15 minutes.",
    },
    Kind.CLASSIFICATION: {
        "title": "When events fit no schema",
        "switch": "Alert when events fit none of the source's schemas",
        "count_label": "Events within 1 hour (at least)",
        "count_help": "With fewer there is nothing to judge by.",
        "percent_help": "Of the latest 200 events within that hour.",
    },
}
MOST_SOURCES = 100  # that one request may ask about
EPISODES_SHOWN = 10
HOURS = 24


@requires(Permission.READ)
def alarms(request: HttpRequest) -> HttpResponse:
    """Every alarm of the tenant, or only the table where htmx asks."""
    Alarm.objects.ensure()
    found = AlarmFilter(request.GET, queryset=Alarm.objects.visible_to(request.actor).with_open_episode())
    page = page_of(found.qs, request)
    context = {
        "page": page,
        "rows": [_row(alarm) for alarm in page.rows],
        "active": any(request.GET.get(name) for name in found.filters),
    }
    if not request.htmx:
        sources = Source.objects.present().visible_to(request.actor).order_by("name")
        context |= {"kinds": KINDS, "states": STATES, "sources": sources, "nav": "sources"}
    template = "events/_alarm_table.html" if request.htmx else "events/alarm_list.html"
    response = render(request, template, context)
    patch_vary_headers(response, ["HX-Request"])
    return response


@requires(Permission.READ)
def source_states(request: HttpRequest) -> HttpResponse:
    """The dot and the word of each source that `?id=` names, to be put where a list has left room for them."""
    wanted = [identifier for text in request.GET.getlist("id")[:MOST_SOURCES] if (identifier := _identifier(text))]
    found = Source.objects.present().visible_to(request.actor).filter(pk__in=wanted)
    return render(request, "events/_source_states.html", {"rows": _with_health(found, request.actor.tenant)})


@requires(Permission.READ)
def source_health(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The part of a source's page that says how it does, and what is watched."""
    found = get_object_or_404(Source.objects.present().visible_to(request.actor), pk=pk)
    Alarm.objects.ensure()
    own = Alarm.objects.visible_to(request.actor).filter(source=found).with_open_episode().order_by("id")
    rows = [_row(alarm) for alarm in own]
    traffic, too_slow = _traffic(found)
    [(_, kind, word)] = _with_health([found], request.actor.tenant)
    context = {
        "source": found,
        "state": {"kind": kind, "word": word},
        "rows": rows,
        "ringing": [row for row in rows if row["episode"]],
        "traffic": traffic,
        "too_slow": too_slow,
        "episodes": AlarmEpisode.objects.filter(alarm__source=found).select_related("alarm")[:EPISODES_SHOWN],
        "silences": SILENCES,
        "most": MAX_COUNT,
        "source_text": str(found.pk),
    }
    return render(request, "events/_health.html", context)


def _with_health(sources: Iterable[Source], tenant: Tenant) -> list[tuple[Source, str, str]]:
    """Each with its dot and its word."""
    sources = list(sources)
    alarms: dict[UUID, dict[str, Alarm]] = {}
    for alarm in Alarm.objects.filter(source__in=sources):
        alarms.setdefault(alarm.source_id, {})[alarm.kind] = alarm
    now = timezone.now()
    rows = []
    for source in sources:
        if is_refused(source, tenant):
            rows.append((source, *state_of(source, tenant)))
            continue
        own = alarms.get(source.pk, {})
        silence = own.get(Kind.SILENCE)
        seen = health(
            is_paused=source.status == Source.Status.PAUSED,
            is_failing=any(alarm.state == State.ALARM for kind, alarm in own.items() if kind != Kind.SILENCE),
            last_received_at=source.last_received_at,
            watched_since=silence.watched_since if silence else None,
            window=silence.bounds.window if silence else DEFAULTS[Kind.SILENCE].window,
            at=now,
        )
        rows.append((source, *HEALTH_WORDS[seen]))
    return rows


def _row(alarm: Alarm) -> dict:
    """An alarm in people's words."""
    kind, word = STATE_WORDS[State(alarm.state)] if alarm.enabled else ("idle", "Off")
    return {
        "alarm": alarm,
        "kind": kind,
        "word": word,
        "rule": rule(alarm.kind, alarm.bounds),
        "episode": alarm.open_episodes[0] if alarm.open_episodes else None,
        "dialog": f"alarm-{alarm.kind}",
        "fields": {name: f"alarm-{alarm.kind}-{name}" for name in ("enabled", "window", "count", "percent")},
        "is_listed": alarm.window_minutes in dict(SILENCES),
        **FORMS[Kind(alarm.kind)],
    }


def _traffic(source: Source, at: datetime | None = None) -> tuple[dict | None, str]:
    """Events and refusals of the last 24 hours by the hour; None and a sentence where counting takes too long."""
    at = at or timezone.now()
    bounds = [lowest_uuid7(at - timedelta(hours=hours)) for hours in range(HOURS, 0, -1)]
    events, refused = [0] * HOURS, [0] * HOURS
    try:
        with bounded_time(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT width_bucket(id, %s::uuid[]), coalesce(sum(event_count), 0),"
                " coalesce(sum(1 + suppressed) FILTER (WHERE status = 'refused'), 0)"
                " FROM events_receipt WHERE source_id = %s AND id >= %s GROUP BY 1",
                [bounds, source.pk, bounds[0]],
            )
            for bucket, some_events, some_refused in cursor.fetchall():
                events[bucket - 1], refused[bucket - 1] = int(some_events), int(some_refused)
    except TooSlow:
        return None, "This source receives too much to be counted here."
    return {
        "events": events,
        "refused": refused,
        "events_total": sum(events),
        "refused_total": sum(refused),
        "last_hour": events[-1],
        "a_minute": _rate(events[-1] / 60),
    }, ""


def _rate(rate: float) -> str:
    return f"{rate:,.0f} a minute" if rate >= 10 or rate == 0 else f"{rate:.2g} a minute"


def _identifier(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
