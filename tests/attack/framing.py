"""Requests that are no requests, or two readings of one: what a raw socket can say (RFC 9112, B3).

Every case goes to a source that asks for no proof, so that whatever the server takes for a request is kept and counted.
`required` names what may come back; `kept` how many events may be there afterwards. The smuggled ones hide a second,
good post in the first: it must not become a request of its own.
"""

import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.attack.report import Report
from tests.attack.server import Target
from tests.attack.wire import connect, overhear, request

BODY = b'{"a": 1}'
REFUSED = frozenset([(400,)])
TAKEN = frozenset([(202,)])
SILENT = frozenset([()])


@dataclass(frozen=True)
class FramingCase:
    """`pieces(path)` are sent one after another. `answers` are the statuses that may come, in their order.

    `closes` says that the server must end the connection; `kept` which numbers of events are right.
    """

    name: str
    pieces: Callable[[bytes], Sequence[bytes]]
    answers: frozenset[tuple[int, ...]] = REFUSED
    kept: frozenset[int] = frozenset([0])
    closes: bool | None = True
    half_close: bool = False
    without_body: bool = False

    @property
    def required(self) -> str:
        answers = " or ".join(" ".join(map(str, one)) or "nothing" for one in sorted(self.answers))
        end = {True: ", closed", False: ", open", None: ""}[self.closes]
        return f"{answers}{end}, {' or '.join(map(str, sorted(self.kept)))} kept"


def raw(*lines: bytes, body: bytes = b"", end: bytes = b"\r\n") -> Callable[[bytes], Sequence[bytes]]:
    """The request line and headers as they are; `PATH` stands for the source's path."""
    return lambda path: [end.join(lines).replace(b"PATH", path) + end * 2 + body]


def headed(*headers: bytes, body: bytes = BODY) -> Callable[[bytes], Sequence[bytes]]:
    """A good POST but for these headers; it has a length unless they are about one."""
    framed = any(b"length" in header.lower() or b"encoding" in header.lower() for header in headers)
    length = [] if framed else [b"Content-Length: %d" % len(body)]
    return raw(b"POST PATH HTTP/1.1", b"Host: localhost", *length, *headers, body=body)


def chunked(*chunks: bytes, headers: Sequence[bytes] = ()) -> Callable[[bytes], Sequence[bytes]]:
    return headed(b"Transfer-Encoding: chunked", *headers, body=b"".join(chunks))


def lined(line: bytes) -> Callable[[bytes], Sequence[bytes]]:
    """A good POST but for its first line."""
    return raw(line, b"Host: localhost", b"Content-Length: 8", body=BODY)


GOOD = (b"POST PATH HTTP/1.1", b"Host: localhost", b"Content-Length: 8")
CHUNKED_BODY = b"8\r\n" + BODY + b"\r\n0\r\n\r\n"


def post(path: bytes) -> bytes:
    return request(path.decode(), body=BODY)


def hidden(*headers: bytes, body: bytes = b"0\r\n\r\n") -> Callable[[bytes], Sequence[bytes]]:
    """A request with two readings, and behind it a good one."""
    return lambda path: [headed(*headers, body=body)(path)[0] + post(path)]


def hidden_within(*headers: bytes) -> Callable[[bytes], Sequence[bytes]]:
    """The good one lies within what one of two readings takes for the body."""

    def pieces(path: bytes) -> Sequence[bytes]:
        inner = post(path)
        length = b"Content-Length: %d" % (len(inner) + 5)
        return [headed(length, *headers, body=b"0\r\n\r\n" + inner)(path)[0]]

    return pieces


def _in_pieces(data: bytes) -> Sequence[bytes]:
    return [data[:20], data[20:21], data[21:40], data[40:-4], data[-4:-1], data[-1:]]


def _carrier(line: bytes) -> Callable[[bytes], Sequence[bytes]]:
    """A good one as the body of a request that needs none."""
    return lambda path: raw(line, b"Host: localhost", b"Content-Length: %d" % len(post(path)), body=post(path))(path)


