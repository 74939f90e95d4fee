"""The endpoints: who may, what is refused and why, what is answered and what never is."""

import uuid

import pytest

from subscriptions.models import Notice, Subscription
from subscriptions.signing import signing_key
from tenants.models import AuditEntry
from tenants.scope import system_scope, tenant_scope
from tests.subscriptions.conftest import URL, fail

LIST = "/api/v1/subscriptions/"
NEW = {"name": "Desk", "url": URL}


def one(subscription, verb: str = "") -> str:
    return f"{LIST}{subscription.pk}/{verb}"


def errors(response) -> dict[str, str]:
    return {error["field"]: error["detail"] for error in response.json()["errors"]}


def state_of(subscription) -> str:
    with system_scope():
        return Subscription.objects.get(pk=subscription.pk).state


# create -------------------------------------------------------------------------------------------


def test_creating_answers_the_secret_once(api):
    client = api("admin")
    answer = client.post(LIST, NEW)
    assert answer.status_code == 201
    assert answer["Cache-Control"] == "no-store"
    body = answer.json()
    assert signing_key("standard_webhooks", body["secret"])
    assert "secret" not in client.get(f"{LIST}{body['id']}/").json()


def test_its_audit_entry_does_not_take_two_event_types_for_old_and_new(api, cast):
    api("admin").post(LIST, NEW | {"event_types": ["a.*", "b.*"]})
    with tenant_scope(cast.tenant.pk):
        lines = AuditEntry.objects.get(action="subscription.created").change_lines
    assert {"field": "event types", "old": "—", "new": "a.*, b.*"} in lines


def test_what_is_left_out_has_a_default(api):
    body = api("admin").post(LIST, NEW).json()
    expected = {
        "state": "pending",
        "event_types": ["*"],
        "min_severity": "low",
        "header_names": [],
        "signing": "standard_webhooks",
        "shape": "envelope",
        "policy": "standard",
        "hint": "",
    }
    assert {name: body[name] for name in expected} == expected


@pytest.mark.spec("S4")
def test_the_shape_follows_the_scheme(api):
    body = api("admin").post(LIST, NEW | {"signing": "timestamped_body"}).json()
    assert body["shape"] == "timestamped"


def test_a_shape_that_the_scheme_cannot_sign_is_refused(api):
    answer = api("admin").post(LIST, NEW | {"signing": "timestamped_body", "shape": "raw"})
    assert answer.status_code == 400
    assert set(errors(answer)) == {"shape"}


@pytest.mark.spec("S8", "T1")
@pytest.mark.parametrize(
    "url",
    [
        "http://receiver.example/hook",
        "https://localhost/hook",
        "https://127.0.0.1/hook",
        "https://93.184.216.34/hook",
        "https://[::1]/hook",
        "https://user:pass@receiver.example/",
        "https://receiver.example:8080/hook",
        "https://printer.local/hook",
        "ftp://receiver.example/",
        "receiver.example",
        "",
    ],
)
def test_a_url_that_the_portal_will_not_post_to_is_an_error_of_the_url(api, url):
    answer = api("admin").post(LIST, NEW | {"url": url})
    assert answer.status_code == 400
    assert set(errors(answer)) == {"url"}


@pytest.mark.spec("S8")
def test_egress_allow_opens_a_network_on_purpose(api, settings):
    local = NEW | {"url": "http://127.0.0.1:9009/hook"}
    assert api("admin").post(LIST, local).status_code == 400
    settings.EGRESS_ALLOW = ["127.0.0.0/8"]
    assert api("admin").post(LIST, local).status_code == 201


def test_the_portal_itself_is_no_receiver_even_then(api, settings):
    settings.EGRESS_ALLOW = ["127.0.0.0/8"]
    answer = api("admin").post(LIST, NEW | {"url": f"{settings.PORTAL_URL}/in/key"})
    assert "portal" in errors(answer)["url"]


