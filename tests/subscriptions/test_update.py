"""PATCH of a subscription, while something else happens to it."""

import pytest
from django.db import connection

from subscriptions.models import Subscription
from tenants.scope import system_scope
from tests.meanwhile import meanwhile

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def patch_while(api, cast):
    def run(subscription, verb, change):
        client = api()
        return meanwhile(
            cast.tenant.pk,
            lambda: verb(Subscription.objects.get(pk=subscription.pk)),
            lambda: client.patch(f"/api/v1/subscriptions/{subscription.pk}/", change),
        )

    return run


@pytest.mark.spec("T3")
def test_headers_given_for_one_host_do_not_go_to_another(make, patch_while):
    subscription = make("idle")
    answer = patch_while(
        subscription,
        lambda found: found.configure(headers={"X-Auth": "for the old host"}),
        {"url": "https://elsewhere.example/"},
    )
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "headers"


def test_a_deleted_one_is_given_no_secrets_again(make, patch_while):
    subscription = make("idle")
    assert patch_while(subscription, Subscription.delete, {"headers": {"X-Auth": "s3cret"}}).status_code == 404
    with system_scope(), connection.cursor() as cursor:
        cursor.execute("SELECT headers, header_names FROM subscriptions_subscription")
        assert cursor.fetchall() == [(None, [])]
