"""A post that comes twice is kept once, and is answered as the first was (B6)."""

import hashlib
import hmac
import json
import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from events.identity import IDEMPOTENCY_SECONDS
from events.models import OnceKey
from sources.presets import PRESETS
from tenants.models import Site
from tenants.scope import system_scope, tenant_scope

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.spec("B6")]
KEY = {"Idempotency-Key": "order-7"}


@pytest.fixture
def reading_from(source_of):
    """A source whose idempotency key stands at this place."""
    return lambda place: source_of(reading={"idempotency_key": place})[0]


def test_a_duplicate_is_answered_as_the_first_and_says_so(source, post, kept, intake):
    first = post(source, [{"n": 1}, {"n": 2}], headers=KEY)
    again = post(source, [{"n": 1}, {"n": 2}], headers=KEY)
    assert (first.status_code, first.json()) == (202, {"receipt": first.json()["receipt"], "events": 2})
    assert (again.status_code, again.json()) == (202, first.json() | {"duplicate": True})
    assert len(kept().receipts) == 1
    assert len(kept().events) == len(kept().inbox) == 2
    assert intake.woken == [1], "nobody is told twice"


def test_another_key_and_no_key_are_other_posts(source, post, kept):
    for headers in (KEY, {"Idempotency-Key": "order-8"}, {}, {}):
        assert "duplicate" not in post(source, {}, headers=headers).json()
    assert len(kept().events) == 4


def test_a_key_is_of_one_source(source_of, post, kept):
    for name in ("One", "Other"):
        assert "duplicate" not in post(source_of(name=name)[0], {}, headers=KEY).json()
    assert len(kept().events) == 2


def test_a_key_is_of_one_site(source, cast, post, kept):
    with tenant_scope(cast.tenant.pk):
        for name in ("north", "south"):
            Site.objects.create(tenant=cast.tenant, name=name)
    for site in (None, "north", "south"):
        assert "duplicate" not in post(source, {}, site=site, headers=KEY).json()
    assert post(source, {}, site="south", headers=KEY).json()["duplicate"]
    assert len(kept().events) == 3


def test_a_key_is_forgotten_after_a_day(source, post, kept):
    post(source, {}, headers=KEY)
    with system_scope():
        (key,) = OnceKey.objects.all()
    left = key.expires_at - timezone.now()
    assert IDEMPOTENCY_SECONDS == 86_400
    assert timedelta(hours=23) < left <= timedelta(hours=24)
    shift(timedelta(hours=23, minutes=50))
    assert post(source, {}, headers=KEY).json()["duplicate"]
    shift(timedelta(minutes=11))
    later = post(source, {}, headers=KEY).json()
    assert "duplicate" not in later
    assert later["receipt"] != str(key.receipt_id)
    assert post(source, {}, headers=KEY).json() == later | {"duplicate": True}
    assert len(kept().events) == 2


def shift(time: timedelta) -> None:
    """Let so much time pass for the keys."""
    with system_scope():
        for key in OnceKey.objects.all():
            OnceKey.objects.filter(source_id=key.source_id, kind=key.kind, digest=key.digest).update(
                expires_at=key.expires_at - time
            )


def test_what_was_refused_used_no_key(source_of, post, kept):
    source, secret = source_of("bearer")
    assert post(source, {}, headers=KEY).status_code == 401
    proof = KEY | {"Authorization": f"Bearer {secret}"}
    assert post(source, b"{", headers=proof).status_code == 400
    assert "duplicate" not in post(source, {}, headers=proof).json()
    assert len(kept().events) == 1


def test_whoever_cannot_prove_itself_learns_nothing_of_a_key(source_of, post):
    source, secret = source_of("bearer")
    post(source, {}, headers=KEY | {"Authorization": f"Bearer {secret}"})
    assert post(source, {}, headers=KEY).status_code == 401


@pytest.mark.parametrize(
    ("place", "body", "headers"),
    [
        ("header:X-Delivery", {"id": 1}, {"X-Delivery": "7"}),
        ("event.id", {"event": {"id": "7"}}, {}),
        ("0.id", {"0": {"id": 7}}, {}),
    ],
)
def test_the_key_stands_where_the_source_says(reading_from, post, kept, place, body, headers):
    source = reading_from(place)
    first = post(source, body, headers=headers).json()
    assert post(source, body | {"more": 1}, headers=headers).json() == first | {"duplicate": True}
    assert len(kept().events) == 1


def test_a_path_is_no_key_of_a_batch(reading_from, post, kept):
    source = reading_from("id")
    for _ in range(2):
        assert "duplicate" not in post(source, [{"id": 7}, {"id": 7}]).json()
    assert post(source, [{"id": 7}]).json()["events"] == 1
    assert post(source, {"id": 7}).json()["duplicate"], "an array of one is one event"
    assert len(kept().events) == 5


def test_an_answer_of_its_own_is_heard_again(source_of, post, kept):
    source, _ = source_of(rules={"response": {"status": 200, "body": "ok"}})
    answers = [post(source, {}, headers=KEY) for _ in range(2)]
    assert [(one.status_code, one.content) for one in answers] == [(200, b"ok")] * 2
    assert len(kept().events) == 1


