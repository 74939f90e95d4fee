"""The bounds of a connection, at a real socket; the rest of it is attacked by tests/attack/framing.py."""

import asyncio
from types import SimpleNamespace

import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger

from config import connection
from config.connection import FREE_PIECES, MAX_HEAD, MAX_PIECES, PIECE, Connection

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"


async def never(scope, receive, send):
    await asyncio.Event().wait()


async def reads_all(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def sent(data: bytes, asgi=never) -> bytes:
    """All that comes back until the server closes."""

    async def talk() -> bytes:
        cfg = Config()
        cfg.set("keepalive", 1)
        loop = asyncio.get_running_loop()
        worker = SimpleNamespace(
            cfg=cfg, log=Logger(cfg), asgi=asgi, loop=loop, nr=0, nr_conns=0, alive=True, max_requests=9
        )
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


@pytest.mark.parametrize(("most", "pieces", "size"), [(MAX_PIECES, FREE_PIECES * 102 // 100, 1), (300, 301, PIECE)])
def test_a_body_in_too_many_pieces_is_refused(monkeypatch, most, pieces, size):
    monkeypatch.setattr(connection, "MAX_PIECES", most)
    chunk = b"%x\r\n%b\r\n" % (size, b"a" * size)
    answer = sent(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * pieces)
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_thousands_of_lines_may_be_a_chunk_each():
    line = b"96\r\n" + b"a" * 150 + b"\r\n"
    answer = sent(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + line * 5000 + b"0\r\n\r\n", reads_all)
    assert answer.startswith(b"HTTP/1.1 204 ")


def test_a_length_that_python_does_not_read_is_refused():
    assert sent(HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_a_head_that_is_too_large_is_refused_before_it_ends():
    fields = b"".join(b"X-%d: %b\r\n" % (number, b"a" * 8000) for number in range(MAX_HEAD // 8000 + 60))
    assert sent(HEAD + fields).startswith(b"HTTP/1.1 431 ")


def test_large_bodies_are_no_heads():
    post = HEAD + b"Content-Length: %d\r\n\r\n" % (4 * MAX_HEAD) + b"a" * (4 * MAX_HEAD)
    answer = sent(post * 3, reads_all)
    assert answer.count(b"HTTP/1.1 204 ") == answer.count(b"HTTP/1.1 ") == 3
