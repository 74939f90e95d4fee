"""The delivery log, a delivery's page, and the part that shows a test's result."""

import re

import pytest

from deliveries.models import Attempt, Delivery
from tenants.ids import uuid7
from tenants.scope import tenant_scope
from tests.receiver import Answer


@pytest.fixture
def delivery(cast, subscribe, happen, deliver, receiver):
    receiver.answer = Answer(500, b"<script>alert(1)</script>")
    subscribe(name="<b>SIEM</b>", headers={"X-Api-Key": "hunter2-hunter2"})
    happen()
    deliver()
    with tenant_scope(cast.tenant.pk):
        return Delivery.objects.get()


def test_the_log_shows_the_delivery(browser, cast, delivery):
    page = browser(cast.viewer).get("/deliveries/").content.decode()
    assert "user.created" in page
    assert "&lt;b&gt;SIEM&lt;/b&gt;" in page
    assert "<b>SIEM" not in page


def test_htmx_gets_the_table_only(browser, cast, delivery):
    page = browser(cast.viewer).get("/deliveries/?status=pending", headers={"HX-Request": "true"}).content.decode()
    assert "<table" in page
    assert "<html" not in page


def test_an_empty_log_says_what_to_do_next(browser, cast):
    assert "Nothing was sent yet" in browser(cast.viewer).get("/deliveries/").content.decode()


def test_the_page_shows_every_attempt_escaped_and_masked(browser, cast, delivery):
    page = browser(cast.viewer).get(f"/deliveries/{delivery.pk}/").content.decode()
    assert "Attempt 1" in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page
    assert "X-Api-Key" in page
    assert "hunter2" not in page
    assert "127.0.0.1" not in page  # nor where the hidden URL leads


def test_the_timeline_goes_from_creation_to_what_comes_next(browser, cast, delivery):
    def entries():
        page = browser(cast.viewer).get(f"/deliveries/{delivery.pk}/").content.decode()
        timeline = page.partition('<ol class="timeline">')[2].partition("</ol>")[0]
        return re.findall(r'<li data-kind="(\w+)">.*?<strong>([^<]+)</strong>', timeline, re.DOTALL), timeline

    found, timeline = entries()
    assert found == [("idle", "Created"), ("warn", "Attempt 1"), ("busy", "Next attempt")]
    for words in ("To be tried again", "<code>POST</code>", "URL, which is hidden", "Name", "In all"):
        assert words in timeline
    with tenant_scope(cast.tenant.pk):
        delivery.cancel("By a test.")
    assert entries()[0][-1] == ("idle", "Cancelled")


def test_of_very_many_attempts_the_newest_are_shown(browser, cast, delivery, monkeypatch):
    with tenant_scope(cast.tenant.pk):
        first = delivery.attempts.get()
        for number in (2, 3):
            first.pk, first.number = uuid7(), number
            first.save(force_insert=True)
        Delivery.objects.update(attempt_count=3)
    monkeypatch.setattr("deliveries.views.ATTEMPTS_SHOWN", 2)
    page = browser(cast.viewer).get(f"/deliveries/{delivery.pk}/").content.decode()
    assert "The newest 2 attempts of 3." in page
    assert "Attempt 1<" not in page
    assert page.index("Attempt 2<") < page.index("Attempt 3<")


def test_the_api_tells_size_and_timing(api, delivery, receiver):
    (attempt,) = api("viewer").get(f"/api/v1/deliveries/{delivery.pk}/").json()["attempts"]
    assert attempt["request_size"] == len(receiver.posted[0].body)
    assert attempt["first_byte_ms"] > 0
    assert attempt["tls_ms"] is None


def test_a_viewer_is_offered_nothing_to_do(browser, cast, delivery):
    assert "/cancel/" not in browser(cast.viewer).get(f"/deliveries/{delivery.pk}/").content.decode()
    assert "/cancel/" in browser(cast.member).get(f"/deliveries/{delivery.pk}/").content.decode()


