"""How the portal proves to a receiver who it is: `await authenticated_post(client, request, auth)`.

`auth` is data, one of

    None                 nothing
    Authorization        a fixed Authorization header: Basic (RFC 7617) or Bearer (RFC 6750)
    ClientCredentials    a token of OAuth 2, renewed once where the receiver answers 401
    ClientCertificate    a certificate in the TLS handshake

Like `Client.post` it raises nothing but CancelledError, and it stays within the request's timeout however many requests
that takes. What the receiver repeats of our credentials is blotted out of its answer (`egress.blotting`).
"""

import base64
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property

from egress.blotting import MASK, blotted, spellings
from egress.certificates import ClientCertificate
from egress.client import MAX_TIMEOUT, Client
from egress.exchange import Outcome, OutgoingRequest, elapsed_ms
from egress.oauth import ClientCredentials, NoToken

LEAST = 1.0  # seconds that have to be left for a second try to be worth it


@dataclass(frozen=True)
class Authorization:
    """The header `Authorization: <scheme> <credentials>`."""

    scheme: str
    credentials: str = field(repr=False)

    @cached_property
    def spelled(self) -> tuple[str, ...]:
        """What must not be kept of an answer. Of Basic also what it was made of: receivers read it."""
        if self.scheme != "Basic":
            return spellings([self.credentials])
        pair = base64.b64decode(self.credentials).decode()
        return spellings([self.credentials, pair, pair.partition(":")[2]])


Authentication = Authorization | ClientCredentials | ClientCertificate


def shown_headers(auth: Authentication | None) -> list[tuple[str, str]]:
    """What `authenticated_post` adds to a request, as a record may show it."""
    match auth:
        case Authorization():
            return [("Authorization", f"{auth.scheme} {MASK}")]
        case ClientCredentials():
            return [("Authorization", f"Bearer {MASK}")]
    return []


async def authenticated_post(client: Client, request: OutgoingRequest, auth: Authentication | None) -> Outcome:
    match auth:
        case None:
            return await client.post(request)
        case Authorization():
            return await _authorized_post(client, request, auth)
        case ClientCredentials():
            return await _post_with_token(client, request, auth)
        case ClientCertificate():
            if auth.not_after <= datetime.now(UTC):
                ended = f"{auth.not_after.day} {auth.not_after:%B %Y}"
                detail = f"The client certificate expired on {ended}: give the subscription a new one."
                return Outcome(status=None, error="client_certificate", detail=detail)
            return await client.post(replace(request, certificate=auth))


async def _authorized_post(client: Client, request: OutgoingRequest, auth: Authorization) -> Outcome:
    others = tuple(pair for pair in request.headers if pair[0].lower() != "authorization")
    header = ("Authorization", f"{auth.scheme} {auth.credentials}")
    outcome = await client.post(replace(request, headers=(*others, header)))
    return blotted(outcome, auth.spelled)


async def _post_with_token(client: Client, request: OutgoingRequest, auth: ClientCredentials) -> Outcome:
    """The outcome is the receiver's last answer. Where that was the second, its detail tells of the first."""
    left = min(request.timeout, MAX_TIMEOUT)
    started = time.perf_counter()
    try:
        token = await client.tokens.get(auth, left)
    except NoToken as problem:
        return _without_token(f"No access token: {problem}.", started)
    left -= elapsed_ms(started) / 1000
    first = await _authorized_post(client, replace(request, timeout=left), Authorization("Bearer", token))
    left -= first.total_ms / 1000
    if first.status != 401 or left < LEAST:
        return first
    client.tokens.drop(auth, token)
    refused = f"The receiver answered 401 after {first.total_ms:.0f} ms"
    renewing = time.perf_counter()
    try:
        renewed = await client.tokens.get(auth, left)
    except NoToken as problem:
        return _without_token(f"{refused}, and there is no new access token: {problem}.", started)
    left -= elapsed_ms(renewing) / 1000
    second = await _authorized_post(client, replace(request, timeout=left), Authorization("Bearer", renewed))
    told = f"{refused}. The access token was renewed and the message sent once more: what stands here came of that."
    return replace(second, detail=f"{told} {second.detail}".rstrip())


def _without_token(detail: str, started: float) -> Outcome:
    return Outcome(status=None, error="oauth_token", detail=detail, total_ms=elapsed_ms(started))