def test_of_duplicates_at_once_one_is_kept(source, post, kept):
    answers, start = [], threading.Barrier(6)

    def send():
        start.wait()
        try:
            answers.append(post(source, {"n": 1}, headers=KEY).json())
        finally:
            connection.close()

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({answer["receipt"] for answer in answers}) == 1
    assert sorted("duplicate" in answer for answer in answers) == [False] + [True] * 5
    assert len(kept().receipts) == len(kept().events) == len(kept().inbox) == 1


# Of each preset: headers and body as its documentation shows them, and what they say: type, key, time, title.
AT = datetime(2024, 5, 1, 12, 30, 15, tzinfo=UTC)
EPOCH = int(AT.timestamp())
ISO = "2024-05-01T12:30:15Z"
POSTS = {
    "github": ({"X-GitHub-Event": "issues", "X-GitHub-Delivery": "d1"}, {"action": "opened"}, "issues.opened", True),
    "gitlab": ({"X-Gitlab-Event": "Push Hook", "Idempotency-Key": "d1"}, {"ref": "main"}, "Push_Hook", True),
    "gitlab_signed": ({"X-Gitlab-Event": "Job Hook", "webhook-id": "d1"}, {"ref": "main"}, "Job_Hook", True),
    "bitbucket": ({"X-Event-Key": "repo:push", "X-Request-UUID": "d1"}, {"push": {}}, "repo.push", True),
    "stripe": ({}, {"id": "evt_1", "type": "charge.failed", "created": EPOCH}, "charge.failed", True),
    "shopify": (
        {"X-Shopify-Topic": "orders/create", "X-Shopify-Webhook-Id": "d1", "X-Shopify-Triggered-At": ISO},
        {"id": 1},
        "orders.create",
        True,
    ),
    "slack": ({}, {"event_id": "Ev1", "event_time": EPOCH, "event": {"type": "app_mention"}}, "app_mention", True),
    "zoom": ({}, {"event": "meeting.started", "event_ts": EPOCH * 1000, "payload": {}}, "meeting.started", False),
    "standard_webhooks": ({"webhook-id": "d1"}, {"type": "user.created", "timestamp": ISO}, "user.created", True),
    "standard_webhooks_ed25519": ({"webhook-id": "d1"}, {"type": "a.b", "timestamp": ISO}, "a.b", True),
    "svix": ({"svix-id": "d1"}, {"type": "user.created"}, "user.created", True),
    "twilio": ({"I-Twilio-Idempotency-Token": "d1"}, {"MessageSid": "SM1"}, "event", True),
    "linear": (
        {"Linear-Event": "Issue", "Linear-Delivery": "d1"},
        {"action": "create", "createdAt": ISO},
        "Issue.create",
        True,
    ),
    "pagerduty": (
        {},
        {
            "event": {
                "id": "01",
                "event_type": "incident.triggered",
                "occurred_at": ISO,
                "data": {"title": "Disk full"},
            }
        },
        "incident.triggered",
        True,
    ),
    "okta": (
        {},
        {
            "data": {
                "events": [
                    {
                        "uuid": "f790999f-fe87-467a-9880-6982a583986c",
                        "eventType": "user.session.start",
                        "severity": "WARN",
                        "published": ISO,
                        "displayMessage": "Login",
                    }
                ]
            }
        },
        "user.session.start",
        True,
    ),
    "meta": ({}, {"object": "page", "entry": []}, "page", False),
    "intercom": ({}, {"id": "n1", "topic": "contact.created", "created_at": EPOCH}, "contact.created", True),
    "sentry": ({"Sentry-Hook-Resource": "issue", "Request-ID": "d1"}, {"action": "created"}, "issue.created", True),
}


@pytest.mark.spec("B3", "D6")
@pytest.mark.parametrize("name", POSTS)
def test_every_presets_places_fit_its_posts(source_of, post, kept, name):
    """Sent without proof: how each proves itself is shown in tests/sources/test_presets.py."""
    preset = PRESETS[name]
    headers, body, expected, has_key = POSTS[name]
    source, _ = source_of(reading=dict(preset.reading), stream_type=preset.stream_type)
    assert post(source, body, headers=headers).status_code == 202
    (event,) = kept().events
    assert event.type == expected
    if "occurred_at" in preset.reading:
        assert event.occurred_at == AT
    if "title" in preset.reading:
        assert event.title in {"Disk full", "Login"}
    if "severity" in preset.reading:
        assert event.severity == "medium"
    again = post(source, body, headers=headers).json()
    assert again.get("duplicate", False) is has_key


def test_every_preset_has_a_post_here():
    assert set(POSTS) == set(PRESETS)


@pytest.mark.spec("B3")
def test_a_signed_post_of_a_preset_comes_twice(api, post, kept):
    made = api().post("/api/v1/sources/", {"name": "Code", "preset": "github"}).json()
    body = json.dumps({"action": "opened"}).encode()
    signature = hmac.new(made["secret"].encode(), body, hashlib.sha256).hexdigest()
    headers = {"X-Hub-Signature-256": f"sha256={signature}", "X-GitHub-Event": "issues", "X-GitHub-Delivery": "d1"}
    key = made["url"].rsplit("/", 1)[1]
    first = post(key, body, headers=headers).json()
    assert post(key, body, headers=headers).json() == first | {"duplicate": True}
    assert [event.type for event in kept().events] == ["issues.opened"]
