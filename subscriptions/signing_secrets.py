"""What messages are signed with: the secrets of a subscription, and how they change without a gap (S3–S6)."""

import logging
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from django.db import models, transaction
from django.utils import timezone

from subscriptions.agreement import WrongState
from subscriptions.signing import SCHEMES, UNKNOWN_SCHEME, HeaderNames, Scheme, generate_secret, public_key
from tenants.scope import ScopedManager
from vault.credentials import Credential, CredentialQuerySet
from vault.keyring import KeyringError

logger = logging.getLogger(__name__)

MAX_LIVE_SECRETS = 5  # each of them signs every message


class SigningSecretQuerySet(CredentialQuerySet):
    def live_for(self, subscription_ids: Iterable[UUID], at: datetime | None = None) -> dict[UUID, list[str]]:
        """The opened values that sign for each subscription, newest first; [] where none does.

        One that does not open is left out: what belongs to other subscriptions must still be sent.
        """
        secrets: dict[UUID, list[str]] = defaultdict(list)
        live = self.live(at).filter(subscription_id__in=list(subscription_ids))
        for secret in live.only("id", "subscription_id", "value"):
            try:
                secrets[secret.subscription_id].append(secret.value)
            except KeyringError as error:
                logger.error("Signing secret %s does not open: %s", secret.pk, error)
        return secrets


class SigningSecret(Credential):
    """What messages are signed with: always kept sealed, since signing needs the value.

    Of a key pair `value` is the private key, and `public_key` stands beside it in the clear: it is no secret.
    """

    subscription = models.ForeignKey(
        "subscriptions.Subscription", on_delete=models.CASCADE, related_name="signing_secrets"
    )
    public_key = models.CharField(max_length=60, blank=True, default="", editable=False)

    objects = ScopedManager.from_queryset(SigningSecretQuerySet)()


class Signed(models.Model):
    """The part of a subscription that says how its messages are signed. It is an Agreement too, whose lock is taken."""

    signing = models.CharField(max_length=30, default="standard_webhooks")
    # Names of headers, as `signing.clean_options` made them. Empty stands for the defaults of the scheme.
    signing_options = models.JSONField(default=dict)

    class Meta:
        abstract = True

    @property
    def scheme(self) -> Scheme:
        """A list must not fail over one row: for one that the portal does not know nothing is signed or sent."""
        return SCHEMES.get(self.signing, UNKNOWN_SCHEME)

    @property
    def chosen_options(self) -> dict[str, str]:
        """The options of its scheme, with the defaults where nobody chose."""
        stored = self.signing_options
        return self.scheme.defaults() | (stored if isinstance(stored, dict) else {})

    @property
    def signing_headers(self) -> HeaderNames:
        """Where its messages carry id, timestamp and signature."""
        return self.scheme.headers(self.chosen_options)

    def issue_secret(self) -> str:
        """Make a secret; what is returned is what the receiver verifies with.

        That is the secret itself or, of a key pair, the public key: a private key is never told. "" where nothing
        is signed.
        """
        if not self.scheme.signs:
            return ""
        secret = generate_secret(self.signing)
        public = public_key(self.signing, secret)
        SigningSecret.issue(
            secret,
            keep_value=True,
            known_by=public or secret,
            public_key=public,
            subscription=self,
            tenant_id=self.tenant_id,
        )
        return public or secret

    def live_secrets(self, at: datetime | None = None) -> list[str]:
        """What signs at that moment, newest first."""
        return SigningSecret.objects.live_for([self.pk], at)[self.pk]

    @property
    def can_overlap(self) -> bool:
        """Whether two secrets can sign one message, so that a receiver may change at leisure."""
        return self.scheme.carries_two

    @transaction.atomic
    def rotate_secret(self, overlap: timedelta, at: datetime | None = None) -> tuple[str, datetime | None]:
        """What the receiver verifies with from now on, and until when the previous one signs too (None: not any more).

        Where the scheme carries one signature, only the newest signs whatever the overlap (S6).
        Raises WrongState.
        """
        at = at or timezone.now()
        self._lock()
        if not self.scheme.signs:
            raise WrongState("This subscription's messages are not signed: there is no secret to rotate.")
        if not self.can_overlap:
            overlap = timedelta(0)
        live = self.signing_secrets.live(at)
        if overlap and live.count() >= MAX_LIVE_SECRETS:
            raise WrongState(f"{MAX_LIVE_SECRETS} secrets sign already: end the overlap, or rotate without one.")
        for previous in live.defer("value"):
            previous.retire(overlap, at)
        self._forget_expired(at)
        secret = self.issue_secret()
        return secret, at + overlap if overlap else None

    @transaction.atomic
    def end_overlap(self, at: datetime | None = None) -> bool:
        """From now on only the newest secret signs. True if this call changed it."""
        at = at or timezone.now()
        self._lock()
        previous = self.signing_secrets.live(at).filter(expires_at__isnull=False)
        ended = previous.update(expires_at=at)
        self._forget_expired(at)
        return bool(ended)

    def _forget_expired(self, at: datetime) -> None:
        """A secret that signs nothing any more is not kept."""
        self.signing_secrets.filter(expires_at__lte=at).delete()
