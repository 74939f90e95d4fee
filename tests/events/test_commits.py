"""Group commit on a real PostgreSQL: shared, durable, bounded, and nothing acknowledged that is not kept."""

import asyncio
import os
import signal
from contextlib import asynccontextmanager, contextmanager, suppress

import psutil
import psycopg
import pytest
from django.db import connection

from events import commits, store
from events.arrivals import Accepted, First, KeptEvent, KeptReceipt, Once
from events.commits import GroupCommit, Unavailable
from events.models import Event, Inbox, OnceKey, Receipt
from events.partitions import ensure_partitions
from sources.models import Source
from tenants.async_scope import system_connection
from tenants.ids import uuid7
from tenants.scope import system_scope

pytestmark = pytest.mark.django_db(transaction=True)

COMMIT_FAILS = """
    CREATE FUNCTION refuse_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} END $$;
    CREATE CONSTRAINT TRIGGER refuse_commit AFTER INSERT ON events_inbox
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_commit();
"""
ENDINGS = {
    "the commit is refused": "RAISE EXCEPTION 'no';",
    "the backend is killed": "PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL;",
}


def arrival(source: Source, body: bytes = b'{"a": 1}', *once: Once, events: int = 1, **event) -> Accepted:
    """One post as `events.intake` would give it to be kept."""
    receipt = KeptReceipt(
        uuid7(), source.tenant_id, source.pk, None, 202, "192.0.2.7", "[]", "application/json", None, len(body), events
    )
    made = tuple(
        KeptEvent(
            uuid7(), source.tenant_id, source.pk, receipt.id, None, "event", "low", "application/json", body, None,
            body_is_data=True,
        )._replace(**event)
        for _ in range(events)
    )  # fmt: skip
    return Accepted(receipt, made, once=once)


def key(digest: bytes = b"k" * 16, seconds: int = 60) -> Once:
    return Once("key", digest, seconds)


def jti(digest: bytes = b"j" * 16, seconds: int = 60) -> Once:
    return Once("jti", digest, seconds)


@asynccontextmanager
async def committing(connect=system_connection):
    group = GroupCommit(connect)
    group.start()
    await group.connected()
    try:
        yield group
    finally:
        await group.close()


async def outcome(group: GroupCommit, accepted: Accepted) -> First | None | str:
    try:
        return await group.keep(accepted)
    except Unavailable:
        return "503"


async def together(group: GroupCommit, *arrivals: Accepted) -> list[First | None | str]:
    return await asyncio.gather(*(outcome(group, accepted) for accepted in arrivals))


