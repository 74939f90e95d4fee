"""Where messages go: subscriptions as they are now, with what is worked out from them kept while they do not change.

What is sealed is opened once, not for every message. What is kept is never believed by itself: each batch
of claims asks for the versions first, and one that differs in a single byte is read anew. So a subscription that was
changed, disabled or deleted is seen so by every claim that was made afterwards.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.db import connection, models

from deliveries.lines import Steps
from egress.authentication import Authentication
from egress.blotting import MASK, spellings
from events.columns import Uuids
from subscriptions import signing
from subscriptions.failing import Failing
from subscriptions.models import SigningSecret, Subscription
from vault.keyring import KeyringError

KEPT = 10_000
LONG_PATH = 16  # characters: a short one says nothing of its URL (T1), and stands in many a receiver's error

# A row's version is where it stands and who wrote it. Secrets only come and go, and end.
# That its receiver fails, and is spared, goes along, and whether its tenant has webhooks; all else about it is asked
# where it counts.
_VERSIONS = """
    SELECT subscription.id, subscription.xmin::text || subscription.ctid::text, (
        SELECT string_agg(secret.id::text || coalesce(secret.expires_at::text, ''), ',' ORDER BY secret.id)
        FROM subscriptions_signingsecret AS secret WHERE secret.subscription_id = subscription.id
    ), (
        SELECT concat(failing.state_changed_at, '/', failing.opened_at) FROM subscriptions_failing AS failing
        WHERE failing.subscription_id = subscription.id
    ), (
        SELECT webhooks FROM tenants_tenant WHERE id = subscription.tenant_id
    ) FROM subscriptions_subscription AS subscription WHERE subscription.id = ANY($1)
"""

logger = logging.getLogger(__name__)


class Endpoint:
    """One subscription, as it was read. `problem` is why nothing can be sent to it, if so."""

    __slots__ = (
        "_secrets",
        "_signers",
        "_until",
        "auth",
        "confidential",
        "headers",
        "problem",
        "shown",
        "subscription",
        "url",
        "version",
    )

    def __init__(self, version: tuple[Any, ...], subscription: Subscription, secrets: Iterable[SigningSecret]) -> None:
        self.version = version
        self.subscription = subscription
        self.problem: KeyringError | ValueError | None = None
        self.url, self.headers, self.shown = "", (), ()
        self.confidential: tuple[str, ...] = ()  # what is not kept of an answer that repeats it
        self.auth: Authentication | None = None
        self._secrets: list[tuple[datetime | None, str]] = []
        self._signers: dict[str, signing.Signer] = {}
        self._until: datetime | None = None
        try:
            self.url = subscription.url
            self.headers = tuple((subscription.headers or {}).items())
            self.shown = tuple((name, MASK) for name, _ in self.headers)
            self.confidential = spellings([self.url, *_long_path(self.url), *(value for _, value in self.headers)])
            self.auth = subscription.authentication()
        except (KeyringError, ValueError) as error:
            self.problem = error
        for secret in secrets:
            try:
                self._secrets.append((secret.expires_at, secret.value))
            except (KeyringError, ValueError) as error:
                logger.error("Signing secret %s does not open: %s", secret.pk, type(error).__name__)
                self.problem = error if isinstance(error, KeyringError) and not self._secrets else self.problem

    @property
    def is_switched_on(self) -> bool:
        """Whether its tenant has webhooks (S1)."""
        return self.version[-1]

    def signer(self, scheme: str, at: datetime) -> signing.Signer:
        """What signs now. Raises ValueError where there is no secret for it."""
        if self._until is not None and at >= self._until:
            self._signers.clear()
        signer = self._signers.get(scheme)
        if signer is None:
            live = [(end, value) for end, value in self._secrets if end is None or end > at]
            self._until = min((end for end, _ in live if end is not None), default=None)
            signer = signing.Signer(scheme, [value for _, value in live], self.subscription.signing_options)
            self._signers[scheme] = signer
        return signer


def _long_path(url: str) -> list[str]:
    parts = urlsplit(url)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return [path] if len(path) >= LONG_PATH else []


class Endpoints:
    """Those that were read lately."""

    def __init__(self) -> None:
        self._kept: dict[UUID, Endpoint] = {}

    def current(self, ids: Iterable[UUID]) -> Steps[dict[UUID, Endpoint]]:
        """The endpoints of these subscriptions as they are now."""
        wanted = list(set(ids))
        rows = yield _VERSIONS, [Uuids(wanted)]
        found, changed = {}, {}
        for row in rows:
            kept = self._kept.get(row[0])
            if kept is not None and kept.version == row:
                found[row[0]] = kept
            else:
                changed[row[0]] = row
        if changed:
            read = yield from _read(changed)
            found |= read
            self._keep(read)
        return found

    def _keep(self, read: dict[UUID, Endpoint]) -> None:
        for pk, endpoint in read.items():
            self._kept.pop(pk, None)
            if endpoint.problem is None:  # a key that comes back changes no row
                self._kept[pk] = endpoint
        while len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]


def _read(versions: dict[UUID, tuple[Any, ...]]) -> Steps[dict[UUID, Endpoint]]:
    """What is read may be newer than its version: then the next look finds it changed once more."""
    ids = Uuids(list(versions))
    rows = yield f"{selected(Subscription)} WHERE id = ANY($1)", [ids]
    subscriptions = instances(Subscription, rows)
    rows = yield f"{selected(SigningSecret)} WHERE subscription_id = ANY($1) ORDER BY id DESC", [ids]
    secrets: dict[UUID, list[SigningSecret]] = {}
    for secret in instances(SigningSecret, rows):
        secrets.setdefault(secret.subscription_id, []).append(secret)
    rows = yield f"{selected(Failing)} WHERE subscription_id = ANY($1)", [ids]
    failing = {one.subscription_id: one for one in instances(Failing, rows)}
    for one in subscriptions:
        Subscription.failing.related.set_cached_value(one, failing.get(one.pk))  # as select_related does
    return {one.pk: Endpoint(versions[one.pk], one, secrets.get(one.pk, ())) for one in subscriptions}


def selected(model: type[models.Model]) -> str:
    """SELECT … FROM, for `instances`. JSON comes as text, which every connection reads alike."""
    columns = ", ".join(
        f"{field.column}::text" if isinstance(field, models.JSONField) else field.column
        for field in model._meta.concrete_fields
    )
    return f"SELECT {columns} FROM {model._meta.db_table}"  # noqa: S608 (names from our models)


def instances(model: type[models.Model], rows: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Model instances of rows that were not read by the ORM."""
    fields = model._meta.concrete_fields
    names = [field.attname for field in fields]
    converters = [field.get_db_converters(connection) for field in fields]
    made = []
    for row in rows:
        values = list(row)
        for position, converting in enumerate(converters):
            for convert in converting:
                values[position] = convert(values[position], None, connection)
        made.append(model.from_db(connection.alias, names, values))
    return made
