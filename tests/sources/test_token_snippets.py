"""Every sender of tokens is run as it stands, against the door itself (spec D3, D7).

Go is run where it is installed; where it is not, the test says so.
"""

import base64
import json
import os
import shutil
import subprocess
import sys

import jwt
import pytest

from events.models import Event, Receipt
from sources.authentication import METHODS, InboundRequest, LiveSecret
from sources.models import Source
from sources.snippets import SAMPLE_BODY, snippets
from sources.token_snippets import repeated_fields, token_header, token_payload
from tenants.scope import system_scope, tenant_scope

LANGUAGES = ["bash", "python", "javascript", "go"]
NASTY = 'it\'s "a" $(touch pwned) `touch pwned` \\n !! %s {x} é 0123456789'
KEYS = ["Username", 'it\'s "$(touch pwned)" `id`', "Grüße\n\u2028 %s \\", "Timestamp", "iat", "Site"]
CASES = {
    "as made": ({}, None),
    "fields of a sample": ({"sample_keys": ["Username", "Site", "CommandParams"]}, None),
    "strange names": (
        {"sample_keys": [key.replace("\n", " ") for key in KEYS], "header": "X-It's-$HOME-`id`-!"},
        NASTY,
    ),
    "in Authorization": ({"header": "Authorization", "single_use": "required"}, NASTY),
}


@pytest.fixture(scope="session")
def go_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("go")


@pytest.fixture
def run(tmp_path, go_cache):
    """Paste a snippet: what it prints. It must leave nothing behind."""

    def run_snippet(language: str, code: str, **environment) -> str:
        program = {"bash": "bash", "python": sys.executable, "javascript": "node", "go": "go"}[language]
        if shutil.which(program) is None:
            missed = f"NO {program.upper()}: nothing is proven about the {language} sender on this machine."
            pytest.fail(missed) if language == "bash" else pytest.skip(missed)
        options = {"bash": ["-eu", "-c"], "python": ["-W", "error", "-c"], "javascript": ["-e"], "go": ["run"]}[
            language
        ]
        if language == "go":
            code_file = go_cache / "main.go"
            code_file.write_text(code, encoding="utf-8")
            code = str(code_file)
        done = subprocess.run(
            [program, *options, code],
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "no_proxy": "*",
                "LC_ALL": "C.UTF-8",
                "HOME": str(go_cache),
                "GOCACHE": str(go_cache / "cache"),
                "GOTOOLCHAIN": "local",
                **environment,
            },
            capture_output=True,
            timeout=110,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        assert list(tmp_path.iterdir()) == []
        return done.stdout.decode()

    return run_snippet


def snippet_of(source, secret, url, language):
    key_id = source.current_credential.key_id
    made = snippets("jwt", source.auth_config, url, secret, key_id=key_id)
    assert [one.language for one in made] == LANGUAGES
    return next(one.code for one in made if one.language == language)


@pytest.mark.spec("D3", "D7")
@pytest.mark.parametrize("known", [True, False], ids=["shown", "placeholder"])
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.django_db(transaction=True)
def test_a_pasted_sender_is_accepted_by_the_door(live_server, cast, run, case, language, known):
    settings, typed = CASES[case]
    with tenant_scope(cast.tenant.pk):
        source, secret = Source.objects.create_with_secret(cast.tenant, None, "Tokens", "jwt", settings, typed)
        code = snippet_of(source, secret if known else None, f"{live_server.url}/in/{source.ingest_key}", language)

    printed = [run(language, code, PORTCULLIS_SECRET=secret) for _ in range(2)]

    assert all("202" in text for text in printed), printed
    with system_scope():
        sent = [json.loads(bytes(event.body)) for event in Event.objects.all()]
    expected = (
        dict.fromkeys(settings["sample_keys"], "example") if "sample_keys" in settings else json.loads(SAMPLE_BODY)
    )
    assert sent == [expected, expected], "each token is a new one, so it may be run again"
    assert (secret in code) is (known and typed is None) or typed is not None
    assert ("PORTCULLIS_SECRET" in code) is not known


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.django_db(transaction=True)
def test_a_sender_with_another_secret_is_refused(live_server, cast, run, language):
    with tenant_scope(cast.tenant.pk):
        source, _ = Source.objects.create_with_secret(cast.tenant, None, "Tokens", "jwt", {})
        url = f"{live_server.url}/in/{source.ingest_key}"
        code = snippet_of(source, METHODS["jwt"].generate_secret(), url, language)
    try:
        run(language, code)
    except AssertionError as error:  # Python's raises for a 401
        assert "401" in str(error)  # noqa: PT017 - what the program wrote
    with system_scope():
        assert [receipt.reason for receipt in Receipt.objects.all()] == ["signature_mismatch"]


def test_the_shell_one_has_no_comment_and_the_others_are_ascii():
    for settings, _ in CASES.values():
        shell, *others = snippets("jwt", METHODS["jwt"].clean_config(settings), "https://example.com/in/é", "sécret")
        assert "#" not in shell.code
        assert all(one.code.isascii() for one in others)


@pytest.mark.spec("D3")
@pytest.mark.parametrize(
    ("keys", "fields", "time_name"),
    [
        ([], [], "Timestamp"),
        (["Username", "Site", "CommandParams"], ["Username", "Site", "CommandParams"], "Timestamp"),
        (["Username", "Timestamp", "exp"], ["Username"], "iat"),
    ],
)
def test_the_payload_to_copy_has_a_place_for_each_field(keys, fields, time_name):
    config = METHODS["jwt"].clean_config({"sample_keys": keys})
    assert repeated_fields(config) == fields
    payload = token_payload(config, 1_700_000_000)
    assert list(payload) == [*fields, time_name]
    assert payload[time_name] == 1_700_000_000
    required = METHODS["jwt"].clean_config({"sample_keys": keys, "single_use": "required"})
    assert list(token_payload(required, 1_700_000_000)) == [*fields, time_name, "jti"]


@pytest.mark.spec("D3")
def test_the_copied_header_and_payload_make_an_accepted_token():
    """As the guide says: copy both, put the body's values in, sign with PyJWT."""
    method = METHODS["jwt"]
    secret = method.generate_secret()
    for keys in (["Username", "CommandParams"], ["Username", "Timestamp"], []):
        config = method.clean_config({"sample_keys": keys})
        body = {"Username": "Admin", "Timestamp": "2020-09-01 00:44:45", "CommandParams": {"Artifact": None}}
        payload = token_payload(config, 1_700_000_001)
        payload |= {name: body[name] for name in repeated_fields(config)}
        token = jwt.encode(payload, secret, "HS256", headers=token_header("key-1"))
        head = json.loads(base64.urlsafe_b64decode(token.partition(".")[0] + "=="))
        assert head == {"alg": "HS256", "kid": "key-1", "typ": "JWT"}
        request = InboundRequest("POST", ((b"x-webhook-jwt", token.encode()),), b"", 1_700_000_002.0)
        credential = LiveSecret("s1", key_id="key-1", value=secret.encode())
        verdict = method.verify(config, [credential], request)
        assert verdict.accepted
        sent = {name: value for name, value in body.items() if keys and (name in keys)} or {"other": 1}
        assert method.check_opened(config, verdict.claims, json.dumps(sent).encode()) is None
