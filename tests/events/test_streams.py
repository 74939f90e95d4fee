"""Dividing bodies into events, and the projection of each (spec P4)."""

import json
import random
import sys

import pytest

from events.streams import MAX_PARSE_DEPTH, StreamError, depth, split


def raws(body, stream_type="auto", **limits):
    return [item.raw for item in split(body, stream_type, **limits)]


def only(body, stream_type="auto", **limits):
    [item] = split(body, stream_type, **limits)
    return item


def refusal(body, stream_type="auto", **limits):
    with pytest.raises(StreamError) as caught:
        split(body, stream_type, **limits)
    assert caught.value.detail
    return caught.value.status, caught.value.code, caught.value.index


# One document


@pytest.mark.spec("P4")
@pytest.mark.parametrize("stream_type", ["auto", "json"])
@pytest.mark.parametrize(
    "body",
    [
        b'{"b": 1.0, "a": 1e2, "a": 2}',
        b' \r\n\t{"a": "\\u00e9\\/"}\n\n',
        b'{\n  "a": [\n    1\n  ]\n}\n',
        '{"a": "\u00e9\U0001f600"}'.encode(),
        b"\xef\xbb\xbf{}",
        b"42",
        b'"text"',
        b"null",
        b"-0.0",
    ],
)
def test_a_document_is_one_event_byte_for_byte(body, stream_type):
    item = only(body, stream_type)
    assert item.raw == body
    assert item.content_type == "application/json"
    assert item.problem == ""
    assert item.parsed == json.loads(body)


def test_an_array_in_json_mode_is_one_event():
    assert raws(b" [1, 2] ", "json") == [b" [1, 2] "]


def test_the_last_of_repeated_keys_is_projected_and_all_are_kept():
    item = only(b'{"a": 1, "a": 2}')
    assert (item.raw, item.parsed) == (b'{"a": 1, "a": 2}', {"a": 2})


@pytest.mark.spec("P4")
@pytest.mark.parametrize("stream_type", ["auto", "json"])
def test_objects_one_after_another_are_an_event_each(stream_type):
    body = b' {"a":1}{"b": 2.0}\n\n {"c":{}} '
    assert raws(body, stream_type) == [b'{"a":1}', b'{"b": 2.0}', b'{"c":{}}']


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"a":1',
        b'{"a":1,}',
        b"{'a':1}",
        b"{a:1}",
        b'{"a":1}}',
        b'{"a":1} x',
        b"1 2",
        b"01",
        b"1.",
        b".5",
        b"+1",
        b"tru",
        b'"\n"',
        b'"\t"',
        b'"\\x"',
        b'"\\u12"',
        b'"open',
        b"/* */ {}",
        b"\x0c{}",
        b"\xc2\xa0{}",
        b"{}\x00",
        b"hello",
        b"[1] [2]",
        b'{"a":1}[2]',
        b"- 1",
    ],
)
def test_in_json_mode_other_text_is_400(body):
    assert refusal(body, "json")[:2] == (400, "not_json")


@pytest.mark.parametrize("stream_type", ["auto", "json", "json_array"])
@pytest.mark.parametrize("body", [b"\xff", b'{"a": "\xed\xa0\x80"}', '{"a":"\u00e9"}'.encode("utf-16")])
def test_json_that_is_not_utf_8_is_400(body, stream_type):
    assert refusal(body, stream_type)[:2] == (400, "not_utf8")


@pytest.mark.parametrize("stream_type", ["auto", "json", "lines", "json_array"])
@pytest.mark.parametrize("body", [b"", b" ", b"\r\n\t\n", b"\xef\xbb\xbf", b"\n" * 1_000_000])
def test_an_empty_body_is_400(body, stream_type):
    assert refusal(body, stream_type) == (400, "body_empty", None)


# Arrays


@pytest.mark.spec("P4")
@pytest.mark.parametrize("stream_type", ["auto", "json_array"])
def test_elements_of_an_array_are_slices_of_the_body(stream_type):
    body = ' [ {"b":1.0,"a":[1, 2]} ,\n"\u00e9,]" , 1E2,null,[ ] ]\n'.encode()
    assert raws(body, stream_type) == [
        b'{"b":1.0,"a":[1, 2]}',
        '"\u00e9,]"'.encode(),
        b"1E2",
        b"null",
        b"[ ]",
    ]


@pytest.mark.parametrize("body", [b"[]", b" [ \n ] "])
def test_an_empty_array_is_no_events(body):
    assert raws(body) == raws(body, "json_array") == []


def test_null_instead_of_an_array_is_no_events():
    assert raws(b" null ", "json_array") == []


@pytest.mark.parametrize("body", [b"{}", b"1", b'"[]"', b'{"a":[]}'])
def test_another_document_instead_of_an_array_is_422(body):
    assert refusal(body, "json_array") == (422, "not_an_array", None)


