"""Alarms over a database: episodes open once, are told of, and end (P15). The clock is given."""

import json
import threading
from datetime import timedelta
from smtplib import SMTPDataError

import pytest
from django.db import connection
from django.utils import timezone

from events import alarm_mail, tasks, watch
from events.alarms import Alarm, AlarmEpisode, AlarmMail
from events.health import Kind, State
from events.models import Event, Inbox, Receipt, Schema, SchemaAttachment
from events.watch import Evaluation, configure, evaluate
from sources.models import Source
from subscriptions import filters
from tenants.ids import lowest_uuid7
from tenants.models import Membership, User
from tenants.scope import system_scope, tenant_scope

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
NONE = Evaluation()


@pytest.fixture
def start():
    """Noon of this day: whatever a test puts an hour or two around it lies in partitions that are there."""
    return timezone.now().replace(hour=12, minute=0, second=0, microsecond=0)


@pytest.fixture
def watched(source_of, start):
    """A source that was created 100 days ago and received something at `start`."""
    return received(source_of()[0], start)


def received(source: Source, at) -> Source:
    with system_scope():
        Source.objects.filter(pk=source.pk).update(last_received_at=at, created_at=at - timedelta(days=100))
    return source


def alarm_of(source: Source, kind: Kind = Kind.SILENCE) -> Alarm:
    with system_scope():
        Alarm.objects.ensure()
        return Alarm.objects.select_related("source").get(source=source, kind=kind)


def set_alarm(source: Source, at=None, kind: Kind = Kind.SILENCE, **values) -> Evaluation:
    alarm = alarm_of(source, kind)
    with tenant_scope(source.tenant_id):
        return configure(alarm, at, **values)


def episodes(source: Source) -> list[AlarmEpisode]:
    with system_scope():
        return list(AlarmEpisode.objects.filter(alarm__source=source).order_by("id"))


def operational() -> list[Event]:
    with system_scope():
        return list(Event.objects.filter(type__startswith="portal.").order_by("id"))


def refuse(source: Source, count: int, at, *, status_code: int = 401, suppressed: int = 0) -> None:
    keep(source, count, at, status="refused", status_code=status_code, suppressed=suppressed)


def keep(source: Source, count: int, at, *, status: str = "accepted", status_code: int = 202, suppressed=0) -> None:
    with system_scope():
        Receipt.objects.bulk_create(
            Receipt(
                id=id_at(at, number), tenant_id=source.tenant_id, source=source, status=status,
                status_code=status_code, suppressed=suppressed,
            )
            for number in range(count)
        )  # fmt: skip


def classify(source: Source, fits: int, unfit: int, at) -> None:
    with system_scope():
        Event.objects.bulk_create(
            Event(
                id=id_at(at, number), tenant_id=source.tenant_id, source=source, receipt_id=id_at(at, 0), type="a.b",
                content_type="application/json", body=b"{}",
                schema_version_id=id_at(at, 1) if number < fits else None,
                schema_problem="" if number < fits else "It has no name.",
            )
            for number in range(fits + unfit)
        )  # fmt: skip


_made = iter(range(2**60))


def id_at(at, _number):
    identifier = lowest_uuid7(at)
    return type(identifier)(int=identifier.int | next(_made))


def attach_schema(source: Source) -> Schema:
    with tenant_scope(source.tenant_id):
        schema = Schema.objects.create(tenant_id=source.tenant_id, name=f"Door {next(_made)}")
        SchemaAttachment.objects.create(tenant_id=source.tenant_id, source=source, schema=schema, position=0)
    return schema


# ── Silence ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.spec("P15")
def test_a_new_source_is_watched_from_the_start(source):
    evaluate()
    with system_scope():
        alarms = {one.kind: one for one in Alarm.objects.filter(source=source)}
    assert set(alarms) == set(Kind)
    assert all(one.enabled and one.state == State.INSUFFICIENT_DATA for one in alarms.values())
    assert alarms[Kind.SILENCE].window_minutes == 24 * 60


@pytest.mark.spec("P15")
def test_a_source_that_never_received_anything_is_not_silent(source, start):
    assert evaluate(start + timedelta(days=90)) == NONE
    assert alarm_of(source).state == State.INSUFFICIENT_DATA


