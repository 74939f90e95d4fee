"""What senders ask before they send, and what they are told."""

import hashlib
import hmac
import json
from urllib.parse import urlencode

import pytest

from sources.authentication import InboundRequest, LiveSecret
from sources.handshakes import MAX_ECHO, answer, greet
from sources.presets import PRESETS
from tests import vendors
from tests.attack.verification import SECRET, SENDERS

KEY = "abcdefghijklmnopqrstuvwxyz012345"
URL = f"https://portal.example.com/in/{KEY}"
NOW = 1_700_000_000.0


def get(*headers, query=None, method="GET"):
    url = URL + (f"?{urlencode(query)}" if query else "")
    return InboundRequest(method, headers, b"", NOW, url)


def secret(identifier="s1", value=SECRET):
    return LiveSecret(identifier, value=value.encode(), digest=hashlib.sha256(value.encode()).digest())


def told(reply):
    return reply and (reply.status, reply.content_type, reply.body)


HUB = {"hub.mode": "subscribe", "hub.verify_token": KEY, "hub.challenge": "1158201444"}


@pytest.mark.spec("B3")
def test_meta_is_given_its_challenge():
    """Meta's documentation, "Verification requests"."""
    reply = greet("meta", PRESETS["meta"].config, [], get(query=HUB), KEY)
    assert told(reply) == (200, "text/plain; charset=utf-8", b"1158201444")


@pytest.mark.spec("B3")
def test_meta_s_sample_verification_request():
    """Meta's documentation, webhooks, "Getting started": the request as it stands there, and the answer it wants."""
    sample = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=meatyhamhock"
    request = InboundRequest("GET", (), b"", NOW, f"{URL}?{sample}")
    assert greet("meta", PRESETS["meta"].config, [], request, "meatyhamhock").body == b"1158201444"
    assert greet("meta", PRESETS["meta"].config, [], request, KEY) is None


@pytest.mark.parametrize(
    "query",
    [
        {},
        {**HUB, "hub.verify_token": "wrong"},
        {**HUB, "hub.verify_token": ""},
        {**HUB, "hub.verify_token": KEY + "é"},
        {**HUB, "hub.mode": "unsubscribe"},
        {**HUB, "hub.challenge": "<script>alert(1)</script>"},
        {**HUB, "hub.challenge": "1" * (MAX_ECHO + 1)},
        {**HUB, "hub.challenge": ""},
        [*HUB.items(), ("hub.challenge", "2")],
        [("x", str(number)) for number in range(60)],
    ],
    ids=["nothing", "wrong", "empty", "unicode", "mode", "markup", "long", "no challenge", "twice", "many"],
)
def test_meta_is_told_nothing_else(query):
    assert greet("meta", {}, [], get(query=query), KEY) is None


def test_without_a_key_nobody_is_meta():
    assert greet("meta", {}, [], get(query={**HUB, "hub.verify_token": ""}), "") is None


# Okta's support article "Unable to verify event hook" has this request, and the answer that it wants.
OKTA = (b"x-okta-verification-challenge", b"Me_rShK8JHsTnbyYrWXCEoMGbM_zsZ6k0hLPZ_Pg")


@pytest.mark.spec("B3")
def test_okta_is_given_its_challenge_for_the_secret():
    request = get(
        (b"user-agent", b"Okta-Integrations"),
        (b"accept", b"application/json"),
        (b"x-okta-request-id", b"XOZfPkReFFZ10KWyGkzAMwAAADA"),
        OKTA,
        (b"x-any-key", b"my-header-value"),
        (b"authorization", b"my-shared-secret"),
        (b"host", b"example.com"),
    )
    reply = greet("okta", PRESETS["okta"].config, [secret(value="my-shared-secret")], request, KEY)
    expected = b'{"verification":"Me_rShK8JHsTnbyYrWXCEoMGbM_zsZ6k0hLPZ_Pg"}'
    assert told(reply) == (200, "application/json", expected)
    assert len(reply.body) == 59  # the article's Content-Length


@pytest.mark.parametrize(
    "headers",
    [
        [OKTA],
        [OKTA, (b"authorization", b"another-secret")],
        [(b"authorization", SECRET.encode())],
        [OKTA, OKTA, (b"authorization", SECRET.encode())],
        [(OKTA[0], b'"}<b>'), (b"authorization", SECRET.encode())],
        [(OKTA[0], b"\xff"), (b"authorization", SECRET.encode())],
        [(OKTA[0], b"a" * (MAX_ECHO + 1)), (b"authorization", SECRET.encode())],
    ],
    ids=["no secret", "another secret", "no challenge", "two", "markup", "not ASCII", "long"],
)
def test_okta_is_told_nothing_else(headers):
    assert greet("okta", PRESETS["okta"].config, [secret()], get(*headers), KEY) is None


