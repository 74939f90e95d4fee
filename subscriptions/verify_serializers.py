"""What is pasted to be verified, and the verdict. Neither is kept."""

import base64
import binascii
from datetime import UTC, datetime

from rest_framework import serializers

from subscriptions.signature_check import Verdict, read_headers
from tenants.fields import KnownFieldsOnly

MAX_BODY_BYTES = 1_000_000
MAX_HEADER_TEXT = 32_768


class PastedSerializer(KnownFieldsOnly, serializers.Serializer):
    headers = serializers.CharField(
        max_length=MAX_HEADER_TEXT,
        help_text="As they came: one a line, as `Name: value`, or the text of a JSON object. Others do no harm.",
    )
    body = serializers.CharField(
        allow_blank=True, trim_whitespace=False, required=False, default="", help_text="The body as it came."
    )
    body_encoding = serializers.ChoiceField(
        [("text", "Text"), ("base64", "Base64")],
        default="text",
        help_text="`base64`, where the body is not text in UTF-8 or its line breaks must not be touched.",
    )

    def validate_headers(self, text: str) -> list[tuple[str, str]]:
        try:
            return read_headers(text)
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from None

    def validate(self, attrs: dict) -> dict:
        text = attrs.pop("body")
        try:
            packed = attrs.pop("body_encoding") == "base64"
            body = base64.b64decode("".join(text.split()), validate=True) if packed else text.encode()
        except binascii.Error:
            raise serializers.ValidationError({"body": "This is not base64."}) from None
        if len(body) > MAX_BODY_BYTES:
            raise serializers.ValidationError({"body": f"At most {MAX_BODY_BYTES:,} bytes can be verified here."})
        return attrs | {"body": body}


class VerdictSerializer(serializers.Serializer):
    valid = serializers.BooleanField(source="is_valid", help_text="Whether one of the live secrets made the signature.")
    proof = serializers.SerializerMethodField(help_text="Where it is right: which secret made it.")
    problem = serializers.SerializerMethodField(help_text="Where it is not: why.")
    hint = serializers.SerializerMethodField(help_text="What would have matched, where one of the usual things would.")
    missing_headers = serializers.ListField(
        child=serializers.CharField(), help_text="Headers of the scheme that are not among those given."
    )
    signed = serializers.CharField(help_text="What the scheme signs.")
    signed_bytes = serializers.IntegerField(allow_null=True, help_text="How many bytes that were.")
    body_bytes = serializers.IntegerField()
    signed_at = serializers.SerializerMethodField(help_text="The signed time; null where the scheme signs none.")
    age_seconds = serializers.IntegerField(
        allow_null=True, help_text="Its age now; negative where it lies ahead. Receivers refuse more than 300 or so."
    )
    secrets_tried = serializers.IntegerField()
    presented_begins = serializers.SerializerMethodField(
        help_text="The signature's first characters, where it is wrong."
    )
    expected_begins = serializers.SerializerMethodField(
        help_text="Those of the signature that the newest secret would have made. The rest is told to nobody."
    )

    def get_proof(self, verdict: Verdict) -> str | None:
        return verdict.proof or None

    def get_problem(self, verdict: Verdict) -> str | None:
        return verdict.problem or None

    def get_hint(self, verdict: Verdict) -> str | None:
        return verdict.hint or None

    def get_presented_begins(self, verdict: Verdict) -> str | None:
        return verdict.presented_begins or None

    def get_expected_begins(self, verdict: Verdict) -> str | None:
        return verdict.expected_begins or None

    def get_signed_at(self, verdict: Verdict) -> datetime | None:
        try:
            return datetime.fromtimestamp(verdict.timestamp, tz=UTC) if verdict.timestamp is not None else None
        except (OverflowError, ValueError):  # beyond the year 9999
            return None
