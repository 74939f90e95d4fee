"""A schema made from examples: every example fits it (P12)."""

import json
import random

import pytest

from events.inference import MAX_FIELDS, infer
from events.schema_language import DIALECT, MAX_BYTES, CompiledSchema, checked, written
from tests import payloads

pytestmark = pytest.mark.spec("P12")


def shape(*documents):
    """The inferred schema without its first line."""
    found = infer(documents)
    assert found.pop("$schema") == DIALECT
    return found


def of_member(*values):
    """What is inferred of one member that has these values."""
    return shape(*({"m": value} for value in values))["properties"]["m"]


def test_says_what_all_examples_agree_on():
    assert shape({"id": 1, "name": "a"}, {"id": 2, "tags": ["x"]}) == {
        "type": "object",
        "properties": {
            "id": {"type": "integer"},
            "name": {"type": "string"},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["id"],
    }


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([True, False], {"type": "boolean"}),
        ([1, 2], {"type": "integer"}),
        ([1, 2.5], {"type": "number"}),
        ([1.0], {"type": "number"}),
        (["a", None], {"type": ["string", "null"]}),
        ([{"a": 1}, None], {"type": ["object", "null"], "properties": {"a": {"type": "integer"}}, "required": ["a"]}),
        ([None], {}),
        ([1, "a"], {}),
        ([1, True], {}),
        ([[], {}], {}),
        ([1, "a", None], {}),
        ([[]], {"type": "array"}),
        ([[1, "a"]], {"type": "array", "items": {}}),
        ([[1], ["a"]], {"type": "array", "items": {}}),
        ([[[1]], []], {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}),
        ([{}], {"type": "object"}),
        (["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.6+02:00"], {"type": "string", "format": "date-time"}),
        (["2026-01-02T03:04:05Z", "soon"], {"type": "string"}),
        (["2026-13-02T03:04:05Z"], {"type": "string"}),
        (["2026-01-02T03:04:05Z", None], {"type": ["string", "null"], "format": "date-time"}),
        (["0193b3c5-7a7e-7000-8000-000000000001"], {"type": "string", "format": "uuid"}),
        (["someone@example.com"], {"type": "string", "format": "email"}),
        (["a@b"], {"type": "string"}),
        ([""], {"type": "string"}),
        (["low", "high"], {"type": "string"}),
    ],
)
def test_one_member(values, expected):
    assert of_member(*values) == expected


@pytest.mark.parametrize("documents", [[], [1, "a"], [None], [1, {}]], ids=["none", "scalars", "null", "mixed"])
def test_what_examples_do_not_agree_on_is_anything(documents):
    assert shape(*documents) == {}


def test_wide_objects_collapse_to_anything():
    wide = {f"f{number}": 1 for number in range(MAX_FIELDS + 1)}
    assert of_member(wide) == {}
    just = {f"f{number}": 1 for number in range(MAX_FIELDS)}
    assert len(of_member(just)["properties"]) == MAX_FIELDS


def test_fields_are_counted_over_all_examples():
    assert of_member(*({f"user{number}": 1} for number in range(MAX_FIELDS + 1))) == {}


def test_depth_is_bounded():
    document = 1
    for _ in range(60):
        document = {"a": [document]}
    found = infer([document])
    checked(found)
    assert fits(found, document)


def test_size_is_bounded():
    document = {f"f{a}": {f"g{b}": {f"h{c}": c for c in range(20)} for b in range(20)} for a in range(100)}
    found = infer([document])
    assert len(written(found)) <= MAX_BYTES
    assert set(found["properties"]["f7"]["properties"]) == set(document["f7"])
    assert found["properties"]["f7"]["properties"]["g0"] == {}
    assert fits(checked(found), document)
    long_names = {"n" * 5_000 + str(number): 1 for number in range(100)}
    assert infer([long_names]) == {"$schema": DIALECT} or fits(infer([long_names]), long_names)


def test_order_of_examples_does_not_matter():
    chance = random.Random(7)  # noqa: S311  repeatable on purpose
    documents = [generated(chance, 4) for _ in range(40)]
    once = json.dumps(infer(documents))
    for _ in range(5):
        chance.shuffle(documents)
        assert json.dumps(infer(documents)) == once


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("make", ["anything", "alike"])
def test_every_example_fits(seed, make):
    chance = random.Random(seed)  # noqa: S311  repeatable on purpose
    make = {"anything": generated, "alike": alike}[make]
    documents = [make(chance, 4) for _ in range(chance.randrange(1, 30))]
    found = checked(infer(documents))
    assert [one for one in documents if not fits(found, one)] == []


def test_every_github_payload_fits_the_schema_of_its_event():
    folder = payloads.find("@octokit/webhooks-examples")
    if folder is None:
        pytest.skip("NOT TESTED: GitHub's payloads. `python tests/payloads.py` gets them from npm.")
    examples = json.loads((folder / "api.github.com" / "index.json").read_text())
    total = 0
    for event in examples:
        found = checked(infer(event["examples"]))
        compiled = CompiledSchema(found)
        assert found["type"] == "object", event["name"]
        assert [problem for one in event["examples"] if (problem := compiled.problem_of(one))] == []
        total += len(event["examples"])
    assert total == 329


def fits(schema, document):
    return CompiledSchema(schema).problem_of(document) == ""


def generated(chance, depth):
    """Any JSON value, of a small vocabulary so that examples meet."""
    kind = chance.randrange(10 if depth else 6)
    if kind < 6:
        return chance.choice(
            [None, True, 0, -3, 2**70, 1.5, -0.0, "", "a\x00é", "2026-01-02T03:04:05Z", "a@b.example", "x" * 400]
        )
    if kind < 8:
        return [generated(chance, depth - 1) for _ in range(chance.randrange(4))]
    names = chance.sample(["a", "b", "c/d~e", "", "$ref", "properties", "é", "\x00"], chance.randrange(5))
    return {name: generated(chance, depth - 1) for name in names}


def alike(chance, depth):
    """An object of members that are nearly always of the same type, and mostly there."""
    makers = {
        "id": lambda: chance.choice([1, 2**70, -1, 1.5]),
        "at": lambda: "2026-01-02T03:04:05Z",
        "mail": lambda: chance.choice(["a@b.example", "c@d.example", None]),
        "tags": lambda: [chance.choice(["x", "y"]) for _ in range(chance.randrange(3))],
        "rows": lambda: [alike(chance, depth - 1) for _ in range(chance.randrange(3) if depth else 0)],
        "child": lambda: alike(chance, depth - 1) if depth else {},
    }
    return {
        name: generated(chance, 1) if chance.random() < 0.02 else make()
        for name, make in makers.items()
        if chance.random() < 0.9
    }
