"""The dashboard's counts."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from deliveries import stats
from deliveries.models import Delivery
from events.models import Event
from events.partitions import ensure_partitions
from tenants.ids import lowest_uuid7
from tenants.scope import tenant_scope
from tests.receiver import Answer


@pytest.fixture
def in_tenant(cast):
    with tenant_scope(cast.tenant.pk):
        yield cast.tenant.pk


@pytest.mark.parametrize(
    ("name", "ages", "bars"),
    [
        ("hour", {0: -1, 5: -3, 50: -26, 200: None}, 30),
        ("day", {0: -1, 120: -3, 30 * 60: None}, 24),
        ("week", {0: -1, 12 * 60: -3, 9 * 24 * 60: None}, 28),
    ],
)
def test_an_event_is_counted_in_the_bar_of_its_id(cast, in_tenant, name, ages, bars):
    """`ages` in minutes: which bar, counted from the end; None for one that is too old."""
    now = timezone.now().replace(hour=13, minute=1, second=0)
    for age in ages:
        moment = now - timedelta(minutes=age)
        ensure_partitions(moment, ahead=0)
        made = lowest_uuid7(moment).int + uuid4().int % 2**64
        Event.objects.create(id=UUID(int=made), tenant=cast.tenant, type="a", content_type="", body=b"{}")
    window = stats.WINDOWS[name]
    series = stats.counts(Event, in_tenant, window, at=now)[None]
    assert len(series.values) == len(window.starts(now)) == bars
    wanted = [bar for bar in ages.values() if bar is not None]
    assert [index - bars for index, count in enumerate(series.values) if count] == sorted(wanted)
    assert series.total == len(wanted)


def test_another_tenants_events_are_not_counted(cast, in_tenant, happen):
    happen(tenant=cast.other_tenant)
    assert stats.incoming(in_tenant)["events"].total == 0


def test_deliveries_are_counted_by_status(cast, subscribe, happen, deliver, in_tenant):
    subscribe()
    happen()
    deliver()
    assert stats.outgoing(in_tenant)[Delivery.Status.DELIVERED].total == 1
    assert stats.outgoing(in_tenant)[Delivery.Status.DEAD].total == 0
    assert stats.median_ms(in_tenant) > 0


def test_a_failing_receiver_is_a_trouble(cast, subscribe, happen, deliver, receiver, in_tenant):
    receiver.answer = Answer(500)
    subscribe(name="Pager")
    happen()
    deliver()
    (trouble,) = stats.troubles()
    assert trouble.text == "“Pager”: 1 attempt failed in the last 24 hours."


def test_a_disabled_subscription_comes_first(cast, subscribe, happen, deliver, receiver, in_tenant):
    receiver.answer = Answer(410)
    subscribe(name="Gone")
    happen()
    deliver()
    assert stats.troubles()[0].kind == "bad"
    assert "“Gone” is disabled" in stats.troubles()[0].text


def test_without_trouble_there_is_none(in_tenant):
    assert stats.troubles() == []
    assert stats.median_ms(in_tenant) is None
    assert stats.incoming(in_tenant)["refused"].total == 0
