"""Writes what arrived. Many arrivals share one commit, so that group commit only has to gather them.

Constraints first:
- An acknowledged event is durable: `synchronous_commit` is on for it, whatever the server's default.
- Receipt, events and inbox rows are kept together or not at all.
- unnest and not COPY: COPY FROM is not supported with row-level security.
- A refusal is worth less than an event: bounded for each source, committed without waiting for
  the disk, and a failure to record it never reaches the sender.
"""

import logging
import threading
import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from django.db import DataError, Error, connection
from django.db.models import F

from events.arrivals import Accepted, First, KeptEvent, KeptReceipt, Once
from events.columns import Booleans, Bytes, Integers, Moments, Texts, Uuids, teach
from events.models import Receipt
from sources.models import Source, SourceCredential
from tenants.scope import system_scope
from vault.credentials import TOUCH_INTERVAL

ACCEPTED = 202
REFUSALS_A_MINUTE = 60  # rows, for each source and process

logger = logging.getLogger(__name__)

# Statements take their parameters as $1, $2 … (psycopg.RawCursor), columns as `events.columns`.
_RECEIPT_ROWS = """
    INSERT INTO events_receipt (id, tenant_id, source_id, site_id, status, status_code, client_address, headers,
        content_type, body, body_size, event_count, suppressed, reason, detail, evidence, body_packed)
    SELECT id, tenant_id, source_id, site_id, $1, status_code, client_address::inet, headers::jsonb,
        content_type, body, body_size, event_count, 0, reason, detail, evidence::jsonb, body_packed
    FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::int[], $7::text[], $8::text[],
        $9::text[], $10::bytea[], $11::int[], $12::int[], $13::text[], $14::text[], $15::text[], $16::bool[])
        AS row (id, tenant_id, source_id, site_id, status_code, client_address, headers,
            content_type, body, body_size, event_count, reason, detail, evidence, body_packed)
"""
# The inbox row goes in by the same statement: there is no event without one. PostgreSQL looks into `data` only: that a
# body marked `body_is_data` can be cast when it is read is the promise of `streams.Item.plain`.
_EVENT_ROWS = """
    INSERT INTO events_event (id, tenant_id, source_id, receipt_id, site_id, type, severity,
        content_type, body, data, data_problem, body_is_data, title, occurred_at, schema_version_id, schema_problem)
    SELECT id, tenant_id, source_id, receipt_id, site_id, type, severity, content_type, body,
        data::jsonb, data_problem, body_is_data, title, occurred_at, schema_version_id, schema_problem
    FROM unnest({0}::uuid[], {1}::uuid[], {2}::uuid[], {3}::uuid[], {4}::uuid[], {5}::text[], {6}::text[],
        {7}::text[], {8}::bytea[], {9}::text[], {10}::text[], {11}::bool[], {12}::text[], {13}::timestamptz[],
        {14}::uuid[], {15}::text[])
        AS row (id, tenant_id, source_id, receipt_id, site_id, type, severity, content_type, body, data,
            data_problem, body_is_data, title, occurred_at, schema_version_id, schema_problem)
    RETURNING id, tenant_id
"""
_INBOX_ROWS = "INSERT INTO events_inbox (event_id, tenant_id) SELECT id, tenant_id FROM kept"


def _numbered(first: int) -> str:
    return _EVENT_ROWS.format(*(f"${number}" for number in range(first, first + 16)))


_EVENTS = f"WITH kept AS ({_numbered(1)}) {_INBOX_ROWS}"
_RECEIPTS_AND_EVENTS = f"WITH receipts AS ({_RECEIPT_ROWS}), kept AS ({_numbered(17)}) {_INBOX_ROWS}"

