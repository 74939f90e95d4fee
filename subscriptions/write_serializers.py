"""What people say about a subscription in the API, and whether it goes together."""

from urllib.parse import urlsplit

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from egress.guard import UrlRefused
from subscriptions import flow
from subscriptions.answers import RulesRefused, clean_rules
from subscriptions.auth_serializers import AuthWriteSerializer
from subscriptions.choice_serializers import ChoiceFields
from subscriptions.headers import HeadersRefused, clean_headers, in_common
from subscriptions.messages import SHAPES
from subscriptions.models import Subscription
from subscriptions.policies import CUSTOM, POLICIES
from subscriptions.receiver_auth import METHODS, MTLS, NONE
from subscriptions.schedules import clean_delays
from subscriptions.serializers import SigningOptionsSerializer
from subscriptions.signing import (
    SCHEMES,
    OptionsRefused,
    Scheme,
    clean_options,
)
from subscriptions.verification import portal_guard
from tenants.fields import KnownFieldsOnly, one_plain_line, refuse_taken
from vault.credentials import DEFAULT_OVERLAP, OVERLAPS

HIDDEN = frozenset({"url", "headers", "auth"})
DEFAULT_SIGNING = Subscription._meta.get_field("signing").default


def _choices(kinds) -> list[tuple[str, str]]:
    return [(kind.name, kind.title) for kind in kinds.values()]


@extend_schema_field(
    {
        "oneOf": [
            {"type": "string", "example": "5s, 5m, 1h"},
            {"type": "array", "items": {"oneOf": [{"type": "integer"}, {"type": "string"}]}},
        ]
    }
)
class DelaysField(serializers.Field):
    """Text such as `5s, 5m, 1h`, or a list of such waits or of seconds."""

    default_error_messages = {"invalid": "Give text such as 5s, 5m, 1h, or a list of waits."}

    def to_internal_value(self, data) -> list[int]:
        if not isinstance(data, str | list):
            self.fail("invalid")
        try:
            return clean_delays(data)
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from None

    def to_representation(self, value) -> list[int]:
        return value


def _about(match: str, sentence: str) -> str:
    return f"{match}: {sentence}" if match and match not in sentence else sentence