LENGTHS = {
    "+8": b"+8", "-1": b"-1", "-0": b"-0", "0x8": b"0x8", "8.0": b"8.0", "8,8": b"8,8", "8, 8": b"8, 8", "8 8": b"8 8",
    "8;": b"8;", "8_0": b"8_0", "1e1": b"1e1", "empty": b"", "Arabic digits": "٨".encode(), "Latin-1 ²": b"\xb2",
    "true": b"true",
}  # fmt: skip
OBFUSCATED = {
    "xchunked": b"Transfer-Encoding: xchunked",
    "chunked in quotes": b'Transfer-Encoding: "chunked"',
    "chunked, identity": b"Transfer-Encoding: chunked, identity",
    "chunked twice in one": b"Transfer-Encoding: chunked, chunked",
    "identity": b"Transfer-Encoding: identity",
    "empty": b"Transfer-Encoding:",
    "a comma": b"Transfer-Encoding: ,chunked",
    "chunked;q=1": b"Transfer-Encoding: chunked;q=1",
    "a vertical tab": b"Transfer-Encoding: \x0bchunked",
    "a NUL": b"Transfer-Encoding: chunked\x00",
    "a carriage return": b"Transfer-Encoding: chunked\r",
    "a space before the colon": b"Transfer-Encoding : chunked",
    "a tab before the colon": b"Transfer-Encoding\t: chunked",
    "a space before the name": b" Transfer-Encoding: chunked",
    "folded": b"Transfer-Encoding:\r\n chunked",
    "behind a bare LF": b"X: y\nTransfer-Encoding: chunked",
    "behind a bare CR": b"X: y\rTransfer-Encoding: chunked",
    "with underscores": b"Transfer_Encoding: chunked",
    "UTF-8 in its name": "Transfer‐Encoding: chunked".encode(),
}
CHUNK_SIZES = {
    "-8": b"-8", "+8": b"+8", "0x8": b"0x8", "8 and a space": b"8 ", "a space and 8": b" 8", "8_0": b"8_0",
    "empty": b"", "g": b"g", "8,8": b"8,8", "a NUL": b"8\x00", "a bare CR": b"8\r", "Latin-1": b"\xb2",
}  # fmt: skip
NAMES = {
    "a space in it": b"X Sig: 1", "a space before its colon": b"X-Sig : 1", "a tab before its colon": b"X-Sig\t: 1",
    "empty": b": 1", "no colon": b"X-Sig", "brackets": b"X(1): 1", "a slash": b"X/1: 1", "a quote": b'X": 1',
    "a NUL": b"X\x00: 1", "a Latin-1 letter": b"X\xe9: 1", "UTF-8": "Xé: 1".encode(), "DEL": b"X\x7f: 1",
    "an underscore": b"X_Sig: 1", "Content_Length": b"Content_Length: 9", "underscores only": b"___: 1",
}  # fmt: skip
VALUES = {
    "NUL": b"X-A: a\x00b", "a bare CR": b"X-A: a\rb", "a bare LF": b"X-A: a\nb", "a bell": b"X-A: a\x07b",
    "DEL": b"X-A: a\x7fb", "a folded line": b"X-A: a\r\n b", "a folded line with a tab": b"X-A: a\r\n\tb",
}  # fmt: skip
LINES = {
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "one word": b"POST",
    "no version": b"POST PATH",
    "HTTP/0.9": b"GET PATH",
    "HTTP/1.2": b"POST PATH HTTP/1.2",
    "HTTP/2.0": b"POST PATH HTTP/2.0",
    "HTTP/1.10": b"POST PATH HTTP/1.10",
    "http/1.1": b"POST PATH http/1.1",
    "ICY/1.1": b"POST PATH ICY/1.1",
    "the method in small letters": b"post PATH HTTP/1.1",
    "a method with a colon": b"PO:ST PATH HTTP/1.1",
    "a method without end": b"P" * 3000 + b" PATH HTTP/1.1",
    "two spaces": b"POST  PATH HTTP/1.1",
    "a tab": b"POST\tPATH\tHTTP/1.1",
    "a word too many": b"POST PATH HTTP/1.1 x",
    "a space in the target": b"POST PATH x HTTP/1.1",
    "a NUL in the target": b"POST PATH\x00 HTTP/1.1",
    "a Latin-1 letter in the target": b"POST PATH\xe9 HTTP/1.1",
    "a bare CR in the target": b"POST PATH\r HTTP/1.1",
    "no slash": b"POST in/key HTTP/1.1",
    "a space before": b" POST PATH HTTP/1.1",
    "an asterisk": b"POST * HTTP/1.1",
    "a port": b"POST localhost:80 HTTP/1.1",
    "the PROXY protocol": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nPOST PATH HTTP/1.1",
}
# Well-formed, and nothing of the source's: whatever it is, it is no 500 and keeps nothing.
TARGETS = {
    "//in": b"/PATH", "/in/../in": b"/in/..PATH", "%2e%2e": b"/in/%2e%2ePATH", "a NUL in the key": b"PATH%00",
    "a line break in the key": b"PATH%0d%0aX:1", "bytes that are no UTF-8": b"/in/%ff%fe", "no key": b"/in/",
    "half a surrogate": b"/in/%ed%a0%80", "a site of NUL": b"PATH/%00", "a site of two": b"PATH/a/b", "/IN": b"/IN/x",
    "a site without end": b"PATH/" + b"a" * 3000, "a half escape": b"/in/%", "a template": b"/in/{{7*7}}",
    "absolute form": b"http://localhostPATH", "absolute form, elsewhere": b"http://evil.examplePATH",
}  # fmt: skip
NOT_FOUND = frozenset([(404,), (400,), (301,)])


