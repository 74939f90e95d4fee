"""What a receiver was sent, and the one line there is."""

import json
from datetime import timedelta

from django.utils import timezone

from deliveries.models import Delivery, Lane
from tenants.scope import system_scope


def numbers(posted) -> list[int]:
    return [json.loads(one.body)["data"]["n"] for one in posted]


def sizes(posted) -> list[int]:
    return [len(json.loads(one.body)) for one in posted]


def statuses() -> list[str]:
    with system_scope():
        return list(Delivery.objects.order_by("id").values_list("status", flat=True))


def lane() -> Lane:
    with system_scope():
        return Lane.objects.get()


def let_time_pass() -> None:
    with system_scope():
        Lane.objects.filter(due_at__isnull=False).update(due_at=timezone.now() - timedelta(seconds=1))
