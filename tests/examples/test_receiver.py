"""The example receiver, as a process, over HTTP."""

import hashlib
import hmac
import http.client
import http.server
import importlib.util
import json
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from email.message import Message
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from subscriptions.messages import build, confirmation
from subscriptions.signing import generate_secret, sign

SCRIPT = Path(__file__).parents[2] / "docs" / "examples" / "receiver.py"
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8G"


class Running:
    """The script's process: `post` to it, `lines` it printed, files it saved."""

    def __init__(self, folder, *options):
        self.folder = folder / "saved"
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), "--port", "0", "--save", str(self.folder), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.port = int(self.process.stdout.readline().rstrip("/\n").rpartition(":")[2])

    def post(self, body, headers=()):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("POST", "/hook", body, dict(headers))
        response = connection.getresponse()
        answer = response.status, response.read().decode()
        connection.close()
        return answer

    def bodies(self):
        return [path.read_bytes() for path in sorted(self.folder.glob("*.body"))]

    def stop(self):
        """End the process; everything it printed after its first line."""
        self.process.terminate()
        return self.process.communicate(timeout=10)[0]


@pytest.fixture
def start(tmp_path):
    started = []

    def _start(*options):
        started.append(Running(tmp_path, *options))
        return started[-1]

    yield _start
    for running in started:
        if running.process.poll() is None:
            running.stop()


@pytest.fixture(scope="module")
def module():
    """The script as a module: published vectors are years old, a process has today's clock."""
    spec = importlib.util.spec_from_file_location("example_receiver", SCRIPT)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def envelope():
    return build(
        "envelope",
        event_type="user.created",
        event_id="evt-1",
        occurred_at=datetime.now(UTC),
        payload_raw=b'{ "a": 1.0 }',
    ).body


def standard(body, *secrets, at=None, message_id="msg-1"):
    timestamp = int(time.time()) if at is None else at
    scheme = "standard_webhooks"
    return sign(scheme, secrets, message_id=message_id, timestamp=timestamp, body=body).headers


def prefixed(body, secret, at=None):
    timestamp = str(int(time.time()) if at is None else at)
    signature = hmac.new(secret.encode(), f"{timestamp}:".encode() + body, hashlib.sha256)
    return {"X-Portal-Signature": signature.hexdigest(), "X-Portal-Timestamp": timestamp}


@pytest.mark.spec("N1")
def test_a_challenge_is_answered_with_its_value(start):
    answer = start("--secret", WHSEC).post(b'{"challenge": "z78woE1uDFu7tPrPvEBV"}')
    assert answer == (200, "z78woE1uDFu7tPrPvEBV")


@pytest.mark.spec("N6")
def test_a_message_signed_by_the_portal_is_saved_as_it_is(start):
    receiver = start("--secret", WHSEC)
    body = envelope()
    assert receiver.post(body, standard(body, WHSEC)) == (204, "")
    assert receiver.bodies() == [body]
    saved = dict(json.loads(next(receiver.folder.glob("*.headers.json")).read_text()))
    assert saved["webhook-id"] == "msg-1"
    line = receiver.stop().splitlines()[0]
    assert "user.created" in line
    assert "standard-webhooks" in line


@pytest.mark.spec("N6")
def test_a_message_signed_by_the_standard_library_is_accepted(start):
    body = '{"type": "a"}'
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "m",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(WHSEC).sign("m", now, body),
    }
    assert start("--secret", WHSEC).post(body.encode(), headers)[0] == 204


@pytest.mark.spec("S4")
def test_a_body_signature_is_accepted(start):
    message = build(
        "timestamped",
        event_type="a",
        event_id="1",
        occurred_at=datetime.now(UTC),
        payload_raw=b"{}",
    )
    signed = sign(
        "timestamped_body",
        ["s4-secret"],
        message_id="m",
        timestamp=int(time.time()),
        body=message.body,
    )
    receiver = start("--secret", "s4-secret")
    assert receiver.post(signed.body, signed.headers)[0] == 204
    moved = {**dict(signed.headers), "X-Timestamp": str(int(time.time()) + 60)}
    assert receiver.post(signed.body, moved)[0] == 401


@pytest.mark.spec("N5")
def test_a_timestamp_and_body_signature_is_accepted(start):
    receiver = start("--secret", "n5-secret")
    assert receiver.post(b"{}", prefixed(b"{}", "n5-secret"))[0] == 204
    assert receiver.post(b"{}", prefixed(b"{}", "another"))[0] == 401


@pytest.mark.spec("N5")
def test_the_published_vector(module):
    headers = Message()
    headers["X-Nightfall-Signature"] = "1bb7619a9504474ffc14086d0423ad15db42606d3ca52afccb4a5b2125d7b703"
    headers["X-Nightfall-Timestamp"] = "1633368645"
    body = b"hello world foo bar goodnight moon"
    secrets = ["super-secret-shhhh"]
    proof = module.verify(headers, body, secrets, now=1633368645 + 60)
    assert proof == "x-nightfall-signature"
    with pytest.raises(module.NotGenuine, match="match"):
        module.verify(headers, body + b"!", secrets, now=1633368645)


