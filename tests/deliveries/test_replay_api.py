"""/api/v1/replays/, and cancelling whatever is pending."""

import pytest
from django.utils import timezone

from deliveries import models, outbox
from deliveries import replay as replaying
from deliveries.filters import DeliveryFilter
from deliveries.models import Attempt, Delivery, Outbox, Replay
from deliveries.replay_serializers import SelectionSerializer
from deliveries.results import decide, record
from deliveries.routing import route
from deliveries.sending import Sending
from egress.client import Outcome
from subscriptions.models import Subscription
from tenants.models import AuditEntry
from tenants.scope import system_scope, tenant_scope
from tests.meanwhile import meanwhile

pytestmark = pytest.mark.spec("B7")


@pytest.fixture
def subscription(subscribe):
    return subscribe()[0]


@pytest.fixture
def waiting(subscription, happen):
    """Three deliveries that are pending."""
    for _ in range(3):
        happen()
    while route().claimed:
        pass


@pytest.fixture
def failed(waiting):
    with system_scope():
        Delivery.objects.update(status="failed", completed_at=timezone.now())
        Outbox.objects.all().delete()


@pytest.fixture
def body(subscription):
    return {"subscription": str(subscription.pk), "kind": "deliveries", "selection": {"status": ["failed"]}}


def acts(action: str) -> list[AuditEntry]:
    with system_scope():
        return list(AuditEntry.objects.filter(action=action))


def test_the_count_comes_first_and_starts_nothing(api, failed, body):
    answer = api("member").post("/api/v1/replays/count/", body)
    assert (answer.status_code, answer.json()) == (200, {"count": 3, "is_exact": True})
    with system_scope():
        assert not Replay.objects.exists()
        assert not Outbox.objects.exists()


def test_it_is_started_watched_and_ends(api, failed, body):
    answer = api("member").post("/api/v1/replays/", body)
    assert answer.status_code == 201
    started = answer.json()
    assert (started["state"], started["total"], started["done"]) == ("running", 3, 0)
    while replaying.advance() is not None:
        pass
    ended = api("viewer").get(f"/api/v1/replays/{started['id']}/").json()
    assert (ended["state"], ended["total"], ended["done"]) == ("finished", 3, 3)
    assert ended["ended_at"]
    assert ended["asked_by"].startswith("member key")
    (entry,) = acts("replay.started")
    assert entry.change["count"] == "3"


def test_it_can_be_stopped_once(api, failed, body):
    pk = api().post("/api/v1/replays/", body).json()["id"]
    answer = api("member").post(f"/api/v1/replays/{pk}/stop/")
    assert (answer.status_code, answer.json()["state"]) == (200, "stopped")
    assert api("member").post(f"/api/v1/replays/{pk}/stop/").status_code == 409
    assert len(acts("replay.stopped")) == 1
    assert replaying.advance() is None


@pytest.mark.parametrize("path", ["replays/", "replays/count/", "deliveries/cancel-pending/"])
def test_a_viewer_may_not(api, failed, body, path):
    assert api("viewer").post(f"/api/v1/{path}", body).status_code == 403


def test_a_viewer_may_not_stop_one(api, failed, body):
    pk = api().post("/api/v1/replays/", body).json()["id"]
    assert api("viewer").post(f"/api/v1/replays/{pk}/stop/").status_code == 403


def test_a_second_one_is_409(api, failed, body):
    assert api().post("/api/v1/replays/", body).status_code == 201
    answer = api().post("/api/v1/replays/", body)
    assert answer.status_code == 409
    assert "running already" in answer.json()["detail"]


@pytest.mark.django_db(transaction=True)
def test_of_two_that_are_started_at_once_one_runs(api, cast, failed, body, subscription):
    client = api()

    def start():
        Replay.asked(subscription, "deliveries").start(3, is_exact=True, asked_by="x")

    answer = meanwhile(cast.tenant.pk, start, lambda: client.post("/api/v1/replays/", body))
    assert answer.status_code == 409
    assert "running already" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["replays/", "replays/count/"])
