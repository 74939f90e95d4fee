"""Room for what will arrive, and an end for what is old. Beat starts both; each may run again at any time."""

from datetime import datetime, timedelta

from celery import shared_task
from django.conf import settings
from django.db import connection
from django.utils import timezone

from events.models import Inbox
from events.partitions import drop_partitions_before, ensure_partitions, partitioned_models
from tenants.ids import lowest_uuid7
from tenants.models import Tenant
from tenants.scope import system_scope, tenant_scope

BATCH = 2000  # rows a transaction


@shared_task(name="events.tasks.partitions")
def partitions() -> None:
    """Make the coming days' partitions, drop those older than the portal keeps anything."""
    ensure_partitions()
    oldest = timezone.now() - timedelta(days=settings.RETENTION_DAYS)
    _forget_inbox(oldest.replace(hour=0, minute=0, second=0, microsecond=0))
    drop_partitions_before(oldest)


@shared_task(name="events.tasks.retention")
def retention() -> None:
    """Delete what is older than its tenant wants it kept, where that is less than the portal's retention."""
    with system_scope():
        tenants = list(
            Tenant.objects.filter(retention_days__lt=settings.RETENTION_DAYS).values_list("pk", "retention_days")
        )
    for tenant_id, days in tenants:
        before = timezone.now() - timedelta(days=days)
        for model in partitioned_models():
            while _delete_batch(model._meta.db_table, tenant_id, before):
                pass


def _delete_batch(table: str, tenant_id, before: datetime) -> bool:
    """Delete up to BATCH rows, oldest first; True where there may be more. Short transactions, so that nobody waits."""
    with tenant_scope(tenant_id), connection.cursor() as cursor:
        cursor.execute(
            f"DELETE FROM {table} WHERE id IN"  # noqa: S608  (names come from our models)
            f" (SELECT id FROM {table} WHERE tenant_id = %s AND id < %s ORDER BY id LIMIT %s)"
            " AND id < %s",
            [tenant_id, lowest_uuid7(before), BATCH, lowest_uuid7(before)],
        )
        deleted = cursor.rowcount
        if table == "events_event":
            Inbox.objects.filter(event_id__lt=lowest_uuid7(before)).delete()
    return deleted == BATCH


def _forget_inbox(before: datetime) -> None:
    """An inbox row whose event is about to go has nothing left to say."""
    with system_scope():
        Inbox.objects.filter(event_id__lt=lowest_uuid7(before)).delete()
