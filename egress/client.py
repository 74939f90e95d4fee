"""Posting one message: `Client.post(request) -> Outcome`.

What has to hold:
1. A message never leaves towards an address the guard refuses. The URL is read before the send;
   the address is checked in the connector's socket factory, where the final socket address is
   known. A resolver is never asked about IP literals, and a name can be rebound between a check
   and a connect.
2. `post` never raises for anything the network does: every end is an Outcome. Only cancellation
   passes through.
3. A receiver cannot hold or fill us: one deadline over the whole exchange (slow bodies
   included), bounded headers, a bounded body, no redirects, no cookies, no decompression.
4. What is sent is what was given: no header is added but Host, Content-Length and User-Agent.
5. With a proxy (docs/decisions/0010-egress-proxy.md) every socket leads to it and none elsewhere, so
   the address is checked before the proxy is asked. An https receiver is asked for by the address
   that passed, and proves its name by its certificate: a second look-up, by the proxy, would undo
   the first. An http receiver can only be asked for by name, so all its addresses have to pass.

Waiting for a free slot is not part of an exchange, so it counts neither towards the timeout nor
towards `total_ms`: a receiver is not blamed for our queue.
"""

import asyncio
import functools
import io
import re
import socket
import ssl
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.typedefs import LooseHeaders
from multidict import CIMultiDict
from yarl import URL

from egress.certificates import Contexts
from egress.connector import Connector, Request
from egress.deadline import Deadline
from egress.exchange import KEPT_BODY, Exchange, Outcome, OutgoingRequest, Route, current, elapsed_ms, ip_and_port
from egress.failures import classify, is_stale_connection
from egress.guard import AddressRefused, Guard, Target, UrlRefused
from egress.oauth import Tokens
from egress.resolver import PooledResolver

__all__ = ["KEPT_BODY", "Client", "Outcome", "OutgoingRequest"]

MAX_TIMEOUT = 30.0
REMEMBERED = 4096  # URLs and names of headers that were read lately
MAX_ROUTES = 3  # of a name's addresses, how many a proxy is asked for in turn
READ_BODY = 64 * 1024
MAX_HEADERS = 128
MAX_HEADER_LINE = 8190
KEPT_HEADERS = 16 * 1024
DEFAULT_USER_AGENT = "Portcullis"

# The client writes these itself; a second one would let two readers frame one request differently.
# An Expect would make us wait for a leave that need not come; proxy-* is between the proxy and the operator.
FRAMING_HEADERS = frozenset(
    {
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "upgrade",
        "te",
        "trailer",
        "expect",
        "proxy-authorization",
        "proxy-connection",
    }
)
_AUTOMATIC = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")


@dataclass(slots=True)
class _Host:
    """The requests under way or waiting for one host and port; forgotten with the last of them."""

    slots: asyncio.Semaphore
    users: int = 0


