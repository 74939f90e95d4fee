"""In which order and how fast a subscription is sent what it asked for. Pure.

- parallel: each event as soon as it is there, many at once. The default.
- ordered (B9): one after another, in the order in which they came. The next one waits until the one before was
  delivered, or given up; the head of the line is tried again first.
- batched (T6): every BATCH_SECONDS, up to BATCH_EVENTS events in one message, strictly one message after another. What
  gathered behind an answer goes out at once.

Two bounds can be set besides, and hold over all workers: so many messages a minute, and so many under way at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

BATCH_SECONDS = 5.0
BATCH_EVENTS = 500
MAX_PER_MINUTE = 60_000
MAX_IN_FLIGHT = 128
BURST_SECONDS = 1.0  # so much of the rate may go out in one go

PARALLEL, ORDERED, BATCHED = "parallel", "ordered", "batched"
# Those that many events have a form in: others put something of the event beside the body.
SHAPES_OF_BATCHES = ("envelope", "cloudevents")


@dataclass(frozen=True)
class Mode:
    name: str
    title: str
    summary: str
    events: int  # in one message, at most

    @property
    def in_line(self) -> bool:
        """Whether one message waits for another."""
        return self.name != PARALLEL


MODES: Mapping[str, Mode] = MappingProxyType(
    {
        mode.name: mode
        for mode in (
            Mode(PARALLEL, "In parallel", "Each event at once, many under way together. The order may differ.", 1),
            Mode(
                ORDERED,
                "In order",
                "One after another, as they came. One that fails is tried again before any other is sent.",
                1,
            ),
            Mode(
                BATCHED,
                "In batches",
                f"Every {BATCH_SECONDS:.0f} seconds, up to {BATCH_EVENTS} events as one JSON array; the next batch "
                "waits for the answer to the one before.",
                BATCH_EVENTS,
            ),
        )
    }
)


def clean(mode: str, shape: str, shapes: tuple[str, ...]) -> None:
    """Raises ValueError where the mode cannot send the shape; `shapes` are those that its scheme can sign."""
    if mode == BATCHED and shape not in SHAPES_OF_BATCHES:
        if not set(SHAPES_OF_BATCHES) & set(shapes):
            raise ValueError("What this scheme signs holds one event: it cannot be sent in batches.")
        raise ValueError("Only envelopes and structured CloudEvents can be sent in batches.")


def interval(per_minute: int) -> float:
    """Seconds between two messages."""
    return 60 / per_minute
