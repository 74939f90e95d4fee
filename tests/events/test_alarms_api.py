"""The endpoints of alarms: who may look, who may set what, and what is said to mistakes (P15)."""

from datetime import timedelta

import pytest
from django.utils import timezone

from events.alarms import Alarm, AlarmEpisode
from events.watch import evaluate
from sources.models import Source
from tenants.models import AuditEntry
from tenants.scope import system_scope, tenant_scope

URL = "/api/v1/alarms/"


@pytest.fixture
def alarms(source):
    """The alarms of one source by kind, as the API shows them."""
    with system_scope():
        Alarm.objects.ensure()
        return {one.kind: f"{URL}{one.pk}/" for one in Alarm.objects.filter(source=source)}


def fall_silent(source: Source) -> None:
    with system_scope():
        Source.objects.filter(pk=source.pk).update(
            created_at=timezone.now() - timedelta(days=9), last_received_at=timezone.now() - timedelta(days=2)
        )
        Alarm.objects.filter(source=source).update(watched_since=timezone.now() - timedelta(days=9))
    evaluate()


@pytest.mark.spec("P15")
def test_a_source_has_its_alarms_from_the_start(api, source):
    listed = api("viewer").get(f"{URL}?source={source.pk}").json()["results"]
    by_kind = {one["kind"]: one for one in listed}
    assert set(by_kind) == {"silence", "authentication", "classification"}
    assert by_kind["silence"] == {
        "id": by_kind["silence"]["id"],
        "source": str(source.pk),
        "source_name": source.name,
        "kind": "silence",
        "enabled": True,
        "window_minutes": 1440,
        "min_count": None,
        "percent": None,
        "state": "insufficient_data",
        "state_changed_at": by_kind["silence"]["state_changed_at"],
        "watched_since": by_kind["silence"]["watched_since"],
        "episode": None,
    }
    assert (by_kind["authentication"]["min_count"], by_kind["authentication"]["percent"]) == (20, 10)


def test_an_episode_stands_beside_its_alarm_and_in_a_list_of_its_own(api, source):
    fall_silent(source)
    client = api("viewer")
    [ringing] = client.get(f"{URL}?state=alarm").json()["results"]
    [episode] = client.get(f"/api/v1/alarm-episodes/?source={source.pk}&kind=silence&open=true").json()["results"]
    assert ringing["episode"] == episode
    assert (episode["kind"], episode["ended"], episode["window_minutes"]) == ("silence", "", 1440)
    assert client.get(f"/api/v1/alarm-episodes/{episode['id']}/").json() == episode
    assert client.get("/api/v1/alarm-episodes/?open=false").json()["results"] == []
    assert client.get(f"{URL}?state=alarm&kind=authentication").json()["results"] == []


@pytest.mark.spec("P15")
@pytest.mark.parametrize("minutes", [15, 77, 43200])
def test_the_time_can_be_set_from_15_minutes_to_30_days(api, alarms, minutes):
    answer = api("admin").patch(alarms["silence"], {"window_minutes": minutes})
    assert answer.status_code == 200
    assert answer.json()["window_minutes"] == minutes


@pytest.mark.parametrize(
    ("kind", "body", "field"),
    [
        ("silence", {"window_minutes": 14}, "window_minutes"),
        ("silence", {"window_minutes": 43201}, "window_minutes"),
        ("silence", {"window_minutes": None}, "window_minutes"),
        ("silence", {"window_minutes": "soon"}, "window_minutes"),
        ("silence", {"min_count": 5}, "min_count"),
        ("silence", {"percent": None}, "percent"),
        ("authentication", {"window_minutes": 60}, "window_minutes"),
        ("authentication", {"min_count": 0}, "min_count"),
        ("authentication", {"min_count": 10_001}, "min_count"),
        ("authentication", {"min_count": None}, "min_count"),
        ("classification", {"percent": 100}, "percent"),
        ("classification", {"percent": -1}, "percent"),
        ("classification", {"enabled": "perhaps"}, "enabled"),
        ("silence", {"state": "ok"}, "state"),
        ("silence", {"treshold": 5}, "treshold"),
    ],
)
def test_what_is_wrong_is_said(api, alarms, kind, body, field):
    answer = api("owner").patch(alarms[kind], body)
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_a_change_is_judged_at_once_and_on_record(api, source, alarms):
    fall_silent(source)
    client = api("admin")
    answer = client.patch(alarms["silence"], {"window_minutes": 4320})
    assert (answer.json()["state"], answer.json()["episode"]) == ("ok", None)
    answer = client.patch(alarms["silence"], {"window_minutes": 60})
    assert (answer.json()["state"], answer.json()["episode"]["window_minutes"]) == ("alarm", 60)
    assert client.patch(alarms["silence"], {"enabled": False}).json()["state"] == "insufficient_data"
    with system_scope():
        entries = list(AuditEntry.objects.filter(action="alarm.updated").order_by("id"))
        assert [episode.ended for episode in AlarmEpisode.objects.order_by("id")] == ["changed", "switched_off"]
    assert [entry.change for entry in entries] == [
        {"window_minutes": [1440, 4320]},
        {"window_minutes": [4320, 60]},
        {"enabled": [True, False]},
    ]
    assert entries[0].object_label == "No events of Door log"


def test_what_changes_nothing_leaves_no_trace(api, alarms):
    assert api("admin").patch(alarms["silence"], {"window_minutes": 1440}).status_code == 200
    with system_scope():
        assert not AuditEntry.objects.filter(action="alarm.updated").exists()
        assert not Alarm.objects.exclude(configured_at=None).exists()


@pytest.mark.parametrize(("role", "status"), [("owner", 200), ("admin", 200), ("member", 403), ("viewer", 403)])
def test_who_may_configure_may_set_alarms(api, alarms, role, status):
    client = api(role)
    assert client.get(alarms["silence"]).status_code == 200
    assert client.patch(alarms["silence"], {"enabled": False}).status_code == status


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_alarms_are_neither_made_nor_deleted(api, alarms, method):
    assert getattr(api("owner"), method)(alarms["silence"], {}).status_code == 405


def test_a_source_that_somebody_may_not_know_of_has_no_alarms_for_them(api, source, cast):
    fall_silent(source)
    with tenant_scope(cast.tenant.pk):
        Source.objects.filter(pk=source.pk).update(visibility=Source.Visibility.ASSIGNED)
    for path in (URL, "/api/v1/alarm-episodes/"):
        assert api("viewer").get(path).json()["results"] == []
        assert api("admin").get(path).json()["results"] != []


def test_an_unknown_parameter_is_refused(api, source):
    assert api("viewer").get(f"{URL}?stat=alarm").status_code == 400
    assert api("viewer").get(f"{URL}?state=loud").status_code == 400
