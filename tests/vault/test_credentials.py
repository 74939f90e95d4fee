"""A credential's life: issued, live, used, retired with an overlap (B1)."""

import hashlib
from datetime import timedelta

import pytest
from django.utils import timezone

from subscriptions.models import SigningSecret, Subscription
from tenants.scope import tenant_scope

SECRET = "whsec_0123456789abcdef"
HOUR = timedelta(hours=1)


@pytest.fixture
def owner(cast):
    with tenant_scope(cast.tenant.pk):
        subscription = Subscription.objects.create(tenant=cast.tenant, name="s", url="https://r.example/")
        yield {"tenant": cast.tenant, "subscription": subscription}


@pytest.fixture
def credential(owner):
    return SigningSecret.issue(SECRET, keep_value=True, **owner)


def reload(credential):
    return SigningSecret.objects.get(pk=credential.pk)


def test_a_value_that_is_needed_again_is_sealed(credential):
    assert reload(credential).value == SECRET
    assert reload(credential).digest is None


def test_a_value_that_is_only_compared_leaves_a_digest(owner):
    credential = reload(SigningSecret.issue(SECRET, keep_value=False, **owner))
    assert credential.value is None
    assert bytes(credential.digest) == hashlib.sha256(SECRET.encode()).digest()


def test_only_the_last_four_are_shown_and_of_a_short_one_nothing(owner, credential):
    assert str(credential) == "…cdef"
    assert SigningSecret.issue("hunter2", keep_value=True, **owner).last_four == ""


@pytest.mark.spec("B1")
def test_a_retired_one_lives_through_its_overlap_and_no_longer(credential):
    now = timezone.now()
    credential.retire(HOUR, at=now)
    live = SigningSecret.objects.live
    assert credential in live(now + HOUR - timedelta(microseconds=1))
    assert credential not in live(now + HOUR)
    assert not credential.is_current


def test_no_overlap_ends_it_at_once(credential):
    now = timezone.now()
    credential.retire(timedelta(0), at=now)
    assert not SigningSecret.objects.live(now).exists()


def test_retiring_again_never_lengthens_a_life(credential):
    now = timezone.now()
    credential.retire(HOUR, at=now)
    credential.retire(timedelta(days=7), at=now)
    assert reload(credential).expires_at == now + HOUR
    credential.retire(timedelta(0), at=now)
    assert reload(credential).expires_at == now


def test_the_newest_live_one_comes_first(owner, credential):
    second = SigningSecret.issue(SECRET + "2", keep_value=True, **owner)
    assert list(SigningSecret.objects.live()) == [second, credential]


def test_use_is_noted_at_most_twice_a_minute(credential):
    now = timezone.now()
    SigningSecret.objects.touch(now)
    SigningSecret.objects.touch(now + timedelta(seconds=29))
    assert reload(credential).last_used_at == now
    SigningSecret.objects.touch(now + timedelta(seconds=31))
    assert reload(credential).last_used_at == now + timedelta(seconds=31)