async def until(condition, what: str, seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


async def keeps(group: GroupCommit, source: Source) -> bool:
    return await outcome(group, arrival(source)) is None


def counts() -> tuple[int, int, int]:
    with system_scope():
        return Receipt.objects.count(), Event.objects.count(), Inbox.objects.count()


async def kept() -> tuple[int, int, int]:
    return await asyncio.to_thread(_and_close, counts)


def _and_close(work):
    try:
        return work()
    finally:
        connection.close()


def run(sql: str) -> list[tuple]:
    """As the cluster's own session would see it: outside of every transaction here."""
    with system_scope(), connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def failing_commits(ending: str):
    beside(COMMIT_FAILS.format(ending))
    try:
        yield
    finally:
        beside("DROP FUNCTION refuse_commit CASCADE")


def beside(sql: str) -> None:
    """Over a connection of its own, event loop or not."""
    parameters = {name: connection.settings_dict[name.upper()] for name in ("user", "password")}
    options = {name: value for name, value in connection.settings_dict["OPTIONS"].items() if name in ("host", "port")}
    with psycopg.connect(dbname=connection.settings_dict["NAME"], autocommit=True, **parameters, **options) as other:
        other.execute(sql)


class Watched:
    """Connections to the database that can be told apart, looked into and ended from outside."""

    def __init__(self) -> None:
        self.made: list[psycopg.AsyncConnection] = []
        self.away = False

    async def __call__(self) -> psycopg.AsyncConnection:
        if self.away:
            raise psycopg.OperationalError("connection refused")
        made = await system_connection()
        self.made.append(made)
        return made

    def backends(self) -> list[psutil.Process]:
        return [psutil.Process(one.info.backend_pid) for one in self.made if not one.closed]


@pytest.mark.spec("P16")
def test_what_arrives_together_is_kept_by_few_commits(source):
    async def scenario():
        async with committing() as group:
            return await together(group, *[arrival(source) for _ in range(500)])

    assert asyncio.run(scenario()) == [None] * 500
    assert counts() == (500, 500, 500)
    # A transaction writes its number into every row: 500 arrivals, at most 400 in a batch, two connections.
    transactions = run("SELECT xmin::text, count(*) FROM events_receipt GROUP BY xmin::text")
    assert 2 <= len(transactions) <= 5
    assert run("SELECT count(DISTINCT xmin::text) FROM events_event") == [(len(transactions),)]
    apart = run("SELECT count(*) FROM events_event e JOIN events_receipt r ON r.id = receipt_id WHERE e.xmin <> r.xmin")
    assert apart == [(0,)]


@pytest.mark.parametrize("size", [1, commits.MAX_BATCH, commits.MAX_BATCH + 1])
def test_nobody_waits_for_a_batch_to_fill(source, size):
    async def scenario():
        async with committing() as group, asyncio.timeout(20):
            return await together(group, *[arrival(source) for _ in range(size)])

    assert asyncio.run(scenario()) == [None] * size


def test_a_batch_is_bounded_in_bytes_and_events(source, monkeypatch):
    monkeypatch.setattr(commits, "MAX_BATCH_BYTES", 10_000)
    monkeypatch.setattr(commits, "MAX_BATCH_EVENTS", 30)

    async def scenario():
        async with committing() as group:
            large = [arrival(source, b'"' + b"x" * 5000 + b'"') for _ in range(8)]
            many = [arrival(source, events=10) for _ in range(12)]
            return await together(group, *large, *many)

    assert asyncio.run(scenario()) == [None] * 20
    largest = run(
        "SELECT max(bytes), max(number) FROM"
        " (SELECT sum(length(body)) AS bytes, count(*) AS number FROM events_event GROUP BY xmin::text) AS batch"
    )
    assert largest[0][0] < 20_000
    assert largest[0][1] <= 40


def test_a_batch_larger_than_what_a_socket_takes_at_once(source):
    body = b'"' + b"x" * 250_000 + b'"'

    async def scenario():
        async with committing() as group:
            return await together(group, *[arrival(source, body) for _ in range(12)])

    assert asyncio.run(scenario()) == [None] * 12
    assert run("SELECT count(*), min(length(body)), max(length(body)) FROM events_event") == [(12, 250_002, 250_002)]


def test_one_who_cannot_be_told_does_not_keep_the_others_from_it(source, caplog):
    async def scenario():
        async with committing() as group:

            def fails(what):
                raise RuntimeError("the connection is gone")

            group.keep_then(arrival(source), fails)
            return await together(group, arrival(source), arrival(source))

    assert asyncio.run(scenario()) == [None, None]
    assert "could not be told" in caplog.text
    assert counts() == (3, 3, 3)


def test_its_connections_are_durable_and_see_every_tenant(source, monkeypatch):
    """The test cluster's default is off, as a hurried admin's may be."""
    watched, plain = Watched(), store.keeping
    seen = []

    def spy(batch):
        seen.extend((yield "SELECT current_setting('synchronous_commit'), current_setting('app.tenant')", []))
        return (yield from plain(batch))

    monkeypatch.setattr(commits, "keeping", spy)

    async def scenario():
        async with committing(watched) as group:
            await together(group, arrival(source))

    asyncio.run(scenario())
    assert run("SHOW synchronous_commit") == [("off",)]
    assert seen == [("on", "*")]


@pytest.mark.spec("P16", "B11")
@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_is_acknowledged_before_the_commit_returned(source, ending):
    async def scenario():
        async with committing() as group:
            with failing_commits(ENDINGS[ending]):
                refused = await together(group, *[arrival(source) for _ in range(20)])
            left = await kept()
            await until(lambda: keeps(group, source), "it keeps again")
            return refused, left

    refused, left = asyncio.run(scenario())
    assert refused == ["503"] * 20
    assert left == (0, 0, 0)
    assert counts() == (1, 1, 1)


def test_a_full_queue_refuses_at_once(source, monkeypatch):
    monkeypatch.setattr(commits, "MAX_WAITING", 10)

    async def scenario():
        async with committing() as group:
            futures = [group.keep(arrival(source)) for _ in range(10)]
            with pytest.raises(Unavailable):
                group.keep(arrival(source))
            assert await asyncio.gather(*futures) == [None] * 10
            assert await group.keep(arrival(source)) is None
            assert group._waiting_bytes == 0

    asyncio.run(scenario())
    assert counts() == (11, 11, 11)


def test_what_waits_is_bounded_in_bytes_of_what_was_opened(source, monkeypatch):
    """A compressed body is a thousand times larger than it was on the wire."""
    monkeypatch.setattr(commits, "MAX_WAITING_BYTES", 50_000)

    async def scenario():
        async with committing() as group:
            one = arrival(source, b'"' + b"x" * 20_000 + b'"')
            small = one._replace(receipt=one.receipt._replace(body_size=30))
            first = group.keep(small)
            second = group.keep(arrival(source, b'"' + b"x" * 20_000 + b'"'))
            with pytest.raises(Unavailable):
                group.keep(arrival(source, b'"' + b"x" * 20_000 + b'"'))
            await asyncio.gather(first, second)
            assert group._waiting_bytes == 0

    asyncio.run(scenario())


@pytest.mark.spec("P16")
def test_while_the_database_is_away_nobody_waits(source):
    async def scenario():
        watched = Watched()
        watched.away = True
        async with committing(watched) as group:
            for _ in range(3):
                with pytest.raises(Unavailable):
                    group.keep(arrival(source))
            watched.away = False
            await until(lambda: keeps(group, source), "it recovers by itself")

    asyncio.run(scenario())
    assert counts() == (1, 1, 1)


def test_a_killed_connection_is_replaced(source):
    async def scenario():
        watched = Watched()
        async with committing(watched) as group:
            assert await together(group, *[arrival(source) for _ in range(5)]) == [None] * 5
            for process in watched.backends():
                process.terminate()
            answers = []
            async with asyncio.timeout(20):
                while answers[-3:] != [None] * 3:
                    answers.append(await outcome(group, arrival(source)))
                    await asyncio.sleep(0.01)
            assert set(answers) <= {None, "503"}
            return 5 + answers.count(None)

    acknowledged = asyncio.run(scenario())
    assert counts() == (acknowledged,) * 3


@pytest.mark.parametrize(
    "poison", ["no json", '"\\u0000"', '"\\ud800"', "1e999999"], ids=["no json", "nul", "half a pair", "number"]
)
@pytest.mark.parametrize("place", [0, 7, 19])
def test_a_poisonous_payload_takes_nobody_along(source, poison, place):
    batch = [arrival(source, b'{"n": %d}' % number) for number in range(20)]
    batch[place] = arrival(source, b"kept", data=poison, body_is_data=False)

    async def scenario():
        async with committing() as group:
            return await together(group, *batch)

    assert asyncio.run(scenario()) == [None] * 20
    assert counts() == (20, 20, 20)
    with system_scope():
        (event,) = Event.objects.exclude(data_problem="")
        assert (bytes(event.body), event.payload) == (b"kept", None)
        assert event.receipt_id == batch[place].receipt.id


def test_a_poisonous_payload_with_keys_around_it_is_kept_once(source):
    """The failed transaction is rolled back whole: no claim of it is left that would make its retry a duplicate."""
    batch = [arrival(source, b'{"n": %d}' % number, key(b"%016d" % number)) for number in range(12)]
    batch[5] = arrival(source, b"kept", key(b"%016d" % 5), jti(), data="no json", body_is_data=False)

    async def scenario():
        async with committing() as group:
            return [await together(group, *batch) for _ in range(2)]

    first, again = asyncio.run(scenario())
    assert first == [None] * 12
    assert again == [First("key", one.receipt.id, 1) for one in batch]
    assert counts() == (12, 12, 12)


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b"], ids=["nul", "surrogate"])
def test_what_cannot_be_kept_at_all_is_refused_alone(source, text):
    """Nothing lets such a text through; if it ever did, one sender's posts would fail, and not everybody's."""
    batch = [arrival(source) for _ in range(9)]
    batch[4] = arrival(source, title=text)

    async def scenario():
        async with committing() as group:
            return await together(group, *batch)

    assert asyncio.run(scenario()) == [None] * 4 + ["503"] + [None] * 4
    assert counts() == (8, 8, 8)


def test_a_locked_table_is_503_in_time_and_then_forgotten(source, monkeypatch):
    monkeypatch.setattr(commits, "PATIENCE", 0.5)

    async def scenario():
        blocker = await system_connection()
        async with committing() as group, blocker:
            async with blocker.transaction():
                await blocker.execute("LOCK TABLE events_event")
                async with asyncio.timeout(5):
                    assert await together(group, *[arrival(source) for _ in range(3)]) == ["503"] * 3
            await until(lambda: keeps(group, source), "it recovers")

    asyncio.run(scenario())
    assert counts() == (1, 1, 1)


def test_a_hung_server_is_503_in_time_and_then_forgotten(source, monkeypatch):
    """Stopped, a backend answers nothing, not even that it was asked to stop."""
    monkeypatch.setattr(commits, "PATIENCE", 0.5)

    async def scenario():
        watched = Watched()
        async with committing(watched) as group:
            await until(lambda: _connections(watched, 2), "both are connected")
            stopped = watched.backends()
            try:
                for process in stopped:
                    os.kill(process.pid, signal.SIGSTOP)
                async with asyncio.timeout(4):
                    assert await together(group, *[arrival(source) for _ in range(3)]) == ["503"] * 3
                await until(lambda: keeps(group, source), "other connections are made")
            finally:
                for process in stopped:
                    with suppress(ProcessLookupError):
                        os.kill(process.pid, signal.SIGCONT)
                        os.kill(process.pid, signal.SIGTERM)

    async def _connections(watched, number):
        return len(watched.made) >= number

    asyncio.run(scenario())
    assert counts()[0] >= 1


def test_a_missing_partition_is_503_and_nothing_half_kept(source):
    names = [name for (name,) in run("SELECT relid::text FROM pg_partition_tree('events_event') WHERE isleaf")]
    run("".join(f"ALTER TABLE events_event DETACH PARTITION {name}; DROP TABLE {name};" for name in names))

    async def scenario():
        async with committing() as group:
            refused = await together(group, *[arrival(source) for _ in range(5)])
            left = await kept()
            await asyncio.to_thread(_and_close, ensure_partitions)
            async with asyncio.timeout(20):
                while await outcome(group, arrival(source)) is not None:
                    await asyncio.sleep(0.02)
            return refused, left

    try:
        assert asyncio.run(scenario()) == (["503"] * 5, (0, 0, 0))
    finally:
        ensure_partitions()
    assert counts() == (1, 1, 1)


def test_a_sender_that_goes_away_disturbs_nobody(source):
    async def scenario():
        async with committing() as group:
            waiting = [asyncio.create_task(outcome(group, arrival(source))) for _ in range(20)]
            await asyncio.sleep(0)
            for task in waiting[::2]:
                task.cancel()
            answers = await asyncio.gather(*waiting, return_exceptions=True)
            assert await outcome(group, arrival(source)) is None
            return answers

    answers = asyncio.run(scenario())
    assert answers[1::2] == [None] * 10
    assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[::2])
    assert counts()[0] >= 11