def _each(words: str, lines: dict[str, bytes], make: Callable[[bytes], Callable], **fields) -> list[FramingCase]:
    return [FramingCase(f"{words}: {name}", make(line), **fields) for name, line in lines.items()]


CASES: list[FramingCase] = [
    # What must be taken, so that refusing everything is no way to pass.
    FramingCase("a good post", raw(*GOOD, body=BODY), TAKEN, frozenset([1]), False),
    FramingCase("a good post in chunks", chunked(CHUNKED_BODY), TAKEN, frozenset([1]), False),
    FramingCase("in pieces", lambda path: _in_pieces(post(path)), TAKEN, frozenset([1]), False),
    FramingCase("two, one behind the other", lambda path: [post(path) * 2], frozenset([(202, 202)]), frozenset([2]),
                False),
    FramingCase("Connection: close", headed(b"Connection: close"), TAKEN, frozenset([1])),
    FramingCase("HTTP/1.0", lined(b"POST PATH HTTP/1.0"), TAKEN, frozenset([1])),
    FramingCase("CHUNKED, a space at its end", headed(b"Transfer-Encoding: CHUNKED ", body=CHUNKED_BODY), TAKEN,
                frozenset([1]), False),
    FramingCase("a chunk extension", chunked(b'8;a=b;c="d"\r\n' + BODY + b"\r\n0\r\n\r\n"), TAKEN, frozenset([1]),
                False),
    FramingCase("an empty line before", lambda path: [b"\r\n" + post(path)], TAKEN, frozenset([1]), False),
    FramingCase("Expect: 100-continue", lambda path: [headed(b"Expect: 100-continue")(path)[0][:-8], BODY],
                frozenset([(100, 202)]), frozenset([1]), False),
    FramingCase("Expect: something else", headed(b"Expect: 200-ok"), frozenset([(202,), (417,)]), frozenset([0, 1]),
                None),
    FramingCase("a proof in a trailer", chunked(CHUNKED_BODY[:-2] + b"X-Sig: 1\r\n\r\n"), TAKEN, frozenset([1]), False),
    # Length.
    FramingCase("TE and CL", hidden(b"Transfer-Encoding: chunked", b"Content-Length: 5")),
    FramingCase("CL and TE", hidden(b"Content-Length: 5", b"Transfer-Encoding: chunked")),
    FramingCase("two TE", hidden(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked")),
    FramingCase("two TE, identity last", hidden(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity")),
    FramingCase("TE in HTTP/1.0", raw(b"POST PATH HTTP/1.0", b"Transfer-Encoding: chunked", body=CHUNKED_BODY)),
    FramingCase("TE: gzip, chunked", headed(b"Transfer-Encoding: gzip, chunked", body=CHUNKED_BODY),
                frozenset([(202,), (400,), (501,)]), frozenset([0, 1])),
    FramingCase("two lengths", hidden(b"Content-Length: 5", b"Content-Length: 0")),
    FramingCase("two equal lengths", hidden(b"Content-Length: 5", b"Content-Length: 5")),
    FramingCase("a length of 20 digits", headed(b"Content-Length: " + b"9" * 20), frozenset([(413,), (400,)])),
    FramingCase("a length of 5,000 digits", headed(b"Content-Length: " + b"9" * 5000)),
    FramingCase("a length of two million", hidden(b"Content-Length: 2000000"), frozenset([(413,)])),
    FramingCase("no length", raw(*GOOD[:2], body=b""), frozenset([(400,), (411,)]), closes=None),
    *_each("Content-Length", LENGTHS, lambda value: hidden(b"Content-Length: " + value)),
    *_each("smuggled behind TE and CL", OBFUSCATED, hidden_within, answers=frozenset([(400,), (501,)])),
    *_each("smuggled behind TE", OBFUSCATED, hidden, answers=frozenset([(400,), (501,)])),
    FramingCase("smuggled in the body of a GET", _carrier(b"GET PATH HTTP/1.1"), frozenset([(405,)]), closes=False),
    FramingCase("smuggled in the body of a page", _carrier(b"GET /healthz HTTP/1.1"), frozenset([(200,)]), closes=None),
    # Chunks.
    *_each("chunk size", CHUNK_SIZES, lambda size: chunked(size + b"\r\n" + BODY + b"\r\n0\r\n\r\n")),
    FramingCase("chunk size of 17 digits", chunked(b"F" * 17 + b"\r\n" + BODY), SILENT, half_close=True),
    FramingCase("chunk size of 2 GB", chunked(b"80000000\r\n" + BODY), SILENT, half_close=True),
    FramingCase("chunk size without end", chunked(b"0" * 20_000), REFUSED),
    FramingCase("chunk extension without end", chunked(b"8;" + b"a" * 20_000), REFUSED),
    FramingCase("chunk extension with a NUL", chunked(b"8;a\x00\r\n" + BODY + b"\r\n0\r\n\r\n")),
    FramingCase("chunk extension with a bare LF", chunked(b"8;a\n" + BODY + b"\r\n0\r\n\r\n")),
    FramingCase("chunk without its CRLF", chunked(b"8\r\n" + BODY + b"0\r\n\r\n")),
    FramingCase("chunk with LF only", chunked(b"8\n" + BODY + b"\n0\n\n")),
    FramingCase("chunk longer than it says", chunked(b"3\r\n" + BODY + b"\r\n0\r\n\r\n")),
    FramingCase("last chunk missing", chunked(b"8\r\n" + BODY + b"\r\n"), SILENT, half_close=True),
    FramingCase("last CRLF missing", chunked(b"8\r\n" + BODY + b"\r\n0\r\n"), SILENT, half_close=True),
    FramingCase("a body in 11,000 chunks", chunked(b"1\r\n1\r\n" * 11_000 + b"0\r\n\r\n")),
    FramingCase("a length in a trailer", chunked(CHUNKED_BODY[:-2] + b"Content-Length: 3\r\n\r\n")),
    FramingCase("trailers without end", chunked(CHUNKED_BODY[:-2] + b"X: 1\r\n" * 500), frozenset([(431,), (400,)])),
    # Lines and headers.
    FramingCase("two hosts", headed(b"Host: other")),
    FramingCase("two content types", headed(b"Content-Type: a/b", b"Content-Type: c/d")),
    FramingCase("bare LF throughout", raw(*GOOD, body=BODY, end=b"\n")),
    FramingCase("bare CR throughout", raw(*GOOD, body=BODY, end=b"\r"), SILENT, half_close=True),
    FramingCase("a folded first header", raw(GOOD[0], b" Host: localhost", *GOOD[2:], body=BODY)),
    FramingCase("two empty lines before", lambda path: [b"\r\n\r\n" + post(path)]),
    *_each("header name", NAMES, headed),
    *_each("header value", VALUES, headed),
    FramingCase("101 headers", headed(*[b"X-%d: 1" % number for number in range(100)]), frozenset([(431,)])),
    FramingCase("a header of 9,000 bytes", headed(b"X-A: " + b"a" * 9000), frozenset([(431,)])),
    FramingCase("a header without end", lambda path: [b"POST %s HTTP/1.1\r\nX-A: " % path + b"a" * 100_000],
                frozenset([(431,)])),
    FramingCase("a target of 5,000 bytes", lined(b"POST PATH/" + b"a" * 5000 + b" HTTP/1.1"), frozenset([(414,)])),
    FramingCase("a line without end", lambda path: [b"A" * 100_000], frozenset([(414,)])),
    *_each("first line", LINES, lined, answers=frozenset([(400,), (501,), (505,)])),
    FramingCase("the HTTP/2 preface", lambda path: [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"]),
    *_each("target", TARGETS, lambda line: lined(b"POST " + line + b" HTTP/1.1"), answers=NOT_FOUND, closes=None),
    # No host is needed to find a source, so none is asked for; nginx refuses such a request (RFC 9112 section 3.2).
    FramingCase("no host", raw(GOOD[0], GOOD[2], body=BODY), frozenset([(202,), (400,)]), frozenset([0, 1]), None),
    FramingCase("a page of another host", raw(b"GET /accounts/login/ HTTP/1.1", b"Host: evil.example"),
                frozenset([(400,)]), closes=None),
    FramingCase("a page of two hosts in one", raw(b"GET /accounts/login/ HTTP/1.1", b"Host: localhost, evil.example"),
                frozenset([(400,)]), closes=None),
    # Other methods and protocols.
    FramingCase("HEAD", raw(b"HEAD PATH HTTP/1.1", b"Host: localhost"), frozenset([(405,)]), closes=False,
                without_body=True),
    FramingCase("TRACE", raw(b"TRACE PATH HTTP/1.1", b"Host: localhost"), frozenset([(405,)]), closes=False),
    FramingCase("a method that nobody knows", lined(b"BREW PATH HTTP/1.1"), frozenset([(405,)]), closes=False),
    FramingCase("CONNECT", raw(b"CONNECT localhost:80 HTTP/1.1", b"Host: localhost"),
                frozenset([(400,), (404,), (405,)])),
    FramingCase("OPTIONS *", raw(b"OPTIONS * HTTP/1.1", b"Host: localhost"), NOT_FOUND, closes=None),
    FramingCase("upgrade to h2c", headed(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c",
                                         b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"), TAKEN, frozenset([1]), None),
    FramingCase("upgrade to a WebSocket", raw(
        b"GET PATH HTTP/1.1", b"Host: localhost", b"Connection: Upgrade", b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        frozenset([(403,), (404,), (405,), (426,)])),
    FramingCase("upgrade a page to a WebSocket", raw(
        b"GET / HTTP/1.1", b"Host: localhost", b"Connection: Upgrade", b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        frozenset([(403,), (404,), (405,), (426,)])),
    # Ends too early.
    FramingCase("half a line", lambda path: [b"POST " + path], SILENT, half_close=True),
    FramingCase("half of the headers", lambda path: [b"POST %s HTTP/1.1\r\nHost: lo" % path], SILENT, half_close=True),
    FramingCase("half of the body", lambda path: [post(path)[:-3]], SILENT, half_close=True),
    FramingCase("half of a chunk", chunked(b"8\r\n" + BODY[:4]), SILENT, half_close=True),
    # Kept, as it was whole; whether the answer still finds its way is chance (docs/intake.md: no answer, send again).
    FramingCase("half closed after all of it", lambda path: [post(path)], frozenset([(202,), ()]), frozenset([1]),
                half_close=True),
]  # fmt: skip


def attack_framing(target: Target, report: Report, *, quick: bool) -> None:
    report.begin("framing")
    source = target.create_source({"auth": {"method": "none"}, "stream_type": "json"})
    path = source.path.encode()
    before = 0
    for case in CASES:
        begun = target.events(source)
        seen = overhear(
            target.address, case.pieces(path), answers=max(map(len, case.answers)), half_close=case.half_close,
            without_body=case.without_body,
        )  # fmt: skip
        kept = _settled(target, source, begun, max(case.kept))
        ok = seen.statuses in case.answers and case.closes in (None, seen.closed) and kept in case.kept
        report.check(
            case.name, case.required, f"{seen}, {kept} kept", ok,
            false_accept=kept > max(case.kept) or (not max(case.kept) and 202 in seen.statuses),
        )  # fmt: skip
        before = begun + kept
    _reset_in_the_middle(target, report, path)
    report.check("nothing came later", f"{before} events", f"{target.events(source)} events",
                 target.events(source) == before)  # fmt: skip
    report.check("the server answers afterwards", "200", "200" if target.is_alive() else "dead", target.is_alive())


def _settled(target: Target, source, begun: int, wanted: int) -> int:
    """How many events came; where the answer was lost the commit may still be under way."""
    deadline = time.monotonic() + 2
    while (kept := target.events(source) - begun) < wanted and time.monotonic() < deadline:
        time.sleep(0.02)
    return kept


def _reset_in_the_middle(target: Target, report: Report, path: bytes) -> None:
    """A hundred connections that are reset while their body is on its way."""
    for _ in range(100):
        connection = connect(target.address)
        connection.sendall(post(path)[:-3])
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    alive = target.is_alive()
    report.check("a hundred resets in the middle of a body", "200", "200" if alive else "dead", alive)
