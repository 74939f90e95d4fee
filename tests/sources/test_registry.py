"""What the ingest door is told of a source."""

from datetime import timedelta

import pytest

from sources.models import Source, SourceCredential
from sources.registry import DatabaseRegistry
from tenants.models import Site
from tenants.scope import current_scope, system_scope, tenant_scope

find = DatabaseRegistry().find


@pytest.fixture
def make(cast):
    def make_source(method="hmac", **fields):
        with tenant_scope(cast.tenant.pk):
            return Source.objects.create_with_secret(cast.tenant, cast.owner, "Orders", method, {}, **fields)

    return make_source


def test_it_tells_all_that_a_request_is_judged_by(cast, make):
    source, secret = make(stream_type="lines", event_type="order.created", kind="incident")
    with tenant_scope(cast.tenant.pk):
        site = Site.objects.create(tenant=cast.tenant, name="Berlin")
    found = find(source.ingest_key)
    assert (found.id, found.tenant_id, found.name) == (source.pk, cast.tenant.pk, "Orders")
    assert (found.kind, found.status, found.tenant_active) == ("incident", "active", True)
    assert (found.stream_type, found.event_type) == ("lines", "order.created")
    assert found.config == {"header": "X-Signature", "algorithm": "sha256"}
    assert found.sites == {"berlin": site.pk}
    assert [one.value for one in found.secrets] == [secret.encode()]


def test_it_looks_across_tenants_and_leaves_the_callers_scope_alone(cast, make):
    source, _ = make()
    with tenant_scope(cast.other_tenant.pk):
        assert find(source.ingest_key).tenant_id == cast.tenant.pk
        assert current_scope() == str(cast.other_tenant.pk)


def test_sites_of_other_tenants_are_not_among_them(cast, make):
    source, _ = make()
    with tenant_scope(cast.other_tenant.pk):
        Site.objects.create(tenant=cast.other_tenant, name="Springfield")
    assert find(source.ingest_key).sites == {}


def test_a_deleted_source_is_not_found(cast, make):
    source, _ = make()
    with tenant_scope(cast.tenant.pk):
        Source.objects.get(pk=source.pk).delete()
        row = Source.objects.get(pk=source.pk)
    assert find(source.ingest_key) is None
    assert find(row.ingest_key) is None


def test_an_old_url_is_not_found(cast, make):
    source, _ = make()
    old = source.ingest_key
    with tenant_scope(cast.tenant.pk):
        source.regenerate_url()
    assert find(old) is None
    assert find(source.ingest_key) is not None


def test_a_paused_source_is_found_and_says_so(cast, make):
    source, _ = make()
    with tenant_scope(cast.tenant.pk):
        source.pause()
    assert find(source.ingest_key).status == "paused"


def test_a_suspended_tenant_is_told(cast, make):
    source, _ = make()
    with system_scope():
        cast.tenant.suspend()
    assert find(source.ingest_key).tenant_active is False


@pytest.mark.parametrize("key", ["", "x", "\x00" * 20, "\ud800" * 20, "a" * 300, "../../etc/passwd"])
def test_what_cannot_be_a_key_finds_nothing(db, key):
    assert find(key) is None


@pytest.mark.spec("B10")
def test_a_secret_that_does_not_open_leaves_the_others_working(cast, make, caplog):
    source, first = make()
    with tenant_scope(cast.tenant.pk):
        second, _ = source.rotate_secret(timedelta(days=1))
        broken = source.current_credential
        sealed = bytearray(broken.__dict__["value"])
        sealed[-1] ^= 1
        SourceCredential.objects.filter(pk=broken.pk).update(value=bytes(sealed))
    found = find(source.ingest_key)
    assert [one.value for one in found.secrets] == [first.encode()]
    assert str(broken.pk) in caplog.text
    assert first not in caplog.text
    assert second not in caplog.text
