"""/api/v1/sources/: each endpoint, who may use it, and how it says no."""

import uuid

import pytest

from sources.models import Source
from tenants.models import AuditEntry, Site
from tenants.scope import system_scope, tenant_scope

URL = "/api/v1/sources/"
HMAC = {"name": "Orders", "auth": {"method": "hmac"}}
VERBS = ["rotate-secret/", "end-overlap/", "regenerate-url/", "pause/", "resume/"]


@pytest.fixture
def owner(api):
    return api("owner")


@pytest.fixture
def source(owner):
    response = owner.post(URL, HMAC)
    assert response.status_code == 201, response.content
    return response.json()


def one(source, verb=""):
    return f"{URL}{source['id']}/{verb}"


def errors(response):
    assert response.status_code == 400, response.content
    assert response["Content-Type"] == "application/problem+json"
    return {error["field"]: error["detail"] for error in response.json()["errors"]}


def audited(cast):
    with tenant_scope(cast.tenant.pk):
        entries = AuditEntry.objects.filter(object_type="source").order_by("id")
        return [(entry.action, entry.change) for entry in entries]


@pytest.mark.spec("P5", "P10", "P13")
def test_creating_answers_with_all_that_a_sender_needs(owner, settings):
    response = owner.post(URL, {"name": "Orders", "auth": {"method": "shared_secret", "header": "X-Key"}})
    made = response.json()
    assert response.status_code == 201
    assert response["Cache-Control"] == "no-store"
    assert made["secret"].startswith("pcl_key_")
    assert made["url"].startswith(f"{settings.PORTAL_URL}/in/")
    assert made["auth"] == {"method": "shared_secret", "header": "X-Key"}
    assert (made["status"], made["kind"], made["stream_type"]) == ("active", "event", "auto")
    assert [snippet["language"] for snippet in made["snippets"]] == ["bash", "python"]
    for snippet in made["snippets"]:
        assert made["secret"] in snippet["code"]
        assert made["url"] in snippet["code"]


def test_creating_with_a_typed_secret(owner):
    made = owner.post(URL, {**HMAC, "secret": "0123456789abcdef"}).json()
    assert made["secret"] == "0123456789abcdef"


@pytest.mark.spec("P9")
def test_the_method_none_has_no_secret(owner):
    made = owner.post(URL, {"name": "Open", "auth": {"method": "none"}}).json()
    assert made["secret"] is None
    assert made["credentials"] == []


@pytest.mark.spec("D3")
def test_a_token_source_tells_the_id_of_its_key(owner):
    made = owner.post(URL, {"name": "Tokens", "auth": {"method": "jwt"}}).json()
    assert made["key_id"] == made["credentials"][0]["key_id"]
    assert made["key_id"] in made["snippets"][0]["code"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"auth": {"method": "hmac"}}, "name"),
        ({"name": "", "auth": {"method": "hmac"}}, "name"),
        ({"name": "x" * 101, "auth": {"method": "hmac"}}, "name"),
        ({"name": "a\u0000b", "auth": {"method": "hmac"}}, "name"),
        ({"name": "Orders"}, "auth"),
        ({"name": "Orders", "auth": "hmac"}, "auth"),
        ({"name": "Orders", "auth": {}}, "auth.method"),
        ({"name": "Orders", "auth": {"method": "telepathy"}}, "auth.method"),
        ({"name": "Orders", "auth": {"method": ["hmac"]}}, "auth.method"),
        ({"name": "Orders", "auth": {"method": "hmac", "header": "X_Sig"}}, "auth.header"),
        ({"name": "Orders", "auth": {"method": "hmac", "header": "Host"}}, "auth.header"),
        ({"name": "Orders", "auth": {"method": "hmac", "algorithm": "md5"}}, "auth.algorithm"),
        ({"name": "Orders", "auth": {"method": "bearer", "header": "X-A"}}, "auth.header"),
        ({"name": "Orders", "auth": {"method": "basic"}}, "auth.username"),
        ({"name": "Orders", "auth": {"method": "basic", "username": "a:b"}}, "auth.username"),
        ({**HMAC, "secret": "short"}, "secret"),
        ({"name": "Open", "auth": {"method": "none"}, "secret": "0123456789abcdef"}, "secret"),
        ({**HMAC, "kind": "rumour"}, "kind"),
        ({**HMAC, "stream_type": "tea"}, "stream_type"),
        ({**HMAC, "event_type": "no spaces"}, "event_type"),
    ],
)
def test_what_cannot_be_created_names_the_field(owner, cast, body, field):
    assert field in errors(owner.post(URL, body))
    with tenant_scope(cast.tenant.pk):
        assert not Source.objects.exists()


