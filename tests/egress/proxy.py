"""A small forward proxy on loopback: it tunnels (CONNECT), forwards (absolute form), and keeps what it was asked."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from tests.egress.receivers import Receiver, read_request

# What the proxy connects to for a target, or the status it refuses it with.
Leads = Callable[[str], tuple[str, int] | int]


class Proxy(Receiver):
    """`asked` holds the request heads it got, in order; `leads` says where each target leads."""

    def __init__(self, leads: Leads | None = None) -> None:
        self.asked: list[str] = []
        self._leads = leads or _as_asked
        super().__init__(self._behave)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def targets(self) -> list[str]:
        return [head.split(" ")[1] for head in self.asked]

    def _behave(self, conn: socket.socket) -> None:
        while request := read_request(conn):
            head, _, body = request.partition(b"\r\n\r\n")
            self.asked.append(head.decode())
            method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
            parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
            led = self._leads(parts.netloc)
            if isinstance(led, int):
                conn.sendall(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % led)
                continue
            with socket.create_connection(led) as far:
                if method == "CONNECT":
                    conn.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    return _join(conn, far)
                far.sendall(_forwarded(head, parts.path or "/", parts.netloc) + body)
                far.shutdown(socket.SHUT_WR)
                while data := far.recv(65536):
                    conn.sendall(data)
            return


def _as_asked(target: str) -> tuple[str, int] | int:
    """A proxy of a test's leads nowhere but to this machine."""
    host, _, port = target.rpartition(":")
    return (host, int(port)) if host.startswith("127.") else 403


def _forwarded(head: bytes, path: str, host: str) -> bytes:
    """As RFC 9112 section 3.2.2 has it: the Host is that of the target, and what is for the proxy stays with it."""
    method, *headers = head.decode().split("\r\n")
    kept = [line for line in headers if not line.lower().startswith(("host:", "proxy-"))]
    lines = [f"{method.split(' ')[0]} {path} HTTP/1.1", f"Host: {host}", *kept, "Connection: close", "", ""]
    return "\r\n".join(lines).encode()


def _join(one: socket.socket, other: socket.socket) -> None:
    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    back = threading.Thread(target=pump, args=(other, one), daemon=True)
    back.start()
    pump(one, other)
    back.join()


@contextlib.contextmanager
def proxying(leads: Leads | None = None) -> Iterator[Proxy]:
    running = Proxy(leads)
    try:
        yield running
    finally:
        running.close()
