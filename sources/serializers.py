"""What the API takes and gives for sources.

Nothing here but the answers to create and rotate holds a secret.
"""

from datetime import timedelta

from django.core.validators import RegexValidator
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from sources.authentication import METHODS, ConfigError
from sources.models import Source, SourceCredential
from sources.presets import PRESETS
from sources.reading import OPERATIONAL, headers_named
from sources.setting_fields import ReadingField, RulesField
from sources.snippets import snippets
from tenants.fields import KnownFieldsOnly, one_plain_line, refuse_taken
from tenants.models import User
from tenants.permissions import Permission
from vault.credentials import DEFAULT_OVERLAP, OVERLAPS

EVENT_TYPE = RegexValidator(
    r"\A[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\Z",
    "Use words of letters, digits, hyphens and underscores, joined by dots: order.created.",
)


def not_operational(name: str) -> None:
    """A validator for types of events: some are the portal's own."""
    if name.startswith(OPERATIONAL):
        raise serializers.ValidationError(f"Types that begin with {OPERATIONAL} are the portal's own. Choose another.")


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
            kind = {bool: "boolean", int: "integer", tuple: "array"}.get(type(setting.default), "string")
            known = properties.setdefault(setting.name, {"type": kind, "description": ""})
            if kind == "array":
                known["items"] = {"type": "string"}
            words = f"{method.name}: {setting.help}"
            if setting.default not in (None, ()):
                words += f" Default: {setting.default}."
            known["description"] = f"{known['description']} {words}".strip()
            if setting.choices:
                known["enum"] = [value for value, _ in setting.choices]
    properties["sample_body"] = {
        "type": "object",
        "additionalProperties": True,
        "writeOnly": True,
        "description": "jwt: a body, or its text, whose first-level keys become `sample_keys`. No value is kept.",
    }
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


class MemberField(serializers.PrimaryKeyRelatedField):
    """A member of the acting tenant, by the person's id. Anybody else is as unknown as nobody at all."""

    default_error_messages = {
        "does_not_exist": "No member of the tenant has this id.",
        "incorrect_type": "Give the id of a member.",
    }

    def __init__(self, **kwargs):
        super().__init__(pk_field=serializers.UUIDField(), **kwargs)

    def get_queryset(self):
        tenant = self.context["request"].actor.tenant
        return User.objects.filter(memberships__tenant=tenant)


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
    event_type = serializers.CharField(
        max_length=128, required=False, allow_blank=True, validators=[EVENT_TYPE, not_operational]
    )
    reading = ReadingField(required=False)
    rules = RulesField(required=False)
    assigned_to = MemberField(
        required=False,
        allow_null=True,
        help_text="A member of the tenant, by their user id: they see the source whatever its visibility.",
    )

    class Meta:
        model = Source
        fields = [
            "id",
            "name",
            "kind",
            "status",
            "preset",
            "auth",
            "stream_type",
            "event_type",
            "reading",
            "rules",
            "assigned_to",
            "visibility",
            "reveal",
            "url",
            "site_urls",
            "credentials",
            "created_at",
            "last_received_at",
        ]
        read_only_fields = ["id", "status", "preset", "created_at", "last_received_at"]
        extra_kwargs = {"name": {"validators": [one_plain_line]}}

    def validate_name(self, name: str) -> str:
        return refuse_taken(name, Source.objects.present(), self.instance)

    def validate(self, values):
        """A place in a post must not be the header that proves who sends: its secret would stand in the event."""
        stored = self.instance
        method = values.get("auth_method", stored.auth_method if stored else "")
        config = values.get("auth_config", stored.auth_config if stored else {})
        named = headers_named(values.get("reading", stored.reading if stored else {}))
        for setting in METHODS[method].settings if method else ():
            if setting.name.endswith("header") and (place := named.get(str(config.get(setting.name)).lower())):
                message = f"{config[setting.name]} proves who sends. It must not become a part of an event."
                raise serializers.ValidationError({"reading": {place: [message]}})
        return values

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
    """What a source is for (`kind`) is decided once: what arrived so far was taken for that.

    So is that its secret can be looked at again, except that this can be given up.
    """

    def validate_reveal(self, reveal: str) -> str:
        if reveal == Source.Reveal.HOLDERS and self.instance.reveal != reveal:
            raise serializers.ValidationError(
                "Its secret was given out as one that nobody sees again. Create another source for this."
            )
        return reveal

    class Meta(SourceSerializer.Meta):
        read_only_fields = [*SourceSerializer.Meta.read_only_fields, "kind"]


