"""Two portals on one machine, and starts that must not succeed."""

import socket

import pytest

from tests.portal import Portal, call, free_port, manage, wait_for
from tests.receiver import Receiver

pytestmark = pytest.mark.journey


@pytest.fixture(scope="module")
def another():
    with Portal() as running:
        yield running


def test_two_portals_run_side_by_side_and_share_nothing(portal, another):
    ours, theirs = portal.create_tenant("Acme"), another.create_tenant("Globex")
    source = ours.create_source("none")
    path = source["url"].removeprefix(portal.url)
    assert call("POST", another.url + path, b"{}").status == 404
    headers = {"Authorization": f"Bearer {ours.api_key}"}
    assert call("GET", f"{another.url}/api/v1/sources/", headers=headers).status == 401

    with Receiver() as our_receiver, Receiver() as their_receiver:
        ours.subscribe(our_receiver)
        theirs.subscribe(their_receiver)
        assert call("POST", source["url"], b'{"type": "order.created"}').status == 202
        wait_for(lambda: our_receiver.posted, "the event arrives")
        theirs.post("events/", type="order.shipped", payload={})
        wait_for(lambda: their_receiver.posted, "the other portal's event arrives")
        assert [len(receiver.posted) for receiver in (our_receiver, their_receiver)] == [1, 1]


def test_a_second_portal_of_the_same_var_is_refused(portal):
    settings = {"VAR": str(portal.var), "PORT": str(free_port())}
    refused = manage("serve", **settings)
    assert refused.returncode != 0
    assert "already runs" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert portal.is_ready()


def test_a_port_in_use_is_refused(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        refused = manage("serve", VAR=str(tmp_path), PORT=str(taken.getsockname()[1]))
    assert refused.returncode != 0
    assert "set HOST and PORT to another address" in " ".join(refused.stderr.split())
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"DATABASE_URL": "nonsense"}, "DATABASE_URL must be a PostgreSQL address: postgres://"),
        ({"DATABASE_URL": "mysql://user@localhost/portal"}, "DATABASE_URL must be a PostgreSQL address: postgres://"),
        ({"EGRESS_ALLOW": "127.0.0.0/8,home"}, "Separate networks by commas"),
        ({"EGRESS_PROXY": "socks5://user:hunter2@127.0.0.1:1080"}, "EGRESS_PROXY is no http proxy's address"),
        ({"PORT": "http"}, "PORT is 'http': set it to a number"),
        ({"CELERY_BROKER_URL": "kafka://localhost"}, "set an amqp:// or redis:// address"),
        ({"PORTAL_URL": "hooks.example.com"}, "set it to the portal's public address"),
        ({"DELIVERY_LEASE_SECONDS": "5"}, "set it to a number from 20"),
        ({"DATABASE_URL": "postgres://nobody:x@127.0.0.1:1/nothing"}, "Check DATABASE_URL"),
        ({"CELERY_BROKER_URL": "redis://:hunter2@127.0.0.1:1/0"}, "correct CELERY_BROKER_URL"),
        ({"KEYRING_FILE": "/nowhere/keyring.json"}, "keyring.json is missing"),
        ({"LOG_LEVEL": "LOUD"}, "set it to DEBUG"),
        ({"VAR": "/proc/portcullis"}, "set it to a directory"),
        ({"WORKER_CONCURRENCY": "zero"}, "set it to a number"),
        ({"EMAIL_BACKEND": "nope.Backend"}, "cannot be imported"),
        ({"SECRET_KEY": "short"}, "too short"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_a_wrong_setting_stops_the_start_with_a_sentence(tmp_path, settings, sentence):
    refused = manage("serve", **{"VAR": str(tmp_path), "PORT": str(free_port()), **settings})
    assert refused.returncode != 0
    assert sentence in refused.stderr, refused.stderr
    assert "Traceback" not in refused.stderr, refused.stderr
    assert "hunter2" not in refused.stderr
