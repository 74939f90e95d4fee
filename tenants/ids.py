"""UUIDv7 (RFC 9562 §5.7): identifiers that sort by the moment they were made.

Partition bounds, retention and "newest first" all read the time out of the id, so there is one clock.
"""

import os
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

from uuid_utils import compat

NUMBERS = 1 << 14


def uuid7() -> uuid.UUID:
    """A new id; 48 bits of milliseconds, then random bits."""
    return compat.uuid7()


def following(first: uuid.UUID, count: int) -> list[uuid.UUID]:
    """Up to 16,383 ids of the same millisecond as a UUIDv7, in order; new ones at each call.

    What is made of one thing sorts beside it, whenever it is made. Each has 48 random bits of its own.
    """
    if not 0 <= count < NUMBERS:
        raise ValueError("too many ids of one millisecond")
    start = first.int >> 64
    return [_made(start, number, chance) for number, chance in enumerate(_chances(count))]


def moment(at: datetime) -> int:
    """What ids of this moment begin with, to a quarter of a microsecond (RFC 9562 section 6.2, method 3)."""
    micros = int(at.timestamp() * 1_000_000)
    return micros // 1000 << 16 | 0x7 << 12 | (micros % 1000) * 4096 // 1000


def numbered(start: int, number: int) -> uuid.UUID:
    """An id of a `moment` that sorts behind all of that moment with lower numbers, below NUMBERS; new at each call.

    For what has an order that its makers' own clocks would not keep.
    """
    return _made(start, number, *_chances(1))


def first_of(starts: Sequence[int]) -> list[uuid.UUID]:
    """The first id of each of these moments."""
    return [_made(start, 0, chance) for start, chance in zip(starts, _chances(len(starts)), strict=True)]


def _made(start: int, number: int, chance: int) -> uuid.UUID:
    return uuid.UUID(int=start << 64 | 0b10 << 62 | number << 48 | chance)


def _chances(count: int) -> list[int]:
    """So many times 48 random bits. Each asking is a system call, so it is asked once."""
    drawn = os.urandom(6 * count)
    return [int.from_bytes(drawn[at : at + 6], "big") for at in range(0, len(drawn), 6)]


def lowest_uuid7(at: datetime) -> uuid.UUID:
    """The smallest id that can carry the time `at`: a bound for `id >= …` and for partitions.

    Version and variant bits are left zero on purpose: it sorts below every real id of that millisecond.
    Times before 1970, which no id can carry, have the lowest of all.
    """
    return uuid.UUID(int=max(0, int(at.timestamp() * 1000)) << 80)


def time_of(identifier: uuid.UUID) -> datetime:
    """The moment (UTC, millisecond resolution) that a UUIDv7 was made."""
    return datetime.fromtimestamp((identifier.int >> 80) / 1000, tz=UTC)