@pytest.mark.spec("S2")
def test_a_malformed_event_type_is_an_error_of_the_event_types(api):
    answer = api("admin").post(LIST, NEW | {"event_types": ["user.*", "us*er"]})
    assert set(errors(answer)) == {"event_types"}


@pytest.mark.spec("T3")
def test_a_header_that_is_refused_is_named_without_its_value(api):
    headers = {"X-Fine": "yes", "Host": "evil-value", "X-Bad": "line\nbreak-value"}
    answer = api("admin").post(LIST, NEW | {"headers": headers})
    assert set(errors(answer)) == {"headers.Host", "headers.X-Bad"}
    assert "value" not in answer.content.decode().replace("The value of", "")


@pytest.mark.spec("T2")
def test_an_unknown_severity_is_refused(api):
    assert set(errors(api("admin").post(LIST, NEW | {"min_severity": "huge"}))) == {"min_severity"}


# read ---------------------------------------------------------------------------------------------


@pytest.mark.spec("T1")
def test_the_hint_stays_and_the_url_does_not(api):
    client = api("admin")
    made = client.post(LIST, NEW | {"hint": "the new gateway", "headers": {"X-Token": "tok-123"}})
    read = client.get(f"{LIST}{made.json()['id']}/")
    assert read.json()["hint"] == "the new gateway"
    assert read.json()["header_names"] == ["X-Token"]
    assert "receiver.example" not in read.content.decode()


def test_the_secrets_are_told_apart_by_their_last_four(api):
    client = api("admin")
    made = client.post(LIST, NEW).json()
    (secret,) = client.get(f"{LIST}{made['id']}/").json()["secrets"]
    assert secret["last_four"] == made["secret"][-4:]
    assert secret["expires_at"] is None


def test_the_list_filters_by_state_and_words(api, make):
    make(name="Alpha")
    beta = make("idle", name="Beta", hint="gateway")
    client = api("viewer")
    names = [row["name"] for row in client.get(LIST).json()["results"]]
    assert names == ["Beta", "Alpha"]
    for query in ("?state=idle", "?search=GATE"):
        assert [row["id"] for row in client.get(LIST + query).json()["results"]] == [str(beta.pk)]


def test_the_list_does_not_ask_for_each_row(api, make, django_assert_max_num_queries):
    for _ in range(5):
        make()
    client = api("viewer")
    with django_assert_max_num_queries(12):
        assert len(client.get(LIST).json()["results"]) == 5


def test_a_deleted_subscription_is_gone(api, make):
    subscription = make()
    client = api("admin")
    assert client.delete(one(subscription)).status_code == 204
    assert client.get(one(subscription)).status_code == 404
    assert client.get(LIST).json()["results"] == []


# change -------------------------------------------------------------------------------------------


def test_settings_can_be_changed(api, make):
    subscription = make("idle")
    change = {"name": "Other", "event_types": [], "min_severity": "high", "policy": "post_once"}
    body = api("admin").patch(one(subscription), change).json()
    assert body["event_types"] == ["*"]
    assert (body["name"], body["min_severity"], body["policy"]) == ("Other", "high", "post_once")
    assert body["state"] == "idle"


@pytest.mark.spec("T4")
def test_another_url_is_pending_again(api, make):
    subscription = make("idle")
    body = api("admin").patch(one(subscription), {"url": "https://other.example/hook"}).json()
    assert (body["state"], body["confirmed_at"]) == ("pending", None)


def test_a_refused_url_changes_nothing(api, make):
    subscription = make("idle")
    change = {"url": "https://localhost/", "name": "Other"}
    assert api("admin").patch(one(subscription), change).status_code == 400
    assert state_of(subscription) == "idle"


@pytest.mark.spec("T3")
def test_header_values_do_not_follow_the_url_to_another_host(api, make):
    subscription = make("idle", headers={"X-Token": "tok-123"})
    elsewhere = {"url": "https://attacker.example/hook"}
    assert set(errors(api("admin").patch(one(subscription), elsewhere))) == {"headers"}
    given_anew = elsewhere | {"headers": {"X-Token": "another"}}
    assert api("admin").patch(one(subscription), given_anew).status_code == 200
    with tenant_scope(subscription.tenant_id):
        assert Subscription.objects.get(pk=subscription.pk).headers == {"X-Token": "another"}


