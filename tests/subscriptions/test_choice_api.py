"""Choosing sources, sites and by a filter: creating, changing, trying; and what other tenants' ids are."""

import uuid
from contextlib import ExitStack

import pytest

from events.models import Event
from subscriptions import trying
from subscriptions.models import Subscription
from tenants.models import AuditEntry, Site
from tenants.scope import system_scope, tenant_scope
from tests.choices import SLOW, a_source

URL = "/api/v1/subscriptions/"
TRY = f"{URL}try-filter/"


@pytest.fixture
def create(api):
    def post(role="owner", **fields):
        return api(role).post(URL, {"name": "Desk", "url": "https://receiver.example/in", **fields}, format="json")

    return post


@pytest.fixture
def attempt(api):
    def post(role="owner", **fields):
        return api(role).post(TRY, fields, format="json")

    return post


@pytest.fixture
def happened(cast):
    def make(body=b'{"amount": 12}', tenant=None, **fields):
        tenant = tenant or cast.tenant
        with tenant_scope(tenant.pk):
            return Event.objects.create(
                tenant=tenant, body=body, body_is_data=True, content_type="application/json",
                **{"type": "order.paid", **fields},
            )  # fmt: skip

    return make


@pytest.fixture
def site(cast):
    with tenant_scope(cast.tenant.pk):
        return Site.objects.create(tenant=cast.tenant, name="Basel")


def first_error(answer) -> tuple[str, str]:
    assert answer.status_code == 400, answer.content
    return tuple(answer.json()["errors"][0][name] for name in ("field", "detail"))


# ── Saving ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_choice_is_kept_and_told(cast, create, api, site):
    source = a_source(cast.tenant, "Shop")
    made = create(sources=[str(source.pk)] * 2, sites=[str(site.pk)], filter=" payload.amount > 10\r\n")
    assert made.status_code == 201, made.content
    read = api("viewer").get(f"{URL}{made.json()['id']}/").json()
    assert (read["sources"], read["sites"]) == ([str(source.pk)], [str(site.pk)])
    assert read["filter"] == "payload.amount > 10"
    assert read["filter_errors"] == {"count": 0, "last": "", "last_event": None}


def test_nothing_said_is_nothing_narrowed(create):
    made = create().json()
    assert (made["event_types"], made["sources"], made["sites"], made["filter"]) == (["*"], [], [], "")


def test_changes_are_on_record(cast, create, api):
    source = a_source(cast.tenant, "Shop")
    pk = create().json()["id"]
    change = {"sources": [str(source.pk)], "filter": "event.title != ''"}
    assert api("admin").patch(f"{URL}{pk}/", change, format="json").status_code == 200
    with system_scope():
        entry = AuditEntry.objects.filter(action="subscription.changed").first()
    assert entry.change == {"sources": [[], [str(source.pk)]], "filter": ["", "event.title != ''"]}


@pytest.mark.parametrize("field", ["sources", "sites"])
@pytest.mark.parametrize("whose", ["nobody's", "another tenant's"])
def test_another_tenants_is_as_unknown_as_none(cast, create, attempt, field, whose):
    with tenant_scope(cast.other_tenant.pk):
        theirs = Site.objects.create(tenant=cast.other_tenant, name="Theirs")
    stranger = a_source(cast.other_tenant, "Theirs") if field == "sources" else theirs
    # That they chose it themselves makes no difference.
    with tenant_scope(cast.other_tenant.pk):
        Subscription.objects.create(
            tenant=cast.other_tenant, name="T", url="https://x.example/", **{field: [stranger.pk]}
        )
    pk = stranger.pk if whose == "another tenant's" else uuid.uuid4()
    for answer in (create(**{field: [str(pk)]}), attempt(**{field: [str(pk)]})):
        assert first_error(answer) == (field, f"There is no such {field[:-1]}: {pk}.")


