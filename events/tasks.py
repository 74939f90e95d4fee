"""Room for what will arrive, an end for what is old, a watch over the sources. Beat starts each; any may run again."""

from datetime import datetime, timedelta

from celery import shared_task
from django.conf import settings
from django.db import connection
from django.utils import timezone

from events import alarm_mail, watch
from events.models import AlarmEpisode, Inbox, OnceKey
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


@shared_task(name="events.tasks.alarms")
def alarms() -> None:
    """Open and end the episodes of every alarm."""
    watch.evaluate()


@shared_task(name="events.tasks.alarm_mails")
def alarm_mails() -> None:
    """Send the mails about them: beside the evaluation, which a mail server that hangs must not hold up."""
    alarm_mail.send_due()


@shared_task(name="events.tasks.retention")
def retention() -> None:
    """Delete what is older than its tenant wants it kept, where that is less than the portal's retention."""
    _forget_episodes()
    _forget_once_keys()
    with system_scope():
        tenants = list(
            Tenant.objects.filter(retention_days__lt=settings.RETENTION_DAYS).values_list("pk", "retention_days")
        )
    for tenant_id, days in tenants:
        before = timezone.now() - timedelta(days=days)
        for model in partitioned_models():
            while _delete_batch(model._meta.db_table, tenant_id, before):
                pass


def _forget_episodes() -> None:
    """Episodes that ended are kept as long as the portal keeps anything."""
    oldest = timezone.now() - timedelta(days=settings.RETENTION_DAYS)
    with system_scope():
        AlarmEpisode.objects.filter(cleared_at__lt=oldest).delete()


def _forget_once_keys() -> None:
    """What a sender may send again (B6, D3)."""
    deleted = BATCH
    while deleted == BATCH:
        with system_scope():
            deleted = OnceKey.objects.forget_expired(BATCH)


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