@pytest.mark.spec("P15")
def test_silence_is_told_of_once_and_cleared_on_recovery(watched, start):
    assert evaluate(start + MINUTE) == NONE
    assert alarm_of(watched).state == State.OK

    assert evaluate(start + 24 * HOUR - MINUTE) == NONE
    assert evaluate(start + 24 * HOUR) == Evaluation(opened=1)
    assert alarm_of(watched).state == State.ALARM
    for hours in (25, 26, 500):
        assert evaluate(start + hours * HOUR) == NONE

    received(watched, start + 501 * HOUR)
    assert evaluate(start + 501 * HOUR + MINUTE) == Evaluation(ended=1)
    assert evaluate(start + 501 * HOUR + 2 * MINUTE) == NONE
    assert alarm_of(watched).state == State.OK

    [episode] = episodes(watched)
    assert episode.since == start
    assert episode.opened_at == start + 24 * HOUR
    assert episode.cleared_at == start + 501 * HOUR + MINUTE
    assert episode.ended == "recovered"


def test_a_sender_that_comes_and_goes_has_an_episode_each_time(watched, start):
    for day in (2, 4, 6):
        assert evaluate(start + timedelta(days=day)) == Evaluation(opened=1)
        received(watched, start + timedelta(days=day, hours=1))
        assert evaluate(start + timedelta(days=day, hours=2)) == Evaluation(ended=1)
    assert [one.ended for one in episodes(watched)] == ["recovered"] * 3


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("P15")
def test_of_two_evaluations_at_once_one_opens_the_episode(watched, start, source_of, monkeypatch):
    others = [received(source_of(name=f"Door {number}")[0], start) for number in range(5)]
    evaluate(start + MINUTE)
    both_have_read = threading.Barrier(2, timeout=20)
    judged = watch._judged

    def and_wait(*arguments):
        found = judged(*arguments)
        both_have_read.wait()
        return found

    monkeypatch.setattr(watch, "_judged", and_wait)
    seen = []

    def run():
        try:
            seen.append(evaluate(start + 25 * HOUR))
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(seen) == 2
    assert sum(one.opened for one in seen) == 6
    assert [len(episodes(one)) for one in (watched, *others)] == [1] * 6
    assert [event.type for event in operational()] == ["portal.source.silent"] * 6


def test_a_state_that_moved_meanwhile_is_left_alone(watched, start):
    """The conditional UPDATE by itself, without the lock before it."""
    evaluate(start + MINUTE)
    with system_scope():
        stale = watch._judged(Alarm.objects.all(), start + 25 * HOUR)
    assert evaluate(start + 25 * HOUR) == Evaluation(opened=1)
    assert watch._move_all(stale, start + 25 * HOUR, watch.Ended.RECOVERED) == NONE
    assert len(episodes(watched)) == 1


def test_what_was_read_before_a_setting_changed_moves_nothing(watched, start):
    evaluate(start + MINUTE)
    with system_scope():
        stale = watch._judged(Alarm.objects.all(), start + 25 * HOUR)
    set_alarm(watched, start + 25 * HOUR, window_minutes=2 * 24 * 60)
    assert watch._move_all(stale, start + 25 * HOUR, watch.Ended.RECOVERED) == NONE


def test_the_database_refuses_a_second_open_episode(watched, start):
    evaluate(start + 25 * HOUR)
    [episode] = episodes(watched)
    episode.pk = None
    with pytest.raises(Exception, match="one_open_episode"), system_scope():
        AlarmEpisode.objects.create(
            tenant_id=episode.tenant_id, alarm_id=episode.alarm_id, opened_at=start, since=start, window_minutes=15
        )


@pytest.mark.spec("P15")
def test_another_time_takes_effect_at_once(watched, start):
    evaluate(start + MINUTE)
    now = start + 2 * HOUR
    assert set_alarm(watched, now, window_minutes=120) == Evaluation(opened=1)
    assert set_alarm(watched, now, window_minutes=121) == Evaluation(ended=1)
    assert [one.ended for one in episodes(watched)] == ["changed"]
    assert alarm_of(watched).state == State.OK