def test_what_was_chosen_and_is_gone_may_stay_but_not_come(cast, create, api, site):
    source = a_source(cast.tenant, "Shop")
    pk = create(sources=[str(source.pk)], sites=[str(site.pk)]).json()["id"]
    gone = str(site.pk)
    with tenant_scope(cast.tenant.pk):
        source.delete()
        site.delete()
    same = {"sources": [str(source.pk)], "sites": [gone]}
    assert api().patch(f"{URL}{pk}/", same, format="json").status_code == 200
    with tenant_scope(cast.tenant.pk):
        Subscription.objects.get(pk=pk).configure(sources=[], sites=[])
    assert first_error(api().patch(f"{URL}{pk}/", same, format="json"))[0] == "sources"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("payload.amount >", "Line 1, column 17: something is missing at its end."),
        ("x" * 2001, "A filter has at most 2000 characters; this one has 2001."),
        ("lower(event.type) == 'a'", "There is no function lower()."),
        ("true\x00", "Null characters are not allowed."),
    ],
)
def test_a_wrong_filter_is_neither_saved_nor_tried(create, attempt, text, sentence):
    assert first_error(create(filter=text)) == ("filter", sentence)
    assert first_error(attempt(filter=text)) == ("filter", sentence)


def test_where_filters_cannot_be_asked_it_says_so(create, monkeypatch, tmp_path):
    monkeypatch.setattr("subscriptions.evaluator.SCRIPT", tmp_path / "missing.py")
    answer = create(filter="true")
    assert answer.status_code == 503
    assert answer.json()["detail"] == "Filters cannot be tried or saved just now. Try again later."
    assert create().status_code == 201, "without one nothing is asked"


# ── Trying ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_trial_says_what_becomes_of_each_event(cast, attempt, happened, site):
    source = a_source(cast.tenant, "Shop")
    happened(type="user.created")
    happened(severity="low")
    happened(severity="high")
    happened(severity="high", source=source)
    happened(b'{"amount": 1}', severity="high", source=source, site=site)
    happened(b"{}", severity="high", source=source, site=site)
    sent = happened(severity="high", source=source, site=site)
    answer = attempt(
        event_types=["order.*"], min_severity="high", sources=[str(source.pk)], sites=[str(site.pk)],
        filter="payload.amount > 10",
    ).json()  # fmt: skip
    assert [one["verdict"] for one in answer["events"]] == [
        "Sent.",
        "Not sent, an error: There is no field amount; has(…) asks whether there is.",
        "Not sent: the filter says no.",
        "Not sent: of no chosen site.",
        "Not sent: of no chosen source.",
        "Not sent: not severe enough.",
        "Not sent: another type.",
    ]
    assert (answer["tried"], answer["matched"], answer["is_whole"]) == (7, 1, True)
    assert answer["events"][0]["id"] == str(sent.pk)
    assert answer["summary"] == "Of the latest 7 events, 1 would be sent."
    assert answer["problems"] == [{"problem": "There is no field amount; has(…) asks whether there is.", "count": 1}]


def test_a_trial_without_anything_said_is_of_all_events(attempt, happened):
    happened()
    assert attempt().json()["summary"] == "Of the latest event, 1 would be sent."


def test_without_events_it_says_so(attempt):
    assert attempt(filter="true").json()["summary"] == "There are no events yet to try it on."


def test_other_tenants_events_are_not_tried(cast, attempt, happened):
    happened(tenant=cast.other_tenant)
    assert attempt(filter="true").json()["tried"] == 0


def test_only_the_latest_are_tried(attempt, happened, monkeypatch):
    monkeypatch.setattr(trying, "EVENTS", 3)
    happened(type="user.created")
    for _ in range(3):
        happened()
    assert [one["type"] for one in attempt(filter="true").json()["events"]] == ["order.paid"] * 3


def test_a_trial_ends_in_time_and_says_that_it_did(attempt, happened, monkeypatch):
    monkeypatch.setattr(trying, "SECONDS", 0)
    for _ in range(3):
        happened()
    answer = attempt(filter="true").json()
    assert (answer["tried"], answer["is_whole"]) == (1, False)
    assert answer["summary"] == "Of the latest event, 1 would be sent. It took too long to try more."


