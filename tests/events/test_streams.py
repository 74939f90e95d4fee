"""Dividing bodies into events, and the projection of each (spec P4)."""

import json
import random
import sys

import pytest

from events.streams import MAX_PARSE_DEPTH, Limits, StreamError, depth, lines, reading, split


def raws(body, stream_type="auto", **settings):
    return [item.raw for item in split(body, stream_type, **settings)]


def only(body, stream_type="auto", **settings):
    [item] = split(body, stream_type, **settings)
    return item


def refusal(body, stream_type="auto", **settings):
    with pytest.raises(StreamError) as caught:
        split(body, stream_type, **settings)
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


@pytest.mark.parametrize("stream_type", ["auto", "json", "json_array", "xml"])
@pytest.mark.parametrize("body", [b"\xff", b'{"a": "\xed\xa0\x80"}', b'{"a":"\xe9"}', b'{"a": "\xf4\x90\x80\x80"}'])
def test_what_is_not_utf_8_is_400(body, stream_type):
    assert refusal(body, stream_type) == (400, "not_utf8", None)


@pytest.mark.spec("P4")
@pytest.mark.parametrize("stream_type", ["auto", "json", "json_array", "xml"])
@pytest.mark.parametrize("text", ['{"a":"\u00e9"}', '["\u65e5"]', '"\u65e5"', "<a>\u65e5</a>", "1", "plain text"])
@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_utf_16_and_utf_32_are_refused_by_name(text, coding, stream_type):
    with pytest.raises(StreamError) as caught:
        split(text.encode(coding), stream_type)
    assert (caught.value.status, caught.value.code) == (400, "not_utf8")
    assert coding[:6].upper() in caught.value.detail


@pytest.mark.parametrize("bom", [b"\xfe\xff", b"\x00\x00\xfe\xff"], ids=["utf-16-be", "utf-32-be"])
def test_a_byte_order_mark_of_the_other_end_is_recognised(bom):
    assert refusal(bom + b"\x00{\x00}") == (400, "not_utf8", None)


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


# The array inside an envelope


ENVELOPE = b' {"id": 7, "data": {"items": [ {"a": 1.0} ,2], "none": null, "empty": [ ], "rows": [[1], [2.50, "x"]]}} \n'


@pytest.mark.spec("P4")
@pytest.mark.parametrize(
    ("envelope", "expected"),
    [
        ("data.items", [b'{"a": 1.0}', b"2"]),
        ("data.rows", [b"[1]", b'[2.50, "x"]']),
        ("data.rows.1", [b"2.50", b'"x"']),
        ("data.none", []),
        ("data.empty", []),
    ],
)
def test_the_array_may_stand_inside_an_envelope(envelope, expected):
    assert raws(ENVELOPE, "json_array", envelope=envelope) == expected


@pytest.mark.parametrize(
    ("body", "envelope", "expected"),
    [
        (b'{"a":[1],"b":{"a":[9]},"a":[2]}', "a", [b"2"]),
        (b'{"\\u0061":[1]}', "a", [b"1"]),
        (b'{"0":[1]}', "0", [b"1"]),
        (b"[[1],[2]]", "1", [b"2"]),
        (b'\xef\xbb\xbf{"a":["\xc3\xa9"]}', "a", [b'"\xc3\xa9"']),
        (b'{"" : [1]}', ".", None),
        (b'{"":{"":[1]}}', ".", [b"1"]),
        (b'{"n":NaN,"i":1e999,"d":%s,"a":[1]}' % (b"1" * 5000), "a", [b"1"]),
    ],
)
def test_paths_of_envelopes(body, envelope, expected):
    if expected is None:
        assert refusal(body, "json_array", envelope=envelope)[:2] == (422, "envelope_missing")
    else:
        assert raws(body, "json_array", envelope=envelope) == expected


@pytest.mark.spec("P4")
@pytest.mark.parametrize(
    ("envelope", "code", "words"),
    [
        ("items", "envelope_missing", "no \u201citems\u201d."),
        ("data.itemz", "envelope_missing", "no \u201citemz\u201d in \u201cdata\u201d"),
        ("data.rows.2", "envelope_missing", "no \u201c2\u201d in \u201cdata.rows\u201d"),
        ("data.rows.x", "envelope_missing", "no \u201cx\u201d"),
        ("data.rows.-1", "envelope_missing", "no \u201c-1\u201d"),
        ("data.rows.999999999999", "envelope_missing", "no \u201c999999999999\u201d"),
        ("id.x", "envelope_missing", "no \u201cx\u201d in \u201cid\u201d"),
        ("data.none.x", "envelope_missing", "no \u201cx\u201d"),
        ("id", "not_an_array", "\u201cid\u201d is not a JSON array"),
        ("data", "not_an_array", "\u201cdata\u201d is not a JSON array"),
    ],
)
def test_an_envelope_without_an_array_is_422_and_says_what_is_missing(envelope, code, words):
    with pytest.raises(StreamError) as caught:
        split(ENVELOPE, "json_array", envelope=envelope)
    assert (caught.value.status, caught.value.code, caught.value.index) == (422, code, None)
    assert words in caught.value.detail


@pytest.mark.parametrize("body", [b'{"a":[1]} x', b'{"a":[1],}', b'{"a":[1]', b'{"a":[1]}{"a":[2]}', b"", b"x"])
def test_an_envelope_that_is_broken_elsewhere_is_400(body):
    assert refusal(body, "json_array", envelope="a")[0] == 400