def test_close_keeps_what_waits_and_takes_nothing_more(source):
    async def scenario():
        group = GroupCommit(system_connection)
        group.start()
        await group.connected()
        futures = [group.keep(arrival(source)) for _ in range(1000)]
        closing = asyncio.create_task(group.close())
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            group.keep(arrival(source))
        await closing
        assert [future.done() for future in futures] == [True] * 1000
        return [future.result() for future in futures]

    assert asyncio.run(scenario()) == [None] * 1000
    assert counts() == (1000, 1000, 1000)


# Once ------------------------------------------------------------------------------------------------------------


def in_one_batch(*arrivals: Accepted) -> list[First | None]:
    """What one commit makes of them: one connection, that is free only once all of them wait."""

    async def scenario():
        async with committing() as group:
            return await together(group, *arrivals)

    return asyncio.run(scenario())


@pytest.mark.spec("B6")
def test_the_same_key_twice_in_a_batch_is_kept_once(source):
    first, second, third = (arrival(source, b"1", key(), events=number) for number in (2, 1, 3))
    assert in_one_batch(first, second, third) == [
        None,
        First("key", first.receipt.id, 2),
        First("key", first.receipt.id, 2),
    ]
    assert counts() == (1, 2, 2)


@pytest.mark.spec("B6")
def test_a_key_belongs_to_its_source(source_of):
    one, other = source_of()[0], source_of()[0]
    assert in_one_batch(arrival(one, b"1", key()), arrival(other, b"1", key())) == [None, None]


