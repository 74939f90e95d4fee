"""Rules of a subscription's own about its receiver's answers."""

import pytest

from subscriptions.answers import ACTIONS, MAX_RULES, REASONS, RulesRefused, action_for, clean_rules
from subscriptions.policies import FIXED, OWN, POLICIES, USUAL, decide, meanings, policy_of

DELAYS = [5, 300]


def kind(rules, status=None, error="", policy="standard", attempt=1):
    decision = decide(policy_of(policy, DELAYS), attempt, status=status, error=error, rules=rules, random=lambda: 0.5)
    return decision.kind


@pytest.mark.parametrize(
    ("action", "end"), [("retry", "retry"), ("fail", "failed"), ("disable", "disable"), ("deliver", "delivered")]
)
@pytest.mark.parametrize(
    ("match", "status", "error"), [("404", 404, ""), ("4xx", 404, ""), ("timeout", None, "timeout")]
)
def test_a_rule_decides(match, status, error, action, end):
    assert kind({match: action}, status, error) == end


def test_the_most_particular_rule_decides_whatever_the_order():
    rules = {"no_answer": "disable", "4xx": "retry", "404": "fail", "timeout": "deliver"}
    for ordered in (rules, dict(reversed(rules.items()))):
        assert kind(ordered, 404) == "failed"
        assert kind(ordered, 403) == "retry"
        assert kind(ordered, None, "timeout") == "delivered"
        assert kind(ordered, None, "dns") == "disable"
        assert kind(ordered, 500) == "retry"


@pytest.mark.spec("S5")
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("action", ACTIONS)
def test_2xx_is_delivered_and_410_disables_whatever_is_stored(policy, action):
    rules = {"2xx": action, "200": action, "410": action, "4xx": action}
    assert kind(rules, 200, policy=policy) == "delivered"
    assert kind(rules, 410, policy=policy) == "disable"


@pytest.mark.spec("T7")
def test_a_rule_comes_before_the_policy():
    assert kind({}, 401, policy="post_once") == "disable"
    assert kind({"401": "fail"}, 401, policy="post_once") == "failed"
    assert kind({"5xx": "disable"}, 503, policy="post_once") == "disable"


def test_retry_ends_with_the_schedule():
    assert kind({"404": "retry"}, 404, policy="custom", attempt=3) == "dead"


def test_a_2xx_that_broke_off_is_no_answer():
    assert kind({"2xx": "fail", "reset": "fail"}, 200, "reset") == "failed"


def test_a_status_has_said_its_say_before_it_broke_off():
    assert kind({"404": "fail", "reset": "deliver"}, 404, "reset") == "failed"


def test_the_reason_says_that_it_was_a_rule():
    policy = policy_of("standard")
    said = [
        decide(policy, 1, status=404, error="", rules={"404": action}, random=lambda: 0.5).reason
        for action in ("deliver", "fail")
    ]
    assert all("404" in reason and "rules" in reason for reason in said)


def test_what_is_stored_and_unknown_says_nothing():
    assert action_for({"404": "explode"}, 404, "") is None


def test_rules_are_kept_clean_and_the_particular_ones_first():
    given = {"No Answer": "retry", " 4XX ": "fail", "TIMEOUT": "deliver", "404": "disable"}
    assert list(clean_rules(given, retries=True).items()) == [
        ("404", "disable"),
        ("4xx", "fail"),
        ("timeout", "deliver"),
        ("no_answer", "retry"),
    ]


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ({"410": "retry"}, "410 always disables"),
        ({"2xx": "fail"}, "always delivered"),
        ({"204": "fail"}, "always delivered"),
        ({"99": "fail"}, "no answer"),
        ({"600": "fail"}, "no answer"),
        ({"6xx": "fail"}, "no answer"),
        ({"²04": "fail"}, "no answer"),
        ({"4040": "fail"}, "no answer"),
        ({"": "fail"}, "no answer"),
        ({"soon": "fail"}, "no answer"),
        ({"404": "explode"}, "no action"),
        ({"dns": "deliver"}, "nothing was received"),
        ({"refused": "deliver"}, "nothing was received"),
        ({"no_answer": "deliver"}, "nothing was received"),
        ({"404": "fail", " 404": "retry"}, "two rules"),
        ({str(status): "fail" for status in range(300, 301 + MAX_RULES)}, "at most"),
    ],
)
def test_a_rule_that_cannot_be_says_why(rules, sentence):
    with pytest.raises(RulesRefused, match=sentence):
        clean_rules(rules, retries=True)


def test_a_policy_without_waits_cannot_retry():
    assert clean_rules({"404": "fail"}, retries=False) == {"404": "fail"}
    with pytest.raises(RulesRefused, match="sends once"):
        clean_rules({"404": "retry"}, retries=False)


def test_every_reason_can_be_named():
    assert set(clean_rules(dict.fromkeys(REASONS, "fail"), retries=True)) == set(REASONS)


def test_the_table_says_what_is_fixed_own_and_usual():
    assert meanings(policy_of("standard"), {"404": "fail"}) == [
        ("2xx", "deliver", FIXED),
        ("410", "disable", FIXED),
        ("404", "fail", OWN),
        ("anything else", "retry", USUAL),
    ]


@pytest.mark.spec("T7")
def test_the_table_of_post_once_leaves_out_what_a_rule_replaces():
    table = meanings(policy_of("post_once"), {"403": "fail"})
    assert ("401", "disable", USUAL) in table
    assert "403" not in [match for match, _, whose in table if whose == USUAL]
    assert table[-1] == ("anything else", "fail", USUAL)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("rules", [{}, {"404": "fail", "4xx": "disable", "timeout": "deliver"}])
def test_the_table_is_what_is_decided(policy, rules):
    chosen = policy_of(policy, DELAYS)
    if not chosen.retries:
        rules = {match: action for match, action in rules.items() if action != "retry"}
    ends = {"retry": "retry", "fail": "failed", "disable": "disable", "deliver": "delivered"}
    for match, action, _ in meanings(chosen, rules):
        status = {"2xx": 200, "4xx": 499, "timeout": None, "anything else": 599}.get(match, match)
        status = status if status is None else int(status)
        assert kind(rules, status, "" if status else "timeout", policy) == ends[action]
