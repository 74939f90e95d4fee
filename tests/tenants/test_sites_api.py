"""Sites (D5): a name, and a slug that is the end of a URL."""

import pytest

from tenants.models import AuditEntry, Site
from tenants.permissions import Role
from tenants.scope import tenant_scope

URL = "/api/v1/sites/"


def create(client, **body) -> dict:
    answer = client.post(URL, {"name": "Plant North"} | body)
    assert answer.status_code == 201, answer.json()
    return answer.json()


@pytest.mark.spec("D5")
def test_the_slug_is_made_from_the_name(api):
    assert create(api(Role.ADMIN))["slug"] == "plant-north"


def test_a_name_without_latin_letters_asks_for_a_slug(api):
    answer = api().post(URL, {"name": "北"})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "slug"
    assert create(api(), name="北", slug="bei")["slug"] == "bei"


@pytest.mark.parametrize("slug", ["a b", "a/b", "é", "../x"])
def test_a_slug_is_what_a_url_can_hold(api, slug):
    assert api().post(URL, {"name": "x", "slug": slug}).status_code == 400


def test_a_slug_is_taken_once_in_a_tenant(api, stranger_api):
    owner = api()
    create(owner)
    answer = owner.post(URL, {"name": "Plant  north"})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "slug"
    create(stranger_api)


def test_renaming_keeps_the_url(api):
    owner = api()
    site = create(owner)
    assert owner.patch(f"{URL}{site['id']}/", {"name": "Works"}).json()["slug"] == "plant-north"


def test_the_slug_can_be_changed_but_not_to_a_taken_one(api, cast):
    owner = api()
    create(owner, name="South")
    url = f"{URL}{create(owner)['id']}/"
    assert owner.patch(url, {"slug": "south"}).status_code == 400
    assert owner.patch(url, {"slug": "north"}).json()["slug"] == "north"
    with tenant_scope(cast.tenant.pk):
        assert AuditEntry.objects.get(action="site.changed").change == {"slug": ["plant-north", "north"]}


def test_deleting_frees_the_slug(api, cast):
    owner = api()
    assert owner.delete(f"{URL}{create(owner)['id']}/").status_code == 204
    with tenant_scope(cast.tenant.pk):
        assert not Site.objects.exists()
        assert AuditEntry.objects.filter(action="site.deleted").exists()
    create(owner)


@pytest.mark.parametrize("role", [Role.MEMBER, Role.VIEWER])
def test_a_lesser_role_reads_only(api, role):
    site = create(api())
    client = api(role)
    assert client.get(URL).json()["results"][0]["id"] == site["id"]
    assert client.post(URL, {"name": "x"}).status_code == 403
    assert client.patch(f"{URL}{site['id']}/", {"name": "x"}).status_code == 403
    assert client.delete(f"{URL}{site['id']}/").status_code == 403


def test_a_strangers_view(api, stranger_api):
    site = create(api())
    assert stranger_api.get(URL).json()["results"] == []
    assert stranger_api.patch(f"{URL}{site['id']}/", {"name": "x"}).status_code == 404
    assert stranger_api.delete(f"{URL}{site['id']}/").status_code == 404
