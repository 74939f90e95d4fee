"""The door over WSGI and over ASGI: equal answers, equal rows, and a bound that holds while reading."""

import asyncio
import gzip
import json
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from django.conf import settings
from django.db import OperationalError
from django.test import Client

from config.asgi import application
from events.arrivals import Arrival
from events.bounds import BoundedBody
from events.door import Door
from events.door_api import wsgi_headers

# The ASGI handler closes connections between requests, which only works on real transactions.
pytestmark = pytest.mark.django_db(transaction=True)

MEGABYTE = 1_000_000


class Sender:
    """Speaks ASGI: sends a body in chunks and counts how many were taken."""

    def __init__(self, chunks):
        self.chunks = list(chunks)
        self.taken = 0
        self.messages = []

    async def receive(self):
        if self.taken == len(self.chunks):
            await asyncio.Event().wait()  # stays connected, says nothing more
        self.taken += 1
        more = self.taken < len(self.chunks)
        return {"type": "http.request", "body": self.chunks[self.taken - 1], "more_body": more}

    async def send(self, message):
        self.messages.append(message)

    @property
    def status(self):
        return self.messages[0]["status"]

    @property
    def headers(self):
        return {name.decode().lower(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def json(self):
        return json.loads(b"".join(message.get("body", b"") for message in self.messages[1:]))


def over_asgi(path, chunks, headers=(), method="POST", app=None):
    sender = Sender(chunks)
    door = app or Door(application.app, settings.INGEST_MAX_BYTES, wake=lambda: None)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost"), *headers],
        "client": ("192.0.2.7", 40000),
        "server": ("localhost", 80),
    }

    async def through_the_door():
        await door(scope, sender.receive, sender.send)
        if app is None:
            await door.stop()

    asyncio.run(through_the_door())
    return sender


CASES = {
    "json": (b'{"a":1}', {}),
    "lines": (b'{"a":1}\n{"a":2}\n', {}),
    "gzip": (gzip.compress(b'{"a":1}'), {}),
    "empty": (b"", {}),
    "broken": (b'{"a":', {}),
    "xml": (b"<a/>", {}),
    "brotli": (b"{}", {"Content-Encoding": "br"}),
    "too large": (b'"' + b"x" * MEGABYTE + b'"', {}),
    "any accept": (b"{}", {"Accept": "text/html;q=0.9, image/png"}),
}


@pytest.mark.spec("P16")
@pytest.mark.parametrize("case", CASES)
def test_both_doors_answer_and_keep_the_same(source, kept, case):
    body, headers = CASES[case]
    path = f"/in/{source.ingest_key}"
    by_wsgi = Client().generic("POST", path, body, content_type="application/json", headers=headers)
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    by_asgi = over_asgi(
        path,
        [body[:10], body[10:]],
        [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *pairs],
    )
    same = [key for key in by_wsgi.json() if key != "receipt"]
    assert by_asgi.status == by_wsgi.status_code
    assert [by_asgi.json[key] for key in same] == [by_wsgi.json()[key] for key in same]
    assert by_asgi.headers["content-type"] == by_wsgi["Content-Type"]
    first, second = kept().receipts
    for field in ("status", "status_code", "reason", "body_size", "event_count"):
        assert getattr(first, field) == getattr(second, field)
    bodies = [bytes(event.body) for event in kept().events]
    assert bodies[: len(bodies) // 2] == bodies[len(bodies) // 2 :]


def test_headers_are_kept_in_order_with_duplicates(source, kept):
    over_asgi(f"/in/{source.ingest_key}", [b"{}"], [(b"x-one", b"1"), (b"x-two", b"2"), (b"x-one", b"\xff")])
    assert kept().receipts[0].headers == [["host", "localhost"], ["x-one", "1"], ["x-two", "2"], ["x-one", "ÿ"]]
    assert kept().receipts[0].client_address == "192.0.2.7"


def test_a_repeated_authentication_header_is_refused(source_of, kept):
    source, secret = source_of("shared_secret")
    header = (b"x-webhook-key", secret.encode())
    assert over_asgi(f"/in/{source.ingest_key}", [b"{}"], [header, header]).status == 401
    assert over_asgi(f"/in/{source.ingest_key}", [b"{}"], [header]).status == 202
    assert kept().receipts[0].reason == "header_duplicated"


@pytest.mark.spec("P2")
def test_reading_stops_at_the_bound_and_the_refusal_is_recorded(source, kept):
    chunks = [b"x" * 100_000] * 1000
    sender = over_asgi(f"/in/{source.ingest_key}", chunks)
    assert sender.status == 413
    assert kept().receipts[0].reason == "request_too_large"
    assert len(kept().receipts[0].body) == 4096


@pytest.mark.spec("P2")
@pytest.mark.parametrize(("announced", "shown"), [(b"1000001", 1_000_001), (b"9" * 30, 2**31 - 1)])
def test_a_body_announced_too_large_is_not_read_at_all(source, kept, announced, shown):
    sender = over_asgi(f"/in/{source.ingest_key}", [b"x"], [(b"content-length", announced)])
    assert (sender.status, sender.json["status"]) == (413, 413)
    assert kept().receipts[0].body_size == shown


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"5000000")]])
def test_other_addresses_are_bounded_too(db, headers):
    sender = over_asgi("/accounts/login/", [b"x" * 100_000] * 50, headers)
    assert (sender.status, sender.headers["content-type"]) == (413, "application/problem+json")
    assert sender.taken <= 21


