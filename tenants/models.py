"""Who owns what, and who may do what."""

import hashlib
import secrets
import zlib
from datetime import timedelta

from django.apps import apps
from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models
from django.db.models.functions import Coalesce, Greatest, Lower
from django.utils import timezone
from django.utils.text import slugify

from tenants.ids import uuid7
from tenants.permissions import Role, roles_above
from tenants.scope import ScopedManager
from tenants.wording import field_in_words, value_in_words

INVITATION_LIFETIME = timedelta(days=7)
API_KEY_TOUCH_INTERVAL = timedelta(minutes=1)


class UserManager(BaseUserManager):
    def create_user(self, email: str, password: str | None = None, **fields) -> "User":
        """Nobody signs up alone: an operator or an invitation vouches for the address, so it counts as verified.

        Without that row allauth would take the address for an unconfirmed new one, and drop it when its owner asks
        for another, before that one is confirmed.
        """
        user = self.model(email=email.strip().lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        addresses = apps.get_model("account", "EmailAddress").objects
        addresses.create(user=user, email=user.email, verified=True, primary=True)
        return user

    def create_with_one_time_password(self, email: str, **fields) -> tuple["User", str]:
        """A user and a random password that has to be changed at the first sign-in."""
        password = secrets.token_urlsafe(12)
        return self.create_user(email, password, must_change_password=True, **fields), password

    def create_operator(self, email: str) -> tuple["User", str]:
        return self.create_with_one_time_password(email, is_staff=True)

    def get_by_natural_key(self, email):
        return self.get(email=email.strip().lower())


class User(AbstractBaseUser, PermissionsMixin):
    """A person. Belongs to any number of tenants; an operator (`is_staff`) looks after the portal itself."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=100, blank=True)
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    must_change_password = models.BooleanField(default=False)
    date_joined = models.DateTimeField(default=timezone.now)

    objects = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"

    def __str__(self):
        return self.email


class TenantQuerySet(models.QuerySet):
    def with_activity(self):
        """`member_count`, and `last_activity_at`: the last act in its audit log, use of a key or sign-in of anybody."""
        members = Membership.objects.filter(tenant=models.OuterRef("pk")).order_by().values("tenant")
        keys = ApiKey.objects.filter(tenant=models.OuterRef("pk")).order_by().values("tenant")
        acts = AuditEntry.objects.filter(tenant=models.OuterRef("pk")).order_by("-id")
        return self.annotate(
            member_count=Coalesce(models.Subquery(members.annotate(n=models.Count("pk")).values("n")), 0),
            last_activity_at=Greatest(
                models.Subquery(acts.values("at")[:1]),
                models.Subquery(keys.annotate(at=models.Max("last_used_at")).values("at")),
                models.Subquery(members.annotate(at=models.Max("user__last_login")).values("at")),
            ),
        )


class TenantManager(ScopedManager.from_queryset(TenantQuerySet)):
    scope_field = "pk"


def webhooks_for_new_tenants() -> bool:
    return settings.WEBHOOKS_FOR_NEW_TENANTS


class Tenant(models.Model):
    """A customer of the portal: the wall that no row of another customer comes through."""

    class Status(models.TextChoices):
        ACTIVE = "active"
        SUSPENDED = "suspended"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=100)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.ACTIVE)
    retention_days = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        help_text="Days that events and deliveries are kept; empty: as long as the portal keeps them.",
    )
    require_jwt = models.BooleanField(
        default=False, help_text="Refuse every intake and command request without a valid JSON Web Token (D2)."
    )
    webhooks = models.BooleanField(
        default=webhooks_for_new_tenants,
        help_text="Whether it may have subscriptions, and is sent events. Operators switch that (S1).",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = TenantManager()

    class Meta:
        ordering = ["name"]

    def __str__(self):
        return self.name

    @property
    def is_active(self) -> bool:
        return self.status == self.Status.ACTIVE

    def suspend(self) -> bool:
        """active → suspended. True if this call changed it."""
        return self._move(self.Status.ACTIVE, self.Status.SUSPENDED)

    def resume(self) -> bool:
        """suspended → active. True if this call changed it."""
        return self._move(self.Status.SUSPENDED, self.Status.ACTIVE)

    def _move(self, old, new) -> bool:
        changed = Tenant.objects.filter(pk=self.pk, status=old).update(status=new)
        self.refresh_from_db(fields=["status"])
        return bool(changed)

    def lock_members(self) -> None:
        """One at a time may change who holds which role here, until the end of the transaction.

        NO KEY: rows that refer to the tenant (every insert does) are not held up.
        """
        Tenant.objects.select_for_update(no_key=True).get(pk=self.pk)


class TenantOwned(models.Model):
    """A row that belongs to one tenant and is seen in that tenant's scope only."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, editable=False, related_name="+")

    objects = ScopedManager()

    class Meta:
        abstract = True


class Site(TenantOwned):
    """A place of the tenant's (branch, plant, customer) that events can be sent for: `/in/<key>/<slug>` (D5)."""

    name = models.CharField(max_length=100)
    slug = models.SlugField(max_length=60)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint("tenant", "slug", name="site_slug_unique_in_tenant")]

    def __str__(self):
        return self.name

    def save(self, *args, **kwargs):
        self.slug = self.slug or slugify(self.name)[:60]
        super().save(*args, **kwargs)


