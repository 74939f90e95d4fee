"""Nobody takes all places, and whoever waits behind somebody's backlog is found (B8)."""

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from deliveries import fairness, lines, outbox
from deliveries.dispatch import DUE, Dispatcher
from deliveries.fairness import Others, Places, VainLook
from deliveries.models import Outbox
from deliveries.outbox import Claim, Claiming
from deliveries.routing import route
from tenants.scope import system_scope
from tests.receiver import Answer, Receiver


def fill(places: Places, tenant: str, subscription: str = "") -> int:
    """Claim for one tenant until it has its share. Returns how many places it has then."""
    before = places.taken
    while True:
        room, others = places.offer()
        if room <= 0 or tenant in others.tenants or subscription in others.subscriptions:
            return places.taken - before
        for _ in range(room):
            places.take(tenant, subscription or f"{tenant} {places.taken}")


def test_a_tenant_alone_settles_at_about_half():
    places = Places(places=512)
    assert 200 <= fill(places, "hog") <= 256


def test_each_that_comes_finds_a_place():
    places = Places(places=512)
    shares = [fill(places, f"tenant {number}") for number in range(6)]
    assert all(shares)
    assert shares == sorted(shares, reverse=True)
    assert places.taken < 512


def test_a_subscription_has_a_bound_of_its_own():
    places = Places(places=512, of_one_subscription=40)
    assert fill(places, "hog", "one") <= 40
    assert fill(places, "hog", "another") > 0


def test_places_that_are_free_again_can_be_taken_again():
    places = Places(places=64)
    before = places.offer()
    fill(places, "hog", "one")
    while places.taken:
        places.free("hog", "one")
    assert places.offer() == before


def test_large_messages_are_bounded_by_their_bytes():
    places = Places(places=512, most_bytes=1_000_000)
    for number in range(20):
        places.take("tenant", number, 100_000)
    assert places.offer()[0] <= 0
    while places.taken:
        places.free("tenant", places.taken - 1, 100_000)
    assert places.offer()[0] > 0


def test_whoever_waits_behind_a_backlog_of_others_is_claimed(subscribe, happen, cast, monkeypatch):
    """More waits for those who have their share than is looked through."""
    monkeypatch.setattr(outbox, "_HORIZON", outbox._HORIZON.replace(f"OFFSET {outbox.NEAR}", "OFFSET 5"))
    hog, _ = subscribe(name="hog")
    for _ in range(20):
        happen()
    route()
    modest, _ = subscribe(name="modest", tenant=cast.other_tenant)
    happen(tenant=cast.other_tenant)
    route()
    claims = lines.run(Claiming().claiming(10, Others((hog.tenant_id,), ())))
    assert [claim.subscription_id for claim in claims] == [modest.pk]
    claims = lines.run(Claiming().claiming(10, Others((), (modest.pk,))))
    assert {claim.subscription_id for claim in claims} == {hog.pk}
    assert len(claims) == 10


def test_going_round_gives_everybody_a_turn(subscribe, happen, monkeypatch):
    monkeypatch.setattr(outbox, "_HORIZON", outbox._HORIZON.replace(f"OFFSET {outbox.NEAR}", "OFFSET 0"))
    passed_over, _ = subscribe(name="passed over")
    all_others = {subscribe(name=f"Desk {number}")[0].pk for number in range(5)}
    for _ in range(3):
        happen()
    route()
    claiming, seen = Claiming(), set()
    for _ in range(5):
        seen |= {one.subscription_id for one in lines.run(claiming.claiming(2, Others((), (passed_over.pk,))))}
    assert seen == all_others


def test_what_is_not_due_is_not_claimed(subscribe, happen):
    subscribe()
    happen()
    route()
    with system_scope():
        Outbox.objects.update(due_at=timezone.now() + timedelta(minutes=1))
        assert outbox.claim(10) == []
        assert not outbox.is_due()


def claimed(tenant: str, subscription: str) -> list[Claim]:
    return [Claim("a delivery", 1, "a token", tenant, subscription)]


def test_what_was_looked_for_in_vain_is_not_looked_for_again():
    look = VainLook()
    assert not look.holds_for(Others(("hog",)), 0)
    look.begin(Others(("hog",), ("busy",)), 0)
    assert look.holds_for(Others(("hog",), ("busy",)), 0)
    assert look.holds_for(Others(("hog", "another"), ("busy",)), 0)  # even fewer are asked for
    assert not look.holds_for(Others(("hog",)), 0)
    assert not look.holds_for(Others(), 0)
    look.found(claimed("hog", "any") + claimed("anybody", "busy"))  # of those who had been left out
    assert look.holds_for(Others(("hog",), ("busy",)), 0)
    look.found(claimed("hog", "any") + claimed("newcomer", "another"))
    assert not look.holds_for(Others(("hog",), ("busy",)), 0)


def test_a_vain_look_ends_with_news_or_time():
    look, others = VainLook(), Others(("hog",))
    look.begin(others, 10)
    assert look.holds_for(others, 10 + fairness.LOOK_SECONDS / 2)
    assert not look.holds_for(others, 10 + fairness.LOOK_SECONDS)
    look.forget()
    assert not look.holds_for(others, 10)


