"""Who may send, and how they prove it."""

import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta

from django.conf import settings
from django.db import models, transaction
from django.utils import timezone

from sources.authentication import METHODS, ConfigError, LiveSecret
from tenants.models import TenantOwned
from tenants.permissions import Permission
from tenants.scope import ScopedManager
from vault.credentials import TOUCH_INTERVAL, Credential, CredentialQuerySet
from vault.keyring import KeyringError

INGEST_KEY_BYTES = 24
MAX_LIVE_SECRETS = 3  # the current one and two that are on their way out
JWT = "jwt"


def new_ingest_key() -> str:
    """The unguessable part of an ingest URL (P1): 192 random bits, URL-safe."""
    return secrets.token_urlsafe(INGEST_KEY_BYTES)


class SourceQuerySet(models.QuerySet):
    def present(self):
        """Not deleted."""
        return self.filter(deleted_at=None)

    def visible_to(self, actor):
        """Those that this actor may know of (D4): the rest is, for them, not there.

        What only its holders see, whoever may configure sees too: else nobody could take it over. An API key is
        nobody's creator or assigned user.
        """
        if actor.can(Permission.CONFIGURE):
            return self
        seen = models.Q(visibility=Source.Visibility.EVERYONE)
        if actor.user is not None:
            seen |= models.Q(created_by=actor.user) | models.Q(assigned_to=actor.user)
        return self.filter(seen)

    def refused_by_require_jwt(self):
        """Those that receive nothing while the tenant demands tokens (D2)."""
        return self.exclude(auth_method=JWT)

    def touch(self, at: datetime | None = None) -> None:
        """Note that these received a post that proved itself, at most twice a minute each."""
        at = at or timezone.now()
        stale = models.Q(last_received_at=None) | models.Q(last_received_at__lt=at - TOUCH_INTERVAL)
        self.filter(stale).update(last_received_at=at)

    def create_with_secret(
        self,
        tenant,
        created_by,
        name: str,
        method: str,
        config: Mapping[str, object],
        secret: str | None = None,
        *,
        secret_later: bool = False,
        **fields,
    ) -> tuple["Source", str | None]:
        """A new source and its secret in clear, which is None for a method without one (P5-P10).

        `secret` is one that a person typed; without it one is drawn, or, with `secret_later`, none is there until
        the first rotation, and nothing is accepted: some senders make theirs only once they know the URL. `config`
        is cleaned here. Raises `ConfigError` with a message for every wrong setting, and for `secret` or `method`.
        """
        if method not in METHODS:
            raise ConfigError({"method": "There is no such method."})
        cleaned, errors = {}, {}
        try:
            cleaned = METHODS[method].clean_config(config)
        except ConfigError as error:
            errors |= error.errors
        try:
            value = None if secret_later else _secret_for(method, cleaned, secret)
        except ConfigError as error:
            errors |= error.errors
        if errors:
            raise ConfigError(errors)
        with transaction.atomic():
            source = self.create(
                tenant=tenant,
                created_by=created_by,
                name=name,
                auth_method=method,
                auth_config=cleaned,
                **fields,
            )
            if value is not None:
                SourceCredential.issue_for(source, value, typed=secret is not None)
        return source, value


def _secret_for(method: str, config: Mapping[str, object], typed: str | None) -> str | None:
    """The typed secret if it will do, else a new one; None where the method has no secret."""
    if typed is not None:
        return METHODS[method].clean_secret(typed, config)
    return METHODS[method].generate_secret(config) or None


