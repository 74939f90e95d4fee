"""Real payloads, 329 of GitHub's, through the whole portal: every byte of every one arrives."""

import hashlib
import hmac
import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from standardwebhooks import Webhook

from tests import payloads
from tests.portal import call, wait_for
from tests.receiver import Receiver

PACKAGE = "@octokit/webhooks-examples"
COUNT = 329

pytestmark = pytest.mark.journey


@pytest.fixture(scope="module")
def bodies():
    """The package's examples of github.com, as GitHub writes JSON: compact, not escaped to ASCII."""
    folder = payloads.find(PACKAGE)
    if folder is None:
        missed = f"NOT TESTED: {COUNT} real GitHub payloads. `python tests/payloads.py` gets {PACKAGE} from npm."
        pytest.fail(missed) if os.environ.get("CI") else pytest.skip(missed)
    hooks = json.loads((folder / "api.github.com" / "index.json").read_text())
    return [
        json.dumps(example, ensure_ascii=False, separators=(",", ":")).encode()
        for hook in hooks
        for example in hook["examples"]
    ]


def post(source, body):
    digest = hmac.new(source["secret"].encode(), body, hashlib.sha256).hexdigest()
    headers = {"X-Hub-Signature-256": f"sha256={digest}", "Content-Type": "application/json"}
    return call("POST", source["url"], body, headers)


@pytest.mark.spec("P6", "B4", "B11")
def test_all_github_payloads_arrive_byte_for_byte(tenant, bodies):
    assert len(bodies) == COUNT
    source = tenant.create_source("hmac", auth={"header": "X-Hub-Signature-256"}, event_type="github")
    with Receiver() as receiver:
        subscription = tenant.subscribe(receiver, shape="raw")
        with ThreadPoolExecutor(16) as senders:
            answers = list(senders.map(lambda body: post(source, body), bodies))
        assert {answer.status for answer in answers} == {202}
        wait_for(lambda: len(receiver.posted) >= COUNT, f"{COUNT} messages arrive", 60)
        wait_for(lambda: not tenant.all("deliveries/?status=pending"), "all are written down as delivered")
        assert Counter(posted.body for posted in receiver.posted) == Counter(bodies)
        for posted in receiver.posted:
            Webhook(subscription["secret"]).verify(posted.body, posted.headers)
        assert len({posted.headers["webhook-id"] for posted in receiver.posted}) == COUNT