def test_switched_off_and_on_again(watched, start):
    evaluate(start + 25 * HOUR)
    assert set_alarm(watched, start + 26 * HOUR, enabled=False) == Evaluation(ended=1)
    assert alarm_of(watched).state == State.INSUFFICIENT_DATA
    assert evaluate(start + 200 * HOUR) == NONE
    assert set_alarm(watched, start + 201 * HOUR, enabled=True) == NONE
    assert evaluate(start + 224 * HOUR) == NONE
    assert evaluate(start + 225 * HOUR) == Evaluation(opened=1)
    assert [one.ended for one in episodes(watched)] == ["switched_off", ""]


@pytest.mark.spec("P15")
def test_a_pause_ends_the_episode_and_resuming_restarts_the_clock(watched, start):
    evaluate(start + 25 * HOUR)
    with tenant_scope(watched.tenant_id):
        watched.pause()
    assert evaluate(start + 26 * HOUR) == Evaluation(ended=1)
    assert evaluate(start + 500 * HOUR) == NONE
    assert alarm_of(watched).state == State.INSUFFICIENT_DATA
    with tenant_scope(watched.tenant_id):
        watched.resume()
    assert evaluate(start + 501 * HOUR) == NONE
    assert evaluate(start + 524 * HOUR) == NONE
    assert alarm_of(watched).state == State.INSUFFICIENT_DATA
    assert evaluate(start + 525 * HOUR) == Evaluation(opened=1)
    assert [one.ended for one in episodes(watched)] == ["paused", ""]


def test_nobody_is_told_of_a_suspended_tenants_sources(watched, start, cast):
    evaluate(start + 25 * HOUR)
    told = len(operational())
    with system_scope():
        cast.tenant.suspend()
    assert evaluate(start + 26 * HOUR) == Evaluation(ended=1)
    assert [one.ended for one in episodes(watched)] == ["suspended"]
    assert len(operational()) == told
    assert evaluate(start + 99 * HOUR) == NONE


def test_deleting_a_source_ends_its_alarms(watched, start, api):
    evaluate(start + 25 * HOUR)
    with tenant_scope(watched.tenant_id):
        watched.delete()
    assert evaluate(start + 26 * HOUR) == Evaluation(ended=1)
    assert evaluate(start + 27 * HOUR) == NONE
    assert [one.ended for one in episodes(watched)] == ["deleted"]
    assert api("owner").get("/api/v1/alarms/").json()["results"] == []


def test_one_query_each_however_many_sources(watched, source_of, start, django_assert_num_queries):
    def queries() -> int:
        with django_assert_num_queries(100, exact=False) as captured:
            assert evaluate(start + MINUTE) == NONE
        return len(captured)

    evaluate(start + MINUTE)
    few = queries()
    for number in range(20):
        received(source_of(name=f"Door {number}")[0], start)
    evaluate(start + MINUTE)
    assert queries() == few
    assert evaluate(start + 25 * HOUR) == Evaluation(opened=21)


# ── Authentication ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.spec("P15")
def test_refusals_ring_once_and_are_over_when_requests_are_accepted(watched, start):
    keep(watched, 10, start - MINUTE)
    refuse(watched, 20, start)
    assert evaluate(start + MINUTE) == Evaluation(opened=1)
    assert evaluate(start + 2 * MINUTE) == NONE
    assert evaluate(start + 30 * MINUTE) == NONE, "nothing was accepted since, so it is not over"
    received(watched, start + 31 * MINUTE)
    keep(watched, 1, start + 31 * MINUTE)
    assert evaluate(start + 32 * MINUTE) == Evaluation(ended=1)
    [episode] = episodes(watched)
    assert (episode.counted, episode.failed, episode.ended) == (30, 20, "recovered")
    assert [event.type for event in operational()] == [
        "portal.source.authentication_failing",
        "portal.source.authentication_recovered",
    ]


@pytest.mark.parametrize(
    "what",
    [
        {"count": 19},
        {"count": 30, "status_code": 422},
        {"count": 30, "minutes_ago": 16},
        {"count": 30, "beside": 271},
    ],
    ids=["too few", "for another reason", "long ago", "among many"],
)
def test_these_refusals_do_not_ring(watched, start, what):
    refuse(
        watched, what["count"], start - MINUTE * what.get("minutes_ago", 0), status_code=what.get("status_code", 401)
    )
    keep(watched, what.get("beside", 0), start)
    assert evaluate(start) == NONE
    assert alarm_of(watched, Kind.AUTHENTICATION).state == State.OK