@pytest.mark.parametrize("preset", ["", "github", "slack", "zoom", "nonsense"])
def test_others_are_not_greeted(preset):
    assert greet(preset, {}, [secret()], get(OKTA, query=HUB), KEY) is None


def test_only_a_get_is_greeted():
    assert greet("meta", {}, [], get(query=HUB, method="HEAD"), KEY) is None


# Slack's documentation, "url_verification".
SLACK = {
    "token": "Jhj5dZrVaK7ZwHHjRyZWjbDl",
    "challenge": "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P",
    "type": "url_verification",
}


def asked(preset, document, secrets=None):
    return answer(preset, PRESETS[preset].config, secrets or [secret()], get(method="POST"), document)


@pytest.mark.spec("B3")
def test_slack_is_given_its_challenge():
    assert told(asked("slack", SLACK)) == (200, "text/plain; charset=utf-8", SLACK["challenge"].encode())


@pytest.mark.parametrize(
    "document",
    [
        {**SLACK, "type": "event_callback"},
        {**SLACK, "challenge": "<img src=x onerror=alert(1)>"},
        {**SLACK, "challenge": "a\r\nSet-Cookie: b"},
        {**SLACK, "challenge": "x" * (MAX_ECHO + 1)},
        {**SLACK, "challenge": 5},
        {**SLACK, "challenge": ["a"]},
        {**SLACK, "challenge": None},
        {"type": "url_verification"},
        [SLACK],
        "url_verification",
        None,
    ],
    ids=["event", "markup", "line break", "long", "number", "list", "null", "none", "array", "text", "nothing"],
)
def test_other_posts_of_slack_are_events(document):
    assert asked("slack", document) is None


def zoom(plain="qgg8vlvZRS6UYooatFL8Aw", key=SECRET):
    document = {"payload": {"plainToken": plain}, "event_ts": 1_654_503_849_680, "event": "endpoint.url_validation"}
    sender = next(one for one in SENDERS if one.name == "zoom")
    # Without spaces, as Zoom writes JSON: its library signs what JavaScript makes of the document
    post = sender.sign(key, URL, json.dumps(document, separators=(",", ":")).encode(), NOW)
    headers = tuple((name.lower().encode(), value) for name, value in post.headers)
    return document, InboundRequest("POST", headers, post.body, NOW, URL)


@pytest.mark.spec("B3")
def test_zoom_is_given_its_token_signed():
    """Zoom's documentation, "Validate your webhook endpoint"."""
    document, request = zoom()
    reply = answer("zoom", PRESETS["zoom"].config, [secret()], request, document)
    expected = hmac.new(SECRET.encode(), b"qgg8vlvZRS6UYooatFL8Aw", hashlib.sha256).hexdigest()
    assert (reply.status, reply.content_type) == (200, "application/json")
    assert json.loads(reply.body) == {"plainToken": "qgg8vlvZRS6UYooatFL8Aw", "encryptedToken": expected}


@pytest.mark.spec("B3")
def test_zoom_s_library_answers_the_same():
    document, request = zoom()
    headers = {name.decode(): value.decode() for name, value in request.headers}
    [(status, body)] = vendors.answers("@zoom/rivet", SECRET, [(headers, request.body)])
    reply = answer("zoom", PRESETS["zoom"].config, [secret()], request, document)
    assert (reply.status, json.loads(reply.body)) == (status, json.loads(body)) == (200, json.loads(body))


@pytest.mark.spec("B1", "B3")
def test_during_a_rotation_zoom_is_answered_with_the_secret_that_it_has():
    document, request = zoom(key="0" * 32)
    pair = [secret("new"), secret("old", "0" * 32)]
    reply = answer("zoom", PRESETS["zoom"].config, pair, request, document)
    expected = hmac.new(b"0" * 32, b"qgg8vlvZRS6UYooatFL8Aw", hashlib.sha256).hexdigest()
    assert json.loads(reply.body)["encryptedToken"] == expected


def test_zoom_is_no_oracle():
    """Without the proof of Zoom nothing is signed, and nothing but a token."""
    document, request = zoom()
    forged = InboundRequest("POST", (), request.body, NOW, URL)
    assert answer("zoom", PRESETS["zoom"].config, [secret()], forged, document) is None
    for plain in ("v0:1700000000:1", "v0:1700000000:{}", "<b>", "", "x" * (MAX_ECHO + 1), 7):
        document, request = zoom(plain)
        assert answer("zoom", PRESETS["zoom"].config, [secret()], request, document) is None, plain


def test_events_of_zoom_are_events():
    for document in (
        {"event": "meeting.started", "payload": {"plainToken": "a"}},
        {"event": "endpoint.url_validation"},
    ):
        assert asked("zoom", document) is None
