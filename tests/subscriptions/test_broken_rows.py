"""A row that makes no sense to this portal: damaged, or another version's. A list does not fail over it."""

import pytest
from django.urls import reverse

from subscriptions.models import Subscription
from tenants.scope import tenant_scope

SENSELESS = {
    "signing": "sealing wax",
    "signing_options": [1],
    "shape": "sphere",
    "policy": "hope",
    "state": "dozing",
    "min_severity": "grim",
}


@pytest.fixture(params=SENSELESS)
def broken(make, cast, request):
    subscription = make("idle", name="Broken")
    make("idle", name="Sound")
    with tenant_scope(cast.tenant.pk):
        Subscription.objects.filter(pk=subscription.pk).update(**{request.param: SENSELESS[request.param]})
    return subscription


def test_the_list_of_the_api_shows_it_among_the_others(api, broken):
    answer = api().get("/api/v1/subscriptions/")
    assert answer.status_code == 200
    assert {one["name"] for one in answer.json()["results"]} == {"Broken", "Sound"}


def test_so_does_the_page(browser, cast, broken):
    answer = browser(cast.owner).get(reverse("subscriptions"))
    assert answer.status_code == 200
    assert b"Broken" in answer.content
    assert b"Sound" in answer.content


def test_it_can_be_deleted(api, broken):
    assert api().delete(f"/api/v1/subscriptions/{broken.pk}/").status_code == 204
