"""What came of a batch of requests, written in one transaction where the leases still stand.

Most batches are one statement (`recording`). Those after which something else has to be done as well, in the same
transaction, pass through `record`, where Django's connection and the models' verbs are at hand.
"""

import logging
import random
import re
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

import idna
import orjson

from deliveries import breaker, challenges, lanes, lines
from deliveries.lanes import Head
from deliveries.lines import Steps
from deliveries.sending import Sending
from egress.blotting import blotted
from egress.client import Outcome
from events.columns import Booleans, Bytes, Column, Floats, Integers, Moments, Texts, Uuids
from subscriptions import policies
from subscriptions.models import SigningSecret
from subscriptions.policies import DELIVERED, Decision, Policy
from tenants.ids import first_of, moment
from tenants.scope import IDLE_WITH_LOCKS, system_scope

# An attempt is kept in any case. The outbox first, then the deliveries, as those do who cancel.
_RECORD = """
    WITH row AS MATERIALIZED (
        SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::int[], $7::text[],
            $8::timestamptz[], $9::int[], $10::text[], $11::bytea[], $12::bool[], $13::text[], $14::text[],
            $15::text[], $16::float8[], $17::float8[], $18::text[], $19::float8[], $20::text[], $21::text[],
            $22::float8[], $23::float8[], $24::float8[], $25::int[])
            AS row (delivery_id, token, attempt_id, tenant_id, subscription_id, number, request_headers, signed_at,
                status_code, response_headers, response_body, response_truncated, error, detail, outcome, connect_ms,
                total_ms, address, delay, status, reason, dns_ms, tls_ms, first_byte_ms, request_size)
    ), ended AS (
        DELETE FROM deliveries_outbox AS outbox USING row
        WHERE row.delay IS NULL AND outbox.delivery_id = ANY(ARRAY[row.delivery_id])
            AND outbox.lease_token = row.token
        RETURNING row.delivery_id, row.status, row.reason, row.number, row.status_code, NULL::timestamptz AS due_at,
            clock_timestamp() AS ended_at
    ), put_off AS (
        UPDATE deliveries_outbox AS outbox
        SET due_at = CASE WHEN outbox.due_at IS NOT NULL THEN clock_timestamp() + make_interval(secs => row.delay) END,
            lease_token = NULL
        FROM row
        WHERE row.delay IS NOT NULL AND outbox.delivery_id = ANY(ARRAY[row.delivery_id])
            AND outbox.lease_token = row.token
        RETURNING row.delivery_id, row.status, row.reason, row.number, row.status_code,
            clock_timestamp() + make_interval(secs => row.delay), NULL::timestamptz
    ), ours AS MATERIALIZED (
        SELECT * FROM ended UNION ALL SELECT * FROM put_off
    ), kept AS (
        INSERT INTO deliveries_attempt (id, tenant_id, delivery_id, subscription_id, number, request_headers,
            signed_at, status_code, response_headers, response_body, response_truncated, error, detail, outcome,
            connect_ms, total_ms, address, dns_ms, tls_ms, first_byte_ms, request_size)
        SELECT attempt_id, tenant_id, delivery_id, subscription_id, number, request_headers::jsonb, signed_at,
            status_code, response_headers::jsonb, response_body, response_truncated, error, detail,
            CASE WHEN delivery_id IN (SELECT delivery_id FROM ours) THEN outcome ELSE 'late' END,
            connect_ms, total_ms, address, dns_ms, tls_ms, first_byte_ms, request_size
        FROM row
    ), changed AS (
        UPDATE deliveries_delivery AS delivery
        SET status = ours.status, reason = ours.reason, attempt_count = ours.number,
            last_status_code = ours.status_code, next_attempt_at = ours.due_at, completed_at = ours.ended_at
        FROM ours WHERE delivery.id = ours.delivery_id AND delivery.status = 'pending'
            AND delivery.id BETWEEN $26 AND $27
    )
    SELECT delivery_id FROM ours
"""
_STATUS_AFTER = {
    "delivered": "delivered",
    "retry": "pending",
    "failed": "failed",
    "dead": "dead",
    "disable": "failed",
}
_NO_HEADERS = "[]"

