"""A secret with a life: issued, revealed once, live, retired with an overlap."""

import hashlib
from datetime import datetime, timedelta

from django.db import models
from django.utils import timezone

from tenants.models import TenantOwned
from tenants.scope import ScopedManager
from vault.fields import Sealed

OVERLAPS = {0: "none", 3600: "1 hour", 86400: "24 hours", 604800: "7 days"}  # seconds: label
DEFAULT_OVERLAP = 86400
TOUCH_INTERVAL = timedelta(seconds=30)


class CredentialQuerySet(models.QuerySet):
    def live(self, at: datetime | None = None):
        """Accepted at that moment, newest first."""
        at = at or timezone.now()
        return self.filter(models.Q(expires_at=None) | models.Q(expires_at__gt=at)).order_by("-id")

    def touch(self, at: datetime | None = None) -> None:
        """Note that these were used, at most twice a minute each."""
        at = at or timezone.now()
        stale = models.Q(last_used_at=None) | models.Q(last_used_at__lt=at - TOUCH_INTERVAL)
        self.filter(stale).update(last_used_at=at)


class Credential(TenantOwned):
    """One secret of something. Concrete models add a foreign key to what it belongs to.

    `value` is sealed; where only a comparison is ever needed and the value was drawn at random, `digest`
    (SHA-256) alone is kept. `expires_at` is null while it is the current one and is set when it is retired.
    """

    key_id = models.CharField(max_length=32, editable=False)
    value = Sealed(null=True)
    digest = models.BinaryField(max_length=32, null=True, editable=False)
    last_four = models.CharField(max_length=4, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, editable=False)
    last_used_at = models.DateTimeField(null=True, editable=False)

    objects = ScopedManager.from_queryset(CredentialQuerySet)()

    class Meta:
        abstract = True
        ordering = ["-id"]

    def __str__(self):
        return f"…{self.last_four}"

    @classmethod
    def issue(cls, secret: str, *, keep_value: bool, known_by: str = "", **owner) -> "Credential":
        """Keep a new secret: sealed where the value is needed again, else its digest.

        People tell secrets apart by their last four characters; `known_by` is what to take them from where people
        know something else, as the public key of a pair.
        """
        known_by = known_by or secret
        credential = cls(last_four=known_by[-4:] if len(known_by) >= 16 else "", **owner)
        credential.key_id = credential.pk.hex[-12:]
        if keep_value:
            credential.value = secret
        else:
            credential.digest = hashlib.sha256(secret.encode()).digest()
        credential.save(force_insert=True)
        return credential

    @property
    def is_current(self) -> bool:
        return self.expires_at is None

    def retire(self, overlap: timedelta, at: datetime | None = None) -> None:
        """Stop accepting it after the overlap. An earlier end that was already set stays."""
        end = (at or timezone.now()) + overlap
        type(self).objects.filter(pk=self.pk).filter(models.Q(expires_at=None) | models.Q(expires_at__gt=end)).update(
            expires_at=end
        )
        self.refresh_from_db(fields=["expires_at"])
