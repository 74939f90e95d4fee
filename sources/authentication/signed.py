"""What methods share whose senders sign each request: settings, secrets, and trying every key.

``HmacSignature`` and ``Ed25519Signature`` differ in what a key is and how a signature is compared.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import lru_cache

from sources.authentication.contract import (
    InboundRequest,
    LiveSecret,
    Method,
    Prove,
    Refusal,
    Verdict,
)
from sources.authentication.encodings import is_encoded
from sources.authentication.scheme import (
    NOTHING,
    SEPARATORS,
    Place,
    Presented,
    Scheme,
    clean_id,
    clean_prefix,
    clean_template,
    clean_timestamp,
    disagreements,
    template_parts,
)
from sources.authentication.settings import Setting, clean_choice, clean_header_name, clean_whole_number

MAX_TOLERANCE = 86_400
ENCODINGS = (("hex", "Hexadecimal"), ("base64", "Base64"))


def header_setting(default: str) -> Setting:
    return Setting(
        "header", "Header name", "The header that carries the signature.", clean_header_name, default=default
    )


def scheme_settings(
    *, prefix: str, encoding: str, signed: str, timestamp: str, identifier: str, signatures: str, tolerance: int
) -> tuple[Setting, ...]:
    """The settings of a scheme, with these defaults."""
    separators = (("one", "One"), ("comma", "Several, divided by commas"), ("space", "Several, divided by spaces"))
    return (
        Setting(
            "prefix",
            "Prefix",
            "What stands before the signature, such as sha256= or v0=; none for nothing.",
            clean_prefix,
            default=prefix,
            advanced=True,
        ),
        Setting(
            "encoding",
            "Encoding",
            "How the signature is written.",
            clean_choice(ENCODINGS),
            default=encoding,
            choices=ENCODINGS,
            advanced=True,
        ),
        Setting(
            "signed",
            "What is signed",
            "{body} alone, or together with {timestamp}, {id}, {url}; or {url}{form} as Twilio does.",
            clean_template,
            default=signed,
            advanced=True,
        ),
        Setting(
            "timestamp",
            "Timestamp",
            "Where it stands: header:X-Timestamp, element:t of the signature's header, or path:sent.at in the body.",
            clean_timestamp,
            default=timestamp,
            advanced=True,
        ),
        Setting(
            "tolerance_seconds",
            "Tolerance",
            "Seconds between signing and arrival, either way; 0 does not look at the timestamp.",
            clean_whole_number(0, MAX_TOLERANCE),
            default=tolerance,
            advanced=True,
        ),
        Setting(
            "id",
            "Message id",
            "Where it stands, if it is signed: header:Webhook-Id.",
            clean_id,
            default=identifier,
            advanced=True,
        ),
        Setting(
            "signatures",
            "Signatures in the header",
            "Senders that change keys sign with both for a while.",
            clean_choice(separators),
            default=signatures,
            choices=separators,
            advanced=True,
        ),
    )


class SignedRequest(Method):
    """A method whose sender signs the body, and maybe more, with a key."""

    keeps_value = True

    def _clean_together(self, cleaned: Mapping[str, object]) -> dict[str, str]:
        return disagreements(cleaned)

    def scheme(self, config: Mapping[str, object]) -> Scheme:
        """The settings, ready to use. Kept from one request to the next."""
        return _compiled(self, tuple(config.items()))

    def single_headers(self, config: Mapping[str, object]) -> tuple[str, ...]:
        scheme = self.scheme(config)
        others = [place.name for place in (scheme.timestamp, scheme.id) if place and place.kind == "header"]
        has_commas = scheme.separator == b"," or b"," in scheme.prefix
        return (*(() if has_commas else (scheme.header,)), *others)

    @abstractmethod
    def width(self, config: Mapping[str, object]) -> int:
        """How many characters a signature has."""

    def implied_prefix(self, config: Mapping[str, object]) -> str:
        """A prefix that may be left out where the settings name none."""
        return ""

    @abstractmethod
    def key(self, value: bytes, config: Mapping[str, object]) -> bytes:
        """The key in a secret. Raises ``ValueError`` if there is none in it."""

    @abstractmethod
    def _signed_with(
        self, key: bytes, message: bytes, signatures: Sequence[bytes], config: Mapping[str, object]
    ) -> bool:
        """Whether any of the signatures is that of the message."""

    def _prove(
        self,
        config: Mapping[str, object],
        secrets: Sequence[LiveSecret],
        request: InboundRequest,
    ) -> Verdict:
        return self._proved(self.scheme(config), self.keys(config, secrets), config, request)

    def prepared(self, config: Mapping[str, object], secrets: Sequence[LiveSecret]) -> Prove:
        if not secrets or any(secret.ends_at is not None for secret in secrets):
            return super().prepared(config, secrets)
        scheme, keys = self.scheme(config), self.keys(config, secrets)

        def prove(request: InboundRequest) -> Verdict:
            try:
                return self._proved(scheme, keys, config, request)
            except Refusal as refusal:
                return self._refused(config, secrets, secrets, request, refusal)

        return prove

    def _proved(
        self,
        scheme: Scheme,
        keys: Sequence[tuple[LiveSecret, bytes]],
        config: Mapping[str, object],
        request: InboundRequest,
    ) -> Verdict:
        presented = scheme.read(request)
        signatures = [one for one in presented.signatures if len(one) == scheme.width]
        if not signatures:
            raise Refusal(
                "header_malformed",
                f"The signature in {scheme.header} has {len(presented.signatures[0])} characters, not {scheme.width}.",
            )
        if not keys:
            raise Refusal("no_secret", "The source has no valid secret at this time.")
        message = scheme.message(request, presented)
        match: LiveSecret | None = None
        for secret, key in keys:  # all of them: time must not tell which one it was
            if self._signed_with(key, message, signatures, config) and match is None:
                match = secret
        if match is None:
            raise self._mismatch(scheme, presented, signatures, message, config)
        scheme.check_age(request, presented)
        return Verdict(True, secret_id=match.id)

    def keys(self, config: Mapping[str, object], secrets: Sequence[LiveSecret]) -> list[tuple[LiveSecret, bytes]]:
        """The secrets that hold a key, with it."""
        found = []
        for secret in secrets:
            try:
                key = self.key(secret.value or b"", config)
            except ValueError:
                continue
            if key:
                found.append((secret, key))
        return found

    def _mismatch(
        self,
        scheme: Scheme,
        presented: Presented,
        signatures: Sequence[bytes],
        message: bytes,
        config: Mapping[str, object],
    ) -> Refusal:
        if not any(is_encoded(one, str(self.setting(config, "encoding"))) for one in signatures):
            return Refusal(
                "header_malformed",
                f"The signature in {scheme.header} is not written in {self.setting(config, 'encoding')}.",
            )
        return Refusal(
            "signature_mismatch",
            f"The signature in {scheme.header} is not that of the {len(message)} bytes received: "
            "another key, or the body changed on the way.",
        )


@lru_cache(maxsize=8192)
def _compiled(method: SignedRequest, items: tuple[tuple[str, object], ...]) -> Scheme:
    config = dict(items)

    def text(name: str) -> str:
        return str(method.setting(config, name))

    return Scheme(
        header=text("header"),
        prefix=text("prefix").encode() if text("prefix") != NOTHING else b"",
        implied=method.implied_prefix(config).encode(),
        separator=SEPARATORS[text("signatures")],
        width=method.width(config),
        template=text("signed"),
        parts=template_parts(text("signed")),
        timestamp=Place.read(text("timestamp")),
        id=Place.read(text("id")),
        tolerance=int(text("tolerance_seconds")),
    )
