"""Is the keyring the one that the secrets in this database were sealed with?"""

from collections.abc import Iterable

from django.apps import apps
from django.core.checks import Error, Tags, register
from django.db import ProgrammingError, models

from tenants.scope import system_scope
from vault.fields import Sealed, keyring, sealed_fields
from vault.keyring import KeyringError

SAMPLES = 5  # so many damaged rows in a row do not make a wrong keyring
NO_KEY = ""  # a value without the form of a sealed one names none


@register(Tags.database)
def keyring_opens_what_is_kept(app_configs, databases, **kwargs):
    """Run by `check --database default`, by `serve` at its start and by /readyz.

    Without its keyring a portal would refuse every genuine sender and could sign nothing.
    """
    try:
        trouble = keyring_trouble() if databases else ""
    except ProgrammingError:
        return []  # before the first migration there is nothing to open
    hint = "Restore the keyring file that this database was used with (KEYRING_FILE, or keyring.json in VAR)."
    return [Error(trouble, hint=hint, id="vault.E001")] if trouble else []


def keyring_trouble() -> str:
    """A sentence, or nothing. Tries the newest values of each sealed column: one that opens shows the right keyring.

    Where none of a column opens, a value elsewhere that the same key sealed can still show it: a damaged row that is
    alone in its column does not keep a portal from starting.
    """
    shown: set[str] = set()
    suspected: dict[str, str] = {}
    with system_scope():
        for model in apps.get_models():
            for field in sealed_fields(model):
                newest = model.objects.filter(**{f"{field.name}__isnull": False}).order_by("-pk")[:SAMPLES]
                opened, troubles = _look_at(newest, field)
                shown |= opened
                for key, trouble in () if opened else troubles.items():
                    suspected.setdefault(key, trouble)
    if shown:
        suspected.pop(NO_KEY, None)
    return next((trouble for key, trouble in suspected.items() if key not in shown), "")


def _look_at(rows: Iterable[models.Model], field: Sealed) -> tuple[set[str], dict[str, str]]:
    """The key whose value opened, and what is the matter with the values that came before it, by their key."""
    troubles: dict[str, str] = {}
    for row in rows:
        key = NO_KEY
        try:
            key = keyring().key_of(bytes(row.__dict__[field.attname]))
            getattr(row, field.attname)
        except KeyringError as error:
            troubles.setdefault(key, f"{row._meta.verbose_name.capitalize()} {row.pk}: {error}")
        else:
            return {key}, troubles
    return set(), troubles
