"""What the API takes and gives for sources.

Nothing here but the answers to create and rotate holds a secret.
"""

from datetime import timedelta

from django.core.validators import RegexValidator
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from sources.authentication import METHODS, ConfigError
from sources.models import Source, SourceCredential
from sources.snippets import snippets
from tenants.fields import KnownFieldsOnly, one_plain_line, refuse_taken
from tenants.permissions import Permission
from vault.credentials import DEFAULT_OVERLAP, OVERLAPS

EVENT_TYPE = RegexValidator(
    r"\A[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\Z",
    "Use words of letters, digits, hyphens and underscores, joined by dots: order.created.",
)


def in_problem_terms(error: ConfigError) -> dict:
    """A method's complaints under the names that the API's fields have: `secret`, `auth.header`."""
    detail = {"secret": [error.errors["secret"]]} if "secret" in error.errors else {}
    auth = {name: [message] for name, message in error.errors.items() if name != "secret"}
    return detail | ({"auth": auth} if auth else {})


def _auth_schema() -> dict:
    """OpenAPI of `auth`, read from the methods themselves."""
    properties: dict[str, dict] = {}
    for method in METHODS.values():
        for setting in method.settings:
            kind = {bool: "boolean", int: "integer"}.get(type(setting.default), "string")
            known = properties.setdefault(setting.name, {"type": kind, "description": ""})
            words = f"{method.name}: {setting.help}"
            if setting.default is not None:
                words += f" Default: {setting.default}."
            known["description"] = f"{known['description']} {words}".strip()
            if setting.choices:
                known["enum"] = [value for value, _ in setting.choices]
    method_names = {"type": "string", "enum": list(METHODS)}
    return {
        "type": "object",
        "properties": {"method": method_names, **properties},
        "required": ["method"],
    }


@extend_schema_field(_auth_schema())
class AuthField(serializers.Field):
    """`{"method": "hmac", "header": "X-Signature", …}` ⇄ `auth_method`, `auth_config`.

    An update keeps what it does not name. The method itself stays: senders prove themselves in one
    way, and the way to another is another source, which both can have for as long as the change
    takes.
    """

    default_error_messages = {"not_an_object": "Expected an object with a method."}

    def __init__(self, **kwargs):
        super().__init__(source="*", **kwargs)

    def to_internal_value(self, data):
        if not isinstance(data, dict):
            self.fail("not_an_object")
        source = getattr(self.parent, "instance", None)
        method = data.get("method", source.auth_method if source else None)
        if method is None:
            raise serializers.ValidationError({"method": ["This field is required."]})
        if not isinstance(method, str) or method not in METHODS:
            names = ", ".join(METHODS)
            raise serializers.ValidationError({"method": [f"There is no such method. Choose one of: {names}."]})
        if source and method != source.auth_method:
            message = "The method of a source cannot be changed. Create another source for the new one."
            raise serializers.ValidationError({"method": [message]})
        given = {name: value for name, value in data.items() if name != "method"}
        try:
            config = METHODS[method].clean_config({**source.auth_config, **given} if source else given)
        except ConfigError as error:
            raise serializers.ValidationError({name: [words] for name, words in error.errors.items()}) from None
        return {"auth_method": method, "auth_config": config}

    def to_representation(self, source):
        return {"method": source.auth_method, **source.auth_config}


class CredentialSerializer(serializers.ModelSerializer):
    """A live secret, without the secret. `current` is false while it only outlives a rotation."""

    current = serializers.BooleanField(source="is_current", read_only=True)

    class Meta:
        model = SourceCredential
        fields = [
            "id",
            "key_id",
            "last_four",
            "current",
            "created_at",
            "last_used_at",
            "expires_at",
        ]
        read_only_fields = fields


