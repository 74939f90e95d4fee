"""Stops reading a body once it is longer than its address allows. Pure ASGI.

Django's ASGI handler reads a whole body into a file before any view runs, so the bound has to stand in front of it.

At the ingest door the application is told that the body ends there: it sees more than the bound and refuses with
413 itself, so that the refusal is recorded for the admin. Elsewhere the 413 is answered here.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from events.arrivals import PROBLEM, problem

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

DOOR = "/in/"


class BoundedBody:
    """`door_bytes` bounds headers and body of `/in/…` together; `other_bytes` the body of anything else."""

    def __init__(self, app: Application, *, door_bytes: int, other_bytes: int) -> None:
        self.app = app
        self.door_bytes = door_bytes
        self.other_bytes = other_bytes

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        at_door = scope["path"].startswith(DOOR)
        limit = self.door_bytes if at_door else self.other_bytes
        too_long = _declared(scope["headers"]) > limit
        if too_long and not at_door:
            await _refuse(send)
            return
        read = 0
        ended = False
        answered = False

        async def bounded_receive() -> Message:
            nonlocal read, ended, too_long
            if ended:  # whatever else comes is not the application's business, but a disconnect is
                while (message := await receive())["type"] == "http.request":
                    pass
                return message
            if too_long:
                ended = True
                return {"type": "http.request", "body": b"", "more_body": False}
            message = await receive()
            if message["type"] != "http.request":
                return message
            read += len(message.get("body", b""))
            if read > limit:
                ended = True
                if not at_door:  # to the application the sender has gone: it stops and closes its files
                    too_long = True
                    return {"type": "http.disconnect"}
                return {**message, "more_body": False}
            ended = not message.get("more_body", False)
            return message

        async def watched_send(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        await self.app(scope, bounded_receive, watched_send)
        if too_long and not answered:
            await _refuse(send)


def _declared(headers: Iterable[tuple[bytes, bytes]]) -> int:
    lengths = [value for name, value in headers if name.lower() == b"content-length"]
    return max((int(value[:16]) for value in lengths if value.isdigit()), default=0)


async def _refuse(send: Send) -> None:
    body = json.dumps(problem(413).body).encode()
    headers = [
        (b"content-type", PROBLEM.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
