from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from subscriptions.models import Notice, SigningSecret
from tenants.scope import system_scope


@shared_task(name="subscriptions.tasks.forget")
def forget() -> None:
    """What signs nothing any more, and notices as old as the deliveries made of them may become."""
    with system_scope():
        SigningSecret.objects.filter(expires_at__lte=timezone.now()).delete()
        oldest = timezone.now() - timedelta(days=settings.RETENTION_DAYS)
        Notice.objects.filter(created_at__lt=oldest, routed_at__isnull=False).delete()
