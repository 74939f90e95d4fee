"""What an event is called, how much it matters, when it was, its title; and the key of a post."""

import json
from datetime import UTC, datetime

import pytest

from events import identity
from events.classification import document_of
from events.identity import Identity, idempotency_digest, identify, moment_of, one_line, type_name

HEADERS = ((b"x-event", b"Push Hook"), (b"x-topic", b"orders/create"), (b"x-portal", b"portal/source:silent"))


def named(document, headers=HEADERS, default="order.changed", **reading):
    return identify(reading, headers, document, default)


@pytest.mark.parametrize("document", [None, "text", 7, True, [], ["a"], {}], ids=str)
@pytest.mark.parametrize("reading", [{}, {"event_type": "kind", "title": "{a}"}], ids=["usual", "named"])
def test_what_says_nothing_gets_the_defaults(document, reading):
    assert identify(reading, (), document, "event") == Identity("event", "low", None, "")


@pytest.mark.spec("D6")
@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"type": "a.b"}, "a.b"),
        ({"event_type": "a-b"}, "a-b"),
        ({"event": "a_b"}, "a_b"),
        ({"type": "has space", "event": "second"}, "second"),
        ({"type": {"a": 1}, "event_type": ["x"], "event": 7}, "order.changed"),
        ({"type": "x" * 128}, "x" * 128),
        ({"type": "x" * 129}, "order.changed"),
        ({"type": "portal.source.silent"}, "order.changed"),
        ({"type": "portal"}, "portal"),
        ({"type": "portals.opened"}, "portals.opened"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_the_usual_type(document, expected):
    assert named(document).type == expected


@pytest.mark.spec("D6")
@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        ("header:X-Event", "Push_Hook"),
        ("header:X-Topic", "orders.create"),
        ("{header:X-Topic}.{action}", "orders.create.opened"),
        ("{header:X-Missing}.{action}", "opened"),
        ("header:X-Missing", "usual.type"),
        ("number", "7"),
        ("list", "usual.type"),
        ("header:X-Portal", "order.changed"),
        ("portal.{action}", "order.changed"),
        ("reserved", "order.changed"),
    ],
)
def test_the_type_at_a_named_place(reading, expected):
    document = {"type": "usual.type", "action": "opened", "number": 7, "list": [1], "reserved": "portal.x"}
    assert named(document, event_type=reading).type == expected


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("orders/create", "orders.create"),
        ("repo:push", "repo.push"),
        ("Push Hook", "Push_Hook"),
        ("a / b :: c", "a.b.c"),
        ("a..b", "a..b"),
        ("a. b", "a.b"),
        ("_private", "_private"),
        ("/leading/", "leading"),
        (" spaced ", "spaced"),
        ("größe", "gr_e"),
        ("событие", ""),
        ("", ""),
        ("ab c" * 200, "ab_c" * 32),
        ("\x00\ud800", ""),
        ("a" + " " * 500 + "b", "a_b"),
        ("a" + " \t" * 200 + "/\n" * 40 + "b", "a.b"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_any_text_becomes_a_type_by_one_rule(text, name):
    assert type_name(text) == name


def test_a_long_type_is_not_remembered():
    """What is remembered is bounded in number: a sender must not choose how large each is."""
    identity._may_be_type.cache_clear()
    assert named({"type": "x" * 100_000, "event": "short"}).type == "short"
    assert identity._may_be_type.cache_info().currsize == 1


def test_no_text_is_looked_at_again_and_again():
    """A regular expression that begins with any number of what it may also miss is quadratic in a run of that."""
    assert not identity._TO_DOT.pattern.startswith(("[\\s]*", " *"))
    assert identity._TO_DOT.match("  .") is None


@pytest.mark.spec("D6")
@pytest.mark.parametrize(
    ("word", "level"),
    [
        *((word, "high") for word in ("high", "Critical", "FATAL", "emergency", "alert", "error", " err ")),
        *((word, "medium") for word in ("medium", "warning", "WARN", "moderate")),
        *((word, "low") for word in ("low", "notice", "info", "Informational", "debug", "3", "whatever", "")),
    ],
)
def test_words_for_a_severity(word, level):
    assert named({"severity": word}).severity == level


def test_the_level_counts_where_the_severity_says_nothing():
    assert named({"level": "error"}).severity == "high"
    assert named({"severity": "low", "level": "error"}).severity == "low"
    assert named({"severity": "odd", "level": "error"}).severity == "high"
    assert named({"severity": 2}).severity == "low"


@pytest.mark.spec("D6")
@pytest.mark.parametrize(
    ("value", "level"),
    [
        (0, "high"),
        (3, "high"),
        (4, "medium"),
        (5, "low"),
        (7, "low"),
        ("4", "medium"),
        (4.0, "medium"),
        ("WARN", "medium"),
    ],
)
def test_numbers_of_syslog_at_a_named_place(value, level):
    assert named({"alert": {"level": value}, "severity": "low"}, severity="alert.level").severity == level


@pytest.mark.parametrize("value", [8, -1, True, None, "odd", [], {}], ids=str)
def test_what_is_no_severity_there_falls_back(value):
    assert named({"alert": value, "severity": "high"}, severity="alert").severity == "high"


MOMENT = datetime(2024, 5, 1, 12, 30, 15, tzinfo=UTC)
SECONDS = 1_714_566_615


@pytest.mark.spec("P17")
@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2024-05-01T12:30:15Z", MOMENT),
        ("2024-05-01t12:30:15z", MOMENT),
        ("2024-05-01T14:30:15+02:00", MOMENT),
        ("2024-05-01T14:30:15+0200", MOMENT),
        ("2024-05-01 12:30:15", MOMENT),
        ("2024-05-01 12:30:15 UTC", MOMENT),
        (" 2024-05-01T12:30:15.5Z ", MOMENT.replace(microsecond=500_000)),
        ("2024-05-01T12:30:15.123456789Z", MOMENT.replace(microsecond=123_456)),
        ("2024-05-01T12:30Z", MOMENT.replace(second=0)),
        ("2016-12-31T23:59:60Z", datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
        ("2100-12-31T23:59:59Z", datetime(2100, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (SECONDS, MOMENT),
        (SECONDS * 1000, MOMENT),
        (SECONDS * 1_000_000, MOMENT),
        (SECONDS * 1_000_000_000, MOMENT),
        (SECONDS + 0.25, MOMENT.replace(microsecond=250_000)),
        (str(SECONDS), MOMENT),
        (f"{SECONDS}.250000", MOMENT.replace(microsecond=250_000)),
        (str(SECONDS * 1000), MOMENT),
    ],
    ids=str,
)
def test_times(value, moment):
    assert moment_of(value) == moment


@pytest.mark.parametrize(
    "value",
    [
        "1969-12-31T23:59:59Z",
        "2101-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "2024-02-30T00:00:00Z",
        "2024-05-01T25:00:00Z",
        "2024-05-01",
        "2024-W18-3T00:00:00Z",
        "yesterday",
        "1714566615e5",
        "²024-05-01T12:30:15Z",
        "",
        "9" * 5000,
        0,
        12,
        -SECONDS,
        5e9,
        10**18 * 9,
        10**400,
        float("inf"),
        float("nan"),
        True,
        None,
        [],
        {},
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_time(value):
    assert moment_of(value) is None


def test_the_first_usual_field_that_makes_sense_is_the_time():
    assert named({"timestamp": "soon", "time": 12, "created_at": SECONDS, "created": 1}).occurred_at == MOMENT
    assert named({"occurred_at": SECONDS, "timestamp": 2 * 10**9}).occurred_at == MOMENT


def test_the_time_at_a_named_place():
    at = {"occurred_at": "event.at"}
    assert named({"event": {"at": SECONDS}, "time": 2 * 10**9}, **at).occurred_at == MOMENT
    assert named({"event": {"at": "odd"}, "time": SECONDS}, **at).occurred_at == MOMENT


@pytest.mark.spec("P17")
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Disk full", "Disk full"),
        ("  one\r\n\ttwo\x00three\x1b[31m ", "one two three [31m"),
        ("a\u2028b\x85c", "a b c"),
        ("evil\u202etxt.exe", "eviltxt.exe"),
        ("half \ud83d pair", "half ? pair"),
        ("größe 😀", "größe 😀"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 199 + "…"),
        ("x" * 1_000_000, "x" * 199 + "…"),
        ("\x00", ""),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_title_is_one_line_that_can_be_kept(text, line):
    assert one_line(text) == line
    line.encode()


def test_where_a_title_stands():
    assert named({"title": "\n", "summary": "Second", "subject": "Third"}).title == "Second"
    assert named({"title": {"a": 1}, "subject": "Third"}).title == "Third"
    assert named({"name": "No title"}).title == ""
    assert named({"repo": {"name": "door"}, "action": "opened"}, title="{repo.name}: {action}").title == "door: opened"
    assert named({"title": "Usual"}, title="missing").title == "Usual"
    assert named({"n": 7}, title="n").title == "7"


def test_json_without_a_projection_is_read_too():
    document = document_of(b'{"type": "a.b", "time": 1714566615, "level": 4, "odd": 1e999999}')
    found = named(document, severity="level")
    assert (found.type, found.severity, found.occurred_at) == ("a.b", "medium", MOMENT)


def digest(documents=({},), headers=(), **reading):
    return idempotency_digest(reading, headers, list(documents))


KEY = ((b"idempotency-key", b"k1"),)


@pytest.mark.spec("B6")
def test_the_header_is_the_key_of_a_post_of_any_size():
    one = digest(headers=KEY)
    assert len(one) == 16
    assert one == digest([], KEY) == digest([{}, {}], KEY) == digest(headers=((b"idempotency-key", b" k1 "),))
    assert one != digest(headers=((b"idempotency-key", b"k2"),))
    assert digest() is None
    assert digest(headers=((b"idempotency-key", b"  "),)) is None


@pytest.mark.spec("B6")
def test_the_named_place_counts_first_and_its_keys_are_its_own():
    at_path, at_header = {"idempotency_key": "event.id"}, {"idempotency_key": "header:X-Id"}
    post = {"event": {"id": "k1"}}
    assert digest([post], **at_path) == digest([post], KEY, **at_path)
    assert digest([post], **at_path) != digest([post], KEY)
    assert digest([{}], KEY, **at_path) == digest([{}], KEY)
    assert digest([{}], ((b"x-id", b"k1"),), **at_header) not in {digest([post], **at_path), digest([{}], KEY), None}
    assert digest([{}], ((b"x-id", b"k1"),), idempotency_key="header:x-ID") == digest(
        [{}], ((b"x-id", b"k1"),), **at_header
    )


@pytest.mark.spec("B6")
def test_a_path_is_no_key_of_a_batch():
    post = {"event": {"id": "k1"}}
    assert digest([post, post], idempotency_key="event.id") is None
    assert digest([], idempotency_key="event.id") is None
    assert digest([post, post], KEY, idempotency_key="event.id") == digest([{}], KEY)


@pytest.mark.parametrize("value", [None, True, "", "  ", [], {"a": 1}], ids=repr)
def test_what_is_no_key(value):
    assert digest([{"id": value}], idempotency_key="id") is None


@pytest.mark.parametrize("value", [7, 1.5, "k" * 1_000_000, "\ud800", "\x00"], ids=lambda value: repr(value)[:20])
def test_any_text_or_number_is_a_key(value):
    assert len(digest([{"id": value}], idempotency_key="id")) == 16


def test_nothing_in_a_payload_makes_it_fail():
    odd = ["\x00", "\ud800", 10**400, float("nan"), [[]], {"": {}}, True, None, "9" * 5000, "💥" * 5000]
    places = ("type", "severity", "level", "time", "title")
    reading = {"event_type": "{type}/{time}", "severity": "level", "occurred_at": "time", "title": "{title}{type}"}
    for value in odd:
        document = dict.fromkeys(places, value)
        for settings in ({}, reading):
            found = identify(settings, (), document, "event")
            json.dumps([found.type, found.title], ensure_ascii=False).encode()
            assert "\x00" not in found.title
