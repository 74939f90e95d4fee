"""Selectors: what an admin may write, and what each finds in a post."""

import pytest

from sources.authentication import ConfigError
from sources.presets import PRESETS
from sources.reading import SETTINGS, clean, headers_named, reader

HEADERS = (
    (b"x-event", b"push"),
    (b"x-many", b"one"),
    (b"x-many", b" two"),
    (b"x-empty", b""),
    (b"x-odd", b"\xff\xfe"),
)
DOCUMENT = {
    "action": "opened",
    "event": {"kind": "door", "number": 7, "0": "zero", "none": None},
    "items": [{"id": "first"}, {"id": "second"}],
    "$type": "dollar",
    "flag": True,
}


def stored(setting, text):
    return clean({setting: text})[setting]


def complaint(setting, text):
    with pytest.raises(ConfigError) as refused:
        clean({setting: text})
    return refused.value.errors[setting]


@pytest.mark.spec("B6")
@pytest.mark.parametrize(
    ("place", "found"),
    [
        ("action", "opened"),
        ("event.kind", "door"),
        ("event.number", 7),
        ("event.0", "zero"),
        ("event.none", None),
        ("event.kind.deeper", None),
        ("items.1.id", "second"),
        ("items.2.id", None),
        ("items.-1.id", None),
        ("items.x", None),
        ("items", DOCUMENT["items"]),
        ("missing", None),
        ("$type", "dollar"),
        ("header:X-Event", "push"),
        ("header:x-many", "one,  two"),
        ("header:X-Empty", ""),
        ("header:X-Odd", "\ufffd\ufffd"),
        ("header:X-Missing", None),
    ],
)
def test_a_selector_finds(place, found):
    assert reader(stored("severity", place))(HEADERS, DOCUMENT) == found


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ("{header:X-Event}.{action}", "push.opened"),
        ("{header:X-Event}.{missing}", "push"),
        ("{header:X-Missing}.{action}", "opened"),
        ("{missing}.{action}/{event.kind}", "opened/door"),
        ("{header:X-Event}.{missing}/{event.kind}", "push/door"),
        ("acme.{missing}.{action}", "acme.opened"),
        ("{action} ({event.number})", "opened (7)"),
        ("acme.{missing}.{items}", None),
        ("{flag}", None),
        ("action", "opened"),
    ],
)
def test_a_template_leaves_out_what_is_missing(template, found):
    assert reader(stored("event_type", template))(HEADERS, DOCUMENT) == found


@pytest.mark.parametrize("document", [None, "text", 7, [], {}], ids=str)
@pytest.mark.parametrize("place", ["a.b", "0", "{a}.{b}", "header:X-Nothing"])
def test_nothing_is_found_where_nothing_is(place, document):
    assert reader(place)((), document) is None


@pytest.mark.parametrize(
    ("setting", "typed", "kept"),
    [
        ("severity", " $.event.level ", "event.level"),
        ("severity", "path:event.level", "event.level"),
        ("severity", "$.items[0].id", "items.0.id"),
        ("severity", "items[0].id", "items.0.id"),
        ("severity", "$[0].id", "0.id"),
        ("severity", "$ref", "$ref"),
        ("severity", "HEADER: X-Level", "header:X-Level"),
        ("event_type", "{ header:X-Event }.{$.action}", "{header:X-Event}.{action}"),
        ("event_type", "Header:X-Event", "header:X-Event"),
        ("envelope", "$.data.items", "data.items"),
        ("xml_element", "<event>", "event"),
        ("xml_element", "ns:Größe", "ns:Größe"),
        ("title", "größe.名前", "größe.名前"),
    ],
)
def test_places_are_stored_in_one_spelling(setting, typed, kept):
    assert stored(setting, typed) == kept
    assert stored(setting, kept) == kept


@pytest.mark.parametrize(
    ("setting", "typed", "said"),
    [
        ("severity", 7, "Enter text."),
        ("severity", ["a"], "Enter text."),
        ("severity", "   ", "a place is missing"),
        ("severity", "a..b", "here one is empty"),
        ("severity", ".", "here one is empty"),
        ("severity", "a.", "here one is empty"),
        ("severity", "$.", "a place is missing|here one is empty"),
        ("severity", "a" * 201, "at most 200 characters"),
        ("severity", ".".join("a" * 21), "at most 20 keys"),
        ("severity", "a\x00b", "without control characters"),
        ("severity", "a\nb", "without control characters"),
        ("severity", "\udc80", "without control characters"),
        ("severity", "header:", "A header name has"),
        ("severity", "header:X Event", "A header name has"),
        ("severity", "header:X_Event", "Use a hyphen"),
        ("severity", "header:" + "X" * 65, "A header name has"),
        ("title", "header:Authorization", "holds a secret"),
        ("title", "{header:cookie}", "holds a secret"),
        ("severity", "{a}.{b}", "braces combine several"),
        ("idempotency_key", "{a}.{b}", "braces combine several"),
        ("event_type", "{a", "Close each brace"),
        ("event_type", "a}", "Close each brace"),
        ("event_type", "{{a}}", "Close each brace"),
        ("event_type", "{}", "a place is missing"),
        ("event_type", "{a..b}", "here one is empty"),
        ("envelope", "header:X-Event", "not a header"),
        ("xml_element", "a b", "name of an element"),
        ("xml_element", "1a", "name of an element"),
        ("xml_element", "a" * 101, "name of an element"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_cannot_be_a_place_is_said(setting, typed, said):
    message = complaint(setting, typed)
    assert any(words in message for words in said.split("|"))


def test_empty_and_null_take_a_setting_away():
    assert clean({"title": "a", "severity": "", "event_type": None}) == {"title": "a"}


def test_all_complaints_come_at_once():
    with pytest.raises(ConfigError) as refused:
        clean({"title": "a..b", "severity": "a..b", "colour": "red", "event_type": "kind"})
    assert set(refused.value.errors) == {"title", "severity", "colour"}


def test_headers_that_are_read_are_known():
    assert headers_named({"event_type": "{header:X-Event}.{a}", "title": "name", "severity": "header:X-Level"}) == {
        "x-event": "event_type",
        "x-level": "severity",
    }


def test_a_place_is_compiled_once():
    assert reader("event.kind") is reader("event.kind")


@pytest.mark.spec("B3")
@pytest.mark.parametrize("name", PRESETS)
def test_the_places_of_every_preset_are_settings(name):
    places = dict(PRESETS[name].reading)
    assert clean(places) == places
    assert set(places) <= {setting.name for setting in SETTINGS}
