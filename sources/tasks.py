from celery import shared_task

from sources.models import SourceCredential
from tenants.scope import system_scope


@shared_task(name="sources.tasks.destroy_ended_secrets")
def destroy_ended_secrets() -> None:
    """A secret whose overlap ran out by itself is wiped too, not only at the next rotation."""
    with system_scope():
        SourceCredential.objects.destroy_ended()
