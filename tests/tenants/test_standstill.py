"""A process that stands still in a transaction holds its locks for seconds, not until it goes on."""

import time

import pytest
from django.db import Error, connection, transaction

from tenants.models import Site
from tenants.scope import IDLE, IDLE_WITH_LOCKS, system_scope, tenant_scope


def bound() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW idle_in_transaction_session_timeout")
        return cursor.fetchone()[0]


def test_every_scope_has_a_bound(cast):
    with tenant_scope(cast.tenant.pk):
        assert bound() == f"{IDLE:.0f}s"
    with system_scope():
        assert bound() == f"{IDLE:.0f}s"


def test_within_another_scope_the_shorter_bound_holds(db):
    with system_scope():
        with system_scope(idle=IDLE_WITH_LOCKS):
            assert bound() == f"{IDLE_WITH_LOCKS:.0f}s"
            with system_scope():
                assert bound() == f"{IDLE_WITH_LOCKS:.0f}s"
            with pytest.raises(RuntimeError), system_scope(idle=1):
                raise RuntimeError("the savepoint is rolled back")
            assert bound() == f"{IDLE_WITH_LOCKS:.0f}s"
        assert bound() == f"{IDLE:.0f}s"


def test_past_the_scope_nothing_is_bounded(db):
    with transaction.atomic():
        with system_scope():
            pass
        assert bound() == "0"


@pytest.mark.django_db(transaction=True)
def test_who_stands_still_for_longer_has_changed_nothing_and_can_go_on(cast):
    def name_sites():
        with system_scope(idle=0.1):
            Site.objects.create(tenant=cast.tenant, name="Never")
            time.sleep(0.6)
            Site.objects.create(tenant=cast.tenant, name="Neither")

    with pytest.raises(Error):
        name_sites()
    with system_scope(idle=0.1):
        assert set(Site.objects.values_list("name", flat=True)).isdisjoint({"Never", "Neither"})