@pytest.mark.spec("B6")
def test_racing_connections_keep_a_key_once(source):
    """Ten batches at a time over two groups; every key comes from both."""

    async def scenario():
        async with committing() as one, committing() as other:
            sent = [
                (arrival(source, b"1", key(b"%016d" % n)), arrival(source, b"1", key(b"%016d" % n))) for n in range(200)
            ]
            left = asyncio.gather(*(outcome(one, pair[0]) for pair in sent))
            right = asyncio.gather(*(outcome(other, pair[1]) for pair in reversed(sent)))
            return sent, await left, list(reversed(await right))

    sent, left, right = asyncio.run(scenario())
    for pair, answers in zip(sent, zip(left, right, strict=True), strict=True):
        winner = answers.index(None)
        assert answers[1 - winner] == First("key", pair[winner].receipt.id, 1)
    assert counts() == (200, 200, 200)


@pytest.mark.spec("B6")
def test_an_expired_key_is_new_again(source):
    first = arrival(source, b"1", key(seconds=60))
    assert in_one_batch(first) == [None]
    with system_scope():
        OnceKey.objects.update(expires_at="2020-01-01T00:00:00Z")
    second, third = arrival(source, b"1", key()), arrival(source, b"1", key())
    assert in_one_batch(second) == [None]
    assert in_one_batch(third) == [First("key", second.receipt.id, 1)]
    with system_scope():
        assert OnceKey.objects.get().receipt_id == second.receipt.id


