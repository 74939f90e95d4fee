"""Who wants to be told, and have they agreed."""

import logging
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone

from egress.authentication import Authentication
from events.models import Severity
from events.wakeup import ROUTE, wake_on_commit
from subscriptions import challenges, flow, news, policies, receiver_auth, verification
from subscriptions.challenges import Failure
from subscriptions.failing import Failing
from subscriptions.failing_mail import FailingMail
from subscriptions.messages import CHALLENGE_TYPE, CONFIRMATION_TYPE, TEST_TYPE
from subscriptions.receiver_auth import ReceiverAuth
from subscriptions.signing import SCHEMES, UNKNOWN_SCHEME, HeaderNames, Scheme, generate_secret, public_key
from tenants.models import Tenant, TenantOwned, User
from tenants.scope import ScopedManager
from vault.credentials import Credential, CredentialQuerySet
from vault.fields import Sealed, SealedJSON
from vault.keyring import KeyringError

__all__ = ["Failing", "FailingMail", "Notice", "SigningSecret", "Subscription", "TooManyConfirmations", "WrongState"]

logger = logging.getLogger(__name__)

MAX_LIVE_SECRETS = 5  # each of them signs every message


class WrongState(Exception):
    """The subscription is not in a state that allows this; the text is a sentence for people."""


class TooManyConfirmations(Exception):
    """Too many confirmation links or challenges were sent lately. `wait` is in seconds."""

    def __init__(self, sentence: str, wait: float) -> None:
        super().__init__(sentence)
        self.wait = wait


class SubscriptionQuerySet(models.QuerySet):
    def present(self):
        """Not deleted."""
        return self.filter(deleted_at=None)

    def ready(self):
        """Agreed, and neither disabled nor deleted: these are sent events."""
        return self.present().filter(state=Subscription.State.IDLE)

    def with_last_sent(self):
        """`last_sent_at`: when a message was last signed for it, to within half a minute."""
        return self.annotate(last_sent_at=models.Max("signing_secrets__last_used_at"))

    @transaction.atomic
    def create_pending(
        self,
        tenant: Tenant,
        created_by: User | None,
        *,
        headers: dict[str, str] | None = None,
        auth: ReceiverAuth | None = None,
        **fields,
    ) -> tuple["Subscription", str]:
        """A new subscription, the question to its receiver on the way, and what that verifies with.

        One that is polled asks nobody: who fetches has agreed, and it is idle at once. This is the only time that a
        secret is told. Raises TooManyConfirmations.
        """
        subscription = self.model(tenant=tenant, created_by=created_by, **fields)
        subscription.seal_headers(headers or {})
        subscription.seal_auth(auth or ReceiverAuth())
        if subscription.is_polled:
            subscription.state = Subscription.State.IDLE
        subscription.save(force_insert=True)
        secret = subscription.issue_secret()
        subscription.ask_to_agree(timezone.now())
        return subscription, secret

    def confirm(self, token: str, at: datetime | None = None) -> "Subscription | None":
        """pending → idle, by whoever holds the token.

        None for one that is unknown, used, replaced or too old. The caller has nothing but the
        token, so this is called in the system's scope. One conditional UPDATE: of two requests
        with one token one wins, and a URL that changes meanwhile has taken the digest away.
        """
        at = at or timezone.now()
        digest = verification.digest(token)
        found = self.filter(confirmation_digest=digest).values_list("pk", flat=True).first()
        if found is None:
            return None
        agreed = self.present().filter(
            pk=found,
            state=Subscription.State.PENDING,
            confirmation_digest=digest,
            confirmation_expires_at__gt=at,
        )
        changed = agreed.update(
            state=Subscription.State.IDLE,
            state_reason="",
            state_changed_at=at,
            confirmed_at=at,
            confirmation_digest=None,
            confirmation_expires_at=None,
        )
        return self.select_related("tenant").get(pk=found) if changed else None


