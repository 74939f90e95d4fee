"""HTTP as bytes: what is sent is exactly what a case says, and what comes back is read without trust."""

import contextlib
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Address = tuple[str, int]
PATIENCE = 30  # seconds for an answer that has to come


@dataclass(frozen=True)
class Heard:
    status: int
    headers: Mapping[str, str]
    body: bytes


def request(
    target: str,
    headers: Iterable[tuple[str, bytes]] = (),
    body: bytes = b"",
    method: str = "POST",
    host: str = "localhost",
) -> bytes:
    """A well-formed request line and framing, around headers that need not be."""
    lines = [f"{method} {target} HTTP/1.1".encode("latin-1"), b"Host: " + host.encode()]
    lines += [name.encode("latin-1") + b": " + value for name, value in headers]
    if body or method == "POST":
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class Wire:
    """A keep-alive connection that is opened again where the server closed it."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.socket: socket.socket | None = None

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
        self.socket = None

    def exchange(self, data: bytes) -> Heard:
        """One request, one answer; status 0 where the connection was closed without one."""
        for attempt in range(2):
            fresh = self.socket is None
            if self.socket is None:
                self.socket = connect(self.address)
            with contextlib.suppress(OSError):  # it may have answered before it read all
                self.socket.sendall(data)
            heard, _, closed = read_answer(self.socket, b"", PATIENCE)
            if closed or heard is None or heard.headers.get("connection", "") == "close":
                self.close()
            if heard is not None:
                return heard
            if fresh or attempt:
                break
        return Heard(0, {}, b"")


def connect(address: Address) -> socket.socket:
    opened = socket.create_connection(address, timeout=PATIENCE)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened


def read_answer(
    connection: socket.socket, buffered: bytes, seconds: float, *, without_body: bool = False
) -> tuple[Heard | None, bytes, bool]:
    """(the next answer or None, the bytes after it, whether the connection has ended). 1xx is an answer, too."""
    deadline = time.monotonic() + seconds
    while True:
        heard, rest = _parsed(buffered, without_body)
        if heard is not None:
            return heard, rest, False
        left = deadline - time.monotonic()
        if left <= 0:
            return None, buffered, False
        connection.settimeout(left)
        try:
            piece = connection.recv(262_144)
        except TimeoutError:
            return None, buffered, False
        except OSError:
            return None, buffered, True
        if not piece:
            return None, buffered, True
        buffered += piece


def _parsed(data: bytes, without_body: bool) -> tuple[Heard | None, bytes]:
    head, found, rest = data.partition(b"\r\n\r\n")
    if not found:
        return None, data
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split(" ")[1])
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if without_body or status < 200 or status == 204:
        return Heard(status, headers, b""), rest
    if headers.get("transfer-encoding") == "chunked":  # a short page: nobody looks at its text
        body, ended, rest = rest.partition(b"\r\n0\r\n\r\n")
        return (Heard(status, headers, body), rest) if ended else (None, data)
    length = int(headers.get("content-length", 0))
    if len(rest) < length:
        return None, data
    return Heard(status, headers, rest[:length]), rest[length:]


@dataclass(frozen=True)
class Overheard:
    """All that came back on one connection: statuses in order, and whether the server closed it."""

    statuses: tuple[int, ...]
    closed: bool

    def __str__(self) -> str:
        answers = " ".join(map(str, self.statuses)) or "nothing"
        return f"{answers}, {'closed' if self.closed else 'open'}"


def overhear(
    address: Address,
    pieces: Sequence[bytes],
    *,
    answers: int,
    half_close: bool = False,
    without_body: bool = False,
    quiet: float = 0.15,
    seconds: float = 10,
) -> Overheard:
    """Send the pieces with a moment between them; listen until `answers` have come and it is `quiet`, or it ends."""
    with connect(address) as connection:
        with contextlib.suppress(OSError):
            for number, piece in enumerate(pieces):
                if number:
                    time.sleep(0.05)
                connection.sendall(piece)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        statuses: list[int] = []
        rest, closed = b"", False
        deadline = time.monotonic() + seconds
        while not closed and len(statuses) < 20:
            wait = quiet if len(statuses) >= answers else deadline - time.monotonic()
            heard, rest, closed = read_answer(connection, rest, max(wait, 0.01), without_body=without_body)
            if heard is None:
                break
            statuses.append(heard.status)
        return Overheard(tuple(statuses), closed)