class LastOwner(Exception):
    """A tenant keeps one owner who can sign in; this one is the last."""


class Membership(TenantOwned):
    """A person's place in a tenant. Every request looks it up, so an end is felt at the next one."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["created_at"]
        constraints = [models.UniqueConstraint("tenant", "user", name="membership_once")]

    def __str__(self):
        return f"{self.user} ({self.role})"

    def change_role(self, role: str, *, keep_api_keys: bool = False) -> int:
        """Returns how many API keys were revoked. Raises LastOwner. Call `tenant.lock_members()` first.

        Whoever made a key may still know it, so keys that can do more than its maker now may are revoked with
        the change, and invitations that hand out more are taken back.
        """
        if role != Role.OWNER:
            self._refuse_last_owner()
        self.role = role
        self.save(update_fields=["role"])
        return self._withdraw(roles_above(role), keep_api_keys)

    def end(self, *, keep_api_keys: bool = False) -> int:
        """Remove the person from the tenant, with the API keys they made. Returns and raises as `change_role`."""
        self._refuse_last_owner()
        revoked = self._withdraw(Role.values, keep_api_keys)
        Membership.objects.filter(pk=self.pk).delete()
        return revoked

    def _refuse_last_owner(self) -> None:
        owners = Membership.objects.filter(tenant_id=self.tenant_id, role=Role.OWNER, user__is_active=True)
        if self.role == Role.OWNER and not owners.exclude(pk=self.pk).exists():
            raise LastOwner

    def _withdraw(self, roles: list[str], keep_api_keys: bool) -> int:
        handed_out = {"tenant_id": self.tenant_id, "role__in": roles}
        Invitation.objects.open().filter(invited_by=self.user_id, **handed_out).revoke()
        if keep_api_keys:
            return 0
        return ApiKey.objects.live().filter(created_by=self.user_id, **handed_out).revoke()


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


class InvitationQuerySet(models.QuerySet):
    def open(self, at=None):
        return self.filter(accepted_at=None, revoked_at=None, expires_at__gt=at or timezone.now())

    def in_state(self, state: str, at=None):
        """Those whose `state` is that."""
        at = at or timezone.now()
        undecided = self.filter(accepted_at=None, revoked_at=None)
        return {
            "open": self.open(at),
            "expired": undecided.filter(expires_at__lte=at),
            "accepted": self.exclude(accepted_at=None),
            "revoked": self.filter(accepted_at=None).exclude(revoked_at=None),
        }[state]

    def by_token(self, token: str):
        return self.filter(digest=_digest(token))

    def revoke(self) -> int:
        return self.filter(accepted_at=None, revoked_at=None).update(revoked_at=timezone.now())


class Invitation(TenantOwned):
    """A link by which a person joins a tenant with a role. The link's token is kept as a digest only."""

    class State(models.TextChoices):
        OPEN = "open", "Open"
        EXPIRED = "expired", "Expired"
        ACCEPTED = "accepted", "Accepted"
        REVOKED = "revoked", "Revoked"

    email = models.EmailField()
    role = models.CharField(max_length=10, choices=Role.choices)
    digest = models.BinaryField(max_length=32, unique=True, editable=False)
    invited_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    objects = ScopedManager.from_queryset(InvitationQuerySet)()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self):
        return f"{self.email} ({self.role})"

    @classmethod
    def issue(
        cls, *, tenant: Tenant, email: str, role: str, invited_by: User | None = None
    ) -> tuple["Invitation", str]:
        """A new invitation and the token of its link, which is not kept. An open one to the address ends."""
        email = email.strip().lower()
        cls.objects.open().filter(tenant=tenant, email=email).revoke()
        token = secrets.token_urlsafe(32)
        invitation = cls.objects.create(
            tenant=tenant,
            email=email,
            role=role,
            invited_by=invited_by,
            digest=_digest(token),
            expires_at=timezone.now() + INVITATION_LIFETIME,
        )
        return invitation, token

    def accept(self, user: User) -> Membership | None:
        """Make `user` a member. None when it was used, revoked or outlived meanwhile. A member keeps the role held."""
        won = Invitation.objects.open().filter(pk=self.pk).update(accepted_at=timezone.now())
        if not won:
            return None
        membership, _ = Membership.objects.get_or_create(
            tenant_id=self.tenant_id, user=user, defaults={"role": self.role}
        )
        return membership

    def revoke(self) -> bool:
        return bool(Invitation.objects.filter(pk=self.pk).revoke())

    @property
    def state(self) -> str:
        """accepted, revoked, expired or open."""
        if self.accepted_at:
            return "accepted"
        if self.revoked_at:
            return "revoked"
        return "expired" if self.expires_at <= timezone.now() else "open"


