"""A tenant that wants less kept gets less kept, and nobody else does."""

from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
from django.utils import timezone

from events import tasks
from events.models import Event, Inbox, Receipt
from events.partitions import ensure_partitions
from tenants.ids import lowest_uuid7
from tenants.models import Tenant
from tenants.scope import system_scope


def _keep(tenant, at: datetime, number: int):
    identifier = type(lowest_uuid7(at))(int=lowest_uuid7(at).int + number)
    Event.objects.create(id=identifier, tenant=tenant, type="t", content_type="text/plain", body=b"x")
    Inbox.objects.create(event_id=identifier, tenant=tenant)


@pytest.fixture
def aged(cast, settings):
    """Events of 1 and 5 days ago, for both tenants; the first keeps 3 days."""
    settings.RETENTION_DAYS = 30
    now = timezone.now()
    ensure_partitions(now - timedelta(days=5), ahead=5)
    with system_scope():
        for tenant, base in ((cast.tenant, 0), (cast.other_tenant, 100)):
            for days in (1, 5):
                for number in range(7):
                    _keep(tenant, now - timedelta(days=days), base + number)
        Tenant.objects.filter(pk=cast.tenant.pk).update(retention_days=3)
    return SimpleNamespace(own=cast.tenant, other=cast.other_tenant)


def _count(tenant):
    with system_scope():
        return Event.objects.filter(tenant=tenant).count(), Inbox.objects.filter(tenant=tenant).count()


def test_the_shorter_retention_of_one_tenant(aged):
    tasks.retention()
    assert _count(aged.own) == (7, 7)
    assert _count(aged.other) == (14, 14)


def test_it_goes_on_in_batches(aged, monkeypatch):
    monkeypatch.setattr(tasks, "BATCH", 2)
    tasks.retention()
    assert _count(aged.own) == (7, 7)


def test_a_longer_one_than_the_portals_changes_nothing(aged):
    with system_scope():
        Tenant.objects.filter(pk=aged.own.pk).update(retention_days=300)
    tasks.retention()
    assert _count(aged.own) == (14, 14)


def test_receipts_go_too(aged, source):
    with system_scope():
        Receipt.objects.create(
            id=lowest_uuid7(timezone.now() - timedelta(days=4)),
            tenant=aged.own,
            source=source,
            status="accepted",
            status_code=202,
        )
    tasks.retention()
    with system_scope():
        assert Receipt.objects.count() == 0
