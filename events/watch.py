"""Looks at the facts and moves the alarms (P15).

Each run:

1. Makes the alarms that new sources lack.
2. Reads every alarm with its source: one query, narrow rows.
3. Counts what was refused for its proof lately: one range of a small index, whatever came beside it. Where that is
   enough to ring, it counts the accepted requests of those sources too, as far as the answer depends on them.
4. Looks at the latest SAMPLE events of each source that has schemas and lately received something unfit for them.
5. Judges (`events.health`), without the database.
6. Moves those whose state must change, BATCH at a time in transactions of their own: a conditional UPDATE on the
   state that was read. Whoever comes second moves nothing, so an episode is opened, and told of, once.
   Episode, mails to send and the operational event are written in the same transaction.

The operational events are rows like any other, with the source they are about, but no receipt. They are no events of
the source: no alarm counts them, and an alarm is about a source, never about a delivery. So a subscriber that is told
of a silent source and fails makes no further operational event, and there is no loop.

Time is an argument: the tests have their own.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from events.alarms import Alarm, AlarmEpisode, AlarmMail
from events.arrivals import KeptEvent
from events.health import DEFAULTS, Bounds, Ended, Facts, Kind, State, judge, obstacle, summary
from events.mailing import people
from events.schema_models import SchemaAttachment
from events.store import insert_events
from events.wakeup import ROUTE, wake_on_commit
from sources.models import Source
from tenants.ids import lowest_uuid7, uuid7
from tenants.models import Tenant
from tenants.scope import system_scope

BATCH = 200  # alarms a transaction
SAMPLE = 200  # events of a source that are looked at
NOTHING: dict[UUID, tuple[int, int]] = {}

# The type and severity of the event about an episode's beginning and end. Both have the same severity: a subscription
# that is told of one is told of the other.
EVENTS = {
    Kind.SILENCE: ("portal.source.silent", "portal.source.recovered", "high"),
    Kind.AUTHENTICATION: ("portal.source.authentication_failing", "portal.source.authentication_recovered", "high"),
    Kind.CLASSIFICATION: (
        "portal.source.classification_failing",
        "portal.source.classification_recovered",
        "medium",
    ),
}

_UNPROVEN = """
    SELECT r.source_id, sum(1 + r.suppressed)
    FROM events_receipt r
    JOIN events_alarm a ON a.source_id = r.source_id AND a.kind = 'authentication' AND a.enabled
    WHERE r.status_code = 401 AND r.id BETWEEN %s AND %s
        AND r.id >= (lpad(to_hex((extract(epoch FROM coalesce(a.watched_since, %s)) * 1000)::bigint), 12, '0')
            || repeat('0', 20))::uuid
    GROUP BY r.source_id
"""
_ACCEPTED = """
    SELECT one.source_id, (
        SELECT count(*) FROM (
            SELECT FROM events_receipt r
            WHERE r.source_id = one.source_id AND r.id BETWEEN %s AND %s AND r.id >= one.lowest
                AND r.status = 'accepted'
            LIMIT one.enough
        ) AS accepted
    )
    FROM unnest(%s::uuid[], %s::uuid[], %s::bigint[]) AS one (source_id, lowest, enough)
"""
_LATEST = """
    WITH one AS MATERIALIZED (
        SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::bool[]) AS row (source_id, lowest, is_unsettled)
        WHERE is_unsettled OR (
            SELECT true FROM events_event e
            WHERE e.source_id = row.source_id AND e.id BETWEEN %s AND %s AND e.schema_problem <> '' LIMIT 1
        )
    )
    SELECT one.source_id,
        count(*) FILTER (WHERE latest.schema_version_id IS NOT NULL OR latest.schema_problem <> ''),
        count(*) FILTER (WHERE latest.schema_problem <> '')
    FROM one
    CROSS JOIN LATERAL (
        SELECT e.schema_version_id, e.schema_problem FROM events_event e
        WHERE e.source_id = one.source_id AND e.id BETWEEN %s AND %s AND e.id >= one.lowest
            AND e.receipt_id IS NOT NULL
        ORDER BY e.id DESC LIMIT %s
    ) AS latest
    GROUP BY one.source_id
