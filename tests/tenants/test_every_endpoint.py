"""What holds for every endpoint of the API, whichever room it stands in."""

import pytest
from django.test import Client
from django.urls import get_resolver, reverse
from drf_spectacular.generators import SchemaGenerator

from tenants.scope import system_scope
from tests.world import fill

UNSAFE = ("post", "put", "patch", "delete")


def endpoints(patterns=None, prefix=""):
    """`(url name, whether it takes an id, view)` of every route below /api/v1/ that acts or lists."""
    for pattern in patterns if patterns is not None else get_resolver().url_patterns:
        path = prefix + str(pattern.pattern)
        if hasattr(pattern, "url_patterns"):
            yield from endpoints(pattern.url_patterns, path)
        elif path.startswith("api/v1/") and getattr(pattern.callback, "actions", None):
            yield pattern.name, bool(pattern.pattern.converters), pattern.callback


ENDPOINTS = list(endpoints())
each = pytest.mark.parametrize(("name", "takes_id", "view"), ENDPOINTS, ids=[name for name, *_ in ENDPOINTS])
SAMPLES = {
    "api-member": "membership", "api-invitation": "invitation", "api-key": "key", "api-site": "site",
    "api-audit": "entry", "api-tenant": "tenant", "api_source": "source", "api-receipt": "receipt",
    "api-schema": "schema", "api-schema-version": "schema_version", "api-source-schemas": "source",
    "api-alarm": "alarm", "api-alarm-episode": "alarm_episode",
    "api-event": "event", "api_subscription": "subscription", "api_delivery": "delivery", "api_attempt": "attempt",
    "api_replay": "replay", "api-subscription-figures": "subscription", "api_poll": "polled",
}  # fmt: skip


@pytest.fixture
def url_of(cast):
    with system_scope():
        world = fill(cast.tenant)

    def url(name, takes_id, view):
        kwargs = {"pk": getattr(world, SAMPLES[view.initkwargs["basename"]]).pk} if takes_id else None
        return reverse(name, kwargs=kwargs)

    return url


def signed_in(cast, **options) -> Client:
    cast.owner.is_staff = True
    cast.owner.save()
    client = Client(**options)
    client.force_login(cast.owner)
    return client


@each
def test_a_session_changes_nothing_without_its_csrf_token(cast, url_of, name, takes_id, view):
    client = signed_in(cast, enforce_csrf_checks=True)
    for method in UNSAFE:
        if method in view.actions and method in view.cls.http_method_names:
            answer = getattr(client, method)(url_of(name, takes_id, view), {}, content_type="application/json")
            assert answer.status_code == 403
            assert "CSRF" in answer.json()["detail"]


@each
def test_a_method_that_it_lacks_is_405(cast, url_of, name, takes_id, view):
    client = signed_in(cast)
    for method in UNSAFE:
        if method not in view.actions or method not in view.cls.http_method_names:
            answer = getattr(client, method)(url_of(name, takes_id, view), {}, content_type="application/json")
            assert answer.status_code == 405, method
            assert answer["Content-Type"] == "application/problem+json"


@each
def test_no_answer_is_kept_by_a_cache(cast, url_of, name, takes_id, view):
    client = signed_in(cast)
    method = "get" if "get" in view.actions else "post"
    answer = getattr(client, method)(url_of(name, takes_id, view))
    assert answer["Cache-Control"] == "no-store"


def test_the_openapi_document_tells_how_each_refuses():
    document = SchemaGenerator().get_schema(public=True)
    operations = [one for path, item in document["paths"].items() if path.startswith("/api/") for one in item.values()]
    assert operations
    for operation in operations:
        content = operation["responses"]["403"]["content"]
        assert content == {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


LISTED = [(name, view) for name, _, view in ENDPOINTS if view.actions.get("get") == "list"]
each_list = pytest.mark.parametrize(("name", "view"), LISTED, ids=[name for name, _ in LISTED])


@each_list
def test_a_list_refuses_a_parameter_that_it_does_not_know(cast, name, view):
    answer = signed_in(cast).get(reverse(name), {"stauts": "dead", "limit": "1"})
    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    assert [error["field"] for error in answer.json()["errors"]] == ["stauts"]


@each_list
def test_a_list_takes_every_parameter_that_its_description_names(cast, name, view):
    schema = SchemaGenerator().get_schema(public=True)
    described = {one["name"] for one in schema["paths"][reverse(name)]["get"].get("parameters", ())}
    assert {"limit", "cursor"} <= described
    client = signed_in(cast)
    for parameter in described | {"format"}:
        assert "no such parameter" not in client.get(reverse(name), {parameter: ""}).text, parameter
