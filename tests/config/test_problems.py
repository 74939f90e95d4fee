"""Every error below /api/ is a problem document, whatever refused the request."""

import base64

import pytest
from django.db import connection
from django.test import Client

from deliveries.api import DeliveryViewSet


def code_of(cursor: str) -> str:
    return base64.b64encode(cursor.encode()).decode()


@pytest.mark.parametrize(
    ("method", "path", "accept", "status"),
    [
        ("get", "/api/v1/nothing/", "*/*", 404),
        ("post", "/api/v1/nothing/", "*/*", 404),
        ("get", "/api/v1/deliveries/not-an-id/", "*/*", 404),
        ("get", "/api/v1/deliveries/?format=xml", "*/*", 404),
        ("get", "/api/v1/deliveries/", "text/html", 406),
        ("delete", "/api/v1/deliveries/", "*/*", 405),
        ("get", f"/api/v1/deliveries/?cursor={code_of('p=x')}", "*/*", 404),
        ("get", f"/api/v1/deliveries/?cursor={code_of('p=%00')}", "*/*", 404),
    ],
)
def test_a_refusal_is_a_problem_document(api, method, path, accept, status):
    response = getattr(api(), method)(path, headers={"Accept": accept})
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["status"] == status


def test_an_error_of_ours_is_a_problem_document_that_tells_nothing(api, monkeypatch):
    def fail(self):
        raise RuntimeError("hunter2")

    monkeypatch.setattr(DeliveryViewSet, "get_queryset", fail)
    client = api()
    client.raise_request_exception = False
    response = client.get("/api/v1/deliveries/")
    assert response.status_code == 500
    assert response.headers["Content-Type"] == "application/problem+json"
    assert "hunter2" not in response.text


def test_a_page_that_does_not_exist_is_html(browser, cast):
    response = browser(cast.owner).get("/nothing-here")
    assert response.status_code == 404
    assert response.headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("bound", ["1900-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z"])
def test_a_time_that_no_id_can_carry_is_only_a_bound(api, bound):
    response = api().get("/api/v1/deliveries/", {"since": bound, "until": bound})
    assert (response.status_code, response.json()["results"]) == (200, [])


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_probe_looks_up_no_session(browser, cast, path):
    client = browser(cast.owner)
    seen = []
    with connection.execute_wrapper(lambda execute, sql, *rest: seen.append(sql) or execute(sql, *rest)):
        client.get(path)
    assert not [sql for sql in seen if "django_session" in sql]


def test_a_stranger_to_the_portal_gets_a_problem_document(db):
    response = Client().get("/api/v1/deliveries/", headers={"Authorization": "Bearer pk_\xe9"})
    assert response.status_code == 401
    assert response.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/api/v1/deliveries/", "/in/some-key", "/in/some-key/site"])
def test_a_host_that_is_not_the_portals_is_a_problem_document(client, db, path):
    response = client.post(path, headers={"Host": "elsewhere.example"})
    assert response.status_code == 400
    assert response.headers["Content-Type"] == "application/problem+json"
    assert "host" in response.json()["detail"]
    assert "elsewhere" not in response.text


def test_a_page_asked_for_by_another_host_is_html(client, db):
    response = client.get("/accounts/login/", headers={"Host": "elsewhere.example"})
    assert response.status_code == 400
    assert response.headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("method", ["post", "patch", "put", "delete"])
def test_a_change_without_the_slash_is_told_the_right_address(api, method):
    """A redirect would turn it into a reading."""
    response = getattr(api(), method)("/api/v1/sites", {"name": "Berlin"})
    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/problem+json"
    assert "/api/v1/sites/?" in response.json()["detail"]


def test_reading_without_the_slash_is_sent_on(api):
    response = api().get("/api/v1/sites?limit=1")
    assert (response.status_code, response.headers["Location"]) == (301, "/api/v1/sites/?limit=1")


@pytest.mark.parametrize("method", ["get", "post"])
def test_an_address_that_is_wrong_with_the_slash_too_is_not_made_right_by_it(api, method):
    response = getattr(api(), method)("/api/v1/nothing")
    assert response.status_code == 404
    assert "did you mean" not in response.json()["detail"]


def test_a_page_without_the_slash_is_sent_on(browser, cast):
    assert browser(cast.owner).get("/sources").status_code == 301
