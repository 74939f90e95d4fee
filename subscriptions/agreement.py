"""Has the receiver agreed to be told: pending → idle → disabled (T4, N1–N3).

Every arrow is one conditional UPDATE on the state that it leaves, so that of two who pull at once one wins. Links and
challenges that are under way die with every move: no arrow leads from what they were sent for.
"""

from datetime import datetime
from uuid import UUID

from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone

from events.wakeup import ROUTE, wake_on_commit
from subscriptions import challenges, verification
from subscriptions.challenges import Failure
from subscriptions.messages import CHALLENGE_TYPE, CONFIRMATION_TYPE
from subscriptions.notices import Notice
from subscriptions.signals import disabled
from tenants.models import TenantOwned
from vault.fields import Sealed, as_stored


class WrongState(Exception):
    """The subscription is not in a state that allows this; the text is a sentence for people."""


class TooManyConfirmations(Exception):
    """Too many confirmation links or challenges were sent lately. `wait` is in seconds."""

    def __init__(self, sentence: str, wait: float) -> None:
        super().__init__(sentence)
        self.wait = wait


class Agreement(TenantOwned):
    """The part of a subscription that says whether its receiver wants it, and the verbs that change that."""

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

    url = Sealed()
    delivery = models.CharField(max_length=4, choices=Way.choices, default=Way.PUSH)
    verification = models.CharField(max_length=10, choices=Verification.choices, default=Verification.LINK)
    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING, editable=False)
    state_reason = models.CharField(max_length=200, blank=True, editable=False)
    state_changed_at = models.DateTimeField(default=timezone.now, editable=False)
    disabled_at = models.DateTimeField(
        null=True, editable=False, help_text="When it was last disabled; stays when it is enabled again."
    )
    unsent_from = models.DateTimeField(
        null=True, editable=False, help_text="The oldest of the deliveries that waited when it was disabled."
    )
    untold_from = models.DateTimeField(
        null=True, editable=False, help_text="The oldest of the events that had not been routed when it was disabled."
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
    deleted_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        abstract = True

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
    def send_confirmation(self, at: datetime | None = None) -> Notice:
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
        present = type(self).objects.present().select_for_update().filter(pk=self.pk).first()
        if present is None:
            raise WrongState("The subscription was deleted.")
        if present.url == url:
            return False
        token = verification.new_token()
        self.url = url
        self._update(
            Q(),
            url=as_stored(self, "url"),
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

    def _post_confirmation(self, token: str, at: datetime) -> Notice:
        self._refuse_too_many(at)
        # What has not left yet would bring a link that does not work any more.
        self.notices.filter(kind=Notice.Kind.CONFIRMATION, routed_at=None).delete()
        payload = {
            "message": "To receive events at this URL, open confirmation_url with GET.",
            "confirmation_url": verification.confirmation_url(token),
        }
        self._refresh()
        return self._owe(Notice.Kind.CONFIRMATION, CONFIRMATION_TYPE, payload, at)

    # Challenged (N1–N3) --------------------------------------------------------------------------

    def needs_challenge(self, at: datetime | None = None) -> bool:
        """Whether its receiver has to answer a challenge before it is sent anything else."""
        oldest = (at or timezone.now()) - challenges.VALIDITY
        return self.is_challenged and (self.challenged_at is None or self.challenged_at <= oldest)

    @transaction.atomic
    def send_challenge(self, at: datetime | None = None) -> Notice:
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

    def ask_challenge(self, at: datetime) -> Notice:
        """A new challenge on its way, the only one that counts. The caller holds the row's lock."""
        self.notices.filter(kind=Notice.Kind.CHALLENGE, routed_at=None).delete()
        notice = self._owe(Notice.Kind.CHALLENGE, CHALLENGE_TYPE, {"challenge": challenges.new_value()}, at)
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

    # Ready and disabled --------------------------------------------------------------------------

    def disable(self, reason: str) -> bool:
        """pending or idle → disabled, by a person. True if this call changed it."""
        return self._move(~Q(state=self.State.DISABLED), self.State.DISABLED, reason)

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

    # Telling -------------------------------------------------------------------------------------

    def _owe(self, kind: str, event_type: str, payload: dict, at: datetime) -> Notice:
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

    @transaction.atomic
    def _move(self, leaving: Q, state: str, reason: str = "", code: str = "") -> bool:
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
        if moved and state == self.State.DISABLED:
            disabled.send(type(self), subscription=self)
        return moved

    def _update(self, condition: Q, **changes) -> bool:
        return bool(type(self).objects.present().filter(condition, pk=self.pk).update(**changes))

    def _lock(self) -> None:
        """Wait for whoever is changing it, and see what they made of it. Raises WrongState."""
        present = type(self).objects.present().filter(pk=self.pk).select_for_update()
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
