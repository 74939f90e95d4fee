"""What a choice would make of the latest events: tried before it is saved, by the rules that send.

Whoever tries waits for it, in the web process: so it looks at few events, for a short time, and few may try at once.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from events.models import Event
from subscriptions import choice
from subscriptions.evaluator import Evaluator
from subscriptions.models import Subscription

EVENTS = 50
SECONDS = 2.0
AT_ONCE = 2  # in this process
PATIENCE = 5.0
REASONS = {
    "type": "Not sent: another type.",
    "severity": "Not sent: not severe enough.",
    "source": "Not sent: of no chosen source.",
    "site": "Not sent: of no chosen site.",
}

_turns = threading.BoundedSemaphore(AT_ONCE)


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
def own_evaluator() -> Iterator[Evaluator]:
    """A process that asks for this request alone. Raises Busy."""
    if not _turns.acquire(timeout=PATIENCE):
        raise Busy
    try:
        with Evaluator() as evaluator:
            yield evaluator
    finally:
        _turns.release()


def try_choice(subscription: Subscription) -> Trial:
    """Call it in the tenant's scope; the subscription need not be saved. Raises Busy, OutOfOrder."""
    events = list(choice.with_facts(Event.objects).order_by("-id")[:EVENTS])
    refused = {event.pk: choice.refused_by(subscription, event) for event in events}
    said = {}
    fitting = [event for event in events if not refused[event.pk]]
    if subscription.filter and fitting:
        with own_evaluator() as evaluator:
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
