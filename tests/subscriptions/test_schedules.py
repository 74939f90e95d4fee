"""Waits of one's own: what may be written, what is refused and why."""

import pytest

from subscriptions.policies import decide, policy_of
from subscriptions.schedules import clean_delays, summary, written

DAY = 86_400


@pytest.mark.parametrize(
    ("given", "delays"),
    [
        ("5s, 5m, 1h", [5, 300, 3600]),
        ("5s 5m 1h", [5, 300, 3600]),
        ("5 s; 5 min; 1 hour", [5, 300, 3600]),
        (" 90 , 2D ", [90, 2 * DAY]),
        ("10 minutes, 3 days,", [600, 3 * DAY]),
        ([5, "5m", 3600], [5, 300, 3600]),
        ("1s", [1]),
        ("7d", [7 * DAY]),
        (["7d"] * 4 + ["2d"], [7 * DAY] * 4 + [2 * DAY]),
        ([1] * 30, [1] * 30),
    ],
)
def test_friendly_input(given, delays):
    assert clean_delays(given) == delays


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("", "1 to 30 waits"),
        ([], "1 to 30 waits"),
        (", ,", "1 to 30 waits"),
        ([1] * 31, "1 to 30 waits"),
        ("0s", "1 second to 7 days"),
        ("8d", "1 second to 7 days"),
        (str(7 * DAY + 1), "1 second to 7 days"),
        (["7d"] * 4 + ["2d", "1s"], "at most 30 days"),
        ("soon", "whole number"),
        ("1.5h", "whole number"),
        ("-5s", "whole number"),
        ("5 weeks", "whole number"),
        ("5s5m", "whole number"),
        ("²s", "whole number"),
        ("9" * 500, "whole number"),
        ([True], "number of seconds"),
        ([None], "number of seconds"),
        ([[5]], "number of seconds"),
        ([1.5], "number of seconds"),
    ],
)
def test_what_is_no_schedule_says_why(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        clean_delays(given)


def test_a_sentence_of_a_mistake_does_not_repeat_a_long_one():
    with pytest.raises(ValueError, match="wait") as refused:
        clean_delays("x" * 5000)
    assert len(str(refused.value)) < 150


def test_it_is_written_as_it_can_be_read_again():
    delays = [5, 90, 300, 5400, 7200, DAY, 90_000]
    assert written(delays) == ["5s", "90s", "5m", "90m", "2h", "1d", "25h"]
    assert clean_delays(", ".join(written(delays))) == delays


def test_a_schedule_in_words():
    assert summary([5, 300, 3600]) == "Up to 4 attempts: at once, then after 5 s, 5 min and 1 h."
    assert summary([60]) == "Up to 2 attempts: at once, then after 1 min."


def test_the_waits_are_kept_exactly_and_then_it_is_given_up():
    policy = policy_of("custom", [5, 300])
    ends = [
        decide(policy, attempt, status=500, error="", random=lambda: 0.99)
        for attempt in range(1, policy.max_attempts + 1)
    ]
    assert [(one.kind, one.delay) for one in ends] == [("retry", 5), ("retry", 300), ("dead", None)]


@pytest.mark.parametrize("delays", [None, []])
def test_a_custom_policy_without_waits_is_a_mistake_of_ours(delays):
    with pytest.raises(ValueError, match="no waits"):
        policy_of("custom", delays)