@pytest.mark.parametrize("stream_type", ["auto", "json_array"])
@pytest.mark.parametrize(
    ("body", "index"),
    [
        (b"[", 0),
        (b"[1", 0),
        (b"[1,", 1),
        (b"[1,]", 1),
        (b"[,1]", 0),
        (b"[1 2]", 0),
        (b"[1}", 0),
        (b"[1,2,x]", 2),
        (b"[1]]", None),
        (b"[1],", None),
        (b'[{"a":1},{"b"}]', 1),
    ],
)
def test_a_broken_array_is_400_and_says_where(body, index, stream_type):
    assert refusal(body, stream_type) == (400, "not_json", index)


# Lines


@pytest.mark.spec("P4")
@pytest.mark.parametrize("stream_type", ["auto", "lines"])
def test_json_lines_are_an_event_each_without_their_endings(stream_type):
    body = b'{"a":1.0}\r\n\n  \n [1, 2] \n"x"\n7'
    items = split(body, stream_type)
    assert [item.raw for item in items] == [b'{"a":1.0}', b" [1, 2] ", b'"x"', b"7"]
    assert [item.parsed for item in items] == [{"a": 1.0}, [1, 2], "x", 7]
    assert {item.content_type for item in items} == {"application/json"}


@pytest.mark.parametrize("stream_type", ["auto", "lines"])
def test_lines_that_are_arrays_are_an_event_each(stream_type):
    assert raws(b"[1]\n[2]\n", stream_type) == [b"[1]", b"[2]"]


@pytest.mark.parametrize("stream_type", ["auto", "lines"])
def test_plain_text_is_an_event_for_each_line_and_projected_as_a_string(stream_type):
    items = split("<34>Oct 11 su: 'su root' failed\ncaf\u00e9 \n".encode(), stream_type)
    assert [item.raw for item in items] == [
        b"<34>Oct 11 su: 'su root' failed",
        "caf\u00e9 ".encode(),
    ]
    assert [item.parsed for item in items] == ["<34>Oct 11 su: 'su root' failed", "caf\u00e9 "]
    assert {item.content_type for item in items} == {"text/plain; charset=utf-8"}


def test_in_lines_mode_nothing_is_broken():
    items = split(b'{"a":1}\n{"b":\nx\x00y\n\xff\xfe\n' + b"[" * 100_000, "lines")
    assert [item.content_type.partition(";")[0] for item in items] == [
        "application/json",
        "text/plain",
        "text/plain",
        "application/octet-stream",
        "text/plain",
    ]
    assert [bool(item.problem) for item in items] == [False, False, True, True, False]
    assert items[1].parsed == '{"b":'


@pytest.mark.parametrize(
    ("body", "index"),
    [
        (b'{"a":1}\n{"b":\n{"c":3}', 1),
        (b'{"a":1}\nhello', 1),
        (b'{\n"a": oops\n}', 0),
        (b'{"a"', 0),
    ],
)
def test_what_starts_like_json_is_never_taken_for_text(body, index):
    assert refusal(body) == (400, "not_json", index)


@pytest.mark.parametrize("body", [b"<?xml version='1.0'?><a/>", b"\n<events><e/></events>"])
def test_xml_is_refused_rather_than_torn_into_lines(body):
    assert refusal(body) == (415, "xml_unsupported", None)


# What is kept without a projection


@pytest.mark.parametrize("stream_type", ["auto", "json", "lines", "json_array"])
@pytest.mark.parametrize(
    ("value", "word"),
    [
        (b"NaN", "NaN"),
        (b"-Infinity", "Infinity"),
        (b"1" * 101, "digits"),
        (b"1" * 100_000, "digits"),
        (b"0." + b"1" * 101, "digits"),
        (b"1e309", "1e308"),
        (b"1E+131071", "1e308"),
        (b"1e-400", "1e308"),
        (b"-2e308", "1e308"),
        (b"1e" + b"9" * 5000, "1e308"),
        (b'"\\u0000"', "NUL"),
        (b'{"\\u0000": 1}', "NUL"),
        (b'"\\ud800"', "surrogate"),
        (b'"\\uDC00\\ud800"', "surrogate"),
        (b"[" * 65 + b"]" * 65, "nested"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "nested"),
        (b'"' + b"x" * 262_144 + b'"', "larger"),
        (b"[" + b",".join([b"1e300"] * 1000) + b"]", "larger"),
    ],
)
def test_json_beyond_the_projection_is_kept_with_the_reason(value, word, stream_type):
    body = {"lines": value, "json": value}.get(stream_type, b"[" + value + b"]")
    item = only(body, stream_type)
    assert item.raw == value
    assert item.parsed is None
    assert word in item.problem


@pytest.mark.parametrize(
    "value",
    [
        b"1" * 100,
        b"-" + b"1" * 100,
        b"1e308",
        b"1e-308",
        b"1e00000000000000005",
        b'"\\\\u0000"',
        b'"\\ud83d\\ude00"',
        b'"[[[[[[" ',
        b"[" * 64 + b"]" * 64,
        b"[" + b"[]," * 1000 + b'"' + b"[" * 1000 + b'\\"' + b"[" * 1000 + b'"]',
    ],
)
def test_json_at_the_edge_of_the_projection_has_one(value):
    item = only(value, "json")
    assert item.problem == ""
    assert item.parsed == json.loads(value)


