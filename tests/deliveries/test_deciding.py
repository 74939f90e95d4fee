"""Filters: undecided events become deliveries, tenant by tenant, and what people write there harms nobody else."""

import os
import random
import signal
import threading

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from deliveries import deciding, tasks
from deliveries import replay as replaying
from deliveries.models import Delivery, Replay, Undecided
from deliveries.routing import route
from subscriptions import choice
from subscriptions.evaluator import Evaluator, OutOfOrder
from subscriptions.models import Subscription
from subscriptions.trying import try_choice
from tenants.models import Site
from tenants.scope import system_scope, tenant_scope
from tests.choices import EXPRESSIONS, PAYLOADS, SLOW, a_source

JSON = b'{"amount": 12, "customer": {"vip": true}}'


@pytest.fixture
def evaluator():
    with Evaluator() as running:
        yield running


@pytest.fixture
def decide(evaluator):
    """decide() → how many deliveries were made, of all tenants, until nothing is undecided."""

    def run() -> int:
        while route().claimed:
            pass
        made = 0
        while waiting := deciding.tenants_waiting():
            made += sum(deciding.decide(tenant, evaluator).deliveries for tenant in waiting)
        return made

    return run


def happened(happen, body=JSON, **fields):
    return happen(body=body, body_is_data=True, **fields)


def fresh(subscription) -> Subscription:
    with system_scope():
        return Subscription.objects.get(pk=subscription.pk)


def told(subscription) -> list:
    with system_scope():
        found = Delivery.objects.filter(subscription_id=subscription.pk)
        return list(found.order_by("id").values_list("event_id", flat=True))


def undecided() -> int:
    with system_scope():
        return Undecided.objects.count()


# ── What is told ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_only_what_the_filter_matches_is_told(subscribe, happen, decide):
    subscription, _ = subscribe(filter="payload.amount > 10 && payload.customer.vip")
    event = happened(happen)
    happened(happen, b'{"amount": 9, "customer": {"vip": true}}')
    assert decide() == 1
    assert told(subscription) == [event.pk]
    assert undecided() == 0


def test_a_filter_sees_the_event_itself(cast, subscribe, happen, decide):
    source = a_source(cast.tenant, "Shop")
    with tenant_scope(cast.tenant.pk):
        site = Site.objects.create(tenant=cast.tenant, name="Basel")
    subscribe(
        filter='event.type == "order.paid" && event.severity == "high" && event.source == "Shop" && event.title == "T"'
        f' && event.site == "Basel" && event.source_id == "{source.pk}" && event.site_id == "{site.pk}"'
        ' && event.received_at > timestamp("2020-01-01T00:00:00Z") && event.occurred_at == null && event.id != ""'
    )
    happened(happen, event_type="order.paid", severity="high", source=source, site=site, title="T")
    assert decide() == 1


def test_without_a_payload_it_is_null(subscribe, happen, decide):
    subscribe(filter="payload == null")
    happen(body=b"\xff\xfe", data_problem="no JSON")
    assert decide() == 1


def test_a_payload_that_stands_beside_its_body_is_seen(subscribe, happen, decide):
    subscribe(filter='payload.order.id == "7"')
    happen(body=b"<order id='7'/>", data={"order": {"id": "7"}})
    assert decide() == 1


@pytest.mark.parametrize(("chosen", "count"), [("own", 1), ("other", 0), ("none", 1)])
def test_sources_are_chosen(cast, subscribe, happen, chosen, count):
    own, other = a_source(cast.tenant, "Own"), a_source(cast.tenant, "Other")
    subscribe(sources={"own": [own.pk], "other": [other.pk], "none": []}[chosen])
    happen(source=own)
    assert route().deliveries == count


def test_what_the_tenants_own_backend_published_is_of_no_chosen_source(cast, subscribe, happen):
    subscribe(sources=[a_source(cast.tenant, "Own").pk])
    happen()
    assert route().deliveries == 0


def test_sites_are_chosen(cast, subscribe, happen):
    with tenant_scope(cast.tenant.pk):
        basel, bern = (Site.objects.create(tenant=cast.tenant, name=name) for name in ("Basel", "Bern"))
    subscription, _ = subscribe(sites=[basel.pk])
    event = happen(site=basel)
    happen(site=bern)
    happen()
    assert route().deliveries == 1
    assert told(subscription) == [event.pk]


