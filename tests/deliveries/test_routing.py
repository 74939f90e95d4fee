"""Who is told about what: inbox rows become deliveries and outbox rows, in one transaction."""

import threading
import time
from datetime import timedelta
from types import SimpleNamespace

import psycopg
import pytest
from django.db import Error, OperationalError, connection
from django.utils import timezone

from deliveries import routing, tasks
from deliveries.models import Delivery, Outbox
from events.models import Bundle, Inbox
from subscriptions.models import Notice, Subscription
from tenants.ids import uuid7
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


@pytest.mark.spec("B11")
@pytest.mark.django_db(transaction=True)
def test_a_worker_that_stands_still_does_not_hold_up_the_others(subscribe, happen, monkeypatch):
    """Stopped in the middle of a batch, with everybody's turn: PostgreSQL takes it away, and what it claimed too."""
    monkeypatch.setattr(routing, "IDLE_WITH_LOCKS", 0.3)
    subscribe()
    event = happen()
    standing, go_on, ended = threading.Event(), threading.Event(), []
    real = routing._ready_subscriptions

    def stand_still(tenants):
        monkeypatch.setattr(routing, "_ready_subscriptions", real)
        standing.set()
        go_on.wait(12)  # less than the bound of all scopes
        return real(tenants)

    def work():
        try:
            routing.route()
        except Error as error:
            ended.append(error)
        finally:
            connection.close()

    monkeypatch.setattr(routing, "_ready_subscriptions", stand_still)
    stalled = threading.Thread(target=work)
    stalled.start()
    assert standing.wait(30)
    assert routing.route().deliveries == 1
    go_on.set()
    stalled.join()
    assert len(ended) == 1
    assert [delivery.event_id for delivery in deliveries()] == [event.pk]


@pytest.mark.django_db(transaction=True)
def test_one_that_is_at_it_for_long_does_not_stand_still(subscribe, happen, monkeypatch):
    monkeypatch.setattr(routing, "IDLE_WITH_LOCKS", 0.4)
    subscribe()
    for number in range(20):
        happen(f"user.number-{number}")  # of two that are alike only the first is asked about
    real = routing.wants

    def slowly(*args):
        time.sleep(0.06)
        return real(*args)

    monkeypatch.setattr(routing, "wants", slowly)
    assert routing.route().deliveries == 20
    assert len({delivery.event_id for delivery in deliveries()}) == 20


@pytest.fixture
def turn():
    """Somebody else's turn, until it is closed."""
    given = connection.get_connection_params()
    with psycopg.connect(**{name: given[name] for name in ("dbname", "user", "password", "host", "port")}) as other:
        other.execute("SELECT pg_advisory_xact_lock(hashtext('routing'))")
        yield other


@pytest.mark.spec("B11")
@pytest.mark.django_db(transaction=True)
def test_who_waits_for_the_turn_leaves_the_queue_now_and_then(turn, monkeypatch):
    """PostgreSQL sees to it: who stands still while he waits must not be given the turn when it is free."""
    monkeypatch.setattr(routing, "QUEUE_ANEW", 0.1)
    with pytest.raises(OperationalError, match="lock timeout"), system_scope():
        routing._take_turns()


@pytest.mark.django_db(transaction=True)
def test_who_waits_comes_anew_until_it_is_his_turn(subscribe, happen, turn, monkeypatch):
    monkeypatch.setattr(routing, "QUEUE_ANEW", 0.1)
    subscribe()
    happen()
    seen = []

    def look(subscription, event):
        with connection.cursor() as cursor:
            cursor.execute("SHOW lock_timeout")
            seen.append(cursor.fetchone()[0])
        return True

    monkeypatch.setattr(routing, "wants", look)
    threading.Timer(0.5, turn.close).start()
    assert routing.route().deliveries == 1
    assert seen == ["0"]


def test_a_task_routes_batch_after_batch_and_ends_with_one_that_is_not_full(subscribe, happen, monkeypatch):
    subscribe()
    for _ in range(5):
        happen()
    made, real = [], routing.route

    def route():
        made.append(real(2))
        return made[-1]

    monkeypatch.setattr(routing, "BATCH", 2)
    monkeypatch.setattr(routing, "route", route)
    monkeypatch.setattr(tasks, "_dispatcher", SimpleNamespace(wake=lambda: None))
    monkeypatch.setattr(tasks, "wake", lambda task: None)
    tasks.route()
    assert [routed.claimed for routed in made] == [2, 2, 1]
    assert len(deliveries()) == 5