# For a batch of posts that each brought one event, whose body is its payload, and about which there is nothing more to
# say: half of the columns, taken apart once.
PLAIN_POSTS = """
    WITH row AS MATERIALIZED (
        SELECT * FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::uuid[], $7::text[], $8::text[],
            $9::text[], $10::int[], $11::text[], $12::text[], $13::text[], $14::bytea[], $15::text[],
            $16::timestamptz[])
            AS row (receipt_id, tenant_id, source_id, site_id, event_id, client_address, headers, receipt_type, size,
                type, severity, content_type, body, title, occurred_at)
    ), receipts AS (
        INSERT INTO events_receipt (id, tenant_id, source_id, site_id, status, status_code, client_address, headers,
            content_type, body, body_size, event_count, suppressed, reason, detail, evidence, body_packed)
        SELECT receipt_id, tenant_id, source_id, site_id, $1, 202, client_address::inet, headers::jsonb,
            receipt_type, NULL, size, 1, 0, '', '', NULL, false FROM row
    ), events AS (
        INSERT INTO events_event (id, tenant_id, source_id, receipt_id, site_id, type, severity, content_type, body,
            data, data_problem, body_is_data, title, occurred_at, schema_version_id, schema_problem)
        SELECT event_id, tenant_id, source_id, receipt_id, site_id, type, severity, content_type, body, NULL, '', true,
            title, occurred_at, NULL, '' FROM row
    )
    INSERT INTO events_inbox (event_id, tenant_id) SELECT event_id, tenant_id FROM row
"""

_BUNDLES = """
    INSERT INTO events_bundle (receipt_id, tenant_id, division, attempts, due_at)
    SELECT receipt_id, tenant_id, division, 0, now()
    FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS row (receipt_id, tenant_id, division)
"""

_CLAIM = """
    INSERT INTO events_oncekey (source_id, kind, digest, tenant_id, receipt_id, event_count, expires_at)
    SELECT source_id, $1, digest, tenant_id, receipt_id, event_count, now() + make_interval(secs => seconds)
    FROM unnest($2::uuid[], $3::bytea[], $4::uuid[], $5::uuid[], $6::int[], $7::int[])
        AS row (source_id, digest, tenant_id, receipt_id, event_count, seconds)
    ORDER BY source_id, digest
    ON CONFLICT (source_id, kind, digest) DO UPDATE
        SET receipt_id = EXCLUDED.receipt_id, event_count = EXCLUDED.event_count, expires_at = EXCLUDED.expires_at
        WHERE events_oncekey.expires_at <= now()
    RETURNING receipt_id
"""
_CLAIMED = """
    SELECT known.source_id, known.digest, known.receipt_id, known.event_count
    FROM events_oncekey AS known
    JOIN unnest($2::uuid[], $3::bytea[]) AS row (source_id, digest) USING (source_id, digest)
    WHERE known.kind = $1
"""
_UNCLAIM = """
    DELETE FROM events_oncekey AS known
    USING unnest($2::uuid[], $3::bytea[], $4::uuid[]) AS row (source_id, digest, receipt_id)
    WHERE known.source_id = row.source_id AND known.kind = $1 AND known.digest = row.digest
        AND known.receipt_id = row.receipt_id
"""

Statement = tuple[str, list[Any]]
Rows = list[tuple]


