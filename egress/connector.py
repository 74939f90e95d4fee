"""The sockets: opened only where the guard lets them, bounded in what may come before an answer.

aiohttp's side of `egress.client`. What is learnt here is written into the exchange under way (`egress.exchange`).
"""

import asyncio
import functools
import socket
import time
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import StreamReader

from egress.exchange import current, elapsed_ms, ip_and_port
from egress.guard import AddressRefused, Guard

MAX_INTERIM = 32  # 1xx answers before the real one

AddrInfo = tuple[
    int | socket.AddressFamily,
    int | socket.SocketKind,
    int,
    str,
    tuple,  # type: ignore[type-arg]
]


class AnsweredUnasked(aiohttp.ClientError):
    """Something came while nothing was asked: a 408 on an idle connection, or a 200 for anybody who connects."""


class TooManyInterimAnswers(HttpProcessingError):
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
                self.set_exception(TooManyInterimAnswers())
                if self.transport is not None:
                    self.transport.abort()
            return
        else:
            self._interim += 1
        super().feed_data(data, size)

    def close(self) -> None:
        self.abort()


class Connector(aiohttp.TCPConnector):
    """`guard` is None where every socket leads to a proxy: that address is the operator's choice.

    Notes when a connection is made: a request that passes by has found one that was kept. aiohttp's traces would tell
    the same, at three coroutines and their bookkeeping for each request.
    """

    def __init__(self, guard: Guard | None, **options: Any) -> None:
        super().__init__(socket_factory=self._open_socket, **options)
        self._guard = guard
        # Not public, but the only place where a connection's protocol is chosen; a test would see it go.
        self._factory = functools.partial(_new_protocol, asyncio.get_running_loop())  # type: ignore[assignment]

    async def _create_connection(self, *arguments: Any) -> ResponseHandler:
        exchange = current.get()
        exchange.reused = False
        exchange.connect_started = time.perf_counter()
        made = await super()._create_connection(*arguments)
        exchange.connect_ms = elapsed_ms(exchange.connect_started)
        if not exchange.by_proxy and not exchange.target.plain_http:
            exchange.tls_ms = elapsed_ms(exchange.tcp_stood)
        return made

    def _open_socket(self, addr_info: AddrInfo) -> socket.socket:
        """The connector's socket factory: the last look at where a message is going."""
        family, kind, protocol, _, address = addr_info
        exchange = current.get()
        if self._guard is not None:
            try:
                self._guard.check_address(address[0], plain_http=exchange.target.plain_http, port=address[1])
            except AddressRefused as refusal:
                exchange.refusal = refusal
                raise
            if not exchange.attempted:
                exchange.dns_ms = elapsed_ms(exchange.connect_started)
        exchange.attempted = True
        return socket.socket(family, kind, protocol)


def _new_protocol(loop: asyncio.AbstractEventLoop) -> _Protocol:
    """Made when TCP stands, and before TLS begins."""
    current.get().tcp_stood = time.perf_counter()
    return _Protocol(loop=loop)


class Request(ClientRequest):
    """Notes which peer the request goes to: new and reused connections both pass here."""

    async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        exchange = current.get()
        if conn.protocol is not None and conn.protocol.should_close:
            # It would be read as the answer, before a byte of the request has left.
            raise AnsweredUnasked
        peer = conn.transport.get_extra_info("peername") if conn.transport else None
        if exchange.by_proxy and exchange.route:
            # The peer is the proxy, whose address is nothing a tenant should learn.
            exchange.address = exchange.route.address
            # Not before the tunnel stands: it is asked for by address, and its Host has to agree.
            if exchange.route.host:
                self.headers["Host"] = exchange.route.host
        elif peer:
            exchange.address = ip_and_port(peer[0], peer[1])
        exchange.asked = time.perf_counter()
        return await super().send(conn)
