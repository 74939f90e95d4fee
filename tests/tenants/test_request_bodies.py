"""What a body may be is the same for every endpoint: a mistake is a 400 that names it, never ignored, never a 500."""

import pytest

from tenants.models import ApiKey, Site
from tenants.scope import tenant_scope

COLLECTIONS = ["sources", "subscriptions", "sites", "invitations", "api-keys", "events"]
HALF = "\\ud800"  # half a surrogate pair: text in JSON, but not in UTF-8


def post(client, collection: str, body: str):
    return client.generic("POST", f"/api/v1/{collection}/", body, content_type="application/json")


@pytest.mark.parametrize("collection", COLLECTIONS)
@pytest.mark.parametrize(
    "body",
    ["[" * 100_000, '{"name":' + '{"a":' * 5000 + "1" + "}" * 5001, '{"name": NaN}', '{"name": "', "[1]", '"x"'],
    ids=["deep array", "deep object", "NaN", "cut", "array", "text"],
)
def test_what_cannot_be_read_is_the_senders_mistake(api, collection, body):
    response = post(api(), collection, body)
    assert response.status_code == 400
    assert response.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("collection", COLLECTIONS)
@pytest.mark.parametrize(
    "body",
    [
        f'{{"{HALF}": 1}}',
        f'{{"kind": "{HALF}", "role": "{HALF}", "severity": "{HALF}", "signing": "{HALF}", "type": "{HALF}"}}',
        f'{{"auth": {{"method": "hmac", "{HALF}": 1}}, "headers": {{"{HALF}": "x"}}}}',
    ],
    ids=["field", "choice", "nested"],
)
def test_an_error_can_name_what_is_no_text(api, collection, body):
    response = post(api(), collection, body)
    assert response.status_code == 400
    assert response.json()["errors"]


def test_a_field_that_does_not_exist_is_refused(api, cast):
    response = api().post("/api/v1/api-keys/", {"name": "ci", "role": "viewer", "expires": "2030-01-01T00:00:00Z"})
    assert response.status_code == 400
    assert response.json()["errors"] == [{"field": "expires", "detail": "There is no such field."}]
    with tenant_scope(cast.tenant.pk):
        assert not ApiKey.objects.filter(name="ci").exists()


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_every_endpoint_refuses_them(api, collection):
    response = post(api(), collection, '{"nmae": "x"}')
    assert {"field": "nmae", "detail": "There is no such field."} in response.json()["errors"]


@pytest.mark.parametrize(("path", "field"), [("tenant/", "status"), ("tenant/", "id")])
def test_a_field_that_is_only_read_is_not_silently_kept(api, path, field):
    response = api().patch(f"/api/v1/{path}", {field: "suspended"})
    assert response.status_code == 400
    assert response.json()["errors"] == [{"field": field, "detail": "This cannot be set here."}]


@pytest.mark.parametrize("name", ["a\nb", "a\x07b", "a\u2028b", "invoice\u202efdp.exe"])
@pytest.mark.parametrize("collection", ["sources", "subscriptions", "sites", "api-keys"])
def test_a_name_is_one_plain_line(api, collection, name):
    response = api().post(f"/api/v1/{collection}/", {"name": name})
    assert "name" in [error["field"] for error in response.json()["errors"]]


def test_a_name_in_any_script_is_kept(api, cast):
    name = "Zürich 東京 القاهرة 👩‍🔧"
    assert api().post("/api/v1/sites/", {"name": name, "slug": "hq"}).status_code == 201
    with tenant_scope(cast.tenant.pk):
        assert Site.objects.get(slug="hq").name == name
