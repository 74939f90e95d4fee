"""Who wants to be told, of what, and how: a subscription, in parts.

agreement.py        whether its receiver wants it: pending → idle → disabled
signing_secrets.py  how its messages are signed
notices.py          what the portal itself owes it
failing.py          how its receiver fails
"""

from datetime import datetime

from django.contrib.postgres.fields import ArrayField
from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone

from egress.authentication import Authentication
from events.models import Severity
from subscriptions import flow, news, policies, receiver_auth, verification
from subscriptions.agreement import Agreement, TooManyConfirmations, WrongState
from subscriptions.failing import Failing
from subscriptions.failing_mail import FailingMail
from subscriptions.messages import TEST_TYPE
from subscriptions.notices import Notice
from subscriptions.receiver_auth import ReceiverAuth
from subscriptions.signing_secrets import Signed, SigningSecret
from tenants.models import Tenant, User
from tenants.scope import ScopedManager
from vault.fields import SealedJSON, as_stored

__all__ = ["Failing", "FailingMail", "Notice", "SigningSecret", "Subscription", "TooManyConfirmations", "WrongState"]


class SubscriptionQuerySet(models.QuerySet):
    def present(self):
        """Not deleted."""
        return self.filter(deleted_at=None)

    def ready(self):
        """Agreed, and neither disabled nor deleted, of a tenant that has webhooks: these are sent events."""
        return self.present().filter(state=Subscription.State.IDLE, tenant__webhooks=True)

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


class Subscription(Agreement, Signed):
    """A receiver's endpoint. URL and header values are sealed, never read back by people (T1).

    Deleting keeps the row, so that what was sent still has a name, and destroys its secrets.
    """

    name = models.CharField(max_length=100)
    hint = models.CharField(max_length=200, blank=True)
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
    shape = models.CharField(max_length=20, default="envelope")
    policy = models.CharField(max_length=20, default="standard")
    # Seconds, of the custom policy only; and rules as `answers.clean_rules` made them.
    delays = ArrayField(models.PositiveIntegerField(), null=True)
    rules = models.JSONField(default=dict)
    mode = models.CharField(max_length=10, default=flow.PARALLEL)
    max_per_minute = models.PositiveIntegerField(null=True, blank=True)
    max_in_flight = models.PositiveSmallIntegerField(null=True, blank=True)
    # Of one that is polled: the place of the last message handed out, and up to which they were acknowledged.
    pull_place = models.BigIntegerField(default=0, editable=False)
    pull_acknowledged = models.BigIntegerField(default=0, editable=False)
    polled_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    created_by = models.ForeignKey(
        "tenants.User", on_delete=models.SET_NULL, null=True, editable=False, related_name="+"
    )

    objects = ScopedManager.from_queryset(SubscriptionQuerySet)()

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index("tenant", models.F("id").desc(), name="subscription_tenant_newest")]

    def __str__(self):
        return self.name

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

    @transaction.atomic
    def disable_by_answer(self, reason: str, at: datetime | None = None) -> bool:
        """pending or idle → disabled, because of what its receiver answered to a request that was made from `self`.

        Only if the state is still what was loaded then: a late answer says nothing about a URL
        that was changed, or an agreement that was given, meanwhile. People and programs are told.
        """
        as_loaded, trouble = Q(state=self.state, state_changed_at=self.state_changed_at), self.trouble
        if not self._move(as_loaded & ~Q(state=self.State.DISABLED), self.State.DISABLED, reason):
            return False
        news.tell_disabled(self, trouble.since if trouble else None, at or timezone.now())
        return True

    # In which order, and how fast --------------------------------------------------------------

    @property
    def sending_mode(self) -> flow.Mode:
        """In which order it is sent what it asked for."""
        return flow.MODES.get(self.mode, flow.MODES[flow.ORDERED])  # an unknown one must not hurry

    @property
    def is_limited(self) -> bool:
        return self.max_per_minute is not None or self.max_in_flight is not None

    # Gone ----------------------------------------------------------------------------------------

    @transaction.atomic
    def delete(self) -> bool:
        """Gone for people; secrets, URL, headers and authentication are destroyed. True if this call changed it."""
        self.url = ""
        gone = self._update(
            Q(),
            deleted_at=timezone.now(),
            url=as_stored(self, "url"),
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

    # Testing -------------------------------------------------------------------------------------

    @transaction.atomic
    def send_test(self, at: datetime | None = None) -> Notice:
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
        return self._owe(Notice.Kind.TEST, TEST_TYPE, payload, at or timezone.now())
