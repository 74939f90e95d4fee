"""A row that makes no sense to this portal: damaged, or another version's. A list does not fail over it."""

import pytest
from django.urls import reverse
from django.utils.html import escape

from subscriptions.models import Subscription
from tenants.scope import tenant_scope

SENSELESS = {
    "signing": "sealing wax",
    "signing_options": [1],
    "shape": "sphere",
    "policy": "hope",
    "state": "dozing",
    "min_severity": "grim",
    "mode": "waltz",
    "auth_method": "handshake",
    "rules": ["5xx"],
    "delays": None,
}
BESIDE = {"delays": {"policy": "custom"}}


@pytest.fixture(params=SENSELESS)
def broken(make, cast, request):
    subscription = make("idle", name="Broken")
    make("idle", name="Sound")
    with tenant_scope(cast.tenant.pk):
        Subscription.objects.filter(pk=subscription.pk).update(
            **{request.param: SENSELESS[request.param]}, **BESIDE.get(request.param, {})
        )
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


@pytest.mark.parametrize("part", ["", "edit/"])
def test_its_own_page_says_what_is_wrong(browser, cast, broken, part, request):
    answer = browser(cast.owner).get(f"/subscriptions/{broken.pk}/{part}")
    assert answer.status_code == 200
    shown = answer.content.decode()
    assert "cannot read the subscription" in shown
    assert escape(str(SENSELESS[request.node.callspec.params["broken"]])) in shown


def test_its_state_can_be_asked_for(browser, cast, broken):
    assert browser(cast.owner).get(f"/subscriptions/{broken.pk}/state/").status_code in (200, 286)


def test_the_api_shows_it_too(api, broken):
    assert api().get(f"/api/v1/subscriptions/{broken.pk}/").status_code == 200


def test_it_can_be_deleted(api, broken):
    assert api().delete(f"/api/v1/subscriptions/{broken.pk}/").status_code == 204