@pytest.mark.spec("D3")
def test_a_token_is_accepted_once(source):
    first, again = arrival(source, b"1", jti()), arrival(source, b"1", jti())
    assert in_one_batch(first, again) == [None, First("jti", first.receipt.id, 1)]
    assert in_one_batch(arrival(source, b"1", jti())) == [First("jti", first.receipt.id, 1)]


@pytest.mark.spec("B6", "D3")
def test_a_repeated_post_is_a_duplicate_whatever_its_token(source):
    first = arrival(source, b"1", key(), jti())
    same = arrival(source, b"1", key(), jti())
    other_token = arrival(source, b"1", key(), jti(b"l" * 16))
    duplicate = First("key", first.receipt.id, 1)
    assert in_one_batch(first, same, other_token) == [None, duplicate, duplicate]
    assert in_one_batch(arrival(source, b"1", key(), jti())) == [duplicate]
    # The token of a duplicate was not used up.
    assert in_one_batch(arrival(source, b"1", key(b"m" * 16), jti(b"l" * 16))) == [None]


@pytest.mark.spec("B6", "D3")
def test_a_post_refused_for_its_token_has_not_used_its_key(source):
    used = arrival(source, b"1", jti())
    in_one_batch(used)
    refused, right = arrival(source, b"1", key(), jti()), arrival(source, b"1", key(), jti(b"l" * 16))
    assert in_one_batch(refused) == [First("jti", used.receipt.id, 1)]
    assert in_one_batch(right) == [None]


@pytest.mark.spec("B6", "D3", "P16")
def test_nobody_is_a_duplicate_of_what_was_refused_in_the_same_batch(source):
    """The first with the key is refused for its token: the second is then the first, and has to be kept."""
    used = arrival(source, b"1", jti())
    in_one_batch(used)
    refused = arrival(source, b"1", key(), jti())
    right = arrival(source, b"1", key(), jti(b"l" * 16))
    repeated = arrival(source, b"1", key(), jti(b"m" * 16))
    assert in_one_batch(refused, right, repeated) == [
        First("jti", used.receipt.id, 1),
        None,
        First("key", right.receipt.id, 1),
    ]
    assert counts() == (2, 2, 2)
    with system_scope():
        assert OnceKey.objects.get(kind="key").receipt_id == right.receipt.id


def test_keys_of_a_batch_that_fails_are_free(source):
    with failing_commits(ENDINGS["the commit is refused"]):
        assert in_one_batch(arrival(source, b"1", key(), jti())) == ["503"]
    assert in_one_batch(arrival(source, b"1", key(), jti())) == [None]
