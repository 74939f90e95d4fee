"""The language of schemas: JSON Schema 2020-12, bounded so that no schema and no event can hold up the door. Pure.

A schema is written by one tenant, and checked at a door that all tenants share. So what is refused here is what
would let it reach out (`$ref` beyond the document), never end (a reference that leads back to itself) or multiply
(references that fan out): what remains costs at most `breadth` steps at each place of an event. Patterns run in
time linear in the text (the regex crate), which knows neither look-around nor back-references.

`format` is asserted, not only noted: `date-time`, `date`, `time`, `duration`, `uuid`, `email`, `uri`, `hostname`,
`ipv4`, `ipv6` and their kin. Names it does not know are ignored, as the specification says.
"""

import json
import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote

import jsonschema_rs

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MAX_BYTES = 256 * 1024
MAX_DEPTH = 64
MAX_PATTERN = 500  # characters
MAX_PATTERNS = 100
MAX_COMPILED_PATTERN = 300_000  # bytes
MAX_REFERENCES = 100  # followed one after another
MAX_UNFOLDED = 20_000  # subschemas, where every reference counts as what it refers to
MAX_BREADTH = 2_000  # subschemas tried at one place of an event
PROBLEM_LENGTH = 300  # characters

# Steps that one event may cost: its places times the breadth. About a quarter of a second at the worst.
MAX_STEPS = 20_000_000
# The same where the error is built from those of every alternative, which costs more.
MAX_EXPLAINED_STEPS = 200_000
SMALL_BREADTH = 40  # no event that the door takes gets to MAX_STEPS with it
TEXT_PER_PLACE = 32  # characters of text that count as one place more

TOO_LARGE = "too large to be checked against this schema"
NO_PLACE = "does not fit; the event is too large to say where"
UNREADABLE = "not readable as JSON"

_WRITER = json.JSONEncoder(indent=2, ensure_ascii=False)

_SAME_PLACE = ("not", "if", "then", "else")
_SAME_PLACE_LISTS = ("allOf", "anyOf", "oneOf")
_BELOW = ("additionalProperties", "items", "contains", "propertyNames", "unevaluatedItems", "unevaluatedProperties")
_BELOW_BY_NAME = ("properties", "patternProperties")
_DEFINITIONS = ("$defs", "definitions")
_REFUSED = {
    "$dynamicRef": "References that are resolved while checking are not supported. Use $ref.",
    "$dynamicAnchor": "References that are resolved while checking are not supported. Use $anchor and $ref.",
    "$recursiveRef": "This word is of an older dialect. Use $ref.",
    "additionalItems": "This word is of an older dialect. Use prefixItems and items.",
    "dependencies": "This word is of an older dialect. Use dependentRequired or dependentSchemas.",
    "$vocabulary": "Own vocabularies are not supported.",
}
_UNFIT_FOR_NAMES = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class SchemaError(ValueError):
    """The document is no schema that can be used. `path` is a JSON pointer into it, `message` one sentence."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message


class CompiledSchema:
    """A schema ready to check events. `breadth` is the most subschemas that are tried at one place of an event."""

    def __init__(self, document: object) -> None:
        """Raises `SchemaError`."""
        walk = _Walk(document)
        self.breadth = walk.breadth
        self._has_alternatives = walk.has_alternatives
        self._validator = _validator(document)

    def accepts(self, document: object) -> bool:
        """Whether the document fits. Costs less than to say why it does not."""
        try:
            return not self._is_too_large(document) and self._validator.is_valid(document)
        except ValueError:
            return False

    def _is_too_large(self, document: object) -> bool:
        return self.breadth > SMALL_BREADTH and not _fits_into(document, MAX_STEPS // self.breadth)

    def problem_of(self, document: object) -> str:
        """Empty where the document fits; else the first place where it does not, and why, without its values."""
        if self._is_too_large(document):
            return TOO_LARGE
        try:
            if self._validator.is_valid(document):
                return ""
            if self._has_alternatives and not _fits_into(document, MAX_EXPLAINED_STEPS // self.breadth):
                return NO_PLACE
            self._validator.validate(document)
        except jsonschema_rs.ValidationError as error:
            return _in_words(error)
        except ValueError:
            return UNREADABLE
        return ""


def checked(document: object) -> dict[str, object] | bool:
    """The document itself, if it is a schema within the bounds. Raises `SchemaError`."""
    CompiledSchema(document)
    assert isinstance(document, (dict, bool))  # noqa: S101  what else it could be was refused
    return document


def written(document: object) -> str:
    """A schema as the text in which it is kept and shown: members in their author's order, two spaces a level."""
    return _WRITER.encode(document)


