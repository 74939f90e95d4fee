"""What the endpoints of schemas take and give."""

from datetime import timedelta

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from events.classification import TYPE_NAME
from events.schema_language import MAX_BYTES, SchemaError, checked
from events.schema_models import MAX_ATTACHED, Schema, SchemaVersion
from events.schema_reports import FAILURES_SHOWN, MAX_SAMPLE, Window
from events.search import RANGES
from sources.models import Source
from tenants.fields import KnownFieldsOnly, one_plain_line, refuse_taken


@extend_schema_field(OpenApiTypes.OBJECT)
class DocumentField(serializers.Field):
    """A JSON Schema 2020-12: an object, or a boolean. Checked; an error says where in the document."""

    def to_internal_value(self, data):
        try:
            return checked(data)
        except SchemaError as error:
            raise serializers.ValidationError(str(error)) from None

    def to_representation(self, value):
        return value


class SchemaVersionSerializer(serializers.ModelSerializer):
    schema = serializers.UUIDField(source="schema_id", read_only=True)
    document = DocumentField(read_only=True)
    inferred_from = serializers.JSONField(read_only=True, allow_null=True)
    published_by = serializers.EmailField(source="published_by.email", read_only=True, default=None, allow_null=True)

    class Meta:
        model = SchemaVersion
        fields = [
            "id",
            "schema",
            "number",
            "status",
            "document",
            "inferred_from",
            "created_at",
            "published_at",
            "published_by",
        ]
        read_only_fields = fields


class SourcesField(serializers.PrimaryKeyRelatedField):
    """Sources that the acting person may see."""

    def __init__(self, **kwargs):
        super().__init__(queryset=Source.objects.none(), pk_field=serializers.UUIDField(), **kwargs)

    def get_queryset(self):
        return Source.objects.present().visible_to(self.context["request"].actor)


class InferredFromSerializer(KnownFieldsOnly, serializers.Serializer):
    """What a proposal was made of, as `infer` told it."""

    source = SourcesField()
    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    event_type = serializers.CharField(max_length=128, required=False, allow_blank=True, default="")
    sampled = serializers.IntegerField(min_value=0)
    matched = serializers.IntegerField(min_value=0)
    unmatched = serializers.IntegerField(min_value=0)

    def to_internal_value(self, data):
        """As plain JSON, which is how it is kept."""
        return dict(self.to_representation(super().to_internal_value(data)))


class DraftSerializer(KnownFieldsOnly, serializers.Serializer):
    """The document of the next version."""

    schema = serializers.PrimaryKeyRelatedField(queryset=Schema.objects.all(), pk_field=serializers.UUIDField())
    document = DocumentField(help_text=f"JSON Schema 2020-12, at most {MAX_BYTES // 1024} KB.")
    inferred_from = InferredFromSerializer(required=False, allow_null=True, default=None)
    publish = serializers.BooleanField(default=False, help_text="Publish it at once.")

    def get_fields(self):
        fields = super().get_fields()
        if "schema" in fields:
            fields["schema"].queryset = Schema.objects.present()  # asked anew: the scope of this request
        return fields


class SchemaSerializer(KnownFieldsOnly, serializers.ModelSerializer):
    event_type = serializers.RegexField(
        rf"^({TYPE_NAME.pattern})?\Z",
        required=False,
        allow_blank=True,
        max_length=128,
        help_text="The type of event that it describes: letters, digits, `.`, `_` and `-`. Empty for several.",
    )
    published_version = serializers.IntegerField(
        source="published_number", read_only=True, allow_null=True, help_text="The number of the version in force."
    )
    sources = serializers.SerializerMethodField(help_text="Ids of the sources that it is attached to.")

    class Meta:
        model = Schema
        fields = ["id", "name", "event_type", "description", "published_version", "sources", "created_at"]
        read_only_fields = ["id", "created_at"]
        extra_kwargs = {"name": {"validators": [one_plain_line]}}

    def validate_name(self, name: str) -> str:
        return refuse_taken(name, Schema.objects.present(), self.instance)

    def get_sources(self, schema) -> list[str]:
        return [str(one.source_id) for one in schema.attached]