logger = logging.getLogger(__name__)


class Decided(NamedTuple):
    """One request that has ended, and what the policy makes of it."""

    sending: Sending
    decision: Decision

    @property
    def has_consequences(self) -> bool:
        """Whether more than its own rows has to be written: `record` does that, in the same transaction."""
        sending, kind = self.sending, self.decision.kind
        if sending.head is not None:
            return True
        return kind != "delivered" or sending.delivery.kind == "challenge" or sending.subscription.trouble is not None


def decide(sending: Sending) -> Decided:
    """Raises nothing: what cannot be judged takes no other results along, and is not sent for ever."""
    try:
        return Decided(sending, _judged(sending))
    except Exception:
        logger.exception("What came of delivery %s cannot be judged.", sending.delivery.pk)
        return Decided(sending, Decision("failed", None, "What its subscription says about answers cannot be read."))


def _judged(sending: Sending) -> Decision:
    outcome = sending.outcome
    if outcome.ok and sending.delivery.kind != "challenge":
        return DELIVERED  # whatever the policy and the rules
    policy, rules = _policy(sending)
    wish = next((value for name, value in outcome.headers if name.lower() == "retry-after"), None)
    decision = policies.decide(
        policy,
        sending.claim.attempt,
        status=outcome.status,
        error=outcome.error,
        rules=rules,
        retry_after=policies.parse_retry_after(wish, datetime.now(UTC)) if wish else None,
        random=random.random,
    )
    if sending.delivery.kind == "challenge":
        return challenges.decide(sending, decision)
    return decision


def _policy(sending: Sending) -> tuple[Policy, Mapping[str, str]]:
    """The subscription's own, but where nobody has agreed to it, or it was no receiver that failed."""
    subscription = sending.subscription
    if sending.delivery.kind == "confirmation" or sending.outcome.error == breaker.UNSENDABLE:
        return policies.POLICIES["standard"], policies.NO_RULES
    try:
        return subscription.delivery_policy, subscription.rules
    except ValueError:
        return policies.POLICIES["post_once"], subscription.rules  # an unknown one must not send for ever


def record(batch: Sequence[Decided]) -> set[UUID]:
    """Write what came of a batch and its consequences: one transaction.

    Returns the subscriptions whose receivers are spared from now on.
    """
    with system_scope(idle=IDLE_WITH_LOCKS):
        ours = lines.run(recording(batch))
        mine = [one for one in batch if one.sending.delivery.pk in ours]
        left = [_follow(one, is_ours=one.sending.delivery.pk in ours) for one in batch if one.sending.head is not None]
        for one in sorted(left, key=lambda one: one[0].subscription_id):  # as routing does, or the two would deadlock
            lines.run(lanes.leaving([one]))
        challenges.settle(mine)
        spared = breaker.record(mine)
        for sending, decision in mine:
            if decision.kind == "disable":
                # A copy: it is refreshed, and if this transaction fails the next try must find it as it was loaded.
                copy(sending.subscription).disable_by_answer(decision.reason)
    return spared


def _follow(decided: Decided, *, is_ours: bool) -> tuple[Head, float | None]:
    """Of the head of a line: what came of it holds for the whole batch. Returns how to leave the lane."""
    sending, decision = decided
    wait = decision.delay if decision.kind == "retry" else None
    others = [one.claim for one in sending.others]
    if others:  # their leases are their own: somebody may have cancelled the first of them alone
        said = _STATUS_AFTER[decision.kind], decision.reason[:200], sending.claim.attempt, sending.outcome.status
        are_ours = lines.run(lanes.following(sending.delivery.pk, others, wait, *said))
        is_any_ours = is_ours or are_ours
    else:
        is_any_ours = is_ours
    head = sending.head if is_ours else sending.head.only(())  # taken out meanwhile: what is behind it comes at once
    return head, wait if is_any_ours else None


