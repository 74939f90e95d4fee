"""What a body is divided into, what is raised where it cannot be, and how much of it is allowed. Pure."""

from dataclasses import dataclass
from typing import NamedTuple

JSON_TYPE = "application/json"
TEXT_TYPE = "text/plain; charset=utf-8"
BINARY_TYPE = "application/octet-stream"
XML_TYPE = "application/xml"
FORM_TYPE = "application/x-www-form-urlencoded"

MAX_DEPTH = 64  # of a projection
MAX_PARSE_DEPTH = 500  # of any body: half of Python's recursion limit
MAX_ITEMS = 10_000
MAX_ITEM_BYTES = 1_048_576
MAX_PROJECTION_BYTES = 262_144


class Item(NamedTuple):
    """One event. ``parsed`` is None with a ``problem``, or for a JSON null.

    ``plain`` promises that ``raw``, cast to jsonb by PostgreSQL, is the projection: strict JSON without a byte order
    mark, within every bound of a projection, no number with an exponent, not null, and equal as jsonb to what
    ``json.dumps`` makes of ``parsed``, but that jsonb keeps every digit of a fraction where ``parsed`` has a double.
    The cast happens when the event is read: a broken promise breaks searches. Where it is False all of that may be so
    or not.
    """

    raw: bytes
    content_type: str
    parsed: object | None
    problem: str = ""
    plain: bool = False


class StreamError(Exception):
    """A body that cannot be divided; no part of it is an event then.

    ``status`` is the HTTP status for the sender: 400 not readable as what it is, 413 too much, 422 not of the
    configured shape. ``index`` counts events (elements, non-blank lines, documents) from 0; None is the whole body.
    """

    def __init__(self, status: int, code: str, detail: str, index: int | None = None) -> None:
        self.status = status
        self.code = code
        self.detail = detail
        self.index = index
        super().__init__(detail)


@dataclass(frozen=True)
class Limits:
    """How many events, how many bytes each, and up to how many bytes an event is projected."""

    items: int = MAX_ITEMS
    item_bytes: int = MAX_ITEM_BYTES
    projection_bytes: int = MAX_PROJECTION_BYTES

    def check_count(self, count: int) -> None:
        if count > self.items:
            raise StreamError(413, "too_many_events", f"The body has more than {self.items} events.", self.items)

    def check_size(self, raw: bytes, index: int | None) -> None:
        if len(raw) > self.item_bytes:
            detail = f"An event has {len(raw)} bytes; at most {self.item_bytes} are allowed."
            raise StreamError(413, "event_too_large", detail, index)

    def too_large(self) -> str:
        return f"The event is larger than the {self.projection_bytes} bytes kept for search."


def too_deep(index: int | None = None) -> StreamError:
    return StreamError(422, "too_deep", f"The body is nested deeper than {MAX_PARSE_DEPTH} levels.", index)
