"""How a source does, on the pages: the list, the source's own page, the alarms, the dashboard (P14, P15)."""

from datetime import timedelta

import pytest
from django.utils import timezone

from events.models import Receipt
from events.watch import evaluate
from sources.models import Source
from tenants.ids import uuid7
from tenants.scope import system_scope, tenant_scope

HTMX = {"HX-Request": "true"}
HOUR = timedelta(hours=1)
EVIL = '<script>alert("x")</script>'


@pytest.fixture
def viewer(browser, cast):
    return browser(cast.viewer)


@pytest.fixture
def admin(browser, cast):
    return browser(cast.admin)


def received(source: Source, ago: timedelta) -> Source:
    with system_scope():
        Source.objects.filter(pk=source.pk).update(
            created_at=timezone.now() - timedelta(days=90), last_received_at=timezone.now() - ago
        )
    return source


def text(client, path: str, **extra) -> str:
    answer = client.get(path, headers=HTMX, **extra)
    assert answer.status_code == 200
    return answer.content.decode()


@pytest.mark.spec("P14")
@pytest.mark.parametrize(("ago", "word"), [(HOUR, "Healthy"), (25 * HOUR, "Silent")], ids=["lately", "long ago"])
def test_a_source_is_healthy_or_silent(viewer, source, ago, word):
    received(source, ago)
    for path in (f"/sources/{source.pk}/health/", f"/sources/health/?id={source.pk}"):
        assert f"{word}</span>" in text(viewer, path)


@pytest.mark.spec("P14")
def test_a_source_is_failing(viewer, source, cast):
    received(source, HOUR)
    with system_scope():
        for _ in range(20):
            Receipt.objects.create(id=uuid7(), tenant=cast.tenant, source=source, status="refused", status_code=401)
    evaluate()
    page = text(viewer, f"/sources/{source.pk}/health/")
    assert "Failing</span>" in page
    assert "refused 20 of 20 requests within 15 minutes" in page
    assert f"/receipts/?source={source.pk}&amp;status=refused" in page


def test_a_source_that_never_received_anything_or_is_paused(viewer, source):
    path = f"/sources/health/?id={source.pk}"
    assert "Nothing received</span>" in text(viewer, path)
    with tenant_scope(source.tenant_id):
        source.pause()
    assert "Paused</span>" in text(viewer, path)


def test_the_list_asks_once_for_all_its_sources(viewer, source_of):
    made = [source_of(name=f"Door {number}")[0] for number in range(3)]
    page = viewer.get("/sources/").content.decode()
    asked = page.split('hx-get="/sources/health/?')[1].split('"')[0].replace("&amp;", "&")
    answer = text(viewer, f"/sources/health/?{asked}")
    for source in made:
        assert f'id="state-{source.pk}"' in page
        assert f'id="state-{source.pk}" hx-swap-oob' in answer


def test_nothing_that_is_no_source_is_told_of(viewer, source_of, cast):
    theirs, _ = source_of(tenant=cast.other_tenant)
    assert "state-" not in text(viewer, f"/sources/health/?id={theirs.pk}&id=nonsense&id=")


@pytest.mark.spec("P14")
def test_rates_are_counted_by_the_hour(viewer, source, cast, post):
    for _ in range(3):
        post(source, b'{"a": 1}\n{"a": 2}\n')
    page = text(viewer, f"/sources/{source.pk}/health/")
    assert '<span class="stat-value">6</span>' in page
    assert "0.1 a minute" in page


@pytest.mark.spec("P15")
def test_what_is_watched_and_what_has_rung(admin, viewer, source):
    received(source, 25 * HOUR)
    evaluate()
    page = text(admin, f"/sources/{source.pk}/health/")
    assert "has received nothing for 1 day." in page
    assert "Nothing received for 1 day" in page
    assert "What has rung" in page
    assert 'data-dialog="#alarm-silence"' in page
    assert '<option value="1440" selected>1 day</option>' in page
    received(source, timedelta(0))
    evaluate()
    page = text(viewer, f"/sources/{source.pk}/health/")
    assert "callout-bad" not in page
    assert "Recovered <time" in page
    assert "data-dialog" not in page, "a viewer sets nothing"


def test_a_time_that_is_not_in_the_list_is_shown_in_minutes(admin, api, source):
    [alarm] = api("admin").get(f"/api/v1/alarms/?source={source.pk}&kind=silence").json()["results"]
    api("admin").patch(f"/api/v1/alarms/{alarm['id']}/", {"window_minutes": 77})
    page = text(admin, f"/sources/{source.pk}/health/")
    assert '<option value="custom" selected>' in page
    assert 'value="77"' in page
    assert "Nothing received for 77 minutes" in page


def test_the_list_of_alarms_and_the_dashboard(viewer, source_of):
    assert "No alarm rings" in text(viewer, "/alarms/?state=alarm")
    assert "need attention" not in viewer.get("/").content.decode()
    for number in range(2):
        received(source_of(name=f"Door {number}")[0], 25 * HOUR)
    evaluate()
    page = text(viewer, "/alarms/?state=alarm")
    assert "Door 0" in page
    assert "Door 1" in page
    assert "Authentication" not in page
    dashboard = viewer.get("/").content.decode()
    assert '<a href="/alarms/?state=alarm">2 sources need attention.</a>' in dashboard


def test_empty_and_filtered_lists_say_so(viewer, source_of):
    assert "Nothing to watch yet" in viewer.get("/alarms/").content.decode()
    source_of()
    assert "Nothing fits" in text(viewer, "/alarms/?state=ok")
    assert viewer.get("/alarms/?state=loud&source=1&before=x").status_code == 200


def test_what_a_viewer_may_not_know_of_is_not_there(viewer, source):
    received(source, 25 * HOUR)
    evaluate()
    with tenant_scope(source.tenant_id):
        Source.objects.filter(pk=source.pk).update(visibility=Source.Visibility.ASSIGNED)
    assert viewer.get(f"/sources/{source.pk}/health/").status_code == 404
    assert "state-" not in text(viewer, f"/sources/health/?id={source.pk}")
    assert source.name not in text(viewer, "/alarms/")
    assert "attention" not in viewer.get("/").content.decode()


def test_names_are_escaped(admin, source_of):
    source = received(source_of(name=EVIL)[0], 25 * HOUR)
    evaluate()
    for path in (f"/sources/{source.pk}/health/", "/alarms/", f"/sources/health/?id={source.pk}"):
        assert "<script>alert" not in text(admin, path)