@pytest.mark.parametrize("state", ["pending", "disabled"])
def test_a_subscription_that_is_not_idle_is_409(api, failed, body, path, state):
    with system_scope():
        Subscription.objects.update(state=state)
    answer = api().post(f"/api/v1/{path}", body)
    assert answer.status_code == 409
    assert state in answer.json()["detail"]


def test_nothing_to_send_is_409(api, subscription, body):
    answer = api().post("/api/v1/replays/", body)
    assert (answer.status_code, answer.json()["detail"]) == (409, "There is nothing to replay.")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kind": "events"}, "selection"),
        ({"kind": "events", "selection": None}, "selection"),
        ({"kind": "other"}, "kind"),
        ({"since": "2026-01-01T00:00:00Z"}, "since"),
        ({"selection": {"status": ["pending"]}}, "selection.status.0"),
        ({"selection": {"stauts": ["failed"]}}, "selection.stauts"),
        ({"selection": {"event": "nonsense"}}, "selection.event"),
        ({"subscription": "nonsense"}, "subscription"),
        ({"subscription": "01930000-0000-7000-8000-000000000000"}, "subscription"),
        ({"from": "2026"}, "from"),
    ],
)
def test_a_mistake_is_400_and_named(api, failed, body, change, field):
    answer = api().post("/api/v1/replays/", body | change)
    assert answer.status_code == 400
    assert field in [error["field"] for error in answer.json()["errors"]]


@pytest.mark.parametrize("since", [None, "2999-01-01T00:00:00Z", "yesterday"])
def test_everything_needs_a_moment_that_has_been(api, subscription, since):
    asked = {"subscription": str(subscription.pk), "kind": "events"} | ({"since": since} if since else {})
    answer = api().post("/api/v1/replays/count/", asked)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "since"


def test_a_selection_knows_what_the_list_knows():
    """A parameter that the list learns has to be learnt here, or "these" would be more than what is shown."""
    elsewhere = {"subscription", "notice", "kind", "range"}  # the page says since when instead of the range
    assert set(SelectionSerializer().fields) == set(DeliveryFilter.base_filters) - elsewhere


def test_a_selection_means_what_the_list_means(api, failed, body, subscription, happen):
    happen("order.paid")
    route()
    with system_scope():
        Delivery.objects.filter(event_type="order.paid").update(status="dead")
        event = Delivery.objects.get(event_type="order.paid").event_id
    now = timezone.now().isoformat().replace("+00:00", "Z")
    for selection in (
        {"status": ["dead"]}, {"event_type": "order.paid"}, {"event": str(event)}, {"since": now}, {"until": now}, {},
    ):  # fmt: skip
        listed = api().get("/api/v1/deliveries/", selection).json()["results"]
        answer = api().post("/api/v1/replays/count/", body | {"selection": selection})
        assert answer.json()["count"] == len(listed), selection


def test_the_list_is_filtered(api, failed, body, subscription):
    pk = api().post("/api/v1/replays/", body).json()["id"]
    for query, found in [
        ("", 1), (f"subscription={subscription.pk}", 1), (f"subscription={pk}", 0), ("state=running", 1),
        ("state=failed", 0),
    ]:  # fmt: skip
        assert len(api("viewer").get(f"/api/v1/replays/?{query}").json()["results"]) == found


def test_a_strangers_replay_is_404(api, stranger_api, failed, body):
    pk = api().post("/api/v1/replays/", body).json()["id"]
    assert stranger_api.get(f"/api/v1/replays/{pk}/").status_code == 404
    assert stranger_api.post(f"/api/v1/replays/{pk}/stop/").status_code == 404
    assert stranger_api.get("/api/v1/replays/").json()["results"] == []


