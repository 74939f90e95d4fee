"""The delivery log: what it is filtered by, how it lives, and sending again what was chosen in it."""

import json
import re
from datetime import timedelta
from html import unescape
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from deliveries import replay as replaying
from deliveries.models import Delivery, Outbox, Replay
from deliveries.routing import route
from tenants.scope import system_scope, tenant_scope

HTMX = {"HX-Request": "true", "HX-Current-URL": "http://testserver/deliveries/"}


@pytest.fixture
def subscription(subscribe):
    return subscribe(name="SIEM")[0]


@pytest.fixture
def failed(subscription, happen):
    """Three deliveries that failed, oldest first."""
    for number in range(3):
        happen(f"order.n{number}")
    while route().claimed:
        pass
    with system_scope():
        Delivery.objects.update(status="failed", completed_at=timezone.now())
        Outbox.objects.all().delete()
        return list(Delivery.objects.order_by("id"))


def rows(page: str) -> list[str]:
    return re.findall(r'<span class="mono">([^<]+)</span>', page)


def log(client, query="", **headers):
    answer = client.get(f"/deliveries/{query}", headers=headers or HTMX)
    assert answer.status_code == 200
    return answer.content.decode()


def marker_in(page: str) -> str:
    return unescape(re.search(r'data-live-new="([^"]+)"', page)[1])


# Filters ------------------------------------------------------------------------------------------


def test_each_filter_stands_in_the_url_and_in_its_field(browser, cast, failed):
    event = failed[0].event_id
    page = browser(cast.viewer).get(f"/deliveries/?event={event}&range=24h&since=2026-01-02T03:04:05Z").content.decode()
    assert f'name="event" value="{event}"' in page
    assert 'value="24h" selected' in page
    assert 'value="2026-01-02T03:04:05"' in page
    assert '<details class="filters-more" open>' in page
    assert rows(page) == ["order.n0"]


