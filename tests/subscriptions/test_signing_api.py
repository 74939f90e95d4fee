"""Schemes, header names and shapes in the API: what can be chosen, what is refused and where, what is told."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import connection

from subscriptions.models import SigningSecret, Subscription
from subscriptions.signing import SCHEMES
from tenants.scope import system_scope
from tests.subscriptions.conftest import URL

LIST = "/api/v1/subscriptions/"
NEW = {"name": "Desk", "url": URL}
PAIR = "standard_webhooks_ed25519"
SIGNING = [scheme.name for scheme in SCHEMES.values() if scheme.signs]
ALONE = [name for name in SIGNING if not SCHEMES[name].carries_two]


def errors(response) -> dict[str, str]:
    assert response.status_code == 400, response.content
    return {error["field"]: error["detail"] for error in response.json()["errors"]}


@pytest.fixture
def create(api):
    def make(**fields):
        answer = api("admin").post(LIST, NEW | fields)
        assert answer.status_code == 201, answer.content
        return answer.json()

    return make


def rotate(api, made, **body):
    return api("admin").post(f"{LIST}{made['id']}/rotate-secret/", body)


# What is told -------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SIGNING)
def test_a_creation_tells_what_the_receiver_verifies_with_and_code_that_does(create, scheme):
    made = create(signing=scheme)
    told = made["public_key"] if SCHEMES[scheme].has_public_key else made["secret"]
    assert (made["secret"] is None) is SCHEMES[scheme].has_public_key
    assert len(made["snippets"]) >= 6
    assert all(told in one["code"] for one in made["snippets"])


@pytest.mark.spec("N4")
def test_a_private_key_is_never_told(create, api, cast, browser):
    made = create(signing=PAIR)
    rotated = rotate(api, made, overlap_seconds=3600).json()
    with system_scope():
        private = [one.value for one in SigningSecret.objects.all()]
    read = api("admin").get(f"{LIST}{made['id']}/")
    page = browser(cast.owner).get(f"/subscriptions/{made['id']}/").content.decode()
    with system_scope(), connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(t)::text FROM subscriptions_signingsecret t")
        columns = str(cursor.fetchall())
    for key in private:
        assert key.startswith("whsk_")
        for shown in (str(made), str(rotated), read.content.decode(), page, columns):
            assert key.removeprefix("whsk_") not in shown


@pytest.mark.spec("B4")
def test_the_public_key_can_be_read_again_and_fits_the_private_one(create, api, cast, browser):
    made = create(signing=PAIR)
    (secret,) = api("viewer").get(f"{LIST}{made['id']}/").json()["secrets"]
    assert secret["public_key"] == made["public_key"]
    assert secret["last_four"] == made["public_key"][-4:]
    with system_scope():
        value = SigningSecret.objects.get().value
    private = Ed25519PrivateKey.from_private_bytes(base64.b64decode(value.removeprefix("whsk_")))
    assert "whpk_" + base64.b64encode(private.public_key().public_bytes_raw()).decode() == made["public_key"]
    page = browser(cast.viewer).get(f"/subscriptions/{made['id']}/").content.decode()
    assert made["public_key"] in page


def test_a_shared_secret_has_no_public_key(create, api):
    made = create()
    assert made["public_key"] is None
    assert api("admin").get(f"{LIST}{made['id']}/").json()["secrets"][0]["public_key"] == ""


def test_none_has_no_secret_and_nothing_to_rotate(create, api):
    made = create(signing="none", shape="raw")
    assert (made["secret"], made["public_key"], made["secrets"], made["snippets"]) == (None, None, [], [])
    assert made["signing_headers"] == {"id": "", "timestamp": "", "signature": ""}
    for body in ({}, {"overlap_seconds": 0}):
        answer = rotate(api, made, **body)
        assert answer.status_code == 409
        assert "not signed" in answer.json()["detail"]


# Rotating -----------------------------------------------------------------------------------------


@pytest.mark.spec("S6")
@pytest.mark.parametrize("scheme", ALONE)
def test_where_one_signature_fits_an_overlap_is_refused_and_zero_has_to_be_said(create, api, scheme):
    made = create(signing=scheme)
    assert made["can_overlap"] is False
    for body in ({}, {"overlap_seconds": 60}):
        said = errors(rotate(api, made, **body))
        assert list(said) == ["overlap_seconds"]
        assert "at once" in said["overlap_seconds"]
    with system_scope():
        assert SigningSecret.objects.count() == 1
    rotated = rotate(api, made, overlap_seconds=0).json()
    assert rotated["secret"] not in (None, made["secret"])
    assert rotated["previous_valid_until"] is None
    assert len(api("admin").get(f"{LIST}{made['id']}/").json()["secrets"]) == 1


@pytest.mark.spec("S6")
@pytest.mark.parametrize("scheme", [name for name in SIGNING if name not in ALONE])
def test_where_two_fit_a_rotation_overlaps_for_a_day_unless_told_otherwise(create, api, scheme):
    made = create(signing=scheme)
    assert made["can_overlap"] is True
    assert rotate(api, made).json()["previous_valid_until"]
    assert len(api("admin").get(f"{LIST}{made['id']}/").json()["secrets"]) == 2


# Names of headers ---------------------------------------------------------------------------------


@pytest.mark.spec("N5")
def test_a_prefix_names_both_headers(create):
    made = create(signing="timestamp_and_body", signing_options={"prefix": "Acme"})
    assert made["signing_options"] == {"prefix": "Acme"}
    assert made["signing_headers"] == {"id": "", "timestamp": "X-Acme-Timestamp", "signature": "X-Acme-Signature"}
    assert "x-acme-signature" in made["snippets"][0]["code"]


def test_without_a_choice_the_names_are_the_scheme_s(create):
    assert create(signing="stripe")["signing_options"] == {"signature_header": "Stripe-Signature"}
    assert create(name="Other")["signing_options"] == {}


@pytest.mark.parametrize(
    ("signing", "options", "field"),
    [
        ("timestamp_and_body", {"prefix": "a b"}, "prefix"),
        ("timestamp_and_body", {"prefix": ""}, "prefix"),
        ("timestamp_and_body", {"signature_header": "X-A"}, "signature_header"),
        ("github", {"signature_header": "Transfer-Encoding"}, "signature_header"),
        ("github", {"signature_header": "Content-Length"}, "signature_header"),
        ("stripe", {"signature_header": "X A"}, "signature_header"),
        ("timestamped_body", {"id_header": "X-A", "timestamp_header": "x-a"}, "timestamp_header"),
        ("standard_webhooks", {"signature_header": "X-A"}, "signature_header"),
        ("none", {"prefix": "A"}, "prefix"),
        ("github", {"header": "X-A"}, "header"),
    ],
)
def test_a_name_that_cannot_be_is_an_error_of_its_own_field(api, signing, options, field):
    answer = api("admin").post(LIST, NEW | {"signing": signing, "signing_options": options})
    found = errors(answer)
    # Which of two equal names is the second one, the order of the options says.
    assert len(found) == 1
    assert next(iter(found)).startswith("signing_options.")
    assert next(iter(found)).endswith("_header" if "id_header" in options else field)


@pytest.mark.spec("T3")
def test_a_custom_header_cannot_have_the_name_of_the_signature(api):
    taken = NEW | {
        "signing": "timestamp_and_body",
        "signing_options": {"prefix": "Acme"},
        "headers": {"x-acme-signature": "forged", "X-Fine": "yes"},
    }
    assert list(errors(api("admin").post(LIST, taken))) == ["headers.x-acme-signature"]


@pytest.mark.spec("T3")
def test_nor_the_signature_that_of_a_custom_header_later(create, api):
    made = create(signing="timestamp_and_body", headers={"X-Acme-Timestamp": "mine"})
    assert list(errors(api("admin").patch(f"{LIST}{made['id']}/", {"signing_options": {"prefix": "Acme"}}))) == [
        "signing_options.prefix"
    ]
    hub = create(name="Hub", signing="github", headers={"X-Proof": "mine"})
    change = {"signing_options": {"signature_header": "x-proof"}}
    assert list(errors(api("admin").patch(f"{LIST}{hub['id']}/", change))) == ["signing_options.signature_header"]


def test_names_can_be_changed_and_stand_in_the_audit_log(create, api):
    made = create(signing="github")
    changed = api("admin").patch(f"{LIST}{made['id']}/", {"signing_options": {"signature_header": "X-Proof"}}).json()
    assert changed["signing_headers"]["signature"] == "X-Proof"
    entry = api("admin").get("/api/v1/audit/?action=subscription.changed").json()["results"][0]
    assert "X-Proof" in str(entry["change"])
    back = api("admin").patch(f"{LIST}{made['id']}/", {"signing_options": {}}).json()
    assert back["signing_headers"]["signature"] == "X-Hub-Signature-256"


# Shapes -------------------------------------------------------------------------------------------

ANY = ("envelope", "raw", "cloudevents", "cloudevents_binary")


@pytest.mark.parametrize("scheme", [name for name in SCHEMES if name != "timestamped_body"])
def test_all_schemes_but_one_sign_all_shapes_but_one(create, api, scheme):
    for shape in ANY:
        assert create(signing=scheme, shape=shape, name=shape)["shape"] == shape
    assert "shape" in errors(api("admin").post(LIST, NEW | {"signing": scheme, "shape": "timestamped"}))


@pytest.mark.spec("S4")
@pytest.mark.parametrize("shape", ANY)
def test_the_timestamped_body_needs_its_own_shape(api, create, shape):
    answer = api("admin").post(LIST, NEW | {"signing": "timestamped_body", "shape": shape})
    assert "Event and payload" in errors(answer)["shape"]
    made = create(signing="timestamped_body")
    assert "shape" in errors(api("admin").patch(f"{LIST}{made['id']}/", {"shape": shape}))


def test_the_shape_can_be_changed(create, api):
    made = create()
    assert api("admin").patch(f"{LIST}{made['id']}/", {"shape": "cloudevents"}).json()["shape"] == "cloudevents"
    with system_scope():
        assert Subscription.objects.get(pk=made["id"]).shape == "cloudevents"


# Pages --------------------------------------------------------------------------------------------


def test_the_create_page_offers_every_scheme_and_shape_the_usual_one_first(browser, cast):
    shown = browser(cast.admin).get("/subscriptions/new/").content.decode()
    places = [shown.index(f'name="signing" value="{name}"') for name in SCHEMES]
    assert places == sorted(places)
    assert places[0] < shown.index("Another scheme") < places[1]
    for shape in (*ANY, "timestamped"):
        assert f'<option value="{shape}"' in shown
    assert 'name="signing_options.prefix"' in shown
    assert "I understand that messages can be forged." in shown


@pytest.mark.parametrize("scheme", ALONE)
def test_the_page_says_before_rotating_that_the_new_secret_signs_at_once(create, browser, cast, scheme):
    made = create(signing=scheme)
    shown = browser(cast.admin).get(f"/subscriptions/{made['id']}/").content.decode()
    assert "The new secret signs at once." in shown
    assert SCHEMES[scheme].headers().signature in shown


@pytest.mark.parametrize("scheme", [name for name in SIGNING if name not in ALONE])
def test_where_two_fit_the_page_asks_for_the_overlap(create, browser, cast, scheme):
    made = create(signing=scheme)
    shown = browser(cast.admin).get(f"/subscriptions/{made['id']}/").content.decode()
    assert "signs at once" not in shown
    assert 'name="overlap_seconds"' in shown


def test_the_page_of_one_that_is_not_signed_warns_and_has_no_secrets(create, browser, cast):
    made = create(signing="none")
    shown = browser(cast.admin).get(f"/subscriptions/{made['id']}/").content.decode()
    assert "These messages are not signed." in shown
    assert "rotate-secret/" not in shown
    assert browser(cast.admin).get("/subscriptions/").status_code == 200


def test_the_edit_page_offers_what_the_scheme_leaves_open(create, browser, cast):
    open_one = create(signing="timestamp_and_body", signing_options={"prefix": "Acme"})
    shown = browser(cast.admin).get(f"/subscriptions/{open_one['id']}/edit/").content.decode()
    assert 'name="signing_options.prefix" value="Acme"' in shown
    fixed = create(name="Other")
    assert "signing_options" not in browser(cast.admin).get(f"/subscriptions/{fixed['id']}/edit/").content.decode()
