"""The settings of `sources.reading` and `sources.rules` for people: as fields of a form, and in words."""

from collections.abc import Mapping

from sources import reading, rules
from sources.authentication import Setting
from sources.models import Source

SHOWN = 200  # characters of an answer on the page of a source

_LINES = {"type": "textarea", "data_type": "list", "rows": 3, "mono": True}
_RULES = {
    "allowed_addresses": {**_LINES, "placeholder": "203.0.113.0/24"},
    "rate_limit_per_minute": {
        "type": "number",
        "data_empty": "null",
        "min": 1,
        "max": rules.MAX_PER_MINUTE,
        "placeholder": "600",
    },
    "content_types": {**_LINES, "placeholder": "application/json"},
    "cors_origins": {**_LINES, "placeholder": "https://app.example.com"},
    "response.status": {"type": "number", "data_empty": "null", "min": 200, "max": 299, "placeholder": "200"},
    "response.content_type": {"type": "select", "options": [("", "–"), *rules.ANSWER_TYPES]},
    "response.body": {"type": "textarea", "rows": 3, "mono": True, "placeholder": "ok"},
}
_EXAMPLES = {
    "envelope": "data.items",
    "xml_element": "event",
    "event_type": "{header:X-Event}.{action}",
    "severity": "alert.level",
    "occurred_at": "alert.created_at",
    "title": "alert.message",
    "idempotency_key": "header:X-Delivery-Id",
}


def reading_fields(source: Source) -> list[dict]:
    """`components/field.html` arguments of each setting."""
    return [
        _field("reading", setting, source.reading.get(setting.name))
        | {"placeholder": _EXAMPLES[setting.name], "mono": True, "maxlength": reading.MAX_SELECTOR}
        for setting in reading.SETTINGS
    ]


def rules_fields(source: Source) -> dict[str, list[dict]]:
    """The same, for the door (`door`) and its answer (`answer`)."""
    fields = [_field("rules", one, _stored(source.rules, one.name)) | _RULES[one.name] for one in rules.SETTINGS]
    return {
        "door": [field for field in fields if ".response." not in field["name"]],
        "answer": [field for field in fields if ".response." in field["name"]],
    }


def _beginning(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _field(group: str, setting: Setting, value: object) -> dict:
    if isinstance(value, list):
        value = "\n".join(value)
    return {"name": f"{group}.{setting.name}", "label": setting.label, "help": setting.help, "value": value}


def _stored(given: Mapping[str, object], name: str) -> object:
    place, _, part = name.partition(".")
    found = given.get(place)
    return found.get(part) if part and isinstance(found, Mapping) else found


def reading_in_words(source: Source) -> list[tuple[str, str]]:
    """Label and place of each setting that is set."""
    return [(one.label, str(source.reading[one.name])) for one in reading.SETTINGS if one.name in source.reading]


def rules_in_words(source: Source) -> list[tuple[str, list[str]]]:
    """Label and values of each rule that is set."""
    words = []
    found = source.rules
    if addresses := found.get("allowed_addresses"):
        words.append(("Only from", list(addresses)))
    if limit := found.get("rate_limit_per_minute"):
        words.append(("At most", [f"{limit:,} posts a minute"]))
    if types := found.get("content_types"):
        words.append(("Only as", list(types)))
    if origins := found.get("cors_origins"):
        words.append(("Pages that may post", ["every page" if one == rules.ANY_ORIGIN else one for one in origins]))
    if answer := rules.compiled(found).answer:
        status, content_type, body = answer
        words.append(("Answers", [f"{status} {content_type}", _beginning(body.decode()) or "without a body"]))
    return words