def test_a_site_that_was_deleted_widens_nothing(cast, subscribe, happen):
    with tenant_scope(cast.tenant.pk):
        site = Site.objects.create(tenant=cast.tenant, name="Basel")
        subscribe(sites=[site.pk])
        site.delete()
    happen()
    assert route().deliveries == 0


def test_operational_events_are_narrowed_by_the_source_they_are_about_and_by_no_site(cast, subscribe, happen):
    about, other = a_source(cast.tenant, "About"), a_source(cast.tenant, "Other")
    with tenant_scope(cast.tenant.pk):
        site = Site.objects.create(tenant=cast.tenant, name="Basel")
    subscription, _ = subscribe(event_types=["portal.*"], sources=[about.pk], sites=[site.pk])
    wanted = [happen("portal.source.silent", source=about), happen("portal.subscription.disabled")]
    happen("portal.source.silent", source=other)
    route()
    assert told(subscription) == [event.pk for event in wanted]


def test_without_filters_nothing_is_undecided_and_no_body_is_read(subscribe, happen):
    subscribe(sources=[], sites=[])
    happened(happen)
    with CaptureQueriesContext(connection) as captured:
        assert route().undecided == 0
    assert not [query for query in captured if "undecided" in query["sql"] or '"body"' in query["sql"]]


# ── What may change meanwhile ────────────────────────────────────────────────────────────────────────────────────────


def test_a_filter_taken_away_meanwhile_means_everything(subscribe, happen, decide):
    subscription, _ = subscribe(filter="false")
    happened(happen)
    route()
    with system_scope():
        Subscription.objects.filter(pk=subscription.pk).update(filter="")
    assert decide() == 1


@pytest.mark.parametrize("change", [{"state": "disabled"}, {"event_types": ["other.*"]}, {"filter": "false"}])
def test_a_choice_counts_as_it_is_when_it_is_asked(subscribe, happen, decide, change):
    subscription, _ = subscribe(filter="true")
    happened(happen)
    route()
    with system_scope():
        Subscription.objects.filter(pk=subscription.pk).update(**change)
    assert decide() == 0
    assert undecided() == 0


@pytest.mark.spec("B11")
def test_a_worker_that_dies_in_mid_decision_has_changed_nothing(subscribe, happen, evaluator, cast, monkeypatch):
    subscribe(filter="true")
    happened(happen)
    route()

    def fails(*args):
        raise RuntimeError("the worker died here")

    monkeypatch.setattr(deciding, "_count", fails)
    with pytest.raises(RuntimeError):
        deciding.decide(cast.tenant.pk, evaluator)
    assert undecided() == 1
    with system_scope():
        assert not Delivery.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_workers_never_decide_the_same_event(cast, subscribe, happen):
    subscription, _ = subscribe(filter="payload.amount > 10")
    for _ in range(40):
        happened(happen)
    route()

    def work():
        with Evaluator() as own:
            while undecided():
                deciding.decide(cast.tenant.pk, own, batch=7)
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told(subscription)) == len(set(told(subscription))) == 40
    with system_scope():
        in_turn = list(Delivery.objects.order_by("id").values_list("event_id", flat=True))
    assert in_turn == sorted(in_turn)  # as those need it that are sent in order


# ── What goes wrong ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_error_is_no_match_and_is_counted(subscribe, happen, decide):
    subscription, _ = subscribe(filter="payload.missing == 1")
    happened(happen)
    last = happened(happen)
    assert decide() == 0
    counted = fresh(subscription)
    assert (counted.filter_errors, counted.filter_error_event) == (2, last.pk)
    assert counted.filter_error == "There is no field missing; has(…) asks whether there is."


def test_another_filter_starts_to_count_anew(cast, subscribe, happen, decide):
    subscription, _ = subscribe(filter="payload.missing == 1")
    happened(happen)
    decide()
    with tenant_scope(cast.tenant.pk):
        fresh(subscription).configure(name="Renamed", filter="payload.missing == 1")
        assert fresh(subscription).filter_errors == 1
        fresh(subscription).configure(filter="true")
    assert (fresh(subscription).filter_errors, fresh(subscription).filter_error) == (0, "")