@pytest.mark.spec("B8")
@pytest.mark.django_db(transaction=True)
def test_one_that_has_its_share_is_no_reason_to_look_for_others(subscribe, happen, opened, receiver, monkeypatch, cast):
    """Again and again; but news of others is."""
    monkeypatch.setattr(fairness, "LOOK_SECONDS", 60)
    vain, real = [], Claiming.claiming

    def claiming(self, limit, others):
        found = yield from real(self, limit, others)
        if any(others) and not found:
            vain.append(others)
        return found

    monkeypatch.setattr(Claiming, "claiming", claiming)
    subscribe()
    for _ in range(60):
        happen()
    route()
    dispatcher = Dispatcher(places=Places(places=64, of_one_subscription=8))
    dispatcher.wake()
    wait_until(lambda: len(receiver.posted) == 60)
    looked = len(vain)
    subscribe(name="Another", tenant=cast.other_tenant)
    happen(tenant=cast.other_tenant)
    route()
    dispatcher.wake()
    wait_until(lambda: len(receiver.posted) == 61)
    dispatcher.stop(10)
    assert len(receiver.posted) == 61
    assert 1 <= looked <= 3  # it begins to listen, and is woken


@pytest.mark.django_db(transaction=True)
def test_a_dispatcher_does_not_hear_itself(opened):
    """Or it would look again because it has told others that it cannot take more."""
    dispatcher = Dispatcher()
    heard, real = [], dispatcher._hears
    dispatcher._hears = lambda: (heard.append(True), real())
    dispatcher.wake()
    wait_until(lambda: listeners() == 1 and len(heard) == 2)  # woken, and it has begun to listen
    tell(dispatcher._name)
    threading.Event().wait(0.3)
    itself = len(heard)
    tell("another")
    wait_until(lambda: len(heard) == 3)
    dispatcher.stop(10)
    assert (itself, len(heard)) == (2, 3 + 1)  # it is told to stop, too


def tell(name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [DUE, name])


@pytest.mark.spec("B8")
@pytest.mark.django_db(transaction=True)
def test_a_tenant_whose_receivers_hang_does_not_hold_up_another(subscribe, happen, receiver, opened, cast):
    let_go = threading.Event()
    with Receiver(lambda posted: Answer(204) if let_go.wait(30) else Answer(500)) as hanging:
        for number in range(3):
            subscribe(name=f"Hanging {number}", url=hanging.url)
        for _ in range(10):
            happen()
        route()
        dispatcher = Dispatcher(places=Places(places=16, of_one_subscription=8))
        dispatcher.wake()
        wait_until(lambda: len(hanging.posted) >= 4)
        subscribe(name="Sound", tenant=cast.other_tenant)
        for _ in range(5):
            happen(tenant=cast.other_tenant)
        route()
        dispatcher.wake()
        wait_until(lambda: len(receiver.posted) == 5)
        told, hung = len(receiver.posted), len(hanging.posted)
        let_go.set()
        wait_until(lambda: len(hanging.posted) == 30)
        dispatcher.stop(20)
    assert told == 5
    assert hung < 16
    assert len(hanging.posted) == 30


@pytest.mark.spec("B8")
@pytest.mark.django_db(transaction=True)
def test_a_dispatcher_that_has_no_places_left_calls_others(subscribe, happen, opened):
    """One that was not woken: its process is another, and the router's is busy."""
    let_go = threading.Event()
    with Receiver(lambda posted: Answer(204) if let_go.wait(30) else Answer(500)) as hanging:
        subscribe(url=hanging.url)
        first, other = (Dispatcher(places=Places(places=64, of_one_subscription=8)) for _ in range(2))
        for one in (first, other):
            one.wake()
        wait_until(lambda: listeners() == 2)
        for _ in range(30):
            happen()
        route()
        first.wake()
        wait_until(lambda: len(hanging.posted) >= 16)
        hung = len(hanging.posted)
        let_go.set()
        wait_until(lambda: len(hanging.posted) == 30)
        for one in (first, other):
            one.stop(20)
    assert hung == 16
    assert len({posted.headers["webhook-id"] for posted in hanging.posted}) == 30


@pytest.mark.django_db(transaction=True)
def test_what_was_told_is_no_reason_to_claim_again(subscribe, happen, opened, receiver, monkeypatch):
    """Where the last claim found all that was due."""
    claims, real = [], Claiming.claiming
    monkeypatch.setattr(Claiming, "claiming", lambda *given: claims.append(given) or real(*given))
    subscribe()
    dispatcher = Dispatcher()
    dispatcher.wake()
    wait_until(lambda: listeners() == 1)
    threading.Event().wait(0.3)  # what it claims because it begins to listen
    for number in range(1, 4):
        happen()
        route()
        claims.clear()
        dispatcher.wake()
        wait_until(lambda number=number: len(receiver.posted) == number and not waiting())
        threading.Event().wait(0.1)
        assert len(claims) == 1
    dispatcher.stop(10)


def waiting() -> int:
    with system_scope():
        return Outbox.objects.count()


def listeners() -> int:
    """Connections that have begun to listen, and wait."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %'"
            " AND state = 'idle'"
        )
        return cursor.fetchone()[0]


def wait_until(done, seconds: float = 30) -> None:
    end = timezone.now() + timedelta(seconds=seconds)
    pause = threading.Event()
    while not done() and timezone.now() < end:
        pause.wait(0.05)
