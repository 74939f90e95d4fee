"""Every snippet is run as it stands, against a server that verifies it (spec P13, D7, D3)."""

import base64
import json
import os
import subprocess
import sys
import threading
import time
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
import pytest

from sources.authentication import METHODS, InboundRequest, LiveSecret
from sources.snippets import SAMPLE_BODY, jwt_header, jwt_payload, snippets


class Door(BaseHTTPRequestHandler):
    """The far end: keeps the request as it stood on the wire."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = tuple((k.lower().encode(), v.encode("latin-1")) for k, v in self.headers.items())
        self.server.received.append((self.path, InboundRequest("POST", headers, body, time.time())))
        self.send_response(202)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as running:
        running.received = []
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def door(server):
    server.received.clear()
    return server


def run(snippet, tmp_path, **environment):
    command = {"bash": ["bash", "-eu", "-c"], "python": [sys.executable, "-W", "error", "-c"]}
    return subprocess.run(  # noqa: S603 - running the snippet is the test
        [*command[snippet.language], snippet.code],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "no_proxy": "*", "LC_ALL": "C.UTF-8", **environment},
        capture_output=True,
        timeout=30,
        check=False,
    )


def live(method, secret):
    value = secret.encode()
    return LiveSecret(
        "s1",
        key_id="k-1'\"$(touch pwned)",
        value=value if METHODS[method].keeps_value else None,
        digest=sha256(value).digest(),
    )


NASTY = 'it\'s "a" $(touch pwned) `touch pwned` \\n !! %s {x} 0123456789'
CASES = [
    ("shared_secret", {}, None),
    ("shared_secret", {"header": "X-It's-$HOME-`id`-!"}, NASTY),
    ("hmac", {}, None),
    ("hmac", {"algorithm": "sha1", "header": "X-Hub-Signature"}, NASTY),
    ("bearer", {}, None),
    ("bearer", {}, NASTY.replace(" ", "")),
    ("basic", {"username": "ada"}, None),
    ("basic", {"username": "it's $(touch pwned) \u00e9"}, NASTY + " caf\u00e9"),
    ("jwt", {}, None),
    ("jwt", {"header": "Authorization"}, NASTY),
    ("jwt", {"claims_match_body": True}, NASTY),
    ("none", {}, None),
]


@pytest.mark.spec("P13", "D7")
@pytest.mark.parametrize("known", [True, False], ids=["shown", "placeholder"])
@pytest.mark.parametrize("language", ["bash", "python"])
@pytest.mark.parametrize(("method", "settings", "typed"), CASES)
def test_a_pasted_snippet_is_accepted(door, tmp_path, method, settings, typed, language, known):
    config = METHODS[method].clean_config(settings)
    secret = METHODS[method].clean_secret(typed) if typed else METHODS[method].generate_secret()
    credential = live(method, secret)
    url = f"http://127.0.0.1:{door.server_port}/in/key/it's&$(touch%20pwned)"
    shown = secret if known else None
    made = snippets(method, config, url, shown, key_id=credential.key_id)
    snippet = next(item for item in made if item.language == language)

    result = run(snippet, tmp_path, PORTCULLIS_SECRET=secret)

    assert result.returncode == 0, result.stderr.decode()
    assert b"202" in result.stdout
    [(path, request)] = door.received
    assert path == "/in/key/it's&$(touch%20pwned)"
    assert request.body == SAMPLE_BODY.encode()
    assert request.header("Content-Type") == b"application/json"
    verdict = METHODS[method].verify(config, [credential], request)
    assert verdict.accepted, verdict
    assert list(tmp_path.iterdir()) == []
    if known is False and method != "none":
        assert secret not in snippet.code
        assert "PORTCULLIS_SECRET" in snippet.code


@pytest.mark.parametrize("method", [name for name in METHODS if name != "none"])
def test_the_far_end_refuses_a_snippet_with_another_secret(door, tmp_path, method):
    config = METHODS[method].clean_config({"username": "ada"} if method == "basic" else {})
    credential = live(method, METHODS[method].generate_secret())
    url = f"http://127.0.0.1:{door.server_port}/in/key"
    wrong = METHODS[method].generate_secret()
    for snippet in snippets(method, config, url, wrong, key_id=credential.key_id):
        run(snippet, tmp_path)
    assert len(door.received) == 2
    for _, request in door.received:
        assert METHODS[method].verify(config, [credential], request).reason in (
            "secret_mismatch",
            "signature_mismatch",
        )


def test_shell_snippets_have_no_comment_and_python_ones_are_ascii():
    for method, settings, _ in CASES:
        config = METHODS[method].clean_config(settings)
        shell, python = snippets(method, config, "https://example.com/in/\u00e9", "s\u00e9cret")
        assert "#" not in shell.code
        assert python.code.isascii()


@pytest.mark.spec("D3")
def test_the_copied_header_and_payload_make_an_accepted_token():
    secret = METHODS["jwt"].generate_secret()
    config = METHODS["jwt"].clean_config({"claims_match_body": True})
    for body in (json.loads(SAMPLE_BODY), {"Username": "Admin", "Timestamp": 1_700_000_000}):
        payload = jwt_payload(body, 1_700_000_001)
        assert body.items() <= payload.items()
        token = jwt.encode(payload, secret, "HS256", headers=jwt_header(config, "key-1"))
        head = json.loads(base64.urlsafe_b64decode(token.partition(".")[0] + "=="))
        assert head == {"alg": "HS256", "kid": "key-1", "typ": "JWT"}
        request = InboundRequest(
            "POST",
            ((b"x-webhook-jwt", token.encode()),),
            json.dumps(body).encode(),
            1_700_000_002.0,
        )
        credential = LiveSecret("s1", key_id="key-1", value=secret.encode())
        assert METHODS["jwt"].verify(config, [credential], request).accepted
