"""What a challenge is, and which answer to it is right (N1, N3)."""

import json

import pytest

from subscriptions import challenges
from subscriptions.challenges import UNREACHABLE, WRONG_ANSWER, failure_of

VALUE = "z78woE1uDFu7tPrPvEBV"
RIGHT = VALUE.encode()


def failure(status=200, answer=RIGHT, error="", truncated=False):
    return failure_of(VALUE, status=status, error=error, answer=answer, truncated=truncated)


@pytest.mark.spec("N1")
def test_the_body_has_one_field():
    value = challenges.new_value()
    assert json.loads(challenges.body(value)) == {"challenge": value}
    assert challenges.body(VALUE) == b'{"challenge": "z78woE1uDFu7tPrPvEBV"}'


def test_values_differ_and_cannot_be_guessed():
    values = {challenges.new_value() for _ in range(100)}
    assert len(values) == 100
    assert min(map(len, values)) >= 32


@pytest.mark.spec("N1")
def test_the_value_and_nothing_else_is_right():
    assert failure() is None


@pytest.mark.spec("N3")
@pytest.mark.parametrize(
    "answer",
    [
        b"",
        VALUE.encode() + b"\n",
        b" " + VALUE.encode(),
        b'"' + VALUE.encode() + b'"',
        b'{"challenge": "z78woE1uDFu7tPrPvEBV"}',
        VALUE.lower().encode(),
        VALUE.encode()[:-1],
        VALUE.encode("utf-16"),
        b"\xff",
    ],
)
def test_another_body_is_wrong(answer):
    assert failure(answer=answer) == WRONG_ANSWER


@pytest.mark.spec("N3")
@pytest.mark.parametrize("status", [201, 202, 204, 301, 400, 401, 404, 500])
def test_another_status_is_wrong_whatever_the_body(status):
    assert failure(status=status) == WRONG_ANSWER


@pytest.mark.spec("N3")
@pytest.mark.parametrize("error", ["refused", "dns", "connect", "tls", "timeout", "reset", "protocol", "unsendable"])
def test_no_complete_answer_is_unreachable(error):
    assert failure(status=None, answer=b"", error=error) == UNREACHABLE
    assert failure(error=error) == UNREACHABLE


@pytest.mark.spec("N3")
def test_the_codes_and_their_words():
    assert (UNREACHABLE.code, UNREACHABLE.sentence) == ("40012", "Webhook URL validation failed")
    assert (WRONG_ANSWER.code, WRONG_ANSWER.sentence) == ("42201", "Webhook returned incorrect challenge response")


def test_what_is_longer_than_is_read_is_wrong():
    assert failure(truncated=True) == WRONG_ANSWER


def test_it_is_tried_again_later_each_time_and_not_for_ever():
    delays = [challenges.delay_after(attempt) for attempt in range(1, len(challenges.DELAYS) + 2)]
    assert delays[-1] is None
    assert delays[:-1] == sorted(delays[:-1])