class ApiKeyQuerySet(models.QuerySet):
    def live(self, at=None):
        at = at or timezone.now()
        return self.filter(revoked_at=None).filter(models.Q(expires_at=None) | models.Q(expires_at__gt=at))

    def by_token(self, token: str):
        return self.filter(digest=_digest(token))

    def revoke(self) -> int:
        """Also the keys made with these, and so on: whoever held a leaked one may have made them. Returns how many."""
        revoked, wave = 0, self.filter(revoked_at=None)
        while keys := list(wave.values_list("pk", flat=True)):
            revoked += ApiKey.objects.filter(pk__in=keys).update(revoked_at=timezone.now())
            wave = ApiKey.objects.filter(made_with__in=keys, revoked_at=None)
        return revoked


class ApiKey(TenantOwned):
    """`pk_`, 160 random bits and a checksum in hex. Shown once; the SHA-256 is what is kept."""

    PREFIX = "pk_"

    name = models.CharField(max_length=100)
    role = models.CharField(max_length=10, choices=Role.choices)
    digest = models.BinaryField(max_length=32, unique=True, editable=False)
    last_four = models.CharField(max_length=4, editable=False)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    made_with = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, editable=False, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)

    objects = ScopedManager.from_queryset(ApiKeyQuerySet)()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self):
        return self.name

    @classmethod
    def issue(
        cls,
        *,
        tenant: Tenant,
        name: str,
        role: str,
        created_by: User | None = None,
        made_with: "ApiKey | None" = None,
        expires_at=None,
    ) -> tuple["ApiKey", str]:
        """A new key and its token, `pk_…`. `made_with` is the key that asked for it, if one did."""
        body = secrets.token_hex(20)
        token = f"{cls.PREFIX}{body}{cls.checksum(body)}"
        key = cls.objects.create(
            tenant=tenant,
            name=name,
            role=role,
            created_by=created_by,
            made_with=made_with,
            expires_at=expires_at,
            digest=_digest(token),
            last_four=token[-4:],
        )
        return key, token

    @staticmethod
    def checksum(body: str) -> str:
        """Eight hex digits, so that secret scanners and typing errors are told apart without the database."""
        return f"{zlib.crc32(body.encode()):08x}"

    @classmethod
    def well_formed(cls, token: str) -> bool:
        body, check = token[len(cls.PREFIX) : -8], token[-8:]
        return token.startswith(cls.PREFIX) and token.isascii() and cls.checksum(body) == check

    def touch(self, at=None) -> None:
        """Note the use, at most once a minute: a read must not cost a write each time."""
        at = at or timezone.now()
        if self.last_used_at is None or at - self.last_used_at >= API_KEY_TOUCH_INTERVAL:
            ApiKey.objects.filter(pk=self.pk).update(last_used_at=at)

    def revoke(self) -> int:
        """How many keys it ended: this one and those made with it; 0 if it was revoked already."""
        return ApiKey.objects.filter(pk=self.pk).revoke()

    @property
    def state(self) -> str:
        """live, expired or revoked."""
        if self.revoked_at:
            return "revoked"
        return "expired" if self.expires_at and self.expires_at <= timezone.now() else "live"


