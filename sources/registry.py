"""What the ingest door has to know of a source, by the key in its URL.

A `SourceConfig` is a frozen copy: verifying a request touches no model. `find` is the one seam; a
registry that keeps copies in the process and refreshes them when the database says so fits behind
it.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from types import MappingProxyType
from uuid import UUID

from django.utils import timezone

from sources.authentication import LiveSecret
from sources.models import Source, SourceCredential
from sources.rules import Rules, compiled
from tenants.models import Site
from tenants.scope import system_scope
from vault.keyring import KeyringError

log = logging.getLogger(__name__)

# Anything else cannot be a key; a NUL or a lone surrogate must not reach the database driver
# either.
_KEY = re.compile(r"[A-Za-z0-9_-]{16,64}")


def is_key(text: str) -> bool:
    """Whether it could be the key of a source at all."""
    return _KEY.fullmatch(text) is not None


@dataclass(frozen=True)
class SourceConfig:
    """One source as it is at this moment. `status` is `active` or `paused`; a deleted source is not
    found at all.

    `secrets` are the live ones, newest first, then those that ended lately, which prove nothing and help to see why a
    sender fails; `unreadable` of the live ones could not be opened; the first of them ends at
    `valid_until`, and with it this copy. `sites` maps a slug to the site's id. `require_jwt` is the tenant's (D2).
    """

    id: UUID
    tenant_id: UUID
    name: str
    kind: str
    status: str
    tenant_active: bool
    method: str
    config: Mapping[str, object]
    secrets: tuple[LiveSecret, ...]
    stream_type: str
    event_type: str
    sites: Mapping[str, UUID]
    unreadable: int = 0
    valid_until: datetime | None = None
    require_jwt: bool = False
    preset: str = ""
    reading: Mapping[str, object] = field(default_factory=dict)
    rules: Mapping[str, object] = field(default_factory=dict)

    @cached_property
    def door_rules(self) -> Rules:
        return compiled(self.rules)


class DatabaseRegistry:
    """Reads the database at each call, so a revoked secret stops working with the commit that
    revoked it.
    """

    def find(self, ingest_key: str) -> SourceConfig | None:
        """The source with this key, or None where there is none (any more).

        In whatever scope it is called.
        """
        if not is_key(ingest_key):
            return None
        with system_scope():
            source = Source.objects.present().select_related("tenant").filter(ingest_key=ingest_key).first()
            if source is None:
                return None
            now = timezone.now()
            kept = list(source.credentials.kept())
            live = [one for one in kept if one.expires_at is None or one.expires_at > now]
            secrets, unreadable = opened(live)
            ended, _ = opened(one for one in kept if one not in live)
            return SourceConfig(
                id=source.pk,
                tenant_id=source.tenant_id,
                name=source.name,
                kind=source.kind,
                status=source.status,
                tenant_active=source.tenant.is_active,
                method=source.auth_method,
                config=MappingProxyType(source.auth_config),
                secrets=secrets + ended,
                unreadable=unreadable,
                valid_until=min((one.expires_at for one in live if one.expires_at), default=None),
                require_jwt=source.tenant.require_jwt,
                preset=source.preset,
                reading=MappingProxyType(source.reading),
                rules=MappingProxyType(source.rules),
                stream_type=source.stream_type,
                event_type=source.event_type,
                sites=MappingProxyType(dict(Site.objects.filter(tenant_id=source.tenant_id).values_list("slug", "pk"))),
            )


def opened(credentials: Iterable[SourceCredential]) -> tuple[tuple[LiveSecret, ...], int]:
    """The secrets of these, in their order, and how many more could not be opened.

    One that does not open (a key missing from the keyring, a changed row) is left out and logged: the others go
    on working. Whom only it could have proved must not be told that the proof is wrong.
    """
    results = [_open(credential) for credential in credentials]
    secrets = tuple(secret for secret in results if secret is not None)
    return secrets, len(results) - len(secrets)


def _open(credential: SourceCredential) -> LiveSecret | None:
    try:
        value = credential.value
    except KeyringError as error:
        log.error(
            "The secret %s of source %s cannot be used. %s",
            credential.pk,
            credential.source_id,
            error,
        )
        return None
    return LiveSecret(
        id=str(credential.pk),
        key_id=credential.key_id,
        value=None if value is None else value.encode(),
        digest=None if credential.digest is None else bytes(credential.digest),
        ends_at=None if credential.expires_at is None else credential.expires_at.timestamp(),
    )
