"""The hourly forgetting."""

from datetime import timedelta

import pytest
from django.utils import timezone

from subscriptions.models import Notice, SigningSecret
from subscriptions.tasks import forget
from tenants.scope import system_scope


@pytest.fixture
def subscription(make):
    return make("idle")


def test_a_secret_whose_overlap_ran_out_is_not_kept(subscription):
    with system_scope():
        subscription.rotate_secret(timedelta(hours=1))
        SigningSecret.objects.filter(expires_at__isnull=False).update(expires_at=timezone.now())
    forget()
    with system_scope():
        assert SigningSecret.objects.filter(subscription=subscription).count() == 1


@pytest.mark.parametrize(("days", "routed", "left"), [(31, True, 0), (29, True, 1), (31, False, 1)])
def test_old_notices_that_were_routed_are_forgotten(subscription, settings, days, routed, left):
    settings.RETENTION_DAYS = 30
    then = timezone.now() - timedelta(days=days)
    with system_scope():
        Notice.objects.all().delete()
        Notice.objects.create(
            tenant=subscription.tenant, subscription=subscription, kind="test", event_type="t", payload={},
            created_at=then, routed_at=then if routed else None,
        )  # fmt: skip
    forget()
    with system_scope():
        assert Notice.objects.count() == left