"""
# Locked in one order, so that two runs cannot wait for each other; what another has locked it moves itself.
_MOVE = """
    WITH wanted AS (
        SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::timestamptz[], %s::timestamptz[])
            AS row (id, old, new, watched_since, configured_at)
    ), mine AS (
        SELECT a.id FROM events_alarm a JOIN wanted USING (id) ORDER BY a.id FOR UPDATE OF a SKIP LOCKED
    )
    UPDATE events_alarm a
    SET state = wanted.new, watched_since = wanted.watched_since,
        state_changed_at = CASE WHEN wanted.new = wanted.old THEN a.state_changed_at ELSE %s END
    FROM wanted JOIN mine USING (id)
    WHERE a.id = wanted.id AND a.state = wanted.old AND a.configured_at IS NOT DISTINCT FROM wanted.configured_at
    RETURNING a.id
"""


@dataclass(frozen=True)
class Watched:
    """An alarm and what is known of its source, as one run read them."""

    id: UUID
    tenant_id: UUID
    source_id: UUID
    kind: str
    state: str
    bounds: Bounds
    watched_since: datetime | None
    configured_at: datetime | None
    facts: Facts
    next_state: str = ""
    since: datetime | None = None

    @property
    def obstacle(self) -> Ended | None:
        return self.facts.obstacle

    @property
    def next_watched_since(self) -> datetime | None:
        return None if self.obstacle else self.facts.watched_since


@dataclass(frozen=True)
class Evaluation:
    """What one run did: how many episodes it opened and ended."""

    opened: int = 0
    ended: int = 0


def evaluate(at: datetime | None = None) -> Evaluation:
    """Look at every alarm and move those whose state is not what the facts call for. Any number may run at once."""
    at = at or timezone.now()
    with system_scope():
        Alarm.objects.ensure()
        alarms = _judged(Alarm.objects.all(), at)
    return _move_all(alarms, at, Ended.RECOVERED)


def configure(alarm: Alarm, at: datetime | None = None, **values) -> Evaluation:
    """Change settings of an alarm (`enabled`, `window_minutes`, `min_count`, `percent`) and judge it by the new ones.

    In the caller's transaction. An episode that the new settings end is over because of them, not by recovery.
    """
    at = at or timezone.now()
    for name, value in values.items():
        setattr(alarm, name, value)
    alarm.configured_at = at
    alarm.save(update_fields=[*values, "configured_at"])
    with system_scope():
        alarms = _judged(Alarm.objects.filter(pk=alarm.pk), at)
    moved = _move_all(alarms, at, Ended.CHANGED)
    alarm.refresh_from_db()
    return moved


def _judged(alarms, at: datetime) -> list[Watched]:
    """The alarms that have to move, with where to."""
    read = list(_read(alarms, at))
    counts = {
        Kind.AUTHENTICATION: _refused([one for one in read if one.kind == Kind.AUTHENTICATION], at),
        Kind.CLASSIFICATION: _unfit([one for one in read if one.kind == Kind.CLASSIFICATION], at),
    }
    moving = []
    for one in read:
        counted, failed = counts.get(one.kind, NOTHING).get(one.source_id, (0, 0))
        facts = replace(one.facts, counted=counted, failed=failed) if counted else one.facts
        verdict = judge(one.kind, one.bounds, one.state, facts)
        if verdict.state != one.state or one.next_watched_since != one.watched_since:
            moving.append(replace(one, facts=facts, next_state=verdict.state.value, since=verdict.since))
    return moving


def _read(alarms, at: datetime) -> Iterator[Watched]:
    """Each alarm with its source. Those of deleted sources only until they have come to rest."""
    attached = set(SchemaAttachment.objects.order_by().values_list("source_id", flat=True).distinct())
    at_rest = Q(state=State.INSUFFICIENT_DATA, watched_since=None)
    rows = alarms.exclude(at_rest & Q(source__deleted_at__isnull=False)).order_by()
    for row in rows.values_list(
        "pk", "tenant_id", "source_id", "kind", "state", "enabled", "window_minutes", "min_count", "percent",
        "watched_since", "configured_at",
        "source__status", "source__deleted_at", "source__last_received_at", "tenant__status", named=True,
    ).iterator():  # fmt: skip
        facts = Facts(
            at=at,
            watched_since=row.watched_since or at,
            last_received_at=row.source__last_received_at,
            obstacle=obstacle(
                is_deleted=row.source__deleted_at is not None,
                is_suspended=row.tenant__status != Tenant.Status.ACTIVE,
                is_paused=row.source__status != Source.Status.ACTIVE,
                is_enabled=row.enabled,
                kind=row.kind,
                has_schemas=row.source_id in attached,
            ),
        )
        yield Watched(
            id=row.pk,
            tenant_id=row.tenant_id,
            source_id=row.source_id,
            kind=row.kind,
            state=row.state,
            bounds=Bounds(timedelta(minutes=row.window_minutes), row.min_count or 0, row.percent or 0),
            watched_since=row.watched_since,
            configured_at=row.configured_at,
            facts=facts,
        )


def _refused(alarms: Sequence[Watched], at: datetime) -> dict[UUID, tuple[int, int]]:
    """(requests, of these refused for their proof) by source, where there are any refused or the alarm rings.

    Requests are counted as far as the answer depends on them: with so many accepted no bound is broken any more.
    """
    lowest, highest = _ids(DEFAULTS[Kind.AUTHENTICATION].window, at)
    refused = {source_id: int(count) for source_id, count in _rows(_UNPROVEN, [lowest, highest, at])}
    asked = [
        one
        for one in alarms
        if one.obstacle is None and (refused.get(one.source_id, 0) >= one.bounds.min_count or one.state == State.ALARM)
    ]
    parameters = [
        lowest,
        highest,
        [one.source_id for one in asked],
        [lowest_uuid7(one.facts.watched_since) for one in asked],
        [refused.get(one.source_id, 0) * 200 // max(one.bounds.percent, 1) + 1 for one in asked],
    ]
    accepted = dict(_rows(_ACCEPTED, parameters)) if asked else {}
    return {
        source_id: (refused.get(source_id, 0) + accepted.get(source_id, 0), refused.get(source_id, 0))
        for source_id in refused.keys() | accepted.keys()
    }


def _unfit(alarms: Iterable[Watched], at: datetime) -> dict[UUID, tuple[int, int]]:
    """(classified events, of these unfit for every schema) by source, among the latest SAMPLE within the window.

    A source that is well and had nothing unfit lately is passed over: a look at a partial index tells.
    """
    window = DEFAULTS[Kind.CLASSIFICATION].window
    lowest, highest = _ids(window, at)
    asked = [
        one
        for one in alarms
        if one.obstacle is None and one.facts.last_received_at and one.facts.last_received_at >= at - window
    ]
    if not asked:
        return {}
    parameters = [
        [one.source_id for one in asked],
        [lowest_uuid7(one.facts.watched_since) for one in asked],
        [one.state != State.OK for one in asked],
        *(lowest, highest, lowest, highest, SAMPLE),
    ]
    return {source_id: (counted, failed) for source_id, counted, failed in _rows(_LATEST, parameters)}


def _move_all(alarms: Iterable[Watched], at: datetime, because: Ended) -> Evaluation:
    remaining, opened, ended = iter(alarms), 0, 0
    while batch := list(islice(remaining, BATCH)):
        with system_scope(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL synchronous_commit = on")
            moved = _move(batch, at)
            opened += len(rung := _open_episodes([one for one in moved if one.next_state == State.ALARM], at))
            ended += len(over := _end_episodes([one for one in moved if one.state == State.ALARM], at, because))
            _tell(rung + over, at)
    return Evaluation(opened, ended)


def _move(alarms: Sequence[Watched], at: datetime) -> list[Watched]:
    """Those that this call moved to another state."""
    moved = _rows(
        _MOVE,
        [
            [one.id for one in alarms],
            [one.state for one in alarms],
            [one.next_state for one in alarms],
            [one.next_watched_since for one in alarms],
            [one.configured_at for one in alarms],
            at,
        ],
    )
    won = {identifier for (identifier,) in moved}
    return [one for one in alarms if one.id in won and one.next_state != one.state]


Told = tuple[Watched, AlarmEpisode]


def _open_episodes(alarms: Sequence[Watched], at: datetime) -> list[Told]:
    episodes = AlarmEpisode.objects.bulk_create(
        AlarmEpisode(
            tenant_id=one.tenant_id,
            alarm_id=one.id,
            opened_at=at,
            since=one.since or at,
            window_minutes=one.bounds.window // timedelta(minutes=1),
            min_count=one.bounds.min_count or None,
            percent=None if one.kind == Kind.SILENCE else one.bounds.percent,
            counted=one.facts.counted,
            failed=one.facts.failed,
        )
        for one in alarms
    )
    return list(zip(alarms, episodes, strict=True))


def _end_episodes(alarms: Sequence[Watched], at: datetime, because: Ended) -> list[Told]:
    by_alarm = {one.id: one for one in alarms}
    episodes = list(AlarmEpisode.objects.filter(alarm__in=by_alarm, cleared_at=None))
    for episode in episodes:
        episode.cleared_at = at
        episode.ended = (by_alarm[episode.alarm_id].obstacle or because).value
    AlarmEpisode.objects.bulk_update(episodes, ["cleared_at", "ended"])
    return [(by_alarm[episode.alarm_id], episode) for episode in episodes]


def _tell(told: Sequence[Told], at: datetime) -> None:
    """Mails and operational events about these, to be sent after the commit.

    People are mailed about the beginning and about recovery, not about what they did themselves (a pause, another
    setting). Programs are told of every end, so that what they opened does not stay open; of a suspended tenant nobody.
    """
    told = [(one, episode) for one, episode in told if one.obstacle != Ended.SUSPENDED]
    if not told:
        return
    moments = [
        (one, episode, AlarmMail.Moment.OPENED if episode.is_open else AlarmMail.Moment.CLEARED)
        for one, episode in told
        if episode.is_open or episode.ended == Ended.RECOVERED
    ]
    told_of = people({one.tenant_id for one, _, _ in moments})
    AlarmMail.objects.bulk_create(
        AlarmMail(tenant_id=one.tenant_id, episode=episode, user_id=user_id, moment=moment, due_at=at)
        for one, episode, moment in moments
        for user_id in told_of.get(one.tenant_id, ())
    )
    names = dict(Source.objects.filter(pk__in={one.source_id for one, _ in told}).values_list("pk", "name"))
    insert_events([_event(one, episode, names.get(one.source_id, "")) for one, episode in told])
    wake_on_commit(ROUTE)


def _event(alarm: Watched, episode: AlarmEpisode, name: str) -> KeptEvent:
    opened, cleared, severity = EVENTS[Kind(alarm.kind)]
    kind = opened if episode.is_open else cleared
    body = json.dumps(document(alarm, episode, name, kind), ensure_ascii=False, separators=(",", ":"))
    return KeptEvent(
        id=uuid7(),
        tenant_id=alarm.tenant_id,
        source_id=alarm.source_id,
        receipt_id=None,
        site_id=None,
        type=kind,
        severity=severity,
        content_type="application/json",
        body=body.encode(),
        data=body,
        title=_sentence(alarm, episode, name)[:200],
    )


def document(alarm: Watched, episode: AlarmEpisode, name: str, kind: str) -> dict:
    """The body of an operational event (docs/health.md)."""
    bounds = {"window_minutes": episode.window_minutes, "min_count": episode.min_count, "percent": episode.percent}
    observed = {"counted": episode.counted, "failed": episode.failed}
    return {
        "type": kind,
        "summary": _sentence(alarm, episode, name),
        "source": {"id": str(alarm.source_id), "name": name, "url": url_of(alarm.source_id)},
        "alarm": {"id": str(alarm.id), "kind": alarm.kind, "state": alarm.next_state},
        "episode": {
            "id": str(episode.pk),
            "since": _instant(episode.since),
            "opened_at": _instant(episode.opened_at),
            "cleared_at": _instant(episode.cleared_at),
            "ended": episode.ended or None,
        },
        "threshold": bounds if alarm.kind != Kind.SILENCE else {"window_minutes": episode.window_minutes},
        "observed": observed if alarm.kind != Kind.SILENCE else None,
    }


def url_of(source_id: UUID) -> str:
    """The page of a source, for people outside of the portal."""
    return settings.PORTAL_URL + reverse("source", args=[source_id])


def _sentence(alarm: Watched, episode: AlarmEpisode, name: str) -> str:
    is_recovery = not episode.is_open and episode.ended == Ended.RECOVERED
    if episode.is_open or is_recovery:
        words = summary(alarm.kind, episode.bounds, is_over=is_recovery, counted=episode.counted, failed=episode.failed)
        return f"“{name}” {words}"
    because = episode.get_ended_display()
    return f"The alarm about “{name}” is over: {because[0].lower()}{because[1:]}."


def _instant(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _ids(window: timedelta, at: datetime) -> tuple[UUID, UUID]:
    """The ids made within the window up to `at`, that millisecond included."""
    return lowest_uuid7(at - window), UUID(int=lowest_uuid7(at).int | (1 << 80) - 1)


def _rows(sql: str, parameters: Sequence[object]) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()