def test_a_strangers_delivery_is_404(browser, cast, delivery):
    assert browser(cast.stranger).get(f"/deliveries/{delivery.pk}/").status_code == 404


@pytest.mark.spec("T5")
def test_a_test_shows_its_result_and_then_stops_asking(browser, cast, subscribe, deliver):
    subscription, _ = subscribe()
    with tenant_scope(cast.tenant.pk):
        notice = subscription.send_test()
    client = browser(cast.member)
    waiting = client.get(f"/deliveries/of-notice/{notice.pk}/").content.decode()
    assert "On its way" in waiting
    assert "hx-get" in waiting
    deliver()
    ended = client.get(f"/deliveries/of-notice/{notice.pk}/").content.decode()
    assert "204" in ended
    assert "hx-get" not in ended


@pytest.mark.spec("T4")
def test_a_confirmation_link_is_shown_to_nobody(browser, cast, subscribe, deliver, receiver):
    subscription, _ = subscribe(state="pending")
    with tenant_scope(cast.tenant.pk):
        subscription.send_confirmation()
    deliver()
    assert b"/confirm/" in receiver.posted[0].body
    with tenant_scope(cast.tenant.pk):
        delivery = Delivery.objects.get()
        assert Attempt.objects.count() == 1
    page = browser(cast.owner).get(f"/deliveries/{delivery.pk}/").content.decode()
    assert "/confirm/" not in page


def test_the_dashboard_shows_what_is_wrong(browser, cast, delivery):
    page = browser(cast.viewer).get("/").content.decode()
    assert "1 attempt failed in the last 24 hours" in page
    assert "<svg" in page


@pytest.mark.parametrize(("query", "text"), [("", "user.created"), ("?status=dead", "No deliveries yet")])
def test_as_a_part_of_another_page_it_has_neither_pager_nor_advice(browser, cast, delivery, query, text):
    headers = {"HX-Request": "true", "HX-Current-URL": "http://testserver/subscriptions/x/"}
    page = browser(cast.viewer).get(f"/deliveries/{query}", headers=headers).content.decode()
    assert text in page
    assert "Clear the filters" not in page
    assert 'aria-label="Pages"' not in page


def test_the_end_of_a_test_is_told_to_the_page(browser, cast, subscribe, deliver):
    subscription, _ = subscribe()
    with tenant_scope(cast.tenant.pk):
        notice = subscription.send_test()
    client = browser(cast.member)
    part = f"/deliveries/of-notice/{notice.pk}/"
    assert not client.get(part).has_header("HX-Trigger")
    deliver()
    assert "delivery-ended" in client.get(part)["HX-Trigger"]


def test_a_resend_and_its_original_link_to_each_other(browser, cast, subscribe, happen, deliver):
    subscribe()
    happen()
    deliver()
    with tenant_scope(cast.tenant.pk):
        original = Delivery.objects.get()
        again, _ = original.resend()
    client = browser(cast.viewer)
    page = client.get(f"/deliveries/{again.pk}/").content.decode()
    assert f'<a href="/deliveries/{original.pk}/">the original delivery</a>' in page
    page = client.get(f"/deliveries/{original.pk}/").content.decode()
    assert f'<a href="/deliveries/{again.pk}/">Resent</a>' in page
    assert "the original delivery" not in page


@pytest.mark.parametrize(
    ("status", "kind", "words"), [("failed", "warn", "does not try again"), ("dead", "bad", "was used up")]
)
def test_failed_and_dead_differ_and_say_how(browser, cast, delivery, status, kind, words):
    with tenant_scope(cast.tenant.pk):
        Delivery.objects.update(status=status)
    page = browser(cast.viewer).get("/deliveries/").content.decode()
    shown = page.partition(f'class="status status-{kind}"')[2]
    assert words in shown.partition(">")[0]
