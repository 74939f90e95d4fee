"""How a subscription does: success, latency, backlog; bounded whatever is stored."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from deliveries import figures
from deliveries.figures import Share, figures_of
from deliveries.models import Attempt, Delivery, Lane
from events.partitions import ensure_partitions
from events.search import TooSlow
from tenants.ids import lowest_uuid7
from tenants.scope import tenant_scope
from tests.receiver import Answer

NOW = timezone.now().replace(hour=13, minute=30, second=0, microsecond=0)


@pytest.fixture
def subscription(subscribe):
    return subscribe()[0]


@pytest.fixture
def attempt(cast, subscription):
    """attempt(hours ago, outcome, ms): one of the subscription's, made then."""

    def make(ago: float, outcome="delivered", total_ms=10.0, of=None):
        moment = NOW - timedelta(hours=ago)
        ensure_partitions(moment, ahead=0)
        made = UUID(int=lowest_uuid7(moment).int + uuid4().int % 2**64)
        of = of or subscription
        with tenant_scope(of.tenant_id):
            Attempt.objects.create(
                id=made, tenant_id=of.tenant_id, delivery_id=uuid4(), subscription=of, number=1, signed_at=moment,
                outcome=outcome, total_ms=total_ms,
            )  # fmt: skip

    return make


def read(subscription, at=NOW):
    with tenant_scope(subscription.tenant_id):
        return figures_of(subscription.pk, at)


def test_what_was_delivered_is_told_of_a_day_and_of_a_week(subscription, attempt):
    for ago, outcome in [(0, "delivered"), (1, "retry"), (22, "dead"), (30, "delivered"), (160, "delivered")]:
        attempt(ago, outcome)
    attempt(200)  # too old
    attempt(0, "late")  # decided nothing
    found = read(subscription)
    assert (found.day.delivered, found.day.requests) == (1, 3)
    assert (found.week.delivered, found.week.requests) == (3, 5)
    assert not found.week.is_sample


def test_latency_is_told_by_the_hour(subscription, attempt):
    for ms in range(1, 101):
        attempt(2, total_ms=float(ms))
    attempt(0, total_ms=7.0)
    found = read(subscription)
    assert len(found.hours) == 24
    assert found.hours[-3].p50_ms == pytest.approx(50.5)
    assert found.hours[-3].p95_ms == pytest.approx(95.05)
    assert found.hours[-1].p50_ms == 7
    assert found.hours[-2].p50_ms is None
    assert found.p50_ms == pytest.approx(50, abs=1)


def test_another_subscription_s_attempts_are_not_counted(subscription, attempt, subscribe):
    attempt(0, of=subscribe(name="Other")[0])
    assert read(subscription).week.requests == 0


def test_of_a_busy_hour_only_the_newest_are_looked_at_and_it_says_so(subscription, attempt, monkeypatch):
    monkeypatch.setattr(figures, "_SAMPLE", figures._SAMPLE.replace("LIMIT 501", "LIMIT 4"))
    monkeypatch.setattr(figures, "LOOKED_PER_HOUR", 3)
    for _ in range(9):
        attempt(1)
    attempt(2)
    found = read(subscription)
    assert found.day.requests == 5
    assert found.day.is_sample
    assert found.week.is_sample


def test_it_reads_along_the_index_and_only_the_days_asked_for(subscription, attempt):
    """No sequential scan over attempts, and of each hour no other day's partition."""
    for ago in (0, 50):
        attempt(ago)
    with tenant_scope(subscription.tenant_id), CaptureQueriesContext(connection) as captured:
        figures_of(subscription.pk, NOW)
        statement = next(one["sql"] for one in captured if "CROSS JOIN LATERAL" in one["sql"])
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF) {statement}")
            plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "Seq Scan on deliveries_attempt" not in plan
    assert "LIMIT 501" in statement
    today = [line for line in plan.splitlines() if "deliveries_attempt" in line and "loops=24" in line]
    assert today, plan