def test_the_bound_takes_no_more_than_it_has_to():
    seen = []

    async def reader(scope, receive, send):
        while (message := await receive())["type"] == "http.request":
            seen.append(message["body"])

    app = BoundedBody(reader, max_bytes=10)
    sender = over_asgi("/any/", [b"12345", b"67890", b"1", b"2", b"3"], app=app)
    assert (seen, sender.taken, sender.status) == ([b"12345", b"67890"], 3, 413)


@pytest.mark.parametrize("path", ["/in/{}/", "/in/{}"])
def test_a_slash_at_the_end_is_forgiven(source, path):
    assert Client().post(path.format(source.ingest_key), b"{}", content_type="text/plain").status_code == 202


@pytest.mark.parametrize("path", ["/in/{}/site/deeper", "/in/{}//", "/in//{}"])
def test_other_addresses_below_the_door_are_404(source, path):
    answer = Client().post(path.format(source.ingest_key), b"{}", content_type="text/plain")
    assert (answer.status_code, answer["Content-Type"]) in {
        (404, "application/problem+json"),
        (202, "application/json"),
    }


@pytest.mark.spec("P16")
def test_a_length_that_wsgi_cannot_tell_is_411(source, kept):
    path = f"/in/{source.ingest_key}"
    answer = Client().generic("POST", path, b"", headers={"Transfer-Encoding": "chunked"})
    assert answer.status_code == 411
    assert kept().receipts[0].reason == "length_missing"


def test_neither_session_nor_csrf_is_asked_for(source, cast):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(cast.viewer)
    assert browser.post(f"/in/{source.ingest_key}", b"{}", content_type="application/json").status_code == 202


def test_cgi_variables_become_headers_again():
    meta = {"HTTP_X_SIG": "a", "CONTENT_TYPE": "text/plain", "CONTENT_LENGTH": "", "REMOTE_ADDR": "::1"}
    assert wsgi_headers(meta) == ((b"x-sig", b"a"), (b"content-type", b"text/plain"))


def test_an_outage_does_not_fill_the_log_with_a_line_for_each_request(monkeypatch, caplog):
    """Found by the torture: senders that try again wrote thousands of lines in three seconds."""
    door = Door(application.app, settings.INGEST_MAX_BYTES, wake=lambda: None)

    async def away(key):
        raise OperationalError("no connection")

    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    arrival = Arrival("POST", "AbC", None, (), b"{}", "192.0.2.7", datetime.now(UTC))

    async def knock_often():
        monkeypatch.setattr(door, "registry", SimpleNamespace(known=lambda key: None, find=away), raising=False)
        return [(await door._receive(arrival)).status for _ in range(20)]

    assert asyncio.run(knock_often()) == [503] * 20
    assert len([record for record in caplog.records if record.name == "events.door"]) == 1
