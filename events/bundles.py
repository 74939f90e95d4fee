"""Makes the events of posts that brought very many.

The door divides every body, so that a mistake in it is refused whole, but beyond `intake.BUNDLED` events it keeps the
body alone, with how to divide it: the sender has its answer in a fifth of the time, and the posts of others need not
wait behind thousands of rows. A worker makes the events, as the door would have made them and named after the same
moment; until then the receipt says that they are being unpacked.

1. Claim the oldest bundle that is due (SKIP LOCKED: any number of workers).
2. Divide the receipt's body again, as the source said when it came; classify by the schemas of now.
3. Events and inbox rows, and the end of the bundle, in one transaction: a worker that dies has changed nothing.

One that fails is put off, longer each time, and logged: it holds up no other and is never thrown away.
"""

import logging
from collections.abc import Sequence
from datetime import timedelta

from django.db import DataError, Error, transaction
from django.db.models import F
from django.db.models.functions import Now

from events.arrivals import KeptEvent
from events.division import Owner, Remembered, documents_of
from events.models import Bundle, Receipt
from events.schemas import classifier_of
from events.store import in_short, insert_events, without_projection
from tenants.ids import following
from tenants.scope import system_scope

MAX_DELAY = timedelta(hours=1)

logger = logging.getLogger(__name__)


def unpack() -> int:
    """Make the events of one bundle. Returns how many bundles were looked at: 0 or 1."""
    bundle = None
    try:
        with system_scope():
            bundle = Bundle.objects.due().select_for_update(skip_locked=True).order_by("receipt_id").first()
            if bundle is None:
                return 0
            receipt = Receipt.objects.filter(pk=bundle.receipt_id).first()
            if receipt is not None:  # else retention ran ahead of a long backlog
                _insert(events_of(receipt, bundle.division))
            bundle.delete()
    except Exception as error:  # whatever it is, others are waiting
        if bundle is None:
            raise
        _put_off(bundle, error)
    return 1


def is_due() -> bool:
    """Is there anything to unpack?"""
    with system_scope():
        return Bundle.objects.due().exists()


def events_of(receipt: Receipt, division: str) -> tuple[KeptEvent, ...]:
    """The events of a receipt, in their order."""
    asked = Remembered.read(division)
    _, items = asked.division.divide(receipt.kept_bytes or b"", asked.content_encoding, asked.content_type)
    owner = Owner(receipt.tenant_id, receipt.source_id, receipt.pk, receipt.site_id)
    ids = following(receipt.pk, len(items))
    classifier = classifier_of(receipt.source_id)
    return asked.division.events(owner, ids, items, documents_of(items), asked.headers, classifier)


def _insert(events: Sequence[KeptEvent]) -> None:
    """All of them, or each half where PostgreSQL does not take a value in it."""
    try:
        with transaction.atomic():
            insert_events(events)
    except DataError as error:
        if len(events) > 1:
            middle = len(events) // 2
            _insert(events[:middle])
            _insert(events[middle:])
            return
        logger.error("A payload is kept without its projection: %s.", in_short(error))
        insert_events([without_projection(event) for event in events])


def _put_off(bundle: Bundle, error: Exception) -> None:
    said = in_short(error) if isinstance(error, Error) else type(error).__name__
    logger.error("The events of receipt %s could not be made (%s); tried again later.", bundle.receipt_id, said)
    delay = min(timedelta(seconds=2 ** min(bundle.attempts + 1, 12)), MAX_DELAY)
    with system_scope():
        Bundle.objects.filter(pk=bundle.pk).update(attempts=F("attempts") + 1, due_at=Now() + delay)
