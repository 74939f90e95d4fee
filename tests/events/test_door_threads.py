"""What the door leaves to threads, and what goes on there whatever happens."""

import asyncio
import gzip
import zlib

import pytest
from django.utils import timezone

from events import door
from events.arrivals import Arrival
from events.door import QUICK_BYTES, THREAD_BYTES, Notes, _takes_long


def noise(size):
    return b"\xff\x01" * (size // 2)


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (None, (), False),
        (b'{"a": 1}', (), False),
        (gzip.compress(b"{}"), (), False),
        (gzip.compress(bytes(5_000_000)), (), True),
        (b"\x28\xb5\x2f\xfd" + noise(QUICK_BYTES), (), True),
        (zlib.compress(bytes(5_000_000)), ((b"content-encoding", b"deflate"),), True),
        (b"1\n" * 5000, (), True),
        (b"[" + b"1," * 5000 + b"1]", (), True),
        (b"{}" * 5000, (), True),
        (b"<e/>" * 2000, (), True),
        (b'{"text": "' + b"a" * 20_000 + b'"}', (), False),
        (noise(THREAD_BYTES + 2), (), True),
    ],
    ids=[
        "none",
        "small",
        "small gzip",
        "gzip",
        "zstd",
        "deflate",
        "lines",
        "array",
        "objects",
        "elements",
        "text",
        "large",
    ],
)
def test_what_may_take_long_is_examined_in_a_thread(body, headers, expected):
    arrival = Arrival("POST", "k" * 32, None, headers, body, "192.0.2.7", timezone.now())
    assert _takes_long(arrival) is expected


def test_a_note_that_cannot_be_written_does_not_end_the_notes(monkeypatch, caplog):
    written = []

    class Store:
        def refuse(self, refusals):
            if refusals == ["bad"]:
                raise UnicodeEncodeError("utf-8", "\ud800 of a sender", 0, 1, "surrogates not allowed")
            written.extend(refusals)

    async def notes():
        noting = Notes(Store())
        task = asyncio.create_task(noting.write_for_ever())
        for one in ("bad", "good"):
            noting.refused(one)
            while noting._refusals:
                await asyncio.sleep(0.001)
        while not written and not task.done():
            await asyncio.sleep(0.001)
        task.cancel()

    monkeypatch.setattr(door, "NOTES_INTERVAL", 0.001)
    monkeypatch.setattr(door, "_letting_go", lambda work, given: work(given))
    asyncio.run(asyncio.wait_for(notes(), 20))
    assert written == ["good"]
    assert "of a sender" not in caplog.text
