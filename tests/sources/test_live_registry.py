"""Whatever changes what the door knows of a source is felt within a second, and what is in doubt is not believed."""

import asyncio
import gc
import os
import signal
import threading
import time
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import psutil
import psycopg
import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from sources import live_registry
from sources.live_registry import LiveRegistry
from sources.models import Source, SourceCredential
from sources.registry import DatabaseRegistry, SourceConfig
from tenants.async_scope import system_connection
from tenants.models import Site, Tenant
from tenants.scope import system_scope, tenant_scope

pytestmark = pytest.mark.django_db(transaction=True)

WITHIN = 1.0  # seconds until a change is felt
KEY = "a" * 32


class Copy:
    """What a registry keeps: something with a source."""

    def __init__(self, source: SourceConfig) -> None:
        self.source = source


class Loader:
    """Reads the database, and counts. `hold` makes the next reading wait between database and registry."""

    def __init__(self) -> None:
        self.read = 0
        self.held = threading.Event()
        self.go_on = threading.Event()
        self.hold = False

    def __call__(self, ingest_key: str) -> Copy | None:
        try:
            found = DatabaseRegistry().find(ingest_key)
        finally:
            connection.close()
        self.read += 1
        if self.hold:
            self.hold = False
            self.held.set()
            assert self.go_on.wait(20)
        return None if found is None else Copy(found)


class Connections:
    """Those that a registry makes, in order."""

    def __init__(self) -> None:
        self.made: list[psycopg.AsyncConnection] = []

    async def __call__(self) -> psycopg.AsyncConnection:
        made = await system_connection()
        self.made.append(made)
        return made


@asynccontextmanager
async def listening(load=None):
    registry = LiveRegistry(load or Loader(), Connections())
    task = asyncio.create_task(registry.listen())
    try:
        await until(lambda: trusts(registry), "it listens")
        yield registry
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await registry.close()


def trusts(registry) -> bool:
    return time.monotonic() < registry._trusted_until


