"""Events and receipts as a file: NDJSON or CSV, written row by row while it is read (P17).

- Rows are found by the same bounded search as a page, so an export looks at LOOKED rows and writes ROWS at most. Where
  it stopped before the end its last line says so, with the id to go on `before`.
- Memory stays the same however much is written: ids come first, their payloads in batches of bounded size.
- The file is sent after the request's transaction has ended, so each batch opens its own, in the tenant's scope.
- CSV is opened by spreadsheets, which run what begins like a formula: such a cell gets an apostrophe in front
  (OWASP, CSV Injection).
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connection, models
from django.http import StreamingHttpResponse
from django.utils.text import slugify
from rest_framework.utils.encoders import JSONEncoder

from events.looking import Budget, Found, look
from events.search import ArrivedFilter, TooSlow
from tenants.models import Tenant
from tenants.scope import tenant_scope

ROWS = 100_000
LOOKED = 5_000_000
IDS = 1_000  # found at a time
BATCH_ROWS = 200
BATCH_BYTES = 4_000_000
STEP = Budget(200_000, 2.0)

FORMATS = {"ndjson": "NDJSON", "csv": "CSV"}
MEDIA_TYPES = {"ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


@dataclass(frozen=True)
class Kind:
    """What can be exported. `present` makes a row of it; `size` is the SQL of how large a row is.

    Cells of `json_columns`, and lists and objects anywhere, are written as JSON.
    """

    name: str
    columns: Sequence[str]
    json_columns: frozenset[str]
    load: Callable[[Sequence[UUID]], Iterable[models.Model]]
    present: Callable[[models.Model], dict]
    size: models.Expression


def response_of(kind: Kind, wanted: ArrivedFilter, tenant: Tenant, form: str, before: UUID | None, at: datetime):
    """The file as a response. Call it in the tenant's scope; it is written after that has ended."""
    name = f"{kind.name}-{slugify(tenant.name)[:40] or 'tenant'}-{at:%Y%m%dT%H%M%SZ}.{form}"
    lines = (_csv if form == "csv" else _ndjson)(kind, Rows(kind, wanted, tenant, before))
    return StreamingHttpResponse(
        lines,
        content_type=MEDIA_TYPES[form],
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "sandbox; default-src 'none'",
            "X-Export-Limit": str(ROWS),
        },
    )


class Rows:
    """The rows of an export, newest first, once. Afterwards `cut` says why they ended early, or "" and `last` where."""

    def __init__(self, kind: Kind, wanted: ArrivedFilter, tenant: Tenant, before: UUID | None) -> None:
        self.kind = kind
        self.wanted = wanted
        self.tenant_id = tenant.pk
        self.last = before
        self.written = 0
        self.cut = ""

    def __iter__(self) -> Iterator[dict]:
        looked = 0
        while True:
            asked = min(IDS, ROWS - self.written)
            try:
                found = self._find(asked)
            except TooSlow as error:
                self.cut = str(error.detail)
                return
            for batch in batches(found.rows):
                yield from self._load(batch)
            looked += found.looked
            if found.stopped_at is not None:
                self.last = found.stopped_at
            elif len(found.rows) < asked:
                return
            if self.written >= ROWS:
                if found.stopped_at is None and not self._find(1).rows:
                    return
                self.cut = f"An export has at most {ROWS} rows."
            elif looked >= LOOKED:
                self.cut = f"An export looks at {LOOKED} rows at most."
            if self.cut:
                return

    def _find(self, size: int) -> Found:
        """The next ids, each with the size of its payload."""
        with _moment_in(self.tenant_id):
            return look(self.wanted, size, below=self.last, budget=STEP)

    def _load(self, batch: Sequence[UUID]) -> list[dict]:
        """Whole rows of these ids, in their order; what was deleted meanwhile is left out."""
        with _moment_in(self.tenant_id):
            rows = {row.pk: row for row in self.kind.load(batch)}
            made = [self.kind.present(rows[pk]) for pk in batch if pk in rows]
        self.written += len(batch)
        self.last = batch[-1]
        return made


@contextmanager
def _moment_in(tenant_id: UUID) -> Iterator[None]:
    """The tenant's scope, and no connection kept while a slow reader takes what was found in it."""
    with tenant_scope(tenant_id):
        yield
    if not connection.in_atomic_block:
        connection.close()


def sized(queryset: models.QuerySet, kind: Kind) -> models.QuerySet:
    """Only id and `payload_size`: what an export's filter looks for."""
    return queryset.only("pk").annotate(payload_size=kind.size)


def batches(rows: Iterable) -> Iterator[list[UUID]]:
    """Ids of rows that are small enough together to be held at once; never an empty list."""
    batch: list[UUID] = []
    size = 0
    for row in rows:
        if batch and (len(batch) == BATCH_ROWS or size + row.payload_size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(row.pk)
        size += row.payload_size
    if batch:
        yield batch


def safe_cell(value: object) -> str:
    """One cell of CSV, in a way that no spreadsheet takes it for a formula."""
    text = "" if value is None else value if isinstance(value, str) else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def _ndjson(kind: Kind, rows: Rows) -> Iterator[bytes]:
    for row in rows:
        yield _json(row).encode() + b"\n"
    if rows.cut:
        cut = {"rows": rows.written, "reason": rows.cut, "before": str(rows.last)}
        yield _json({"cut": cut}).encode() + b"\n"


def _csv(kind: Kind, rows: Rows) -> Iterator[bytes]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)

    def line(cells: Iterable[object]) -> bytes:
        buffer.seek(0)
        buffer.truncate()
        writer.writerow([safe_cell(cell) for cell in cells])
        return buffer.getvalue().encode()

    yield line(kind.columns)
    for row in rows:
        yield line(_cell(kind, column, row.get(column)) for column in kind.columns)
    if rows.cut:
        yield line([f"# Cut after {rows.written} rows: {rows.cut} Go on with before={rows.last}"])


def _cell(kind: Kind, column: str, value: object) -> object:
    is_json = value is not None and (column in kind.json_columns or isinstance(value, dict | list))
    return _json(value) if is_json else value


def _json(value: object) -> str:
    return json.dumps(value, cls=JSONEncoder, ensure_ascii=False, separators=(",", ":"))
