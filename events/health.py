"""When a source needs attention (P14, P15): facts in, verdict out. Pure; the clock is a fact like the others.

An alarm watches one source for one kind of trouble:

- silence: nothing was accepted for the length of the window. It starts anew with what is accepted, and when the
  watch begins (the source is created or resumed, the alarm is switched on). A source that never received anything is
  not silent: there is nothing yet to miss.
- authentication: within the window so many requests were refused for their proof (401), and more than so many percent
  of all that came. Over when a request was accepted and refusals have fallen to half of either bound.
- classification: of the latest events within the window so many were looked at, and more than so many percent of them
  fit no schema. Over when some fit and the share has fallen to half.

Half, so that a rate which hovers about a bound is told of once. Where nothing comes there is nothing to judge by, and
authentication and classification stay what they were.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class Kind(StrEnum):
    SILENCE = "silence"
    AUTHENTICATION = "authentication"
    CLASSIFICATION = "classification"


class State(StrEnum):
    """The legal arrows: each of the three to each other one.

    insufficient_data → ok     something arrived
    insufficient_data → alarm  silent for a window since the watch began; or refused before anything was accepted
    ok → alarm                 an episode opens: e-mail and an operational event
    alarm → ok                 the episode ends by recovery, or because the alarm's settings changed
    any → insufficient_data    it is not watched any more (`Ended`), which ends an episode as well
    """

    OK = "ok"
    ALARM = "alarm"
    INSUFFICIENT_DATA = "insufficient_data"


class Ended(StrEnum):
    """Why an episode ended; all but the first two are reasons why nothing is watched."""

    RECOVERED = "recovered"
    CHANGED = "changed"
    SWITCHED_OFF = "switched_off"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    DELETED = "deleted"
    NO_SCHEMAS = "no_schemas"


class Health(StrEnum):
    """What a source looks like to people (P14)."""

    HEALTHY = "healthy"
    SILENT = "silent"
    FAILING = "failing"
    WAITING = "waiting"
    PAUSED = "paused"


@dataclass(frozen=True)
class Bounds:
    """What an alarm allows. `min_count` and `percent` mean nothing for silence."""

    window: timedelta
    min_count: int = 0
    percent: int = 0


DEFAULTS = {
    Kind.SILENCE: Bounds(timedelta(hours=24)),
    Kind.AUTHENTICATION: Bounds(timedelta(minutes=15), min_count=20, percent=10),
    Kind.CLASSIFICATION: Bounds(timedelta(hours=1), min_count=20, percent=10),
}
SHORTEST_SILENCE = timedelta(minutes=15)
LONGEST_SILENCE = timedelta(days=30)
# Minutes and their words, for the list that a silence alarm is set from; whole minutes between are as good.
SILENCES = (
    (15, "15 minutes"),
    (30, "30 minutes"),
    (60, "1 hour"),
    (180, "3 hours"),
    (360, "6 hours"),
    (720, "12 hours"),
    (1440, "1 day"),
    (2880, "2 days"),
    (4320, "3 days"),
    (10080, "7 days"),
    (20160, "14 days"),
    (43200, "30 days"),
)


@dataclass(frozen=True)
class Facts:
    """What is known of a source at a moment.

    `obstacle` is why it is not watched, if it is not. `watched_since` is when the present watch began. Of `counted`
    requests (events) within the window, `failed` were refused for their proof (fit no schema).
    """

    at: datetime
    watched_since: datetime
    last_received_at: datetime | None
    obstacle: Ended | None = None
    counted: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Verdict:
    """The state that the facts call for; `since` is when the trouble began, as far as it can be told."""

    state: State
    since: datetime | None = None


def obstacle(
    *, is_deleted: bool, is_suspended: bool, is_paused: bool, is_enabled: bool, kind: str, has_schemas: bool
) -> Ended | None:
    """Why an alarm does not watch its source now; None if it does."""
    if is_deleted:
        return Ended.DELETED
    if is_suspended:
        return Ended.SUSPENDED
    if is_paused:
        return Ended.PAUSED
    if not is_enabled:
        return Ended.SWITCHED_OFF
    if kind == Kind.CLASSIFICATION and not has_schemas:
        return Ended.NO_SCHEMAS
    return None


def judge(kind: str, bounds: Bounds, state: str, facts: Facts) -> Verdict:
    """What the state of an alarm ought to be, from what it is and what is known."""
    if facts.obstacle is not None:
        return Verdict(State.INSUFFICIENT_DATA)
    if kind == Kind.SILENCE:
        return _silence(bounds, facts)
    if kind == Kind.AUTHENTICATION:
        return _authentication(bounds, state, facts)
    return _classification(bounds, state, facts)


def health(
    *,
    is_paused: bool,
    is_failing: bool,
    last_received_at: datetime | None,
    watched_since: datetime | None,
    window: timedelta,
    at: datetime,
) -> Health:
    """What a source looks like now. `is_failing`: its authentication or classification alarm is in ALARM.

    Silence is judged here as the alarm judges it, also where that is switched off: then nobody is told, but a page
    does not call a source healthy that has gone quiet.
    """
    if is_paused:
        return Health.PAUSED
    if is_failing:
        return Health.FAILING
    if last_received_at is None:
        return Health.WAITING
    facts = Facts(at=at, watched_since=watched_since or last_received_at, last_received_at=last_received_at)
    return Health.SILENT if _silence(Bounds(window), facts).state == State.ALARM else Health.HEALTHY


def span(length: timedelta) -> str:
    """A length of time in the largest unit that it is whole in: “1 day”, “90 minutes”."""
    minutes = int(length.total_seconds()) // 60
    for size, unit in ((1440, "day"), (60, "hour"), (1, "minute")):
        if minutes % size == 0:
            count = minutes // size
            return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
    raise AssertionError("unreachable")


def rule(kind: str, bounds: Bounds) -> str:
    """When an alarm rings, in words."""
    window = span(bounds.window)
    if kind == Kind.SILENCE:
        return f"Nothing received for {window}"
    if kind == Kind.AUTHENTICATION:
        return f"{bounds.min_count} or more, and over {bounds.percent} % of all requests, refused within {window}"
    return f"Over {bounds.percent} % of {bounds.min_count} or more events within {window} fit no schema"


def summary(kind: str, bounds: Bounds, *, is_over: bool, counted: int = 0, failed: int = 0) -> str:
    """One sentence about an episode, for mail, pages and events; what it is about (a source) is its subject."""
    window = span(bounds.window)
    if kind == Kind.SILENCE:
        return "receives events again." if is_over else f"has received nothing for {window}."
    if kind == Kind.AUTHENTICATION:
        if is_over:
            return "accepts requests again."
        return f"refused {failed} of {counted} requests within {window}: they did not prove who sends them."
    if is_over:
        return "receives events that fit its schemas again."
    return f"received events that fit none of its schemas: {failed} of the latest {counted} within {window}."


def _silence(bounds: Bounds, facts: Facts) -> Verdict:
    last = facts.last_received_at
    if last is None:
        return Verdict(State.INSUFFICIENT_DATA)
    quiet_since = max(last, facts.watched_since)
    if facts.at - quiet_since >= bounds.window:
        return Verdict(State.ALARM, quiet_since)
    return Verdict(State.OK if last >= facts.watched_since else State.INSUFFICIENT_DATA)


def _authentication(bounds: Bounds, state: str, facts: Facts) -> Verdict:
    begun = _window_begin(bounds, facts)
    if facts.failed >= bounds.min_count and facts.failed * 100 > bounds.percent * facts.counted:
        return Verdict(State.ALARM, begun)
    was_accepted = facts.last_received_at is not None and facts.last_received_at >= begun
    has_calmed = facts.failed * 2 < bounds.min_count or facts.failed * 200 <= bounds.percent * facts.counted
    if state == State.ALARM and not (was_accepted and has_calmed):
        return Verdict(State.ALARM, begun)
    return Verdict(State.OK if facts.last_received_at is not None else State.INSUFFICIENT_DATA)


def _classification(bounds: Bounds, state: str, facts: Facts) -> Verdict:
    begun = _window_begin(bounds, facts)
    if facts.counted >= bounds.min_count and facts.failed * 100 > bounds.percent * facts.counted:
        return Verdict(State.ALARM, begun)
    has_recovered = facts.failed < facts.counted and facts.failed * 200 <= bounds.percent * facts.counted
    if state == State.ALARM and not has_recovered:
        return Verdict(State.ALARM, begun)
    if facts.counted or state in (State.OK, State.ALARM):
        return Verdict(State.OK)
    return Verdict(State.INSUFFICIENT_DATA)


def _window_begin(bounds: Bounds, facts: Facts) -> datetime:
    return max(facts.at - bounds.window, facts.watched_since)