async def until(condition, what: str, seconds: float = 20) -> float:
    """How many seconds it took."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, f"waited {seconds} s in vain: {what}"
        await asyncio.sleep(0.01)
    return time.monotonic() - begun


async def changed(act) -> None:
    """A change that another process makes."""

    def work():
        try:
            with system_scope():
                act()
        finally:
            connection.close()

    await asyncio.to_thread(work)


async def found(registry, key: str) -> SourceConfig | None:
    copy = await registry.find(key)
    return None if copy is None else copy.source


@pytest.fixture
def source(cast):
    with tenant_scope(cast.tenant.pk):
        return Source.objects.create_with_secret(cast.tenant, None, "A source", "bearer", {})[0]


def add_a_site(source: Source) -> None:
    Site.objects.create(tenant_id=source.tenant_id, name="Plant 7", slug="plant-7")


CHANGES = {
    "paused": (lambda source: source.pause(), lambda now: now.status == "paused"),
    "deleted": (lambda source: source.delete(), lambda now: now is None),
    "another url": (lambda source: source.regenerate_url(), lambda now: now is None),
    "rotated": (lambda source: source.rotate_secret(timedelta(hours=1)), lambda now: len(now.secrets) == 2),
    "secrets gone": (lambda source: source.credentials.all().delete(), lambda now: now.secrets == ()),
    "rules": (
        lambda source: Source.objects.filter(pk=source.pk).update(rules={"rate_limit_per_minute": 1}),
        lambda now: now.door_rules.per_minute == 1,
    ),
    "configuration": (
        lambda source: Source.objects.filter(pk=source.pk).update(auth_config={"x": 1}),
        lambda now: now.config == {"x": 1},
    ),
    "a site": (add_a_site, lambda now: "plant-7" in now.sites),
    "tenant suspended": (
        lambda source: Tenant.objects.get(pk=source.tenant_id).suspend(), lambda now: not now.tenant_active
    ),
    "tokens demanded": (
        lambda source: Tenant.objects.filter(pk=source.tenant_id).update(require_jwt=True),
        lambda now: now.require_jwt,
    ),
    "raw sql": (
        lambda source: connection.cursor().execute(f"UPDATE sources_source SET name = 'B' WHERE id = '{source.pk}'"),
        lambda now: now.name == "B",
    ),
}  # fmt: skip


@pytest.mark.spec("B1", "D2", "B2")
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_felt_within_a_second_in_every_process(source, change):
    act, is_felt = CHANGES[change]
    key = source.ingest_key

    async def scenario():
        async with listening() as one, listening() as other:
            for registry in (one, other):
                assert not is_felt(await found(registry, key))
                assert registry.known(key)
            await changed(lambda: act(source))
            committed = time.monotonic()
            late = [one, other]
            while late:
                assert time.monotonic() - committed < WITHIN
                late = [registry for registry in late if not is_felt(await found(registry, key))]
                await asyncio.sleep(0.01)

    asyncio.run(scenario())


def live(known):
    return [secret for secret in known.secrets if secret.ends_at is None or secret.ends_at > time.time()]


@pytest.mark.spec("B1")
def test_an_overlap_ended_by_hand_and_one_that_ends_by_itself(source):
    def rotate():
        source.rotate_secret(timedelta(seconds=2))

    async def scenario():
        async with listening() as registry:
            await changed(rotate)
            assert len(live(await found(registry, source.ingest_key))) == 2
            await changed(lambda: source.rotate_secret(timedelta(hours=1)))
            await asyncio.sleep(0.3)
            ends = (await found(registry, source.ingest_key)).valid_until
            while timezone.now() < ends + timedelta(milliseconds=50):
                await asyncio.sleep(0.05)
            # Nothing was committed: the copy ended with its first secret.
            assert len(live(await found(registry, source.ingest_key))) == 2
            await changed(source.end_overlap)
            await asyncio.sleep(WITHIN)
            assert len(live(await found(registry, source.ingest_key))) == 1

    asyncio.run(scenario())


def test_nothing_changed_is_nothing_read(source):
    async def scenario():
        load = Loader()
        async with listening(load) as registry:
            for _ in range(50):
                assert await registry.find(source.ingest_key)
            assert load.read == 1
            # Notes of use change nothing that the door goes by.
            await changed(lambda: Source.objects.filter(pk=source.pk).touch())
            await changed(lambda: SourceCredential.objects.filter(source=source).touch())
            await asyncio.sleep(3 * live_registry.HEARTBEAT)
            assert registry.known(source.ingest_key)
            assert load.read == 1

    asyncio.run(scenario())


def test_another_source_changes_nothing_here(source, cast):
    with tenant_scope(cast.tenant.pk):
        other = Source.objects.create_with_secret(cast.tenant, None, "Another", "bearer", {})[0]

    async def scenario():
        load = Loader()
        async with listening(load) as registry:
            await registry.find(source.ingest_key)
            await changed(lambda: other.pause())
            await asyncio.sleep(3 * live_registry.HEARTBEAT)
            assert registry.known(source.ingest_key)

    asyncio.run(scenario())


def test_a_key_of_nobody_costs_one_look_and_then_nothing(source):
    async def scenario():
        load = Loader()
        async with listening(load) as registry:
            for _ in range(20):
                assert await registry.find(KEY) is None
                assert await registry.find("no key") is None
            looked = registry._connect.made[-1]
            looked_up = (await (await looked.execute("SELECT count(*) FROM pg_prepared_statements")).fetchone())[0]
            assert (load.read, looked_up, len(registry._connect.made)) == (0, 0, 2)

            def take():
                Source.objects.filter(pk=source.pk).update(ingest_key=KEY)

            await changed(take)
            taken = time.monotonic()
            while await registry.find(KEY) is None:
                assert time.monotonic() - taken < WITHIN
                await asyncio.sleep(0.01)

    asyncio.run(scenario())


def test_what_is_remembered_is_bounded(source, monkeypatch):
    monkeypatch.setattr(live_registry, "REMEMBERED", 10)

    async def scenario():
        async with listening() as registry:
            for number in range(35):
                assert await registry.find(f"key-of-nobody-{number:08d}") is None
                assert len(registry._nobody) <= 10

    asyncio.run(scenario())


def test_a_copy_read_while_something_changed_is_not_kept(source):
    """The reading has its answer when the source is paused; only then it comes back."""

    async def scenario():
        load = Loader()
        async with listening(load) as registry:
            load.hold = True
            reading = asyncio.create_task(found(registry, source.ingest_key))
            await until(load.held.is_set, "it reads")
            before = registry._changes
            await changed(lambda: source.pause())
            await until(lambda: registry._changes > before, "it hears of the change")
            load.go_on.set()
            assert (await reading).status == "active"
            assert registry.known(source.ingest_key) is None
            assert (await found(registry, source.ingest_key)).status == "paused"

    asyncio.run(scenario())


def test_who_asks_after_a_change_is_not_told_what_was_read_before_it(source):
    async def scenario():
        load = Loader()
        async with listening(load) as registry:
            load.hold = True
            reading = asyncio.create_task(found(registry, source.ingest_key))
            await until(load.held.is_set, "it reads")
            before = registry._changes
            await changed(lambda: source.pause())
            await until(lambda: registry._changes > before, "it hears of the change")
            assert (await found(registry, source.ingest_key)).status == "paused"
            load.go_on.set()
            await reading

    asyncio.run(scenario())


def test_many_who_ask_at_once_read_once(source):
    async def scenario():
        load = Loader()
        async with listening(load) as registry:
            await asyncio.gather(*(registry.find(source.ingest_key) for _ in range(100)))
            assert load.read == 1

    asyncio.run(scenario())


@pytest.mark.spec("B1")
def test_a_killed_listener_is_believed_in_nothing_and_replaced(source):
    async def scenario():
        async with listening() as registry:
            assert await found(registry, source.ingest_key)
            psutil.Process(registry._connect.made[0].info.backend_pid).terminate()
            await changed(lambda: source.pause())  # it cannot hear of this
            committed = time.monotonic()
            while (await found(registry, source.ingest_key)).status != "paused":
                assert time.monotonic() - committed < WITHIN
                await asyncio.sleep(0.01)
            await until(lambda: trusts(registry), "it listens again")
            await found(registry, source.ingest_key)
            assert registry.known(source.ingest_key).source.status == "paused"

    asyncio.run(scenario())


@pytest.mark.spec("B1")
def test_a_listener_that_hangs_is_not_believed_and_replaced(source):
    """Its connection stands, but nothing comes over it any more."""

    async def scenario():
        async with listening() as registry:
            assert await found(registry, source.ingest_key)
            hung = psutil.Process(registry._connect.made[0].info.backend_pid)
            os.kill(hung.pid, signal.SIGSTOP)
            try:
                await changed(lambda: source.pause())
                committed = time.monotonic()
                while (await found(registry, source.ingest_key)).status != "paused":
                    assert time.monotonic() - committed < WITHIN
                    await asyncio.sleep(0.01)
                await until(lambda: trusts(registry), "another connection listens", 5)
            finally:
                os.kill(hung.pid, signal.SIGCONT)

    asyncio.run(scenario())


def test_a_hung_look_is_given_up_in_time(source, monkeypatch):
    monkeypatch.setattr(live_registry, "PATIENCE", 0.5)

    async def scenario():
        async with listening() as registry:
            assert await registry.find(KEY) is None
            hung = psutil.Process(registry._connect.made[-1].info.backend_pid)
            os.kill(hung.pid, signal.SIGSTOP)
            try:
                async with asyncio.timeout(3):
                    asked = [registry.find(f"another-key-of-nobody-{number}") for number in range(5)]
                    answers = await asyncio.gather(*asked, return_exceptions=True)
                assert all(isinstance(one, TimeoutError | psycopg.Error) or one is None for one in answers)
                assert isinstance(answers[0], Exception)
            finally:
                os.kill(hung.pid, signal.SIGCONT)
            async with asyncio.timeout(10):
                while True:
                    with suppress(psycopg.Error, TimeoutError):
                        assert await registry.find("a-third-key-of-nobody") is None
                        break

    asyncio.run(scenario())


def test_a_reading_that_fails_when_nobody_waits_any_more_leaves_no_traceback(source, monkeypatch, caplog):
    """Found by the torture, with each restart of PostgreSQL."""
    monkeypatch.setattr(live_registry, "PATIENCE", 0.3)
    gone_on = threading.Event()

    def load(key):
        gone_on.wait(20)
        raise OperationalError("gone")

    async def scenario():
        registry = LiveRegistry(load, Connections())
        with pytest.raises(TimeoutError):
            await registry.find(source.ingest_key)
        gone_on.set()
        await until(lambda: not registry._reading, "the reading ends")
        await registry.close()

    asyncio.run(scenario())
    gc.collect()
    assert [record for record in caplog.records if record.name == "asyncio"] == []


def test_without_a_listener_the_database_is_asked_each_time(source):
    async def scenario():
        load = Loader()
        registry = LiveRegistry(load, Connections())
        try:
            for _ in range(3):
                assert await found(registry, source.ingest_key)
            assert load.read == 3
            assert registry.known(source.ingest_key) is None
        finally:
            await registry.close()

    asyncio.run(scenario())
