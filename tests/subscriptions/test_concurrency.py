"""What happens at once, on real connections: the state stays legal whoever wins."""

import threading
import time
from contextlib import suppress
from datetime import timedelta

import pytest
from django.db import connection

from subscriptions.models import Subscription, TooManyConfirmations, WrongState
from tenants.scope import system_scope, tenant_scope
from tests.subscriptions.conftest import token_of

pytestmark = pytest.mark.django_db(transaction=True)
OTHER_URL = "https://other.example/hook"


def at_once(*acts):
    """Run each in a thread with a connection of its own, started together; returns their results."""
    barrier, results = threading.Barrier(len(acts)), [None] * len(acts)

    def run(index, act):
        try:
            barrier.wait(timeout=10)
            results[index] = act()
        except Exception as error:
            results[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    return results


def confirming(token):
    def act():
        with system_scope():
            return Subscription.objects.confirm(token)

    return act


def of_tenant(subscription, verb):
    """The verb on a copy of its own, loaded in the tenant's scope as a request does."""

    def act():
        with tenant_scope(subscription.tenant_id):
            return verb(Subscription.objects.get(pk=subscription.pk))

    return act


def now(subscription):
    with system_scope():
        return Subscription.objects.get(pk=subscription.pk)


def test_of_many_that_use_one_token_one_wins(make):
    subscription = make()
    results = at_once(*[confirming(token_of(subscription))] * 6)
    assert [one for one in results if isinstance(one, Exception)] == []
    assert len([one for one in results if one is not None]) == 1


@pytest.mark.spec("T4")
@pytest.mark.parametrize("round_number", range(8))
def test_a_link_to_the_old_url_never_confirms_the_new_one(make, round_number):
    subscription = make()
    old = token_of(subscription)
    confirmed, changed = at_once(confirming(old), of_tenant(subscription, lambda one: one.change_url(OTHER_URL)))
    assert changed is True
    assert not isinstance(confirmed, Exception)
    after = now(subscription)
    assert (after.state, after.confirmed_at, after.url) == ("pending", None, OTHER_URL)


@pytest.mark.parametrize("round_number", range(8))
def test_disabling_wins_over_a_confirmation_at_the_same_time(make, round_number):
    subscription = make()
    confirmed, disabled = at_once(
        confirming(token_of(subscription)),
        of_tenant(subscription, lambda one: one.disable("By a test.")),
    )
    assert disabled is True
    assert not isinstance(confirmed, Exception)
    after = now(subscription)
    assert after.state == "disabled"
    assert after.confirmation_digest is None
    assert (after.confirmed_at is not None) is (confirmed is not None)


@pytest.mark.parametrize("round_number", range(8))
def test_three_at_once_leave_a_legal_state(make, round_number):
    subscription = make()
    results = at_once(
        confirming(token_of(subscription)),
        of_tenant(subscription, lambda one: one.change_url(OTHER_URL)),
        of_tenant(subscription, lambda one: one.disable("By a test.")),
    )
    assert [one for one in results if isinstance(one, Exception)] == []
    after = now(subscription)
    # Whatever came first, the URL is the new one and nobody has agreed for it.
    assert after.url == OTHER_URL
    assert after.confirmed_at is None
    assert (after.state, after.confirmation_digest is None) in [
        ("pending", False),
        ("disabled", True),
    ]


def test_an_answer_at_once_with_a_change_of_url_disables_only_the_old_one(make):
    subscription = make("idle")
    loaded = now(subscription)

    def answered():
        with system_scope():
            return loaded.disable_by_answer("The receiver answered 410.")

    at_once(answered, of_tenant(subscription, lambda one: one.change_url(OTHER_URL)))
    after = now(subscription)
    assert (after.state, after.url) == ("pending", OTHER_URL)


def test_of_two_links_asked_for_at_once_one_is_sent(make):
    subscription = make()
    with system_scope():
        Subscription.objects.update(confirmation_expires_at=None)
        subscription.notices.all().delete()
    results = at_once(*[of_tenant(subscription, lambda one: one.send_confirmation())] * 4)
    assert len([one for one in results if isinstance(one, TooManyConfirmations)]) == 3
    with system_scope():
        assert subscription.notices.count() == 1


def test_rotations_at_once_each_leave_their_secret_live(make):
    subscription = make()
    rotate = of_tenant(subscription, lambda one: one.rotate_secret(timedelta(hours=1))[0])
    secrets = at_once(rotate, rotate, rotate)
    with system_scope():
        live = subscription.live_secrets()
        current = subscription.signing_secrets.filter(expires_at=None).count()
    assert set(secrets) < set(live)
    assert len(live) == 4
    assert current == 1


def test_a_deletion_at_once_with_a_rotation_leaves_no_secret(make):
    subscription = make("idle")

    def rotate(one):
        with suppress(WrongState):
            one.rotate_secret(timedelta(hours=1))

    at_once(of_tenant(subscription, rotate), of_tenant(subscription, lambda one: one.delete()))
    with system_scope():
        assert subscription.signing_secrets.count() == 0
        assert now(subscription).url == ""


def someone_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return cursor.fetchone()[0] > 0


def test_a_confirmation_that_waits_for_a_change_of_url_sees_it(make):
    """The same race, held open: the link was found good, then the URL changed under it."""
    subscription = make()
    outcome = []
    waiting = threading.Thread(
        target=lambda: (
            outcome.append(confirming(old)()),
            connection.close(),
        )
    )
    old = token_of(subscription)
    with tenant_scope(subscription.tenant_id):
        Subscription.objects.get(pk=subscription.pk).change_url(OTHER_URL)
        waiting.start()
        deadline = time.monotonic() + 10
        while not someone_waits_for_a_lock() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert someone_waits_for_a_lock()
    waiting.join(timeout=10)
    assert outcome == [None]
    assert now(subscription).state == "pending"
