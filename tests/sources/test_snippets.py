"""Every snippet is run as it stands, against a server that verifies it (spec P13, D7).

Those that sign tokens have tests of their own (`test_token_snippets`).
"""

import json
import os
import subprocess
import sys
import threading
import time
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sources.authentication import METHODS, InboundRequest, LiveSecret
from sources.presets import PRESETS
from sources.snippets import SAMPLE_BODY, snippets


class Door(BaseHTTPRequestHandler):
    """The far end: keeps the request as it stood on the wire."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = tuple((k.lower().encode(), v.encode("latin-1")) for k, v in self.headers.items())
        url = f"http://127.0.0.1:{self.server.server_port}{self.path}"
        self.server.received.append((self.path, InboundRequest("POST", headers, body, time.time(), url)))
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


WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
DISCORD = {  # its scheme: the time and the body, nothing between them, in hex
    "header": "X-Signature-Ed25519", "prefix": "none", "encoding": "hex", "signed": "{timestamp}{body}",
    "timestamp": "header:X-Signature-Timestamp", "id": "none", "signatures": "one",
}  # fmt: skip
SCHEMES = {
    **{preset.name: (preset.method, dict(preset.config)) for preset in PRESETS.values()},
    "hex key": ("hmac", {"key_encoding": "hex", "algorithm": "sha512", "signed": "{url}|{body}"}),
    "nasty literals": ("hmac", {"prefix": "it's $x ", "signed": "it's `id`%s\\n{timestamp}\\{body}!!",
                                "timestamp": "header:X-It's-$HOME"}),
    "time deep in the body": ("hmac", {"timestamp": "path:sent.at", "encoding": "base64"}),
    "spaces": ("hmac", {"signatures": "space", "timestamp": "element:time", "signed": "{body}.{timestamp}"}),
    "discord": ("ed25519", DISCORD),
}  # fmt: skip


@pytest.mark.spec("P13", "D7", "B3")
@pytest.mark.parametrize("language", ["bash", "python"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_pasted_snippet_is_accepted_in_every_scheme(door, tmp_path, scheme, language):
    name, settings = SCHEMES[scheme]
    method, key = METHODS[name], Ed25519PrivateKey.generate()
    config = method.clean_config(settings)
    secret = key.public_key().public_bytes_raw().hex() if name == "ed25519" else method.generate_secret(config)
    pem = tmp_path / "key.pem"
    pem.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    made = snippets(name, config, f"http://127.0.0.1:{door.server_port}/in/key/it's", secret)
    snippet = next(item for item in made if item.language == language)

    result = run(snippet, tmp_path, PORTCULLIS_PRIVATE_KEY=str(pem))

    assert result.returncode == 0, result.stderr.decode()
    [(_, request)] = door.received
    verdict = method.verify(config, [live(name, secret)], request)
    assert verdict.accepted, (verdict, snippet.code)
    assert json.loads(request.body).items() >= json.loads(SAMPLE_BODY).items()
    assert " #" not in snippet.code or language == "python"
    assert snippet.code.isascii()
    assert [path.name for path in tmp_path.iterdir()] == ["key.pem"]


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("none", "jwt", "ed25519")])
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
