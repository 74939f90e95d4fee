"""What a source's facts say of it, without the database (P14, P15)."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from events.health import (
    DEFAULTS,
    SILENCES,
    Bounds,
    Ended,
    Facts,
    Health,
    Kind,
    State,
    health,
    judge,
    obstacle,
    rule,
    span,
    summary,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MOMENT = timedelta(microseconds=1)
LONG_AGO = NOW - 100 * DAY


def facts(last: datetime | None = None, **more) -> Facts:
    return Facts(**{"at": NOW, "watched_since": LONG_AGO, "last_received_at": last, **more})


def silence(last: datetime | None, **more) -> State:
    return judge(Kind.SILENCE, Bounds(DAY), State.OK, facts(last, **more)).state


@pytest.mark.spec("P15")
def test_silence_is_on_for_24_hours_unless_said_otherwise():
    assert DEFAULTS[Kind.SILENCE].window == timedelta(hours=24)
    assert (SILENCES[0][0], SILENCES[-1][0]) == (15, 30 * 24 * 60)


@pytest.mark.spec("P15")
@pytest.mark.parametrize(
    ("last", "state"),
    [
        (NOW, State.OK),
        (NOW - DAY + MOMENT, State.OK),
        (NOW - DAY, State.ALARM),
        (NOW - 40 * DAY, State.ALARM),
        (None, State.INSUFFICIENT_DATA),
    ],
    ids=["now", "a moment short", "to the moment", "long", "never"],
)
def test_silent_is_who_sent_nothing_for_the_window(last, state):
    assert silence(last) == state


def test_silence_begins_with_the_last_event():
    assert judge(Kind.SILENCE, Bounds(DAY), State.OK, facts(NOW - 3 * DAY)).since == NOW - 3 * DAY


@pytest.mark.parametrize(
    ("watched_since", "last", "state"),
    [
        (NOW - DAY + MOMENT, NOW - 9 * DAY, State.INSUFFICIENT_DATA),
        (NOW - DAY, NOW - 9 * DAY, State.ALARM),
        (NOW - DAY + MOMENT, NOW - DAY + 2 * MOMENT, State.OK),
    ],
    ids=["resumed lately", "resumed a window ago", "resumed and received"],
)
def test_a_watch_that_begins_anew_restarts_the_clock(watched_since, last, state):
    assert silence(last, watched_since=watched_since) == state


def test_a_night_when_clocks_change_is_as_long_as_it_is():
    """In Berlin the clocks jump from 2:00 to 3:00 on 29 March 2026: 24 hours later it is 13:00 there, not 12:00."""
    winter, summer = timezone(timedelta(hours=1)), timezone(timedelta(hours=2))
    last = datetime(2026, 3, 28, 12, tzinfo=winter)
    at_noon, at_one = datetime(2026, 3, 29, 12, tzinfo=summer), datetime(2026, 3, 29, 13, tzinfo=summer)
    assert silence(last, at=at_noon) == State.OK
    assert silence(last, at=at_one) == State.ALARM


@pytest.mark.spec("P15")
@pytest.mark.parametrize(
    ("failed", "counted", "state"),
    [
        (20, 20, State.ALARM),
        (19, 19, State.OK),
        (20, 200, State.OK),  # exactly 10 percent
        (20, 199, State.ALARM),
        (500, 10_000, State.OK),
        (0, 0, State.OK),
    ],
)
def test_authentication_rings_by_count_and_share(failed, counted, state):
    known = facts(NOW - timedelta(hours=3), failed=failed, counted=counted)
    assert judge(Kind.AUTHENTICATION, DEFAULTS[Kind.AUTHENTICATION], State.OK, known).state == state


@pytest.mark.parametrize(
    ("failed", "counted", "last", "state"),
    [
        (19, 19, NOW, State.ALARM),  # fewer, but not half
        (9, 9, NOW, State.OK),
        (30, 600, NOW, State.OK),  # half the share
        (30, 599, NOW, State.ALARM),
        (0, 0, NOW - timedelta(minutes=16), State.ALARM),  # gave up: nothing was accepted since
        (0, 0, None, State.ALARM),
    ],
)
def test_authentication_is_over_when_something_is_accepted_and_half_is_left(failed, counted, last, state):
    known = facts(last, failed=failed, counted=counted)
    assert judge(Kind.AUTHENTICATION, DEFAULTS[Kind.AUTHENTICATION], State.ALARM, known).state == state


def test_authentication_of_who_was_never_accepted():
    bounds = DEFAULTS[Kind.AUTHENTICATION]
    assert judge(Kind.AUTHENTICATION, bounds, State.INSUFFICIENT_DATA, facts()).state == State.INSUFFICIENT_DATA
    refused = facts(failed=20, counted=20)
    assert judge(Kind.AUTHENTICATION, bounds, State.INSUFFICIENT_DATA, refused).state == State.ALARM


@pytest.mark.spec("P15")
@pytest.mark.parametrize(
    ("before", "failed", "counted", "state"),
    [
        (State.OK, 3, 20, State.ALARM),
        (State.OK, 2, 20, State.OK),  # exactly 10 percent
        (State.OK, 19, 19, State.OK),  # too few to judge by
        (State.OK, 0, 0, State.OK),
        (State.INSUFFICIENT_DATA, 0, 0, State.INSUFFICIENT_DATA),
        (State.INSUFFICIENT_DATA, 0, 1, State.OK),
        (State.ALARM, 2, 20, State.ALARM),
        (State.ALARM, 1, 20, State.OK),
        (State.ALARM, 0, 1, State.OK),
        (State.ALARM, 1, 1, State.ALARM),
        (State.ALARM, 0, 0, State.ALARM),
    ],
)
def test_classification_rings_by_share_and_is_over_at_half(before, failed, counted, state):
    known = facts(NOW, failed=failed, counted=counted)
    assert judge(Kind.CLASSIFICATION, DEFAULTS[Kind.CLASSIFICATION], before, known).state == state


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("before", State)
@pytest.mark.parametrize("why", [one for one in Ended if one not in (Ended.RECOVERED, Ended.CHANGED)])
def test_what_is_not_watched_has_insufficient_data(kind, before, why):
    known = facts(NOW - 50 * DAY, obstacle=why, failed=99, counted=99)
    assert judge(kind, DEFAULTS[kind], before, known).state == State.INSUFFICIENT_DATA


def test_why_nothing_is_watched():
    watched = {
        "is_deleted": False, "is_suspended": False, "is_paused": False, "is_enabled": True,
        "kind": Kind.CLASSIFICATION, "has_schemas": True,
    }  # fmt: skip
    assert obstacle(**watched) is None
    assert obstacle(**watched | {"has_schemas": False}) == Ended.NO_SCHEMAS
    assert obstacle(**watched | {"has_schemas": False, "kind": Kind.SILENCE}) is None
    assert obstacle(**watched | {"is_enabled": False}) == Ended.SWITCHED_OFF
    assert obstacle(**watched | {"is_enabled": False, "is_paused": True}) == Ended.PAUSED
    assert obstacle(**watched | {"is_suspended": True, "is_paused": True}) == Ended.SUSPENDED
    assert obstacle(**watched | {"is_suspended": True, "is_deleted": True}) == Ended.DELETED


def seen(**more) -> Health:
    given = {
        "is_paused": False, "is_failing": False, "last_received_at": NOW, "watched_since": LONG_AGO, "window": DAY,
        "at": NOW,
    }  # fmt: skip
    return health(**given | more)


@pytest.mark.spec("P14")
def test_a_source_is_healthy_silent_or_failing():
    assert seen() == Health.HEALTHY
    assert seen(last_received_at=NOW - DAY) == Health.SILENT
    assert seen(is_failing=True) == Health.FAILING
    assert seen(is_failing=True, last_received_at=None) == Health.FAILING
    assert seen(last_received_at=None) == Health.WAITING
    assert seen(is_paused=True, is_failing=True) == Health.PAUSED
    assert seen(last_received_at=NOW - DAY, watched_since=NOW) == Health.HEALTHY
    assert seen(last_received_at=NOW - DAY, watched_since=None) == Health.SILENT


@pytest.mark.parametrize(
    ("minutes", "words"),
    [(15, "15 minutes"), (60, "1 hour"), (90, "90 minutes"), (1440, "1 day"), (1500, "25 hours"), (43200, "30 days")],
)
def test_lengths_of_time_in_words(minutes, words):
    assert span(timedelta(minutes=minutes)) == words


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_its_words(kind):
    bounds = DEFAULTS[kind]
    said = {rule(kind, bounds), *(summary(kind, bounds, is_over=over, counted=30, failed=21) for over in (True, False))}
    assert len(said) == 3
    if kind != Kind.SILENCE:
        assert "21 of" in summary(kind, bounds, is_over=False, counted=30, failed=21)
