"""What is sent, what came of it, and what is learnt on the way: data, shared by client and connector."""

import ssl
import time
from contextvars import ContextVar
from dataclasses import dataclass, field

from yarl import URL

from egress.certificates import ClientCertificate
from egress.guard import AddressRefused, Target

KEPT_BODY = 16 * 1024


@dataclass(frozen=True, slots=True)
class OutgoingRequest:
    """One HTTP request, ready to go. `timeout` is in seconds, for the whole exchange, ≤ 30."""

    # None of these belongs in a log line: URLs and headers carry secrets, bodies are customers'.
    url: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)
    timeout: float = 15.0
    method: str = "POST"
    certificate: ClientCertificate | None = None


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
        client_certificate  ours cannot be presented: expired, unusable, or over plain http
        oauth_token  no access token was to be had (egress.authentication)

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
class Route:
    """How a target is asked for. `server_hostname` and `host` say its name where `url` has an address."""

    url: URL
    address: str = ""
    server_hostname: str | None = None
    host: str = ""


@dataclass(slots=True)
class Exchange:
    """What is learnt on the way; filled in by the socket factory, the traces and the reader."""

    target: Target
    by_proxy: bool = False
    tls: ssl.SSLContext | None = None
    route: Route | None = None
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
            total_ms=elapsed_ms(started),
            address=self.address,
            dns_ms=self.dns_ms,
            tls_ms=self.tls_ms,
            first_byte_ms=self.first_byte_ms,
        )


# A context variable, because the connector calls its socket factory with an address only, from
# tasks (happy eyeballs) that inherit the context of the request they connect for.
current: ContextVar[Exchange] = ContextVar("exchange")


def ip_and_port(ip: str, port: int) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def elapsed_ms(started: float) -> float:
    return (time.perf_counter() - started) * 1000
