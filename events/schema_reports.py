"""What received events say about schemas: a proposal, a trial, the verdicts of the door, and the types there are.

Payloads are read in chunks, newest first, within bounds of number, size and time; a report says how far it got.
"""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from django.db import connection, models
from django.db.models import F, Func
from django.utils import timezone

from events.inference import infer
from events.models import Event
from events.schema_language import UNREADABLE, CompiledSchema
from events.schema_models import Schema, SchemaAttachment, SchemaVersion
from events.search import bounded_time
from sources.models import Source
from tenants.ids import lowest_uuid7, time_of

MAX_SAMPLE = 1_000  # events that a proposal is made of
MAX_TESTED = 2_000
MAX_READ = 64_000_000  # bytes of bodies
CHUNK_EVENTS = 200
CHUNK_BYTES = 2_000_000
PATIENCE = 5.0  # seconds, of reading and trying
FAILURES_SHOWN = 25

now = time.monotonic


@dataclass(frozen=True)
class Window:
    """Which events are looked at: of one source, from `since` to before `until`, of one type or of any."""

    source: Source
    since: datetime
    until: datetime
    event_type: str = ""

    def newest(self, limit: int) -> list[tuple[UUID, str, int]]:
        """`(id, type, bytes of its body)`, as many as may be read. Raises TooSlow."""
        found = Event.objects.filter(source=self.source).since(self.since).before(self.until)
        if self.event_type:
            found = found.filter(type=self.event_type)
        size = Func(F("body"), function="octet_length", output_field=models.IntegerField())
        with bounded_time():
            rows = list(found.order_by("-pk").values_list("pk", "type", size)[:limit])
        read = 0
        for place, (_, _, bytes_of_body) in enumerate(rows):
            read += bytes_of_body
            if read > MAX_READ:
                return rows[: max(1, place)]
        return rows


@dataclass
class Trial:
    """How the events of a window fare with a schema. `is_whole`: all events of the window were tried."""

    tested: int = 0
    matched: int = 0
    failures: list[dict] = field(default_factory=list)
    types: Counter = field(default_factory=Counter)
    is_whole: bool = True

    @property
    def unmatched(self) -> int:
        return self.tested - self.matched


@dataclass
class Proposal(Trial):
    """A schema made of `sampled` events of a window, and how those and more fare with it."""

    document: dict[str, object] = field(default_factory=dict)
    sampled: int = 0
    window: Window | None = None

    @property
    def inferred_from(self) -> dict:
        """What is kept beside a version that is made of it: `SchemaVersion.inferred_from`."""
        return {
            "source": self.window.source,
            "since": self.window.since,
            "until": self.window.until,
            "event_type": self.window.event_type,
            "sampled": self.sampled,
            "matched": self.matched,
            "unmatched": self.unmatched,
        }


AnyTrial = TypeVar("AnyTrial", bound=Trial)


def try_schema(schema: CompiledSchema, window: Window) -> Trial:
    """Try the newest events of a window, MAX_TESTED at most. Raises TooSlow."""
    rows = window.newest(MAX_TESTED + 1)
    return _tried(schema, rows, Trial())


def propose(window: Window, sample: int = MAX_SAMPLE) -> Proposal:
    """A schema made of the newest `sample` events, and tried on up to MAX_TESTED. Raises TooSlow."""
    rows = window.newest(MAX_TESTED + 1)
    learned = 0

    def readable() -> Iterator[object]:
        nonlocal learned
        for _, _, document in _documents(rows[:sample]):
            if document is not None:
                learned += 1
                yield document

    document = infer(readable())
    proposal = Proposal(document=document, sampled=learned, window=window)
    return _tried(CompiledSchema(document), rows, proposal)


def _tried(schema: CompiledSchema, rows: list[tuple[UUID, str, int]], trial: AnyTrial) -> AnyTrial:
    wanted = rows[:MAX_TESTED]
    for identifier, event_type, document in _documents(wanted):
        trial.tested += 1
        trial.types[event_type] += 1
        problem = UNREADABLE if document is None else schema.problem_of(document)
        if not problem:
            trial.matched += 1
        elif len(trial.failures) < FAILURES_SHOWN:
            received_at = time_of(identifier)
            trial.failures.append(
                {"id": identifier, "received_at": received_at, "type": event_type, "problem": problem}
            )
    trial.is_whole = len(rows) <= MAX_TESTED and trial.tested == len(wanted)
    return trial


def _documents(rows: list[tuple[UUID, str, int]]) -> Iterator[tuple[UUID, str, object]]:
    """`(id, type, document)` in the order of the rows, for PATIENCE; None for one that cannot be read."""
    deadline = now() + PATIENCE
    for chunk in _chunks(rows):
        with bounded_time():
            events = Event.objects.only("body", "data", "body_is_data").filter(pk__in=[pk for pk, *_ in chunk])
            documents = {event.pk: event.payload for event in events}
        for identifier, event_type, _ in chunk:
            if now() > deadline:
                return
            if identifier in documents:
                yield identifier, event_type, documents[identifier]