def test_an_error_of_a_filter_that_is_no_more_is_not_counted(subscribe, happen, cast, evaluator, monkeypatch):
    """It was changed while the old one was asked."""
    subscription, _ = subscribe(filter="payload.missing == 1")
    happened(happen)
    route()
    count = deciding._count

    def change_then_count(problems):
        Subscription.objects.filter(pk=subscription.pk).update(filter="true")
        count(problems)

    monkeypatch.setattr(deciding, "_count", change_then_count)
    deciding.decide(cast.tenant.pk, evaluator)
    assert fresh(subscription).filter_errors == 0


def test_what_is_neither_true_nor_false_is_an_error(subscribe, happen, decide):
    subscription, _ = subscribe(filter="payload.amount")
    happened(happen)
    decide()
    assert fresh(subscription).filter_error == "Its value is a number, not true or false."


def test_a_payload_beyond_the_limit_is_not_looked_into(subscribe, happen, decide):
    looks, _ = subscribe(filter="payload.amount == 12")
    does_not, _ = subscribe(filter='event.severity == "low"')
    happened(happen, b'{"amount": 12, "filler": "%s"}' % (b"x" * 256_000))
    assert decide() == 1
    assert told(does_not)
    assert fresh(looks).filter_error.startswith("The payload is larger than 256 kB")


def test_a_slow_filter_holds_up_neither_others_nor_itself_for_long(cast, subscribe, happen, evaluator):
    """A turn ends; what others asked is decided; after three deaths in a row it is not asked any more."""
    hostile, _ = subscribe(tenant=cast.other_tenant, filter=SLOW)
    subscription, _ = subscribe(filter="payload.amount == 12")
    for _ in range(30):
        happened(happen, tenant=cast.other_tenant)
    happened(happen)
    route()
    first = deciding.decide(cast.other_tenant.pk, evaluator)
    assert first.settled < 30, "a turn has an end"
    assert deciding.decide(cast.tenant.pk, evaluator).deliveries == 1
    while deciding.decide(cast.other_tenant.pk, evaluator).settled:
        pass
    counted = fresh(hostile)
    assert counted.filter_errors == 30
    assert counted.filter_error == "It took too long for several events in a row, and is not asked for a minute."
    assert told(subscription)


def test_where_filters_cannot_be_asked_at_all_events_wait(cast, subscribe, happen, monkeypatch, tmp_path):
    subscription, _ = subscribe(filter="true")
    happened(happen)
    route()
    monkeypatch.setattr("subscriptions.evaluator.SCRIPT", tmp_path / "missing.py")
    with Evaluator() as broken, pytest.raises(OutOfOrder):
        deciding.decide(cast.tenant.pk, broken)
    assert undecided() == 1
    assert fresh(subscription).filter_errors == 0


def test_a_process_that_somebody_kills_costs_no_event(subscribe, happen, decide, evaluator):
    subscribe(filter="payload.amount == 12")
    happened(happen)
    assert decide() == 1
    os.kill(evaluator._child.pid, signal.SIGKILL)
    evaluator._child.wait()
    happened(happen)
    assert decide() == 1


def test_routing_wakes_the_task_where_there_is_something_to_ask(subscribe, happen, monkeypatch):
    woken = []
    monkeypatch.setattr(tasks.undecided_models, "wake", lambda: woken.append(1))
    monkeypatch.setattr(tasks._dispatcher, "wake", lambda: None)
    subscribe()
    happened(happen)
    tasks.route()
    assert woken == []
    subscribe(filter="true")
    happened(happen)
    tasks.route()
    assert woken == [1]
    tasks.sweep()
    assert woken == [1, 1]


def test_the_task_goes_through_all_tenants(cast, subscribe, happen, monkeypatch, evaluator):
    monkeypatch.setattr(tasks, "_evaluator", evaluator)
    monkeypatch.setattr(tasks, "DECIDE_SECONDS", 60)
    monkeypatch.setattr(tasks._dispatcher, "wake", lambda: None)
    subscribe(filter="true")
    subscribe(tenant=cast.other_tenant, filter="true")
    happened(happen)
    happened(happen, tenant=cast.other_tenant)
    route()
    tasks.decide()
    assert undecided() == 0
    with system_scope():
        assert Delivery.objects.count() == 2