def test_all_wrong_fields_are_named_at_once(owner):
    body = {"name": "", "auth": {"method": "hmac", "header": "X_Sig", "algorithm": "md5"}}
    assert set(errors(owner.post(URL, body))) == {"name", "auth.header", "auth.algorithm"}


@pytest.mark.spec("P18")
def test_reading_shows_credentials_without_secrets(owner, source):
    read = owner.get(one(source)).json()
    assert "secret" not in read
    assert "snippets" not in read
    (credential,) = read["credentials"]
    assert credential["last_four"] == source["secret"][-4:]
    assert credential["current"] is True
    assert credential["last_used_at"] is None
    assert credential["expires_at"] is None


def test_the_list_is_newest_first_and_filtered(owner):
    owner.post(URL, {"name": "Alpha", "auth": {"method": "hmac"}})
    beta = owner.post(URL, {"name": "Beta", "auth": {"method": "bearer"}}).json()
    owner.post(one(beta, "pause/"))

    def names(query=""):
        return [row["name"] for row in owner.get(f"{URL}{query}").json()["results"]]

    assert names() == ["Beta", "Alpha"]
    assert names("?status=paused") == ["Beta"]
    assert names("?method=hmac") == ["Alpha"]
    assert names("?search=ALPH") == ["Alpha"]
    assert owner.get(f"{URL}?status=asleep").status_code == 400


def test_the_list_costs_the_same_for_many_as_for_few(owner, django_assert_max_num_queries):
    for number in range(6):
        owner.post(URL, HMAC | {"name": f"Sender {number}"})
    with django_assert_max_num_queries(12):
        assert len(owner.get(URL).json()["results"]) == 6


@pytest.mark.spec("D5")
def test_each_site_has_a_url(owner, cast, source):
    with tenant_scope(cast.tenant.pk):
        Site.objects.create(tenant=cast.tenant, name="Berlin")
    assert owner.get(one(source)).json()["site_urls"] == {"berlin": f"{source['url']}/berlin"}


def test_members_see_the_url_and_viewers_do_not(api, source):
    key = source["url"].rsplit("/", 1)[1]
    assert api("member").get(one(source)).json()["url"] == source["url"]
    seen = api("viewer").get(one(source))
    assert key not in seen.content.decode()
    assert seen.json()["url"].endswith("••••")
    assert seen.json()["site_urls"] == {}


def test_an_update_changes_what_it_names_and_keeps_the_rest(owner, source, cast):
    response = owner.patch(one(source), {"name": "New", "auth": {"header": "X-New"}})
    assert response.status_code == 200, response.content
    assert response.json()["name"] == "New"
    assert response.json()["auth"] == {
        "method": "hmac",
        "header": "X-New",
        "algorithm": "sha256",
    }
    action, change = audited(cast)[-1]
    assert action == "source.updated"
    assert change["name"] == ["Orders", "New"]


def test_the_method_cannot_be_changed(owner, source):
    assert "auth.method" in errors(owner.patch(one(source), {"auth": {"method": "none"}}))


def test_what_it_is_for_cannot_be_changed(owner, source):
    assert errors(owner.patch(one(source), {"kind": "incident"})) == {"kind": "This cannot be set here."}
    assert owner.get(one(source)).json()["kind"] == "event"


@pytest.mark.parametrize(
    "forged", [{"secret": "0123456789abcdef"}, {"status": "paused"}, {"url": "http://evil.example"}]
)
def test_an_update_does_not_touch_what_has_a_verb_of_its_own(owner, source, forged):
    before = owner.get(one(source)).json()
    assert owner.patch(one(source), forged).status_code == 400
    assert owner.get(one(source)).json() == before


@pytest.mark.spec("B1")
@pytest.mark.parametrize("seconds", [0, 3600, 86400, 604800])
def test_rotating_answers_with_the_new_secret(owner, source, seconds):
    response = owner.post(one(source, "rotate-secret/"), {"overlap_seconds": seconds})
    assert response.status_code == 200, response.content
    assert response["Cache-Control"] == "no-store"
    rotated = response.json()
    assert rotated["secret"] != source["secret"]
    assert rotated["previous_valid_until"]
    assert rotated["secret"] in rotated["snippets"][0]["code"]
    live = owner.get(one(source)).json()["credentials"]
    assert [one["current"] for one in live] == ([True, False] if seconds else [True])