class Client:
    """A pool of connections, for one event loop; use as an async context manager.

    `limit` bounds the requests under way, `per_host_limit` those to one host and port.
    `resolver` and `ssl_context` replace the system's; whatever the resolver answers is subject
    to the guard. `proxy` is an http proxy's URL, possibly with user and password; its address is
    the operator's choice and not the guard's business.
    """

    def __init__(
        self,
        guard: Guard,
        *,
        per_host_limit: int = 16,
        limit: int = 128,
        user_agent: str = DEFAULT_USER_AGENT,
        keepalive: float = 15.0,
        proxy: str = "",
        resolver: AbstractResolver | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._guard = guard
        self._parse = functools.lru_cache(REMEMBERED)(guard.parse)  # the text decides, so once is enough
        self._good_names: set[str] = set()
        self._per_host_limit = per_host_limit
        self._slots = asyncio.Semaphore(limit)
        self._hosts: dict[tuple[str, int], _Host] = {}
        self._user_agent = user_agent
        self._keepalive = keepalive
        self._proxy = URL(proxy) if proxy else None
        self._resolver = resolver
        self._names: AbstractResolver | None = None
        self._ssl_context = ssl_context
        self._contexts = Contexts(ssl_context)
        self.tokens = Tokens(self.post)
        self._session: aiohttp.ClientSession | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        resolver = self._resolver
        if resolver is None:
            resolver = PooledResolver()
            self._stack.push_async_callback(resolver.close)
        self._names = resolver
        connector = Connector(
            None if self._proxy else self._guard,
            resolver=resolver,
            ssl=self._ssl_context or True,
            # The slots bound the requests; the pool itself must never make one wait.
            limit=0,
            keepalive_timeout=self._keepalive,
        )
        self._session = await self._stack.enter_async_context(
            aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
                skip_auto_headers=_AUTOMATIC,
                request_class=Request,
                timeout=aiohttp.ClientTimeout(total=None),
                read_bufsize=KEPT_BODY,
                max_line_size=MAX_HEADER_LINE,
                max_field_size=MAX_HEADER_LINE,
                max_headers=MAX_HEADERS,
            )
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._session = None
        self.tokens.close()
        await self._stack.aclose()

    async def post(self, request: OutgoingRequest) -> Outcome:
        """Send `request` once and say what came of it; raises nothing but CancelledError.

        "Once" with one exception: a kept-alive connection that the receiver closed just as we
        wrote to it says nothing about the message, so it is sent again at once (same bytes, same
        id), on condition that not one byte of an answer had come.
        """
        try:
            target = self._parse(request.url)
            headers = self._headers(request)
        except UrlRefused as refusal:
            return Outcome(status=None, error="refused", detail=refusal.sentence)
        started = time.perf_counter()
        try:
            tls = await self._tls(request, target)
        except TimeoutError:
            detail = "The client certificate was not ready in time: many are read just now."
            return Outcome(None, error="timeout", detail=detail, total_ms=elapsed_ms(started))
        except (ssl.SSLError, ValueError):
            detail = "The client certificate cannot be presented to this receiver."
            return Outcome(status=None, error="client_certificate", detail=detail)
        if request.certificate:
            request = replace(request, timeout=request.timeout - (time.perf_counter() - started))
        host = self._host(target)
        try:
            async with host.slots, self._slots:
                return await self._exchange(
                    request, headers, Exchange(target, by_proxy=self._proxy is not None, tls=tls)
                )
        finally:
            self._leave(target, host)

    async def _exchange(self, request: OutgoingRequest, headers: LooseHeaders, exchange: Exchange) -> Outcome:
        started = time.perf_counter()
        current.set(exchange)
        timeout = max(0.001, min(request.timeout, MAX_TIMEOUT))
        deadline = Deadline(self._loop, timeout)
        try:
            await self._send_by_some_route(request, headers, exchange)
        except asyncio.CancelledError:
            if not deadline.has_struck():
                raise
            return exchange.outcome(started, "timeout", f"No complete answer within {timeout:g} seconds.")
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as failure:
            error, detail = classify(failure, exchange)
            return exchange.outcome(started, error, detail)
        finally:
            deadline.end()
        return exchange.outcome(started)

    async def _tls(self, request: OutgoingRequest, target: Target) -> ssl.SSLContext | None:
        """The context of a request with a certificate of its own; None stands for the one all others share.

        Raises SSLError, ValueError, TimeoutError.
        """
        if request.certificate is None:
            return None
        if target.plain_http:
            raise ValueError("There is no TLS to present a certificate in.")
        async with asyncio.timeout(min(request.timeout, MAX_TIMEOUT)):
            return await self._contexts.of(request.certificate)

    async def _send_by_some_route(self, request: OutgoingRequest, headers: LooseHeaders, exchange: Exchange) -> None:
        """Without a proxy there is one route, and the connector tries the name's addresses in turn."""
        routes = await self._routes_by_proxy(exchange) if self._proxy else [Route(_url(exchange.target))]
        for route in routes:
            exchange.route = route
            try:
                return await self._send_past_a_stale_connection(request, headers, exchange, route)
            except aiohttp.ClientHttpProxyError:
                # No tunnel to this address: nothing of the message has left.
                if route is routes[-1]:
                    raise

    async def _send_past_a_stale_connection(
        self, request: OutgoingRequest, headers: LooseHeaders, exchange: Exchange, route: Route
    ) -> None:
        try:
            await self._send(request, headers, exchange, route)
        except (aiohttp.ClientError, OSError) as failure:
            if not is_stale_connection(failure, exchange):
                raise
            await self._send(request, headers, exchange, route)

    async def _routes_by_proxy(self, exchange: Exchange) -> list[Route]:
        """What the proxy may be asked for; raises AddressRefused, or OSError where the name does not resolve."""
        target = exchange.target
        addresses = await self._addresses(target)
        passed = []
        for address in addresses:
            try:
                self._guard.check_address(address, plain_http=target.plain_http, port=target.port)
                passed.append(address)
            except AddressRefused as refusal:
                exchange.refusal = refusal
        if exchange.refusal and (target.plain_http or not passed):
            raise exchange.refusal
        if target.plain_http:
            known = ip_and_port(passed[0], target.port) if len(passed) == 1 else ""
            return [Route(_url(target), address=known)]
        return [
            Route(
                _url(replace(target, host=address)),
                address=ip_and_port(address, target.port),
                server_hostname=target.host,
                host=_url(target).host_port_subcomponent or "",
            )
            for address in passed[:MAX_ROUTES]
        ]

    async def _addresses(self, target: Target) -> list[str]:
        if target.ip is not None:
            return [str(target.ip)]
        if self._names is None:
            raise RuntimeError("The client is not open.")
        found = await self._names.resolve(target.host, target.port, family=socket.AF_UNSPEC)
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "The name has no address.")
        return list(dict.fromkeys(result["host"] for result in found))

    async def _send(self, request: OutgoingRequest, headers: LooseHeaders, exchange: Exchange, route: Route) -> None:
        if self._session is None:
            raise RuntimeError("The client is not open.")
        exchange.reused = True  # until a connection has to be made
        async with self._session.request(
            request.method,
            route.url,
            # aiohttp would have large bodies as files, which it writes piece by piece.
            data=request.body if len(request.body) <= READ_BODY else io.BytesIO(request.body),
            headers=headers,
            allow_redirects=False,
            proxy=self._proxy,
            server_hostname=route.server_hostname,
            # The pool keys its connections by it.
            ssl=exchange.tls or True,
        ) as response:
            exchange.first_byte_ms = elapsed_ms(exchange.asked)
            exchange.status = response.status
            exchange.headers = _kept_headers(response.raw_headers)
            async for chunk in response.content.iter_any():
                exchange.body += chunk
                if len(exchange.body) > READ_BODY:
                    exchange.truncated = True
                    # Closed, not released: what is still to come is not worth a connection.
                    response.close()
                    break

    def _headers(self, request: OutgoingRequest) -> CIMultiDict[str]:
        headers = CIMultiDict(request.headers)
        for name, value in request.headers:
            if name not in self._good_names:
                if not _TOKEN.fullmatch(name) or name.lower() in FRAMING_HEADERS:
                    raise UrlRefused("header", f"The header {name!r:.80} cannot be sent.")
                if len(self._good_names) < REMEMBERED:
                    self._good_names.add(name)
            if not _VALUE.fullmatch(value):
                raise UrlRefused("header", f"The value of {name} contains control characters.")
        if "User-Agent" not in headers:
            headers["User-Agent"] = self._user_agent
        return headers

    def _host(self, target: Target) -> _Host:
        """A place in the host's queue comes first, so that one slow host cannot fill the common one."""
        key = (target.host, target.port)
        host = self._hosts.get(key)
        if host is None:
            host = self._hosts[key] = _Host(asyncio.Semaphore(self._per_host_limit))
        host.users += 1
        return host

    def _leave(self, target: Target, host: _Host) -> None:
        host.users -= 1
        if not host.users:
            del self._hosts[target.host, target.port]


def _kept_headers(raw: tuple[tuple[bytes, bytes], ...]) -> tuple[tuple[str, str], ...]:
    """The answer's headers as text, up to 16 KB of them: they are kept with the attempt."""
    kept: list[tuple[str, str]] = []
    size = 0
    for name, value in raw:
        size += len(name) + len(value) + 4
        if size > KEPT_HEADERS:
            break
        kept.append((name.decode("utf-8", "replace"), value.decode("utf-8", "replace")))
    return tuple(kept)


def _url(target: Target) -> URL:
    return URL(target.url, encoded=True)
