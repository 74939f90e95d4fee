"""The queues stay small though somebody's transaction is open for long."""

import threading
import uuid
from contextlib import closing, contextmanager

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from deliveries import lines, outbox
from deliveries.models import Outbox
from deliveries.outbox import Claiming
from deliveries.tasks import QUEUES
from events import compaction
from events.compaction import compact
from tenants.scope import system_scope

pytestmark = pytest.mark.django_db(transaction=True)

TABLE = "deliveries_outbox"


@pytest.fixture
def small(monkeypatch):
    """As if less were large."""
    monkeypatch.setattr(compaction, "SMALL", 100_000)


@pytest.fixture
def wait(cast, subscribe):
    """wait(3) → three rows of the outbox, due now."""
    subscription, _ = subscribe()

    def make(count):
        with system_scope():
            return Outbox.objects.bulk_create(
                [
                    Outbox(
                        delivery_id=uuid.uuid4(), tenant=cast.tenant, subscription=subscription, due_at=timezone.now()
                    )
                    for _ in range(count)
                ]
            )

    return make


@contextmanager
def open_transaction():
    """Of somebody who has looked at the database and does not come back."""
    given = connection.get_connection_params()
    wanted = {key: given[key] for key in ("dbname", "user", "password", "host", "port") if key in given}
    with closing(psycopg.connect(**wanted)) as other:
        other.execute("SELECT set_config('app.tenant', '*', true), txid_current()")
        yield other


def size():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_relation_size(%s)", [TABLE])
        return cursor.fetchone()[0]


def vacuum():
    with connection.cursor() as cursor:
        cursor.execute(f"VACUUM {TABLE}")


def rows():
    with system_scope():
        return list(Outbox.objects.order_by("pk").values_list())


def end(count=100):
    """Claim, and end what was claimed. Returns how many."""
    claims = lines.run(Claiming().claiming(count))
    ids, tokens = [claim.delivery_id for claim in claims], {claim.token for claim in claims}
    with system_scope():
        ended, _ = Outbox.objects.filter(pk__in=ids, lease_token__in=tokens).delete()
    assert ended == len(claims)
    return ended


def churn(wait, count):
    wait(count)
    while end(500):
        pass


def test_what_a_vacuum_must_leave_is_cut_off_and_the_living_stay(wait, small):
    with open_transaction():
        churn(wait, 3000)
        wait(20)
        with system_scope():
            outbox.claim(5)
        kept = rows()
        vacuum()
        assert size() > 300_000  # else this would show nothing
        assert compact(TABLE)
        assert size() < 20_000
        assert rows() == kept
    assert end() == 15


def test_it_stays_flat_however_much_passes_through(wait, small):
    with open_transaction():
        for _ in range(8):
            churn(wait, 1000)
            compact(TABLE)
            assert size() < 300_000


def test_a_small_table_and_one_that_is_full_of_life_are_left_alone(wait, small):
    wait(5)
    assert not compact(TABLE)
    wait(2500)
    before = size()
    assert before > 100_000
    assert not compact(TABLE)
    assert size() == before


def test_it_does_not_wait_for_somebody_who_has_locked_a_row(wait, small):
    with open_transaction() as other:
        churn(wait, 3000)
        wait(2)
        kept, before = rows(), size()
        other.execute(f"SELECT * FROM {TABLE} LIMIT 1 FOR UPDATE")
        assert not compact(TABLE)
        assert (rows(), size()) == (kept, before)
    assert compact(TABLE)
    assert rows() == kept


def test_each_row_is_ended_once_by_workers_that_are_at_it_meanwhile(wait, monkeypatch):
    """Were a statement to look with a snapshot from before, rows would be missing, and `end` would say so."""
    monkeypatch.setattr(compaction, "SMALL", 20_000)
    monkeypatch.setattr(compaction, "SPARSE", 50)
    total, done, failures = 6000, [], []
    wait(total)

    def work():
        try:
            idle = 0
            while idle < 20:
                ended = end(20)
                done.append(ended)
                idle = 0 if ended else idle + 1
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    with open_transaction():
        workers = [threading.Thread(target=work) for _ in range(3)]
        for worker in workers:
            worker.start()
        compacted = 0
        while any(worker.is_alive() for worker in workers):
            compacted += compact(TABLE)
        for worker in workers:
            worker.join()
    assert failures == []
    assert sum(done) == total
    assert compacted > 3
    assert rows() == []


def test_a_brokers_queue_keeps_its_numbers_and_may_be_away(wait, small):
    """As pgmq makes them: in a schema, numbered by the table itself."""
    assert not compact("elsewhere.q_wakeups")
    with connection.cursor() as cursor, open_transaction():
        cursor.execute("CREATE SCHEMA elsewhere")
        try:
            cursor.execute(
                "CREATE TABLE elsewhere.q_wakeups (id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, said text)"
            )
            put = "INSERT INTO elsewhere.q_wakeups (said) SELECT repeat('x', 100) FROM generate_series(1, %s)"
            cursor.execute(put, [3000])
            cursor.execute("DELETE FROM elsewhere.q_wakeups WHERE id < 2990")
            assert compact("elsewhere.q_wakeups")
            cursor.execute(put, [1])
            cursor.execute(
                "SELECT min(id), max(id), count(*), pg_relation_size('elsewhere.q_wakeups') FROM elsewhere.q_wakeups"
            )
            assert cursor.fetchone() == (2990, 3001, 12, 8192)
        finally:
            cursor.execute("DROP SCHEMA elsewhere CASCADE")


@pytest.mark.parametrize("table", QUEUES)
def test_nothing_refers_to_a_queue_that_is_cut_off(table):
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_constraint WHERE confrelid = to_regclass(%s)", [table])
        assert cursor.fetchone() == (0,)
