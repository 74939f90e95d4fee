"""What every serializer that writes has in common: no typing error passes for done."""

import unicodedata
from collections.abc import Mapping

from rest_framework import serializers

# Those that turn the direction of the text around them: a name could read as another one.
_TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def one_plain_line(text: str) -> None:
    """A validator for names: no line breaks, no control characters, nothing that hides or turns what is read."""
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") or character in _TURNS for character in text):
        raise serializers.ValidationError("Use one line of plain text, without control characters.")


def refuse_taken(name: str, present, instance=None) -> str:
    """The name, unless one of `present` has it already, in whatever case: two could not be told apart in lists.

    Asked for people's sake, not guaranteed: of two requests at once both may pass, which does no harm beyond that.
    A name that is kept is not asked about, so rows that share one from before can still be changed.
    """
    if instance is not None and instance.name == name:
        return name
    others = present.filter(name__iexact=name)
    if instance is not None:
        others = others.exclude(pk=instance.pk)
    if others.exists():
        raise serializers.ValidationError("There is one of this name already. Choose another.", "unique")
    return name


class KnownFieldsOnly:
    """A serializer that refuses what it would not write.

    DRF ignores such fields: `{"expires": …}` would then make a key that never expires, and say 201.
    """

    def to_internal_value(self, data):
        mistakes = {}
        if isinstance(data, Mapping):
            writable = {field.field_name for field in self._writable_fields}
            for name in data:
                if name not in writable:
                    known = name in self.fields
                    mistakes[str(name)] = ["This cannot be set here." if known else "There is no such field."]
        try:
            values = super().to_internal_value(data)
        except serializers.ValidationError as error:
            raise serializers.ValidationError({**mistakes, **error.detail}) from None
        if mistakes:
            raise serializers.ValidationError(mistakes)
        return values