class SourceCreateSerializer(SourceSerializer):
    """A `preset` stands for a method with its settings, a format and where things stand in a post (B3).

    What is given as well counts instead of it; the method is the preset's.
    """

    preset = serializers.ChoiceField(
        choices=[(preset.name, preset.title) for preset in PRESETS.values()],
        required=False,
        allow_blank=True,
        error_messages={"invalid_choice": f"There is no such preset. Choose one of: {', '.join(PRESETS)}."},
        help_text="A sender that the portal knows: `GET /api/v1/source-presets/`. It stands for `auth`.",
    )
    auth = AuthField(required=False)
    secret = serializers.CharField(
        required=False,
        allow_blank=True,
        allow_null=True,
        trim_whitespace=False,
        write_only=True,
        help_text="One that the sender already has. Left out, a strong one is made.",
    )
    secret_later = serializers.BooleanField(
        default=False,
        write_only=True,
        help_text="The sender makes its secret once it knows the URL. Until it is entered (rotate-secret), "
        "everything is refused.",
    )

    class Meta(SourceSerializer.Meta):
        fields = [*SourceSerializer.Meta.fields, "secret", "secret_later"]
        read_only_fields = [name for name in SourceSerializer.Meta.read_only_fields if name != "preset"]

    def to_internal_value(self, data):
        name = data.get("preset") if isinstance(data, dict) else None
        preset = PRESETS.get(name) if isinstance(name, str) else None
        if preset is None:
            return super().to_internal_value(data)
        given = data.get("auth", {})
        if isinstance(given, dict):
            if given.get("method", preset.method) != preset.method:
                message = f"{preset.title} uses the method {preset.method}. Leave the method out, or the preset."
                raise serializers.ValidationError({"auth": {"method": [message]}})
            data = {**data, "auth": {"method": preset.method, **preset.config_with(given)}}
        places = data.get("reading", {})
        if isinstance(places, dict):
            data = {**data, "reading": {**preset.reading, **places}}
        return super().to_internal_value({"stream_type": preset.stream_type, **data})

    def validate_secret(self, typed):
        return typed or None

    def validate(self, values):
        if "auth_method" not in values:
            raise serializers.ValidationError({"auth": "This field is required, unless there is a preset."})
        later = values["secret_later"]
        if later and values.get("secret"):
            raise serializers.ValidationError({"secret": "Enter it now or later, not both."})
        if later and not METHODS[values["auth_method"]].has_secret:
            raise serializers.ValidationError({"secret_later": "This method has no secret."})
        if values.get("reveal") == Source.Reveal.HOLDERS and not METHODS[values["auth_method"]].has_secret:
            raise serializers.ValidationError({"reveal": "This method has no secret."})
        return super().validate(values)


class SourcePresetSerializer(serializers.Serializer):
    """A sender that the portal knows, and what it needs (`sources.presets`)."""

    name = serializers.CharField(help_text="What `preset` takes.")
    title = serializers.CharField()
    summary = serializers.CharField()
    auth = serializers.SerializerMethodField(help_text="The method and its settings. Any setting can be overridden.")
    stream_type = serializers.CharField()
    reading = serializers.DictField(
        child=serializers.CharField(), help_text="Where things stand in a post: `header:…` or a path."
    )
    secret_from = serializers.ChoiceField(
        choices=["sender", "portal"], help_text="Who makes the secret: it is typed, or generated."
    )
    secret_after = serializers.BooleanField(help_text="The sender shows its secret only once it knows the URL.")
    asks_for = serializers.CharField(help_text="What the sender calls the secret.")
    steps = serializers.ListField(child=serializers.CharField(), help_text="What to do at the sender.")
    docs = serializers.URLField(help_text="The sender's own documentation.")
    handshake = serializers.CharField(help_text="How it asks whether the URL is right, which is answered; or empty.")

    @extend_schema_field({"type": "object", "additionalProperties": True})
    def get_auth(self, preset) -> dict:
        return {"method": preset.method, **METHODS[preset.method].clean_config(preset.config)}


class SourceSnippetSerializer(serializers.Serializer):
    language = serializers.CharField()
    title = serializers.CharField()
    code = serializers.CharField()


class RevealedSourceSerializer(SourceSerializer):
    """The answer to a creation: the only time, with that to a rotation, that a secret is told."""

    secret = serializers.CharField(allow_null=True, read_only=True, help_text="Shown now and never again.")
    key_id = serializers.CharField(allow_null=True, read_only=True, help_text="The `kid` of a JSON Web Token.")
    snippets = SourceSnippetSerializer(many=True, read_only=True, help_text="Senders that work when pasted.")
    steps = serializers.SerializerMethodField(help_text="What to do at the sender.")

    class Meta(SourceSerializer.Meta):
        fields = [*SourceSerializer.Meta.fields, "secret", "key_id", "snippets", "steps"]

    def get_steps(self, source) -> list[str]:
        preset = PRESETS.get(source.preset)
        return list(preset.steps) if preset else ["Give the sender what stands above."]


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


class HeldSecretSerializer(serializers.Serializer):
    secret = serializers.CharField(help_text="The current one. This look at it is in the audit log.")
    key_id = serializers.CharField(allow_null=True, help_text="The `kid` of a JSON Web Token.")


class SourceOverlapEndedSerializer(serializers.Serializer):
    ended = serializers.IntegerField(help_text="How many secrets stopped being accepted.")


def snippets_for(source: Source, secret: str | None, key_id: str | None, url: str | None = None) -> list[dict]:
    """The snippets of `sources.snippets` as plain data."""
    made = snippets(source.auth_method, source.auth_config, url or source.url, secret, key_id=key_id or "")
    return [{"language": one.language, "title": one.title, "code": one.code} for one in made]