@pytest.mark.spec("B1")
def test_rotating_overlaps_by_a_day_unless_told(owner, source, cast):
    owner.post(one(source, "rotate-secret/"))
    assert audited(cast)[-1][1]["overlap_seconds"] == 86400


@pytest.mark.parametrize(
    ("body", "field"),
    [({"overlap_seconds": 5}, "overlap_seconds"), ({"secret": "short"}, "secret")],
)
def test_a_wrong_rotation_names_the_field_and_changes_nothing(owner, source, body, field):
    assert field in errors(owner.post(one(source, "rotate-secret/"), body))
    assert len(owner.get(one(source)).json()["credentials"]) == 1


def test_rotating_where_there_is_no_secret_is_a_conflict(owner):
    made = owner.post(URL, {"name": "Open", "auth": {"method": "none"}}).json()
    assert owner.post(one(made, "rotate-secret/")).status_code == 409


def test_ending_the_overlap(owner, source):
    owner.post(one(source, "rotate-secret/"))
    assert owner.post(one(source, "end-overlap/")).json() == {"ended": 1}
    assert len(owner.get(one(source)).json()["credentials"]) == 1


def test_regenerating_the_url(owner, source):
    new = owner.post(one(source, "regenerate-url/")).json()["url"]
    assert new != source["url"]
    assert owner.get(one(source)).json()["url"] == new


def test_pausing_and_resuming_are_idempotent_and_noted_once(owner, source, cast):
    for verb, status in (("pause/", "paused"), ("resume/", "active")):
        for _ in range(2):
            assert owner.post(one(source, verb)).json()["status"] == status
    assert [action for action, _ in audited(cast)] == [
        "source.created",
        "source.paused",
        "source.resumed",
    ]


def test_deleting(owner, source, cast):
    assert owner.delete(one(source)).status_code == 204
    assert owner.get(one(source)).status_code == 404
    assert owner.get(URL).json()["results"] == []
    for verb in VERBS:
        assert owner.post(one(source, verb)).status_code == 404
    assert audited(cast)[-1][0] == "source.deleted"


@pytest.mark.parametrize("role", ["viewer", "member"])
def test_those_who_may_not_configure_can_only_read(api, source, role):
    client = api(role)
    assert client.get(URL).status_code == 200
    assert client.get(one(source)).status_code == 200
    assert client.post(URL, HMAC).status_code == 403
    assert client.patch(one(source), {"name": "x"}).status_code == 403
    assert client.delete(one(source)).status_code == 403
    for verb in VERBS:
        assert client.post(one(source, verb)).status_code == 403


def test_an_admin_may_configure(api, source):
    assert api("admin").post(one(source, "pause/")).status_code == 200


def test_a_stranger_finds_nothing(stranger_api, source):
    assert stranger_api.get(URL).json()["results"] == []
    assert stranger_api.get(one(source)).status_code == 404
    assert stranger_api.patch(one(source), {"name": "x"}).status_code == 404
    assert stranger_api.delete(one(source)).status_code == 404
    for verb in VERBS:
        assert stranger_api.post(one(source, verb)).status_code == 404
    with system_scope():
        kept = Source.objects.get(pk=source["id"])
    assert (kept.name, kept.status, kept.deleted_at) == ("Orders", "active", None)


def test_an_unknown_id_is_404(owner):
    assert owner.get(f"{URL}{uuid.uuid4()}/").status_code == 404
    assert owner.get(f"{URL}nonsense/").status_code == 404


def test_nobody_is_asked_to_sign_in(client, source):
    assert client.get(URL).status_code == 401


def test_a_put_is_refused(owner, source):
    assert owner.put(one(source), {**HMAC, "name": "Put"}).status_code in (403, 405)
    assert owner.get(one(source)).json()["name"] == "Orders"


@pytest.mark.parametrize("name", ["Orders", "ORDERS", " orders "])
def test_a_name_is_given_once(owner, source, name):
    assert "already" in errors(owner.post(URL, HMAC | {"name": name}))["name"]


def test_a_name_is_free_again_after_the_deletion(owner, source):
    owner.delete(one(source))
    assert owner.post(URL, HMAC).status_code == 201


def test_a_name_may_be_kept_but_not_taken(owner, source):
    other = owner.post(URL, HMAC | {"name": "Other"}).json()
    assert owner.patch(one(source), {"name": "Orders"}).status_code == 200
    assert "already" in errors(owner.patch(one(other), {"name": "Orders"}))["name"]


def test_another_tenants_name_is_free_here(owner, stranger_api, source):
    assert stranger_api.post(URL, HMAC).status_code == 201
