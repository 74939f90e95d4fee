"""Columns of values for `unnest`, written in PostgreSQL's binary form for arrays (src/backend/utils/adt/arrayfuncs.c).

psycopg's own dumper for lists looks at every element anew, in Python; for columns of one known type a join is enough,
and the door spends its time elsewhere.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import chain
from struct import Struct
from typing import Any
from uuid import UUID

from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap, Dumper
from psycopg.pq import Format

_HEADER = Struct("!iiIii")
_EMPTY = Struct("!iiI")
_LENGTH = Struct("!i")
_INT4 = Struct("!ii")
_INT8 = Struct("!iq")
_FLOAT8 = Struct("!id")
_NULL = _LENGTH.pack(-1)
_UUID = _LENGTH.pack(16)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


class Column:
    """One-dimensional array of one type; NULLs allowed. `data` is its binary form.

    Most columns of a batch hold one and the same value, so that is looked for first.
    """

    __slots__ = ("data",)
    array_oid: int
    element_oid: int

    def __init__(self, values: Sequence[Any]) -> None:
        count = len(values)
        if not count:
            self.data = _EMPTY.pack(0, 0, self.element_oid)
            return
        if values[0] is values[-1] and values.count(values[0]) == count:
            body = b"".join(self._pieces(values[:1])) * count
        else:
            body = b"".join(self._pieces(values))
        self.data = _HEADER.pack(1, 1, self.element_oid, count, 1) + body

    def _pieces(self, values: Sequence[Any]) -> Iterable[bytes]:
        """Each element as its length (-1 for NULL) and its bytes."""
        raise NotImplementedError


class Uuids(Column):
    array_oid, element_oid = 2951, 2950

    def _pieces(self, values: Sequence[UUID | None]) -> Iterable[bytes]:
        return [_NULL if value is None else _UUID + value.bytes for value in values]


class Bytes(Column):
    array_oid, element_oid = 1001, 17

    def _pieces(self, values: Sequence[bytes | None]) -> Iterable[bytes]:
        pack = _LENGTH.pack
        return chain.from_iterable([(_NULL,) if v is None else (pack(len(v)), v) for v in values])


class Texts(Bytes):
    array_oid, element_oid = 1009, 25

    def _pieces(self, values: Sequence[str | None]) -> Iterable[bytes]:  # type: ignore[override]
        return super()._pieces([None if value is None else value.encode() for value in values])


class Integers(Column):
    array_oid, element_oid = 1007, 23

    def _pieces(self, values: Sequence[int | None]) -> Iterable[bytes]:
        return [_NULL if value is None else _INT4.pack(4, value) for value in values]


class Floats(Column):
    array_oid, element_oid = 1022, 701

    def _pieces(self, values: Sequence[float | None]) -> Iterable[bytes]:
        return [_NULL if value is None else _FLOAT8.pack(8, value) for value in values]


class Booleans(Column):
    array_oid, element_oid = 1000, 16
    _SHAPES = (_LENGTH.pack(1) + b"\x00", _LENGTH.pack(1) + b"\x01")

    def _pieces(self, values: Sequence[bool]) -> Iterable[bytes]:
        return [self._SHAPES[value] for value in values]


class Moments(Column):
    """timestamptz: microseconds since 2000."""

    array_oid, element_oid = 1185, 1184

    def _pieces(self, values: Sequence[datetime | None]) -> Iterable[bytes]:
        return [_NULL if value is None else _INT8.pack(8, _microseconds(value)) for value in values]


def _microseconds(moment: datetime) -> int:
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


class _ColumnDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Column) -> Buffer:
        return obj.data


_DUMPERS = [
    (column, type(f"{column.__name__}Dumper", (_ColumnDumper,), {"oid": column.array_oid}))
    for column in (Uuids, Bytes, Texts, Integers, Floats, Booleans, Moments)
]


def teach(adapters: AdaptersMap) -> None:
    """Let a connection or cursor with these adapters take columns as parameters."""
    for column, dumper in _DUMPERS:
        adapters.register_dumper(column, dumper)
