"""Looking at a secret again: by policy, by its holders, on record (D4, P10)."""

import pytest
from django.db import connection

from sources.models import Source, SourceCredential
from tenants.models import AuditEntry, Membership, User
from tenants.scope import system_scope, tenant_scope
from tests.sources.test_secrecy import database_text, forms_of

pytestmark = pytest.mark.spec("D4")

URL = "/api/v1/sources/"
METHODS = {"shared_secret": {}, "hmac": {}, "bearer": {}, "basic": {"username": "ada"}, "jwt": {}}


@pytest.fixture
def owner(browser, cast):
    return browser(cast.owner)


def create(client, **fields):
    body = {"name": "Orders", "auth": {"method": "jwt"}, "reveal": "holders", **fields}
    answer = client.post(URL, body, content_type="application/json")
    assert answer.status_code == 201, answer.content
    return answer.json()


def look(client, source):
    return client.post(f"{URL}{source['id']}/reveal-secret/", content_type="application/json")


def looks(cast):
    with tenant_scope(cast.tenant.pk):
        return list(AuditEntry.objects.filter(action="source.secret_revealed").order_by("id"))


@pytest.mark.parametrize("method", METHODS)
def test_its_creator_looks_and_each_look_is_on_record(owner, cast, method):
    made = create(owner, auth={"method": method, **METHODS[method]})
    for _ in range(2):
        answer = look(owner, made)
        assert answer.status_code == 200, answer.content
        assert answer["Cache-Control"] == "no-store"
        assert answer.json()["secret"] == made["secret"]
        assert answer.json()["key_id"] == made["key_id"]
    entries = looks(cast)
    assert [(entry.actor_label, entry.object_label) for entry in entries] == [(cast.owner.email, "Orders")] * 2
    assert made["secret"] not in str([entry.change for entry in entries])


def test_so_does_the_assigned_user_whatever_their_role(owner, browser, cast):
    made = create(owner, assigned_to=str(cast.viewer.pk), visibility="assigned")
    assert look(browser(cast.viewer), made).json()["secret"] == made["secret"]
    assert [entry.actor_label for entry in looks(cast)] == [cast.viewer.email]


def test_after_a_rotation_the_new_one_is_shown(owner):
    made = create(owner, auth={"method": "bearer"})
    rotated = owner.post(f"{URL}{made['id']}/rotate-secret/", content_type="application/json").json()
    assert look(owner, made).json()["secret"] == rotated["secret"] != made["secret"]


@pytest.mark.parametrize("role", ["admin", "member", "viewer"])
def test_nobody_else_may(owner, browser, cast, role):
    made = create(owner)
    answer = look(browser(getattr(cast, role)), made)
    assert answer.status_code == 403
    assert "creator and the assigned user" in answer.json()["detail"]
    assert made["secret"] not in answer.content.decode()
    assert looks(cast) == []


def test_no_longer_assigned_is_no_longer_allowed(owner, browser, cast):
    made = create(owner, assigned_to=str(cast.member.pk))
    assert look(browser(cast.member), made).status_code == 200
    owner.patch(f"{URL}{made['id']}/", {"assigned_to": None}, content_type="application/json")
    assert look(browser(cast.member), made).status_code == 403


def test_who_left_the_tenant_is_a_stranger(owner, browser, cast):
    made = create(owner, assigned_to=str(cast.member.pk))
    with system_scope():
        Membership.objects.filter(user=cast.member).delete()
    assert look(browser(cast.member), made).status_code in (403, 404)
    assert looks(cast) == []


def test_no_api_key_may_not_even_its_maker_s(api, owner, cast):
    made = create(owner)
    answer = look(api("owner"), made)
    assert answer.status_code == 403
    assert "no API key" in answer.json()["detail"]
    assert looks(cast) == []


def test_a_source_made_by_a_key_has_no_creator_to_look(api, browser, cast):
    made = api("owner").post(URL, {"name": "Orders", "auth": {"method": "jwt"}, "reveal": "holders"}).json()
    assert look(browser(cast.owner), made).status_code == 403


@pytest.mark.spec("P10")
def test_the_default_is_once(owner, cast):
    made = create(owner, reveal="once")
    answer = look(owner, made)
    assert answer.status_code == 403
    assert "shown once" in answer.json()["detail"]
    plain = owner.post(URL, {"name": "Plain", "auth": {"method": "jwt"}}, content_type="application/json").json()
    assert plain["reveal"] == "once"
    assert looks(cast) == []