def test_a_hostile_filter_is_tried_like_any_other(attempt, happened):
    for _ in range(10):
        happened()
    answer = attempt(filter=SLOW)
    assert answer.status_code == 200
    assert {one["problem"] for one in answer.json()["problems"]} == {
        "It took too long for this event.",
        "It took too long for several events in a row, and is not asked for a minute.",
    }


def test_too_many_at_once_are_asked_to_wait(create, attempt, happened, monkeypatch):
    happened()
    monkeypatch.setattr(trying, "PATIENCE", 0.01)
    with ExitStack() as others:
        for _ in range(trying.TRIES):
            others.enter_context(trying.own_evaluator(trying._tries))
        answer = attempt(filter="true")
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "5")
        assert create(filter="true").status_code == 201, "saving does not wait for those who try"
    assert attempt(filter="true").status_code == 200


def test_a_tenant_tries_one_at_once(cast, attempt, happened):
    happened()
    with trying.one_of(cast.other_tenant.pk):
        assert attempt(filter="true").status_code == 200
    with trying.one_of(cast.tenant.pk):
        assert attempt(filter="true").status_code == 429


@pytest.mark.parametrize(("role", "status"), [("admin", 200), ("member", 403), ("viewer", 403)])
def test_who_may_configure_may_try(attempt, role, status):
    assert attempt(role, filter="true").status_code == status


def test_a_trial_keeps_nothing(attempt, happened):
    happened()
    attempt(filter="true")
    with system_scope():
        assert not Subscription.objects.exists()
        assert not AuditEntry.objects.filter(action__startswith="subscription").exists()


def test_a_field_that_belongs_to_no_choice_is_refused(attempt):
    assert first_error(attempt(url="https://receiver.example/"))[0] == "url"


# ── The pages ────────────────────────────────────────────────────────────────────────────────────────────────────────


def page(browser, user, subscription, end="") -> str:
    answer = browser(user).get(f"/subscriptions/{subscription.pk}/{end}")
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_page_shows_the_choice_and_what_failed(cast, browser, make, happened):
    source = a_source(cast.tenant, "<b>Shop</b>")
    event = happened()
    subscription = make("idle", sources=[source.pk], filter='payload.a == "<script>"')
    with tenant_scope(cast.tenant.pk):
        Subscription.objects.filter(pk=subscription.pk).update(
            filter_errors=1234, filter_error="There is no field <i>a</i>.", filter_error_event=event.pk
        )
    text = page(browser, cast.viewer, subscription)
    assert "&lt;b&gt;Shop&lt;/b&gt;" in text
    assert "payload.a == &quot;&lt;script&gt;&quot;" in text
    assert "The filter failed for 1,234 events" in text
    assert "There is no field &lt;i&gt;a&lt;/i&gt;." in text
    assert f"/events/{event.pk}/" in text


def test_a_hidden_source_keeps_its_name_to_itself(cast, browser, make):
    source = a_source(cast.tenant, "Secret project", visibility="assigned", created_by=cast.owner)
    subscription = make("idle", sources=[source.pk])
    assert "Secret project" not in page(browser, cast.viewer, subscription)
    assert "a source that you may not see" in page(browser, cast.viewer, subscription)
    assert "Secret project" in page(browser, cast.admin, subscription)


def test_the_form_keeps_what_is_gone(cast, browser, make, site):
    """Saving it unseen would take the choice away, and send everything."""
    source = a_source(cast.tenant, "Shop")
    subscription = make("idle", sources=[source.pk], sites=[site.pk])
    pk = site.pk
    with tenant_scope(cast.tenant.pk):
        source.delete()
        site.delete()
    text = page(browser, cast.owner, subscription, "edit/")
    for gone in (source.pk, pk):
        assert f'value="{gone}" checked' in text
    assert "a deleted source" in text
    assert "a deleted site" in text
    assert "Shop (deleted)" in page(browser, cast.owner, subscription)
