"""Sealed fields, on the models that have them."""

import copy
import pickle
import traceback

import pytest
from django.core import serializers
from django.db import connection, transaction
from django.forms.models import model_to_dict

from subscriptions.models import Notice, Subscription
from tenants.scope import tenant_scope
from vault.fields import keyring
from vault.keyring import KeyringError

URL = "https://receiver.example/very-secret-path"
HEADERS = {"X-Token": "very-secret-token"}


@pytest.fixture
def subscription(cast):
    with tenant_scope(cast.tenant.pk):
        yield Subscription.objects.create(tenant=cast.tenant, name="s", url=URL, headers=HEADERS)


def column(subscription, name="url") -> bytes:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {name} FROM subscriptions_subscription WHERE id = %s", [subscription.pk])
        value = cursor.fetchone()[0]
        return value if value is None else bytes(value)


@pytest.mark.spec("B10")
def test_the_database_holds_no_secret(subscription):
    assert b"secret" not in column(subscription)
    assert b"secret" not in column(subscription, "headers")


def test_it_reads_back(subscription):
    again = Subscription.objects.get(pk=subscription.pk)
    assert again.url == URL
    assert again.headers == HEADERS


def test_null_stays_null(subscription):
    subscription.headers = None
    subscription.save()
    assert column(subscription, "headers") is None
    assert Subscription.objects.get(headers__isnull=True).headers is None


def test_a_deferred_one_is_loaded_when_asked_for(subscription):
    assert Subscription.objects.defer("url").get(pk=subscription.pk).url == URL
    assert Subscription.objects.only("name").get(pk=subscription.pk).headers == HEADERS


def test_saving_a_row_that_deferred_it_keeps_it(subscription):
    deferred = Subscription.objects.defer("url").get(pk=subscription.pk)
    deferred.name = "renamed"
    deferred.save()
    assert Subscription.objects.get(pk=subscription.pk).url == URL


def test_refreshing_brings_the_new_value(subscription):
    other = Subscription.objects.get(pk=subscription.pk)
    other.url = URL + "2"
    other.save(update_fields=["url"])
    assert subscription.url == URL
    subscription.refresh_from_db()
    assert subscription.url == URL + "2"


def test_it_cannot_be_searched(subscription):
    for lookup in ({"url": URL}, {"url__contains": "x"}, {"url__in": [URL]}, {"headers": HEADERS}):
        with pytest.raises(TypeError, match="sealed"):
            Subscription.objects.filter(**lookup)


def test_another_rows_ciphertext_does_not_open(subscription, cast):
    other = Subscription.objects.create(tenant=cast.tenant, name="o", url="https://other.example/")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE subscriptions_subscription SET url = %s WHERE id = %s", [column(subscription), other.pk])
    with pytest.raises(KeyringError):
        Subscription.objects.get(pk=other.pk).url  # noqa: B018


def test_another_columns_ciphertext_does_not_open(subscription):
    with connection.cursor() as cursor:
        cursor.execute("UPDATE subscriptions_subscription SET headers = url")
    with pytest.raises(KeyringError):
        Subscription.objects.get(pk=subscription.pk).headers  # noqa: B018


def test_plain_bytes_never_reach_the_database(subscription):
    for value in (b"secret", b"", memoryview(b"\x01\x02k1secret")):
        subscription.url = value
        with pytest.raises(TypeError):
            subscription.save(update_fields=["url"])


def test_a_row_with_a_broken_value_can_still_be_listed(subscription):
    with connection.cursor() as cursor:
        cursor.execute("UPDATE subscriptions_subscription SET url = 'nonsense'")
    (listed,) = Subscription.objects.all()
    assert listed.name == subscription.name
    with pytest.raises(KeyringError):
        listed.url  # noqa: B018


def test_no_way_of_the_orm_writes_plain_text(subscription):
    subscription.url = "https://new.example/"
    for write in (
        lambda: Subscription.objects.update(url=URL),
        lambda: Subscription.objects.update(url=b"secret"),
        lambda: Subscription.objects.bulk_update([subscription], ["url"]),
    ):
        with pytest.raises(TypeError, match="sealed"), transaction.atomic():
            write()
    assert Subscription.objects.get(pk=subscription.pk).url == URL


def test_bulk_create_seals(cast):
    with tenant_scope(cast.tenant.pk):
        one = Subscription(tenant=cast.tenant, name="b", url=URL)
        Subscription.objects.bulk_create([one])
        assert b"secret" not in column(one)
        assert Subscription.objects.get(pk=one.pk).url == URL


def test_copies_and_dumps_show_no_secret(subscription):
    shown = [
        repr(subscription), str(vars(subscription)), repr(model_to_dict(subscription)),
        str(Subscription.objects.values().get()), repr(pickle.dumps(subscription)),
        serializers.serialize("json", [subscription]),
    ]  # fmt: skip
    assert all("very-secret" not in text for text in shown)
    assert pickle.loads(pickle.dumps(subscription)).url == URL  # noqa: S301
    assert copy.copy(subscription).url == URL


def test_a_traceback_with_locals_shows_no_secret(subscription):
    try:
        row = Subscription.objects.get(pk=subscription.pk)
        raise RuntimeError(f"cannot use {row!r}")
    except RuntimeError as error:
        text = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "very-secret" not in text


def test_loading_a_list_opens_nothing(subscription, monkeypatch):
    def opened(*args):
        raise AssertionError("a list was decrypted")

    monkeypatch.setattr(keyring(), "open", opened)
    assert [row.name for row in Subscription.objects.all()] == ["s"]


def test_json_values_keep_their_form(cast, subscription):
    payload = {"a": [1, None, "é\x00"], "b": {}}
    notice = Notice.objects.create(
        tenant=cast.tenant, subscription=subscription, kind="test", event_type="t", payload=payload
    )
    assert Notice.objects.get(pk=notice.pk).payload == payload
