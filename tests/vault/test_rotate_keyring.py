"""`manage.py rotate_keyring`: everything sealed anew while others write, nothing lost, nothing forgotten too early."""

import shutil
import threading
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from subscriptions.models import Subscription
from tenants.models import Tenant
from tenants.scope import system_scope
from vault.fields import keyring, sealed_fields
from vault.management.commands import rotate_keyring as command

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.spec("B10")]


@pytest.fixture(autouse=True)
def own_keyring(settings, tmp_path):
    settings.KEYRING_FILE = shutil.copy(settings.KEYRING_FILE, tmp_path / "keyring.json")
    return keyring()


@pytest.fixture
def rows(own_keyring):
    with system_scope():
        for name in ("A", "B"):
            tenant = Tenant.objects.create(name=name)
            for number in range(3):
                Subscription.objects.create(
                    tenant=tenant, name=f"{name}{number}", url=f"https://{name}{number}.example/", headers={"n": name}
                )


def rotate(*arguments) -> str:
    out = StringIO()
    call_command("rotate_keyring", *arguments, stdout=out)
    return out.getvalue()


def urls() -> dict:
    with system_scope():
        return {row.name: row.url for row in Subscription.objects.all()}


def keys() -> dict:
    return {name: count for name, count in command.keys_in_use().items() if count}


def test_every_sealed_value_of_every_tenant_gets_the_new_key(rows, own_keyring):
    before, active = urls(), own_keyring.active
    out = rotate()
    assert own_keyring.active != active
    assert keys() == {own_keyring.active: 12}
    assert urls() == before
    assert "12 values" in out
    assert active in own_keyring.key_ids


def test_every_model_with_sealed_fields_is_seen():
    from deliveries.models import Delivery
    from sources.models import SourceCredential

    models = {column.model for column in command.sealed_columns()}
    assert {Subscription, SourceCredential} <= models
    assert Delivery not in models
    assert {"url", "headers", "auth_secrets"} <= {field.name for field in sealed_fields(Subscription)}


def test_more_rows_than_a_batch(rows, own_keyring, monkeypatch):
    monkeypatch.setattr(command, "BATCH", 2)
    rotate()
    assert keys() == {own_keyring.active: 12}


def test_prune_forgets_what_seals_nothing(rows, own_keyring):
    before = urls()
    rotate("--prune")
    assert own_keyring.key_ids == [own_keyring.active]
    assert urls() == before


def test_resuming_adds_no_key_and_finishes(rows, own_keyring):
    own_keyring.add_key()
    active = own_keyring.active
    rotate("--resume")
    assert own_keyring.active == active
    assert keys() == {active: 12}
    assert "0 values" in rotate("--resume")


def test_killed_in_the_middle_it_can_be_run_again(rows, own_keyring, monkeypatch):
    monkeypatch.setattr(command, "BATCH", 2)
    batches, real = [], command._reseal_batch

    def killed(*arguments):
        if batches:
            raise KeyboardInterrupt
        rows = real(*arguments)
        batches.extend(rows)
        return rows

    monkeypatch.setattr(command, "_reseal_batch", killed)
    before = urls()
    with pytest.raises(KeyboardInterrupt):
        rotate()
    assert len(keys()) == 2
    assert urls() == before
    monkeypatch.setattr(command, "_reseal_batch", real)
    rotate("--resume", "--prune")
    assert urls() == before
    assert own_keyring.key_ids == [own_keyring.active]


def test_a_write_between_reading_and_writing_is_not_lost(rows, own_keyring, monkeypatch):
    """Another process changes the value in that very moment: the compare-and-set leaves theirs."""
    with system_scope():
        victim = Subscription.objects.get(name="A0")
    real, done = own_keyring.seal, []

    def seal(plain, bound_to):
        if plain == b"https://A0.example/" and not done:
            done.append(1)
            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()
        return real(plain, bound_to)

    def elsewhere():
        with system_scope():
            row = Subscription.objects.get(pk=victim.pk)
            row.url = "https://new.example/"
            row.save(update_fields=["url"])
        connection.close()

    monkeypatch.setattr(own_keyring, "seal", seal)
    out = rotate()
    assert urls()["A0"] == "https://new.example/"
    assert keys() == {own_keyring.active: 12}
    assert "1 changed meanwhile" in out


def test_prune_waits_for_a_transaction_that_may_write_with_the_old_key(rows, own_keyring):
    sealed, finish = threading.Event(), threading.Event()

    def slow_request():
        with system_scope():
            row = Subscription.objects.get(name="A0")
            row.url = "https://slow.example/"  # sealed now, with the old key
            sealed.set()
            finish.wait(20)
            row.save(update_fields=["url"])
        connection.close()

    thread = threading.Thread(target=slow_request)
    thread.start()
    sealed.wait(20)
    try:
        with pytest.raises(CommandError, match="nothing was forgotten"):
            rotate("--prune", "--wait", "0")
        assert len(own_keyring.key_ids) == 2
    finally:
        finish.set()
        thread.join()
    assert len(keys()) == 2  # the slow one came with the old key, which is still there to open it
    rotate("--resume", "--prune")
    assert urls()["A0"] == "https://slow.example/"
    assert keys() == {own_keyring.active: 12}


def test_a_value_that_does_not_open_is_named_left_alone_and_keeps_its_key(rows, own_keyring):
    old = own_keyring.active
    with system_scope(), connection.cursor() as cursor:
        bad = Subscription.objects.get(name="B1").pk
        cursor.execute(
            "UPDATE subscriptions_subscription SET url = set_byte(url, length(url) - 1, 0) WHERE id = %s", [bad]
        )
        if Subscription.objects.get(pk=bad).__dict__["url"][-1:] != b"\x00":
            raise AssertionError("the row was not changed")
    with pytest.raises(CommandError, match=str(bad)):
        rotate("--prune")
    assert old in own_keyring.key_ids
    assert keys() == {old: 1, own_keyring.active: 11}


def test_deadlocks_are_tried_again(monkeypatch):
    from django.db import OperationalError

    class Deadlock(Exception):
        sqlstate = command.DEADLOCK

    tries = []

    def work():
        tries.append(1)
        if len(tries) < 3:
            raise OperationalError from Deadlock()
        return "done"

    assert command._retry_deadlocks(work) == "done"
