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
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from types import SimpleNamespace, TracebackType
from typing import Any, Self

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import StreamReader
from aiohttp.typedefs import LooseHeaders
from multidict import CIMultiDict
from yarl import URL

from egress.guard import AddressRefused, Guard, Target, UrlRefused
from egress.resolver import PooledResolver

MAX_TIMEOUT = 30.0
MAX_ROUTES = 3  # of a name's addresses, how many a proxy is asked for in turn
KEPT_BODY = 16 * 1024
READ_BODY = 64 * 1024
MAX_INTERIM = 32  # 1xx answers before the real one
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

AddrInfo = tuple[
    int | socket.AddressFamily,
    int | socket.SocketKind,
    int,
    str,
    tuple,  # type: ignore[type-arg]
]


@dataclass(frozen=True)
class OutgoingRequest:
    """One HTTP request, ready to go. `timeout` is in seconds, for the whole exchange, ≤ 30."""

    # None of these belongs in a log line: URLs and headers carry secrets, bodies are customers'.
    url: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)
    timeout: float = 15.0
    method: str = "POST"


@dataclass(frozen=True)
class Outcome:
    """What came of one request.

    `error` is empty when a complete answer (or the first 64 KB of a longer one) arrived, whatever
    its status. Otherwise it is one of:

        refused    the guard refused the URL or the address, or a header cannot be sent
        dns        the name did not resolve
        connect    no connection
        tls        a connection, but no trustworthy TLS session
        timeout    no complete answer in time (`status` is set if the status line did arrive)
        reset      the receiver closed or reset the connection in mid-exchange
        protocol   the answer was not HTTP
        too_large  the answer's header, or what came before it, exceeded its bounds

    `connect_ms` is the time for DNS, TCP and TLS together (with a proxy: without DNS), None on a
    reused connection. Of it `dns_ms` is what passed before the first socket was opened, and `tls_ms` what passed
    after TCP stood; with a proxy neither is known. `first_byte_ms` is from the sending of the request until the
    answer's header was there. `body` is at most the first 16 KB, as received (possibly compressed).
    `address` is the receiver's `ip:port`, empty if no connection was made or only the proxy knows.
    """

    status: int | None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    body_truncated: bool = False
    error: str = ""
    detail: str = ""
    connect_ms: float | None = None
    total_ms: float = 0.0
    address: str = ""
    dns_ms: float | None = None
    tls_ms: float | None = None
    first_byte_ms: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the receiver took the message: a complete answer with a 2xx status."""
        return not self.error and self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True)
class _Route:
    """How a target is asked for. `server_hostname` and `host` say its name where `url` has an address."""

    url: URL
    address: str = ""
    server_hostname: str | None = None
    host: str = ""


@dataclass
class _Exchange:
    """What is learnt on the way; filled in by the socket factory, the traces and the reader."""

    target: Target
    by_proxy: bool = False
    route: _Route | None = None
    address: str = ""
    reused: bool = False
    refusal: AddressRefused | None = None
    attempted: bool = False
    connect_started: float = 0.0
    tcp_stood: float = 0.0
    asked: float = 0.0
    connect_ms: float | None = None
    dns_ms: float | None = None
    tls_ms: float | None = None
    first_byte_ms: float | None = None
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytearray = field(default_factory=bytearray)
    truncated: bool = False

    def outcome(self, started: float, error: str = "", detail: str = "") -> Outcome:
        return Outcome(
            status=self.status,
            headers=self.headers,
            body=bytes(self.body[:KEPT_BODY]),
            body_truncated=self.truncated or len(self.body) > KEPT_BODY,
            error=error,
            detail=detail,
            connect_ms=self.connect_ms,
            total_ms=_elapsed_ms(started),
            address=self.address,
            dns_ms=self.dns_ms,
            tls_ms=self.tls_ms,
            first_byte_ms=self.first_byte_ms,
        )


@dataclass
class _Host:
    """The requests under way or waiting for one host and port; forgotten with the last of them."""

    slots: asyncio.Semaphore
    users: int = 0


# A context variable, because the connector calls its socket factory with an address only, from
# tasks (happy eyeballs) that inherit the context of the request they connect for.
_exchange: ContextVar[_Exchange] = ContextVar("exchange")


class _AnsweredUnasked(aiohttp.ClientError):
    """Something came while nothing was asked: a 408 on an idle connection, or a 200 for anybody who connects."""


class _TooManyInterimAnswers(HttpProcessingError):
    message = "Too many interim answers"


class _Protocol(ResponseHandler):
    """Bounds what may come before an answer, and what is left after an exchange.

    aiohttp reads 1xx answers for as long as they come. Parsing a flood of them takes the whole
    loop, which all receivers share, until the flooder's own timeout ends it.

    A transport that is closed goes on sending what it holds, and TLS waits for the receiver's
    goodbye. A receiver that reads no more would keep socket and body for as long as it likes, so
    whatever is closed is dropped.
    """

    _interim = 0

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        if data[0].code >= 200 or data[0].code == 101:
            self._interim = 0
        elif self._interim >= MAX_INTERIM:
            if not self.is_eof():
                self.set_exception(_TooManyInterimAnswers())
                if self.transport is not None:
                    self.transport.abort()
            return
        else:
            self._interim += 1
        super().feed_data(data, size)

    def close(self) -> None:
        self.abort()


class _Connector(aiohttp.TCPConnector):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # Not public, but the only place where a connection's protocol is chosen; a test would see it go.
        self._factory = functools.partial(_new_protocol, asyncio.get_running_loop())  # type: ignore[assignment]


def _new_protocol(loop: asyncio.AbstractEventLoop) -> _Protocol:
    """Made when TCP stands, and before TLS begins."""
    _exchange.get().tcp_stood = time.perf_counter()
    return _Protocol(loop=loop)


class _Request(ClientRequest):
    """Notes which peer the request goes to: new and reused connections both pass here."""

    async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        exchange = _exchange.get()
        if conn.protocol is not None and conn.protocol.should_close:
            # It would be read as the answer, before a byte of the request has left.
            raise _AnsweredUnasked
        peer = conn.transport.get_extra_info("peername") if conn.transport else None
        if exchange.by_proxy and exchange.route:
            # The peer is the proxy, whose address is nothing a tenant should learn.
            exchange.address = exchange.route.address
            # Not before the tunnel stands: it is asked for by address, and its Host has to agree.
            if exchange.route.host:
                self.headers["Host"] = exchange.route.host
        elif peer:
            exchange.address = _ip_and_port(peer[0], peer[1])
        exchange.asked = time.perf_counter()
        return await super().send(conn)


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
        self._per_host_limit = per_host_limit
        self._slots = asyncio.Semaphore(limit)
        self._hosts: dict[tuple[str, int], _Host] = {}
        self._user_agent = user_agent
        self._keepalive = keepalive
        self._proxy = URL(proxy) if proxy else None
        self._resolver = resolver
        self._names: AbstractResolver | None = None
        self._ssl_context = ssl_context
        self._session: aiohttp.ClientSession | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        resolver = self._resolver
        if resolver is None:
            resolver = PooledResolver()
            self._stack.push_async_callback(resolver.close)
        self._names = resolver
        connector = _Connector(
            socket_factory=self._open_socket,
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
                trace_configs=[_traces()],
                request_class=_Request,
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
        await self._stack.aclose()

    async def post(self, request: OutgoingRequest) -> Outcome:
        """Send `request` once and say what came of it; raises nothing but CancelledError.

        "Once" with one exception: a kept-alive connection that the receiver closed just as we
        wrote to it says nothing about the message, so it is sent again at once (same bytes, same
        id), on condition that not one byte of an answer had come.
        """
        try:
            target = self._guard.parse(request.url)
            headers = self._headers(request)
        except UrlRefused as refusal:
            return Outcome(status=None, error="refused", detail=refusal.sentence)
        async with self._slot(target):
            started = time.perf_counter()
            exchange = _Exchange(target, by_proxy=self._proxy is not None)
            _exchange.set(exchange)
            timeout = max(0.001, min(request.timeout, MAX_TIMEOUT))
            try:
                async with asyncio.timeout(timeout):
                    await self._send_by_some_route(request, headers, exchange)
            except TimeoutError:
                return exchange.outcome(started, "timeout", f"No complete answer within {timeout:g} seconds.")
            except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as failure:
                error, detail = _classify(failure, exchange)
                return exchange.outcome(started, error, detail)
            return exchange.outcome(started)

    async def _send_by_some_route(self, request: OutgoingRequest, headers: LooseHeaders, exchange: _Exchange) -> None:
        """Without a proxy there is one route, and the connector tries the name's addresses in turn."""
        routes = await self._routes_by_proxy(exchange) if self._proxy else [_Route(_url(exchange.target))]
        for route in routes:
            exchange.route = route
            try:
                return await self._send_past_a_stale_connection(request, headers, exchange, route)
            except aiohttp.ClientHttpProxyError:
                # No tunnel to this address: nothing of the message has left.
                if route is routes[-1]:
                    raise

    async def _send_past_a_stale_connection(
        self, request: OutgoingRequest, headers: LooseHeaders, exchange: _Exchange, route: _Route
    ) -> None:
        try:
            await self._send(request, headers, exchange, route)
        except (aiohttp.ClientError, OSError) as failure:
            if not _is_stale_connection(failure, exchange):
                raise
            exchange.reused = False
            await self._send(request, headers, exchange, route)

    async def _routes_by_proxy(self, exchange: _Exchange) -> list[_Route]:
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
            known = _ip_and_port(passed[0], target.port) if len(passed) == 1 else ""
            return [_Route(_url(target), address=known)]
        return [
            _Route(
                _url(replace(target, host=address)),
                address=_ip_and_port(address, target.port),
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

    async def _send(self, request: OutgoingRequest, headers: LooseHeaders, exchange: _Exchange, route: _Route) -> None:
        if self._session is None:
            raise RuntimeError("The client is not open.")
        async with self._session.request(
            request.method,
            route.url,
            # aiohttp would have large bodies as files, which it writes piece by piece.
            data=request.body if len(request.body) <= READ_BODY else io.BytesIO(request.body),
            headers=headers,
            allow_redirects=False,
            proxy=self._proxy,
            server_hostname=route.server_hostname,
        ) as response:
            exchange.first_byte_ms = _elapsed_ms(exchange.asked)
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
            if not _TOKEN.fullmatch(name) or name.lower() in FRAMING_HEADERS:
                raise UrlRefused("header", f"The header {name!r:.80} cannot be sent.")
            if not _VALUE.fullmatch(value):
                raise UrlRefused("header", f"The value of {name} contains control characters.")
        headers.setdefault("User-Agent", self._user_agent)
        return headers

    @asynccontextmanager
    async def _slot(self, target: Target) -> AsyncIterator[None]:
        """A place in the host's queue first, so that one slow host cannot fill the common one."""
        key = (target.host, target.port)
        host = self._hosts.setdefault(key, _Host(asyncio.Semaphore(self._per_host_limit)))
        host.users += 1
        try:
            async with host.slots, self._slots:
                yield
        finally:
            host.users -= 1
            if not host.users:
                del self._hosts[key]

    def _open_socket(self, addr_info: AddrInfo) -> socket.socket:
        """The connector's socket factory: the last look at where a message is going."""
        family, kind, protocol, _, address = addr_info
        exchange = _exchange.get()
        if self._proxy is None:
            try:
                self._guard.check_address(address[0], plain_http=exchange.target.plain_http, port=address[1])
            except AddressRefused as refusal:
                exchange.refusal = refusal
                raise
            if not exchange.attempted:
                exchange.dns_ms = _elapsed_ms(exchange.connect_started)
        exchange.attempted = True
        return socket.socket(family, kind, protocol)


def _traces() -> aiohttp.TraceConfig:
    async def started(session: aiohttp.ClientSession, _: SimpleNamespace, params: object) -> None:
        _exchange.get().connect_started = time.perf_counter()

    async def ended(session: aiohttp.ClientSession, _: SimpleNamespace, params: object) -> None:
        exchange = _exchange.get()
        exchange.connect_ms = _elapsed_ms(exchange.connect_started)
        if not exchange.by_proxy and not exchange.target.plain_http:
            exchange.tls_ms = _elapsed_ms(exchange.tcp_stood)

    async def reused(session: aiohttp.ClientSession, _: SimpleNamespace, params: object) -> None:
        _exchange.get().reused = True

    traces = aiohttp.TraceConfig()
    traces.on_connection_create_start.append(started)
    traces.on_connection_create_end.append(ended)
    traces.on_connection_reuseconn.append(reused)
    return traces


def _is_stale_connection(failure: Exception, exchange: _Exchange) -> bool:
    """Whether a reused connection turned out closed before any byte of an answer."""
    if not exchange.reused or exchange.status is not None:
        return False
    if isinstance(failure, _AnsweredUnasked):
        return True
    if isinstance(failure, aiohttp.ServerDisconnectedError):
        # With a partly read header the message is that header, not a text.
        return isinstance(failure.message, str)
    return isinstance(failure, (ConnectionError, aiohttp.ClientOSError)) and not isinstance(
        failure, aiohttp.ClientConnectorError
    )


def _classify(failure: Exception, exchange: _Exchange) -> tuple[str, str]:
    """The error class of Outcome, and a sentence for people that tells nothing about our inside."""
    if exchange.refusal is not None and not exchange.attempted:
        return "refused", str(exchange.refusal)
    match failure:
        case aiohttp.ClientProxyConnectionError():
            return "connect", "The portal's own proxy cannot be reached."
        case aiohttp.ClientConnectorDNSError() if exchange.by_proxy:
            return "connect", "The portal's own proxy cannot be reached."
        case aiohttp.ClientHttpProxyError():
            return "connect", f"The portal's own proxy opened no connection ({failure.status})."
        case aiohttp.ClientConnectorDNSError() | socket.gaierror():
            return "dns", f"The name {exchange.target.host} does not resolve."
        case aiohttp.ClientConnectorCertificateError():
            return "tls", f"The certificate is not trusted: {_tls_reason(failure)}."
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return "tls", f"No TLS session: {_tls_reason(failure)}."
        case aiohttp.ClientConnectorError():
            return "connect", f"No connection: {failure.os_error.strerror or 'failed'}."
        case aiohttp.ServerDisconnectedError():
            return "reset", "The receiver closed the connection without an answer."
        case aiohttp.ClientOSError() | ConnectionError():
            return "reset", "The receiver reset the connection."
        case _AnsweredUnasked():
            return "protocol", "The receiver answered before it was asked."
        case aiohttp.ClientResponseError():
            if _has_cause(failure, _TooManyInterimAnswers):
                return "too_large", "The answer was preceded by too many interim ones."
            if _has_cause(failure, LineTooLong) or "Too many headers" in failure.message:
                return "too_large", "The answer's header is too large."
            return "protocol", "The answer is not HTTP."
        case aiohttp.ClientPayloadError():
            if _was_cut(failure):
                return "reset", "The receiver closed the connection in the middle of its answer."
            return "protocol", "The answer's body is not valid HTTP."
        case _:
            return "protocol", f"The request failed ({type(failure).__name__})."


def _was_cut(failure: aiohttp.ClientPayloadError) -> bool:
    return "not completed" in str(failure)


def _has_cause(failure: BaseException | None, kind: type[BaseException]) -> bool:
    while failure is not None:
        if isinstance(failure, kind):
            return True
        failure = failure.__cause__
    return False


def _tls_reason(failure: BaseException) -> str:
    cause = failure.__cause__ if isinstance(failure.__cause__, ssl.SSLError) else failure
    if isinstance(cause, ssl.SSLCertVerificationError):
        return str(cause.verify_message)
    reason = getattr(cause, "reason", None)
    return str(reason).lower().replace("_", " ") if reason else "the handshake failed"


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


def _ip_and_port(ip: str, port: int) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def _elapsed_ms(started: float) -> float:
    return (time.perf_counter() - started) * 1000