def _chunks(rows: list[tuple[UUID, str, int]]) -> Iterator[list[tuple[UUID, str, int]]]:
    chunk, size = [], 0
    for row in rows:
        if chunk and (len(chunk) >= CHUNK_EVENTS or size + row[2] > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += row[2]
    if chunk:
        yield chunk


@dataclass(frozen=True)
class Span:
    """A stretch of time until now in bars; `label` is strftime's form of a bar's start."""

    title: str
    bars: int
    step: timedelta
    label: str

    def starts(self, at: datetime | None = None) -> list[datetime]:
        at = at or timezone.now()
        return [at - back * self.step for back in range(self.bars, 0, -1)]


SPANS = {
    "24h": Span("Last 24 hours", 24, timedelta(hours=1), "%H:%M"),
    "7d": Span("Last 7 days", 28, timedelta(hours=6), "%-d %b"),
}


@dataclass(frozen=True)
class Verdicts:
    """What the door said of the events of some sources: bars of `matched` this schema, `other` ones, or `unfit`.

    `unseen` arrived before a schema was attached.
    """

    matched: list[int]
    other: list[int]
    unfit: list[int]
    unseen: list[int]

    @property
    def judged(self) -> int:
        return sum(self.matched) + sum(self.other) + sum(self.unfit)

    @property
    def unfit_total(self) -> int:
        return sum(self.unfit)

    @property
    def matched_total(self) -> int:
        return sum(self.matched)

    @property
    def drift(self) -> float | None:
        """Percent of the judged events that fit no schema; None where none was judged."""
        return 100 * self.unfit_total / self.judged if self.judged else None


def verdicts(sources: list[UUID], versions: list[UUID], span: Span) -> Verdicts:
    """Counted by the database in one walk along the sources' events. Raises TooSlow."""
    bounds = [lowest_uuid7(start) for start in span.starts()]
    columns = {name: [0] * span.bars for name in ("matched", "other", "unfit", "unseen")}
    with bounded_time(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT CASE WHEN schema_version_id = ANY(%s::uuid[]) THEN 'matched'"
            " WHEN schema_version_id IS NOT NULL THEN 'other'"
            " WHEN schema_problem <> '' THEN 'unfit' ELSE 'unseen' END,"
            " width_bucket(id, %s::uuid[]), count(*)"
            " FROM events_event WHERE source_id = ANY(%s::uuid[]) AND id >= %s GROUP BY 1, 2",
            [versions, bounds, sources, bounds[0]],
        )
        for verdict, bar, count in cursor.fetchall():
            columns[verdict][bar - 1] = count
    return Verdicts(**columns)


@dataclass(frozen=True)
class EventType:
    """A type of event of which there are some, or a schema. `example` is its newest event's id.

    `sources` are those that sent it; `is_published`: the tenant's own backend did, through the API.
    """

    name: str
    count: int
    last_received_at: datetime | None
    sources: list[Source]
    is_published: bool
    schema: Schema | None
    example: UUID | None


CATALOGUE_WINDOW = timedelta(days=7)
MAX_COUNTED = 200_000  # of the newest events of the window
MAX_TYPES = 500


def event_types(tenant_id: UUID, visible_sources: models.QuerySet, search: str = "") -> list[EventType]:
    """The types of the last 7 days and those that schemas describe, by name; MAX_TYPES at most. Raises TooSlow.

    They are counted among the newest MAX_COUNTED events.
    """
    described = Schema.objects.present().exclude(event_type="").order_by("-pk")
    schemas = {one.event_type: one for one in described.filter(event_type__icontains=search)[:MAX_TYPES]}
    rows = _counted_types(tenant_id, search)
    named = {one.pk: one for one in visible_sources.filter(pk__in={source_id for _, source_id, *_ in rows})}
    by_name: dict[str, list[tuple]] = {name: [] for name in schemas}
    for row in rows:
        by_name.setdefault(row[0], []).append(row)
    found = []
    for name, parts in sorted(by_name.items())[:MAX_TYPES]:
        example = max((newest for *_, newest in parts), default=None)
        found.append(
            EventType(
                name=name,
                count=sum(count for _, _, count, _ in parts),
                last_received_at=time_of(example) if example else None,
                sources=[named[source_id] for _, source_id, *_ in parts if source_id in named],
                is_published=any(source_id is None for _, source_id, *_ in parts),
                schema=schemas.get(name),
                example=example,
            )
        )
    return found


def _counted_types(tenant_id: UUID, search: str) -> list[tuple[str, UUID | None, int, UUID]]:
    """`(type, source, count, newest id)`. As text ids sort as they do as ids; max() takes no uuid before release 18."""
    word = f"%{connection.ops.prep_for_like_query(search)}%"
    with bounded_time(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT type, source_id, count(*), max(id::text)::uuid FROM"
            " (SELECT type, source_id, id FROM events_event WHERE tenant_id = %s AND id >= %s"
            " ORDER BY id DESC LIMIT %s)"
            " AS newest WHERE type ILIKE %s GROUP BY 1, 2 ORDER BY 1, 2 LIMIT %s",
            [tenant_id, lowest_uuid7(timezone.now() - CATALOGUE_WINDOW), MAX_COUNTED, word, MAX_TYPES * 4],
        )
        return cursor.fetchall()


def attached_sources(schema: Schema, visible_sources: models.QuerySet) -> list[Source]:
    """The sources that a schema classifies, by name."""
    attached = SchemaAttachment.objects.filter(schema=schema).values("source")
    return list(visible_sources.filter(pk__in=attached).order_by("name"))


def versions_of(schema: Schema) -> list[UUID]:
    return list(SchemaVersion.objects.filter(schema=schema).values_list("pk", flat=True))
