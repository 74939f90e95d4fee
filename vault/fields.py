"""Model fields whose value is sealed in the database and opened only when somebody asks for it."""

import json
from functools import cache
from pathlib import Path

from django.conf import settings
from django.db import models

from vault.keyring import Keyring, is_sealed


@cache
def _keyring_at(path: str) -> Keyring:
    return Keyring(Path(path))


def keyring() -> Keyring:
    return _keyring_at(str(settings.KEYRING_FILE))


class Sealed(models.BinaryField):
    """Text, sealed with the keyring and bound to its table, column and row.

    Reading the attribute opens it; loading a row does not, so lists cost no decryption and a traceback of a
    row shows no secret. Assigning seals at once. None stays NULL. Cannot be filtered on.
    """

    def __init__(self, *args, **kwargs):
        kwargs["editable"] = False
        super().__init__(*args, **kwargs)

    def contribute_to_class(self, cls, name, private_only=False):
        super().contribute_to_class(cls, name, private_only)
        setattr(cls, self.attname, _SealedAttribute(self))

    def get_default(self):
        """None, not BinaryField's empty bytes: a value that was never given must not pass as one."""
        return super().get_default() or None

    def binding(self, pk) -> str:
        return f"{self.model._meta.db_table}.{self.column}:{pk}"

    def to_plain(self, opened: bytes):
        return opened.decode()

    def to_bytes(self, value) -> bytes:
        return value.encode()

    def value_from_object(self, obj):
        return obj.__dict__.get(self.attname)

    def pre_save(self, model_instance, add):
        return model_instance.__dict__.get(self.attname)

    def get_db_prep_value(self, value, connection, prepared=False):
        """The last gate before the database: `update(field="text")` and `bulk_update` bring plain text here."""
        if value is not None and not (isinstance(value, bytes | memoryview) and is_sealed(bytes(value))):
            raise TypeError(f"{self.name} is sealed: assign it to the instance and save that.")
        return super().get_db_prep_value(value, connection, prepared)

    def get_lookup(self, lookup_name):
        if lookup_name != "isnull":
            raise TypeError(f"{self.name} is sealed and cannot be searched.")
        return super().get_lookup(lookup_name)


class SealedJSON(Sealed):
    """The same for a JSON value."""

    def to_plain(self, opened: bytes):
        return json.loads(opened)

    def to_bytes(self, value) -> bytes:
        return json.dumps(value).encode()


class _SealedAttribute:
    """Keeps the sealed bytes in the instance's `__dict__`, where a refresh from the database puts them too."""

    def __init__(self, field: Sealed):
        self.field = field

    def __get__(self, instance, owner=None):
        if instance is None:
            return self
        name = self.field.attname
        if name not in instance.__dict__:
            instance.refresh_from_db(fields=[name])
        sealed = instance.__dict__[name]
        if sealed is None:
            return None
        return self.field.to_plain(keyring().open(bytes(sealed), self.field.binding(instance.pk)))

    def __set__(self, instance, value):
        # Bytes are what the database holds, sound or not: a list must not fail over one row. Writes are checked.
        if value is not None and not isinstance(value, bytes | memoryview):
            value = keyring().seal(self.field.to_bytes(value), self.field.binding(instance.pk))
        instance.__dict__[self.field.attname] = value


def sealed_fields(model: type[models.Model]) -> list[Sealed]:
    return [field for field in model._meta.concrete_fields if isinstance(field, Sealed)]


def as_stored(instance: models.Model, name: str) -> bytes:
    """What a sealed field writes to the database: an UPDATE of a queryset does not seal."""
    return instance._meta.get_field(name).value_from_object(instance)