class SourceSerializer(KnownFieldsOnly, serializers.ModelSerializer):
    """`url` is masked for those who may only read.

    Whoever knows it can post to a source without authentication.
    """

    auth = AuthField()
    url = serializers.SerializerMethodField()
    site_urls = serializers.SerializerMethodField(help_text="The URL for each site, by the site's slug.")
    credentials = serializers.SerializerMethodField(help_text="The secrets that are accepted now, newest first.")
    event_type = serializers.CharField(max_length=128, required=False, allow_blank=True, validators=[EVENT_TYPE])

    class Meta:
        model = Source
        fields = [
            "id",
            "name",
            "kind",
            "status",
            "auth",
            "stream_type",
            "event_type",
            "url",
            "site_urls",
            "credentials",
            "created_at",
            "last_received_at",
        ]
        read_only_fields = ["id", "status", "created_at", "last_received_at"]
        extra_kwargs = {"name": {"validators": [one_plain_line]}}

    def validate_name(self, name: str) -> str:
        return refuse_taken(name, Source.objects.present(), self.instance)

    def get_url(self, source) -> str:
        return source.url if self._may_post else source.masked_url

    def get_site_urls(self, source) -> dict[str, str]:
        if not self._may_post:
            return {}
        return {slug: source.url_for_site(slug) for slug in self.context["view"].site_slugs}

    @extend_schema_field(CredentialSerializer(many=True))
    def get_credentials(self, source):
        return CredentialSerializer(source.live_credentials, many=True).data

    @property
    def _may_post(self) -> bool:
        return self.context["request"].actor.can(Permission.OPERATE)


class SourceUpdateSerializer(SourceSerializer):
    """What a source is for (`kind`) is decided once: what arrived so far was taken for that."""

    class Meta(SourceSerializer.Meta):
        read_only_fields = [*SourceSerializer.Meta.read_only_fields, "kind"]


class SourceCreateSerializer(SourceSerializer):
    secret = serializers.CharField(
        required=False,
        allow_blank=True,
        allow_null=True,
        trim_whitespace=False,
        write_only=True,
        help_text="One that the sender already has. Left out, a strong one is made.",
    )

    class Meta(SourceSerializer.Meta):
        fields = [*SourceSerializer.Meta.fields, "secret"]

    def validate_secret(self, typed):
        return typed or None


class SourceSnippetSerializer(serializers.Serializer):
    language = serializers.CharField()
    title = serializers.CharField()
    code = serializers.CharField()


class RevealedSourceSerializer(SourceSerializer):
    """The answer to a creation: the only time, with that to a rotation, that a secret is told."""

    secret = serializers.CharField(allow_null=True, read_only=True, help_text="Shown now and never again.")
    key_id = serializers.CharField(allow_null=True, read_only=True, help_text="The `kid` of a JSON Web Token.")
    snippets = SourceSnippetSerializer(many=True, read_only=True, help_text="Senders that work when pasted.")

    class Meta(SourceSerializer.Meta):
        fields = [*SourceSerializer.Meta.fields, "secret", "key_id", "snippets"]


class SourceRotationSerializer(KnownFieldsOnly, serializers.Serializer):
    overlap_seconds = serializers.ChoiceField(
        choices=[(seconds, label) for seconds, label in OVERLAPS.items()],
        default=DEFAULT_OVERLAP,
        help_text="How long the previous secret is accepted as well, in seconds.",
    )
    secret = serializers.CharField(
        required=False, allow_blank=True, allow_null=True, trim_whitespace=False, write_only=True
    )

    def validate_overlap_seconds(self, seconds) -> timedelta:
        return timedelta(seconds=seconds)

    def validate_secret(self, typed):
        return typed or None


class RotatedSourceSerializer(serializers.Serializer):
    secret = serializers.CharField(help_text="Shown now and never again.")
    key_id = serializers.CharField(allow_null=True)
    previous_valid_until = serializers.DateTimeField()
    snippets = SourceSnippetSerializer(many=True)


class SourceOverlapEndedSerializer(serializers.Serializer):
    ended = serializers.IntegerField(help_text="How many secrets stopped being accepted.")


def snippets_for(source: Source, secret: str | None, key_id: str | None, url: str | None = None) -> list[dict]:
    """The snippets of `sources.snippets` as plain data."""
    made = snippets(source.auth_method, source.auth_config, url or source.url, secret, key_id=key_id or "")
    return [{"language": one.language, "title": one.title, "code": one.code} for one in made]
