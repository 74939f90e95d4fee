"""One call from a test to a receiver: a client of its own, a loop of its own."""

import asyncio
import socket
import struct

from egress.client import Client, OutgoingRequest
from egress.guard import Guard

LOOPBACK = Guard(allow=["127.0.0.0/8"])


def post(url, *, body=b"{}", headers=(), timeout=5.0, times=1, guard=LOOPBACK, method="POST", loop=None, **kw):
    """Post `times` times over one client, one after another; the outcomes. `url` may be many of them."""
    urls = [url] * times if isinstance(url, str) else url

    async def run():
        async with Client(guard, **kw) as client:
            requests = [OutgoingRequest(one, tuple(headers), body, timeout, method) for one in urls]
            return [await client.post(request) for request in requests]

    with asyncio.Runner(loop_factory=loop) as runner:
        outcomes = runner.run(run())
    return outcomes[0] if isinstance(url, str) and times == 1 else outcomes


def reset(conn):
    """Close with RST instead of FIN."""
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conn.close()
