"""Whose source it is, who sees it, and the URL for each site (D4, D5)."""

import re
import uuid

import pytest

from sources.models import Source
from tenants.models import ApiKey, Site
from tenants.scope import system_scope, tenant_scope

URL = "/api/v1/sources/"
SEEN_BY = {"owner": True, "admin": True, "member": False, "viewer": False}


@pytest.fixture
def make(cast):
    def make_source(name="Secret business", visibility="assigned", created_by=None, assigned_to=None):
        with tenant_scope(cast.tenant.pk):
            return Source.objects.create_with_secret(
                cast.tenant, created_by, name, "hmac", {}, visibility=visibility, assigned_to=assigned_to
            )[0]

    return make_source


def sees(client, source) -> bool:
    """The same answer everywhere: in the API's list and detail, on the pages, in the events' filter."""
    name = source.name
    answers = {
        name in client.get(URL).content.decode(),
        name in client.get(f"{URL}?search=secret").content.decode(),
        client.get(f"{URL}{source.pk}/").status_code == 200,
        name in client.get("/sources/").content.decode(),
        name in client.get("/sources/?search=secret").content.decode(),
        client.get(f"/sources/{source.pk}/").status_code == 200,
        name in client.get("/events/").content.decode(),
    }
    assert len(answers) == 1, "some list tells what another does not"
    return answers.pop()


@pytest.mark.spec("D4")
@pytest.mark.parametrize(("role", "seen"), SEEN_BY.items())
def test_an_assigned_source_is_seen_by_who_may_configure(browser, cast, make, role, seen):
    source = make()
    assert sees(browser(getattr(cast, role)), source) is seen
    shown = make("Secret no more", visibility="everyone")
    assert sees(browser(getattr(cast, role)), shown)


@pytest.mark.spec("D4")
@pytest.mark.parametrize("holder", ["created_by", "assigned_to"])
def test_its_creator_and_its_assigned_user_see_it(browser, cast, make, holder):
    source = make(**{holder: cast.viewer})
    assert sees(browser(cast.viewer), source)
    assert not sees(browser(cast.member), source)


def test_what_is_not_seen_is_as_if_it_were_not(browser, cast, make):
    client = browser(cast.member)
    hidden, missing = make().pk, uuid.uuid4()
    for tail in ("", "reveal-secret/", "pause/", "rotate-secret/"):
        answers = []
        for pk in (hidden, missing):
            url = f"{URL}{pk}/{tail}"
            answer = client.post(url, content_type="application/json") if tail else client.get(url)
            answers.append((answer.status_code, answer.content.decode().replace(str(pk), "")))
        assert answers[0] == answers[1]
        assert answers[0][0] in (404, 403)


@pytest.mark.parametrize(("role", "seen"), SEEN_BY.items())
def test_an_api_key_sees_what_its_role_sees(api, make, role, seen):
    source = make()
    assert (api(role).get(f"{URL}{source.pk}/").status_code == 200) is seen
    assert (source.name in api(role).get(URL).content.decode()) is seen


def test_a_key_is_nobody_s_creator(api, cast, make):
    with system_scope():
        source = make(created_by=cast.viewer, assigned_to=cast.viewer)
        client = api("viewer")
        ApiKey.objects.update(created_by=cast.viewer)
    assert client.get(f"{URL}{source.pk}/").status_code == 404


@pytest.mark.spec("D4")
def test_assigning_and_hiding_is_for_who_may_configure(browser, api, cast, make):
    source = make(visibility="everyone", created_by=cast.member)
    change = {"assigned_to": str(cast.member.pk), "visibility": "assigned"}
    for role in ("member", "viewer"):
        assert api(role).patch(f"{URL}{source.pk}/", change).status_code == 403
    answer = api("admin").patch(f"{URL}{source.pk}/", change)
    assert answer.status_code == 200, answer.content
    assert answer.json()["assigned_to"] == str(cast.member.pk)
    assert answer.json()["visibility"] == "assigned"
    assert sees(browser(cast.member), source)
    assert not sees(browser(cast.viewer), source)
    assert api("admin").patch(f"{URL}{source.pk}/", {"assigned_to": None}).json()["assigned_to"] is None


@pytest.mark.spec("D4")
@pytest.mark.parametrize("whom", ["stranger", "operator", "nobody", "no id", "a number"])
def test_only_a_member_can_be_assigned(api, cast, make, whom):
    identifier = {"nobody": str(uuid.uuid4()), "no id": "ada", "a number": 7}.get(whom)
    identifier = identifier or str(getattr(cast, whom).pk)
    for answer in (
        api().post(URL, {"name": "New", "auth": {"method": "jwt"}, "assigned_to": identifier}),
        api().patch(f"{URL}{make().pk}/", {"assigned_to": identifier}),
    ):
        assert answer.status_code == 400, answer.content
        assert answer.json()["errors"][0]["field"] == "assigned_to"


@pytest.mark.parametrize("field", ["visibility", "reveal"])
def test_unknown_choices_are_refused(api, make, field):
    assert api().patch(f"{URL}{make().pk}/", {field: "some"}).json()["errors"][0]["field"] == field


@pytest.mark.spec("D4")
def test_the_page_says_whose_it_is_and_the_form_changes_it(browser, cast, make):
    source = make(assigned_to=cast.member)
    client = browser(cast.owner)
    page = client.get(f"/sources/{source.pk}/").content.decode()
    assert cast.member.email in page
    assert "Creator and assigned user" in page
    form = client.get(f"/sources/{source.pk}/edit/").content.decode()
    assert re.search(rf'<option value="{cast.member.pk}" selected>', form)
    assert f'<option value="{cast.viewer.pk}">' in form
    assert cast.stranger.email not in form
    created = client.get("/sources/create/").content.decode()
    assert f'<option value="{cast.viewer.pk}">' in created


@pytest.mark.spec("D5")
def test_the_url_of_each_site_is_chosen_from_a_list(browser, cast, make):
    with system_scope():
        Site.objects.create(tenant=cast.tenant, name="Security Operations", slug="soc")
        Site.objects.create(tenant=cast.other_tenant, name="Elsewhere", slug="elsewhere")
    source = make(visibility="everyone")
    client = browser(cast.member)
    page = client.get(f"/sources/{source.pk}/").content.decode()
    assert '<option value="soc">Security Operations</option>' in page
    assert "elsewhere" not in page
    chosen = client.get(f"/sources/{source.pk}/?site=soc").content.decode()
    assert '<option value="soc" selected>' in chosen
    assert f'id="url">{source.url}/soc<' in chosen
    assert f"{source.url}/soc" in chosen.partition('id="send-title"')[2], "the snippets post to the site as well"
    nowhere = client.get(f"/sources/{source.pk}/?site=elsewhere").content.decode()
    assert f'id="url">{source.url}<' in nowhere


@pytest.mark.spec("D5")
def test_the_api_gives_the_url_of_each_site(api, cast, make):
    with system_scope():
        Site.objects.create(tenant=cast.tenant, name="Security Operations", slug="soc")
    source = make(visibility="everyone")
    assert api("member").get(f"{URL}{source.pk}/").json()["site_urls"] == {"soc": f"{source.url}/soc"}