def keeping(batch: Sequence[Accepted]) -> Generator[Statement, Rows, list[First | None]]:
    """The statements that keep many arrivals, in order: to be run in one transaction, in the system's scope.

    Yields each with its parameters, is sent its rows, and returns for each arrival what came before it with the same
    key; those are not kept again. Knows no connection, so that both doors keep in the same way.
    """
    firsts: list[First | None] = [None] * len(batch)
    again: list[int] = []
    if any(accepted.once for accepted in batch):
        # A repeated post is answered as the first was, whatever token it carries: so the keys come first.
        yield from _claiming("key", batch, firsts)
        refused = yield from _claiming("jti", batch, firsts)
        again = [index for index, first in enumerate(firsts) if first is not None and first.receipt_id in refused]
    fresh = [accepted for accepted, first in zip(batch, firsts, strict=True) if first is None]
    if fresh:
        receipts = [accepted.receipt for accepted in fresh]
        events = [event for accepted in fresh for event in accepted.events]
        if _are_plain(fresh):
            yield PLAIN_POSTS, [Receipt.Status.ACCEPTED.value, *_plain_columns(fresh)]
        elif events:
            columns = [Receipt.Status.ACCEPTED.value, *_receipt_columns(receipts), *_event_columns(events)]
            yield _RECEIPTS_AND_EVENTS, columns
        else:
            yield _RECEIPT_ROWS, [Receipt.Status.ACCEPTED.value, *_receipt_columns(receipts)]
    bundles = [accepted.bundle for accepted in fresh if accepted.bundle is not None]
    if bundles:
        receipt_ids, tenant_ids, divisions = zip(*bundles, strict=True)
        yield _BUNDLES, [Uuids(receipt_ids), Uuids(tenant_ids), Texts(divisions)]
    if again:  # they repeat what was refused for its token just now: the first of them is the first
        for index, first in zip(again, (yield from keeping([batch[index] for index in again])), strict=True):
            firsts[index] = first
    return firsts


def _claiming(
    kind: str, batch: Sequence[Accepted], firsts: list[First | None]
) -> Generator[Statement, Rows, set[UUID]]:
    """Claim the keys of one kind; notes in `firsts` who came first where a claim failed.

    Returns the receipts whose idempotency keys were given back, because their tokens were used before.
    """
    wanted: dict[tuple[UUID, bytes], tuple[int, Once]] = {}
    late: list[tuple[int, tuple[UUID, bytes]]] = []
    for index, accepted in enumerate(batch):
        for once in accepted.once:
            if once.kind == kind and firsts[index] is None:
                name = (accepted.receipt.source_id, once.digest)
                if name in wanted:
                    late.append((index, name))  # the same key twice in one batch: the second is the duplicate
                else:
                    wanted[name] = (index, once)
    if not wanted:
        return set()
    receipts = [batch[index].receipt for index, _ in wanted.values()]
    sources, digests = Uuids([source for source, _ in wanted]), Bytes([digest for _, digest in wanted])
    won = yield (
        _CLAIM,
        [
            kind,
            sources,
            digests,
            Uuids([receipt.tenant_id for receipt in receipts]),
            Uuids([receipt.id for receipt in receipts]),
            Integers([receipt.event_count for receipt in receipts]),
            Integers([once.seconds for _, once in wanted.values()]),
        ],
    )
    winners = {row[0] for row in won}
    known: dict[tuple[UUID, bytes], First] = {}
    if len(winners) < len(wanted) or late:
        rows = yield _CLAIMED, [kind, sources, digests]
        known = {(row[0], bytes(row[1])): First(kind, row[2], row[3]) for row in rows}
    losers = [(index, name) for name, (index, _) in wanted.items() if batch[index].receipt.id not in winners]
    for index, name in losers + late:
        firsts[index] = known[name]
    refused: set[UUID] = set()
    if kind == "jti":  # refused for its token: then its idempotency key was not used either
        unused = [
            (batch[index].receipt.source_id, once.digest, batch[index].receipt.id)
            for index, _ in losers + late
            for once in batch[index].once
            if once.kind == "key"
        ]
        if unused:
            names, digests_of, receipt_ids = zip(*unused, strict=True)
            yield _UNCLAIM, ["key", Uuids(names), Bytes(digests_of), Uuids(receipt_ids)]
            refused = set(receipt_ids)
    return refused


_RECEIPT_TYPES = (
    Uuids, Uuids, Uuids, Uuids, Integers, Texts, Texts, Texts, Bytes, Integers, Integers, Texts, Texts, Texts, Booleans,
)  # fmt: skip


def _receipt_columns(receipts: Sequence[KeptReceipt]) -> list[object]:
    return [column(values) for column, values in zip(_RECEIPT_TYPES, zip(*receipts, strict=True), strict=True)]