class Source(TenantOwned):
    """One sender's way in.

    `reading` says where in a post things stand (`sources.reading`), `rules` what the door lets through
    (`sources.rules`). Deleting keeps the row, so that what it sent still has a name, and destroys its secrets.
    """

    class Status(models.TextChoices):
        """active ⇄ paused; either → deleted (`deleted_at`)."""

        ACTIVE = "active"
        PAUSED = "paused"

    class Kind(models.TextChoices):
        EVENT = "event"
        INCIDENT = "incident"

    class StreamType(models.TextChoices):
        AUTO = "auto", "Inferred"
        JSON = "json", "JSON"
        LINES = "lines", "Lines"
        JSON_ARRAY = "json_array", "JSON array"
        XML = "xml", "XML"

    class Visibility(models.TextChoices):
        """Who sees the source: everybody of the tenant; or its creator, the assigned user and who may configure."""

        EVERYONE = "everyone", "Everybody"
        ASSIGNED = "assigned", "Creator and assigned user"

    class Reveal(models.TextChoices):
        """Whether a secret can be looked at again after it was made (D4)."""

        ONCE = "once", "Once, when it is made"
        HOLDERS = "holders", "By its creator and the assigned user, each look on record"

    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.EVENT)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.ACTIVE, editable=False)
    ingest_key = models.CharField(max_length=64, unique=True, default=new_ingest_key, editable=False)
    auth_method = models.CharField(max_length=20)
    auth_config = models.JSONField(default=dict)
    preset = models.CharField(max_length=32, blank=True)
    stream_type = models.CharField(max_length=12, choices=StreamType.choices, default=StreamType.AUTO)
    event_type = models.CharField(
        max_length=128, blank=True, help_text="The type of its events where the payload names none."
    )
    reading = models.JSONField(default=dict, blank=True)
    rules = models.JSONField(default=dict, blank=True)
    assigned_to = models.ForeignKey("tenants.User", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    visibility = models.CharField(max_length=10, choices=Visibility.choices, default=Visibility.EVERYONE)
    reveal = models.CharField(max_length=10, choices=Reveal.choices, default=Reveal.ONCE)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    created_by = models.ForeignKey(
        "tenants.User", on_delete=models.SET_NULL, null=True, editable=False, related_name="+"
    )
    last_received_at = models.DateTimeField(null=True, editable=False)
    deleted_at = models.DateTimeField(null=True, editable=False)

    objects = ScopedManager.from_queryset(SourceQuerySet)()

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index("tenant", models.F("id").desc(), name="source_tenant_newest")]

    def __str__(self):
        return self.name

    @property
    def method(self):
        """The way its senders prove themselves (`sources.authentication`)."""
        return METHODS[self.auth_method]

    @property
    def url(self) -> str:
        """Where its sender posts to.

        Not a secret like those of the credentials, but not for everybody (docs/sources.md).
        """
        return f"{settings.PORTAL_URL}/in/{self.ingest_key}"

    def url_for_site(self, slug: str) -> str:
        """The same for one site of the tenant (D5)."""
        return f"{self.url}/{slug}"

    @property
    def masked_url(self) -> str:
        """The URL for those who may only look: enough to tell two apart, nothing to post to."""
        return f"{settings.PORTAL_URL}/in/{self.ingest_key[:4]}••••••••"

    @property
    def current_credential(self) -> "SourceCredential | None":
        return self.credentials.filter(expires_at=None).first()

    def obstacle_to_reveal(self, actor) -> str:
        """Why this actor may not look at the secret again; empty for its creator and its assigned user, if the
        source was made for that (D4).
        """
        if self.reveal != self.Reveal.HOLDERS:
            return "The secret of this source was shown once, when it was made. If it is lost, rotate it."
        if actor.kind != "user":
            return "Only a person who is signed in may look at a secret, no API key."
        if actor.user.pk not in (self.created_by_id, self.assigned_to_id):
            return "Only the creator and the assigned user of this source may look at its secret."
        return ""

    def current_secret(self) -> tuple[str, str] | None:
        """The secret in clear and its key id; None where only a digest of it was kept, or none is.

        Whether somebody may see it is `obstacle_to_reveal`. Raises `KeyringError`.
        """
        credential = self.current_credential
        if credential is None or credential.value is None:
            return None
        return credential.value, credential.key_id

    def rotate_secret(self, overlap: timedelta, secret: str | None = None) -> tuple[str, datetime]:
        """A new secret from now on: `(secret, when the previous one ends)` (B1).

        The previous one, and any that still lives from an earlier rotation, ends after `overlap`
        unless its end was nearer. At most MAX_LIVE_SECRETS are accepted at once; the oldest make
        room. Rotations of one source wait for each other on its row, so each retires what the one
        before it issued. Raises `ConfigError` for a typed secret that will not do, and
        `Source.DoesNotExist` if the source was deleted meanwhile.
        """
        if not self.method.has_secret:
            raise ConfigError({"secret": "This method has no secret."})
        value = _secret_for(self.auth_method, self.auth_config, secret)
        with transaction.atomic():
            self.reveal = Source.objects.present().select_for_update().only("reveal").get(pk=self.pk).reveal
            now = timezone.now()
            live = list(self.credentials.live(now))
            if secret is not None and any(credential.matches(value) for credential in live):
                raise ConfigError({"secret": "This secret is in use already. Choose another."})
            for credential in live[: MAX_LIVE_SECRETS - 1]:
                credential.retire(overlap, now)
            for credential in live[MAX_LIVE_SECRETS - 1 :]:
                credential.retire(timedelta(0), now)
            SourceCredential.issue_for(self, value, typed=secret is not None)
            self.credentials.destroy_ended(now)
        return value, now + overlap

    def end_overlap(self) -> int:
        """Let only the current secret be accepted, from now on. Returns how many ended by it."""
        now = timezone.now()
        with transaction.atomic():
            ended = self.credentials.filter(expires_at__gt=now).update(expires_at=now)
            self.credentials.destroy_ended(now)
        return ended

    def regenerate_url(self) -> str:
        """Another URL; the old one is dead with the commit.

        Raises `Source.DoesNotExist` if the source was deleted meanwhile.
        """
        if not self._change(ingest_key=new_ingest_key()):
            raise Source.DoesNotExist
        return self.url

    def pause(self) -> bool:
        """active → paused. True if this call changed it."""
        return self._change(Source.objects.filter(status=self.Status.ACTIVE), status=self.Status.PAUSED)

    def resume(self) -> bool:
        """paused → active. True if this call changed it."""
        return self._change(Source.objects.filter(status=self.Status.PAUSED), status=self.Status.ACTIVE)

    def delete(self, using=None, keep_parents=False) -> bool:
        """Shut the door for good. True if this call did it.

        URL and secrets are gone, the row stays as the name of what it sent. The key gets a form
        that no URL can carry, so it can neither be found nor collide.
        """
        with transaction.atomic():
            deleted = self._change(deleted_at=timezone.now(), ingest_key=f"deleted:{self.pk.hex}")
            if deleted:
                self.credentials.all().delete()
        return deleted

    def _change(self, candidates=None, **values) -> bool:
        """Set columns if the row is still there and among the candidates.

        True if this call changed it.
        """
        if candidates is None:
            candidates = Source.objects.all()
        changed = candidates.present().filter(pk=self.pk).update(**values)
        self.refresh_from_db(fields=list(values))
        return bool(changed)