def test_header_values_stay_on_the_same_host(api, make):
    subscription = make("idle", headers={"X-Token": "tok-123"})
    same_host = {"url": "https://receiver.example/another-path"}
    assert api("admin").patch(one(subscription), same_host).json()["header_names"] == ["X-Token"]


def test_the_signing_scheme_stays(api, make):
    answer = api("admin").patch(one(make()), {"signing": "timestamped_body"})
    assert set(errors(answer)) == {"signing"}


def test_put_is_not_offered(api, make):
    assert api("admin").put(one(make()), NEW).status_code in {403, 405}


# the verbs ----------------------------------------------------------------------------------------


def test_sending_a_new_link(api, make):
    subscription = make()
    with tenant_scope(subscription.tenant_id):
        Subscription.objects.update(confirmation_expires_at=None)
    answer = api("member").post(one(subscription, "send-confirmation/"))
    assert answer.status_code == 202
    with tenant_scope(subscription.tenant_id):
        assert Notice.objects.get(pk=answer.json()["notice"]).kind == "confirmation"


def test_a_second_link_at_once_is_429_and_says_when(api, make):
    answer = api("member").post(one(make(), "send-confirmation/"))
    assert answer.status_code == 429
    assert 1 <= int(answer["Retry-After"]) <= 10


@pytest.mark.spec("T5")
def test_a_test_answers_what_it_can_be_found_by(api, make):
    subscription = make("idle")
    answer = api("member").post(one(subscription, "test/"))
    assert answer.status_code == 202
    with tenant_scope(subscription.tenant_id):
        assert Notice.objects.get(pk=answer.json()["notice"]).kind == "test"


def test_rotating_answers_the_new_secret_once(api, make):
    subscription = make()
    client = api("admin")
    answer = client.post(one(subscription, "rotate-secret/"), {"overlap_seconds": 3600})
    assert answer.status_code == 200
    assert answer["Cache-Control"] == "no-store"
    body = answer.json()
    first, second = client.get(one(subscription)).json()["secrets"]
    assert first["last_four"] == body["secret"][-4:]
    assert second["expires_at"] == body["previous_valid_until"]


@pytest.mark.parametrize("overlap", [-1, 604801, "soon"])
def test_an_overlap_has_bounds(api, make, overlap):
    answer = api("admin").post(one(make(), "rotate-secret/"), {"overlap_seconds": overlap})
    assert set(errors(answer)) == {"overlap_seconds"}


def test_ending_the_overlap(api, make):
    subscription = make()
    client = api("admin")
    client.post(one(subscription, "rotate-secret/"))
    assert len(client.post(one(subscription, "end-overlap/")).json()["secrets"]) == 1
    assert client.post(one(subscription, "end-overlap/")).status_code == 409


def test_disabling_says_who_and_enabling_brings_it_back(api, make):
    subscription = make("idle")
    client = api("admin")
    body = client.post(one(subscription, "disable/")).json()
    assert body["state"] == "disabled"
    assert "admin key" in body["state_reason"]
    assert client.post(one(subscription, "enable/")).json()["state"] == "idle"


@pytest.mark.parametrize(
    ("state", "verb"),
    [
        ("idle", "send-confirmation/"),
        ("disabled", "send-confirmation/"),
        ("pending", "test/"),
        ("disabled", "test/"),
        ("disabled", "disable/"),
        ("pending", "enable/"),
        ("idle", "enable/"),
    ],
)
def test_an_illegal_arrow_is_409_with_a_sentence(api, make, state, verb):
    subscription = make(state)
    answer = api("owner").post(one(subscription, verb))
    assert answer.status_code == 409
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["detail"].endswith(".")
    assert state_of(subscription) == state