def note_use(subscriptions: Sequence[UUID]) -> None:
    """Their secrets have signed something."""
    with system_scope(idle=IDLE_WITH_LOCKS):
        SigningSecret.objects.live().filter(subscription_id__in=subscriptions).touch()


def recording(batch: Sequence[Decided]) -> Steps[set[UUID]]:
    """Write what came of a batch: one statement. Returns the deliveries that were still ours."""
    attempts = first_of([_ended_at(one.sending) for one in batch])
    columns = [
        column(values) for column, values in zip(_TYPES, zip(*map(_row, batch, attempts), strict=True), strict=True)
    ]
    ids = [one.sending.claim.delivery_id for one in batch]
    rows = yield _RECORD, [*columns, min(ids), max(ids)]
    return {row[0] for row in rows}


_TYPES: tuple[type[Column], ...] = (
    Uuids, Uuids, Uuids, Uuids, Uuids, Integers, Texts, Moments, Integers, Texts, Bytes, Booleans, Texts, Texts, Texts,
    Floats, Floats, Texts, Floats, Texts, Texts, Floats, Floats, Floats, Integers,
)  # fmt: skip


def _ended_at(sending: Sending) -> int:
    return moment(sending.signed_at + timedelta(milliseconds=sending.outcome.total_ms))


def _row(decided: Decided, attempt_id: UUID) -> tuple[object, ...]:
    sending, decision = decided
    outcome, claim, prepared = _as_kept(sending), sending.claim, sending.prepared
    return (
        claim.delivery_id,
        claim.token,
        attempt_id,
        sending.delivery.tenant_id,
        sending.delivery.subscription_id,
        claim.attempt,
        orjson.dumps(prepared.shown_headers).decode() if prepared else _NO_HEADERS,
        sending.signed_at,
        outcome.status,
        _shown(outcome.headers) if outcome.headers else _NO_HEADERS,
        outcome.body,
        outcome.body_truncated,
        outcome.error,
        _storable(_without_host(outcome.detail, sending))[:500] if outcome.detail else "",
        decision.kind,
        outcome.connect_ms,
        outcome.total_ms,
        outcome.address,
        decision.delay if decision.kind == "retry" else None,
        _STATUS_AFTER[decision.kind],
        decision.reason[:200],
        outcome.dns_ms,
        outcome.tls_ms,
        outcome.first_byte_ms,
        len(prepared.request.body) if prepared else None,
    )


def _as_kept(sending: Sending) -> Outcome:
    """The answer as the log may show it.

    Nothing of it where it was asked to confirm: it may repeat the link in any form, and whoever reads that here could
    agree in its place (T4).
    """
    if sending.delivery.kind == "confirmation":
        return replace(sending.outcome, headers=(), body=b"", body_truncated=False)
    confidential = sending.endpoint.confidential if sending.endpoint else ()
    return blotted(sending.outcome, challenges.values(sending) + confidential)


def _shown(headers: Sequence[tuple[str, str]]) -> str:
    return orjson.dumps([(_storable(name), _storable(value)) for name, value in headers]).decode()


def _without_host(detail: str, sending: Sending) -> str:
    """The URL is hidden from everybody (T1), so a failure does not tell its host either."""
    host = urlsplit(sending.prepared.request.url).hostname if sending.prepared else None
    for spelled in {host, _ascii(host)} if host else ():
        detail = re.sub(re.escape(spelled), "the receiver's host", detail, flags=re.IGNORECASE)
    return detail


def _ascii(host: str) -> str:
    """As names are resolved, and certificates have them."""
    try:
        return host if host.isascii() else idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError:
        return host


def _storable(text: str) -> str:
    """What a receiver sent, as text that PostgreSQL takes: no NUL, no lone surrogates."""
    if text.isascii() and "\x00" not in text:
        return text
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\x00", "")
