"""Look-ups that hang leave threads to the others (B8)."""

import asyncio
import socket
import threading

import pytest

from egress.resolver import PooledResolver

FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443))]


@pytest.fixture
def name_servers(monkeypatch):
    """(names asked for, an event that lets those under evil.example go on)"""
    asked, let_go = [], threading.Event()

    def look_up(host, port, family):
        asked.append(host)
        if host.endswith("evil.example"):
            let_go.wait(20)
        return FOUND

    monkeypatch.setattr("egress.resolver._look_up", look_up)
    yield asked, let_go
    let_go.set()


@pytest.mark.spec("B8")
def test_names_under_one_domain_do_not_take_all_threads(name_servers):
    asked, let_go = name_servers

    async def main():
        resolver = PooledResolver(threads=8)
        hanging = [asyncio.ensure_future(resolver.resolve(f"a{number}.evil.example", 443)) for number in range(20)]
        found = await asyncio.wait_for(resolver.resolve("hooks.example.org", 443), 10)
        before = list(asked)
        let_go.set()
        await asyncio.gather(*hanging)
        await resolver.close()
        return found, before

    found, before = asyncio.run(main())
    assert [one["host"] for one in found] == ["192.0.2.1"]
    assert len([name for name in before if name.endswith("evil.example")]) == 2
    assert len(asked) == 21


def test_one_look_up_answers_all_who_ask_meanwhile(name_servers):
    asked, let_go = name_servers

    async def main():
        resolver = PooledResolver(threads=8)
        asking = [asyncio.ensure_future(resolver.resolve("slow.evil.example", 443)) for _ in range(5)]
        await asyncio.sleep(0)
        asking[0].cancel()  # whoever gives up does not take it away from the others
        let_go.set()
        answers = await asyncio.gather(*asking, return_exceptions=True)
        again = await resolver.resolve("slow.evil.example", 443)
        await resolver.close()
        return answers, again

    answers, again = asyncio.run(main())
    assert isinstance(answers[0], asyncio.CancelledError)
    assert all(answer == again for answer in answers[1:])
    assert len(asked) == 2