def test_by_time(browser, cast, failed):
    client = browser(cast.viewer)
    ahead = (timezone.now() + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S")
    assert len(rows(log(client, "?range=1h"))) == 3
    assert rows(log(client, f"?since={ahead}")) == []
    assert len(rows(log(client, f"?until={ahead}"))) == 3


def test_just_these(browser, cast, failed):
    page = log(browser(cast.viewer), f"?delivery={failed[0].pk}&delivery={failed[2].pk}")
    assert rows(page) == ["order.n2", "order.n0"]


@pytest.mark.parametrize("query", ["event=x", "delivery=x", "since=x", "status=x", "range=x"])
def test_what_cannot_be_read_is_left_out_and_said(browser, cast, failed, query):
    page = log(browser(cast.viewer), f"?{query}")
    assert "was left out of the search" in page
    assert len(rows(page)) == 3


def test_more_than_two_hundred_are_refused_in_the_api(api, failed):
    query = "&".join(f"delivery={uuid4()}" for _ in range(201))
    assert api().get(f"/api/v1/deliveries/?{query}").status_code == 400


def test_a_status_that_few_have_is_looked_for_in_bounded_time(browser, cast, failed, monkeypatch):
    """Of ten million rows a page must not walk all: it says how far it got, and goes on from there."""
    from events import looking

    monkeypatch.setattr(looking, "FIRST_SLICE", 1)
    monkeypatch.setattr(looking, "PAGE", looking.Budget(1, 1.5))
    with system_scope():
        Delivery.objects.filter(pk=failed[0].pk).update(status="dead")
    client = browser(cast.viewer)
    page = log(client, "?status=dead")
    assert rows(page) == []
    assert "among the newest 1 looked at" in page
    for _ in range(2):
        page = log(client, unescape(re.search(r'<a class="btn btn-small" href="[^"?]*([^"]+)"', page)[1]))
    assert rows(page) == ["order.n0"]


def test_the_api_says_how_far_it_got(api, failed):
    found = api().get("/api/v1/deliveries/?status=failed").json()
    assert len(found["results"]) == 3
    assert found["searched_to"] is None


@pytest.mark.parametrize("query", ["", "?subscription={subscription}", "?event={event}", "?status=failed"])
def test_no_list_is_sorted_or_read_through(browser, cast, failed, query):
    """Each statement that reads deliveries is stopped in time."""
    client = browser(cast.viewer)
    url = "/deliveries/" + query.format(subscription=failed[0].subscription_id, event=failed[0].event_id)
    with CaptureQueriesContext(connection) as captured:
        client.get(url, headers=HTMX)
    statements = [one["sql"] for one in captured]
    first = next(place for place, sql in enumerate(statements) if 'FROM "deliveries_delivery"' in sql)
    assert any("SET LOCAL" in sql and "statement_timeout" in sql for sql in statements[:first])


# Live ---------------------------------------------------------------------------------------------


def test_nothing_new_is_said_to_be_nothing(browser, cast, failed):
    client = browser(cast.viewer)
    told = client.get(marker_in(log(client)), headers=HTMX).content.decode()
    assert 'data-count="0"' in told
    assert "<a" not in told


def test_what_comes_is_counted_where_it_fits(browser, cast, failed, happen):
    client = browser(cast.viewer)
    everything, other = marker_in(log(client)), marker_in(log(client, "?status=dead"))
    happen("order.new")
    while route().claimed:
        pass
    told = client.get(everything, headers=HTMX).content.decode()
    assert 'data-count="1"' in told
    assert "1 new" in told
    assert 'data-count="0"' in client.get(other, headers=HTMX).content.decode()


def test_what_goes_on_is_noticed(browser, cast, failed):
    client = browser(cast.viewer)
    marker = marker_in(log(client))
    with system_scope():
        Delivery.objects.filter(pk=failed[1].pk).update(status="delivered")
    told = client.get(marker, headers=HTMX).content.decode()
    assert 'data-count="1"' in told
    assert "Some went on" in told
    assert "seen=" not in re.search(r'href="([^"]+)"', told)[1]


def test_of_an_older_page_only_what_is_new_is_told(browser, cast, failed):
    client = browser(cast.viewer)
    marker = marker_in(log(client, f"?before={failed[2].pk}"))
    with system_scope():
        Delivery.objects.update(status="delivered")
    told = client.get(marker, headers=HTMX).content.decode()
    assert "data-paged" in told
    assert 'data-count="0"' in told


def test_a_part_of_another_page_is_not_live(browser, cast, failed):
    headers = HTMX | {"HX-Current-URL": "http://testserver/subscriptions/x/"}
    assert "data-live-new" not in log(browser(cast.viewer), "", **headers)


# Sending again what was chosen --------------------------------------------------------------------


def boxes(page: str) -> list[str]:
    return re.findall(r'<input type="checkbox" name="delivery" value="([^"]+)"', page)


def ask(client, *chosen):
    query = "&".join(f"delivery={one.pk}" for one in chosen)
    return client.get(f"/replays/new/?kind=deliveries&chosen=1&{query}", headers=HTMX).content.decode()


def test_those_that_ended_can_be_chosen_by_who_may(browser, cast, failed):
    with system_scope():
        Delivery.objects.filter(pk=failed[1].pk).update(status="pending")
        Delivery.objects.filter(pk=failed[2].pk).update(kind="test")
    assert boxes(log(browser(cast.member))) == [str(failed[0].pk)]
    assert boxes(log(browser(cast.viewer))) == []


@pytest.mark.spec("B7")
def test_the_chosen_are_counted_then_sent(browser, cast, failed):
    client = browser(cast.member)
    asked = ask(client, failed[0], failed[2])
    assert "Send 2 again" in asked
    assert "2 chosen deliveries" in asked
    body = json.loads(unescape(re.search(r'data-body="([^"]+)"', asked)[1]))
    answer = client.post("/api/v1/replays/", body, content_type="application/json")
    assert (answer.status_code, answer.json()["total"]) == (201, 2)
    while replaying.advance():
        pass
    with tenant_scope(cast.tenant.pk):
        assert Replay.objects.get().state == "finished"
        again = Delivery.objects.filter(status="pending")
        assert {one.event_id for one in again} == {failed[0].event_id, failed[2].event_id}


def test_the_chosen_do_not_make_a_replay_walk_the_whole_log(cast, failed):
    """Its slices are cut from the chosen rows, not from the subscription's log."""
    with tenant_scope(cast.tenant.pk):
        replay = Replay.asked(failed[2].subscription, "deliveries", selection={"delivery": [str(failed[2].pk)]})
        found = replaying._of_deliveries(replay, None, 1)
        assert [event.pk for event in found.events] == [failed[2].event_id]
        assert found.end == failed[2].pk
        assert replaying._of_deliveries(replay, found.end, 1).events == []


def test_none_chosen_and_those_of_two_say_so(browser, cast, failed, subscribe, happen):
    client = browser(cast.member)
    assert "Choose at least one" in ask(client)
    with system_scope():
        other = Delivery.objects.get(pk=failed[1].pk)
        other.subscription, _ = subscribe(name="Other")
        other.save()
    told = ask(client, failed[0], other)
    assert "different subscriptions" in told
    assert "disabled>Send again" in told


def test_a_stranger_chooses_nothing(browser, cast, failed):
    assert "Send 1 again" not in ask(browser(cast.stranger), failed[0])


def test_resending_the_filter_says_the_range_as_a_moment(browser, cast, failed):
    page = log(browser(cast.member), f"?subscription={failed[0].subscription_id}&range=1h")
    url = unescape(re.search(r'id="resend-these"[^>]*hx-get="([^"]+)"', page)[1])
    assert "since=" in url
    assert "Send 3 again" in browser(cast.member).get(url, headers=HTMX).content.decode()
