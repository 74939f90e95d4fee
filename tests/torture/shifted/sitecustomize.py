"""Found first on PYTHONPATH, this puts one process's clock wrong by TORTURE_CLOCK_SHIFT seconds.

Only the clock of day: what measures how long something takes (`time.monotonic`) goes on as it was. Classes of ours
stand in for `datetime` and `date`, and values of the real ones pass for theirs, as they come out of C code.
Ids carry the time too, and are made by code that asks the system: it is told the wrong time.
"""

import datetime
import os
import time
import uuid

from uuid_utils import compat

SHIFT = float(os.environ["TORTURE_CLOCK_SHIFT"])
real_time, real_time_ns, real_datetime, real_date = time.time, time.time_ns, datetime.datetime, datetime.date
real_uuid7 = compat.uuid7


class OfReal(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, cls.__mro__[1])

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, cls.__mro__[1])


class ShiftedDatetime(real_datetime, metaclass=OfReal):
    @classmethod
    def now(cls, tz=None):
        return real_datetime.fromtimestamp(real_time() + SHIFT, tz)

    @classmethod
    def utcnow(cls):
        return real_datetime.fromtimestamp(real_time() + SHIFT, datetime.UTC).replace(tzinfo=None)

    @classmethod
    def today(cls):
        return cls.now()


class ShiftedDate(real_date, metaclass=OfReal):
    @classmethod
    def today(cls):
        return real_date.fromtimestamp(real_time() + SHIFT)


time.time = lambda: real_time() + SHIFT
time.time_ns = lambda: real_time_ns() + int(SHIFT * 1e9)
datetime.datetime = ShiftedDatetime
datetime.date = ShiftedDate


def shifted_uuid7():
    """The first 48 bits are milliseconds."""
    return uuid.UUID(int=real_uuid7().int + (int(SHIFT * 1000) << 80))


compat.uuid7 = shifted_uuid7