# who may ------------------------------------------------------------------------------------------

VERBS = [
    ("patch", "", "admin"),
    ("delete", "", "admin"),
    ("post", "rotate-secret/", "admin"),
    ("post", "end-overlap/", "admin"),
    ("post", "disable/", "admin"),
    ("post", "enable/", "admin"),
    ("post", "test/", "member"),
    ("post", "send-confirmation/", "member"),
]
LESS = {"admin": "member", "member": "viewer"}


@pytest.mark.parametrize(("method", "verb", "least"), VERBS)
def test_a_verb_needs_its_permission(api, make, method, verb, least):
    subscription = make("idle")
    assert getattr(api(LESS[least]), method)(one(subscription, verb)).status_code == 403
    assert getattr(api(least), method)(one(subscription, verb)).status_code != 403


def test_a_member_cannot_create(api):
    assert api("member").post(LIST, NEW).status_code == 403


@pytest.mark.parametrize(("method", "verb", "least"), [*VERBS, ("get", "", "viewer")])
def test_to_a_stranger_it_is_not_there(stranger_api, make, method, verb, least):
    subscription = make("idle")
    assert getattr(stranger_api, method)(one(subscription, verb)).status_code == 404
    assert stranger_api.get(LIST).json()["results"] == []
    assert state_of(subscription) == "idle"


def test_an_id_that_is_nobodys_is_404(api):
    assert api("owner").get(f"{LIST}{uuid.uuid4()}/").status_code == 404


def test_without_a_key_nothing_is_told(client, cast):
    assert client.get(LIST).status_code == 401


# the audit log ------------------------------------------------------------------------------------


def test_every_act_is_in_the_audit_log(api, make, cast):
    subscription = make("idle")
    client = api("owner")
    client.post(LIST, NEW | {"name": "Second desk"})
    client.patch(one(subscription), {"name": "Other", "url": "https://other.example/"})
    client.post(one(subscription, "rotate-secret/"))
    client.post(one(subscription, "end-overlap/"))
    client.post(one(subscription, "disable/"))
    client.delete(one(subscription))
    with tenant_scope(cast.tenant.pk):
        written = list(AuditEntry.objects.order_by("id").values_list("action", "change"))
    assert [action.removeprefix("subscription.") for action, _ in written] == [
        "created",
        "changed",
        "secret_rotated",
        "overlap_ended",
        "disabled",
        "deleted",
    ]
    assert written[1][1] == {"name": ["Desk", "Other"], "url": "changed"}


def test_what_was_refused_is_not_in_the_audit_log(api, make, cast):
    api("owner").post(one(make(), "test/"))
    with tenant_scope(cast.tenant.pk):
        assert not AuditEntry.objects.exists()


# names --------------------------------------------------------------------------------------------


def named(answer):
    assert answer.status_code == 400, answer.content
    return {error["field"]: error["detail"] for error in answer.json()["errors"]}["name"]


@pytest.mark.parametrize("case", [str.upper, str.lower])
def test_a_name_is_given_once(api, case):
    client = api("admin")
    client.post(LIST, NEW)
    assert "already" in named(client.post(LIST, NEW | {"name": case(NEW["name"])}))


def test_a_name_may_be_kept_but_not_taken(api, make):
    first, second = make(), make(name="Other")
    client = api("admin")
    assert client.patch(one(first), {"name": "Desk"}).status_code == 200
    assert "already" in named(client.patch(one(second), {"name": "Desk"}))


def test_those_that_share_a_name_from_before_can_be_changed(api, make):
    first, _ = make(), make()
    assert api("admin").patch(one(first), {"name": "Desk", "hint": "the old one"}).status_code == 200


def test_a_name_is_free_again_after_the_deletion(api, make):
    client = api("admin")
    client.delete(one(make()))
    assert client.post(LIST, NEW | {"name": "Desk"}).status_code == 201


# schedule and rules -------------------------------------------------------------------------------

