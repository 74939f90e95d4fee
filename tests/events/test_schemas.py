"""The language of schemas, its bounds, and classifying by it (P12)."""

import socket
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.db.utils import ProgrammingError
from django.test.utils import CaptureQueriesContext

from events import schemas
from events.models import Schema, SchemaAttachment, SchemaVersion
from events.schema_language import (
    MAX_BREADTH,
    MAX_BYTES,
    MAX_DEPTH,
    MAX_PATTERN,
    MAX_PATTERNS,
    MAX_STEPS,
    NO_PLACE,
    TOO_LARGE,
    CompiledSchema,
    SchemaError,
    checked,
)
from events.schema_models import NotDraft
from events.schemas import MAX_POST_STEPS, Candidate, Effort, FirstThatAccepts, classifier_of
from tenants.scope import system_scope, tenant_scope

pytestmark = pytest.mark.spec("P12")


def refused(document) -> tuple[str, str]:
    with pytest.raises(SchemaError) as caught:
        checked(document)
    return caught.value.path, caught.value.message


def problem(schema, document) -> str:
    return CompiledSchema(schema).problem_of(document)


def nested(levels: int, word: str = "not") -> dict:
    document: dict = {}
    for _ in range(levels):
        document = {word: document}
    return document


# ── What is a schema here ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("document", "path", "words"),
    [
        (5, "", "A schema is a JSON object."),
        ({"type": "objekt"}, "/type", "Expected one of array, boolean"),
        ({"properties": {"a/b~": {"type": 5}}}, "/properties/a~1b~0/type", "Expected one of"),
        ({"properties": {"a": []}}, "/properties/a", "Expected boolean or object."),
        ({"required": "a"}, "/required", "Expected array."),
        ({"required": ["a", "a"]}, "/required", "The items are not all different."),
        ({"minimum": "x"}, "/minimum", "Expected number."),
        ({"maxItems": -1}, "/maxItems", "Breaks minimum 0."),
        ({"pattern": "(a"}, "/pattern", "This is no pattern that can be used"),
        ({"pattern": "(?=a)b"}, "/pattern", "This is no pattern that can be used"),
        ({"pattern": r"(a)\1"}, "/pattern", "This is no pattern that can be used"),
        ({"patternProperties": {"(a": True}}, "/patternProperties/(a", "This is no pattern"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "/$schema", "The language is JSON Schema 2020-12"),
        ({"items": [{}]}, "/items", "Expected boolean or object."),
        ({"dependencies": {}}, "/dependencies", "older dialect"),
        ({"$dynamicRef": "#a"}, "/$dynamicRef", "not supported"),
        ({"properties": {"a": {"$id": "x"}}}, "/properties/a/$id", "Only the whole document"),
        ({"format": "regex"}, "/format", "not supported"),
        ({"const": "\ud800"}, "", "no valid Unicode"),
        ({"minimum": 10**5000}, "", "too long"),
    ],
)  # fmt: skip
def test_what_is_no_schema_is_refused_with_the_place(document, path, words):
    found, message = refused(document)
    assert found == path
    assert words in message


@pytest.mark.parametrize(
    "document",
    [
        True,
        {},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://example.com/door"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}},
        {"$ref": "#a", "$defs": {"x": {"$anchor": "a", "type": "string"}}},
        {"properties": {"a": {"$ref": "#/properties/b"}, "b": {"type": "string"}}},
        {"properties": {"$ref": {"type": "string"}, "pattern": {"type": "string"}, "$id": {}}},
        {"enum": [{"$ref": "http://nowhere.example/"}]},
        {"format": "of-our-own"},
    ],
    ids=["true", "empty", "named", "ref", "anchor", "sideways", "names", "data", "unknown format"],
)
def test_what_is_a_schema_is_taken(document):
    assert checked(document) is document


