"""The verification matrix and the tokens, put to a running server: what must be refused is, and nothing of it kept."""

import json
import random
import statistics
import time
from collections import Counter
from dataclasses import replace
from urllib.parse import urlsplit

from tests.attack.report import Report
from tests.attack.server import Target
from tests.attack.tokens import TOKENS, plain
from tests.attack.verification import SENDERS, Case, Post, Sender, cases
from tests.attack.wire import Heard, Wire, request

CHANGED = "proof changed at "
PAIRS = 1500
LIKELY_EQUAL = (0.6, 1.67)  # ratio of the medians
LIKELY_EQUAL_SECONDS = 150e-6


def attack_methods(target: Target, report: Report, *, quick: bool) -> None:
    """Every sender with all its cases; `quick` puts only every fifth of the changed bytes to the server."""
    report.begin("verification")
    with Wire(target.address) as wire:
        for sender in SENDERS:
            _attack_sender(target, report, wire, sender, quick)
    _attack_with_tokens(target, report)


def _attack_sender(target: Target, report: Report, wire: Wire, sender: Sender, quick: bool) -> None:
    source = target.create_source(sender.creation, sender.secret)
    sender = _naming(source.key_id, sender)
    url = target.url + source.path
    put = [case for case in cases(sender) if not case.exact] + _at_the_edge(sender)
    if quick:
        put = [
            case for case in put if not case.name.startswith("proof changed at ") or int(case.name.split()[-1]) % 5 == 0
        ]
    kept = 0
    seen: Counter[str] = Counter()
    for case in put:
        heard = _posted(wire, case, url)
        accepted = 200 <= heard.status < 300
        kept += accepted and _keeps(heard)
        seen["accepted" if accepted else "refused"] += 1
        report.check(
            f"{sender.name}: {case.name}", "202" if case.accepted else "4xx", str(heard.status or "closed"),
            accepted if case.accepted else 400 <= heard.status < 500, false_accept=accepted and not case.accepted,
            shown=False,
        )  # fmt: skip
    right = sum(case.accepted for case in put)
    report.line(
        f"{sender.name}: {len(put)} posts", f"accepted {right}, refused {len(put) - right}",
        f"accepted {seen['accepted']}, refused {seen['refused']}",
    )  # fmt: skip
    report.check(
        f"{sender.name}: events kept", f"{kept}: those answered 202", f"{target.events(source)} rows",
        target.events(source) == kept, shown=False,
    )  # fmt: skip


def _keeps(heard: Heard) -> bool:
    """Whether this answer says that an event was kept now, not before."""
    told = json.loads(heard.body)
    return bool(told.get("events")) and not told.get("duplicate")


def _posted(wire: Wire, case: Case, url: str) -> Heard:
    """At the edge of a tolerance the second has to stay the same from signing to the answer."""
    for _ in range(20):
        while case.exact and time.time() % 1 > 0.3:
            time.sleep(0.05)
        now = time.time()
        post = case.build(url, now)
        parts = urlsplit(post.url)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        heard = wire.exchange(request(target, post.headers, post.body, host=parts.netloc))
        if not case.exact or int(time.time()) == int(now):
            break
    return heard


def _naming(key_id: str, sender: Sender) -> Sender:
    """A token names the portal's key."""
    if sender.method != "jwt":
        return sender
    return replace(
        sender, sign=lambda secret, url, body, now: _with_token(plain(secret, key_id, now).encode(), url, body)
    )


def _with_token(token: bytes, url: str, body: bytes) -> Post:
    return Post((("Content-Type", b"application/json"), ("X-Webhook-JWT", token)), body, url)


def _at_the_edge(sender: Sender) -> list[Case]:
    """Replayed a second before and after the tolerance ends, on either side: a clock that runs allows no less."""
    if not sender.tolerance:
        return []
    offsets = {
        -(sender.tolerance - 1): True,
        -(sender.tolerance + 1): False,
        sender.tolerance - 1: True,
        sender.tolerance + 1: False,
    }
    return [
        Case(f"replayed {offset:+} s", accepted, lambda url, now, offset=offset: sender.post(url, now + offset), True)
        for offset, accepted in offsets.items()
    ]


def _attack_with_tokens(target: Target, report: Report) -> None:
    source = target.create_source({"auth": {"method": "jwt"}})
    good = kept = 0
    with Wire(target.address) as wire:
        for case in TOKENS:
            token = case.build(source.secret, source.key_id, time.time()).encode("latin-1")
            post = _with_token(token, target.url + source.path, b'{"a": 1}')
            heard = wire.exchange(request(source.path, post.headers, post.body))
            accepted = 200 <= heard.status < 300
            kept += accepted
            good += not case.reason
            report.check(
                f"token: {case.name}", "4xx" if case.reason else "202", str(heard.status or "closed"),
                400 <= heard.status < 500 if case.reason else accepted,
                false_accept=accepted and bool(case.reason), shown=False,
            )  # fmt: skip
    rows = target.events(source)
    report.line(f"tokens: {len(TOKENS)} posts", f"accepted {good}, refused {len(TOKENS) - good}", f"accepted {kept}")
    report.check("tokens: events kept", f"{good}", f"{rows} rows", rows == good == kept)


def time_the_unknown(target: Target, report: Report, *, quick: bool) -> None:
    """Does the time of an answer tell an address that nobody has from a wrong secret (B2)?

    Both are asked in turns over one connection, in random order, so that whatever disturbs the machine disturbs
    both. The medians of the times must not differ by more than LIKELY_EQUAL as a ratio, or by LIKELY_EQUAL_SECONDS:
    generous, because a network adds a thousand times as much. `P` is how often one taken at random of the one kind
    was slower than one of the other; 0.5 says that they cannot be told apart.
    """
    report.begin("timing: unknown source, wrong secret")
    for sender in (SENDERS[0], next(one for one in SENDERS if one.name == "bearer")):
        source = target.create_source(sender.creation, sender.secret)
        unknown = source.path[:-6] + "AAAAAA"
        asked = {"wrong": source.path, "unknown": unknown}
        times: dict[str, list[float]] = {"wrong": [], "unknown": []}
        chance = random.Random(7)  # noqa: S311 - reproducible, not secret
        with Wire(target.address) as wire:
            for _ in range(PAIRS // 5 if quick else PAIRS):
                for kind in chance.sample(list(asked), 2):
                    post = sender.sign(sender.other_secret, target.url + asked[kind], sender.body, time.time())
                    data = request(asked[kind], post.headers, post.body)
                    begun = time.perf_counter()
                    status = wire.exchange(data).status
                    times[kind].append(time.perf_counter() - begun)
                    if status != (404 if kind == "unknown" else 401):
                        report.check(f"{sender.name}: {kind}", "401 or 404", str(status), False)
        wrong, other = statistics.median(times["wrong"]), statistics.median(times["unknown"])
        slower = sum(
            a > b for a, b in zip(times["unknown"], chance.sample(times["wrong"], len(times["wrong"])), strict=True)
        )
        ratio = other / wrong
        report.check(
            f"{sender.name}: {len(times['wrong'])} pairs", f"ratio {LIKELY_EQUAL[0]} to {LIKELY_EQUAL[1]}",
            f"ratio {ratio:.3f}, {(other - wrong) * 1e6:+.0f} µs of {wrong * 1e6:.0f} µs,"
            f" P {slower / len(times['wrong']):.2f}",
            LIKELY_EQUAL[0] <= ratio <= LIKELY_EQUAL[1] or abs(other - wrong) <= LIKELY_EQUAL_SECONDS,
        )  # fmt: skip