def test_a_tenant_that_cannot_be_decided_does_not_stop_the_task(cast, subscribe, happen, monkeypatch, evaluator):
    monkeypatch.setattr(tasks, "_evaluator", evaluator)
    monkeypatch.setattr(tasks._dispatcher, "wake", lambda: None)
    for tenant in (cast.tenant, cast.other_tenant):
        subscribe(tenant=tenant, filter="true")
        happened(happen, tenant=tenant)
    route()
    decide_one = deciding.decide

    def fails(tenant, evaluator):
        if tenant == cast.tenant.pk:
            raise RuntimeError("something of this tenant's")
        return decide_one(tenant, evaluator)

    monkeypatch.setattr(deciding, "decide", fails)
    tasks.decide()
    assert undecided() == 1


# ── The same verdict wherever it is asked ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(6))
def test_what_was_tried_is_what_is_routed_and_replayed(cast, subscribe, happen, decide, seed):
    chance = random.Random(seed)  # noqa: S311 (made-up choices)
    sources = [a_source(cast.tenant, name) for name in ("Shop", "Till")]
    with tenant_scope(cast.tenant.pk):
        sites = [Site.objects.create(tenant=cast.tenant, name=name) for name in ("Basel", "Bern")]
    chosen = {
        "event_types": chance.choice([["*"], ["order.*"], ["*.paid", "user.created"], ["portal.*", "*"]]),
        "min_severity": chance.choice(["low", "low", "medium"]),
        "sources": chance.choice([[], [sources[0].pk]]),
        "sites": chance.choice([[], [sites[0].pk]]),
        "filter": chance.choice(EXPRESSIONS),
    }
    subscription, _ = subscribe(**chosen)
    for _ in range(25):
        happen(
            chance.choice(["order.paid", "order.sent", "user.created", "portal.source.silent"]),
            body=(body := chance.choice(PAYLOADS)),
            body_is_data=body != b"none",
            severity=chance.choice(["low", "medium", "high"]),
            source=chance.choice([None, *sources]),
            site=chance.choice([None, *sites]),
        )
    with tenant_scope(cast.tenant.pk):
        tried = try_choice(Subscription(tenant=cast.tenant, **chosen))
    decide()
    expected = {one.event.pk for one in tried.events if one.matched}
    assert set(told(subscription)) == expected
    assert (fresh(subscription).filter_errors > 0) == bool(tried.problems)
    with system_scope():
        Delivery.objects.all().delete()
    with tenant_scope(cast.tenant.pk):
        since = min(one.event.received_at for one in tried.events)
        replay = Replay.asked(fresh(subscription), "events", since=since)
        assert replaying.count(replay).count == len(expected)


def test_a_replay_goes_on_where_its_time_was_up(cast, subscribe, happen, decide, monkeypatch):
    monkeypatch.setattr(replaying, "FILTER_SECONDS", 0)
    subscription, _ = subscribe(filter="payload.amount > 10")
    events = [happened(happen) for _ in range(5)]
    decide()
    with system_scope():
        Delivery.objects.all().delete()
    with tenant_scope(cast.tenant.pk):
        replay = Replay.asked(fresh(subscription), "events", since=events[0].received_at)
        replay.start(5, is_exact=True, asked_by="owner@acme.example")
    while replaying.advance() is not None:
        pass
    assert told(subscription) == [event.pk for event in events]


def test_a_replay_leaves_out_what_is_undecided(cast, subscribe, happen):
    subscription, _ = subscribe(filter="true")
    event = happened(happen)
    route()
    with tenant_scope(cast.tenant.pk):
        assert replaying.count(Replay.asked(fresh(subscription), "events", since=event.received_at)).count == 0


def test_payloads_come_in_small_numbers(cast, subscribe, happen, decide, monkeypatch):
    """A batch of large events is never in memory as a whole."""
    monkeypatch.setattr(choice, "CHUNK", 2)
    monkeypatch.setattr(deciding, "TURN_SECONDS", 60)  # all in one turn, however slow the machine
    seen = []
    payloads = choice._payloads
    monkeypatch.setattr(choice, "_payloads", lambda asked: seen.append(len(asked)) or payloads(asked))
    subscribe(filter="payload.amount > 10")
    for _ in range(5):
        happened(happen)
    assert decide() == 5
    assert seen == [2, 2, 1]
