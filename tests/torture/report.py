"""What the torture found, computed from what sender and ledger wrote.

- lost: acknowledged, and not in both ledgers when the portal had had every chance. One is told of each event by itself,
  one in batches; what follows is about the first.
- duplicates: messages that came again. Each has to be explained by a fault during which it was under way, that is:
  claimed and not finished. The in-flight bound is how many messages were, over all faults; a duplicate that no fault
  explains is counted as unexplained, whatever the bound would allow.
- doubled: a number that came as two messages, though its sender said by its Idempotency-Key that it is one.
- recovery: from a fault to the first arrival of a number that was acknowledged after it, in seconds.
"""

import json
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

TOLERANCE = 300  # seconds that a receiver by Standard Webhooks lets a signature's time differ from its clock

Arrival = tuple[float, int, str, int]  # time, number, webhook-id, webhook-timestamp


@dataclass(frozen=True)
class Fault:
    """`in_flight`: ids of the messages that were under way when it happened."""

    at: float
    kind: str
    in_flight: frozenset[str] = frozenset()


@dataclass
class Phase:
    """From `begun` to the beginning of the next; `notes` are for people, `problems` are failures."""

    name: str
    begun: float
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass
class Row:
    """One phase's counts. What was acknowledged in it, and the repetitions that its faults explain."""

    acked: int = 0
    delivered: int = 0
    duplicates: int = 0
    in_flight: int = 0
    recoveries: list[float] = field(default_factory=list)

    @property
    def lost(self) -> int:
        return self.acked - self.delivered


class Report:
    """`line` has the numbers that came in batches; None where nothing is sent so."""

    def __init__(
        self,
        phases: Sequence[Phase],
        acks: Mapping[int, float],
        arrivals: Sequence[Arrival],
        line: Set[int] | None = None,
    ) -> None:
        arrived = {number for _, number, _, _ in arrivals}
        if line is not None:
            arrived &= line
        self.phases = phases
        self.begins = [phase.begun for phase in phases]
        self.rows = [Row() for _ in phases]
        self.lost = sorted(set(acks) - arrived)
        self.unexplained: list[str] = []
        self.stalest_signature = max((abs(at - signed) for at, _, _, signed in arrivals), default=0.0)
        self._count_acks(acks, arrived)
        self._count_messages(arrivals)
        self._time_recoveries(acks, arrivals)

    def _phase_at(self, at: float) -> int:
        return max(bisect_left(self.begins, at) - 1, 0)

    def _count_acks(self, acks: Mapping[int, float], arrived: set[int]) -> None:
        for number, at in acks.items():
            row = self.rows[self._phase_at(at)]
            row.acked += 1
            row.delivered += number in arrived

    def _count_messages(self, arrivals: Iterable[Arrival]) -> None:
        times: dict[str, list[float]] = defaultdict(list)
        messages: dict[int, set[str]] = defaultdict(set)
        for at, number, message, _ in arrivals:
            times[message].append(at)
            messages[number].add(message)
        self.doubled = sorted(number for number, ids in messages.items() if len(ids) > 1)
        self.duplicates = sum(len(came) - 1 for came in times.values())
        for row, phase in zip(self.rows, self.phases, strict=True):
            row.in_flight = sum(len(fault.in_flight) for fault in phase.faults)
        for message, came in times.items():
            if len(came) > 1:
                self._explain(message, came)

    def _explain(self, message: str, came: Sequence[float]) -> None:
        """Each repetition by another fault; what is left over by none."""
        faults = [
            number for number, phase in enumerate(self.phases) for fault in phase.faults if message in fault.in_flight
        ]
        for again, at in enumerate(came[1:]):
            if again < len(faults):
                self.rows[faults[again]].duplicates += 1
            else:
                self.rows[self._phase_at(at)].duplicates += 1
                self.unexplained.append(message)

    def _time_recoveries(self, acks: Mapping[int, float], arrivals: Iterable[Arrival]) -> None:
        first: dict[int, float] = {}
        for at, number, _, _ in arrivals:
            first.setdefault(number, at)
        told = [(at, first[number]) for number, at in acks.items() if number in first]
        for row, phase in zip(self.rows, self.phases, strict=True):
            for fault in phase.faults:
                # What a post kept before its answer was lost may have arrived before it was acknowledged.
                after = [arrived for at, arrived in told if at >= fault.at and arrived >= fault.at]
                if after:
                    row.recoveries.append(min(after) - fault.at)

    # In words and as an object ---------------------------------------------------------------------------------------

    def as_table(self) -> str:
        head = (
            f"  {'phase':<34}{'faults':>7}{'acked':>8}{'delivered':>10}{'lost':>6}"
            f"{'duplicates':>12}{'in flight':>11}{'recovery p50':>14}{'p99':>8}"
        )
        lines = [head, *map(self._line, self.phases, self.rows)]
        return "\n".join(lines)

    def _line(self, phase: Phase, row: Row) -> str:
        line = (
            f"  {phase.name:<34}{len(phase.faults):>7}{row.acked:>8}{row.delivered:>10}{row.lost:>6}"
            f"{row.duplicates:>12}{row.in_flight:>11}"
            f"{shown(percentile(row.recoveries, 0.5)):>14}{shown(percentile(row.recoveries, 0.99)):>8}"
        )
        return "\n".join(
            [line, *(f"      {note}" for note in phase.notes), *(f"      FAILED: {it}" for it in phase.problems)]
        )

    def problems(self) -> list[str]:
        found = [f"{phase.name}: {problem}" for phase in self.phases for problem in phase.problems]
        if self.lost:
            found.append(f"{len(self.lost)} acknowledged events were lost: {self.lost[:10]}")
        if self.unexplained:
            found.append(f"{len(self.unexplained)} duplicates of messages that no fault met: {self.unexplained[:10]}")
        if self.stalest_signature > TOLERANCE:
            found.append(f"a signature's time was {self.stalest_signature:.0f} s from its arrival: receivers refuse it")
        if self.doubled:
            found.append(f"{len(self.doubled)} posts became two events: {self.doubled[:10]}")
        return found

    def as_object(self, missed: Sequence[str]) -> dict:
        recoveries = [recovery for row in self.rows for recovery in row.recoveries]
        return {
            "acked": sum(row.acked for row in self.rows),
            "delivered": sum(row.delivered for row in self.rows),
            "lost": len(self.lost),
            "duplicates": self.duplicates,
            "in_flight_bound": sum(row.in_flight for row in self.rows),
            "unexplained": len(self.unexplained),
            "recovery_p50": percentile(recoveries, 0.5),
            "recovery_p99": percentile(recoveries, 0.99),
            "faults": dict(Counter(fault.kind for phase in self.phases for fault in phase.faults)),
            "missed": list(missed),
            "problems": self.problems(),
        }

    def as_json(self, missed: Sequence[str]) -> str:
        return json.dumps(self.as_object(missed))


def percentile(values: Sequence[float], share: float) -> float | None:
    """In seconds; None of nothing."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 2) if ordered else None


def shown(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.2f} s"
