"""Keys that bind nobody any more are forgotten; the others stay."""

from datetime import timedelta

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from events import store, tasks
from events.columns import Bytes, Uuids, teach
from events.models import OnceKey
from tenants.ids import uuid7
from tenants.scope import system_scope

pytestmark = pytest.mark.django_db


@pytest.mark.spec("B6", "D3")
def test_expired_keys_are_deleted_in_batches(cast, monkeypatch):
    now = timezone.now()
    with system_scope():
        for number in range(5):
            for age in (-1, 1):
                OnceKey.objects.create(
                    tenant=cast.tenant, source_id=uuid7(), kind="key", digest=bytes([number] * 16), receipt_id=uuid7(),
                    event_count=1, expires_at=now + timedelta(hours=age),
                )  # fmt: skip
    monkeypatch.setattr(tasks, "BATCH", 2)
    tasks.retention()
    with system_scope():
        assert OnceKey.objects.count() == 5
        assert not OnceKey.objects.filter(expires_at__lte=now).exists()


def test_no_more_are_forgotten_than_asked_for(cast, nested_loops):
    with system_scope():
        for number in range(5):
            OnceKey.objects.create(
                tenant=cast.tenant, source_id=uuid7(), kind="key", digest=bytes([number] * 16), receipt_id=uuid7(),
                event_count=1, expires_at=timezone.now() - timedelta(hours=1),
            )  # fmt: skip
        assert [OnceKey.objects.forget_expired(2) for _ in range(4)] == [2, 2, 1, 0]


@pytest.mark.parametrize("statement", ["_CLAIMED", "_UNCLAIM"])
def test_keys_are_found_by_their_index_among_however_many(cast, statement):
    """Every sender waits for the commit that these statements are part of."""
    with system_scope(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO events_oncekey (source_id, kind, digest, tenant_id, receipt_id, event_count, expires_at)"
            " SELECT gen_random_uuid(), 'key', decode(md5(n::text), 'hex'), %s, gen_random_uuid(), 1, now()"
            " FROM generate_series(1, 20000) n",
            [cast.tenant.pk],
        )
        cursor.execute("ANALYZE events_oncekey")
        raw = psycopg.RawCursor(connection.connection)
        teach(raw.adapters)
        given = ["key", Uuids([uuid7()]), Bytes([b"k" * 16]), Uuids([uuid7()])]
        text = getattr(store, statement)
        raw.execute(f"EXPLAIN {text}", given if "$4" in text else given[:3])
        plan = "\n".join(row[0] for row in raw.fetchall())
    assert "Index Scan" in plan
    assert "Seq Scan on events_oncekey" not in plan
