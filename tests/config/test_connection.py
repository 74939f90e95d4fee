"""The bounds of a connection, at a real socket; the rest of it is attacked by tests/attack/framing.py."""

import asyncio
from types import SimpleNamespace

import pytest
from gunicorn.config import Config

from config.connection import MAX_PIECES, Connection

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"


async def never(scope, receive, send):
    await asyncio.Event().wait()


def sent(data: bytes) -> bytes:
    """All that comes back until the server closes."""

    async def talk() -> bytes:
        cfg = Config()
        cfg.set("keepalive", 1)
        loop = asyncio.get_running_loop()
        worker = SimpleNamespace(cfg=cfg, log=SimpleNamespace(), asgi=never, loop=loop, nr_conns=0, alive=True)
        server = await loop.create_server(lambda: Connection(worker), "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(data)
            answer = await asyncio.wait_for(reader.read(), 20)
            writer.close()
        return answer

    return asyncio.run(talk())


@pytest.mark.parametrize("data", [b"", HEAD, HEAD + b"X-Slow: "], ids=["nothing", "a header", "half a header"])
def test_headers_that_do_not_come_are_not_waited_for(data):
    assert sent(data) == b""


def test_a_body_in_too_many_pieces_is_refused():
    answer = sent(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * (MAX_PIECES + 1))
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_a_length_that_python_does_not_read_is_refused():
    assert sent(HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n").startswith(b"HTTP/1.1 400 ")