def _are_plain(batch: Sequence[Accepted]) -> bool:
    """Whether PLAIN_POSTS says all there is to say."""
    for accepted in batch:
        receipt, events = accepted.receipt, accepted.events
        if len(events) != 1 or receipt.body is not None or receipt.status_code != ACCEPTED:
            return False
        event = events[0]
        if not event.body_is_data or event.data_problem or event.schema_version_id or event.schema_problem:
            return False
    return True


_PLAIN_TYPES = (
    Uuids, Uuids, Uuids, Uuids, Uuids, Texts, Texts, Texts, Integers, Texts, Texts, Texts, Bytes, Texts, Moments,
)  # fmt: skip


def _plain_columns(batch: Sequence[Accepted]) -> list[object]:
    rows = [
        (
            receipt.id, receipt.tenant_id, receipt.source_id, receipt.site_id, event.id, receipt.client_address,
            receipt.headers, receipt.content_type, receipt.body_size, event.type, event.severity, event.content_type,
            event.body, event.title, event.occurred_at,
        )
        for receipt, (event, *_) in [(accepted.receipt, accepted.events) for accepted in batch]
    ]  # fmt: skip
    return [column(values) for column, values in zip(_PLAIN_TYPES, zip(*rows, strict=True), strict=True)]


_EVENT_TYPES = (
    Uuids, Uuids, Uuids, Uuids, Uuids, Texts, Texts, Texts, Bytes, Texts, Texts, Booleans, Texts, Moments, Uuids, Texts,
)  # fmt: skip


def _event_columns(events: Sequence[KeptEvent]) -> list[object]:
    return [column(values) for column, values in zip(_EVENT_TYPES, zip(*events, strict=True), strict=True)]


def without_projections(accepted: Accepted) -> Accepted:
    """The same arrival for a database that does not take a projection. Bodies are kept as they are, and those that are
    their own projection still are: they are not what was refused.
    """
    return accepted._replace(events=tuple(without_projection(event) for event in accepted.events))


def without_projection(event: KeptEvent) -> KeptEvent:
    if event.data is None:
        return event
    return event._replace(data=None, data_problem="The payload could not be stored for search.")


def insert_events(events: Sequence[KeptEvent]) -> None:
    """Events and their inbox rows, in the transaction and scope of the caller."""
    if events:
        _run([(_EVENTS, _event_columns(events))])


def _run(statements: Iterable[Statement]) -> None:
    with connection.wrap_database_errors, _cursor() as cursor:
        for statement, parameters in statements:
            cursor.execute(statement, parameters)


def in_short(error: Exception) -> str:
    """Class and SQLSTATE of a database error, for the log. Its text may quote the failing row: the sender's data."""
    state = getattr(error, "sqlstate", None) or getattr(error.__cause__, "sqlstate", None)
    return f"{type(error).__name__} ({state or 'no connection'})"


def _cursor() -> psycopg.RawCursor:
    """A cursor that sends values beside the statement, in binary. Django's own writes them into its text."""
    connection.ensure_connection()
    cursor = psycopg.RawCursor(connection.connection)
    teach(cursor.adapters)
    return cursor


