"""A portal whose keyring is not the one its secrets were sealed with says so, at its start and in /readyz."""

import json
import shutil

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connection

from sources.models import Source
from subscriptions.models import Subscription
from tenants.scope import tenant_scope
from vault.checks import keyring_trouble
from vault.fields import keyring
from vault.keyring import header


@pytest.fixture
def source(cast):
    with tenant_scope(cast.tenant.pk):
        return Source.objects.create_with_secret(cast.tenant, cast.owner, "CI", "hmac", {})[0]


@pytest.fixture
def another_keyring(tmp_path, settings):
    """The same key id with other bytes: what a portal makes whose VAR was lost."""

    def use():
        path = tmp_path / "keyring.json"
        shutil.copy(settings.KEYRING_FILE, path)
        document = json.loads(path.read_text())
        document["keys"] = {name: "A" * 43 + "=" for name in document["keys"]}
        path.write_text(json.dumps(document))
        settings.KEYRING_FILE = path

    return use


def changed(sealed: bytes) -> bytes:
    return sealed[:-1] + bytes([sealed[-1] ^ 1])


def test_the_right_keyring_is_no_trouble(source):
    assert keyring_trouble() == ""
    call_command("check", databases=["default"])


def test_nothing_sealed_is_no_trouble(db, another_keyring):
    another_keyring()
    assert keyring_trouble() == ""


def test_another_keyring_stops_the_start(source, another_keyring):
    another_keyring()
    with pytest.raises(SystemCheckError, match="does not open"):
        call_command("check", databases=["default"])


def test_it_is_not_ready_either(source, another_keyring, client):
    another_keyring()
    (error,) = client.get("/readyz").json()["errors"]
    assert error["field"] == "keyring"


def test_one_damaged_row_is_no_wrong_keyring(cast, source):
    with tenant_scope(cast.tenant.pk):
        other, _ = Source.objects.create_with_secret(cast.tenant, cast.owner, "Damaged", "hmac", {})
        credential = other.credentials.get()
        other.credentials.update(value=changed(bytes(credential.__dict__["value"])))
    assert keyring_trouble() == ""


@pytest.mark.parametrize("damaged", [b"\x01of no form", None], ids=["no form", "changed"])
def test_nor_is_one_that_is_alone_in_its_column(cast, source, damaged):
    """Found by the torture: the portal did not start again for the one subscription that had headers."""
    with tenant_scope(cast.tenant.pk):
        subscription, _ = Subscription.objects.create_pending(
            cast.tenant, cast.owner, name="CI", url="https://hooks.example.com/", headers={"X-Team": "blue"}
        )
        sealed = bytes(subscription.__dict__["headers"])
        Subscription.objects.filter(pk=subscription.pk).update(headers=changed(sealed))
        if damaged:
            with connection.cursor() as cursor:
                cursor.execute("UPDATE subscriptions_subscription SET headers = %s", [damaged])
    assert keyring_trouble() == ""


def test_a_key_that_is_missing_is_trouble_though_others_open(cast, source):
    with tenant_scope(cast.tenant.pk):
        subscription, _ = Subscription.objects.create_pending(
            cast.tenant, cast.owner, name="CI", url="https://hooks.example.com/", headers={"X-Team": "blue"}
        )
        sealed = bytes(subscription.__dict__["headers"])
        lost = header("k77") + sealed[len(header(keyring().key_of(sealed))) :]
        Subscription.objects.filter(pk=subscription.pk).update(headers=lost)
    assert 'no key "k77"' in keyring_trouble()


def test_a_sender_whose_secret_cannot_be_opened_is_asked_to_try_again(source, another_keyring, client):
    another_keyring()
    assert keyring().key_ids
    answer = client.post(
        f"/in/{source.ingest_key}", b"{}", content_type="application/json", headers={"X-Signature": "00"}
    )
    assert answer.status_code == 503
    assert answer["Retry-After"]
