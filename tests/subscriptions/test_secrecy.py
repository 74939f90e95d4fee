"""What is secret stays so: in later reads, pages, the audit log, logs and the database's own columns."""

import logging

import pytest
from django.db import connection

from subscriptions.models import Subscription
from tenants.scope import system_scope
from tests.subscriptions.conftest import token_of

LIST = "/api/v1/subscriptions/"
TABLES = (
    "subscriptions_subscription",
    "subscriptions_signingsecret",
    "subscriptions_notice",
    "tenants_auditentry",
)
PAGES = ("", "{id}/", "{id}/edit/", "{id}/state/", "{id}/state/?brief")


@pytest.fixture
def secrets():
    """What was typed or made, by what it is. Values that occur nowhere by chance."""
    return {
        "host": "zx81-receiver.example",
        "path": "p4th-qwfp",
        "header value": "h3ader-arst",
        "other host": "zx82-receiver.example",
    }


@pytest.fixture
def lived(api, secrets, caplog, client):
    """A subscription after everything that can happen to it, and all that was logged meanwhile."""
    caplog.set_level(logging.DEBUG)
    admin = api("owner")
    new = {
        "name": "Desk",
        "hint": "the gateway",
        "url": f"https://{secrets['host']}/{secrets['path']}",
        "headers": {"X-Token": secrets["header value"]},
    }
    made = admin.post(LIST, new).json()
    secrets["signing secret"] = made["secret"]
    change = {"url": f"https://{secrets['other host']}/hook", "headers": new["headers"]}
    assert admin.patch(f"{LIST}{made['id']}/", change).status_code == 200
    with system_scope():
        subscription = Subscription.objects.get(pk=made["id"])
    secrets["token"] = token_of(subscription)
    rotated = admin.post(f"{LIST}{made['id']}/rotate-secret/", {"overlap_seconds": 60}).json()
    secrets["new secret"] = rotated["secret"]
    assert client.get(f"/confirm/{secrets['token']}").status_code == 200
    admin.post(f"{LIST}{made['id']}/test/")
    return subscription


def assert_none_in(secrets, text: str) -> None:
    assert [name for name, value in secrets.items() if value in text] == []


@pytest.mark.spec("T1", "T3", "N4")
def test_not_in_any_later_read_of_the_api(lived, secrets, api):
    client = api("owner")
    for path in (LIST, f"{LIST}{lived.pk}/"):
        assert_none_in(secrets, client.get(path).content.decode())
    verbs = [("post", "disable/"), ("post", "enable/"), ("post", "end-overlap/"), ("patch", "")]
    for method, verb in verbs:
        answer = getattr(client, method)(f"{LIST}{lived.pk}/{verb}")
        assert answer.status_code == 200
        assert_none_in(secrets, answer.content.decode())


@pytest.mark.spec("T1", "T3", "N4")
@pytest.mark.parametrize("page", PAGES)
def test_not_in_any_page(lived, secrets, browser, cast, page):
    answer = browser(cast.owner).get(f"/subscriptions/{page}".replace("{id}", str(lived.pk)))
    assert answer.status_code in {200, 286}
    assert_none_in(secrets, answer.content.decode())


def test_not_in_the_logs(lived, secrets, caplog):
    assert_none_in(secrets, caplog.text)


@pytest.mark.spec("B10")
@pytest.mark.parametrize("table", TABLES)
def test_not_in_the_columns_of_the_database(lived, secrets, table):
    with system_scope(), connection.cursor() as cursor:
        cursor.execute(f"SELECT row_to_json(t)::text FROM {table} t")  # noqa: S608
        rows = [row for (row,) in cursor.fetchall()]
    assert rows
    hidden = secrets | {f"{name} in hex": value.encode().hex() for name, value in secrets.items()}
    for row in rows:
        assert_none_in(hidden, row)


def test_not_in_the_representation_of_a_row(lived, secrets):
    """Tracebacks print these."""
    with system_scope():
        subscription = Subscription.objects.get(pk=lived.pk)
        rows = [subscription, *subscription.signing_secrets.all(), *subscription.notices.all()]
        shown = " ".join(f"{row!r} {row.__dict__!r}" for row in rows)
    assert_none_in(secrets, shown)
