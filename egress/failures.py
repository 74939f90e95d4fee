"""What a failed request is called: the error classes of an Outcome, with a sentence for people."""

import socket
import ssl

import aiohttp
from aiohttp.http_exceptions import LineTooLong

from egress.connector import AnsweredUnasked, TooManyInterimAnswers
from egress.exchange import Exchange

# With TLS 1.3 a receiver misses our certificate, or refuses it, when the handshake is over for us. What it says about
# that is lost where it closes the connection with our request unread.
_WANTS_CERTIFICATE = "It may want a client certificate, or another one."


def is_stale_connection(failure: Exception, exchange: Exchange) -> bool:
    """Whether a reused connection turned out closed before any byte of an answer."""
    if not exchange.reused or exchange.status is not None:
        return False
    if isinstance(failure, AnsweredUnasked):
        return True
    if isinstance(failure, aiohttp.ServerDisconnectedError):
        # With a partly read header the message is that header, not a text.
        return isinstance(failure.message, str)
    return isinstance(failure, (ConnectionError, aiohttp.ClientOSError)) and not isinstance(
        failure, aiohttp.ClientConnectorError
    )


def classify(failure: Exception, exchange: Exchange) -> tuple[str, str]:
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
        case aiohttp.ClientOSError() if isinstance(failure.__cause__, ssl.SSLError):
            return "tls", f"The receiver ended the TLS session ({_tls_reason(failure)}). {_WANTS_CERTIFICATE}"
        case aiohttp.ClientOSError() | ConnectionError() if _went_after_the_handshake(exchange):
            return "reset", f"The receiver reset the connection right after the handshake. {_WANTS_CERTIFICATE}"
        case aiohttp.ClientOSError() | ConnectionError():
            return "reset", "The receiver reset the connection."
        case AnsweredUnasked():
            return "protocol", "The receiver answered before it was asked."
        case aiohttp.ClientResponseError():
            if _has_cause(failure, TooManyInterimAnswers):
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


def _went_after_the_handshake(exchange: Exchange) -> bool:
    fresh = exchange.connect_ms is not None and not exchange.reused
    return fresh and exchange.status is None and exchange.target.scheme == "https"


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