def test_a_problem_belongs_to_its_own_event():
    items = split(b'[1, NaN, {"a": [1e999]}, 2]')
    assert [bool(item.problem) for item in items] == [False, True, True, False]
    assert [item.parsed for item in items] == [1, None, None, 2]


# Bounds


@pytest.mark.parametrize(
    ("body", "stream_type"),
    [
        (b"[1,2,3]", "auto"),
        (b"[1,2,3]", "json_array"),
        (b"1\n2\n3", "auto"),
        (b"1\n2\n3", "lines"),
        (b"a\nb\nc", "auto"),
        (b"{}{}{}", "json"),
        (b"{}{}{}", "auto"),
    ],
)
def test_the_number_of_events_is_bounded(body, stream_type):
    assert len(split(body, stream_type, max_items=3)) == 3
    assert refusal(body, stream_type, max_items=2) == (413, "too_many_events", 2)


@pytest.mark.parametrize(
    ("body", "stream_type", "index"),
    [
        (b'["12345678"]', "json_array", 0),
        (b"1\n12345678901", "lines", 1),
        (b'"12345678 "', "json", None),
        (b'{}{"a": 1234}', "json", 1),
    ],
)
def test_the_size_of_an_event_is_bounded(body, stream_type, index):
    assert split(body, stream_type, max_item_bytes=11)
    assert refusal(body + b" " if index is None else body, stream_type, max_item_bytes=9) == (
        413,
        "event_too_large",
        index,
    )


DEEP = [
    b"[" * 1_000_000,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"a":' * 100_000,
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b'[{"":' * 50_000,
    b"[" * (MAX_PARSE_DEPTH + 1) + b"]" * (MAX_PARSE_DEPTH + 1),
]


@pytest.mark.parametrize("stream_type", ["auto", "json", "json_array"])
@pytest.mark.parametrize("body", DEEP)
def test_abysmal_nesting_is_refused_before_it_is_parsed(body, stream_type, monkeypatch):
    monkeypatch.setattr(json.JSONDecoder, "raw_decode", None)
    assert refusal(body, stream_type) == (422, "too_deep", None)


@pytest.mark.parametrize("body", DEEP)
def test_abysmal_nesting_in_a_line_is_text(body):
    assert only(body, "lines").content_type.startswith("text/plain")


def test_the_deepest_nesting_that_is_parsed_is_kept():
    body = b"[" * MAX_PARSE_DEPTH + b"]" * MAX_PARSE_DEPTH
    assert "nested" in only(body, "json").problem


def test_a_caller_with_a_deep_stack_gets_an_error_of_ours():
    body = b"[" * MAX_PARSE_DEPTH + b"]" * MAX_PARSE_DEPTH

    def descend(levels):
        return descend(levels - 1) if levels else refusal(body, "json")

    used = 0
    frame = sys._getframe()
    while frame:
        used, frame = used + 1, frame.f_back
    assert descend(sys.getrecursionlimit() - used - 100) == (422, "too_deep", 0)


def exact_depth(text):
    """A second implementation, character by character."""
    level = deepest = 0
    inside = escaped = False
    for character in text.decode():
        if inside:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                inside = False
        elif character == '"':
            inside = True
        elif character in "[{":
            level += 1
            deepest = max(deepest, level)
        elif character in "]}":
            level -= 1
    return deepest


def test_the_depth_scan_agrees_with_a_slow_one_on_random_json():
    chance = random.Random(7)  # noqa: S311 - reproducible, not secret

    def value(level):
        kind = chance.randrange(6 if level < 8 else 3)
        if kind < 3:
            return "".join(chance.choices('ab"\\[]{}\u00e9', k=chance.randrange(8)))
        if kind == 3:
            return {value(9): value(level + 1) for _ in range(chance.randrange(3))}
        return [value(level + 1) for _ in range(chance.randrange(4))]

    for _ in range(2000):
        text = json.dumps(value(0), ensure_ascii=chance.random() < 0.5).encode()
        assert depth(text) == exact_depth(text)


def test_random_bytes_raise_nothing_but_our_error_and_slices_come_from_the_body():
    chance = random.Random(8)  # noqa: S311 - reproducible, not secret
    alphabet = [
        b"[",
        b"]",
        b"{",
        b"}",
        b'"',
        b"\\",
        b",",
        b":",
        b"1",
        b"e",
        b"-",
        b"\n",
        b" ",
        b"null",
        b"NaN",
        b"\\u0000",
        b"\xc3\xa9",
        b"\xff",
        b'"a"',
        b"\xef\xbb\xbf",
    ]
    kept = 0
    for _ in range(20_000):
        body = b"".join(chance.choices(alphabet, k=chance.randrange(1, 12)))
        for stream_type in ("auto", "json", "lines", "json_array"):
            try:
                items = split(body, stream_type)
            except StreamError:
                continue
            position = 0
            for item in items:
                position = body.index(item.raw, position) + len(item.raw)
                kept += 1
    assert kept > 20_000


def test_a_wrong_stream_type_is_a_programming_error():
    with pytest.raises(ValueError, match="no such stream type"):
        split(b"{}", "yaml")
