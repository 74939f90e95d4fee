"""New deliveries, as the router makes them by the thousand: kept by one statement with the rows of where they wait."""

import uuid
from collections.abc import Sequence
from typing import NamedTuple

from events.columns import Column, Texts, Uuids


class New(NamedTuple):
    """A delivery that is to be kept, pending."""

    pk: uuid.UUID
    tenant_id: uuid.UUID
    subscription_id: uuid.UUID
    event_id: uuid.UUID | None
    notice_id: uuid.UUID | None
    kind: str
    event_type: str
    message_id: str
    shape: str
    signing: str


def keeping(next_attempt_at: str) -> str:
    """The beginning of a statement: `row` is what was given, and what follows puts it where it waits.

    `next_attempt_at` is SQL. The first free parameter is $11.
    """
    return f"""
    WITH row AS MATERIALIZED (
        SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::text[],
            $8::text[], $9::text[], $10::text[])
            AS row (id, tenant_id, subscription_id, event_id, notice_id, kind, event_type, message_id, shape, signing)
    ), kept AS (
        INSERT INTO deliveries_delivery (id, tenant_id, subscription_id, event_id, notice_id, kind, event_type,
            message_id, shape, signing, status, reason, attempt_count, next_attempt_at)
        SELECT row.*, 'pending', '', 0, {next_attempt_at} FROM row
    )
    """  # noqa: S608 (a constant)


_TYPES = (Uuids, Uuids, Uuids, Uuids, Uuids, Texts, Texts, Texts, Texts, Texts)


def columns(deliveries: Sequence[New]) -> list[Column]:
    """The parameters of `keeping`."""
    return [column(values) for column, values in zip(_TYPES, zip(*deliveries, strict=True), strict=True)]
