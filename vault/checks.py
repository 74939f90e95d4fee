"""Is the keyring the one that the secrets in this database were sealed with?"""

from collections.abc import Iterable

from django.apps import apps
from django.core.checks import Error, Tags, register
from django.db import ProgrammingError, models

from tenants.scope import system_scope
from vault.fields import Sealed, sealed_fields
from vault.keyring import KeyringError

SAMPLES = 5  # so many damaged rows in a row do not make a wrong keyring


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
    """A sentence, or nothing. Tries the newest values of each sealed column: one that opens shows the right keyring."""
    with system_scope():
        for model in apps.get_models():
            for field in sealed_fields(model):
                trouble = _trouble(
                    model.objects.filter(**{f"{field.name}__isnull": False}).order_by("-pk")[:SAMPLES], field
                )
                if trouble:
                    return trouble
    return ""


def _trouble(rows: Iterable[models.Model], field: Sealed) -> str:
    trouble = ""
    for row in rows:
        try:
            getattr(row, field.attname)
        except KeyringError as error:
            trouble = f"{row._meta.verbose_name.capitalize()} {row.pk}: {error}"
        else:
            return ""
    return trouble
