"""The settings of `sources.reading` and `sources.rules` as fields of the API.

A change names the settings that it changes: the others stay, and null (or an empty value) takes one away. Complaints
stand under the setting's own path: `rules.allowed_addresses`, `rules.response.body`.
"""

from collections.abc import Mapping

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from sources import reading, rules
from sources.authentication import ConfigError, Setting


def _told(setting: Setting, **schema: object) -> dict:
    return {"description": setting.help, **schema}


_READING = {
    "type": "object",
    "description": "Where things stand in a post: `header:X-Name`, or a path such as `event.kind` or `items.0.id`.",
    "properties": {
        setting.name: _told(setting, type="string", nullable=True, maxLength=reading.MAX_SELECTOR)
        for setting in reading.SETTINGS
    },
}


def _rules_schema() -> dict:
    by_name = {setting.name: setting for setting in rules.SETTINGS}
    lists = {"type": "array", "items": {"type": "string"}, "nullable": True}
    number = {"type": "integer", "nullable": True}
    answer = {
        "status": _told(by_name["response.status"], **number, minimum=200, maximum=299),
        "content_type": _told(
            by_name["response.content_type"],
            type="string",
            nullable=True,
            enum=[*(value for value, _ in by_name["response.content_type"].choices), None],
        ),
        "body": _told(by_name["response.body"], type="string", nullable=True, maxLength=rules.MAX_ANSWER_BYTES),
    }
    return {
        "type": "object",
        "description": "What the door lets through, beside who proved itself, and what it answers.",
        "properties": {
            "allowed_addresses": _told(by_name["allowed_addresses"], **lists, maxItems=rules.MAX_ADDRESSES),
            "rate_limit_per_minute": _told(
                by_name["rate_limit_per_minute"], **number, minimum=1, maximum=rules.MAX_PER_MINUTE
            ),
            "content_types": _told(by_name["content_types"], **lists, maxItems=rules.MAX_CONTENT_TYPES),
            "cors_origins": _told(by_name["cors_origins"], **lists, maxItems=rules.MAX_ORIGINS),
            "response": {"type": "object", "nullable": True, "properties": answer},
        },
    }


class SettingsField(serializers.Field):
    """An object of settings, of which only those that are given are stored."""

    default_error_messages = {"not_an_object": "Expected an object of settings."}

    def to_internal_value(self, data):
        if not isinstance(data, Mapping):
            self.fail("not_an_object")
        source = getattr(self.parent, "instance", None)
        try:
            return self.cleaned(getattr(source, self.field_name) if source else {}, data)
        except ConfigError as error:
            raise serializers.ValidationError({name: [words] for name, words in error.errors.items()}) from None


@extend_schema_field(_READING)
class ReadingField(SettingsField):
    def cleaned(self, stored: Mapping[str, object], given: Mapping[str, object]) -> dict[str, object]:
        return reading.clean({**stored, **given})

    def to_representation(self, stored):
        return {setting.name: stored.get(setting.name) for setting in reading.SETTINGS}


@extend_schema_field(_rules_schema())
class RulesField(SettingsField):
    def cleaned(self, stored: Mapping[str, object], given: Mapping[str, object]) -> dict[str, object]:
        return rules.clean(rules.merged(stored, given))

    def to_representation(self, stored):
        return {
            "allowed_addresses": stored.get("allowed_addresses", []),
            "rate_limit_per_minute": stored.get("rate_limit_per_minute"),
            "content_types": stored.get("content_types", []),
            "cors_origins": stored.get("cors_origins", []),
            "response": {"status": None, "content_type": None, "body": None, **stored["response"]}
            if "response" in stored
            else None,
        }