class SchemaCreateSerializer(SchemaSerializer):
    """With a document the first version is made in the same act; with `publish` and `attach` it is put to work."""

    document = DocumentField(required=False, write_only=True, help_text="The first version.")
    inferred_from = InferredFromSerializer(required=False, allow_null=True, write_only=True)
    publish = serializers.BooleanField(default=False, write_only=True, help_text="Publish the first version at once.")
    attach = serializers.ListField(
        child=SourcesField(),
        required=False,
        max_length=MAX_ATTACHED,
        write_only=True,
        help_text="Sources to attach it to, after the schemas that they have.",
    )

    class Meta(SchemaSerializer.Meta):
        fields = [*SchemaSerializer.Meta.fields, "document", "inferred_from", "publish", "attach"]

    def validate(self, values):
        if "document" not in values and (values.get("publish") or values.get("inferred_from")):
            raise serializers.ValidationError({"document": ["There is no document to publish."]})
        return values


class WindowSerializer(KnownFieldsOnly, serializers.Serializer):
    """Which events: of a source, `since`…`until` or the last `range`, of one type or of any."""

    source = SourcesField()
    range = serializers.ChoiceField(
        choices=[(name, label) for name, (label, _) in RANGES.items()], required=False, allow_blank=True
    )
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)
    event_type = serializers.CharField(max_length=128, required=False, allow_blank=True, default="")

    def validate(self, values):
        until = values.get("until") or timezone.now()
        if values.get("range"):
            if "since" in values or "until" in values:
                raise serializers.ValidationError({"range": ["Give either a range, or since and until."]})
            since = until - RANGES[values["range"]][1]
        else:
            since = values.get("since") or until - timedelta(days=7)
        if since >= until:
            raise serializers.ValidationError({"until": ["This is not after since."]})
        values["window"] = Window(values["source"], since, until, values["event_type"])
        return values


class InferSerializer(WindowSerializer):
    sample = serializers.IntegerField(
        min_value=1, max_value=MAX_SAMPLE, default=MAX_SAMPLE, help_text="Of how many of the newest events it is made."
    )


class TrySerializer(WindowSerializer):
    document = DocumentField()


class FailureSerializer(serializers.Serializer):
    id = serializers.UUIDField(help_text="The event's.")
    received_at = serializers.DateTimeField()
    type = serializers.CharField()
    problem = serializers.CharField(help_text="The first place that does not fit, and why; never a value.")


class TrialSerializer(serializers.Serializer):
    tested = serializers.IntegerField(help_text="The newest events of the window that were tried.")
    matched = serializers.IntegerField()
    unmatched = serializers.IntegerField()
    whole_window = serializers.BooleanField(source="is_whole", help_text="Whether these were all of the window.")
    event_types = serializers.DictField(source="types", child=serializers.IntegerField())
    failures = FailureSerializer(many=True, help_text=f"The newest that failed, {FAILURES_SHOWN} at most.")


class ProposalSerializer(TrialSerializer):
    document = DocumentField(read_only=True)
    sampled = serializers.IntegerField(help_text="Events that it was made of.")
    inferred_from = InferredFromSerializer(help_text="To be given back when a version is made of it.")


class AttachedSchemaSerializer(serializers.Serializer):
    id = serializers.UUIDField(read_only=True)
    name = serializers.CharField(read_only=True)
    event_type = serializers.CharField(read_only=True)
    published_version = serializers.IntegerField(source="published_number", read_only=True, allow_null=True)


class SourceSchemasSerializer(KnownFieldsOnly, serializers.Serializer):
    """The schemas of a source in the order in which they are tried."""

    schemas = serializers.ListField(
        child=serializers.PrimaryKeyRelatedField(queryset=Schema.objects.none(), pk_field=serializers.UUIDField()),
        max_length=MAX_ATTACHED,
        allow_empty=True,
    )

    def get_fields(self):
        fields = super().get_fields()
        fields["schemas"].child.queryset = Schema.objects.present()  # asked anew: the scope of this request
        return fields

    def validate_schemas(self, schemas):
        if len(set(schemas)) != len(schemas):
            raise serializers.ValidationError("A schema stands in it twice.")
        return schemas


class AttachmentSerializer(KnownFieldsOnly, serializers.Serializer):
    source = SourcesField()
    position = serializers.IntegerField(
        min_value=0, max_value=MAX_ATTACHED, required=False, help_text="From 0; without it, as the last."
    )


class EventTypeSchemaSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField()


class EventTypeSerializer(serializers.Serializer):
    name = serializers.CharField()
    count = serializers.IntegerField(help_text="Events of the last 7 days.")
    last_received_at = serializers.DateTimeField(allow_null=True)
    sources = serializers.SerializerMethodField()
    schema = EventTypeSchemaSerializer(allow_null=True)
    example = serializers.UUIDField(allow_null=True, help_text="The newest event of the type.")

    def get_sources(self, one) -> list[dict[str, str]]:
        return [{"id": str(source.pk), "name": source.name} for source in one.sources]