class SourceCredentialQuerySet(CredentialQuerySet):
    def kept(self):
        """Those that are not wiped: the live ones and those that ended within the hour, newest first."""
        return self.filter(models.Q(value__isnull=False) | models.Q(digest__isnull=False)).order_by("-id")

    def destroy_ended(self, at: datetime | None = None) -> int:
        """Wipe the secrets of those that are accepted no more; that they were there stays known."""
        ended = self.filter(expires_at__lte=at or timezone.now())
        kept = models.Q(value__isnull=False) | models.Q(digest__isnull=False)
        return ended.filter(kept).update(value=None, digest=None)


class SourceCredential(Credential):
    """A secret of a source; `Source` has the verbs."""

    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="credentials")

    objects = ScopedManager.from_queryset(SourceCredentialQuerySet)()

    class Meta(Credential.Meta):
        abstract = False

    @classmethod
    def issue_for(cls, source: Source, secret: str, *, typed: bool) -> "SourceCredential":
        """Keep a secret of a source.

        What a person chose may be guessed from a bare digest, so it is sealed even where only a
        comparison is needed. So is what its holders may look at again.
        """
        return cls.issue(
            secret,
            keep_value=typed or source.method.keeps_value or source.reveal == Source.Reveal.HOLDERS,
            tenant_id=source.tenant_id,
            source=source,
        )

    def matches(self, secret: str) -> bool:
        """Whether it is this very secret; False if the kept value does not open any more."""
        try:
            value = self.value
        except KeyringError:
            return False
        kept = LiveSecret(
            id=str(self.pk),
            value=None if value is None else value.encode(),
            digest=None if self.digest is None else bytes(self.digest),
        )
        return kept.matches(secret.encode())
