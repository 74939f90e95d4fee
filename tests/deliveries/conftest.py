"""A subscription that agreed, a receiver on a real socket, an event, and a dispatcher."""

import pytest

from deliveries import lines, sending
from deliveries.dispatch import Dispatcher
from deliveries.endpoints import Endpoints
from deliveries.outbox import Claim
from deliveries.routing import route
from deliveries.sending import Sending
from events.models import Event, Inbox
from subscriptions.models import Subscription
from tenants.scope import tenant_scope
from tests.receiver import Receiver


@pytest.fixture
def receiver():
    with Receiver() as running:
        yield running


@pytest.fixture
def opened(settings):
    """This portal may post to this machine."""
    settings.EGRESS_ALLOW = ["127.0.0.0/8"]


@pytest.fixture
def dispatcher(opened, db):
    dispatcher = Dispatcher()
    yield dispatcher
    dispatcher.close()


@pytest.fixture
def subscribe(cast, receiver, opened):
    """subscribe(**fields) → (an idle subscription to the receiver, its secret)."""

    def make(tenant=None, state=Subscription.State.IDLE, headers=None, **fields):
        tenant = tenant or cast.tenant
        fields = {"name": "SIEM", "url": receiver.url, "event_types": ["*"], **fields}
        with tenant_scope(tenant.pk):
            subscription = Subscription(tenant=tenant, state=state, **fields)
            subscription.seal_headers(headers or {})
            subscription.save(force_insert=True)
            return subscription, subscription.issue_secret()

    return make


@pytest.fixture
def happen(cast):
    """happen("user.created", b"{}") → an event in the inbox."""

    def make(event_type="user.created", body=b'{"n": 1.0}', tenant=None, **fields):
        tenant = tenant or cast.tenant
        with tenant_scope(tenant.pk):
            event = Event.objects.create(
                tenant=tenant, type=event_type, body=body, **{"content_type": "application/json", **fields}
            )
            Inbox.objects.create(event=event, tenant=tenant)
        return event

    return make


@pytest.fixture
def events(happen):
    """events(3) → three that can be told apart, by their `n`."""

    def make(count, first=0):
        for number in range(first, first + count):
            happen(body=b'{"n": %d}' % number)

    return make


@pytest.fixture
def deliver(dispatcher):
    """Route what is in the inbox and send what is due, as the worker does."""

    def run() -> int:
        while route().claimed:
            pass
        return dispatcher.drain()

    return run


def begun(claims: list[Claim]) -> list[Sending]:
    """What may leave now of what was claimed, as the dispatcher finds it; the others are cancelled or given back."""
    if not claims:
        return []
    sendings, cancelled, _ = lines.run(sending.reading(claims, Endpoints()))
    lines.run(sending.cancelling(cancelled))
    kept, _ = sending.admit(sendings)
    return kept