def test_a_stranger_finds_nothing(owner, browser, cast):
    made = create(owner)
    assert look(browser(cast.stranger), made).status_code == 404


def test_the_policy_is_given_up_for_good(owner, cast):
    made = create(owner)
    patched = owner.patch(f"{URL}{made['id']}/", {"reveal": "once"}, content_type="application/json")
    assert patched.json()["reveal"] == "once"
    assert look(owner, made).status_code == 403
    again = owner.patch(f"{URL}{made['id']}/", {"reveal": "holders"}, content_type="application/json")
    assert again.status_code == 400
    assert again.json()["errors"][0]["field"] == "reveal"
    with tenant_scope(cast.tenant.pk):
        change = AuditEntry.objects.get(action="source.updated").change
    assert change == {"reveal": ["holders", "once"]}


def test_a_method_without_a_secret_has_nothing_to_show(owner):
    body = {"name": "Open", "auth": {"method": "none"}, "reveal": "holders"}
    answer = owner.post(URL, body, content_type="application/json")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "reveal"


@pytest.mark.parametrize(("reveal", "sealed"), [("once", False), ("holders", True)])
def test_a_secret_that_is_only_compared_is_sealed_where_it_can_be_seen_again(owner, cast, reveal, sealed):
    made = create(owner, auth={"method": "shared_secret"}, reveal=reveal)
    owner.post(f"{URL}{made['id']}/rotate-secret/", content_type="application/json")
    with tenant_scope(cast.tenant.pk):
        kept = SourceCredential.objects.filter(source_id=made["id"])
        assert [(one.value is not None, one.digest is None) for one in kept] == [(sealed, sealed)] * 2


def test_a_secret_sealed_under_a_lost_key_is_a_conflict(owner, cast):
    made = create(owner)
    with tenant_scope(cast.tenant.pk):
        source = Source.objects.get(pk=made["id"])
        other = SourceCredential.issue_for(source, "x" * 40, typed=True)
        source.credentials.exclude(pk=other.pk).delete()
        with connection.cursor() as cursor:
            cursor.execute("UPDATE sources_sourcecredential SET value = 'nonsense' WHERE id = %s", [other.pk])
    answer = look(owner, made)
    assert answer.status_code == 409
    assert looks(cast) == []


@pytest.mark.spec("P10", "B10")
@pytest.mark.parametrize("method", METHODS)
def test_the_secret_is_in_no_other_place_for_that(owner, browser, cast, caplog, method):
    caplog.set_level("DEBUG")
    made = create(owner, auth={"method": method, **METHODS[method]}, assigned_to=str(cast.member.pk))
    look(owner, made)
    seen = [
        owner.get(URL).content.decode(),
        owner.get(f"{URL}{made['id']}/").content.decode(),
        owner.get("/api/v1/audit/").content.decode(),
        *(owner.get(page).content.decode() for page in ("/sources/", f"/sources/{made['id']}/", "/audit/")),
        browser(cast.member).get(f"/sources/{made['id']}/").content.decode(),
        caplog.text,
        database_text(),
    ]
    for form in forms_of(made["secret"]):
        assert not [text for text in seen if form in text]


def test_only_holders_have_the_button(owner, browser, cast):
    made = create(owner, assigned_to=str(cast.viewer.pk))
    page = f"/sources/{made['id']}/"
    for person, has in [(cast.owner, True), (cast.viewer, True), (cast.admin, False), (cast.member, False)]:
        assert (b"data-hold-reveal" in browser(person).get(page).content) is has, person
    once = create(owner, name="Once", reveal="once")
    assert b"data-hold-reveal" not in owner.get(f"/sources/{once['id']}/").content


def test_who_was_assigned_is_told_by_the_audit_log(owner, cast):
    made = create(owner, assigned_to=str(cast.member.pk))
    owner.patch(f"{URL}{made['id']}/", {"assigned_to": str(cast.owner.pk)}, content_type="application/json")
    with tenant_scope(cast.tenant.pk):
        created = AuditEntry.objects.get(action="source.created").change
        updated = AuditEntry.objects.get(action="source.updated").change
    assert created["assigned_to"] == [None, cast.member.email]
    assert created["reveal"] == [None, "holders"]
    assert updated == {"assigned_to": [cast.member.email, cast.owner.email]}
    assert User.objects.filter(pk=cast.member.pk).exists()