CUSTOM = {"policy": "custom", "delays": "5s, 5m, 1h"}


def test_waits_of_ones_own_are_kept_in_seconds(api):
    body = api("admin").post(LIST, NEW | CUSTOM).json()
    assert (body["policy"], body["delays"]) == ("custom", [5, 300, 3600])
    listed = api("viewer").get(LIST).json()["results"][0]
    assert listed["delays"] == [5, 300, 3600]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"policy": "custom"}, "needs waits"),
        ({"policy": "custom", "delays": "8d"}, "7 days"),
        ({"policy": "custom", "delays": {"a": 1}}, "Give text"),
        ({"policy": "custom", "delays": [[1]]}, "number of seconds"),
        ({"delays": "5s"}, "Only the custom policy"),
        ({"policy": "post_once", "delays": "5s"}, "Only the custom policy"),
    ],
)
def test_waits_that_cannot_be_are_an_error_of_the_waits(api, fields, sentence):
    answer = api("admin").post(LIST, NEW | fields)
    assert answer.status_code == 400
    assert sentence in errors(answer)["delays"]


def test_another_policy_forgets_the_waits(api, make):
    subscription = make("idle", policy="custom", delays=[5, 300])
    body = api("admin").patch(one(subscription), {"policy": "standard"}).json()
    assert (body["policy"], body["delays"]) == ("standard", None)


def test_waits_can_be_changed_alone(api, make):
    subscription = make("idle", policy="custom", delays=[5, 300])
    assert api("admin").patch(one(subscription), {"delays": "1h"}).json()["delays"] == [3600]


def test_rules_are_kept_as_a_whole_and_their_change_is_on_record(api, make, cast):
    subscription = make("idle")
    client = api("admin")
    client.patch(one(subscription), {"rules": {"5XX": "retry", "404": "fail"}})
    body = client.patch(one(subscription), {"rules": {"404": "deliver"}}).json()
    assert body["rules"] == {"404": "deliver"}
    with tenant_scope(cast.tenant.pk):
        entry = AuditEntry.objects.filter(action="subscription.changed").latest("id")
        assert entry.change["rules"] == [{"404": "fail", "5xx": "retry"}, {"404": "deliver"}]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"rules": {"410": "retry"}}, "410 always disables"),
        ({"rules": {"200": "fail"}}, "always delivered"),
        ({"rules": {"404": "explode"}}, "404: “explode” is no action"),
        ({"rules": {"404": "retry"}, "policy": "post_once"}, "sends once"),
    ],
)
def test_rules_that_cannot_be_are_an_error_of_the_rules(api, fields, sentence):
    answer = api("admin").post(LIST, NEW | fields)
    assert answer.status_code == 400
    assert sentence in errors(answer)["rules"]


def test_a_policy_that_the_rules_do_not_fit_is_refused(api, make):
    subscription = make("idle", rules={"404": "retry"})
    answer = api("admin").patch(one(subscription), {"policy": "post_once"})
    assert "sends once" in errors(answer)["rules"]


# how its receiver fares ---------------------------------------------------------------------------


def test_a_receiver_that_is_well(api, make):
    body = api("viewer").get(one(make("idle"))).json()
    assert body["failing_since"] is None
    assert body["disables_at"] is None
    assert body["breaker"] == {"state": "closed", "until": None}


def test_a_receiver_that_fails_says_since_when_and_what_comes(api, make):
    subscription = make("idle")
    fail(subscription)
    body = api("viewer").get(LIST).json()["results"][0]
    assert body["failing_since"] == "2026-03-01T12:00:00Z"
    assert body["disables_at"] == "2026-03-06T12:00:00Z"
    assert body["breaker"]["state"] == "open"
    assert body["breaker"]["until"] is not None


def test_these_can_only_be_read(api, make):
    change = {"failing_since": None, "breaker": {"state": "closed"}, "disables_at": None}
    answer = api("admin").patch(one(make("idle")), change)
    assert set(errors(answer)) == set(change)
