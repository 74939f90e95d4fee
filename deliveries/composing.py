"""What a delivery says: its frozen message, of the unchanging event or notice that it tells of. Knows no database.

`delivery` and `event` are rows of the models or the dispatcher's tuples (`deliveries.sending`): what is read of them
has the same names.
"""

import json
from typing import Any

from subscriptions import challenges, messages
from subscriptions.messages import Message


def of_event(delivery: Any, event: Any, content_type: str) -> Message:
    """Raises ValueError for an unknown shape."""
    return messages.build(
        delivery.shape,
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
