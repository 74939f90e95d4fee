from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from subscriptions import failing_mail
from subscriptions.models import FailingMail, Notice, SigningSecret
from tenants.scope import system_scope


@shared_task(name="subscriptions.tasks.forget")
def forget() -> None:
    """What signs nothing any more; notices as old as the deliveries made of them may become, and mails of that age."""
    with system_scope():
        SigningSecret.objects.filter(expires_at__lte=timezone.now()).delete()
        oldest = timezone.now() - timedelta(days=settings.RETENTION_DAYS)
        Notice.objects.filter(created_at__lt=oldest, routed_at__isnull=False).delete()
        FailingMail.objects.filter(happened_at__lt=oldest).delete()


@shared_task(name="subscriptions.tasks.failing_mails")
def failing_mails() -> None:
    """Send the mails about subscriptions that fail or were disabled."""
    failing_mail.send_due()