def is_too_long(document: object) -> bool:
    """Whether it is more than MAX_BYTES, written out. It is written no further than that."""
    size = 0
    for piece in _WRITER.iterencode(document):
        size += len(piece.encode())
        if size > MAX_BYTES:
            return True
    return False


def pointer(parts: list[str | int] | tuple[str | int, ...]) -> str:
    """A JSON pointer (RFC 6901); empty for the whole document."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def _validator(document: object) -> jsonschema_rs.Draft202012Validator:
    try:
        return jsonschema_rs.Draft202012Validator(
            document,  # type: ignore[arg-type]
            validate_formats=True,
            pattern_options=jsonschema_rs.RegexOptions(MAX_COMPILED_PATTERN, MAX_COMPILED_PATTERN),
            mask="…",
            offline=True,
        )
    except jsonschema_rs.ValidationError as error:
        raise SchemaError(_fault(error), pointer(error.instance_path)) from None
    except ValueError:
        raise SchemaError("A number or a text in it is beyond what can be checked.") from None


def _fault(error: jsonschema_rs.ValidationError) -> str:
    """What is wrong with a schema: the same words as for events, and some for what only schemas can get wrong."""
    word = error.instance_path[-1] if error.instance_path else None
    kind = error.kind.as_dict()
    if kind.get("format") == "regex":
        return "This is no pattern that can be used: look-around, back-references and very large ones are not."
    if word == "type":
        return "Expected one of array, boolean, integer, null, number, object, string, or a list of them."
    reason = _reason(error)
    return f"{reason[0].upper()}{reason[1:]}."


class _Walk:
    """One look at every subschema of a document, before the library sees it. Raises `SchemaError`."""

    def __init__(self, document: object) -> None:
        self.document = document
        self.has_alternatives = False
        self._anchors: dict[str, str] = {}
        self._patterns = 0
        self._subschemas: dict[str, object] = {}
        self._measures: dict[str, tuple[int, int]] = {}
        self._open: set[str] = set()
        if not isinstance(document, (dict, bool)):
            raise SchemaError("A schema is a JSON object.")
        self._bound_size()
        self._visit(document, "")
        unfolded, self.breadth = self._measure("")
        if unfolded > MAX_UNFOLDED:
            raise SchemaError(
                f"Its references unfold to {unfolded:,} subschemas; at most {MAX_UNFOLDED:,} are supported."
            )
        if self.breadth > MAX_BREADTH:
            raise SchemaError(
                f"Up to {self.breadth:,} subschemas would be tried at one place of an event; "
                f"at most {MAX_BREADTH:,} are supported."
            )

    def _bound_size(self) -> None:
        if _depth_exceeds(self.document, MAX_DEPTH):
            raise SchemaError(f"It is nested more than {MAX_DEPTH} levels deep.")
        try:
            size = len(written(self.document).encode())
        except UnicodeEncodeError:
            raise SchemaError("It holds text that is no valid Unicode.") from None
        except ValueError:
            raise SchemaError("It holds a number that is too long.") from None
        if size > MAX_BYTES:
            raise SchemaError(f"It is {size:,} bytes long, written out; at most {MAX_BYTES:,} are supported.")

    def _visit(self, schema: object, path: str) -> None:
        """Register it and what is below, refuse what the language here leaves out."""
        self._subschemas[path] = schema
        if not isinstance(schema, dict):
            return  # what is neither object nor boolean the library reports, with its path
        self._refuse_foreign(schema, path)
        if "anyOf" in schema or "oneOf" in schema:
            self.has_alternatives = True
        if isinstance(anchor := schema.get("$anchor"), str) and self._anchors.setdefault(anchor, path) != path:
            raise SchemaError("There is another $anchor of this name.", f"{path}/$anchor")
        for below, _ in _children(schema, path, ("dependentSchemas", *_BELOW_BY_NAME, *_DEFINITIONS)):
            self._visit(_at(self.document, below), below)

    def _refuse_foreign(self, schema: dict[str, object], path: str) -> None:
        for word, message in _REFUSED.items():
            if word in schema:
                raise SchemaError(message, f"{path}/{word}")
        dialect = schema.get("$schema", DIALECT)
        if not isinstance(dialect, str) or dialect.removesuffix("#") != DIALECT:
            raise SchemaError(f"The language is JSON Schema 2020-12: {DIALECT}", f"{path}/$schema")
        if path and "$id" in schema:
            raise SchemaError("Only the whole document may have an $id.", f"{path}/$id")
        if schema.get("format") == "regex":
            raise SchemaError("The format regex is not supported.", f"{path}/format")
        by_name = schema.get("patternProperties")
        patterns = list(by_name) if isinstance(by_name, dict) else []
        if isinstance(pattern := schema.get("pattern"), str):
            patterns.append(pattern)
        if any(len(one) > MAX_PATTERN for one in patterns):
            raise SchemaError(f"A pattern may have {MAX_PATTERN} characters at most.", path)
        self._patterns += len(patterns)
        if self._patterns > MAX_PATTERNS:
            raise SchemaError(f"A schema may have {MAX_PATTERNS} patterns at most.", path)

    def _measure(self, path: str) -> tuple[int, int]:
        """`(subschemas unfolded, breadth)` of the one at the path.

        Breadth adds up what is tried at the same place of an event, and of what is for different members of an
        object takes the largest.
        """
        if path in self._measures:
            return self._measures[path]
        if path in self._open:
            raise SchemaError("The reference leads back to itself: a schema may not contain itself.", path)
        if len(self._open) > MAX_DEPTH + MAX_REFERENCES:
            raise SchemaError("Its references are nested too deep.", path)
        schema = self._subschemas[path]
        unfolded, breadth = 1, 1
        if isinstance(schema, dict):
            self._open.add(path)
            breadth += _weight(schema)
            named = [0]
            for below, is_one_of_many in self._applied(schema, path):
                more, wide = self._measure(below)
                unfolded += more
                if is_one_of_many:
                    named.append(wide)
                else:
                    breadth += wide
            breadth += max(named)
            self._open.remove(path)
        self._measures[path] = unfolded, breadth
        return unfolded, breadth

    def _applied(self, schema: dict[str, object], path: str) -> Iterator[tuple[str, bool]]:
        """Where the subschemas stand that are tried with this one, and whether each is for a member of its own."""
        yield from _children(schema, path, ("dependentSchemas", *_BELOW_BY_NAME))
        if "$ref" in schema:
            yield self._target(schema["$ref"], f"{path}/$ref"), False

    def _target(self, reference: object, path: str) -> str:
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise SchemaError('A reference stays within the document: "#/$defs/…". Nothing is fetched.', path)
        fragment = unquote(reference[1:])
        target = fragment if not fragment or fragment.startswith("/") else self._anchors.get(fragment)
        if target is None or target not in self._subschemas:
            raise SchemaError("The reference points to no schema in the document.", path)
        return target


def _children(schema: dict[str, object], path: str, by_name: tuple[str, ...]) -> Iterator[tuple[str, bool]]:
    """The paths of subschemas directly below, and whether each is for one member of an object or array only."""
    for word in (*_SAME_PLACE, *_BELOW):
        if word in schema:
            yield f"{path}/{word}", False
    for word in (*_SAME_PLACE_LISTS, "prefixItems"):
        listed = schema.get(word)
        for index in range(len(listed)) if isinstance(listed, list) else ():
            yield f"{path}/{word}/{index}", word == "prefixItems"
    for word in by_name:
        members = schema.get(word)
        for name in members if isinstance(members, dict) else ():
            yield f"{path}/{word}{pointer([name])}", word == "properties"


def _weight(schema: dict[str, object]) -> int:
    """What a subschema costs beside those below it: comparing structures, dividing large numbers, reading a format."""
    listed = schema.get("enum")
    weight = sum(_places(one) for one in listed if isinstance(one, (dict, list))) if isinstance(listed, list) else 0
    by_name = schema.get("patternProperties")
    weight += len(by_name) if isinstance(by_name, dict) else 0
    weight += 5 if "format" in schema else 0
    return weight + (200 if "multipleOf" in schema else 0)


def _at(document: object, path: str) -> object:
    for part in path.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        document = document[int(name)] if isinstance(document, list) else document[name]  # type: ignore[index]
    return document


def _depth_exceeds(document: object, limit: int) -> bool:
    level: list[object] = [document]
    for _ in range(limit + 1):
        level = [below for one in level for below in _members(one)]
        if not level:
            return False
    return True


def _members(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _places(document: object) -> int:
    waiting, places = [document], 0
    while waiting:
        one = waiting.pop()
        places += 1
        waiting.extend(_members(one))
    return places


def places_within(document: object, limit: int) -> int | None:
    """How many places it has; long text counts as several. None where there are more than `limit`."""
    waiting, places = [document], 0
    while waiting:
        one = waiting.pop()
        places += 1 + (len(one) // TEXT_PER_PLACE if isinstance(one, str) else 0)
        if isinstance(one, dict):
            places += sum(map(len, one)) // TEXT_PER_PLACE
        if places > limit:
            return None
        waiting.extend(_members(one))
    return places


def _fits_into(document: object, limit: int) -> bool:
    return places_within(document, limit) is not None


def _in_words(error: jsonschema_rs.ValidationError) -> str:
    where = _plain(pointer(error.instance_path))
    if len(where) > 150:
        where = where[:149] + "…"
    return f"{where or 'the event'}: {_reason(error)}"[:PROBLEM_LENGTH]


def _reason(error: jsonschema_rs.ValidationError) -> str:
    """Why, from the schema's own words and the names of members only: a value of the event may be a secret."""
    kind: Mapping[str, object] = error.kind.as_dict()
    name = error.kind.name
    match name:
        case "type":
            return "expected " + " or ".join(map(str, kind["types"]))  # type: ignore[call-overload]
        case "required" | "dependentRequired":
            return f"{_named(kind.get('property'))} is missing"
        case "additionalProperties" | "unevaluatedProperties":
            return f"{_named(*kind['unexpected'])} is not expected"  # type: ignore[misc]
        case "format":
            return f"expected the format {kind['format']}"
        case "pattern":
            return "the text does not match the pattern"
        case "enum" | "const":
            return "not one of the values that the schema allows"
        case "anyOf" | "oneOf":
            return "fits none of the alternatives" if "not valid" in _one_line(error) else "fits several alternatives"
        case "not":
            return "fits what the schema excludes"
        case "falseSchema" if error.schema_path and error.schema_path[-1] == "additionalProperties":
            return "it has a member that the schema does not name"
        case "falseSchema":
            return "nothing is allowed here"
        case "propertyNames":
            return "the name of a member is not allowed"
        case "uniqueItems":
            return "the items are not all different"
        case "contains":
            return "no item is what one must be"
    limit = kind.get("limit", kind.get("multiple_of"))
    return f"breaks {name}" + (f" {limit}" if isinstance(limit, (int, float)) else "")


def _one_line(error: jsonschema_rs.ValidationError) -> str:
    return error.message.partition("\n")[0]


def _named(*names: object) -> str:
    shown = ", ".join(_plain(str(name))[:40] for name in names[:3])
    return shown + (" and others" if len(names) > 3 else "")


def _plain(text: str) -> str:
    return _UNFIT_FOR_NAMES.sub("�", text)
