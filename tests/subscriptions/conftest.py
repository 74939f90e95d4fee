"""A subscription in each state, and the token that was last posted for it."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from subscriptions.failing import OPENS_AFTER
from subscriptions.models import Failing, Notice, Subscription
from tenants.scope import system_scope, tenant_scope

URL = "https://receiver.example/in/t0p-secret-path?key=s3cret"


def token_of(subscription: Subscription) -> str:
    """The token of the newest link, as its receiver would read it."""
    with system_scope():
        notice = subscription.notices.filter(kind=Notice.Kind.CONFIRMATION).first()
        return notice.payload["confirmation_url"].rsplit("/", 1)[1]


def fail(subscription) -> Failing:
    """Its breaker is open, and its receiver has failed since 1 March."""
    since = datetime(2026, 3, 1, 12, tzinfo=UTC)
    row = Failing(subscription=subscription, tenant_id=subscription.tenant_id)
    row.begin(subscription.state_changed_at, since)
    for _ in range(OPENS_AFTER):
        row.failed(uuid.uuid4(), since, is_refusal=False)
    row.open_until = timezone.now() + timedelta(minutes=5)
    with system_scope():
        row.save(force_insert=True)
    return row


@pytest.fixture
def in_tenant(cast):
    """Rows are touched in the tenant's scope."""
    with tenant_scope(cast.tenant.pk):
        yield cast.tenant


@pytest.fixture
def make(cast):
    """`make(state="idle", …)`: a subscription of the tenant's in that state."""

    def make_one(state: str = "pending", **fields) -> Subscription:
        fields = {"name": "Desk", "url": URL, "event_types": ["*"]} | fields
        with tenant_scope(cast.tenant.pk):
            subscription, _ = Subscription.objects.create_pending(cast.tenant, cast.owner, **fields)
        if state != "pending":
            with system_scope():
                subscription = Subscription.objects.confirm(token_of(subscription))
        if state == "disabled":
            with tenant_scope(cast.tenant.pk):
                subscription.disable("By a test.")
        return subscription

    return make_one
