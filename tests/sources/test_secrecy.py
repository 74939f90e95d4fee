"""A secret is told once, in the answer to the creation or rotation. Nothing else ever holds it (P10, B10)."""

import base64
import hashlib
import logging

import pytest
from django.db import connection

from tenants.scope import system_scope

pytestmark = pytest.mark.spec("P10", "P18", "B10")

URL = "/api/v1/sources/"
METHODS = {
    "shared_secret": {},
    "hmac": {},
    "bearer": {},
    "basic": {"username": "ada"},
    "jwt": {},
}
TYPED = "a-typed-secret-that-somebody-chose-0123456789"


def database_text() -> str:
    """Every row of every table of ours as text; bytea columns come as hexadecimal digits."""
    with system_scope(), connection.cursor() as cursor:
        rows = []
        for table in connection.introspection.table_names(cursor):
            quoted = connection.ops.quote_name(table)
            cursor.execute(f"SELECT row_to_json(t)::text FROM {quoted} t")  # noqa: S608
            rows += [row for (row,) in cursor.fetchall()]
    return "\n".join(rows)


def forms_of(secret: str) -> list[str]:
    raw = secret.encode()
    return [secret, raw.hex(), base64.b64encode(raw).decode().rstrip("=")[:-1]]


@pytest.mark.parametrize("typed", [None, TYPED], ids=["generated", "typed"])
@pytest.mark.parametrize("method", METHODS)
def test_the_secret_appears_exactly_once(api, browser, cast, caplog, method, typed):
    caplog.set_level(logging.DEBUG)
    owner, person = api("owner"), browser(cast.owner)
    auth = {"method": method, **METHODS[method]}
    made = owner.post(URL, {"name": "Orders", "auth": auth, "secret": typed}).json()
    if typed:
        assert made["secret"] == typed
    rotated = owner.post(f"{URL}{made['id']}/rotate-secret/").json()
    refused = owner.post(f"{URL}{made['id']}/rotate-secret/", {"secret": made["secret"]})
    assert refused.status_code == 400
    pages = ["/sources/", f"/sources/{made['id']}/", f"/sources/{made['id']}/edit/"]
    seen = [
        owner.get(URL).content.decode(),
        owner.get(f"{URL}{made['id']}/").content.decode(),
        owner.patch(f"{URL}{made['id']}/", {"name": "Renamed"}).content.decode(),
        owner.post(f"{URL}{made['id']}/pause/").content.decode(),
        owner.post(f"{URL}{made['id']}/regenerate-url/").content.decode(),
        refused.content.decode(),
        *(person.get(page).content.decode() for page in pages),
        caplog.text,
        database_text(),
    ]
    assert "Renamed" in seen[-1], "the dump shows what is there"
    for secret in (made["secret"], rotated["secret"]):
        for form in forms_of(secret):
            assert not [text for text in seen if form in text]


def test_a_typed_secret_cannot_be_guessed_from_its_digest(api):
    auth = {"method": "shared_secret"}
    api("owner").post(URL, {"name": "Orders", "auth": auth, "secret": TYPED})
    assert hashlib.sha256(TYPED.encode()).hexdigest() not in database_text()


def test_a_deleted_source_keeps_nothing_of_its_secret(api):
    owner = api("owner")
    made = owner.post(URL, {"name": "Orders", "auth": {"method": "shared_secret"}}).json()
    digest = hashlib.sha256(made["secret"].encode()).hexdigest()
    key = made["url"].rsplit("/", 1)[1]
    assert digest in database_text()
    owner.delete(f"{URL}{made['id']}/")
    assert digest not in database_text()
    assert key not in database_text()
