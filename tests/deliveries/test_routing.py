"""Who is told about what: inbox rows become deliveries and outbox rows, in one transaction."""

import threading

import pytest
from django.db import connection

from deliveries import routing
from deliveries.models import Delivery, Outbox
from events.models import Inbox
from subscriptions.models import Notice, Subscription
from tenants.scope import system_scope, tenant_scope


def deliveries():
    with system_scope():
        return list(Delivery.objects.order_by("id"))


@pytest.mark.spec("S2")
@pytest.mark.parametrize(("patterns", "told"), [(["*"], 1), (["user.*"], 1), (["order.*"], 0), (["user.created"], 1)])
def test_a_subscription_is_told_of_the_types_it_chose(subscribe, happen, patterns, told):
    subscribe(event_types=patterns)
    happen("user.created")
    assert routing.route().deliveries == told
    assert len(deliveries()) == told


@pytest.mark.spec("T2")
@pytest.mark.parametrize(
    ("minimum", "severity", "told"), [("low", "low", 1), ("high", "medium", 0), ("medium", "high", 1)]
)
def test_an_event_below_the_minimum_severity_is_not_told(subscribe, happen, minimum, severity, told):
    subscribe(min_severity=minimum)
    happen(severity=severity)
    assert routing.route().deliveries == told


@pytest.mark.spec("T4")
@pytest.mark.parametrize("state", [Subscription.State.PENDING, Subscription.State.DISABLED])
def test_who_has_not_agreed_is_told_nothing(subscribe, happen, state):
    subscribe(state=state)
    happen()
    assert routing.route().deliveries == 0


def test_another_tenants_subscription_is_told_nothing(cast, subscribe, happen):
    subscribe(tenant=cast.other_tenant)
    happen()
    routing.route()
    assert deliveries() == []


def test_routing_empties_the_inbox_and_fills_the_outbox(subscribe, happen):
    subscribe()
    event = happen()
    routing.route()
    with system_scope():
        assert not Inbox.objects.exists()
        assert [row.delivery_id for row in Outbox.objects.all()] == [d.pk for d in deliveries()]
    assert deliveries()[0].message_id == str(event.pk)


def test_an_event_nobody_wants_leaves_the_inbox(happen):
    happen()
    assert routing.route() == routing.Routed(events=1)
    assert routing.route().claimed == 0


def test_a_notice_is_routed_once_to_its_subscription(cast, subscribe):
    subscription, _ = subscribe()
    with tenant_scope(cast.tenant.pk):
        Notice.objects.create(
            tenant=cast.tenant, subscription=subscription, kind="test", event_type="test.webhook-event", payload={}
        )
    assert routing.route().notices == 1
    assert routing.route().claimed == 0
    assert [d.kind for d in deliveries()] == ["test"]


@pytest.mark.spec("B11")
def test_a_failure_in_mid_routing_keeps_the_inbox(subscribe, happen, monkeypatch):
    subscribe()
    happen()

    def fails(*args):
        raise RuntimeError("the worker died here")

    monkeypatch.setattr(routing, "new_of_event", fails)
    with pytest.raises(RuntimeError):
        routing.route()
    with system_scope():
        assert Inbox.objects.count() == 1
    assert deliveries() == []


@pytest.mark.django_db(transaction=True)
def test_two_workers_never_route_the_same_event(subscribe, happen):
    subscribe()
    for _ in range(60):
        happen()

    def work():
        while routing.route(batch=7).claimed:
            pass
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({d.event_id for d in deliveries()}) == len(deliveries()) == 60