def test_a_batch_says_whether_bundles_wait(cast):
    assert not routing.route().bundles_wait
    with system_scope():
        Bundle.objects.create(receipt_id=uuid7(), tenant=cast.tenant, division="")
    assert routing.route().bundles_wait


def test_a_subscription_that_became_ready_or_none_is_seen_at_once(cast, subscribe, happen):
    """Its statement is kept, not its answer."""
    subscription, _ = subscribe()
    happen()
    assert routing.route().deliveries == 1
    with tenant_scope(cast.tenant.pk):
        subscription.disable("By a test.")
    happen()
    assert routing.route().deliveries == 0
    with tenant_scope(cast.tenant.pk):
        assert subscription.enable()
    happen()
    assert routing.route().deliveries == 1


def test_a_subscription_that_changed_is_asked_as_it_is_now(cast, subscribe, happen):
    """It is kept from batch to batch, and believed by its version."""
    subscription, _ = subscribe(event_types=["user.*"])
    happen("user.created")
    assert routing.route().deliveries == 1
    with tenant_scope(cast.tenant.pk):
        Subscription.objects.filter(pk=subscription.pk).update(event_types=["order.*"], shape="raw")
    happen("user.created")
    happen("order.paid")
    assert routing.route().deliveries == 1
    told = [(one.event_type, one.shape) for one in deliveries()]
    assert told == [("user.created", "envelope"), ("order.paid", "raw")]


def test_so_is_each_of_more_than_are_kept(subscribe, happen, monkeypatch):
    monkeypatch.setattr(routing, "KEPT", 2)
    for number in range(5):
        subscribe(name=f"Number {number}")
        happen()
        assert routing.route().deliveries == number + 1


def test_events_that_are_alike_are_asked_about_once(cast, subscribe, happen, monkeypatch):
    """Alike: of the same tenant, type, severity, source and site."""
    subscribe()
    subscribe(tenant=cast.other_tenant)
    asked, real = [], routing.wants
    monkeypatch.setattr(routing, "wants", lambda *both: asked.append(both) or real(*both))
    for _ in range(3):
        happen(severity="low")
        happen(severity="high")
        happen("order.paid", severity="low")
        happen(severity="low", tenant=cast.other_tenant)
    assert routing.route().deliveries == 12
    assert len(asked) == 4


def test_one_of_a_pools_processes_hears_the_door(monkeypatch):
    """Each would route what it hears of, one after another."""
    made = []
    monkeypatch.setattr(tasks, "Dispatcher", lambda route: made.append(route) or SimpleNamespace(wake=lambda: None))
    monkeypatch.setattr(tasks, "_dispatcher", None)
    monkeypatch.setattr(tasks, "_evaluator", None)
    monkeypatch.setattr(tasks, "gc", SimpleNamespace(freeze=lambda: None, set_threshold=lambda *numbers: None))
    monkeypatch.setattr(tasks, "sys", SimpleNamespace(setswitchinterval=lambda seconds: None))
    for process in (SimpleNamespace(index=0), SimpleNamespace(index=1), SimpleNamespace(index=2), SimpleNamespace()):
        monkeypatch.setattr(tasks, "current_process", lambda process=process: process)
        tasks.start_fresh()
    assert made == [tasks.route, None, None, tasks.route], "the last one is no pool's"


@pytest.mark.spec("B9")
def test_what_is_routed_has_its_place_by_the_databases_clock(subscribe, happen, monkeypatch):
    """Workers' own clocks differ, and lines are in the order of ids."""
    subscribe(mode="ordered")
    real, shift = routing._take_turns, timedelta(hours=-1)

    def take_turns():
        at, *others = real()
        return at + shift, *others

    monkeypatch.setattr(routing, "_take_turns", take_turns)
    for number in range(20):
        happen(f"user.number-{number}")
    assert routing.route().deliveries == 20
    made = deliveries()
    assert [one.event_type for one in made] == [f"user.number-{number}" for number in range(20)]
    assert all(timedelta(minutes=59) < timezone.now() - one.created_at < timedelta(minutes=61) for one in made)