def test_a_statement_that_takes_too_long_is_stopped(subscription, monkeypatch):
    monkeypatch.setattr(figures, "_SAMPLE", "SELECT 'x' AS outcome, 1 AS total_ms, %s::uuid FROM pg_sleep(5)")
    monkeypatch.setattr(figures, "PATIENCE", 50)
    with tenant_scope(subscription.tenant_id), pytest.raises(TooSlow):
        figures_of(subscription.pk, NOW)


def test_the_backlog_says_since_when_the_oldest_is_due(subscription, happen, deliver, receiver):
    assert read(subscription).backlog.count == 0
    receiver.answer = Answer(500)
    for _ in range(2):
        happen()
    deliver()
    backlog = read(subscription).backlog
    assert (backlog.count, backlog.is_exact) == (2, True)
    assert not backlog.is_late  # put off: due some time later
    with tenant_scope(subscription.tenant_id), connection.cursor() as cursor:
        cursor.execute("UPDATE deliveries_outbox SET due_at = now() - interval '5 minutes'")
    assert read(subscription).backlog.is_late


def test_the_backlog_of_a_line_is_due_when_the_line_is(subscribe, happen, deliver, receiver):
    receiver.answer = Answer(500)
    subscription, _ = subscribe(mode="ordered")
    for _ in range(3):
        happen()
    deliver()
    with tenant_scope(subscription.tenant_id):
        found = figures.backlog_of(subscription.pk)
        assert found.count == 3
        assert found.oldest_due == Lane.objects.get().due_at


def test_a_backlog_beyond_counting_is_at_least_so_many(subscription, happen, deliver, receiver, monkeypatch):
    receiver.answer = Answer(500)
    for _ in range(3):
        happen()
    deliver()
    monkeypatch.setattr(figures, "MAX_BACKLOG", 2)
    backlog = read(subscription).backlog
    assert (backlog.count, backlog.is_exact) == (2, False)


@pytest.mark.parametrize(
    ("requests", "delivered", "text"),
    [(0, 0, "—"), (4, 4, "100 %"), (3, 1, "33.3 %"), (100_000, 99_999, "99.9 %"), (100_000, 1, "0.1 %"), (5, 0, "0 %")],
)
def test_a_share_is_never_rounded_to_all_or_nothing(requests, delivered, text):
    assert Share(requests, delivered, is_sample=False).percent == text


def test_the_page_s_part_shows_them(browser, cast, subscription, happen, deliver, receiver):
    client, url = browser(cast.viewer), f"/deliveries/figures/{subscription.pk}/"
    assert "Nothing was sent" in client.get(url).content.decode()
    happen()
    deliver()
    receiver.answer = Answer(500)
    happen()
    deliver()
    shown = client.get(url).content.decode()
    for words in ("50 %", "1 of 2 failed", "Time to answer, ms", "The next is due"):
        assert words in shown
    assert f'hx-get="{url}"' in client.get(f"/subscriptions/{subscription.pk}/").content.decode()


def test_where_counting_takes_too_long_the_page_says_so(browser, cast, subscription, monkeypatch):
    def too_slow(_):
        raise TooSlow

    monkeypatch.setattr("deliveries.figures_views.figures_of", too_slow)
    url = f"/deliveries/figures/{subscription.pk}/"
    assert "took too long" in browser(cast.viewer).get(url).content.decode()


def test_the_api_tells_the_same(api, subscription, happen, deliver):
    happen()
    deliver()
    found = api("viewer").get(f"/api/v1/subscriptions/{subscription.pk}/figures/").json()
    assert found["day"] == {"requests": 1, "delivered": 1, "rate": 1.0, "is_sample": False}
    assert len(found["hours"]) == 24
    assert found["backlog"] == {"count": 0, "is_exact": True, "oldest_due": None}


def test_a_deleted_one_has_none(api, subscription):
    with tenant_scope(subscription.tenant_id):
        subscription.delete()
        assert not Delivery.objects.exists()
    assert api("viewer").get(f"/api/v1/subscriptions/{subscription.pk}/figures/").status_code == 404
