"""Challenges on their way (N1–N3): what waits for the answer, what an answer means, and what goes on after it.

A challenge is a delivery like any other, made of a notice, so every attempt at it is on record. What differs:

1. A message whose subscription has to be challenged first is held: its claim is given back, the attempt with it, and
   the row waits in the outbox until the answer lets it go. HELD is only the longest that it waits without one, for
   the case that nobody is left to answer (a person has cancelled the challenge).
2. Whoever holds the first message asks, with the subscription's row locked: one challenge, however many wait.
3. An answer counts only while its notice is the one that the subscription waits for.
"""

from collections.abc import Iterable, Sequence
from copy import copy
from datetime import timedelta
from typing import TYPE_CHECKING

from django.utils import timezone

from deliveries import outbox
from deliveries.models import Delivery
from egress.blotting import spellings
from events.wakeup import DISPATCH, wake_on_commit
from subscriptions.challenges import Failure, delay_after, failure_of
from subscriptions.models import Notice, Subscription
from subscriptions.policies import Decision
from vault.keyring import KeyringError

if TYPE_CHECKING:
    from deliveries.sending import Sending

HELD = timedelta(minutes=10)
HELD_REASON = "It waits until the receiver has answered a challenge."


def may_be_held(sending: "Sending") -> bool:
    return sending.delivery.kind != Delivery.Kind.CHALLENGE and sending.subscription.needs_challenge()


def hold(sendings: "Sequence[Sending]") -> "list[Sending]":
    """Give back what may not leave before a challenge is answered, and ask. Returns those that may.

    In the caller's transaction.
    """
    waiting = [sending for sending in sendings if may_be_held(sending)]
    if not waiting:
        return list(sendings)
    # Locked, and looked at once more: an answer that is just being written lets go only of what is held already.
    of = {sending.subscription.pk for sending in waiting}
    locked = Subscription.objects.filter(pk__in=of).order_by("pk").select_for_update(no_key=True)
    unproven = {one.pk: one for one in locked if one.needs_challenge()}
    held = [sending for sending in waiting if sending.subscription.pk in unproven]
    for delivery_id, due_at in outbox.hold([sending.claim for sending in held], HELD).items():
        pending = Delivery.objects.filter(pk=delivery_id, status=Delivery.Status.PENDING)
        pending.update(reason=HELD_REASON, next_attempt_at=due_at)
    for subscription in unproven.values():
        if subscription.state == Subscription.State.IDLE and not _is_under_way(subscription):
            subscription.ask_challenge(timezone.now())
    kept_back = {sending.claim.delivery_id for sending in held}
    return [sending for sending in sendings if sending.claim.delivery_id not in kept_back]


def _is_under_way(subscription: Subscription) -> bool:
    """In this order: what is routed between the two queries is found by the second."""
    notice = subscription.challenge_notice
    return notice is not None and (
        Notice.objects.filter(pk=notice, routed_at=None).exists()
        or Delivery.objects.filter(notice_id=notice, status=Delivery.Status.PENDING).exists()
    )


def decide(sending: "Sending", usual: Decision) -> Decision:
    """What an attempt at a challenge means. Of what the policy makes of it only disabling counts."""
    failure = _failure(sending)
    if failure is None:
        return Decision("delivered", None, "The receiver answered the challenge.")
    if usual.kind == "disable":
        return usual
    attempt = sending.claim.attempt
    delay = delay_after(attempt)
    if delay is None:
        return Decision("dead", None, f"{failure.sentence} ({failure.code}). That was the last of {attempt} attempts.")
    return Decision("retry", delay, f"{failure.sentence} ({failure.code}).")


def settle(answered: "Iterable[tuple[Sending, Decision]]") -> None:
    """Tell the subscriptions what came of their challenges, and let go of what waited. In the results' transaction."""
    challenged = [one for one in answered if one[0].delivery.kind == Delivery.Kind.CHALLENGE]
    for sending, decision in sorted(challenged, key=lambda one: one[0].subscription.pk):
        # A copy: it is refreshed, and if this transaction fails the next try must find it as it was loaded.
        subscription, notice_id = copy(sending.subscription), sending.delivery.notice_id
        failure = _failure(sending)
        if failure is None:
            ended = subscription.pass_challenge(notice_id)
        else:
            is_last = decision.kind != "retry"
            ended = subscription.fail_challenge(notice_id, failure, is_last=is_last) and is_last
        # After the last failure too: what waited is cancelled where the subscription is disabled now.
        if ended and outbox.release(subscription.pk):
            wake_on_commit(DISPATCH)


def values(sending: "Sending") -> tuple[str, ...]:
    """What the log must not show: the answer can hold the value of a challenge that is tried again."""
    return spellings([_value(sending)]) if sending.delivery.kind == Delivery.Kind.CHALLENGE else ()


def _value(sending: "Sending") -> str:
    """Empty where it does not open any more: then it was not sent either."""
    try:
        return sending.about.payload["challenge"]
    except KeyringError:
        return ""


def _failure(sending: "Sending") -> Failure | None:
    outcome = sending.outcome
    return failure_of(
        _value(sending),
        status=outcome.status,
        error=outcome.error,
        answer=outcome.body,
        truncated=outcome.body_truncated,
    )