@pytest.mark.parametrize("path", ["replays/", "replays/count/", "deliveries/cancel-pending/"])
def test_a_strangers_subscription_is_none(stranger_api, waiting, subscription, path):
    kind = {"kind": "deliveries"} if "replays" in path else {}
    answer = stranger_api.post(f"/api/v1/{path}", {"subscription": str(subscription.pk), **kind})
    assert answer.status_code == 400
    with system_scope():
        assert Outbox.objects.count() == 3


# ── Cancelling ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def its(subscription):
    return {"subscription": str(subscription.pk)}


def test_all_that_is_pending_is_counted_then_cancelled(api, waiting, its):
    counted = api("member").post("/api/v1/deliveries/cancel-pending/count/", its)
    assert counted.json() == {"count": 3, "is_exact": True}
    answer = api("member").post("/api/v1/deliveries/cancel-pending/", its)
    assert answer.json() == {"cancelled": 3, "left": 0}
    with system_scope():
        assert not Outbox.objects.exists()
        for delivery in Delivery.objects.all():
            assert (delivery.status, delivery.next_attempt_at) == ("cancelled", None)
            assert delivery.reason.startswith("Cancelled by member key")
    (entry,) = acts("subscription.pending_cancelled")
    assert entry.change == {"deliveries": "3"}
    assert api("member").post("/api/v1/deliveries/cancel-pending/", its).status_code == 409


def test_others_are_left_alone(api, subscribe, waiting, its, cast, happen):
    subscribe(name="Another")
    subscribe(tenant=cast.other_tenant)
    happen("order.paid")
    happen(tenant=cast.other_tenant)
    route()
    assert api().post("/api/v1/deliveries/cancel-pending/", its).json()["cancelled"] == 4
    with system_scope():
        assert Outbox.objects.count() == Delivery.objects.filter(status="pending").count() == 2


def test_what_has_ended_stays_as_it_was(api, waiting, its):
    with system_scope():
        ended = Delivery.objects.first()
        Delivery.objects.filter(pk=ended.pk).update(status="delivered")
        Outbox.objects.filter(delivery_id=ended.pk).delete()
    assert api().post("/api/v1/deliveries/cancel-pending/", its).json()["cancelled"] == 2
    with system_scope():
        assert Delivery.objects.get(pk=ended.pk).status == "delivered"


def test_very_many_are_cancelled_in_turns(api, waiting, its, monkeypatch):
    monkeypatch.setattr(models, "CANCEL_BATCH", 1)
    monkeypatch.setattr(models, "MAX_CANCELLED", 2)
    monkeypatch.setattr(models, "MAX_COUNTED", 1)
    assert api().post("/api/v1/deliveries/cancel-pending/count/", its).json() == {"count": 1, "is_exact": False}
    assert api().post("/api/v1/deliveries/cancel-pending/", its).json() == {"cancelled": 2, "left": 1}


def test_a_confirmation_link_is_not_cancelled_so(api, cast, subscribe):
    subscription, _ = subscribe(state="pending")
    with tenant_scope(cast.tenant.pk):
        subscription.send_confirmation()
    route()
    for path in ("cancel-pending/", "cancel-pending/count/"):
        answer = api().post(f"/api/v1/deliveries/{path}", {"subscription": str(subscription.pk)})
        assert answer.status_code == 409
    with system_scope():
        assert Outbox.objects.count() == 1


def test_a_request_under_way_ends_late_and_decides_nothing(api, waiting, its):
    with system_scope():
        (claim,) = outbox.claim(1)
        delivery = Delivery.objects.select_related("subscription").get(pk=claim.delivery_id)
    assert api().post("/api/v1/deliveries/cancel-pending/", its).json()["cancelled"] == 3
    late = Sending(claim, delivery, delivery.subscription, timezone.now(), outcome=Outcome(status=204, error=""))
    record([decide(late)])
    with system_scope():
        assert Delivery.objects.get(pk=delivery.pk).status == "cancelled"
        assert Attempt.objects.get().outcome == Attempt.LATE