def test_what_a_flood_only_counted_counts(watched, start):
    refuse(watched, 1, start, suppressed=30)
    assert evaluate(start) == Evaluation(opened=1)
    assert episodes(watched)[0].failed == 31


def test_the_bounds_of_authentication_can_be_set(watched, start):
    refuse(watched, 5, start)
    set_alarm(watched, start - HOUR, Kind.AUTHENTICATION, min_count=5, percent=50)
    assert evaluate(start) == Evaluation(opened=1)
    assert set_alarm(watched, start, Kind.AUTHENTICATION, min_count=11) == Evaluation(ended=1)


def test_refusals_from_before_a_watch_began_do_not_count(watched, start):
    refuse(watched, 50, start)
    set_alarm(watched, start, Kind.AUTHENTICATION, enabled=False)
    assert set_alarm(watched, start + MINUTE, Kind.AUTHENTICATION, enabled=True) == NONE
    assert evaluate(start + 2 * MINUTE) == NONE


def test_a_flapping_sender_is_told_of_once(watched, start):
    """A share about the bound: over it, under it, over it."""
    keep(watched, 150, start)
    refuse(watched, 20, start)
    assert evaluate(start) == Evaluation(opened=1)
    for minute in range(1, 5):
        received(watched, start + minute * MINUTE)
        keep(watched, 40 if minute % 2 else 0, start + minute * MINUTE)
        refuse(watched, 0 if minute % 2 else 6, start + minute * MINUTE)
        assert evaluate(start + minute * MINUTE) == NONE


# ── Classification ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.spec("P15")
def test_events_that_fit_no_schema_ring_once_and_are_over_when_they_fit(watched, start):
    attach_schema(watched)
    evaluate(start - HOUR)
    classify(watched, 15, 5, start)
    assert evaluate(start) == Evaluation(opened=1)
    assert evaluate(start + MINUTE) == NONE
    assert evaluate(start + 5 * HOUR) == NONE, "nothing came, so nothing got better"
    received(watched, start + 6 * HOUR)
    classify(watched, 3, 0, start + 6 * HOUR)
    assert evaluate(start + 6 * HOUR) == Evaluation(ended=1)
    [episode] = episodes(watched)
    assert (episode.counted, episode.failed, episode.ended) == (20, 5, "recovered")
    assert [event.type for event in operational()] == [
        "portal.source.classification_failing",
        "portal.source.classification_recovered",
    ]
    assert {event.severity for event in operational()} == {"medium"}


def test_only_the_latest_events_are_looked_at(watched, start):
    attach_schema(watched)
    evaluate(start - HOUR)
    classify(watched, 0, 100, start - 2 * MINUTE)
    classify(watched, watch.SAMPLE, 0, start)
    assert evaluate(start) == NONE
    assert alarm_of(watched, Kind.CLASSIFICATION).state == State.OK


def test_operational_events_do_not_crowd_out_those_of_the_source(watched, start):
    attach_schema(watched)
    evaluate(start - HOUR)
    classify(watched, 0, 20, start - 2 * MINUTE)
    classify(watched, watch.SAMPLE, 0, start)
    with system_scope():
        Event.objects.filter(source=watched, schema_problem="").update(receipt=None, schema_version_id=None)
    assert evaluate(start) == Evaluation(opened=1)


def test_without_schemas_nothing_is_judged(watched, start):
    classify(watched, 0, 100, start)
    assert evaluate(start) == NONE
    assert alarm_of(watched, Kind.CLASSIFICATION).state == State.INSUFFICIENT_DATA


def test_taking_the_schemas_away_ends_it(watched, start):
    schema = attach_schema(watched)
    evaluate(start - HOUR)
    classify(watched, 0, 100, start)
    assert evaluate(start) == Evaluation(opened=1)
    with tenant_scope(watched.tenant_id):
        schema.detach(watched)
    assert evaluate(start + MINUTE) == Evaluation(ended=1)
    assert episodes(watched)[0].ended == "no_schemas"


