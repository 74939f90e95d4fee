"""What an answer means and when the next attempt is due."""

from datetime import UTC, datetime

import pytest

from subscriptions.policies import POLICIES, decide, parse_retry_after, policy_of

ERRORS = ["refused", "dns", "connect", "tls", "timeout", "reset", "protocol", "too_large"]


DELAYS = [5, 300, 3600]  # of the custom policy in these tests


def judge(policy, attempt=1, status=None, error="", retry_after=None, random=0.5, delays=DELAYS, **rules):
    return decide(
        policy_of(policy, delays),
        attempt,
        status=status,
        error=error,
        retry_after=retry_after,
        random=lambda: random,
        **rules,
    )


def schedule(policy):
    """The waits of a message whose receiver always answers 500, until the policy gives up."""
    delays = []
    while (decision := judge(policy, len(delays) + 1, 500)).kind == "retry":
        delays.append(decision.delay)
    return delays, decision.kind


@pytest.mark.spec("S5")
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_delivered(policy, status):
    decision = judge(policy, status=status)
    assert (decision.kind, decision.delay) == ("delivered", None)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_2xx_on_the_last_attempt_is_delivered(policy):
    assert judge(policy, policy_of(policy, DELAYS).max_attempts, 200).kind == "delivered"


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("error", ["timeout", "reset"])
def test_a_2xx_that_broke_off_is_not_delivered(policy, error):
    assert judge(policy, status=200, error=error).kind in ("retry", "failed")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("attempt", "error"), [(1, ""), (1, "timeout"), (6, "")])
def test_410_disables_always(policy, attempt, error):
    assert judge(policy, attempt, 410, error).kind == "disable"


@pytest.mark.spec("B4")
def test_the_standard_schedule():
    delays, end = schedule("standard")
    assert delays == [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]
    assert end == "dead"


@pytest.mark.spec("S5")
def test_the_exponential_schedule_is_2_to_the_retries_in_minutes_and_six_attempts():
    delays, end = schedule("exponential")
    assert delays == [60, 120, 240, 480, 960]
    assert end == "dead"


@pytest.mark.spec("B4")
@pytest.mark.parametrize(("random", "delay"), [(0.0, 240), (0.5, 300), (0.999999, 360)])
def test_the_standard_schedule_has_jitter(random, delay):
    assert judge("standard", 2, 500, random=random).delay == pytest.approx(delay, rel=1e-4)


@pytest.mark.spec("S5")
@pytest.mark.parametrize("random", [0.0, 0.9])
def test_the_exponential_schedule_is_exact(random):
    assert judge("exponential", 3, 500, random=random).delay == 240


@pytest.mark.parametrize("policy", ["standard", "exponential", "custom"])
@pytest.mark.parametrize("status", [100, 301, 400, 401, 403, 404, 429, 500, 503])
def test_any_other_answer_is_retried(policy, status):
    assert judge(policy, status=status).kind == "retry"


@pytest.mark.parametrize("policy", ["standard", "exponential", "custom"])
@pytest.mark.parametrize("error", ERRORS)
def test_no_answer_is_retried(policy, error):
    assert judge(policy, error=error).kind == "retry"


@pytest.mark.spec("T7")
@pytest.mark.parametrize("status", [301, 400, 404, 429, 500, 503])
def test_post_once_does_not_send_again(status):
    assert judge("post_once", status=status).kind == "failed"


@pytest.mark.spec("T7")
@pytest.mark.parametrize("error", ERRORS)
def test_post_once_does_not_send_again_without_an_answer(error):
    assert judge("post_once", error=error).kind == "failed"


@pytest.mark.spec("T7")
@pytest.mark.parametrize("status", [401, 403])
def test_post_once_is_disabled_by_401_and_403(status):
    assert judge("post_once", status=status).kind == "disable"


@pytest.mark.parametrize(
    ("retry_after", "delay"),
    [(1, 300), (300, 300), (450, 450), (600, 600), (10**9, 600), (0, 300), (-5, 300)],
)
def test_retry_after_is_followed_between_once_and_twice_the_wait(retry_after, delay):
    assert judge("standard", 2, 503, retry_after=float(retry_after)).delay == delay


@pytest.mark.parametrize("retry_after", [float("nan"), float("inf")])
def test_a_senseless_retry_after_is_ignored(retry_after):
    assert judge("standard", 2, 503, retry_after=retry_after).delay == 300


@pytest.mark.parametrize("policy", ["exponential", "custom"])
@pytest.mark.parametrize("attempt", [1, 2, 3])
def test_retry_after_is_clamped_to_the_wait_of_its_own_attempt(policy, attempt):
    base = policy_of(policy, DELAYS).delays[attempt - 1]
    asked = (base - 1, base, base + 1, 2 * base - 1, 2 * base, 2 * base + 1)
    delays = [judge(policy, attempt, 429, retry_after=wish).delay for wish in asked]
    assert delays == [base, base, min(base + 1, 2 * base), max(2 * base - 1, base), 2 * base, 2 * base]


def test_the_last_attempt_is_the_last_whatever_the_receiver_asks_for():
    assert judge("custom", len(DELAYS) + 1, 503, retry_after=60.0).kind == "dead"


NOW = datetime(2025, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("date", "delay"),
    [
        ("Sat, 01 Mar 2025 11:59:59 GMT", 300),  # over
        ("Sat, 01 Mar 2025 12:00:00 GMT", 300),  # now
        ("Sat, 01 Mar 2025 12:04:59 GMT", 300),
        ("Sat, 01 Mar 2025 12:05:00 GMT", 300),
        ("Sat, 01 Mar 2025 12:05:01 GMT", 301),
        ("Sat, 01 Mar 2025 12:09:59 GMT", 599),
        ("Sat, 01 Mar 2025 12:10:00 GMT", 600),
        ("Sat, 01 Mar 2025 12:10:01 GMT", 600),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 600),
        ("Sat, 01 Mar 2025 13:05:01 +0100", 301),
        ("Saturday, 01-Mar-25 12:05:01 GMT", 301),  # RFC 850, which RFC 9110 asks recipients to accept
        ("Sat Mar  1 12:05:01 2025", 301),  # asctime, the same
        ("Sat, 31 Feb 2025 12:05:01 GMT", 300),
    ],
)
def test_a_date_is_clamped_like_seconds(date, delay):
    assert judge("custom", 2, 503, retry_after=parse_retry_after(date, NOW)).delay == delay


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("Sat, 01 Mar 2025 12:02:00 GMT", 120),
        ("Sat, 01 Mar 2025 11:00:00 GMT", 0),
        ("soon", None),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value, seconds):
    assert parse_retry_after(value, NOW) == seconds


@pytest.mark.parametrize("error", ["", *ERRORS])
def test_every_reason_is_a_sentence(error):
    reason = judge("standard", error=error).reason
    assert reason.endswith(".")


@pytest.mark.parametrize(("policy", "attempt"), [("daily", 1), ("standard", 0)])
def test_an_unknown_policy_or_attempt_is_a_mistake_of_ours(policy, attempt):
    with pytest.raises(ValueError, match="policy|counted"):
        judge(policy, attempt, 500)
