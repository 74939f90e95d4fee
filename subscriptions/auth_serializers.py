"""`auth` of a subscription in the API: what is secret goes in and never comes out."""

from django.utils import timezone
from rest_framework import serializers

from subscriptions import receiver_auth
from subscriptions.receiver_auth import CLIENT_AUTHENTICATIONS, MAX_TEXT, MAX_TOKEN, METHODS, AuthRefused, ReceiverAuth
from subscriptions.verification import portal_guard
from tenants.fields import KnownFieldsOnly

CHOICES = [(method.name, method.title) for method in METHODS.values()]


def _text(max_length: int = MAX_TEXT, *, secret: bool = False, help_text: str) -> serializers.CharField:
    return serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=max_length,
        trim_whitespace=not secret,
        write_only=secret,
        help_text=help_text,
    )


class AuthWriteSerializer(KnownFieldsOnly, serializers.Serializer):
    """How messages authenticate to the receiver, replaced as a whole; becomes a ReceiverAuth."""

    method = serializers.ChoiceField(CHOICES)
    username = _text(help_text="Of basic.")
    password = _text(secret=True, help_text="Of basic.")
    token = _text(MAX_TOKEN, secret=True, help_text="Of bearer; without the word Bearer.")
    token_url = _text(2048, help_text="Of oauth2: https, a public name.")
    client_id = _text(help_text="Of oauth2.")
    client_secret = _text(MAX_TOKEN, secret=True, help_text="Of oauth2.")
    scope = _text(help_text="Of oauth2: words separated by spaces.")
    audience = _text(help_text="Of oauth2, where the token endpoint wants one.")
    client_authentication = serializers.ChoiceField(
        list(CLIENT_AUTHENTICATIONS.items()),
        required=False,
        help_text="Of oauth2: where the client's id and secret stand (RFC 6749 section 2.3.1); the header by default.",
    )
    certificate = _text(
        50_000, secret=True, help_text="Of mtls: PEM, the client's own certificate first, then those that signed it."
    )
    private_key = _text(50_000, secret=True, help_text="Of mtls: PEM, without a passphrase.")

    def validate(self, attrs: dict) -> ReceiverAuth:
        method = attrs.pop("method")
        try:
            return receiver_auth.clean(method, attrs, portal_guard(), timezone.now())
        except AuthRefused as refused:
            raise serializers.ValidationError({name: [text] for name, text in refused.errors.items()}) from None


class AuthSerializer(serializers.Serializer):
    """What may be read of it; only what the method has is there."""

    method = serializers.ChoiceField(CHOICES)
    username = serializers.CharField(required=False)
    token_url = serializers.CharField(required=False)
    client_id = serializers.CharField(required=False)
    scope = serializers.CharField(required=False)
    audience = serializers.CharField(required=False)
    client_authentication = serializers.ChoiceField(list(CLIENT_AUTHENTICATIONS.items()), required=False)
    subject = serializers.CharField(required=False, help_text="Of the client certificate.")
    issuer = serializers.CharField(required=False, help_text="Of the client certificate.")
    expires_at = serializers.DateTimeField(required=False, help_text="When the client certificate ends.")
    fingerprint = serializers.CharField(required=False, help_text="Of the client certificate: SHA-256.")
