"""`make demo` leads to a portal in which every page has something to show, and stops without a trace."""

import json
import signal
from collections import Counter

import pytest

from tests.portal import LOOPBACK, Portal, Tenant, call, free_port, manage, wait_for

pytestmark = pytest.mark.journey


@pytest.fixture
def demo():
    with Portal("demo") as running:
        yield running


def owner(demo):
    """The tenant as its owner's API key sees it."""
    memory = json.loads((demo.var / "demo.json").read_text())
    return Tenant(demo.url, memory["owner"]["api_key"])


def at_work(demo, starts):
    try:
        wait_for(lambda: demo.log().count("Northwind Security is at work") == starts, "the demo is at work", 60)
    except AssertionError:
        pytest.fail(f"The demo is not at work:\n{demo.log()}")


def test_the_demo_fills_the_portal_and_can_be_stopped_and_started_again(demo):
    at_work(demo, 1)
    tenant = owner(demo)
    assert len({source["auth"]["method"] for source in tenant.all("sources/")}) == 6
    states = [subscription["state"] for subscription in tenant.all("subscriptions/")]
    assert states.count("idle") >= 3
    assert "pending" in states
    wait_for(lambda: tenant.all("subscriptions/?state=disabled"), "an answer of 410 disables a subscription")
    wait_for(lambda: len(tenant.all("deliveries/?status=delivered")) > 10, "events are delivered")
    wait_for(lambda: tenant.all("attempts/?outcome=retry"), "some fail and are tried again")
    wait_for(lambda: tenant.all("deliveries/?status=failed"), "some are given up")
    assert {401, 404} & {receipt["status_code"] for receipt in tenant.all("receipts/?status=refused")}
    assert len({member["role"] for member in tenant.all("members/")}) == 4
    acted = Counter(entry["actor_label"] for entry in tenant.all("audit/") if entry["actor_kind"] == "user")
    assert {f"{role}@northwind.example" for role in ("owner", "admin", "member")} <= set(acted), acted
    received = len(tenant.all("events/?limit=200"))
    wait_for(lambda: len(tenant.all("events/?limit=200")) > received, "more events come in")

    assert demo.stop(signal.SIGINT) == 0
    assert demo.processes() == []
    demo.start()
    at_work(demo, 2)
    assert len(owner(demo).all("sources/")) == len(tenant.all("sources/"))
    assert call("GET", f"{demo.url}/accounts/login/").status == 200
    assert demo.stop(signal.SIGTERM) == 0
    assert demo.processes() == []
    assert "Traceback" not in demo.log()


def test_the_demo_does_not_fill_a_real_portal(portal):
    refused = manage("demo", VAR=str(portal.var), PORT=str(free_port()), EGRESS_ALLOW=LOOPBACK)
    assert refused.returncode != 0
    assert "not a demo" in refused.stderr


def test_the_demo_does_not_fill_a_given_database(tmp_path):
    refused = manage("demo", VAR=str(tmp_path), DATABASE_URL="postgres://user:x@127.0.0.1/portal")
    assert refused.returncode != 0
    assert "does not use DATABASE_URL" in refused.stderr
