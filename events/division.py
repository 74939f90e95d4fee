"""Divides a body into events and says what each is: at the door, and later for what the door kept in one piece.

A `Division` is what a source says about that, as it was when the post arrived.
"""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from events.arrivals import Headers, KeptEvent
from events.classification import document_of
from events.decoding import open_body
from events.identity import identify
from events.schemas import Classifier, Effort
from events.streams import LIMITS, Item, split
from events.streams.documents import plain_document
from sources.reading import headers_named

MAX_OPENED_BYTES = 8_000_000  # of a compressed body, opened


class Owner(NamedTuple):
    """Whose the events are that one post brought."""

    tenant_id: UUID
    source_id: UUID
    receipt_id: UUID
    site_id: UUID | None


class Division(NamedTuple):
    """How a source divides a body and names its events. `reading` is the source's own (`sources.reading`)."""

    stream_type: str
    reading: Mapping[str, object]
    default_type: str

    def divide(self, body: bytes, content_encoding: bytes, content_type: bytes) -> tuple[bytes, Sequence[Item]]:
        """The body as it was before compression, and its events. Raises DecodeError and StreamError."""
        if not content_encoding and body.startswith(b"{") and self.stream_type in ("auto", "json"):
            item = plain_document(body, LIMITS)  # most posts
            if item is not None:
                return body, (item,)
        opened = open_body(body, content_encoding, MAX_OPENED_BYTES)
        return opened, split(
            opened,
            self.stream_type,
            envelope=str(self.reading.get("envelope", "")),
            xml_root=str(self.reading.get("xml_element", "")),
            content_type=content_type,
        )

    def events(
        self,
        owner: Owner,
        ids: Sequence[UUID],
        items: Sequence[Item],
        documents: Sequence[object],
        headers: Headers,
        classifier: Classifier | None,
    ) -> tuple[KeptEvent, ...]:
        """A row for each item. `documents` are the items as far as they could be parsed (`documents_of`)."""
        effort = None if classifier is None else Effort()
        events = []
        for pk, item, document in zip(ids, items, documents, strict=True):
            named = identify(self.reading, headers, document, self.default_type)
            version, schema_problem = (None, "") if classifier is None else classifier.classify(item.parsed, effort)
            events.append(
                KeptEvent(
                    pk,
                    owner.tenant_id,
                    owner.source_id,
                    owner.receipt_id,
                    owner.site_id,
                    named.type,
                    named.severity,
                    item.content_type,
                    item.raw,
                    None if item.plain else projection(item),
                    item.problem and storable(item.problem)[:200],
                    item.plain,
                    named.title,
                    named.occurred_at,
                    version,
                    schema_problem and storable(schema_problem)[:300],
                )
            )
        return tuple(events)

    def remembered(self, content_encoding: bytes, content_type: bytes, headers: Headers) -> str:
        """All that is needed to divide the body again, as JSON. Of the headers those that name an event."""
        named = headers_named(self.reading)
        kept = [
            [name.decode("latin-1"), value.decode("latin-1")]
            for name, value in headers
            if name.decode("latin-1") in named
        ]
        said = [self.stream_type, dict(self.reading), self.default_type]
        return json.dumps([said, content_encoding.decode("latin-1"), content_type.decode("latin-1"), kept])


class Remembered(NamedTuple):
    """What `Division.remembered` wrote."""

    division: Division
    content_encoding: bytes
    content_type: bytes
    headers: Headers

    @classmethod
    def read(cls, text: str) -> "Remembered":
        said, encoding, kind, headers = json.loads(text)
        pairs = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers)
        return cls(Division(*said), encoding.encode("latin-1"), kind.encode("latin-1"), pairs)


def documents_of(items: Sequence[Item]) -> list[object]:
    """What can be read of each item, though it may have no projection; None for what is no JSON."""
    return [document_of(item.raw) if item.problem else item.parsed for item in items]


def projection(item: Item) -> str | None:
    """The JSON text of an item's bounded reading, for jsonb; None where there is none."""
    return None if item.parsed is None else json.dumps(item.parsed, ensure_ascii=False, allow_nan=False)


def storable(text: str) -> str:
    """Text that PostgreSQL stores: no NUL, no lone surrogate."""
    return (
        text if text.isascii() and "\x00" not in text else text.encode("utf-8", "replace").decode().replace("\x00", "�")
    )
