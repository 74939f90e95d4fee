"""Writes what arrived. Many arrivals share one commit, so that group commit only has to gather them.

Constraints first:
- An acknowledged event is durable: `synchronous_commit` is on for it, whatever the server's default.
- Receipt, events and inbox rows are kept together or not at all.
- unnest and not COPY: COPY FROM is not supported with row-level security.
- A refusal is worth less than an event: bounded for each source, committed without waiting for
  the disk, and a failure to record it never reaches the sender.
"""

import json
import logging
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

import psycopg
from django.db import Error, connection
from django.db.models import F

from events.arrivals import Accepted, KeptEvent, KeptReceipt
from events.models import Receipt
from sources.models import Source, SourceCredential
from tenants.scope import system_scope
from vault.credentials import TOUCH_INTERVAL

REFUSALS_A_MINUTE = 60  # rows, for each source and process

logger = logging.getLogger(__name__)

_RECEIPTS = """
    INSERT INTO events_receipt (id, tenant_id, source_id, site_id, status, status_code, reason, detail,
        client_address, headers, content_type, body, body_size, event_count, suppressed)
    SELECT id, tenant_id, source_id, site_id, %s, status_code, reason, detail,
        client_address::inet, headers::jsonb, content_type, body, body_size, event_count, 0
    FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::uuid[], %s::int[], %s::text[], %s::text[],
        %s::text[], %s::text[], %s::text[], %b::bytea[], %s::int[], %s::int[])
        AS row (id, tenant_id, source_id, site_id, status_code, reason, detail,
            client_address, headers, content_type, body, body_size, event_count)
"""
# The inbox row goes in by the same statement: there is no event without one.
_EVENTS = """
    WITH kept AS (
        INSERT INTO events_event (id, tenant_id, source_id, receipt_id, site_id, type, severity,
            content_type, body, data, data_problem)
        SELECT id, tenant_id, source_id, receipt_id, site_id, type, severity,
            content_type, body, data::jsonb, data_problem
        FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::uuid[], %s::uuid[], %s::text[], %s::text[],
            %s::text[], %b::bytea[], %s::text[], %s::text[])
            AS row (id, tenant_id, source_id, receipt_id, site_id, type, severity,
                content_type, body, data, data_problem)
        RETURNING id, tenant_id
    )
    INSERT INTO events_inbox (event_id, tenant_id) SELECT id, tenant_id FROM kept
"""


def insert_events(events: Sequence[KeptEvent]) -> None:
    """Events and their inbox rows, in the transaction and scope of the caller."""
    if not events:
        return
    with connection.wrap_database_errors, _cursor() as cursor:
        cursor.execute(
            _EVENTS,
            [
                [event.id for event in events],
                [event.tenant_id for event in events],
                [event.source_id for event in events],
                [event.receipt_id for event in events],
                [event.site_id for event in events],
                [event.type for event in events],
                [event.severity for event in events],
                [event.content_type for event in events],
                [event.body for event in events],
                [event.data for event in events],
                [event.data_problem for event in events],
            ],
        )


def insert_receipts(receipts: Sequence[KeptReceipt], status: str) -> None:
    """Receipts of one status, in the transaction and scope of the caller."""
    with connection.wrap_database_errors, _cursor() as cursor:
        cursor.execute(
            _RECEIPTS,
            [
                status,
                [receipt.id for receipt in receipts],
                [receipt.tenant_id for receipt in receipts],
                [receipt.source_id for receipt in receipts],
                [receipt.site_id for receipt in receipts],
                [receipt.status_code for receipt in receipts],
                [receipt.reason for receipt in receipts],
                [receipt.detail for receipt in receipts],
                [receipt.client_address for receipt in receipts],
                [json.dumps(receipt.headers) for receipt in receipts],
                [receipt.content_type for receipt in receipts],
                [receipt.body for receipt in receipts],
                [receipt.body_size for receipt in receipts],
                [receipt.event_count for receipt in receipts],
            ],
        )


def in_short(error: Error) -> str:
    """Class and SQLSTATE of a database error, for the log. Its text may quote the failing row: the sender's data."""
    state = getattr(error.__cause__, "sqlstate", None)
    return f"{type(error).__name__} ({state or 'no connection'})"


def _cursor() -> psycopg.Cursor:
    """A cursor that sends values beside the statement, bodies in binary.

    Django's own writes them into its text, which turns each byte of a body into two characters.
    """
    connection.ensure_connection()
    return psycopg.Cursor(connection.connection)


class DatabaseStore:
    """The store of the ingest door. Safe for threads: each uses its own connection."""

    def __init__(self) -> None:
        self._refusals: dict[UUID, _Minute] = {}
        self._touched: dict[str, float] = {}
        self._lock = threading.Lock()

    def keep(self, batch: Sequence[Accepted]) -> None:
        """Receipts, events and inbox rows of many arrivals in one durable commit, or none of them.

        Raises `django.db.Error`. An error at the commit itself leaves open whether it happened:
        the sender tries again, and at worst an event is there twice.
        """
        with system_scope():
            _settle_for("on", unless="remote_apply")
            insert_receipts([accepted.receipt for accepted in batch], Receipt.Status.ACCEPTED)
            insert_events([event for accepted in batch for event in accepted.events])

    def refuse(self, refusals: Sequence[KeptReceipt]) -> None:
        """Record refused requests: REFUSALS_A_MINUTE rows for each source, then a count on the last. Never raises."""
        rows, counts = self._admit(refusals)
        if not rows and not counts:
            return
        try:
            with system_scope():
                _settle_for("off")
                if rows:
                    insert_receipts(rows, Receipt.Status.REFUSED)
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