class Subscription(TenantOwned):
    """A receiver's endpoint. URL and header values are sealed, never read back by people (T1).

    Deleting keeps the row, so that what was sent still has a name, and destroys its secrets.
    """

    class State(models.TextChoices):
        """The legal arrows; each is one conditional UPDATE on the state it leaves.

        pending → idle        the receiver followed the confirmation link, or answered the challenge
        idle → disabled       by a person, by its answers (401/403 under post-once, 410 always, or by its rules), by a
                              challenge that it did not answer for days, or after five days of only failures
        disabled → idle       enabled again; only if it was confirmed by link for this URL, or is polled
        disabled → pending    enabled again, never confirmed for this URL, or challenged
        pending → disabled    by a person, or by its answers to the confirmation link or challenge
        any → pending         its URL changed
        """

        PENDING = "pending"
        IDLE = "idle"
        DISABLED = "disabled"

    class Verification(models.TextChoices):
        LINK = "link", "Confirmation link"
        CHALLENGE = "challenge", "Challenge"

    class Way(models.TextChoices):
        """How messages reach their receiver. What is polled has no URL, and nothing is ever posted."""

        PUSH = "push", "Posted to its URL"
        PULL = "pull", "Polled by its receiver"

    name = models.CharField(max_length=100)
    hint = models.CharField(max_length=200, blank=True)
    url = Sealed()
    event_types = ArrayField(models.CharField(max_length=128), default=list)
    min_severity = models.CharField(max_length=6, choices=Severity.choices, default=Severity.LOW)
    # Empty stands for all. Ids of what was deleted stay: without them the choice would be wider.
    sources = ArrayField(models.UUIDField(), default=list)
    sites = ArrayField(models.UUIDField(), default=list)
    filter = models.TextField(blank=True, default="")
    # Events that the filter said nothing of, since it was last changed; and of the last such event, what was wrong.
    filter_errors = models.PositiveBigIntegerField(default=0, editable=False)
    filter_error = models.CharField(max_length=300, blank=True, default="", editable=False)
    filter_error_event = models.UUIDField(null=True, editable=False)
    headers = SealedJSON(null=True)
    header_names = ArrayField(models.CharField(max_length=100), default=list, editable=False)
    auth_method = models.CharField(max_length=10, default=receiver_auth.NONE)
    auth_config = models.JSONField(default=dict)
    auth_secrets = SealedJSON(null=True)
    verification = models.CharField(max_length=10, choices=Verification.choices, default=Verification.LINK)
    signing = models.CharField(max_length=30, default="standard_webhooks")
    # Names of headers, as `signing.clean_options` made them. Empty stands for the defaults of the scheme.
    signing_options = models.JSONField(default=dict)
    shape = models.CharField(max_length=20, default="envelope")
    policy = models.CharField(max_length=20, default="standard")
    # Seconds, of the custom policy only; and rules as `answers.clean_rules` made them.
    delays = ArrayField(models.PositiveIntegerField(), null=True)
    rules = models.JSONField(default=dict)
    mode = models.CharField(max_length=10, default=flow.PARALLEL)
    max_per_minute = models.PositiveIntegerField(null=True, blank=True)
    max_in_flight = models.PositiveSmallIntegerField(null=True, blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING, editable=False)
    state_reason = models.CharField(max_length=200, blank=True, editable=False)
    state_changed_at = models.DateTimeField(default=timezone.now, editable=False)
    disabled_at = models.DateTimeField(
        null=True, editable=False, help_text="When it was last disabled; stays when it is enabled again."
    )
    confirmed_at = models.DateTimeField(null=True, editable=False)
    confirmation_digest = models.BinaryField(max_length=32, null=True, unique=True, editable=False)
    confirmation_expires_at = models.DateTimeField(null=True, editable=False)
    challenged_at = models.DateTimeField(
        null=True, editable=False, help_text="When its receiver last answered a challenge; null since one has failed."
    )
    # The notice of the challenge that counts. Answers to any other change nothing.
    challenge_notice = models.UUIDField(null=True, editable=False)
    challenge_code = models.CharField(max_length=5, blank=True, default="", editable=False)
    delivery = models.CharField(max_length=4, choices=Way.choices, default=Way.PUSH)
    # Of one that is polled: the place of the last message handed out, and up to which they were acknowledged.
    pull_place = models.BigIntegerField(default=0, editable=False)
    pull_acknowledged = models.BigIntegerField(default=0, editable=False)
    polled_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    created_by = models.ForeignKey(
        "tenants.User", on_delete=models.SET_NULL, null=True, editable=False, related_name="+"
    )
    deleted_at = models.DateTimeField(null=True, editable=False)

    objects = ScopedManager.from_queryset(SubscriptionQuerySet)()

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index("tenant", models.F("id").desc(), name="subscription_tenant_newest")]

    def __str__(self):
        return self.name

    def describe_state(self) -> str:
        return "deleted" if self.deleted_at else self.state

    @property
    def is_challenged(self) -> bool:
        return self.verification == self.Verification.CHALLENGE

    @property
    def is_polled(self) -> bool:
        return self.delivery == self.Way.PULL

    # Agreeing ------------------------------------------------------------------------------------

    def ask_to_agree(self, at: datetime) -> None:
        """The question of its verification, to one that has just become pending. Raises TooManyConfirmations."""
        if self.is_polled:
            return
        if self.is_challenged:
            self._refuse_too_many(at)
            self.ask_challenge(at)
        else:
            self.send_confirmation(at)

    @transaction.atomic
    def send_confirmation(self, at: datetime | None = None) -> "Notice":
        """Post a new link to the receiver; older ones stop working. Only while pending.

        Raises WrongState, TooManyConfirmations.
        """
        at = at or timezone.now()
        if self.is_challenged:
            raise WrongState("The receiver of this subscription answers challenges: it gets no confirmation link.")
        token = verification.new_token()
        # When the last link was sent can be told from when it ends.
        rested = Q(confirmation_expires_at=None) | Q(
            confirmation_expires_at__lte=at + verification.LIFETIME - verification.RESEND_INTERVAL
        )
        if not self._update(Q(state=self.State.PENDING) & rested, **_awaits(token, at)):
            self._refresh()
            if self.deleted_at or self.state != self.State.PENDING:
                raise WrongState(
                    f"A confirmation link is only sent while pending; this subscription is {self.describe_state()}."
                )
            sent_at = self.confirmation_expires_at - verification.LIFETIME
            wait = (sent_at + verification.RESEND_INTERVAL - at).total_seconds()
            raise TooManyConfirmations("A confirmation link was sent a moment ago.", wait)
        return self._post_confirmation(token, at)

    @transaction.atomic
    def change_url(self, url: str, at: datetime | None = None) -> bool:
        """any → pending: another receiver has to agree anew. The same URL changes nothing (False).

        Links to the old URL stop working in the same UPDATE. Raises TooManyConfirmations, and
        WrongState if it was deleted.
        """
        at = at or timezone.now()
        # Locked, or two changes at once would each compare with what the other has replaced.
        present = Subscription.objects.present().select_for_update().filter(pk=self.pk).first()
        if present is None:
            raise WrongState("The subscription was deleted.")
        if present.url == url:
            return False
        token = verification.new_token()
        self.url = url
        self._update(
            Q(),
            url=_sealed(self, "url"),
            state=self.State.PENDING,
            state_reason="Its URL changed.",
            state_changed_at=at,
            confirmed_at=None,
            challenged_at=None,
            challenge_code="",
            **({} if self.is_challenged else _awaits(token, at)),
        )
        if self.is_challenged:
            self.ask_to_agree(at)
        else:
            self._post_confirmation(token, at)
        return True

    def _refuse_too_many(self, at: datetime) -> None:
        """The statement before has locked the row: requests at once cannot pass the limit together."""
        recent = Notice.objects.filter(
            tenant_id=self.tenant_id,
            kind__in=[Notice.Kind.CONFIRMATION, Notice.Kind.CHALLENGE],
            created_at__gt=at - verification.PERIOD,
        )
        mine = recent.filter(subscription=self).count()
        if mine >= verification.MAX_PER_SUBSCRIPTION or recent.count() >= verification.MAX_PER_TENANT:
            raise TooManyConfirmations("Too many confirmation links and challenges were sent within a day.", 3600)

    def _post_confirmation(self, token: str, at: datetime) -> "Notice":
        self._refuse_too_many(at)
        # What has not left yet would bring a link that does not work any more.
        self.notices.filter(kind=Notice.Kind.CONFIRMATION, routed_at=None).delete()
        payload = {
            "message": "To receive events at this URL, open confirmation_url with GET.",
            "confirmation_url": verification.confirmation_url(token),
        }
        self._refresh()
        return self._notify(Notice.Kind.CONFIRMATION, CONFIRMATION_TYPE, payload, at)

    # Challenged (N1–N3) --------------------------------------------------------------------------

    def needs_challenge(self, at: datetime | None = None) -> bool:
        """Whether its receiver has to answer a challenge before it is sent anything else."""
        oldest = (at or timezone.now()) - challenges.VALIDITY
        return self.is_challenged and (self.challenged_at is None or self.challenged_at <= oldest)

    @transaction.atomic
    def send_challenge(self, at: datetime | None = None) -> "Notice":
        """Challenge the receiver now, because a person wants it. Raises WrongState, TooManyConfirmations."""
        at = at or timezone.now()
        self._lock()
        if not self.is_challenged:
            raise WrongState("The receiver of this subscription is not challenged.")
        if self.state == self.State.DISABLED:
            raise WrongState("The subscription is disabled: enable it, and its receiver is challenged.")
        challenged = self.notices.filter(kind=Notice.Kind.CHALLENGE)
        last = challenged.values_list("created_at", flat=True).first()
        if last is not None and last > at - verification.RESEND_INTERVAL:
            wait = (last + verification.RESEND_INTERVAL - at).total_seconds()
            raise TooManyConfirmations("A challenge was sent a moment ago.", wait)
        self._refuse_too_many(at)
        return self.ask_challenge(at)

    def ask_challenge(self, at: datetime) -> "Notice":
        """A new challenge on its way, the only one that counts. The caller holds the row's lock."""
        self.notices.filter(kind=Notice.Kind.CHALLENGE, routed_at=None).delete()
        notice = self._notify(Notice.Kind.CHALLENGE, CHALLENGE_TYPE, {"challenge": challenges.new_value()}, at)
        self._update(~Q(state=self.State.DISABLED), challenge_notice=notice.pk)
        self._refresh()
        return notice

    @transaction.atomic
    def pass_challenge(self, notice: UUID, at: datetime | None = None) -> bool:
        """Its receiver answered right: good for a day. False for a challenge that does not count any more.

        The notice fences: a URL that changed, or a state that did, has taken it away in the same UPDATE.
        """
        at = at or timezone.now()
        counts = Q(challenge_notice=notice)
        right = {"state_reason": "", "challenge_code": "", "challenge_notice": None, "challenged_at": at}
        agreed = {"state": self.State.IDLE, "state_changed_at": at, "confirmed_at": at}
        passed = self._update(counts & Q(state=self.State.PENDING), **agreed, **right)
        passed = passed or self._update(counts & Q(state=self.State.IDLE), **right)
        self._refresh()
        return passed

    @transaction.atomic
    def fail_challenge(self, notice: UUID, failure: Failure, *, is_last: bool) -> bool:
        """Its receiver did not: nothing is sent until it does. idle → disabled after the last attempt.

        False for a challenge that does not count any more.
        """
        counts = Q(challenge_notice=notice)
        failed = self._update(
            counts,
            state_reason=failure.sentence,
            challenge_code=failure.code,
            challenged_at=None,
        )
        idle = counts & Q(state=self.State.IDLE)
        if is_last and not self._move(idle, self.State.DISABLED, failure.sentence, failure.code):
            self._update(counts, challenge_notice=None)
        self._refresh()
        return failed

    # Ready, disabled, gone -----------------------------------------------------------------------

    def disable(self, reason: str) -> bool:
        """pending or idle → disabled, by a person. True if this call changed it."""
        return self._move(~Q(state=self.State.DISABLED), self.State.DISABLED, reason)

    @transaction.atomic
    def disable_by_answer(self, reason: str, at: datetime | None = None) -> bool:
        """The same because of what its receiver answered to a request that was made from `self`.

        Only if the state is still what was loaded then: a late answer says nothing about a URL
        that was changed, or an agreement that was given, meanwhile. People and programs are told.
        """
        as_loaded, trouble = Q(state=self.state, state_changed_at=self.state_changed_at), self.trouble
        if not self._move(as_loaded & ~Q(state=self.State.DISABLED), self.State.DISABLED, reason):
            return False
        news.tell_disabled(self, trouble.since if trouble else None, at or timezone.now())
        return True

    @transaction.atomic
    def enable(self) -> bool:
        """disabled → idle if this URL has agreed by link or is polled, else → pending, and it is asked.

        True if this call changed it. Raises TooManyConfirmations.
        """
        disabled = Q(state=self.State.DISABLED)
        confirmed = Q(confirmed_at__isnull=False, verification=self.Verification.LINK)
        if self._move(disabled & (confirmed | Q(delivery=self.Way.PULL)), self.State.IDLE):
            return True
        if not self._move(disabled, self.State.PENDING):
            return False
        self._update(Q(), challenged_at=None)
        self.ask_to_agree(timezone.now())
        return True

    @transaction.atomic
    def delete(self) -> bool:
        """Gone for people; secrets, URL, headers and authentication are destroyed. True if this call changed it."""
        self.url = ""
        gone = self._update(
            Q(),
            deleted_at=timezone.now(),
            url=_sealed(self, "url"),
            headers=None,
            header_names=[],
            auth_method=receiver_auth.NONE,
            auth_config={},
            auth_secrets=None,
            confirmation_digest=None,
            confirmation_expires_at=None,
            challenge_notice=None,
        )
        if gone:
            self.signing_secrets.all().delete()
            self.notices.filter(routed_at=None).delete()
        self.refresh_from_db()
        return gone

    # Its settings --------------------------------------------------------------------------------

    def seal_headers(self, headers: dict[str, str]) -> None:
        """Take clean headers: values sealed, names readable. Not saved yet."""
        self.headers = headers or None
        self.header_names = list(headers)

    def seal_auth(self, auth: ReceiverAuth) -> None:
        """Take a clean authentication: secrets sealed, the rest readable. Not saved yet."""
        self.auth_method, self.auth_config = auth.method, auth.config
        self.auth_secrets = auth.secrets or None

    def authentication(self) -> Authentication | None:
        """What its requests are sent with, opened. Raises KeyringError or ValueError where that is not possible."""
        auth = ReceiverAuth(self.auth_method, self.auth_config, self.auth_secrets or {})
        return receiver_auth.authentication(auth, owner=str(self.pk), receiver=self.url)

    def configure(self, *, headers: dict[str, str] | None = None, auth: ReceiverAuth | None = None, **fields) -> None:
        """Change name, event types and the like; headers and authentication as a whole. The URL has its own verb."""
        if fields.get("filter", self.filter) != self.filter:
            fields |= {"filter_errors": 0, "filter_error": "", "filter_error_event": None}
        for name, value in fields.items():
            setattr(self, name, value)
        if headers is not None:
            self.seal_headers(headers)
            fields |= {"headers": None, "header_names": None}
        if auth is not None:
            self.seal_auth(auth)
            fields |= {"auth_method": None, "auth_config": None, "auth_secrets": None}
        if fields:
            self.save(update_fields=list(fields))

    # How its receiver fares ----------------------------------------------------------------------

    @property
    def delivery_policy(self) -> policies.Policy:
        """When it is tried again, and what an answer means that no rule of its own names."""
        return policies.policy_of(self.policy, self.delays)

    @property
    def trouble(self) -> Failing | None:
        """How its receiver fails in the present state; None where it does not."""
        failing = getattr(self, "failing", None)
        return failing if failing is not None and failing.state_changed_at == self.state_changed_at else None

    # In which order, and how fast --------------------------------------------------------------

    @property
    def sending_mode(self) -> flow.Mode:
        """In which order it is sent what it asked for."""
        return flow.MODES.get(self.mode, flow.MODES[flow.ORDERED])  # an unknown one must not hurry

    @property
    def is_limited(self) -> bool:
        return self.max_per_minute is not None or self.max_in_flight is not None

    # Signing -------------------------------------------------------------------------------------

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

    # Testing -------------------------------------------------------------------------------------

    @transaction.atomic
    def send_test(self, at: datetime | None = None) -> "Notice":
        """A test event (S7, T5), sent the way events are. Raises WrongState unless idle."""
        self._lock()
        if self.state == self.State.PENDING:
            raise WrongState(
                "The receiver has not confirmed its URL yet: "
                f"until then nothing but the {self.get_verification_display().lower()} is sent to it."
            )
        if self.state == self.State.DISABLED:
            raise WrongState("The subscription is disabled: enable it to send a test.")
        payload = {"company": self.tenant.name}
        return self._notify(Notice.Kind.TEST, TEST_TYPE, payload, at or timezone.now())

    def _notify(self, kind: str, event_type: str, payload: dict, at: datetime) -> "Notice":
        notice = Notice(
            tenant_id=self.tenant_id,
            subscription=self,
            kind=kind,
            event_type=event_type,
            payload=payload,
            created_at=at,
        )
        notice.save(force_insert=True)
        wake_on_commit(ROUTE)
        return notice

    # The conditional UPDATE ----------------------------------------------------------------------

    def _move(self, leaving: Q, state: str, reason: str = "", code: str = "") -> bool:
        """Outstanding links and challenges die with every move: no arrow leads from what they were sent for."""
        at = timezone.now()
        moved = self._update(
            leaving,
            state=state,
            state_reason=reason[:200],
            state_changed_at=at,
            confirmation_digest=None,
            confirmation_expires_at=None,
            challenge_notice=None,
            challenge_code=code,
            **({"disabled_at": at} if state == self.State.DISABLED else {}),
        )
        self._refresh()
        return moved

    def _update(self, condition: Q, **changes) -> bool:
        return bool(Subscription.objects.present().filter(condition, pk=self.pk).update(**changes))

    def _lock(self) -> None:
        """Wait for whoever is changing it, and see what they made of it. Raises WrongState."""
        present = Subscription.objects.present().filter(pk=self.pk).select_for_update()
        if present.values_list("pk").first() is None:
            raise WrongState("The subscription was deleted.")
        self._refresh()

    def _refresh(self) -> None:
        self.refresh_from_db(fields=_MOVING)


