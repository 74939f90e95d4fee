"""What the endpoints of tenancy take and give. Secrets and links appear in the answer that makes them, never again."""

from django.conf import settings
from django.utils import timezone
from django.utils.text import slugify
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied

from tenants.fields import KnownFieldsOnly, one_plain_line
from tenants.models import ApiKey, AuditEntry, Invitation, Membership, Site, Tenant, User
from tenants.permissions import Role

NAME = {"name": {"validators": [one_plain_line]}}


class GrantableRole(serializers.ChoiceField):
    """A role that the actor may hand out; more than that is refused as a whole (403), not as a typing error."""

    def __init__(self, **kwargs):
        kwargs.pop("choices", None)
        super().__init__(choices=Role.choices, **kwargs)

    def to_internal_value(self, data):
        role = super().to_internal_value(data)
        actor = self.context["request"].actor
        if not actor.may_hand_out(role):
            raise PermissionDenied(f"The role {actor.role} cannot hand out the role {role}.")
        return role


class PersonSerializer(serializers.ModelSerializer):
    class Meta:
        model = User
        fields = ["id", "email", "name"]
        read_only_fields = fields


class MemberSerializer(serializers.ModelSerializer):
    user = PersonSerializer(read_only=True)
    role = GrantableRole()

    class Meta:
        model = Membership
        fields = ["id", "user", "role", "created_at"]


class MemberRoleSerializer(KnownFieldsOnly, serializers.Serializer):
    role = GrantableRole()
    keep_api_keys = serializers.BooleanField(
        default=False,
        write_only=True,
        help_text="Keep API keys the person made that can do more than the new role; else they are revoked.",
    )


class InvitationSerializer(KnownFieldsOnly, serializers.ModelSerializer):
    role = GrantableRole()
    state = serializers.CharField(read_only=True, help_text="open, accepted, revoked or expired.")
    invited_by = serializers.EmailField(source="invited_by.email", read_only=True, allow_null=True, default=None)

    class Meta:
        model = Invitation
        fields = ["id", "email", "role", "state", "invited_by", "created_at", "expires_at"]
        read_only_fields = ["expires_at"]

    def validate_email(self, email: str) -> str:
        email = email.strip().lower()
        if Membership.objects.filter(tenant=self.context["request"].actor.tenant, user__email=email).exists():
            raise serializers.ValidationError("This person is a member already.")
        return email


class IssuedInvitationSerializer(InvitationSerializer):
    """The answer of creating one: the only place where the link appears."""

    url = serializers.URLField(read_only=True)

    class Meta(InvitationSerializer.Meta):
        fields = [*InvitationSerializer.Meta.fields, "url"]


class ApiKeySerializer(KnownFieldsOnly, serializers.ModelSerializer):
    role = GrantableRole()
    state = serializers.CharField(read_only=True, help_text="live, expired or revoked.")
    created_by = serializers.EmailField(source="created_by.email", read_only=True, allow_null=True, default=None)

    class Meta:
        model = ApiKey
        fields = [
            "id", "name", "role", "state", "last_four",
            "created_by", "created_at", "expires_at", "last_used_at", "revoked_at",
        ]  # fmt: skip
        extra_kwargs = NAME

    def validate_expires_at(self, at):
        if at is not None and at <= timezone.now():
            raise serializers.ValidationError("This lies in the past.")
        return at

    def validate(self, values):
        maker = self.context["request"].actor.api_key
        ends = values.get("expires_at")
        if maker is not None and maker.expires_at is not None and (ends is None or ends > maker.expires_at):
            raise serializers.ValidationError(
                {"expires_at": f"A key makes none that outlives it: until {maker.expires_at:%Y-%m-%dT%H:%M:%SZ}."}
            )
        return values


class IssuedApiKeySerializer(ApiKeySerializer):
    """The answer of creating one: the only place where the key itself appears."""

    secret = serializers.CharField(read_only=True)

    class Meta(ApiKeySerializer.Meta):
        fields = [*ApiKeySerializer.Meta.fields, "secret"]


class SiteSerializer(KnownFieldsOnly, serializers.ModelSerializer):
    slug = serializers.SlugField(
        max_length=60,
        required=False,
        allow_blank=True,
        help_text="The end of its URLs; made from the name if left out.",
    )

    class Meta:
        model = Site
        fields = ["id", "name", "slug", "created_at"]
        extra_kwargs = NAME

    def validate(self, values):
        tenant = self.context["request"].actor.tenant
        if not self.instance or "slug" in values:
            values["slug"] = values.get("slug") or slugify(values.get("name") or self.instance.name)[:60].strip("-")
        if "slug" not in values:
            return values
        if not values["slug"]:
            raise serializers.ValidationError({"slug": "The name has no letters a URL can hold: type a slug."})
        others = Site.objects.filter(tenant=tenant, slug=values["slug"])
        if self.instance:
            others = others.exclude(pk=self.instance.pk)
        if others.exists():
            raise serializers.ValidationError({"slug": f'There is a site "{values["slug"]}" already.'})
        return values


class TenantSerializer(KnownFieldsOnly, serializers.ModelSerializer):
    class Meta:
        model = Tenant
        fields = ["id", "name", "status", "retention_days", "require_jwt", "webhooks", "created_at"]
        read_only_fields = ["status", "webhooks"]
        extra_kwargs = NAME

    def update(self, tenant, values):
        """Only what was asked for: an operator may be changing the status at this moment."""
        for field, value in values.items():
            setattr(tenant, field, value)
        tenant.save(update_fields=list(values))
        return tenant

    def validate_retention_days(self, days: int | None) -> int | None:
        if days is not None and not 1 <= days <= settings.RETENTION_DAYS:
            raise serializers.ValidationError(
                f"Choose from 1 to {settings.RETENTION_DAYS} days, which is how long this portal keeps anything,"
                " or leave it empty for all of that."
            )
        return days


class AuditEntrySerializer(serializers.ModelSerializer):
    change = serializers.DictField(help_text='`{"field": [old, new]}`, or `"changed"` where the value is hidden.')

    class Meta:
        model = AuditEntry
        fields = [
            "id", "at", "actor_kind", "actor_id", "actor_label", "action",
            "object_type", "object_id", "object_label", "address", "change",
        ]  # fmt: skip
        read_only_fields = fields


class OperatorTenantSerializer(TenantSerializer):
    member_count = serializers.IntegerField(read_only=True, default=0)
    last_activity_at = serializers.DateTimeField(read_only=True, allow_null=True, default=None)

    class Meta(TenantSerializer.Meta):
        fields = [*TenantSerializer.Meta.fields, "member_count", "last_activity_at"]
        read_only_fields = ["status"]


class NewTenantSerializer(OperatorTenantSerializer):
    owner = serializers.EmailField(write_only=True, help_text="Who is invited as its first owner.")

    class Meta(OperatorTenantSerializer.Meta):
        fields = [*OperatorTenantSerializer.Meta.fields, "owner"]


class OpenedTenantSerializer(OperatorTenantSerializer):
    """The answer of creating one: the only place where the owner's link appears."""

    url = serializers.URLField(read_only=True, help_text="The invitation link of its first owner.")

    class Meta(OperatorTenantSerializer.Meta):
        fields = [*OperatorTenantSerializer.Meta.fields, "url"]
