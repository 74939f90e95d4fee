"""Stops reading a body once it is longer than any form or API request may be. Pure ASGI.

Django's ASGI handler reads a whole body into a file before any view runs, so the bound has to stand in front of it.
The ingest door (`events.door`) has its own.
"""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from events.arrivals import PROBLEM, problem

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class BoundedBody:
    """413 for a request whose body is longer than `max_bytes`, declared or sent."""

    def __init__(self, app: Application, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if declared_length(scope["headers"]) > self.max_bytes:
            await _refuse(send)
            return
        read = 0
        too_long = answered = False

        async def bounded_receive() -> Message:
            nonlocal read, too_long
            if too_long:
                return {"type": "http.disconnect"}
            message = await receive()
            if message["type"] != "http.request":
                return message
            read += len(message.get("body", b""))
            if read > self.max_bytes:  # to the application the sender has gone: it stops and closes its files
                too_long = True
                return {"type": "http.disconnect"}
            return message

        async def watched_send(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        await self.app(scope, bounded_receive, watched_send)
        if too_long and not answered:
            await _refuse(send)


def declared_length(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """The largest Content-Length of these headers; 0 where none is a number."""
    lengths = [value for name, value in headers if name == b"content-length"]
    return max((int(value[:16]) for value in lengths if value.isdigit()), default=0)


async def _refuse(send: Send) -> None:
    body = problem(413).body
    headers = [
        (b"content-type", PROBLEM.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
