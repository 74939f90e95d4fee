"""Presets over the API: what they are, and sources made of them that take what the sender really posts (B3)."""

import time

import pytest
import stripe
from django.test import Client

from sources.models import Source
from sources.presets import PRESETS
from tenants.models import AuditEntry
from tenants.scope import tenant_scope
from tests.attack.verification import SENDERS

URL = "/api/v1/sources/"


@pytest.fixture
def owner(api):
    return api("owner")


def errors(response):
    assert response.status_code == 400, response.content
    return {error["field"]: error["detail"] for error in response.json()["errors"]}


@pytest.mark.spec("B3")
@pytest.mark.parametrize("role", ["owner", "viewer"])
def test_everybody_reads_the_presets(api, role):
    rows = api(role).get("/api/v1/source-presets/").json()["results"]
    assert [row["name"] for row in rows] == list(PRESETS)
    stripe_row = next(row for row in rows if row["name"] == "stripe")
    assert stripe_row["auth"]["method"] == "hmac"
    assert stripe_row["auth"]["signed"] == "{timestamp}.{body}"
    assert stripe_row["secret_from"] == "sender"
    assert stripe_row["secret_after"] is True
    assert stripe_row["reading"]["event_type"] == "type"
    assert stripe_row["steps"]


def test_the_presets_take_no_parameter(owner):
    assert set(errors(owner.get("/api/v1/source-presets/?q=git"))) == {"q"}


def test_the_presets_are_not_for_nobody():
    assert Client().get("/api/v1/source-presets/").status_code == 401


@pytest.mark.spec("B3")
@pytest.mark.parametrize("preset", PRESETS.values(), ids=list(PRESETS))
def test_a_preset_fills_a_source_in(owner, cast, preset):
    body = {"name": "From a preset", "preset": preset.name}
    if preset.secret_from == "sender":
        body["secret_later"] = True
    made = owner.post(URL, body).json()
    assert made["preset"] == preset.name
    assert made["auth"]["method"] == preset.method
    assert preset.config.items() <= made["auth"].items()
    assert made["stream_type"] == preset.stream_type
    assert (made["secret"] is None) is (preset.secret_from == "sender")
    assert made["steps"] == list(preset.steps)
    with tenant_scope(cast.tenant.pk):
        assert Source.objects.get(pk=made["id"]).reading == dict(preset.reading)
        assert AuditEntry.objects.filter(action="source.created").latest("id").change["preset"] == [None, preset.name]


@pytest.mark.spec("B3")
def test_settings_of_a_preset_can_be_overridden(owner):
    body = {"name": "Pay", "preset": "stripe", "auth": {"tolerance_seconds": 60}, "stream_type": "auto"}
    made = owner.post(URL, {**body, "secret": "whsec_0123456789abcdef"}).json()
    assert made["auth"]["tolerance_seconds"] == 60
    assert made["auth"]["signed"] == "{timestamp}.{body}"
    assert made["stream_type"] == "auto"
    changed = owner.patch(f"{URL}{made['id']}/", {"auth": {"tolerance_seconds": 90}}).json()
    assert changed["auth"]["tolerance_seconds"] == 90
    assert changed["preset"] == "stripe"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"preset": "githib"}, "preset"),
        ({"preset": 5}, "preset"),
        ({"preset": ["github"]}, "preset"),
        ({"preset": "github", "auth": {"method": "bearer"}}, "auth.method"),
        ({"preset": "github", "auth": {"signed": "{bdy}"}}, "auth.signed"),
        ({"preset": "github", "auth": {"colour": "red"}}, "auth.colour"),
        ({"preset": "github", "auth": "hmac"}, "auth"),
        ({"preset": "github", "secret": "short"}, "secret"),
        ({"preset": "standard_webhooks", "secret": "no base64 at all, is it?"}, "secret"),
        ({"preset": "standard_webhooks_ed25519"}, "secret"),
        ({"preset": "standard_webhooks_ed25519", "secret": "whpk_c2hvcnQ=aaaaaaaaaaaaaa"}, "secret"),
        ({"preset": "github", "secret": "0123456789abcdef", "secret_later": True}, "secret"),
        ({"auth": {"method": "none"}, "secret_later": True}, "secret_later"),
        ({"preset": ""}, "auth"),
        ({}, "auth"),
    ],
    ids=str,
)
def test_what_cannot_be_made_of_a_preset_names_the_field(owner, body, field):
    assert field in errors(owner.post(URL, {"name": "Pay", **body}))


def test_an_unknown_preset_names_those_there_are(owner):
    assert "github" in errors(owner.post(URL, {"name": "Code", "preset": "githib"}))["preset"]


def test_the_preset_of_a_source_stays(owner):
    made = owner.post(URL, {"name": "Code", "preset": "github"}).json()
    assert "preset" in errors(owner.patch(f"{URL}{made['id']}/", {"preset": "gitlab"}))


@pytest.mark.spec("B1", "B3")
def test_a_secret_is_entered_when_the_sender_shows_it(owner):
    made = owner.post(URL, {"name": "Pay", "preset": "stripe", "secret_later": True}).json()
    assert made["credentials"] == []
    assert "PORTCULLIS_SECRET" in made["snippets"][0]["code"]
    secret = "whsec_0123456789abcdef"

    def post():
        header = stripe.WebhookSignature.generate_signature_header('{"type": "a.b"}', secret, int(time.time()))
        path = "/in/" + made["url"].rsplit("/", 1)[1]
        return Client().post(
            path, b'{"type": "a.b"}', content_type="application/json", headers={"Stripe-Signature": header}
        )

    assert post().status_code == 401
    rotated = owner.post(f"{URL}{made['id']}/rotate-secret/", {"overlap_seconds": 0, "secret": secret})
    assert rotated.status_code == 200
    assert post().status_code == 202


@pytest.mark.spec("B3")
@pytest.mark.parametrize("sender", [one for one in SENDERS if one.method != "jwt"], ids=lambda one: one.name)
def test_the_door_takes_what_the_sender_posts(owner, sender, settings):
    made = owner.post(URL, {"name": "Sender", **sender.creation, "secret": sender.secret}).json()
    post = sender.post(made["url"], time.time())
    path = post.url.removeprefix(settings.PORTAL_URL)
    headers = {name: value.decode("latin-1") for name, value in post.headers if name != "Content-Type"}
    content_type = post.value("Content-Type").decode()
    answer = Client().post(path, post.body, content_type=content_type, headers=headers)
    assert answer.status_code == 202, answer.content
    if sender.signs_body:
        changed = Client().post(path, post.body + b"x", content_type=content_type, headers=headers)
        assert changed.status_code == 401
