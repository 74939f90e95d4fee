"""Questions that senders ask to learn whether a URL is theirs to use, and the answers. Pure (spec B3).

``greet`` is for requests without a body, before anything is proven; ``answer`` for posts that have
proven themselves. What is echoed is short, of a known alphabet, and never of a type that a browser
would draw.
"""

import hmac
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from sources.authentication import METHODS, InboundRequest, LiveSecret
from sources.presets import PRESETS

MAX_ECHO = 1024
TEXT, JSON = "text/plain; charset=utf-8", "application/json"

# What Zoom asks to sign has no colon, so it can never be what Zoom signs itself: v0:{timestamp}:{body}.
_SIGNED = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_ECHO}}}")
_ECHO = re.compile(rf"[A-Za-z0-9._~+/=:-]{{1,{MAX_ECHO}}}")


@dataclass(frozen=True)
class Reply:
    """What is answered in place of a receipt. To be sent with ``X-Content-Type-Options: nosniff``."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True)
class _Asked:
    method: str
    config: Mapping[str, object]
    secrets: Sequence[LiveSecret]
    request: InboundRequest
    ingest_key: str = ""
    document: object = None

    def proven_by(self) -> LiveSecret | None:
        """The secret that proves the request; the sender holds that one, maybe not the newest."""
        verdict = METHODS[self.method].verify(self.config, self.secrets, self.request)
        if not verdict.accepted:
            return None
        return next((secret for secret in self.secrets if secret.id == verdict.secret_id), None)


def greet(
    preset: str,
    config: Mapping[str, object],
    secrets: Sequence[LiveSecret],
    request: InboundRequest,
    ingest_key: str,
) -> Reply | None:
    """The answer to a GET that asks whether the URL is right, or None if it is no such question."""
    known = PRESETS.get(preset)
    greeting = _GREETINGS.get(known.handshake) if known else None
    if known is None or greeting is None or request.method != "GET":
        return None
    return greeting(_Asked(known.method, config, secrets, request, ingest_key=ingest_key))


def answer(
    preset: str,
    config: Mapping[str, object],
    secrets: Sequence[LiveSecret],
    request: InboundRequest,
    document: object,
) -> Reply | None:
    """The answer to a proven post that is a challenge and no event, or None if it is none.

    ``document`` is the body, parsed.
    """
    known = PRESETS.get(preset)
    answering = _ANSWERS.get(known.handshake) if known else None
    if known is None or answering is None or not isinstance(document, dict):
        return None
    return answering(_Asked(known.method, config, secrets, request, document=document), document)


def _meta(asked: _Asked) -> Reply | None:
    """``hub.challenge``, if the verify token is the source's own ingest key."""
    try:
        query = parse_qsl(urlsplit(asked.request.url).query, keep_blank_values=True, max_num_fields=50)
    except ValueError:
        return None
    fields = dict(query)
    if len(fields) != len(query) or fields.get("hub.mode") != "subscribe":
        return None
    token = fields.get("hub.verify_token", "").encode("utf-8", "replace")
    challenge = _echo(fields.get("hub.challenge"))
    if not asked.ingest_key or not hmac.compare_digest(token, asked.ingest_key.encode()) or challenge is None:
        return None
    return Reply(200, TEXT, challenge.encode())


def _okta(asked: _Asked) -> Reply | None:
    """The header's value in JSON, if the request brings the secret as events do."""
    given = asked.request.values("X-Okta-Verification-Challenge")
    challenge = _echo(given[0].decode("latin-1")) if len(given) == 1 else None
    if challenge is None or asked.proven_by() is None:
        return None
    return _json({"verification": challenge})


def _slack(asked: _Asked, document: Mapping[str, object]) -> Reply | None:
    """``url_verification``: the challenge as it came."""
    challenge = _echo(document.get("challenge"))
    if document.get("type") != "url_verification" or challenge is None:
        return None
    return Reply(200, TEXT, challenge.encode())


def _zoom(asked: _Asked, document: Mapping[str, object]) -> Reply | None:
    """``endpoint.url_validation``: the token and its HMAC-SHA-256 with the secret, in hex."""
    payload = document.get("payload")
    token = _echo(payload.get("plainToken")) if isinstance(payload, dict) else None
    if document.get("event") != "endpoint.url_validation" or token is None or not _SIGNED.fullmatch(token):
        return None
    secret = asked.proven_by()
    if secret is None or not secret.value:
        return None
    return _json({"plainToken": token, "encryptedToken": hmac.digest(secret.value, token.encode(), "sha256").hex()})


def _echo(value: object) -> str | None:
    """A value that may be sent back, or None: short text without spaces, quotes, brackets or control characters."""
    return value if isinstance(value, str) and _ECHO.fullmatch(value) else None


def _json(document: Mapping[str, str]) -> Reply:
    return Reply(200, JSON, json.dumps(document, separators=(",", ":")).encode())


_GREETINGS: Mapping[str, Callable[[_Asked], Reply | None]] = {"meta": _meta, "okta": _okta}
_ANSWERS: Mapping[str, Callable[[_Asked, Mapping[str, object]], Reply | None]] = {"slack": _slack, "zoom": _zoom}