# ── Who is told ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.spec("P15")
def test_the_operational_event_says_what_and_since_when(watched, start, settings):
    settings.PORTAL_URL = "https://portal.example"
    evaluate(start + 25 * HOUR)
    [event] = operational()
    [episode] = episodes(watched)
    body = json.loads(bytes(event.body))
    assert event.payload == body
    assert (event.source_id, event.receipt_id, event.tenant_id) == (watched.pk, None, watched.tenant_id)
    assert (event.type, event.severity) == ("portal.source.silent", "high")
    assert body == {
        "type": "portal.source.silent",
        "summary": "“Door log” has received nothing for 1 day.",
        "source": {
            "id": str(watched.pk),
            "name": "Door log",
            "url": f"https://portal.example/sources/{watched.pk}/",
        },
        "alarm": {"id": str(episode.alarm_id), "kind": "silence", "state": "alarm"},
        "episode": {
            "id": str(episode.pk),
            "since": f"{start:%Y-%m-%dT%H:%M:%S}.000Z",
            "opened_at": f"{start + 25 * HOUR:%Y-%m-%dT%H:%M:%S}.000Z",
            "cleared_at": None,
            "ended": None,
        },
        "threshold": {"window_minutes": 1440},
        "observed": None,
    }
    with system_scope():
        assert Inbox.objects.filter(event_id=event.pk).exists(), "it is on its way to subscriptions"


@pytest.mark.spec("P15")
@pytest.mark.parametrize("kind", Kind)
def test_subscriptions_get_it_that_ask_for_it(kind):
    opened, cleared, _ = watch.EVENTS[kind]
    for name in (opened, cleared):
        assert filters.matches(["portal.*"], name)
        assert filters.matches(["portal.source.*"], name)
        assert filters.matches([name], name)
        assert not filters.matches(["*"], name)
        assert not filters.matches(["*.source.*"], name)


def test_an_operational_event_is_no_event_of_the_source(watched, start):
    """It neither ends the silence that it tells of, nor is it classified."""
    attach_schema(watched)
    assert evaluate(start + 25 * HOUR) == Evaluation(opened=1)
    with system_scope():
        assert Source.objects.get(pk=watched.pk).last_received_at == start
    assert evaluate(start + 26 * HOUR) == NONE
    [event] = operational()
    assert (event.schema_version_id, event.schema_problem) == (None, "")


def test_a_pause_is_told_to_programs_and_to_nobody_by_mail(watched, start, mailoutbox):
    evaluate(start + 25 * HOUR)
    with tenant_scope(watched.tenant_id):
        watched.pause()
    evaluate(start + 26 * HOUR)
    opened, ended = operational()
    body = json.loads(bytes(ended.body))
    assert (ended.type, body["alarm"]["state"]) == ("portal.source.recovered", "insufficient_data")
    assert (body["episode"]["ended"], body["summary"]) == (
        "paused",
        "The alarm about “Door log” is over: the source was paused.",
    )
    alarm_mail.send_due(start + 27 * HOUR)
    assert len(mailoutbox) == 2


@pytest.mark.spec("P15")
def test_owners_and_admins_are_mailed_once_about_the_beginning_and_the_end(watched, start, mailoutbox, settings):
    settings.PORTAL_URL = "https://portal.example"
    evaluate(start + 25 * HOUR)
    assert alarm_mail.send_due(start + 25 * HOUR) == 2
    assert alarm_mail.send_due(start + 99 * HOUR) == 0
    assert {tuple(mail.to) for mail in mailoutbox} == {("owner@acme.example",), ("admin@acme.example",)}
    first = mailoutbox[0]
    assert first.subject == "[Acme] “Door log” has received nothing for 1 day"
    assert f"Silent since: {start:%Y-%m-%d} 12:00 UTC" in first.body
    assert f"https://portal.example/sources/{watched.pk}/" in first.body

    received(watched, start + 30 * HOUR)
    evaluate(start + 30 * HOUR)
    assert alarm_mail.send_due(start + 30 * HOUR) == 2
    assert mailoutbox[2].subject == "[Acme] Resolved: “Door log” receives events again"
    assert f"Over since: {start + 30 * HOUR:%Y-%m-%d %H:%M} UTC" in mailoutbox[2].body


