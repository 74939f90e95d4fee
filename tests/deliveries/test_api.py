"""/api/v1/deliveries/ and /api/v1/attempts/."""

import pytest

from deliveries.models import Attempt, Delivery, Outbox
from events.models import Event
from subscriptions.models import Subscription
from tenants.models import AuditEntry
from tenants.scope import system_scope, tenant_scope
from tests.receiver import Answer


@pytest.fixture
def delivery(cast, subscribe, happen, deliver):
    subscribe()
    happen()
    deliver()
    with tenant_scope(cast.tenant.pk):
        return Delivery.objects.get()


def test_the_log_is_listed_newest_first(api, delivery, happen, deliver):
    happen("order.paid")
    deliver()
    results = api("viewer").get("/api/v1/deliveries/").json()["results"]
    assert [row["event_type"] for row in results] == ["order.paid", "user.created"]
    assert results[1]["status"] == "delivered"


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("status=delivered", 1),
        ("status=dead", 0),
        ("status=dead&status=delivered", 1),
        ("event_type=user.created", 1),
        ("kind=test", 0),
        ("since=2020-01-01T00:00:00Z", 1),
        ("until=2020-01-01T00:00:00Z", 0),
    ],
)
def test_the_log_can_be_filtered(api, delivery, query, count):
    assert len(api().get(f"/api/v1/deliveries/?{query}").json()["results"]) == count


def test_it_can_be_filtered_by_subscription_and_event(api, delivery):
    for name in ("subscription", "event"):
        value = getattr(delivery, f"{name}_id")
        assert len(api().get(f"/api/v1/deliveries/?{name}={value}").json()["results"]) == 1
        assert api().get(f"/api/v1/deliveries/?{name}={delivery.pk}").json()["results"] == []


def test_a_filter_that_is_none_is_400_and_names_it(api, delivery):
    answer = api().get("/api/v1/deliveries/?subscription=nonsense")
    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["errors"][0]["field"] == "subscription"


@pytest.mark.spec("S3")
def test_the_detail_has_the_attempts(api, delivery):
    """A webhook event has a name, retries, a payload and a status; its log, of each attempt, code and response."""
    detail = api().get(f"/api/v1/deliveries/{delivery.pk}/").json()
    assert (detail["event_type"], detail["attempt_count"], detail["status"]) == ("user.created", 1, "delivered")
    (attempt,) = detail["attempts"]
    assert {"response_headers", "response_body"} <= attempt.keys()
    assert attempt["number"] == 1
    assert attempt["status_code"] == 204
    assert ["webhook-id", delivery.message_id] in attempt["request_headers"]


def test_resend_makes_a_new_delivery_with_the_same_message_id(api, delivery, deliver, receiver):
    answer = api("member").post(f"/api/v1/deliveries/{delivery.pk}/resend/")
    assert answer.status_code == 201
    assert answer.json()["id"] != str(delivery.pk)
    deliver()
    first, second = receiver.posted
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    with system_scope():
        assert AuditEntry.objects.filter(action="delivery.resent").count() == 1


def test_a_viewer_may_not_resend(api, delivery):
    assert api("viewer").post(f"/api/v1/deliveries/{delivery.pk}/resend/").status_code == 403


def test_resending_to_a_disabled_subscription_is_409(api, delivery):
    with system_scope():
        Subscription.objects.update(state=Subscription.State.DISABLED)
    answer = api().post(f"/api/v1/deliveries/{delivery.pk}/resend/")
    assert answer.status_code == 409
    assert "disabled" in answer.json()["detail"]


def test_a_pending_one_can_be_cancelled_once(api, subscribe, happen, deliver, receiver):
    receiver.answer = Answer(500)
    subscribe()
    happen()
    deliver()
    with system_scope():
        pk = Delivery.objects.get().pk
    assert api("member").post(f"/api/v1/deliveries/{pk}/cancel/").json()["status"] == "cancelled"
    assert api("member").post(f"/api/v1/deliveries/{pk}/cancel/").status_code == 409
    with system_scope():
        assert not Outbox.objects.exists()


@pytest.mark.parametrize("path", ["", "resend/", "cancel/"])
def test_a_strangers_delivery_is_404(stranger_api, delivery, path):
    call = stranger_api.post if path else stranger_api.get
    assert call(f"/api/v1/deliveries/{delivery.pk}/{path}").status_code == 404


def test_a_stranger_sees_no_attempts(stranger_api, delivery):
    assert stranger_api.get(f"/api/v1/attempts/?delivery={delivery.pk}").json()["results"] == []


@pytest.mark.spec("T1")
@pytest.mark.parametrize("role", ["viewer", "owner"])
def test_where_the_hidden_url_leads_is_not_told(api, cast, delivery, role):
    with tenant_scope(cast.tenant.pk):
        attempt = Attempt.objects.get()
    assert attempt.address.startswith("127.0.0.1:")
    for path in ("attempts/", f"attempts/{attempt.pk}/", f"deliveries/{delivery.pk}/"):
        answer = api(role).get(f"/api/v1/{path}")
        assert answer.status_code == 200
        assert attempt.address not in answer.text


@pytest.mark.spec("S4")
def test_the_detail_shows_the_body_as_it_was_sent(api, cast, subscribe, happen, deliver, receiver):
    subscribe(signing="timestamped_body", shape="timestamped")
    happen(body=b'{"k": 1.0}')
    deliver()
    with tenant_scope(cast.tenant.pk):
        delivery = Delivery.objects.get()
    shown = api("viewer").get(f"/api/v1/deliveries/{delivery.pk}/").json()["body"]
    assert shown.encode() == receiver.posted[0].body
    assert '"timestamp":0' not in shown


@pytest.mark.spec("T4")
def test_a_confirmation_links_body_is_not_shown(api, cast, subscribe, deliver, receiver):
    subscription, _ = subscribe(state="pending")
    with tenant_scope(cast.tenant.pk):
        subscription.send_confirmation()
    deliver()
    with tenant_scope(cast.tenant.pk):
        delivery = Delivery.objects.get()
    assert b"/confirm/" in receiver.posted[0].body
    answer = api().get(f"/api/v1/deliveries/{delivery.pk}/")
    assert answer.json()["body"] is None
    assert b"/confirm/" not in answer.content


def test_an_event_that_is_no_longer_kept_has_no_body(api, delivery):
    with system_scope():
        Event.objects.all().delete()
    answer = api().get(f"/api/v1/deliveries/{delivery.pk}/")
    assert answer.status_code == 200
    assert answer.json()["body"] is None