def test_an_event_inside_an_envelope_that_is_too_large_is_named():
    limits = Limits(item_bytes=9)
    expected = (413, "event_too_large", 1)
    assert refusal(b'{"a":[1,"12345678"]}', "json_array", envelope="a", limits=limits) == expected


# Forms


FORM = b"application/x-www-form-urlencoded"


@pytest.mark.spec("P4")
@pytest.mark.parametrize("stream_type", ["auto", "json"])
@pytest.mark.parametrize("content_type", [FORM, b"Application/X-WWW-Form-URLEncoded ; charset=UTF-8"])
def test_json_in_the_payload_of_a_form_is_the_event(stream_type, content_type):
    """As GitHub and Slack send it."""
    item = only(b"payload=%7B%22a%22%3A+%221%2B1%22%2C%22b%22%3A1.0%7D", stream_type, content_type=content_type)
    assert item.raw == b'{"a": "1+1","b":1.0}'
    assert item.content_type == "application/json"
    assert item.parsed == {"a": "1+1", "b": 1.0}


def test_an_array_in_the_payload_of_a_form_is_divided():
    assert raws(b"x=1&payload=%5B1%2C2%5D", content_type=FORM) == [b"1", b"2"]
    assert raws(b"payload=%7B%22d%22:[3]%7D", "json_array", content_type=FORM, envelope="d") == [b"3"]


def test_broken_json_in_the_payload_of_a_form_is_400():
    assert refusal(b"payload=%7B%22a%22%3A", content_type=FORM)[:2] == (400, "not_json")


@pytest.mark.spec("P4")
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"From=%2B1555&Body=hi+there%21&Body=%C3%A9&Empty=&Bare&&=x", {
            "From": "+1555", "Body": ["hi there!", "\u00e9"], "Empty": "", "Bare": "", "": "x",
        }),
        (b"a=1&a=2&a=3\r\n", {"a": ["1", "2", "3"]}),
        (b"payload=text", {"payload": "text"}),
        (b"payload=%7B%7D&payload=%7B%7D", {"payload": ["{}", "{}"]}),
        (b"bad=%zz%4", {"bad": "%zz%4"}),
        (b"a=b=c", {"a": "b=c"}),
    ],
)  # fmt: skip
def test_another_form_is_one_event_and_its_fields_are_projected(body, expected):
    item = only(body, content_type=FORM)
    assert (item.raw, item.content_type, item.parsed) == (body, FORM.decode(), expected)


@pytest.mark.parametrize(
    ("body", "content_type", "stream_type"),
    [
        (b'{"a":"b=c"}', FORM, "auto"),
        (b'[{"a":"="}]', FORM, "auto"),
        (b'<a b="c"/>', FORM, "auto"),
        (b"plain text, as curl -d sends it", FORM, "auto"),
        (b"a=1 b=2\nc=3", FORM, "auto"),
        (b"a=1", b"text/plain", "auto"),
        (b"a=1", b"", "auto"),
        (b"a=1", FORM, "lines"),
        (b"payload=%7B%7D", FORM, "lines"),
    ],
)
def test_what_is_only_declared_a_form_is_inferred_as_ever(body, content_type, stream_type):
    assert split(body, stream_type, content_type=content_type) == split(body, stream_type)


def test_a_form_is_not_what_a_source_expects_that_takes_json_only():
    assert refusal(b"a=1", "json", content_type=FORM) == (400, "not_json", 0)
    assert refusal(b"a=1", "xml", content_type=FORM) == (400, "not_xml", None)


def test_forms_are_bounded():
    assert len(only(b"&".join(b"a%d=" % number for number in range(1000)), content_type=FORM).parsed) == 1000
    assert refusal(b"a=" + b"&" * 1000, content_type=FORM) == (413, "too_many_fields", None)
    assert refusal(b"a=12345678", content_type=FORM, limits=Limits(item_bytes=9)) == (413, "event_too_large", None)
    assert refusal(b"a=%ff", content_type=FORM) == (400, "not_utf8", None)
    assert refusal(b"%c3=1", content_type=FORM) == (400, "not_utf8", None)


@pytest.mark.parametrize(("body", "word"), [(b"a=%00", "NUL"), (b"a=" + b"x" * 262_144, "larger")])
def test_forms_beyond_the_projection_are_kept_with_the_reason(body, word):
    item = only(body, content_type=FORM)
    assert (item.raw, item.parsed) == (body, None)
    assert word in item.problem


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


@pytest.mark.parametrize("body", [b"<?xml version='1.0'?><a>", b"<events>\n<e/>\n", b"<a>\n<b/>", b"<!-- x"])
def test_broken_xml_is_refused_rather_than_torn_into_lines(body):
    assert refusal(body) == (400, "not_xml", None)


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
    assert len(split(body, stream_type, limits=Limits(items=3))) == 3
    assert refusal(body, stream_type, limits=Limits(items=2)) == (413, "too_many_events", 2)


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
    assert split(body, stream_type, limits=Limits(item_bytes=11))
    assert refusal(body + b" " if index is None else body, stream_type, limits=Limits(item_bytes=9)) == (
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
    monkeypatch.setattr(reading, "orjson", None)
    for module in (lines, reading):
        monkeypatch.setattr(module, "read_quickly", None)
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
