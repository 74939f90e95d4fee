"""Which events a subscription is told about."""

import pytest

from subscriptions.filters import (
    clean_event_type,
    clean_patterns,
    matches,
    severity_at_least,
)


@pytest.mark.spec("S2")
@pytest.mark.parametrize(
    ("pattern", "event_type", "expected"),
    [
        ("user.created", "user.created", True),
        ("user.created", "user.deleted", False),
        ("user.created", "User.created", False),
        ("user.created", "user.created.twice", False),
        ("user", "user.created", False),
        ("*", "user", True),
        ("*", "user.created", True),
        ("*", "a.b.c.d", True),
        ("user.*", "user.created", True),
        ("user.*", "user.email.changed", True),
        ("user.*", "user", False),
        ("user.*", "username.created", False),
        ("*.created", "user.created", True),
        ("*.created", "user.email.created", False),
        ("*.created", "created", False),
        ("a.*.c", "a.b.c", True),
        ("a.*.c", "a.c", False),
        ("a.*.c", "a.b.b.c", False),
        ("*.*", "a", False),
        ("*.*", "a.b", True),
        ("*.*", "a.b.c", True),
        ("test.*", "test.webhook-event", True),
    ],
)
def test_matches(pattern, event_type, expected):
    assert matches([pattern], event_type) is expected


def test_one_pattern_of_several_is_enough():
    assert matches(["order.*", "user.created"], "user.created")


def test_no_pattern_matches_nothing():
    assert not matches([], "user.created")


@pytest.mark.spec("P15")
@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", False),
        ("*.*", False),
        ("*.source.silent", False),
        ("portal.*", True),
        ("portal.source.silent", True),
        ("portal.*.silent", True),
    ],
)
def test_operational_events_have_to_be_asked_for(pattern, expected):
    assert matches([pattern], "portal.source.silent") is expected


def test_patterns_are_cleaned_and_keep_their_order():
    assert clean_patterns([" user.* ", "a.b", "user.*", "*"]) == ["user.*", "a.b", "*"]


def test_no_patterns_become_every_event():
    assert clean_patterns([]) == ["*"]


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "user.",
        ".user",
        "a..b",
        "user.cre*",
        "**",
        "user created",
        "ü.a",
        "a/b",
        "a" * 129,
        "a\n.b",
    ],
)
def test_what_is_not_a_pattern_is_refused(pattern):
    with pytest.raises(ValueError, match="event type"):
        clean_patterns(["a.b", pattern])


def test_too_many_patterns_are_refused():
    with pytest.raises(ValueError, match="at most 100"):
        clean_patterns(f"a.{n}" for n in range(101))


@pytest.mark.parametrize("name", ["a", "user.created", "test.webhook-event", "A_1.b-2", "a" * 128])
def test_an_event_type(name):
    assert clean_event_type(f" {name} ") == name


@pytest.mark.parametrize("name", ["", " ", "a b", "a..b", ".a", "a.", "*", "a.*", "é", "a" * 129])
def test_what_is_not_an_event_type_is_refused(name):
    with pytest.raises(ValueError, match="event type"):
        clean_event_type(name)


@pytest.mark.spec("T2")
@pytest.mark.parametrize(
    ("minimum", "passing"),
    [("low", ["low", "medium", "high"]), ("medium", ["medium", "high"]), ("high", ["high"])],
)
def test_the_minimum_severity(minimum, passing):
    severities = ["low", "medium", "high"]
    assert [s for s in severities if severity_at_least(minimum, s)] == passing


@pytest.mark.spec("T2")
@pytest.mark.parametrize("severity", [None, "", "unheard-of"])
def test_an_event_without_severity_is_low(severity):
    assert severity_at_least("low", severity)
    assert not severity_at_least("medium", severity)


def test_an_unknown_minimum_is_refused():
    with pytest.raises(ValueError, match="critical"):
        severity_at_least("critical", "high")
