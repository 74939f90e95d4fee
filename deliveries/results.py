"""What came of a batch of requests, written in one transaction where the leases still stand."""

import random
import re
from copy import copy
from datetime import UTC, datetime
from urllib.parse import urlsplit

from django.db import connection

from deliveries import outbox
from deliveries.models import Attempt, Delivery
from deliveries.sending import Sending
from subscriptions import policies
from subscriptions.models import SigningSecret
from subscriptions.policies import Decision
from tenants.scope import system_scope


def record(sendings: list[Sending]) -> None:
    """Write what came of a batch: one transaction."""
    decided = [(sending, _decide(sending)) for sending in sendings]
    retries = [(sending.claim, decision.delay) for sending, decision in decided if decision.kind == "retry"]
    ended = [sending.claim for sending, decision in decided if decision.kind != "retry"]
    with system_scope():
        due = outbox.put_off([claim for claim, _ in retries], [delay for _, delay in retries])
        ours = outbox.finish(ended) | due.keys()
        Attempt.objects.keep([_attempt(sending, decision, ours) for sending, decision in decided])
        mine = [(sending, decision) for sending, decision in decided if sending.claim.delivery_id in ours]
        _update_deliveries(mine, due)
        signed = {sending.delivery.subscription_id for sending in sendings if sending.prepared}
        SigningSecret.objects.live().filter(subscription_id__in=signed).touch()
        for sending, decision in mine:
            if decision.kind == "disable":
                # A copy: it is refreshed, and if this transaction fails the next try must find it as it was loaded.
                copy(sending.delivery.subscription).disable_by_answer(decision.reason)


def _decide(sending: Sending) -> Decision:
    outcome, policy = sending.outcome, sending.delivery.subscription.policy
    if policy not in policies.POLICIES:
        policy = "post_once"  # an unknown one must not send for ever
    wish = next((value for name, value in outcome.headers if name.lower() == "retry-after"), None)
    return policies.decide(
        policy,
        sending.claim.attempt,
        status=outcome.status,
        error=outcome.error,
        retry_after=policies.parse_retry_after(wish, datetime.now(UTC)) if wish else None,
        random=random.random,
    )


def _attempt(sending: Sending, decision: Decision, ours: set) -> Attempt:
    outcome = sending.outcome
    return Attempt(
        tenant_id=sending.delivery.tenant_id,
        delivery_id=sending.delivery.pk,
        subscription_id=sending.delivery.subscription_id,
        number=sending.claim.attempt,
        request_headers=[list(pair) for pair in sending.prepared.shown_headers] if sending.prepared else [],
        signed_at=sending.signed_at,
        status_code=outcome.status,
        response_headers=[[_storable(name), _storable(value)] for name, value in outcome.headers],
        response_body=outcome.body,
        response_truncated=outcome.body_truncated,
        error=outcome.error,
        detail=_storable(_without_host(outcome.detail, sending))[:500],
        outcome=decision.kind if sending.claim.delivery_id in ours else Attempt.LATE,
        request_size=len(sending.prepared.request.body) if sending.prepared else None,
        connect_ms=outcome.connect_ms,
        dns_ms=outcome.dns_ms,
        tls_ms=outcome.tls_ms,
        first_byte_ms=outcome.first_byte_ms,
        total_ms=outcome.total_ms,
        address=outcome.address,
    )


def _without_host(detail: str, sending: Sending) -> str:
    """The URL is hidden from everybody (T1), so a failure does not tell its host either."""
    host = urlsplit(sending.prepared.request.url).hostname if sending.prepared else None
    return re.sub(re.escape(host), "the receiver's host", detail, flags=re.IGNORECASE) if host else detail


def _storable(text: str) -> str:
    """What a receiver sent, as text that PostgreSQL takes: no NUL, no lone surrogates."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\x00", "")


_STATUS_AFTER = {
    "delivered": Delivery.Status.DELIVERED,
    "retry": Delivery.Status.PENDING,
    "failed": Delivery.Status.FAILED,
    "dead": Delivery.Status.DEAD,
    "disable": Delivery.Status.FAILED,
}


def _update_deliveries(decided: list[tuple[Sending, Decision]], due: dict) -> None:
    if not decided:
        return
    rows = [
        (
            sending.delivery.pk,
            _STATUS_AFTER[decision.kind],
            "" if decision.kind == "delivered" else decision.reason[:200],
            sending.claim.attempt,
            sending.outcome.status,
            due.get(sending.delivery.pk),
            None if decision.kind == "retry" else datetime.now(UTC),
        )
        for sending, decision in decided
    ]
    columns = [list(column) for column in zip(*rows, strict=True)]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE deliveries_delivery AS delivery
            SET status = r.status, reason = r.reason, attempt_count = r.attempts, last_status_code = r.code,
                next_attempt_at = r.next_at, completed_at = r.ended_at
            FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::int[], %s::int[], %s::timestamptz[], %s::timestamptz[])
                AS r(id, status, reason, attempts, code, next_at, ended_at)
            WHERE delivery.id = r.id AND delivery.status = 'pending' AND delivery.id = ANY(%s::uuid[])
            """,  # the ids once more, as constants: a join alone would plan and lock every day's partition
            [*columns, columns[0]],
        )