_MOVING = [
    "state",
    "state_reason",
    "state_changed_at",
    "disabled_at",
    "confirmed_at",
    "confirmation_expires_at",
    "challenged_at",
    "challenge_notice",
    "challenge_code",
    "deleted_at",
]


def _awaits(token: str, at: datetime) -> dict:
    return {
        "confirmation_digest": verification.digest(token),
        "confirmation_expires_at": at + verification.LIFETIME,
    }


def _sealed(instance: models.Model, name: str) -> bytes:
    """What a sealed field writes to the database: an UPDATE of a queryset does not seal."""
    return instance._meta.get_field(name).value_from_object(instance)


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

    subscription = models.ForeignKey(Subscription, on_delete=models.CASCADE, related_name="signing_secrets")
    public_key = models.CharField(max_length=60, blank=True, default="", editable=False)

    objects = ScopedManager.from_queryset(SigningSecretQuerySet)()


class Notice(TenantOwned):
    """A message that the portal itself owes one subscription: a confirmation link, a challenge or a test.

    The row is how it travels to `deliveries/`, which makes a delivery of it. The payload is
    sealed: a confirmation link is a secret until it was used, and so is a challenge.
    """

    class Kind(models.TextChoices):
        CONFIRMATION = "confirmation", "Confirmation link"
        TEST = "test", "Test event"
        CHALLENGE = "challenge", "Challenge"

    subscription = models.ForeignKey(Subscription, on_delete=models.CASCADE, related_name="notices")
    kind = models.CharField(max_length=12, choices=Kind.choices)
    event_type = models.CharField(max_length=128)
    payload = SealedJSON()
    created_at = models.DateTimeField(default=timezone.now)
    routed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index("id", name="notice_unrouted", condition=models.Q(routed_at=None))]

    def __str__(self):
        return f"{self.kind} {self.id}"