class SubscriptionWriteSerializer(KnownFieldsOnly, ChoiceFields, serializers.ModelSerializer):
    """What people set. The signing scheme is chosen once: its secrets have its form, and messages
    that are on their way are signed as it says. So are the verification and the way of delivery."""

    url = serializers.CharField(
        write_only=True,
        required=False,
        max_length=2048,
        help_text=(
            "https, a public name. Changing it asks the receiver to confirm anew. Required, unless `delivery` is pull: "
            "then there is none."
        ),
    )
    verification = serializers.ChoiceField(
        Subscription.Verification.choices,
        required=False,
        help_text=(
            "Chosen once. link: a link is posted to the URL, and whoever opens it agrees. challenge: "
            '{"challenge": "<value>"} is posted, and the answer has to be 200 with the value as plain text; asked '
            "again before the next message when that is 24 hours ago."
        ),
    )
    delivery = serializers.ChoiceField(
        Subscription.Way.choices,
        required=False,
        help_text="Chosen once. push: posted to the URL. pull: kept until its receiver fetches it, see …/poll/.",
    )
    headers = serializers.DictField(
        child=serializers.CharField(allow_blank=True, trim_whitespace=False),
        write_only=True,
        required=False,
        help_text="Sent with every message; values cannot be read back. Replaced as a whole.",
    )
    auth = AuthWriteSerializer(
        required=False,
        write_only=True,
        help_text="Sent with every message, tests and confirmation links included. Replaced as a whole.",
    )
    signing = serializers.ChoiceField(
        _choices(SCHEMES),
        required=False,
        help_text=(
            "Chosen once. none: nothing proves where a message comes from, and whoever learns the URL is believed."
        ),
    )
    signing_options = SigningOptionsSerializer(
        required=False, help_text="What the scheme lets choose; replaced as a whole, defaults for the rest."
    )
    shape = serializers.ChoiceField(
        _choices(SHAPES), required=False, help_text="timestamped_body signs timestamped only, and nothing else does."
    )
    policy = serializers.ChoiceField(_choices(POLICIES), required=False)
    delays = DelaysField(required=False)
    rules = serializers.DictField(
        child=serializers.CharField(max_length=20),
        required=False,
        help_text=(
            "What answers mean other than the policy says: a status such as 404, a class such as 4xx, a reason such as "
            "timeout, or no_answer → retry, fail, disable or deliver (counts as received). 2xx is always delivered, "
            "410 always disables. Replaced as a whole."
        ),
    )
    mode = serializers.ChoiceField(
        _choices(flow.MODES), required=False, help_text="batched sends the shapes envelope and cloudevents only."
    )
    max_per_minute = serializers.IntegerField(
        min_value=1,
        max_value=flow.MAX_PER_MINUTE,
        allow_null=True,
        required=False,
        help_text="Messages a minute, attempts included, over all workers; null for as many as there are.",
    )
    max_in_flight = serializers.IntegerField(
        min_value=1,
        max_value=flow.MAX_IN_FLIGHT,
        allow_null=True,
        required=False,
        help_text="Messages under way at once, over all workers; null for as many as the portal thinks fit.",
    )

    class Meta:
        model = Subscription
        fields = (
            "name",
            "url",
            "hint",
            "event_types",
            "min_severity",
            "sources",
            "sites",
            "filter",
            "headers",
            "auth",
            "delivery",
            "verification",
            "signing",
            "signing_options",
            "shape",
            "policy",
            "delays",
            "rules",
            "mode",
            "max_per_minute",
            "max_in_flight",
        )
        extra_kwargs = {
            "name": {"validators": [one_plain_line]},
            "hint": {"validators": [one_plain_line]},
        }

    def validate_name(self, name: str) -> str:
        return refuse_taken(name, Subscription.objects.present(), self.instance)

    def validate_url(self, url: str) -> str:
        try:
            portal_guard().check_url(url)
        except UrlRefused as refused:
            raise serializers.ValidationError(refused.sentence, refused.code) from None
        return url

    def validate_headers(self, headers: dict[str, str]) -> dict[str, str]:
        try:
            return clean_headers(headers)
        except HeadersRefused as refused:
            raise serializers.ValidationError({name: [sentence] for name, sentence in refused.errors.items()}) from None

    def validate_signing(self, signing: str) -> str:
        if self.instance is not None and signing != self.instance.signing:
            raise serializers.ValidationError("The signing scheme cannot be changed: create another subscription.")
        return signing

    def validate_verification(self, verification: str) -> str:
        if self.instance is not None and verification != self.instance.verification:
            raise serializers.ValidationError("The verification cannot be changed: create another subscription.")
        return verification

    def validate_delivery(self, delivery: str) -> str:
        if self.instance is not None and delivery != self.instance.delivery:
            raise serializers.ValidationError("The way of delivery cannot be changed: create another subscription.")
        return delivery

    def validate(self, attrs: dict) -> dict:
        self._refuse_what_no_delivery_fits(attrs)
        if self.instance is None:
            attrs.setdefault("event_types", ["*"])
            attrs.setdefault("signing", DEFAULT_SIGNING)
            attrs.setdefault("signing_options", {})
            attrs.setdefault("shape", SCHEMES[attrs["signing"]].shapes[0])
        scheme = SCHEMES[attrs["signing"] if self.instance is None else self.instance.signing]
        if scheme.shapes == ("timestamped",) and attrs.get("verification") == Subscription.Verification.CHALLENGE:
            raise serializers.ValidationError(
                {"verification": f"{scheme.title} only signs bodies with a timestamp, and a challenge has none."}
            )
        if "shape" in attrs and attrs["shape"] not in scheme.shapes:
            fitting = " or ".join(SHAPES[name].title for name in scheme.shapes)
            raise serializers.ValidationError({"shape": f"{scheme.title} signs messages of the shape {fitting} only."})
        self._refuse_what_has_no_batches(scheme, attrs)
        if "signing_options" in attrs:
            attrs["signing_options"] = self._clean_options(scheme, attrs["signing_options"])
        self._fit_schedule(attrs)
        self._refuse_one_name_for_two_headers(scheme, attrs)
        self._refuse_a_second_authorization(scheme, attrs)
        self._refuse_a_certificate_without_tls(attrs)
        if self._leads_elsewhere(attrs):
            if self.instance.header_names and "headers" not in attrs:
                raise serializers.ValidationError(
                    {"headers": "The URL leads to another host: give the headers it is to get again."}
                )
            if self.instance.auth_method != NONE and "auth" not in attrs:
                raise serializers.ValidationError(
                    {"auth": "The URL leads to another host: give the authentication that it is to get again."}
                )
        return attrs

    def _refuse_what_no_delivery_fits(self, attrs: dict) -> None:
        """What is pushed needs a URL; what is polled has none, nor anything that is only posted or asked there."""
        if not (self.instance.is_polled if self.instance else attrs.get("delivery") == Subscription.Way.PULL):
            if self.instance is None and not attrs.get("url"):
                raise serializers.ValidationError({"url": self.fields["url"].error_messages["required"]})
            return
        sentences = {
            "url": "What is polled has no URL.",
            "headers": "What is polled is not posted: it carries no custom headers.",
            "auth": "What is polled is not posted: nobody is to be let in.",
            "verification": "What is polled is not verified: whoever fetches it has agreed.",
            "mode": "What is polled goes out in the order in which it came.",
            "max_per_minute": "What is polled is fetched as fast as its receiver likes.",
            "max_in_flight": "What is polled is fetched as fast as its receiver likes.",
        }
        if "auth" in attrs and attrs["auth"].method == NONE:
            del sentences["auth"]
        if attrs.get("mode") == flow.PARALLEL:
            del sentences["mode"]
        refused = {name: sentence for name, sentence in sentences.items() if attrs.get(name)}
        if refused:
            raise serializers.ValidationError(refused)
        if self.instance is None:
            attrs["url"] = ""

    def _refuse_a_second_authorization(self, scheme: Scheme, attrs: dict) -> None:
        """Two would let two readers see two callers. The error stands where the later of the two was given."""
        stored = self.instance
        method = METHODS[attrs["auth"].method if "auth" in attrs else stored.auth_method if stored else NONE]
        names = attrs.get("headers", stored.header_names if stored else [])
        options = attrs.get("signing_options", stored.signing_options if stored else {})
        taken = in_common(["Authorization"], [*names, *scheme.headers(options).all()])
        place = next((name for name in ("auth", "headers", "signing_options") if name in attrs), None)
        if place and method.sends_header and taken:
            sentence = f"{method.title} is sent in Authorization, and so is another header of this subscription."
            raise serializers.ValidationError({place: sentence})

    def _refuse_a_certificate_without_tls(self, attrs: dict) -> None:
        if "auth" in attrs and attrs["auth"].method == MTLS:
            url = attrs.get("url") or self.instance.url
            if urlsplit(url).scheme.lower() != "https":
                raise serializers.ValidationError({"auth": "A client certificate can only be presented over https."})

    def _fit_schedule(self, attrs: dict) -> None:
        """Waits go with the custom policy, and with it only; rules must be possible under the policy as it will be."""
        present = self.instance or Subscription()
        policy = attrs.get("policy", present.policy)
        if policy != CUSTOM:
            if "delays" in attrs:
                raise serializers.ValidationError({"delays": "Only the custom policy has waits of its own."})
            if present.delays is not None:
                attrs["delays"] = None
        elif not attrs.get("delays", present.delays):
            raise serializers.ValidationError({"delays": "The custom policy needs waits, as in 5s, 5m, 1h."})
        retries = policy == CUSTOM or POLICIES[policy].retries
        try:
            rules = clean_rules(attrs.get("rules", present.rules), retries=retries)
        except RulesRefused as refused:
            raise serializers.ValidationError({"rules": [_about(*error) for error in refused.errors.items()]}) from None
        if "rules" in attrs:
            attrs["rules"] = rules

    def _refuse_what_has_no_batches(self, scheme: Scheme, attrs: dict) -> None:
        """The error stands at what was given."""
        stored = (self.instance.mode, self.instance.shape) if self.instance else (flow.PARALLEL, "")
        try:
            flow.clean(attrs.get("mode", stored[0]), attrs.get("shape", stored[1]), scheme.shapes)
        except ValueError as error:
            place = "mode" if "mode" in attrs else "shape"
            raise serializers.ValidationError({place: [str(error)]}) from None

    def _clean_options(self, scheme: Scheme, options: dict) -> dict[str, str]:
        try:
            return clean_options(scheme.name, options)
        except OptionsRefused as refused:
            mistakes = {option: [sentence] for option, sentence in refused.errors.items()}
            raise serializers.ValidationError({"signing_options": mistakes}) from None

    def _refuse_one_name_for_two_headers(self, scheme: Scheme, attrs: dict) -> None:
        """The error stands where the name was given: at the custom header, or at the option."""
        stored = (self.instance.signing_options, self.instance.header_names) if self.instance else ({}, [])
        options = attrs.get("signing_options", stored[0])
        own = scheme.headers(options).all()
        if "headers" in attrs:
            taken = in_common(attrs["headers"], own)
            mistakes = {name: [f"{name} is what this subscription is signed with."] for name in taken}
            place = "headers"
        else:
            taken = in_common(own, stored[1])
            sentence = "{} is one of the custom headers already."
            by_name = {name.lower(): option for option, name in options.items()}
            mistakes = {by_name.get(name.lower(), "prefix"): [sentence.format(name)] for name in taken}
            place = "signing_options"
        if mistakes and ("headers" in attrs or "signing_options" in attrs):
            raise serializers.ValidationError({place: mistakes})

    def _leads_elsewhere(self, attrs: dict) -> bool:
        """What cannot be read (header values, credentials) must not be sent to a host of one's choice either."""
        if self.instance is None or "url" not in attrs:
            return False
        old, new = urlsplit(self.instance.url), urlsplit(attrs["url"])
        return (old.scheme, old.netloc) != (new.scheme, new.netloc)


