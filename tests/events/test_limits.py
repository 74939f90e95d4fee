"""A bound on the posts of a source within any 60 seconds; the clock is the test's."""

import threading
from uuid import UUID

import pytest

from events.limits import RateLimiter

ONE, OTHER = UUID(int=1), UUID(int=2)
START = 1_700_000_000.0


@pytest.fixture
def limiter():
    return RateLimiter()


def taken(limiter, times, at, limit=5, source=ONE):
    return [limiter.take(source, limit, at) for _ in range(times)]


@pytest.mark.spec("P16")
def test_the_bound_is_reached_and_told_how_long_to_wait(limiter):
    assert taken(limiter, 5, START) == [None] * 5
    wait = limiter.take(ONE, 5, START)
    assert wait == 61
    assert limiter.take(ONE, 5, START + wait - 1) == 1
    assert limiter.take(ONE, 5, START + wait) is None


def test_in_no_60_seconds_there_are_more(limiter):
    accepted = [at / 4 for at in range(4 * 600) if limiter.take(ONE, 30, START + at / 4) is None]
    assert len(accepted) > 200
    assert all(later - earlier >= 60 for earlier, later in zip(accepted, accepted[30:], strict=False))


def test_refusals_do_not_count(limiter):
    taken(limiter, 5, START)
    for second in range(1, 61):
        assert limiter.take(ONE, 5, START + second) is not None
    assert limiter.take(ONE, 5, START + 61) is None


def test_what_is_told_to_wait_is_enough(limiter):
    for second in range(5):
        limiter.take(ONE, 5, START + second * 10)
    wait = limiter.take(ONE, 5, START + 55.9)
    assert 1 <= wait <= 6
    assert limiter.take(ONE, 5, START + 55.9 + wait) is None


def test_sources_do_not_share_a_bound(limiter):
    taken(limiter, 5, START)
    assert limiter.take(OTHER, 5, START) is None


def test_a_new_bound_counts_at_once(limiter):
    taken(limiter, 5, START)
    assert limiter.take(ONE, 6, START) is None
    assert limiter.take(ONE, 2, START + 1) is not None


def test_silent_sources_are_forgotten(limiter):
    for number in range(1000):
        limiter.take(UUID(int=number), 5, START + number % 50)
    limiter.take(UUID(int=5000), 5, START + 200)
    assert len(limiter) == 1


def test_a_busy_source_is_not_forgotten_with_the_silent_ones(limiter):
    limiter.take(ONE, 5, START)
    limiter.take(OTHER, 5, START)
    taken(limiter, 4, START + 50)
    limiter.take(UUID(int=3), 5, START + 61)
    assert len(limiter) == 2
    assert limiter.take(ONE, 5, START + 61) is None
    assert limiter.take(ONE, 5, START + 61) is not None


def test_a_source_takes_no_more_room_for_more_posts(limiter):
    for second in range(600):
        taken(limiter, 50, START + second, limit=100_000)
    assert len(limiter._windows[ONE].counts) <= 61


@pytest.mark.parametrize("jump", [-30, -3600, 3600])
def test_a_clock_that_is_set_anew_shuts_nobody_out_for_long(limiter, jump):
    taken(limiter, 5, START)
    later = START + jump
    wait = limiter.take(ONE, 5, later)
    assert wait is None or wait <= 61 + 30
    assert limiter.take(ONE, 5, later + (wait or 0)) is None


def test_threads_get_no_more_than_there_is(limiter):
    got = []

    def grab():
        got.extend(answer for answer in taken(limiter, 200, START, limit=300) if answer is None)

    threads = [threading.Thread(target=grab) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 300
