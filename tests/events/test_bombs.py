"""Hostile bodies: refused or kept raw, within bounds, and never a page that breaks (P3, P4)."""

import json
import tracemalloc

import pytest

from events import bundles, decoding
from events.decoding import DecodeError, open_body
from events.division import MAX_OPENED_BYTES
from events.models import Bundle, Event, Inbox
from events.streams import MAX_PROJECTION_BYTES, StreamError, split
from tenants.scope import system_scope
from tests.attack.bodies import BODIES, COMPRESSED, ROOM

MEGABYTE = 1_000_000


def receive(case):
    """What the door makes of a body: (status, reason, what the admin is told, events)."""
    headers = {name.lower(): value.encode() for name, value in case.headers.items()}
    try:
        opened = open_body(case.build(), headers.get("content-encoding"), MAX_OPENED_BYTES)
        items = split(
            opened,
            case.stream_type,
            envelope=case.reading.get("envelope", ""),
            xml_root=case.reading.get("xml_element", ""),
            content_type=headers.get("content-type", b""),
        )
    except (DecodeError, StreamError) as error:
        return error.status, error.code, error.detail, []
    return 202, "", "", items


@pytest.mark.spec("P3", "P4")
@pytest.mark.parametrize("case", BODIES, ids=lambda case: case.name)
def test_a_hostile_body_is_refused_or_kept_within_bounds(case):
    body = case.build()
    assert len(body) <= ROOM
    tracemalloc.start()
    try:
        status, reason, detail, items = receive(case)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert status in case.statuses
    assert reason == case.reason
    assert detail.isprintable()
    assert len(detail) < 300
    assert peak < (100 if items or status == 413 else 60) * MEGABYTE
    for item in items:
        assert item.raw in body or case.headers
        assert len(item.raw) <= MAX_PROJECTION_BYTES or item.problem
        json.dumps(item.parsed, allow_nan=False, ensure_ascii=False).encode()


def test_names_of_cases_are_their_own():
    assert len({case.name for case in BODIES}) == len(BODIES)


@pytest.mark.spec("P3")
@pytest.mark.parametrize("case", COMPRESSED, ids=lambda case: case.name)
def test_a_bomb_is_not_opened_beyond_the_bound(case, monkeypatch):
    made = 0

    def counted(open_it):
        def pieces(*arguments):
            nonlocal made
            for piece in open_it(*arguments):
                made += len(piece)
                yield piece

        return pieces

    for name in ("_members", "_deflated", "_frames"):
        monkeypatch.setattr(decoding, name, counted(getattr(decoding, name)))
    case.build()
    tracemalloc.start()
    try:
        receive(case)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert made <= MAX_OPENED_BYTES + decoding._OUTPUT_PIECE
    assert peak < 8 * MEGABYTE


@pytest.mark.parametrize("pieces", [1, 2])
def test_a_large_body_is_opened_once_more_and_no_oftener(pieces, monkeypatch):
    runs = []
    part = decoding.KEPT_BYTES // 2 + 1

    def members(body):
        runs.append(body)
        yield from [bytes(part)] * pieces

    monkeypatch.setattr(decoding, "_members", members)
    assert len(open_body(decoding.GZIP_MAGIC, None, MAX_OPENED_BYTES)) == part * pieces
    assert len(runs) == pieces


@pytest.mark.timeout(300)
@pytest.mark.spec("P4", "P16")
def test_hostile_bodies_at_the_door_leave_pages_that_work(post, source_of, browser, cast):
    """Each answered as it must be, all that was accepted in the inbox, and the page of every kind of event opens."""
    sources = {}
    wrong = {}
    accepted = 0
    for case in BODIES:
        key = (case.stream_type, tuple(case.reading.items()))
        if key not in sources:
            sources[key], _ = source_of(
                name=f"Log {len(sources)}", stream_type=case.stream_type, reading=dict(case.reading)
            )
        headers = dict(case.headers)
        content_type = headers.pop("Content-Type", "application/octet-stream")
        answer = post(sources[key], case.build(), content_type=content_type, headers=headers)
        if answer.status_code not in case.statuses:
            wrong[case.name] = answer.status_code
        elif answer.status_code == 202:
            accepted += answer.json()["events"]
    assert wrong == {}
    while bundles.unpack():
        pass
    with system_scope():
        assert not Bundle.objects.exists()
        events = Event.objects.values_list("receipt_id", "content_type", "data_problem", "pk")
        unlike = {event[:3]: event[3] for event in events}
        assert Inbox.objects.count() == len(events) == accepted > 10_000
    owner = browser(cast.owner)
    for page in ("/events/", "/receipts/", *(f"/events/{pk}/" for pk in unlike.values())):
        assert owner.get(page).status_code == 200