@pytest.mark.spec("N6")
@pytest.mark.parametrize(("age", "status"), [(0, 204), (240, 204), (-240, 204), (330, 401), (-330, 401)])
def test_only_recent_messages_are_accepted(start, age, status):
    receiver = start("--secret", WHSEC)
    at = int(time.time()) - age
    assert receiver.post(b"{}", standard(b"{}", WHSEC, at=at))[0] == status
    assert receiver.post(b"{}", prefixed(b"{}", WHSEC, at=at))[0] == status


@pytest.mark.spec("N6")
@pytest.mark.parametrize(
    "spoil",
    [
        lambda headers: {},
        lambda headers: {**headers, "webhook-id": "other"},
        lambda headers: {**headers, "webhook-signature": "v1,AAAA"},
        lambda headers: {**headers, "webhook-signature": "v2" + headers["webhook-signature"][2:]},
        lambda headers: {**headers, "webhook-timestamp": "yesterday"},
    ],
)
def test_a_message_that_is_not_genuine_is_refused_and_not_saved(start, spoil):
    receiver = start("--secret", WHSEC)
    body = envelope()
    assert receiver.post(body, spoil(dict(standard(body, WHSEC))))[0] == 401
    assert receiver.bodies() == []


def test_one_of_several_secrets_is_enough(start):
    receiver = start("--secret", WHSEC, "--secret", "other")
    assert receiver.post(b"{}", prefixed(b"{}", "other"))[0] == 204
    assert receiver.post(b"{}", standard(b"{}", generate_secret("standard_webhooks"), WHSEC))[0] == 204


def test_the_secret_file_is_read_at_each_request(start, tmp_path):
    file = tmp_path / "secrets"
    receiver = start("--secret-file", str(file))
    file.write_text("first\n")
    assert receiver.post(b"{}", prefixed(b"{}", "first"))[0] == 204
    file.write_text("second\n")
    assert receiver.post(b"{}", prefixed(b"{}", "first"))[0] == 401
    assert receiver.post(b"{}", prefixed(b"{}", "second"))[0] == 204


def test_without_a_secret_everything_is_accepted_and_marked(start):
    receiver = start()
    assert receiver.post(b"anything")[0] == 204
    assert "NOT VERIFIED" in receiver.stop()


@pytest.fixture
def portal():
    """The far end of a confirmation: collects the paths that were opened."""
    opened = []
    visited = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            opened.append(self.path)
            self.send_response(204)
            self.end_headers()
            visited.set()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", opened, visited
    server.shutdown()
    server.server_close()


def confirm(receiver, link, shape="envelope"):
    body = confirmation(shape, link, datetime.now(UTC)).body
    return receiver.post(body)


@pytest.mark.spec("T4")
@pytest.mark.parametrize("shape", ["envelope", "timestamped"])
def test_a_confirmation_link_is_opened_when_asked_to(start, portal, shape):
    url, opened, visited = portal
    receiver = start("--auto-confirm", url)
    assert confirm(receiver, f"{url}/confirm/t0ken", shape)[0] == 204
    assert visited.wait(10)
    assert opened == ["/confirm/t0ken"]
    assert receiver.bodies() == []


@pytest.mark.spec("T4")
@pytest.mark.parametrize("options", [(), ("--auto-confirm", "https://portal.example.com")])
def test_a_confirmation_link_is_not_opened_unasked(start, portal, options):
    url, opened, visited = portal
    receiver = start(*options)
    assert confirm(receiver, f"{url}/confirm/t0ken")[0] == 204
    assert not visited.wait(0.5)
    assert f"{url}/confirm/t0ken" in receiver.stop()


@pytest.mark.spec("T4")
def test_a_confirmation_that_is_not_genuine_is_not_followed(start, portal):
    url, opened, visited = portal
    receiver = start("--auto-confirm", "--secret", WHSEC)
    assert confirm(receiver, f"{url}/confirm/t0ken")[0] == 401
    assert not visited.wait(0.5)


def test_the_first_messages_can_be_made_to_fail(start):
    receiver = start("--fail-first", "2")
    assert [receiver.post(b"%d" % n)[0] for n in range(4)] == [500, 500, 204, 204]
    assert receiver.bodies() == [b"2", b"3"]


def test_every_message_can_be_answered_with_one_status(start):
    receiver = start("--status", "410")
    assert receiver.post(b"{}")[0] == 410
    assert receiver.bodies() == []


def test_an_id_cannot_lead_out_of_the_folder(start):
    receiver = start()
    assert receiver.post(b"x", {"webhook-id": "../../etc/x"})[0] == 204
    assert [path.parent for path in receiver.folder.glob("*.body")] == [receiver.folder]
    assert receiver.bodies() == [b"x"]


def test_what_is_printed_cannot_forge_a_line(start):
    receiver = start()
    receiver.post(b'{"type": "a\\nforged\\u001b[31m"}')
    assert len(receiver.stop().splitlines()) == 1


@pytest.mark.parametrize(("headers", "status"), [({"Content-Length": "99999999999"}, 413)])
def test_a_body_too_large_is_not_read(start, headers, status):
    assert start().post(b"", headers)[0] == status
