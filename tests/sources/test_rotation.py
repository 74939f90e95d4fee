"""Rotation with an overlap (B1): who is accepted, until when, and what two rotations at once do."""

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from sources.authentication import METHODS, ConfigError, InboundRequest
from sources.models import MAX_LIVE_SECRETS, Source, SourceCredential
from sources.registry import DatabaseRegistry
from tenants.scope import tenant_scope

pytestmark = pytest.mark.spec("B1")
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
NOW = timedelta(0)


@pytest.fixture
def source(cast):
    with tenant_scope(cast.tenant.pk):
        source, secret = Source.objects.create_with_secret(cast.tenant, cast.owner, "Orders", "bearer", {})
        source.first = secret
        yield source


def accepts(source, secret):
    """What the ingest door would say, through the registry and the method itself."""
    header = (b"authorization", b"Bearer " + secret.encode())
    request = InboundRequest("POST", (header,), b"{}", timezone.now().timestamp())
    known = DatabaseRegistry().find(source.ingest_key)
    return METHODS[known.method].verify(known.config, known.secrets, request).accepted


def test_both_are_accepted_during_the_overlap(source):
    second, until = source.rotate_secret(DAY)
    assert accepts(source, source.first)
    assert accepts(source, second)
    assert until - timezone.now() <= DAY


def test_the_previous_ends_when_it_was_said(source):
    _, until = source.rotate_secret(HOUR)
    live = source.credentials.live
    assert live(until - timedelta(seconds=1)).count() == 2
    assert live(until).count() == 1


def test_without_overlap_the_previous_stops_at_once(source):
    second, _ = source.rotate_secret(NOW)
    assert not accepts(source, source.first)
    assert accepts(source, second)


def test_a_rotation_without_overlap_ends_all_earlier_ones(source):
    second, _ = source.rotate_secret(DAY)
    third, _ = source.rotate_secret(NOW)
    assert [accepts(source, one) for one in (source.first, second, third)] == [False, False, True]


def test_a_further_rotation_never_lengthens_a_life(source):
    _, end = source.rotate_secret(HOUR)
    source.rotate_secret(7 * DAY)
    assert source.credentials.order_by("id").first().expires_at == end


def test_a_further_rotation_with_a_shorter_overlap_ends_older_ones_with_it(source):
    source.rotate_secret(7 * DAY)
    _, end = source.rotate_secret(HOUR)
    assert {one.expires_at for one in source.credentials.exclude(expires_at=None)} == {end}


def test_no_more_than_three_live_at_once(source):
    secrets = [source.first, *(source.rotate_secret(DAY)[0] for _ in range(4))]
    assert source.credentials.live().count() == MAX_LIVE_SECRETS == 3
    assert [accepts(source, one) for one in secrets] == [False, False, True, True, True]


def test_what_ended_is_destroyed(source):
    source.rotate_secret(NOW)
    ended = source.credentials.exclude(expires_at=None).get()
    assert ended.value is None
    assert ended.digest is None


def test_ending_the_overlap_leaves_the_current_one(source):
    second, _ = source.rotate_secret(DAY)
    third, _ = source.rotate_secret(DAY)
    assert source.end_overlap() == 2
    assert source.end_overlap() == 0
    assert [accepts(source, one) for one in (source.first, second, third)] == [False, False, True]


def test_a_typed_secret_is_taken_and_checked(source):
    assert source.rotate_secret(DAY, "0123456789abcdef")[0] == "0123456789abcdef"
    with pytest.raises(ConfigError):
        source.rotate_secret(DAY, "short")


def test_a_secret_that_is_live_is_not_taken_again(source):
    with pytest.raises(ConfigError):
        source.rotate_secret(DAY, source.first)
    assert source.credentials.count() == 1


def test_a_source_without_secret_has_nothing_to_rotate(cast):
    with tenant_scope(cast.tenant.pk):
        source, _ = Source.objects.create_with_secret(cast.tenant, None, "Open", "none", {})
        with pytest.raises(ConfigError):
            source.rotate_secret(DAY)


def test_a_source_deleted_meanwhile_is_not_rotated(source):
    Source.objects.get(pk=source.pk).delete()
    with pytest.raises(Source.DoesNotExist):
        source.rotate_secret(DAY)
    assert not SourceCredential.objects.exists()


def test_each_credential_knows_when_it_was_used(source):
    source.rotate_secret(DAY)
    old = source.credentials.exclude(expires_at=None)
    old.touch()
    assert old.get().last_used_at is not None
    assert source.current_credential.last_used_at is None


@pytest.mark.django_db(transaction=True)
def test_rotations_at_the_same_time_wait_for_each_other(cast):
    """Each must retire what the one before it issued: one current secret, whoever was last."""
    with tenant_scope(cast.tenant.pk):
        source, first = Source.objects.create_with_secret(cast.tenant, None, "Orders", "bearer", {})
    secrets, start = [], threading.Barrier(6)

    def rotate():
        try:
            start.wait()
            with tenant_scope(cast.tenant.pk):
                secrets.append(Source.objects.get(pk=source.pk).rotate_secret(DAY)[0])
        finally:
            connection.close()

    threads = [threading.Thread(target=rotate) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with tenant_scope(cast.tenant.pk):
        assert len(set(secrets)) == 6
        assert source.credentials.filter(expires_at=None).count() == 1
        assert source.credentials.live().count() == MAX_LIVE_SECRETS
        assert source.credentials.count() == 7
