"""Order and limits of a subscription: what can be chosen, and where it is said."""

import json

import pytest

from subscriptions import flow, messages
from subscriptions.messages import CLOUDEVENTS_BATCH, CLOUDEVENTS_JSON, JSON, Message
from subscriptions.models import Subscription
from tests.subscriptions.test_api import LIST, NEW, errors, one


def test_what_is_left_out_is_parallel_and_unlimited(api):
    body = api("admin").post(LIST, NEW).json()
    assert (body["mode"], body["max_per_minute"], body["max_in_flight"]) == ("parallel", None, None)


def test_order_and_limits_can_be_chosen_and_taken_back(api, make):
    subscription = make()
    client = api("admin")
    chosen = {"mode": "ordered", "max_per_minute": 90, "max_in_flight": 3}
    assert chosen.items() <= client.patch(one(subscription), chosen).json().items()
    body = client.patch(one(subscription), {"mode": "parallel", "max_per_minute": None}).json()
    assert (body["mode"], body["max_per_minute"], body["max_in_flight"]) == ("parallel", None, 3)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mode", "sideways"),
        ("max_per_minute", 0),
        ("max_per_minute", flow.MAX_PER_MINUTE + 1),
        ("max_in_flight", 0),
        ("max_in_flight", flow.MAX_IN_FLIGHT + 1),
    ],
)
def test_what_makes_no_sense_is_an_error_of_its_field(api, field, value):
    assert list(errors(api("admin").post(LIST, NEW | {field: value}))) == [field]


@pytest.mark.parametrize("shape", ["raw", "cloudevents_binary"])
def test_what_puts_something_beside_the_body_has_no_batches(api, shape):
    found = errors(api("admin").post(LIST, NEW | {"mode": "batched", "shape": shape}))
    assert found == {"mode": "Only envelopes and structured CloudEvents can be sent in batches."}


def test_nor_has_a_body_with_its_timestamp_in_it(api):
    found = errors(api("admin").post(LIST, NEW | {"mode": "batched", "signing": "timestamped_body"}))
    assert found == {"mode": "What this scheme signs holds one event: it cannot be sent in batches."}


def test_a_batched_one_cannot_change_to_such_a_shape(api, make):
    subscription = make(mode="batched")
    assert list(errors(api("admin").patch(one(subscription), {"shape": "raw"}))) == ["shape"]
    assert api("admin").patch(one(subscription), {"shape": "raw", "mode": "ordered"}).status_code == 200


def test_an_unknown_mode_in_the_database_does_not_hurry():
    assert Subscription(mode="unheard_of").sending_mode.name == "ordered"


@pytest.mark.spec("T6")
def test_a_batch_is_an_array_of_the_very_messages():
    whole = messages.batch([Message(b'{"n":1e400}', JSON), Message(b'{"n":2, "n":3}', JSON)])
    assert (whole.body, whole.content_type) == (b'[{"n":1e400},{"n":2, "n":3}]', JSON)
    assert len(json.loads(whole.body)) == 2


def test_of_cloudevents_it_is_a_batch_of_the_format():
    assert messages.batch([Message(b"{}", CLOUDEVENTS_JSON)]).content_type == CLOUDEVENTS_BATCH


def test_the_pages_offer_and_show_it(browser, cast, make):
    subscription = make(mode="batched", max_per_minute=120)
    page = browser(cast.admin).get(f"/subscriptions/{subscription.pk}/").content.decode()
    assert "In batches" in page
    assert "120 a minute" in page
    form = browser(cast.admin).get(f"/subscriptions/{subscription.pk}/edit/").content.decode()
    assert 'value="batched" checked' in form
    assert 'value="120"' in form
    assert 'value="parallel" checked' in browser(cast.admin).get("/subscriptions/new/").content.decode()
