"""Which events a subscription is sent: types, severity, sources, sites, and what its filter says.

Everything but the filter is a look at a row (`refused_by`). A filter is asked in another process, may look into the
payload, and takes its time: `verdicts` goes event by event, and stops when the time is up.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from uuid import UUID

from django.db.models import QuerySet
from django.db.models.functions import Length

from events.models import Event
from sources.models import Source
from subscriptions import filters
from subscriptions.evaluator import Evaluator
from subscriptions.expressions import MAX_PAYLOAD, TOO_LARGE, Verdict, looks_into_payload
from subscriptions.models import Subscription
from tenants.models import Site

CHUNK = 20  # events whose payloads are in memory at once

now = time.monotonic
Asked = tuple[Event, Sequence[str]]


def refused_by(subscription: Subscription, event: Event) -> str:
    """Which part of its choice, but for the filter, the event does not fit; "" if it fits (S2, T2)."""
    if not filters.matches(subscription.event_types, event.type):
        return "type"
    if not filters.severity_at_least(subscription.min_severity, event.severity):
        return "severity"
    if not filters.among(subscription.sources, event.source_id, event.type):
        return "source"
    if not filters.among(subscription.sites, event.site_id, event.type):
        return "site"
    return ""


def with_facts(events: QuerySet) -> QuerySet:
    """Events with all that a choice asks of them but the payload; `size` is that of their body."""
    facts = ("id", "tenant_id", "type", "severity", "source_id", "site_id", "title", "occurred_at")
    return events.annotate(size=Length("body")).only(*facts)


def verdicts(evaluator: Evaluator, asked: Sequence[Asked], until: float) -> Iterator[tuple[Event, dict[str, Verdict]]]:
    """What expressions say of events of one tenant (`with_facts`), in order, until that moment of `now`.

    At least one event is asked. Raises OutOfOrder.
    """
    sources = _names(Source, {event.source_id for event, _ in asked})
    sites = _names(Site, {event.site_id for event, _ in asked})
    for start in range(0, len(asked), CHUNK):
        chunk = asked[start : start + CHUNK]
        payloads = _payloads(chunk)
        for event, texts in chunk:
            facts = _facts(event) | {
                "source": sources.get(event.source_id, ""),
                "site": sites.get(event.site_id, ""),
            }
            yield event, _of_one(evaluator, event, facts, payloads.get(event.pk), texts)
            if now() > until:
                return


def _of_one(
    evaluator: Evaluator, event: Event, facts: dict[str, object], payload: bytes | None, texts: Sequence[str]
) -> dict[str, Verdict]:
    """Those that look into a payload which is too large say nothing; the others are asked all the same."""
    known = {}
    if payload is None or len(payload) > MAX_PAYLOAD:
        known = {text: Verdict(False, TOO_LARGE) for text in texts if looks_into_payload(text)}
        payload = b""
    return known | evaluator.verdicts(
        facts, payload, [text for text in texts if text not in known], owner=str(event.tenant_id)
    )


def _facts(event: Event) -> dict[str, object]:
    return {
        "id": str(event.pk),
        "type": event.type,
        "severity": event.severity,
        "source_id": str(event.source_id or ""),
        "site_id": str(event.site_id or ""),
        "title": event.title,
        "occurred_at": event.occurred_at and event.occurred_at.isoformat(),
        "received_at": event.received_at.isoformat(),
    }


def _payloads(asked: Iterable[Asked]) -> dict[UUID, bytes]:
    """By event, where an expression looks into it and it is not too large."""
    wanted = [event.pk for event, texts in asked if event.size <= MAX_PAYLOAD and any(map(looks_into_payload, texts))]
    if not wanted:
        return {}
    found = Event.objects.filter(pk__in=wanted).only("id", "body", "body_is_data", "data")
    return {event.pk: event.payload_text for event in found}


def _names(model: type[Source] | type[Site], ids: set[UUID | None]) -> dict[UUID, str]:
    """Also of what was deleted, where its row is kept."""
    ids = ids - {None}
    return dict(model.objects.filter(pk__in=ids).values_list("pk", "name")) if ids else {}
