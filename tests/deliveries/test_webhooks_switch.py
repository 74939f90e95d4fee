"""Webhooks can be switched on per tenant (S1): without them nothing is sent, and nothing of them is to be seen."""

import uuid
from io import StringIO

import pytest
from django.core.management import call_command
from django.urls import get_resolver, reverse
from django.urls.resolvers import URLResolver
from rest_framework.test import APIClient

from deliveries import deciding, replay
from deliveries.models import Delivery, Replay, Undecided
from deliveries.replay_models import WrongState
from deliveries.routing import route
from sources.models import Source
from subscriptions.evaluator import Evaluator
from subscriptions.models import Subscription
from tenants.models import AuditEntry, Tenant
from tenants.permissions import WEBHOOKS_OFF
from tenants.scope import system_scope, tenant_scope
from tests.receiver import Answer

pytestmark = pytest.mark.spec("S1")
ROOMS = ("subscriptions/", "deliveries/", "attempts/", "replays/")


@pytest.fixture
def operator(cast):
    client = APIClient()
    client.force_login(cast.operator)
    return client


@pytest.fixture
def switch(operator, cast):
    def to(webhooks: bool):
        answer = operator.patch(f"/api/v1/tenants/{cast.tenant.pk}/", {"webhooks": webhooks}, format="json")
        assert (answer.status_code, answer.json()["webhooks"]) == (200, webhooks)

    return to


def routes(prefix: str, resolver=None, before: str = ""):
    """(path, methods) of everything below one of ROOMS, ids filled in; methods of an API's, GET of a page's."""
    for pattern in (resolver or get_resolver()).url_patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(prefix, pattern, route)
        elif route.startswith(tuple(prefix + room for room in ROOMS)):
            path = "/" + "/".join(str(uuid.uuid4()) if "<" in part else part for part in route.split("/"))
            methods = getattr(pattern.callback, "actions", None) or ("get",)
            yield path, [method for method in methods if method != "head"]  # added by DRF at the first GET; no body


def test_there_is_something_to_switch_off():
    assert len(list(routes(""))) >= 15
    assert len(list(routes("api/v1/"))) >= 15


def test_every_endpoint_is_refused_and_says_why(api, switch):
    switch(False)
    for path, methods in routes("api/v1/"):
        for method in methods:
            answer = getattr(api("owner"), method)(path, {}, format="json")
            assert (answer.status_code, answer.json()["detail"]) == (403, WEBHOOKS_OFF), (method, path)


def test_every_page_says_so_and_none_leads_there(browser, cast, switch):
    switch(False)
    owner = browser(cast.owner)
    for path, _ in routes(""):
        answer = owner.get(path)
        assert answer.status_code == 403, path
        assert "Webhooks are switched off" in answer.text
    for path in map(reverse, ("dashboard", "events", "sources", "source_create", "catalogue", "settings")):
        answer = owner.get(path)
        assert answer.status_code == 200
        assert "/subscriptions/" not in answer.text, path
        assert "/deliveries/" not in answer.text, path


def test_the_dashboard_asks_for_no_subscription(browser, cast, switch, happen):
    with tenant_scope(cast.tenant.pk):
        Source.objects.create(tenant=cast.tenant, name="Door", auth_method="none")
    happen()
    assert "Three steps" in browser(cast.owner).get("/").text
    switch(False)
    assert "steps to the first" not in browser(cast.owner).get("/").text


def test_the_others_are_not_concerned(api, cast, switch, subscribe, happen, deliver):
    subscribe(tenant=cast.other_tenant)
    switch(False)
    happen(tenant=cast.other_tenant)
    deliver()
    answer = api("owner", tenant=cast.other_tenant).get("/api/v1/deliveries/")
    assert [row["status"] for row in answer.json()["results"]] == ["delivered"]


def test_nothing_is_sent_of_what_happens_meanwhile_and_all_can_be_sent_afterwards(
    api, switch, subscribe, happen, deliver, receiver
):
    subscription, _ = subscribe()
    switch(False)
    event = happen()
    deliver()
    assert receiver.posted == []
    with system_scope():
        assert not Delivery.objects.exists()
    switch(True)
    asked = {"subscription": str(subscription.pk), "kind": "events", "since": "2020-01-01T00:00:00Z"}
    assert api("owner").post("/api/v1/replays/", asked, format="json").status_code == 201
    while replay.advance() is not None:
        deliver()
    assert [posted.headers["webhook-id"] for posted in receiver.posted] == [str(event.pk)]


def test_what_is_on_its_way_is_cancelled_and_says_why(switch, subscribe, happen, deliver, receiver):
    receiver.answer = Answer(500)
    subscribe()
    subscribe(name="In line", mode="ordered")
    happen()
    route()
    switch(False)
    deliver()
    assert receiver.posted == []
    with system_scope():
        found = set(Delivery.objects.values_list("status", "reason"))
    assert found == {("cancelled", "Webhooks were switched off for the workspace.")}


def test_a_filter_that_waits_to_be_asked_is_not_asked(switch, subscribe, happen):
    subscribe(filter="true")
    event = happen()
    route()
    switch(False)
    with Evaluator() as evaluator:
        assert deciding.decide(event.tenant_id, evaluator) == deciding.Decided(settled=1, deliveries=0)
    with system_scope():
        assert not Undecided.objects.exists()


def test_a_replay_does_not_begin(cast, switch, subscribe):
    subscription, _ = subscribe()
    switch(False)
    with tenant_scope(cast.tenant.pk), pytest.raises(WrongState, match="switched off"):
        Replay.asked(Subscription.objects.get(pk=subscription.pk), Replay.Kind.MISSED)


def test_subscriptions_stay_as_they_are(api, switch, subscribe):
    subscribe(name="Stays")
    switch(False)
    switch(True)
    (row,) = api("owner").get("/api/v1/subscriptions/").json()["results"]
    assert (row["name"], row["state"]) == ("Stays", "idle")


def test_it_is_in_the_tenants_audit_log(cast, switch):
    switch(False)
    with tenant_scope(cast.tenant.pk):
        entry = AuditEntry.objects.get(action="tenant.changed")
    assert entry.change == {"webhooks": [True, False]}


def test_nobody_in_the_tenant_can_switch_it(api, cast, switch):
    switch(False)
    answer = api("owner").patch("/api/v1/tenant/", {"webhooks": True}, format="json")
    assert answer.json().get("webhooks") is not True
    assert api("owner").get("/api/v1/tenant/").json()["webhooks"] is False


@pytest.mark.parametrize("let_in", [True, False])
def test_what_new_tenants_get_is_a_setting(operator, settings, let_in):
    settings.WEBHOOKS_FOR_NEW_TENANTS = let_in
    made = operator.post("/api/v1/tenants/", {"name": "Initech", "owner": "bill@initech.example"}, format="json")
    assert made.json()["webhooks"] is let_in
    call_command("create_tenant", "--owner", "gavin@hooli.example", "Hooli", stdout=StringIO())
    with system_scope():
        assert Tenant.objects.get(name="Hooli").webhooks is let_in


def test_an_operator_sees_and_switches_it_on_the_page(browser, cast, switch):
    page = browser(cast.operator).get("/operators/tenants/").text
    assert "Webhooks off…" in page
    switch(False)
    assert "Webhooks on<" in browser(cast.operator).get("/operators/tenants/").text