class DatabaseStore:
    """The store of the ingest door. Safe for threads: each uses its own connection."""

    def __init__(self) -> None:
        self._refusals: dict[UUID, _Minute] = {}
        self._touched: dict[str, float] = {}
        self._lock = threading.Lock()

    def keep(self, batch: Sequence[Accepted]) -> list[First | None]:
        """Receipts, events and inbox rows of many arrivals in one durable commit, or none of them.

        Returns for each what came before it with the same key, and was kept in its place. Raises `django.db.Error`.
        An error at the commit itself leaves open whether it happened: the sender tries again, and at worst an event
        is there twice.
        """
        try:
            return self._keep(batch)
        except DataError as error:
            logger.error("Payloads are kept without their projections: %s", in_short(error))
            return self._keep([without_projections(accepted) for accepted in batch])

    def _keep(self, batch: Sequence[Accepted]) -> list[First | None]:
        with system_scope():
            _settle_for("on", unless="remote_apply")
            with connection.wrap_database_errors, _cursor() as cursor:
                steps = keeping(batch)
                rows: Rows | None = None
                while True:
                    try:
                        statement, parameters = steps.send(rows)
                    except StopIteration as done:
                        return done.value
                    cursor.execute(statement, parameters)
                    rows = cursor.fetchall() if cursor.description else []

    def refuse(self, refusals: Sequence[KeptReceipt]) -> None:
        """Record refused requests: REFUSALS_A_MINUTE rows for each source, then a count on the last. Never raises."""
        rows, counts = self._admit(refusals)
        if not rows and not counts:
            return
        try:
            with system_scope():
                _settle_for("off")
                if rows:
                    _run([(_RECEIPT_ROWS, [Receipt.Status.REFUSED.value, *_receipt_columns(rows)])])
                for receipt_id, count in counts.items():
                    Receipt.objects.filter(pk=receipt_id).update(suppressed=F("suppressed") + count)
        except Error as error:
            logger.warning("Could not record %d refused requests: %s", len(refusals), in_short(error))

    def touch(self, batch: Sequence[Accepted]) -> None:
        """Note that these sources received and these secrets proved it, at most every TOUCH_INTERVAL. Never raises."""
        sources = self._due(str(accepted.receipt.source_id) for accepted in batch)
        secrets = self._due(accepted.secret_id for accepted in batch if accepted.secret_id)
        if not sources and not secrets:
            return
        try:
            with system_scope():
                _settle_for("off")
                Source.objects.filter(pk__in=sources).touch()
                SourceCredential.objects.filter(pk__in=secrets).touch()
        except Error as error:
            logger.warning("Could not note the use of a source: %s", in_short(error))

    def _due(self, names: Iterable[str]) -> list[str]:
        now = time.monotonic()
        with self._lock:
            due = [
                name
                for name in dict.fromkeys(names)
                if now - self._touched.get(name, float("-inf")) >= TOUCH_INTERVAL.total_seconds()
            ]
            self._touched.update(dict.fromkeys(due, now))
        return due

    def _admit(self, refusals: Sequence[KeptReceipt]) -> tuple[list[KeptReceipt], dict[UUID, int]]:
        """Which refusals get a row, and what to add to the count of which earlier row."""
        minute = int(time.time() // 60)
        rows: list[KeptReceipt] = []
        counts: dict[UUID, int] = {}
        with self._lock:
            for refusal in refusals:
                window = self._refusals.get(refusal.source_id)
                if window is None or window.minute != minute:
                    if window is not None and window.last is not None and window.uncounted:
                        counts[window.last] = counts.get(window.last, 0) + window.uncounted
                    window = self._refusals[refusal.source_id] = _Minute(minute)
                if window.rows < REFUSALS_A_MINUTE:
                    window.rows += 1
                    window.last = refusal.id
                    rows.append(refusal)
                elif (count := window.suppress()) and window.last is not None:
                    counts[window.last] = counts.get(window.last, 0) + count
        return rows, counts


@dataclass
class _Minute:
    """Refusals of one source within one minute."""

    minute: int
    rows: int = 0
    last: UUID | None = None
    suppressed: int = 0
    uncounted: int = 0

    def suppress(self) -> int:
        """Count one more; returns what to write now, or 0.

        Written when the count has doubled, so a flood of n costs log n updates. The rest is
        written by the source's next refusal in a later minute; until then the page says less.
        """
        self.suppressed += 1
        self.uncounted += 1
        if self.suppressed & (self.suppressed - 1):
            return 0
        count, self.uncounted = self.uncounted, 0
        return count


def _settle_for(level: str, unless: str = "") -> None:
    """Set `synchronous_commit` for this transaction; `unless` names a stricter level to leave alone."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('synchronous_commit', %s, true)"
            " WHERE current_setting('synchronous_commit') NOT IN (%s, %s)",
            [level, level, unless],
        )
