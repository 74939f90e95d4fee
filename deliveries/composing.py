"""What a delivery says: its frozen message, of the unchanging event or notice that it tells of. Knows no database.

`delivery` and `event` are rows of the models or the dispatcher's tuples (`deliveries.sending`): what is read of them
has the same names.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from subscriptions import challenges, messages
from subscriptions.flow import SHAPES_OF_BATCHES
from subscriptions.messages import Message


def of_event(delivery: Any, event: Any, content_type: str, shape: str = "") -> Message:
    """In the delivery's own shape, if none is named. Raises ValueError for an unknown one."""
    return messages.build(
        shape or delivery.shape,
        event_type=event.type,
        event_id=delivery.message_id,
        occurred_at=event.received_at,
        payload_raw=bytes(event.body),
        content_type=content_type,
        severity=event.severity,
        source=str(event.source_id) if event.source_id else None,
        owner=str(delivery.tenant_id),
        is_json=event.body_is_data or None,
    )


def of_batch(members: Sequence[tuple[Any, Any, str]]) -> Message:
    """Many events as one message: (delivery, event, content type) of each."""
    return messages.batch([of_event(*member, _fitting(member[0].shape)) for member in members])


def id_of_batch(deliveries: Sequence[UUID]) -> str:
    """The same for the same deliveries, so that a receiver knows a batch again that is tried again."""
    return f"batch_{hashlib.sha256(b''.join(pk.bytes for pk in deliveries)).hexdigest()[:32]}"


def _fitting(shape: str) -> str:
    """Made while its subscription was not sent batches yet, a delivery may have a shape that has none."""
    return shape if shape in SHAPES_OF_BATCHES else SHAPES_OF_BATCHES[0]


def of_notice(delivery: Any, notice: Any) -> Message:
    """Raises KeyringError where the notice does not open, ValueError for an unknown shape."""
    if delivery.kind == "confirmation":
        return messages.confirmation(
            delivery.shape,
            notice.payload["confirmation_url"],
            notice.created_at,
            message_id=delivery.message_id,
            owner=str(delivery.tenant_id),
        )
    if delivery.kind == "challenge":  # whatever the shape: N1 has its own
        return Message(challenges.body(notice.payload["challenge"]), messages.JSON)
    return messages.build(
        delivery.shape,
        event_type=delivery.event_type,
        event_id=delivery.message_id,
        occurred_at=notice.created_at,
        payload_raw=json.dumps(notice.payload).encode(),
        owner=str(delivery.tenant_id),
    )
