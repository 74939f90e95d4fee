"""Knock at every door with the same request: the view over WSGI, the same view over ASGI, and the door before them.

A `Front` serves all three; each knocks at a source of its own, made alike, so that no door sees what another did.
"""

import asyncio
import base64
import json
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

from django.conf import settings
from django.test import Client

from config.asgi import application
from events.door import Door
from events.models import Event, Inbox, OnceKey, Receipt
from sources.models import Source
from tenants.scope import system_scope

SAME_HEADERS = (
    "content-type",
    "cache-control",
    "allow",
    "www-authenticate",
    "retry-after",
    "vary",
    "x-content-type-options",
)
JSON = (("Content-Type", b"application/json"),)
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Knock:
    """One request. `end` follows the key in the path; both stand there as on the wire. `key` replaces the source's."""

    body: bytes = b'{"a": 1}'
    headers: Sequence[tuple[str, bytes]] = JSON
    method: str = "POST"
    end: str = ""
    query: str = ""
    key: str | None = None
    client: str = "192.0.2.7"


@dataclass(frozen=True)
class Way:
    """A source as its sender knows it."""

    source: Source
    secret: str | None
    key_id: str = ""
    now: float = 0  # the sender's clock

    @property
    def url(self) -> str:
        return self.source.url


@dataclass(frozen=True)
class Heard:
    """What a door answered; ids are replaced by their kind."""

    status: int
    body: str
    headers: dict[str, str] = field(default_factory=dict)


class Sender(Client):
    """Django's test client, without the Cookie header that it always sends."""

    def _base_environ(self, **request: Any) -> dict[str, Any]:
        environment = super()._base_environ(**request)
        if "HTTP_COOKIE" not in request:
            del environment["HTTP_COOKIE"]
        return environment


class Front:
    """`with Front() as front: front.knock("door", way, knock)`. Event loop and door run in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.door = Door(application.app, settings.INGEST_MAX_BYTES, wake=lambda: None)
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.sender = Sender()

    def __enter__(self) -> "Front":
        self.thread.start()
        try:
            self.run(self.door.start())
        except BaseException:
            self._stop_loop()
            raise
        return self

    def __exit__(self, *exc) -> None:
        try:
            self.run(self.door.stop())
            self.run(self.loop.shutdown_default_executor())
        finally:
            self._stop_loop()

    def _stop_loop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def knock(self, at: str, way: Way, knock: Knock) -> Heard:
        key = way.source.ingest_key if knock.key is None else knock.key
        status, headers, body = getattr(self, f"_{at}")(f"/in/{key}{knock.end}", knock)
        text = _ID.sub("<id>", body.decode().replace(way.source.ingest_key, "<key>"))
        same = {name: value for name, value in headers.items() if name in SAME_HEADERS or name.startswith("access-")}
        if status == 429:  # the clock went on between two doors
            assert 0 < int(same.pop("retry-after")) <= 61
        return Heard(status, text, same)

    def _wsgi(self, path: str, knock: Knock) -> tuple[int, dict[str, str], bytes]:
        """As a WSGI server hands it on: duplicates joined, `_` and `-` the same."""
        extra: dict[str, str] = {}
        for name, value in [("Host", b"localhost"), *knock.headers]:
            variable = name.upper().replace("-", "_")
            variable = variable if variable in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{variable}"
            text = value.decode("latin-1")
            extra[variable] = f"{extra[variable]},{text}" if variable in extra else text
        if knock.body or knock.method == "POST":
            extra.setdefault("CONTENT_LENGTH", str(len(knock.body)))
        extra.setdefault("CONTENT_TYPE", "")
        url = f"{path}?{knock.query}" if knock.query else path
        answer = self.sender.generic(knock.method, url, knock.body, REMOTE_ADDR=knock.client, **extra)
        return answer.status_code, {name.lower(): value for name, value in answer.items()}, answer.content

    def _view(self, path: str, knock: Knock) -> tuple[int, dict[str, str], bytes]:
        return self.run(over_asgi(application.app, path, knock))

    def _door(self, path: str, knock: Knock) -> tuple[int, dict[str, str], bytes]:
        return self.run(self._through_the_door(path, knock))

    async def _through_the_door(self, path: str, knock: Knock) -> tuple[int, dict[str, str], bytes]:
        heard = await over_asgi(self.door, path, knock)
        await self.door.notes.write()
        return heard


async def over_asgi(
    app: Callable, path: str, knock: Knock, chunks: Sequence[bytes] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """One request to an ASGI application, as gunicorn hands it on."""
    headers = [
        (b"host", b"localhost"),
        *((name.lower().encode(), value.strip(b" \t")) for name, value in knock.headers),
    ]
    if (knock.body or knock.method == "POST") and not any(name == b"content-length" for name, _ in headers):
        headers.append((b"content-length", str(len(knock.body)).encode()))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": knock.method,
        "scheme": "http",
        "path": unquote_to_bytes(path).decode("utf-8", "replace"),
        "raw_path": path.encode(),
        "query_string": knock.query.encode(),
        "root_path": "",
        "headers": headers,
        "client": (knock.client, 40000),
        "server": ("localhost", 80),
    }
    parts = list(chunks or [knock.body[:10], knock.body[10:]])
    sent: list[dict] = []
    gone = asyncio.Event()

    async def receive() -> dict:
        if not parts:
            await gone.wait()
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: dict) -> None:
        sent.append(message)

    await app(scope, receive, send)
    names = {name.decode().lower(): value.decode("latin-1") for name, value in sent[0]["headers"]}
    return sent[0]["status"], names, b"".join(message.get("body", b"") for message in sent[1:])


def rows(way: Way) -> dict[str, list]:
    """What the tables hold of a source; ids are replaced by their place."""
    with system_scope():
        receipts = list(Receipt.objects.filter(source=way.source).order_by("id"))
        events = list(Event.objects.filter(source=way.source).order_by("id"))
        inbox = set(
            Inbox.objects.filter(event_id__in=[event.pk for event in events]).values_list("event_id", flat=True)
        )
        once = list(OnceKey.objects.filter(source_id=way.source.pk).order_by("kind", "digest"))
    place = {receipt.pk: number for number, receipt in enumerate(receipts)}
    return {
        "receipts": [
            {
                **_columns(receipt, "id", "tenant_id", "source_id", "evidence"),
                "evidence": _evidence(receipt, way),
            }
            for receipt in receipts
        ],
        "events": [
            {
                **_columns(event, "id", "tenant_id", "source_id", "receipt_id"),
                "receipt": place[event.receipt_id],
                "in the inbox": event.pk in inbox,
            }
            for event in events
        ],
        "once": [(key.kind, bytes(key.digest).hex(), place[key.receipt_id], key.event_count) for key in once],
    }


def _evidence(receipt: Receipt, way: Way) -> str:
    """The clock goes on between two doors, so a difference to it is only said to be there."""
    found = {name: name == "clock_difference" or value for name, value in (receipt.evidence or {}).items()}
    return json.dumps(found).replace(way.key_id or "no key", "<key id>")


def _columns(row: Any, *without: str) -> dict[str, Any]:
    return {
        column.attname: _comparable(getattr(row, column.attname))
        for column in row._meta.concrete_fields
        if column.attname not in without
    }


def _comparable(value: Any) -> Any:
    if isinstance(value, memoryview | bytes):
        return bytes(value)
    if isinstance(value, str):
        return _ID.sub("<id>", value)
    return value


def basic(user: str, secret: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{user}:{secret}".encode())


def in_json(value: object) -> bytes:
    return json.dumps(value).encode()