class DisableSerializer(KnownFieldsOnly, serializers.Serializer):
    reason = serializers.CharField(required=False, allow_blank=True, max_length=150)


class RotateSerializer(KnownFieldsOnly, serializers.Serializer):
    """Its context holds the `subscription`: what can be asked depends on its scheme."""

    overlap_seconds = serializers.IntegerField(
        min_value=0,
        max_value=max(OVERLAPS),
        required=False,
        help_text=(
            f"How long the previous secret signs as well; {DEFAULT_OVERLAP} if nothing is said. Where the scheme can "
            "carry one signature only (`can_overlap` is false) it has to be 0, said expressly: the new secret signs "
            "at once, and a receiver that only knows the previous one cannot verify any more."
        ),
    )

    def validate(self, attrs: dict) -> dict:
        subscription = self.context["subscription"]
        if subscription.can_overlap:
            attrs.setdefault("overlap_seconds", DEFAULT_OVERLAP)
        elif subscription.scheme.signs and attrs.get("overlap_seconds") != 0:
            raise serializers.ValidationError(
                {
                    "overlap_seconds": (
                        f"{subscription.scheme.title} has room for one signature: the new secret signs at once, and "
                        "a receiver that only knows the previous one cannot verify any more. Say 0 to rotate."
                    )
                }
            )
        return attrs