@pytest.mark.parametrize(
    "reference",
    [
        "http://127.0.0.1:{port}/x",
        "https://json-schema.org/draft/2020-12/schema",
        "file:///etc/passwd",
        "other.json",
        "//127.0.0.1:{port}/x",
        "json-schema:///x",
        "#/nope",
        "#nope",
        "#/$defs/x/const",
        5,
    ],
)
def test_a_reference_stays_within_the_document_and_nothing_is_fetched(reference):
    """A listener stands where one of them points: nobody knocks."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        if isinstance(reference, str):
            reference = reference.format(port=listener.getsockname()[1])
        for document in ({"$ref": reference}, {"$id": "http://127.0.0.1/", "properties": {"a": {"$ref": reference}}}):
            path, _ = refused({"$defs": {"x": {"const": {}}}, **document})
            assert path.endswith("/$ref")
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize(
    "document",
    [
        {"$ref": "#"},
        {"properties": {"child": {"$ref": "#"}}},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"$defs": {"n": {"anyOf": [{"properties": {"a": {"$ref": "#/$defs/n"}}}] * 2}}, "$ref": "#/$defs/n"},
    ],
    ids=["root", "child", "circle", "doubling"],
)
def test_a_schema_that_contains_itself_is_refused(document):
    assert "leads back to itself" in refused(document)[1]


def test_bounds_of_a_schema():
    assert checked(nested(MAX_DEPTH))
    assert "levels deep" in refused(nested(MAX_DEPTH + 1))[1]
    assert "levels deep" in refused(nested(5_000))[1]
    assert "bytes long" in refused({"description": "x" * MAX_BYTES})[1]
    assert "characters at most" in refused({"pattern": "a" * (MAX_PATTERN + 1)})[1]
    assert "patterns at most" in refused({"allOf": [{"pattern": f"{n}"} for n in range(MAX_PATTERNS + 1)]})[1]
    assert "tried at one place" in refused({"anyOf": [{"const": n} for n in range(MAX_BREADTH)]})[1]


def test_references_that_multiply_are_refused_before_anything_is_tried():
    doubling = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(24)} | {"a24": {}}
    assert "unfold to" in refused({"$ref": "#/$defs/a0", "$defs": doubling})[1]
    chain = {f"a{n}": {"$ref": f"#/$defs/a{n + 1}"} for n in range(3_000)} | {"a3000": {}}
    assert "nested too deep" in refused({"$ref": "#/$defs/a0", "$defs": chain})[1]


# ── Why a document does not fit ──────────────────────────────────────────────────────────────────────────────────────


SECRET = "hunter2"


@pytest.mark.parametrize(
    ("schema", "document", "expected"),
    [
        ({"properties": {"a": {"type": "integer"}}}, {"a": SECRET}, "/a: expected integer"),
        ({"properties": {"a": {"type": ["integer", "null"]}}}, {"a": SECRET}, "/a: expected null or integer"),
        ({"items": {"properties": {"a/b": {"type": "null"}}}}, [{"a/b": 1}], "/0/a~1b: expected null"),
        ({"required": ["id"]}, {}, "the event: id is missing"),
        ({"enum": [1]}, SECRET, "the event: not one of the values that the schema allows"),
        ({"const": 1}, SECRET, "the event: not one of the values that the schema allows"),
        ({"format": "email"}, SECRET, "the event: expected the format email"),
        ({"pattern": "^x"}, SECRET, "the event: the text does not match the pattern"),
        ({"maxLength": 3}, SECRET, "the event: breaks maxLength 3"),
        ({"minimum": 3}, 1, "the event: breaks minimum 3"),
        ({"multipleOf": 3}, 1, "the event: breaks multipleOf 3"),
        ({"additionalProperties": False}, {"x": SECRET}, "the event: it has a member that the schema does not name"),
        ({"unevaluatedProperties": False}, {"x": SECRET}, "the event: x is not expected"),
        ({"anyOf": [{"type": "null"}]}, SECRET, "the event: fits none of the alternatives"),
        ({"oneOf": [True, True]}, SECRET, "the event: fits several alternatives"),
        ({"not": {}}, SECRET, "the event: fits what the schema excludes"),
        (False, SECRET, "the event: nothing is allowed here"),
        ({"propertyNames": {"maxLength": 2}}, {SECRET: 1}, "the event: the name of a member is not allowed"),
        ({"uniqueItems": True}, [SECRET, SECRET], "the event: the items are not all different"),
        ({"contains": {"type": "null"}}, [SECRET], "the event: no item is what one must be"),
    ],
)  # fmt: skip
def test_a_problem_names_the_place_and_never_a_value(schema, document, expected):
    assert problem(schema, document) == expected
    assert SECRET not in expected


def test_a_problem_is_short_and_plain_whatever_the_members_are_called():
    name = "\x1b[2J\u202e" + "n" * 5_000
    found = problem({"additionalProperties": {"type": "integer"}}, {name: "x"})
    assert len(found) <= 300
    assert "\x1b" not in found
    assert "\u202e" not in found


@pytest.mark.parametrize(
    "document", [{"a": float("nan")}, {1: 2}, "\ud800", 10**5000], ids=["nan", "key", "surrogate", "long"]
)
def test_nothing_that_json_cannot_hold_raises(document):
    assert isinstance(problem({"type": "object", "required": ["x"]}, document), str)


# ── What an attack costs ─────────────────────────────────────────────────────────────────────────────────────────────


def test_what_would_take_too_long_is_not_tried():
    broad = {"items": {"enum": [{"a": number} for number in range(900)]}}
    assert problem(broad, [{"a": 899}] * 10) == ""
    assert problem(broad, [{"a": 899}] * (MAX_STEPS // 900)) == TOO_LARGE


def test_an_error_of_many_alternatives_is_not_spelt_out():
    """The library would collect the errors of every alternative at every item: gigabytes of them."""
    schema = {"anyOf": [{"items": {"anyOf": [{"type": "integer"}] * 20}}, {"type": "integer"}]}
    assert problem(schema, ["x"] * 100_000) == NO_PLACE
    assert problem(schema, ["x"]) == "the event: fits none of the alternatives"


def test_a_pattern_that_would_backtrack_does_not():
    assert "does not match" in problem({"pattern": "^(a+)+$"}, "a" * 500_000 + "b")


# ── The first schema that accepts ────────────────────────────────────────────────────────────────────────────────────


def candidates(*documents):
    return FirstThatAccepts(
        [Candidate(UUID(int=place), f"S{place}", CompiledSchema(one)) for place, one in enumerate(documents)]
    )


def test_the_first_that_accepts_names_the_event():
    several = candidates({"type": "string"}, {"type": "object"}, True)
    assert several.classify({"a": 1}) == (UUID(int=1), "")
    assert several.classify([]) == (UUID(int=2), "")


def test_what_none_accepts_has_the_first_problem_and_says_how_many_were_tried():
    assert candidates({"type": "string"}).classify(5) == (None, "S0: the event: expected string")
    several = candidates({"type": "string"}, {"type": "object"}, {"type": "array"})
    assert several.classify(5) == (None, "S0: the event: expected string (and 2 more schemas)")


def test_the_events_of_a_post_share_what_they_may_cost():
    broad = {"items": {"enum": [{"a": number} for number in range(900)]}}
    several, events = candidates(broad, broad), [[{"a": 899}] * 100] * 1000
    effort = Effort()
    found = [several.classify(one, effort)[1] for one in events]
    fitted = found.count("")
    assert found == [""] * fitted + [TOO_LARGE] * (len(events) - fitted)
    assert 0 < fitted * 100 * 2 * 900 < MAX_POST_STEPS < len(events) * 100 * 2 * 900
    assert several.classify(events[0], Effort()) == (UUID(int=0), "")


def test_what_cannot_be_read_fits_nothing():
    assert candidates(True).classify(None) == (None, "not readable as JSON")


def test_no_schemas_no_classifier(source):
    with system_scope():
        assert classifier_of(source.pk) is None


@pytest.fixture
def published(cast):
    """`published(name, document)` → (schema, its published version)."""

    def make(name="Door", document=True):
        with system_scope():
            schema = Schema.objects.create(tenant=cast.tenant, name=name)
            version = schema.draft(document)
            version.publish()
        return schema, version

    return make


def test_the_latest_published_version_classifies_and_is_compiled_once(source, published):
    schema, _ = published(document={"type": "object"})
    with system_scope():
        schema.attach(source)
        schema.draft({"type": "array"}).publish()
        schema.draft({"type": "string"})
        classifier = classifier_of(source.pk)
        assert [bool(classifier.classify(one)[0]) for one in ([], {}, "x")] == [True, False, False]
        with CaptureQueriesContext(connection) as captured:
            again = classifier_of(source.pk)
        assert len(captured) == 1
        assert again.candidates[0].schema is classifier.candidates[0].schema


def test_the_compiled_ones_are_bounded(published, monkeypatch):
    monkeypatch.setattr(schemas, "COMPILED_KEPT", 2)
    versions = [published(f"S{number}")[1] for number in range(4)]
    with system_scope():
        for version in versions:
            schemas.compiled_version(version.pk)
    assert len(schemas._compiled) == 2


# ── What the database holds ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_database_itself_keeps_a_published_version_as_it_is(published):
    _, version = published()
    with system_scope():
        for change in ({"text": "false"}, {"status": "draft"}, {"number": 7}):
            with pytest.raises(ProgrammingError, match="does not change"), transaction.atomic():
                SchemaVersion.objects.filter(pk=version.pk).update(**change)
        SchemaVersion.objects.filter(pk=version.pk).update(published_by=None, created_by=None)
        with pytest.raises(NotDraft):
            version.publish()


def test_two_tenants_see_their_own(published, cast):
    published()
    with tenant_scope(cast.other_tenant.pk):
        assert not Schema.objects.exists()
        assert not SchemaVersion.objects.exists()


@pytest.fixture
def heard():
    """`heard(act)` → what other processes are told when `act` is committed."""

    def listen(act) -> list[str]:
        with connection.cursor() as cursor:
            cursor.execute("LISTEN portcullis_sources")
        with system_scope():
            act()
        told = connection.connection.notifies(timeout=0.2)
        return [notice.payload for notice in told]

    return listen


@pytest.mark.django_db(transaction=True)
def test_processes_that_keep_a_source_are_told(cast, source, published, heard):
    schema, _ = published()
    name = f"source:{source.pk}"
    assert heard(lambda: schema.draft({}).publish()) == [], "it is attached to nothing"
    assert heard(lambda: schema.attach(source)) == [name]
    assert heard(lambda: schema.draft({"type": "object"})) == [], "a draft classifies nothing"
    assert heard(lambda: schema.draft({"type": "object"}).publish()) == [name]
    assert heard(lambda: SchemaAttachment.objects.arrange(source, [])) == [name]