class AuditEntry(models.Model):
    """What was done, by whom, to what. Append-only: the database refuses UPDATE, DELETE and TRUNCATE.

    `tenant` is null for what operators do to the portal itself. Labels are copies, so that an entry still
    reads when the person or the object is gone.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, null=True, related_name="+")
    at = models.DateTimeField(default=timezone.now)
    actor_kind = models.CharField(max_length=10)
    actor_id = models.UUIDField(null=True)
    actor_label = models.CharField(max_length=254)
    action = models.CharField(max_length=60)
    object_type = models.CharField(max_length=60)
    object_id = models.UUIDField(null=True)
    object_label = models.CharField(max_length=254)
    address = models.GenericIPAddressField(null=True)
    change = models.JSONField(default=dict)

    objects = ScopedManager()

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "audit entries"
        indexes = [
            models.Index("tenant", models.F("id").desc(), name="audit_tenant_newest"),
            models.Index("tenant", Lower("action"), name="audit_tenant_action"),
        ]

    def __str__(self):
        return f"{self.actor_label} {self.action} {self.object_label}"

    @property
    def change_lines(self) -> list[dict]:
        """`change` for a page: what, and either old and new or one word."""
        return [
            {"field": field_in_words(field)}
            | (
                {"old": value_in_words(field, value[0]), "new": value_in_words(field, value[1])}
                if isinstance(value, list) and len(value) == 2
                else {"word": value_in_words(field, value)}
            )
            for field, value in self.change.items()
        ]

    @classmethod
    def record(cls, actor, action: str, target: models.Model, change: dict | None = None) -> "AuditEntry":
        """Write one entry in the caller's transaction, so that the act and its trace are kept or lost together.

        `change` is shown to people: `{"name": ["old", "new"]}`. Never put a secret into it.
        """
        tenant_id = target.pk if isinstance(target, Tenant) else getattr(target, "tenant_id", None)
        return cls.objects.create(
            tenant_id=tenant_id or (actor.tenant.pk if actor.tenant else None),
            actor_kind=actor.kind,
            actor_id=actor.identifier,
            actor_label=actor.label[:254],
            action=action,
            object_type=target._meta.model_name,
            object_id=target.pk,
            object_label=str(target)[:254],
            address=actor.address or None,
            change=change or {},
        )