def test_who_cannot_be_reached_or_has_left_is_not_mailed(watched, start, cast, mailoutbox):
    with system_scope():
        unverified = User.objects.create_user("new@acme.example")
        unverified.emailaddress_set.update(verified=False)
        Membership.objects.create(tenant=cast.tenant, user=unverified, role="admin")
        cast.admin.is_active = False
        cast.admin.save()
    evaluate(start + 25 * HOUR)
    with system_scope():
        assert [mail.user_id for mail in AlarmMail.objects.all()] == [cast.owner.pk]
        Membership.objects.filter(user=cast.owner).delete()
    assert alarm_mail.send_due(start + 25 * HOUR) == 0
    assert mailoutbox == []
    with system_scope():
        assert not AlarmMail.objects.due(start + 99 * HOUR).exists()


def test_a_mail_that_fails_is_tried_again_and_sent_once(watched, start, mailoutbox, monkeypatch, caplog):
    evaluate(start + 25 * HOUR)
    with monkeypatch.context() as patch:
        patch.setattr("django.core.mail.backends.locmem.EmailBackend.send_messages", refuse_all)
        assert alarm_mail.send_due(start + 25 * HOUR) == 0
    assert "tried again later" in caplog.text
    assert alarm_mail.send_due(start + 25 * HOUR + MINUTE) == 0, "claimed, so nobody else sends it meanwhile"
    assert alarm_mail.send_due(start + 26 * HOUR) == 2
    assert alarm_mail.send_due(start + 40 * HOUR) == 0
    assert len(mailoutbox) == 2


def refuse_all(*_):
    raise ConnectionRefusedError


def test_a_mail_whose_sender_died_is_sent_by_the_next(watched, start, mailoutbox):
    evaluate(start + 25 * HOUR)
    with system_scope():
        [lost, _] = AlarmMail.objects.claim(start + 25 * HOUR, 10)
    assert alarm_mail.send_due(start + 26 * HOUR) == 2
    with system_scope():
        assert not lost.settle(start + 26 * HOUR), "whoever wakes late finds it settled"


def test_a_mail_that_always_fails_is_given_up(watched, start, monkeypatch):
    monkeypatch.setattr("django.core.mail.backends.locmem.EmailBackend.send_messages", refuse_all)
    evaluate(start + 25 * HOUR)
    for hours in range(26, 120):
        alarm_mail.send_due(start + hours * HOUR)
    with system_scope():
        assert {mail.postings for mail in AlarmMail.objects.all()} == {12}


@pytest.mark.parametrize(("code", "sent"), [(554, 1), (421, 0)], ids=["this mail", "all mails"])
def test_a_mail_that_is_refused_for_what_it_says_holds_up_no_other(watched, start, monkeypatch, code, sent):
    """Of another tenant's, for one."""
    send, tried = alarm_mail.EmailMessage.send, []

    def send_but_the_first(message):
        tried.append(message)
        if len(tried) == 1:
            raise SMTPDataError(code, b"no")
        return send(message)

    monkeypatch.setattr(alarm_mail.EmailMessage, "send", send_but_the_first)
    evaluate(start + 25 * HOUR)
    assert alarm_mail.send_due(start + 25 * HOUR) == sent


@pytest.mark.parametrize("name", ["Door\r\nBcc: everybody@example.com", "<b>Door</b> & “Hatch”"], ids=["lines", "html"])
def test_a_name_does_no_harm_in_a_mail(source_of, start, mailoutbox, name):
    received(source_of(name=name)[0], start)
    evaluate(start + 25 * HOUR)
    alarm_mail.send_due(start + 25 * HOUR)
    assert mailoutbox[0].recipients() == ["owner@acme.example"] or mailoutbox[0].recipients() == ["admin@acme.example"]
    assert "\n" not in mailoutbox[0].subject
    assert mailoutbox[0].message()["Bcc"] is None
    assert name in mailoutbox[0].body


# ── Tasks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_beat_evaluates_and_mails(watched, mailoutbox):
    received(watched, timezone.now() - 25 * HOUR)
    tasks.alarms()
    tasks.alarm_mails()
    assert len(episodes(watched)) == 1
    assert len(mailoutbox) == 2


def test_episodes_that_ended_long_ago_are_forgotten(watched, start):
    evaluate(start - timedelta(days=50))
    received(watched, start - timedelta(days=60))
    evaluate(start - timedelta(days=50))
    assert len(episodes(watched)) == 1
    tasks.retention()
    assert len(episodes(watched)) == 1, "it goes on"
    set_alarm(watched, start - timedelta(days=40), enabled=False)
    tasks.retention()
    assert episodes(watched) == []
