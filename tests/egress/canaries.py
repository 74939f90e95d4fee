"""Listeners that nobody may connect to, and everything a careless client would make of a URL.

A listener counts what reaches it; `Canaries.connects` holds every address that any Python socket of this process
was to be connected to, whoever listens there. One that is not this machine's is refused on the spot: a broken guard, or
a spelling that means something else than its author thought, must not make the tests knock at a stranger's door.
(psycopg connects in C and does not show.)
"""

import contextlib
import errno
import ipaddress
import socket
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult

from egress.guard import Guard, Target
from tests.egress.corpus import CANARY_V4, CANARY_V6, NAMES


@dataclass
class Canaries:
    """Listening on one port of each loopback address there is."""

    port: int
    listeners: list[socket.socket]
    connects: list[tuple[str, int]]

    def accepts(self) -> int:
        """How many connections came since the last time. The kernel accepts them without our help."""
        count = 0
        for listener in self.listeners:
            with contextlib.suppress(BlockingIOError):
                while True:
                    listener.accept()[0].close()
                    count += 1
        return count


@contextlib.contextmanager
def listening() -> Iterator[Canaries]:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(socket.create_server((CANARY_V4, 0), backlog=512))
        port = first.getsockname()[1]
        listeners = [first]
        with contextlib.suppress(OSError):  # a machine without IPv6
            server = socket.create_server((CANARY_V6, port), family=socket.AF_INET6, backlog=512)
            listeners.append(stack.enter_context(server))
        for listener in listeners:
            listener.setblocking(False)
        yield Canaries(port, listeners, stack.enter_context(noting_connects()))


@contextlib.contextmanager
def noting_connects() -> Iterator[list[tuple[str, int]]]:
    """Every address that this process would connect a socket to; those of other machines are not reached."""
    connects, listens = [], True

    def note(event: str, arguments: tuple) -> None:
        if listens and event == "socket.connect" and isinstance(arguments[1], tuple):
            connects.append(arguments[1][:2])
            if not ipaddress.ip_address(arguments[1][0]).is_loopback:
                raise ConnectionRefusedError(errno.ECONNREFUSED, "A test stays on its machine.")

    sys.addaudithook(note)  # cannot be taken back
    try:
        yield connects
    finally:
        listens = False


class CorpusResolver(AbstractResolver):
    """Names as the corpus says, and numbers as libc reads them: 0x7f.1 is 127.0.0.1."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        addresses = NAMES.get(host) or [_as_libc_reads(host)]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        pass


def _as_libc_reads(host: str) -> str:
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(host))
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None


class SocketCheckAlone(Guard):
    """The guard without its look at the text: every URL passes, read as generously as anybody could.

    What is left is the check of the socket's address, which therefore has to be enough by itself.
    """

    def check_url(self, url: str) -> None:
        pass

    def parse(self, url: str) -> Target:
        parts = urlsplit(url.strip())
        authority = unicodedata.normalize("NFKC", unquote(parts.netloc)).replace("。", ".")
        host, _, port = authority.rpartition("@")[2].rpartition(":")
        host = host.strip("[]/").partition("%")[0].rstrip(".").lower()
        explicit = int(port) if port.isdecimal() and port.isascii() else None
        with contextlib.suppress(OSError):
            host = socket.inet_ntoa(socket.inet_aton(host))
        with contextlib.suppress(ValueError):
            host = str(ipaddress.ip_address(host))
        return Target(parts.scheme, host, explicit or 443, explicit, parts.path or "/", None)
