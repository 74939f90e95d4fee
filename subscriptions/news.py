"""News about subscriptions, for people by mail and for programs as operational events.

    portal.subscription.failing     nothing but failures for 1 day, for 3 days
    portal.subscription.disabled    by its receiver's answer, or after 5 days of only failures

They are rows written in the transaction that changes what they tell of, so each is told once. They are events like any
other: a subscription that asked for `portal.*` is told of itself too. There is no loop in that: a failing receiver
makes no news by failing once more, only by having failed for a day, for three, for five, and the fifth is its last.

Of a suspended tenant nobody is told.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from django.conf import settings
from django.urls import reverse

from events.arrivals import KeptEvent
from events.mailing import people
from events.store import insert_events
from events.wakeup import ROUTE, wake_on_commit
from subscriptions.failing import DISABLED_AFTER, Failing
from subscriptions.failing_mail import FailingMail, in_days
from tenants.ids import uuid7

if TYPE_CHECKING:
    from subscriptions.models import Subscription

FAILING, DISABLED = "portal.subscription.failing", "portal.subscription.disabled"
SEVERITY = "high"  # the same for both: who is told of the one is told of the other


def tell_failing(subscription: "Subscription", failing: Failing, day: int, at: datetime) -> None:
    """Nothing has been delivered for `day` days."""
    sentence = (
        f"“{subscription.name}” has failed for {in_days(day)}: nothing could be delivered to it. "
        f"After {in_days(DISABLED_AFTER)} it is disabled."
    )
    told = {
        "day": day,
        "failing_since": _instant(failing.since),
        "disables_at": _instant(failing.disables_at),
        "reason": None,
    }
    _tell(subscription, FAILING, FailingMail.Moment(f"day_{day}"), sentence, told, failing.since, at)


def tell_disabled(subscription: "Subscription", since: datetime | None, at: datetime) -> None:
    """It was disabled, and not by a person; it has failed `since` then, where that is known."""
    told = {
        "day": None,
        "failing_since": _instant(since),
        "disables_at": None,
        "reason": subscription.state_reason,
    }
    sentence = f"“{subscription.name}” was disabled. {subscription.state_reason}"
    _tell(subscription, DISABLED, FailingMail.Moment.DISABLED, sentence, told, since, at)


def url_of(subscription: "Subscription") -> str:
    """Its page, for people outside of the portal."""
    return settings.PORTAL_URL + reverse("subscription", args=[subscription.pk])


def _tell(
    subscription: "Subscription",
    kind: str,
    moment: FailingMail.Moment,
    sentence: str,
    told: Mapping[str, object],
    since: datetime | None,
    at: datetime,
) -> None:
    if not subscription.tenant.is_active:
        return
    FailingMail.objects.bulk_create(
        FailingMail(
            tenant_id=subscription.tenant_id,
            subscription=subscription,
            user_id=user_id,
            moment=moment,
            since=since,
            happened_at=at,
            reason=subscription.state_reason if moment == FailingMail.Moment.DISABLED else "",
            due_at=at,
        )
        for user_id in people([subscription.tenant_id]).get(subscription.tenant_id, ())
    )
    document = {
        "type": kind,
        "summary": sentence,
        "subscription": {"id": str(subscription.pk), "name": subscription.name, "url": url_of(subscription)},
        **told,
    }
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    event = KeptEvent(
        id=uuid7(),
        tenant_id=subscription.tenant_id,
        source_id=None,
        receipt_id=None,
        site_id=None,
        type=kind,
        severity=SEVERITY,
        content_type="application/json",
        body=body.encode(),
        data=body,
        title=sentence[:200],
    )
    insert_events([event])
    wake_on_commit(ROUTE)


def _instant(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
