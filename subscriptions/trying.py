"""What a choice would make of the latest events: tried before it is saved, by the rules that send.

Whoever tries waits for it, in the web process: so it looks at few events, for a short time, and few may try at once,
of each tenant one. Saving does not wait for them.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from events.models import Event
from subscriptions import choice
from subscriptions.evaluator import Evaluator
from subscriptions.models import Subscription

EVENTS = 50
SECONDS = 2.0
TRIES, CHECKS = 4, 2  # at once, in this process
PATIENCE = 1.0  # seconds for a place
REASONS = {
    "type": "Not sent: another type.",
    "severity": "Not sent: not severe enough.",
    "source": "Not sent: of no chosen source.",
    "site": "Not sent: of no chosen site.",
}

_tries, _checks = threading.BoundedSemaphore(TRIES), threading.BoundedSemaphore(CHECKS)
_trying: set[UUID] = set()  # tenants
_lock = threading.Lock()


class Busy(Exception):
    """Others are trying theirs."""


@dataclass(frozen=True)
class Tried:
    event: Event
    matched: bool
    verdict: str
    problem: str = ""


@dataclass(frozen=True)
class Trial:
    """What became of each, newest first. Not `is_whole`: the time was up, and older ones were not tried."""

    events: list[Tried]
    is_whole: bool

    @property
    def matched(self) -> int:
        return sum(one.matched for one in self.events)

    @property
    def tried(self) -> int:
        return len(self.events)

    @property
    def summary(self) -> str:
        if not self.events:
            return "There are no events yet to try it on."
        latest = f"the latest {self.tried} events" if self.tried > 1 else "the latest event"
        rest = "" if self.is_whole else " It took too long to try more."
        return f"Of {latest}, {self.matched} would be sent.{rest}"

    @property
    def problems(self) -> list[dict[str, object]]:
        """What went wrong, and how often; the most frequent first."""
        counted = Counter(one.problem for one in self.events if one.problem)
        return [{"problem": problem, "count": count} for problem, count in counted.most_common()]


@contextmanager
def own_evaluator(places: threading.BoundedSemaphore) -> Iterator[Evaluator]:
    """A process that asks for this request alone. Raises Busy."""
    if not places.acquire(timeout=PATIENCE):
        raise Busy
    try:
        with Evaluator() as evaluator:
            yield evaluator
    finally:
        places.release()


@contextmanager
def one_of(tenant_id: UUID) -> Iterator[None]:
    """Only one request of a tenant at once. Raises Busy."""
    with _lock:
        if tenant_id in _trying:
            raise Busy
        _trying.add(tenant_id)
    try:
        yield
    finally:
        with _lock:
            _trying.discard(tenant_id)


def check_filter(text: str) -> str:
    """What is wrong with it, in a sentence; "" if nothing is. Raises Busy, OutOfOrder."""
    with own_evaluator(_checks) as evaluator:
        return evaluator.check(text)


def try_choice(subscription: Subscription) -> Trial:
    """Call it in the tenant's scope; the subscription need not be saved. Raises Busy, OutOfOrder."""
    events = list(choice.with_facts(Event.objects).order_by("-id")[:EVENTS])
    refused = {event.pk: choice.refused_by(subscription, event) for event in events}
    said = {}
    fitting = [event for event in events if not refused[event.pk]]
    if subscription.filter and fitting:
        with one_of(subscription.tenant_id), own_evaluator(_tries) as evaluator:
            asked = [(event, [subscription.filter]) for event in fitting]
            for event, verdicts in choice.verdicts(evaluator, asked, choice.now() + SECONDS):
                said[event.pk] = verdicts[subscription.filter]
    tried = []
    for event in events:
        if refused[event.pk]:
            tried.append(Tried(event, False, REASONS[refused[event.pk]]))
        elif not subscription.filter:
            tried.append(Tried(event, True, "Sent."))
        elif event.pk in said:
            tried.append(_tried(event, said[event.pk]))
    return Trial(tried, len(tried) == len(events))


def _tried(event: Event, verdict: choice.Verdict) -> Tried:
    if verdict.matched:
        return Tried(event, True, "Sent.")
    if verdict.problem:
        return Tried(event, False, f"Not sent, an error: {verdict.problem}", verdict.problem)
    return Tried(event, False, "Not sent: the filter says no.")
