"""Access tokens by client credentials (RFC 6749 section 4.4): fetched, kept until shortly before their end, shared.

What has to hold:
1. A token is asked for through the client's own `post`, so its URL is under the same guard, bounds and proxy.
2. Many requests at once ask for one token once, and also learn of one failure together.
3. A token belongs to what it was asked for with: other credentials, another token URL or another receiver, and it is
   gone with the next request.
4. Nothing that the token endpoint says is passed on but its status and the error codes of RFC 6749 section 5.2. Tokens
   and secrets are in no message, no repr and no log.
"""

import asyncio
import base64
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus, urlencode

import orjson

from egress.exchange import Outcome, OutgoingRequest

CLIENT_SECRET_BASIC, CLIENT_SECRET_POST = "client_secret_basic", "client_secret_post"  # noqa: S105 (RFC 7591's names)
TIMEOUT = 10.0  # seconds for one token request
DEFAULT_LIFETIME = 300.0  # where the endpoint does not say (RFC 6749 section 5.1 leaves that open)
MAX_LIFETIME = 86400.0
EARLY = 30.0  # a token is renewed this long before its end, or a tenth of its life if that is less
# After a failure nothing is asked again for so long, since what waits behind it would ask in a row; after each further
# one twice as long: nobody has asked the token endpoint whether it wants to be posted to.
REST, MOST_REST = 2.0, 64.0
MAX_TOKEN = 8000
MAX_KEPT = 1000

# RFC 6749 section 5.2. Others, and descriptions, may repeat what was sent.
_CODES = frozenset(
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
        "invalid_target",
    }
)
_FAILURES = {
    "refused": "the portal does not send to the token URL",
    "dns": "the token URL's host does not resolve",
    "connect": "no connection to the token endpoint",
    "tls": "no trustworthy TLS session with the token endpoint",
    "timeout": "the token endpoint did not answer in time",
    "reset": "the token endpoint closed the connection before its answer was complete",
    "protocol": "the token endpoint's answer was not valid HTTP",
    "too_large": "the token endpoint's answer was too large",
}

Post = Callable[[OutgoingRequest], Awaitable[Outcome]]


@dataclass(frozen=True)
class ClientCredentials:
    """What a token is asked for with. `owner` is whose it is, `receiver` the URL that it is sent to."""

    owner: str
    token_url: str = field(repr=False)
    client_id: str = field(repr=False)
    client_secret: str = field(repr=False)
    receiver: str = field(repr=False)
    scope: str = ""
    audience: str = ""
    client_authentication: str = CLIENT_SECRET_BASIC

    def request(self) -> OutgoingRequest:
        form = {"grant_type": "client_credentials", "scope": self.scope, "audience": self.audience}
        headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json")]
        if self.client_authentication == CLIENT_SECRET_POST:
            form |= {"client_id": self.client_id, "client_secret": self.client_secret}
        else:
            # Form-encoded first, RFC 6749 section 2.3.1.
            pair = f"{quote_plus(self.client_id)}:{quote_plus(self.client_secret)}"
            headers.append(("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"))
        body = urlencode({name: value for name, value in form.items() if value}).encode()
        return OutgoingRequest(self.token_url, tuple(headers), body, TIMEOUT)


class NoToken(Exception):
    """There is none; the text says why, as the rest of a sentence, without secrets."""


@dataclass(frozen=True)
class _Answer:
    """A token, or why there is none, and until when to believe that."""

    token: str = field(repr=False)
    problem: str
    until: float


@dataclass(frozen=True)
class _Asked:
    credentials: ClientCredentials
    answer: asyncio.Task[_Answer]
    failures: int  # in a row, before this

    @property
    def has_failed(self) -> bool:
        return (
            self.answer.done()
            and not self.answer.cancelled()
            and not self.answer.exception()
            and bool(self.answer.result().problem)
        )

    def is_over(self, now: float) -> bool:
        done = self.answer.done()
        return done and (self.answer.cancelled() or bool(self.answer.exception()) or self.answer.result().until <= now)


class Tokens:
    """The tokens of one client, and so of one event loop in one process: the last used MAX_KEPT of them."""

    def __init__(self, post: Post, clock: Callable[[], float] = time.monotonic) -> None:
        self._post = post
        self._clock = clock
        self._asked: OrderedDict[str, _Asked] = OrderedDict()
        self._under_way: set[asyncio.Task[_Answer]] = set()

    async def get(self, credentials: ClientCredentials, timeout: float) -> str:
        """A token that is good now; raises NoToken. Whoever gives up waiting does not call the request off."""
        asked = self._asked.get(credentials.owner)
        if asked is None or asked.credentials != credentials or asked.is_over(self._clock()):
            asked = self._ask(credentials, asked.failures + 1 if asked and asked.has_failed else 0)
        self._asked.move_to_end(credentials.owner)
        try:
            async with asyncio.timeout(timeout):
                answer = await asyncio.shield(asked.answer)
        except TimeoutError:
            raise NoToken(_FAILURES["timeout"]) from None
        if answer.problem:
            raise NoToken(answer.problem)
        return answer.token

    def drop(self, credentials: ClientCredentials, token: str) -> None:
        """The receiver does not take this token. Of many that find out at once, one has it renewed."""
        asked = self._asked.get(credentials.owner)
        if asked and asked.answer.done() and not asked.is_over(self._clock()) and asked.answer.result().token == token:
            del self._asked[credentials.owner]

    def close(self) -> None:
        for task in self._under_way:
            task.cancel()
        self._asked.clear()

    def _ask(self, credentials: ClientCredentials, failures: int) -> _Asked:
        task = asyncio.create_task(self._fetch(credentials, min(REST * 2 ** min(failures, 30), MOST_REST)))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        asked = self._asked[credentials.owner] = _Asked(credentials, task, failures)
        if len(self._asked) > MAX_KEPT:
            self._asked.popitem(last=False)
        return asked

    async def _fetch(self, credentials: ClientCredentials, rest: float) -> _Answer:
        before = self._clock()
        outcome = await self._post(credentials.request())
        try:
            token, lifetime = read_answer(outcome)
        except NoToken as problem:
            return _Answer("", str(problem), self._clock() + rest)
        return _Answer(token, "", before + lifetime - min(EARLY, lifetime / 10))


def read_answer(outcome: Outcome) -> tuple[str, float]:
    """The token and its life in seconds (RFC 6749 section 5.1); raises NoToken."""
    if outcome.error:
        raise NoToken(_FAILURES.get(outcome.error, "the token request failed"))
    document = _object(outcome.body)
    if not outcome.ok:
        code = document.get("error")
        known = f" ({code})" if isinstance(code, str) and code in _CODES else ""
        raise NoToken(f"the token endpoint answered {outcome.status}{known}")
    token, kind = document.get("access_token"), document.get("token_type", "Bearer")
    if not isinstance(token, str) or not token:
        raise NoToken("the token endpoint's answer holds no access_token")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise NoToken("the token endpoint's token is not a bearer token")
    if len(token) > MAX_TOKEN or not all("!" <= char <= "~" for char in token):
        raise NoToken("the token endpoint's token cannot be sent in a header")
    return token, _lifetime(document.get("expires_in"))


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _lifetime(given: object) -> float:
    """Some endpoints write the number as a text. What makes no sense is as good as nothing."""
    if isinstance(given, str) and given.isascii() and given.isdigit():
        given = int(given[:12])
    if isinstance(given, bool) or not isinstance(given, int | float) or given < 0:
        return DEFAULT_LIFETIME
    return float(min(given, MAX_LIFETIME))
