"""How the portal proves to a receiver who it is: what a subscription may say about that, and what is shown. Pure.

Signing lets a receiver check a message; this is what lets a message in at all. What is set falls in two parts: `config`
can be read by people, `secrets` are sealed and never read again. They are replaced together.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType

from egress import certificates
from egress.authentication import Authentication, Authorization
from egress.certificates import CertificateRefused, ClientCertificate
from egress.guard import Guard, UrlRefused
from egress.oauth import CLIENT_SECRET_BASIC, CLIENT_SECRET_POST, ClientCredentials

NONE, BASIC, BEARER, OAUTH2, MTLS = "none", "basic", "bearer", "oauth2", "mtls"
WARN_BEFORE = timedelta(days=30)
MAX_TEXT = 500
MAX_TOKEN = 4096
MAX_SUBJECT = 300

CLIENT_AUTHENTICATIONS = MappingProxyType(
    {
        CLIENT_SECRET_BASIC: "In the Authorization header (client_secret_basic)",
        CLIENT_SECRET_POST: "In the form (client_secret_post)",
    }
)


@dataclass(frozen=True)
class Method:
    """`required` and `optional` are what it asks for; `sends_header` says that it sets Authorization."""

    name: str
    title: str
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    sends_header: bool = False

    @property
    def fields(self) -> tuple[str, ...]:
        return self.required + self.optional


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        method.name: method
        for method in (
            Method(NONE, "None"),
            Method(BASIC, "User name and password (basic)", ("username", "password"), sends_header=True),
            Method(BEARER, "Bearer token", ("token",), sends_header=True),
            Method(
                OAUTH2,
                "OAuth 2 client credentials",
                required=("token_url", "client_id", "client_secret"),
                optional=("scope", "audience", "client_authentication"),
                sends_header=True,
            ),
            Method(MTLS, "Client certificate (mTLS)", ("certificate", "private_key")),
        )
    }
)


class AuthRefused(ValueError):
    """`errors` maps each field to what is wrong with it. No message repeats a secret."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__(" ".join(errors.values()))
        self.errors = errors


@dataclass(frozen=True)
class ReceiverAuth:
    """A method with its settings, clean."""

    method: str = NONE
    config: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def sends_header(self) -> bool:
        return METHODS[self.method].sends_header


def clean(name: str, given: Mapping[str, str], guard: Guard, at: datetime) -> ReceiverAuth:
    """What was typed for the method, checked and parted into what can be read and what cannot. Raises AuthRefused."""
    method = METHODS[name]
    values = {option: value for option, value in given.items() if value}
    errors = {option: f"{method.title} has no such setting." for option in values if option not in method.fields}
    errors |= {option: "This field is required." for option in method.required if option not in values}
    if errors:
        raise AuthRefused(errors)
    match name:
        case "basic":
            return _basic(values)
        case "bearer":
            return _bearer(values)
        case "oauth2":
            return _oauth2(values, guard)
        case "mtls":
            return _mtls(values, at)
    return ReceiverAuth()


def authentication(auth: ReceiverAuth, *, owner: str, receiver: str) -> Authentication | None:
    """What a request of this subscription (`owner`) to its URL (`receiver`) is sent with.

    Raises ValueError where the method is unknown or what it needs is not there: nothing must go out without it.
    """
    config, secrets = auth.config, auth.secrets
    try:
        match auth.method:
            case "none":
                return None
            case "basic":
                pair = f"{config['username']}:{secrets['password']}"
                return Authorization("Basic", base64.b64encode(pair.encode()).decode())
            case "bearer":
                return Authorization("Bearer", secrets["token"])
            case "oauth2":
                return ClientCredentials(owner=owner, receiver=receiver, **config, **secrets)
            case "mtls":
                ends = datetime.fromisoformat(config["expires_at"])
                return ClientCertificate(owner, ends, secrets["certificate"], secrets["private_key"])
    except (KeyError, TypeError):
        raise ValueError("The subscription's authentication is incomplete.") from None
    raise ValueError("The subscription's authentication is of an unknown kind.")


@dataclass(frozen=True)
class Expiry:
    """When a client certificate ends, and whether that is near or past."""

    at: datetime
    is_over: bool
    is_near: bool


def expiry(config: Mapping[str, str], now: datetime) -> Expiry | None:
    """None where nothing expires."""
    if "expires_at" not in config:
        return None
    at = datetime.fromisoformat(config["expires_at"])
    return Expiry(at, is_over=at <= now, is_near=now < at <= now + WARN_BEFORE)


def _basic(values: dict[str, str]) -> ReceiverAuth:
    errors = _unprintable(values)
    if ":" in values["username"]:
        errors["username"] = "A user name cannot contain a colon: it ends at the first one (RFC 7617)."
    if errors:
        raise AuthRefused(errors)
    return ReceiverAuth(BASIC, {"username": values["username"]}, {"password": values["password"]})


def _bearer(values: dict[str, str]) -> ReceiverAuth:
    token = values["token"].strip()
    word, _, rest = token.partition(" ")
    if word.lower() == BEARER:
        token = rest.strip()
    if not token or not all("!" <= char <= "~" for char in token):
        raise AuthRefused({"token": "A token is made of ASCII letters, digits and signs, without spaces."})
    return ReceiverAuth(BEARER, {}, {"token": token})


def _oauth2(values: dict[str, str], guard: Guard) -> ReceiverAuth:
    secret = values.pop("client_secret")
    values.setdefault("client_authentication", CLIENT_SECRET_BASIC)
    errors = _unprintable(values | {"client_secret": secret})
    try:
        guard.check_url(values["token_url"])
    except UrlRefused as refused:
        errors["token_url"] = refused.sentence
    if not all(char == " " or "!" <= char <= "~" for char in values.get("scope", "")):
        errors["scope"] = "Scopes are ASCII words, separated by spaces."
    if values["client_authentication"] not in CLIENT_AUTHENTICATIONS:
        errors["client_authentication"] = f"Choose one of: {', '.join(CLIENT_AUTHENTICATIONS)}."
    if errors:
        raise AuthRefused(errors)
    return ReceiverAuth(OAUTH2, values, {"client_secret": secret})


def _mtls(values: dict[str, str], at: datetime) -> ReceiverAuth:
    try:
        chain, key, particulars = certificates.read(values["certificate"], values["private_key"], at)
    except CertificateRefused as refused:
        raise AuthRefused({refused.part: refused.sentence}) from None
    config = {
        "subject": particulars.subject[:MAX_SUBJECT],
        "issuer": particulars.issuer[:MAX_SUBJECT],
        "expires_at": particulars.not_after.isoformat(),
        "fingerprint": particulars.fingerprint,
    }
    return ReceiverAuth(MTLS, config, {"certificate": chain, "private_key": key})


def _unprintable(values: Mapping[str, str]) -> dict[str, str]:
    return {
        name: "This contains line breaks or other characters that cannot be sent."
        for name, value in values.items()
        if not value.isprintable()
    }
