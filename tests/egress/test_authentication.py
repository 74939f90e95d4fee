"""Access tokens: asked for once by many, kept as long as they are good, renewed on a 401, and told to nobody."""

import asyncio
import base64
import contextlib
import json
from dataclasses import replace
from urllib.parse import unquote_plus

import pytest

from egress import oauth
from egress.authentication import MASK, Authorization, authenticated_post, shown_headers
from egress.client import Client, Outcome, OutgoingRequest
from egress.guard import Guard
from egress.oauth import CLIENT_SECRET_POST, ClientCredentials, NoToken, Tokens, read_answer
from tests.egress.posting import LOOPBACK
from tests.egress.receivers import FixedResolver
from tests.receiver import Answer, Receiver
from tests.token_server import TokenServer

SECRET = "s3cret-of-the-client"


@pytest.fixture
def tokens():
    with TokenServer() as running:
        yield running


@pytest.fixture
def receiver():
    with Receiver() as running:
        yield running


def credentials(tokens, owner="one", **changes) -> ClientCredentials:
    made = ClientCredentials(
        owner, tokens.url, client_id="portal", client_secret=SECRET, receiver="https://receiver.example/"
    )
    return replace(made, **changes)


def send(receiver, *auths, times=1, guard=LOOPBACK, at_once=False, timeout=5.0, **options) -> list[Outcome]:
    """Each of `auths` `times` times over one client; one after another, or all at once."""
    request = OutgoingRequest(receiver.url, (("X-A", "b"),), b"{}", timeout)

    async def run():
        async with Client(guard, **options) as client:
            posts = [authenticated_post(client, request, auth) for auth in auths for _ in range(times)]
            return list(await asyncio.gather(*posts)) if at_once else [await post for post in posts]

    return asyncio.run(run())


def bearers(receiver) -> list[str]:
    return [posted.headers["authorization"] for posted in receiver.posted]


def knowing(*good: str):
    """A receiver that takes these tokens only."""
    return lambda posted: Answer(204 if posted.headers["authorization"].removeprefix("Bearer ") in good else 401)


# Fixed headers


def test_nothing_is_added_where_nothing_is_set(receiver):
    (outcome,) = send(receiver, None)
    assert outcome.ok
    assert "authorization" not in receiver.posted[0].headers
    assert shown_headers(None) == []


def test_a_fixed_authorization_is_sent_and_shown_masked(receiver):
    auth = Authorization("Basic", "dTpw")
    assert send(receiver, auth)[0].ok
    assert bearers(receiver) == ["Basic dTpw"]
    assert receiver.posted[0].headers["x-a"] == "b"
    assert shown_headers(auth) == [("Authorization", f"Basic {MASK}")]


def test_it_stands_alone(receiver):
    request = OutgoingRequest(receiver.url, (("authorization", "Digest other"),), b"{}", 5.0)

    async def run():
        async with Client(LOOPBACK) as client:
            return await authenticated_post(client, request, Authorization("Bearer", "t"))

    assert asyncio.run(run()).ok
    assert bearers(receiver) == ["Bearer t"]


def test_what_a_receiver_repeats_of_it_is_blotted_out(receiver):
    receiver.answer = lambda posted: Answer(
        200, b"You said " + posted.headers["authorization"].encode(), {"X-Echo": posted.headers["authorization"]}
    )
    (outcome,) = send(receiver, Authorization("Bearer", "t0ken-arst"))
    assert outcome.body.decode() == f"You said Bearer {MASK}"
    assert ("X-Echo", f"Bearer {MASK}") in outcome.headers


# Asking for a token


def test_a_token_is_asked_for_and_sent(tokens, receiver):
    (outcome,) = send(receiver, credentials(tokens, scope="a b", audience="https://api.example"))
    assert outcome.ok
    assert (outcome.error, outcome.detail) == ("", "")
    assert bearers(receiver) == ["Bearer token-1"]
    assert tokens.forms == [{"grant_type": "client_credentials", "scope": "a b", "audience": "https://api.example"}]
    headers = tokens.posted[0].headers
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert headers["accept"] == "application/json"


def test_id_and_secret_in_the_header_are_form_encoded_first(tokens, receiver):
    send(receiver, credentials(tokens, client_id="a:b c", client_secret="p+ä%&"))
    kind, pair = tokens.posted[0].headers["authorization"].split(" ")
    name, _, secret = base64.b64decode(pair).decode().partition(":")
    assert kind == "Basic"
    assert (unquote_plus(name), unquote_plus(secret)) == ("a:b c", "p+ä%&")


def test_id_and_secret_in_the_form(tokens, receiver):
    send(receiver, credentials(tokens, client_secret="p+ä%&", client_authentication=CLIENT_SECRET_POST))
    assert tokens.forms[0] == {"grant_type": "client_credentials", "client_id": "portal", "client_secret": "p+ä%&"}
    assert "authorization" not in tokens.posted[0].headers


def test_fifty_at_once_ask_once(tokens, receiver):
    outcomes = send(receiver, credentials(tokens), times=50, at_once=True)
    assert all(outcome.ok for outcome in outcomes)
    assert len(tokens.posted) == 1
    assert bearers(receiver) == ["Bearer token-1"] * 50


def test_each_owner_has_a_token_of_its_own(tokens, receiver):
    send(receiver, credentials(tokens), credentials(tokens, owner="two"), times=2)
    assert bearers(receiver) == ["Bearer token-1"] * 2 + ["Bearer token-2"] * 2


@pytest.mark.parametrize(
    "change",
    [
        {"client_id": "other"},
        {"client_secret": "other"},
        {"scope": "other"},
        {"audience": "other"},
        {"receiver": "https://other.example/"},
        {"client_authentication": CLIENT_SECRET_POST},
    ],
)
def test_a_change_drops_the_token_at_once(tokens, receiver, change):
    send(receiver, credentials(tokens), credentials(tokens, **change))
    assert bearers(receiver) == ["Bearer token-1", "Bearer token-2"]


def test_another_token_url_drops_it_too(tokens, receiver):
    with TokenServer(mark="other") as other:
        send(receiver, credentials(tokens), credentials(other))
    assert bearers(receiver) == ["Bearer token-1", "Bearer other-1"]


# Renewed on a 401


def test_on_a_401_it_is_renewed_once_and_both_legs_are_told_of(tokens, receiver):
    receiver.answer = knowing("token-2")
    (outcome,) = send(receiver, credentials(tokens))
    assert outcome.ok
    assert bearers(receiver) == ["Bearer token-1", "Bearer token-2"]
    assert receiver.posted[0].body == receiver.posted[1].body
    assert outcome.detail.startswith("The receiver answered 401 after ")
    assert "The access token was renewed and the message sent once more" in outcome.detail


def test_a_second_401_is_the_outcome(tokens, receiver):
    receiver.answer = Answer(401, b"no")
    (outcome,) = send(receiver, credentials(tokens))
    assert (outcome.status, outcome.error, outcome.body) == (401, "", b"no")
    assert len(receiver.posted) == len(tokens.posted) == 2


@pytest.mark.parametrize("status", [400, 403, 500])
def test_other_answers_renew_nothing(tokens, receiver, status):
    receiver.answer = Answer(status)
    assert send(receiver, credentials(tokens))[0].status == status
    assert len(tokens.posted) == 1


def test_fifty_that_are_told_401_at_once_renew_once(tokens, receiver):
    receiver.answer = knowing("token-2")
    outcomes = send(receiver, credentials(tokens), times=50, at_once=True)
    assert all(outcome.ok for outcome in outcomes)
    assert len(tokens.posted) == 2


def test_the_renewed_token_is_kept(tokens, receiver):
    receiver.answer = knowing("token-2")
    send(receiver, credentials(tokens), times=3)
    assert bearers(receiver) == ["Bearer token-1", *["Bearer token-2"] * 3]


def test_where_it_cannot_be_renewed_the_401_is_told_of(tokens, receiver):
    receiver.answer = Answer(401)
    give = tokens.answer
    tokens.answer = lambda posted: (
        give(posted) if len(tokens.posted) == 1 else Answer(400, b'{"error":"invalid_scope"}')
    )
    (outcome,) = send(receiver, credentials(tokens))
    assert (outcome.status, outcome.error) == (None, "oauth_token")
    assert "answered 401" in outcome.detail
    assert "answered 400 (invalid_scope)" in outcome.detail


# No token


def test_without_a_token_nothing_is_sent(tokens, receiver):
    tokens.answer = Answer(401, json.dumps({"error": "invalid_client", "error_description": SECRET}).encode())
    outcomes = send(receiver, credentials(tokens), times=50, at_once=True)
    assert {(one.status, one.error, one.detail) for one in outcomes} == {
        (None, "oauth_token", "No access token: the token endpoint answered 401 (invalid_client).")
    }
    assert receiver.posted == []
    assert len(tokens.posted) == 1


def test_a_redirect_of_the_token_endpoint_is_not_followed(tokens, receiver):
    with TokenServer() as elsewhere:
        tokens.answer = Answer(307, b"", {"Location": elsewhere.url})
        (outcome,) = send(receiver, credentials(tokens))
        assert elsewhere.posted == []
    assert (outcome.error, receiver.posted) == ("oauth_token", [])


@pytest.mark.spec("S8")
def test_the_token_url_is_under_the_guard(tokens, receiver):
    guard = Guard()
    (typed,) = send(receiver, credentials(tokens), guard=guard)
    led = credentials(tokens, token_url="https://login.example.com/token")
    (resolved,) = send(receiver, led, guard=guard, resolver=FixedResolver("127.0.0.1"))
    for outcome in (typed, resolved):
        assert (outcome.error, outcome.address) == ("oauth_token", "")
        assert "the portal does not send to the token URL" in outcome.detail
    assert tokens.posted == receiver.posted == []


def test_a_token_endpoint_that_hangs_costs_one_attempt_its_time(receiver):
    async def never(request):
        await asyncio.sleep(60)

    async def run():
        async with Client(LOOPBACK) as client:
            client.tokens = Tokens(never)
            request = OutgoingRequest(receiver.url, (), b"{}", 0.1)
            many = (authenticated_post(client, request, credentials(receiver)) for _ in range(20))
            return await asyncio.gather(*many)

    outcomes = asyncio.run(run())
    assert {outcome.error for outcome in outcomes} == {"oauth_token"}
    assert {outcome.detail for outcome in outcomes} == {"No access token: the token endpoint did not answer in time."}
    assert receiver.posted == []


def test_a_waiter_that_is_cancelled_takes_nothing_from_the_others(tokens, receiver):
    async def run():
        async with Client(LOOPBACK) as client:
            request = OutgoingRequest(receiver.url, (), b"{}", 5.0)
            first, second = (
                asyncio.create_task(authenticated_post(client, request, credentials(tokens))) for _ in range(2)
            )
            await asyncio.sleep(0)
            first.cancel()
            return await second

    assert asyncio.run(run()).ok
    assert len(tokens.posted) == 1


# How long a token is good


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def lived(tokens, moments) -> list[str]:
    """The token that is given out at each moment, in seconds from the first."""
    clock = Clock()

    async def run():
        async with Client(LOOPBACK) as client:
            kept = Tokens(client.post, clock)
            given = []
            for moment in moments:
                clock.now = 1000.0 + moment
                given.append(await kept.get(credentials(tokens), 5.0))
            return given

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("lifetime", "last", "renewed"),
    [
        (100, 89, 91),  # a tenth early
        (3600, 3569, 3571),  # half a minute early
        ("3600", 3569, 3571),
        (None, 269, 271),  # five minutes where nothing is said
        ("soon", 269, 271),
        (True, 269, 271),
        (-5, 269, 271),
        ([], 269, 271),
        (10**15, 86369, 86371),  # never longer than a day
        (1e300, 86369, 86371),
        (0, 0, 1),
    ],
)
def test_a_token_is_renewed_shortly_before_its_end(tokens, lifetime, last, renewed):
    tokens.lifetime = lifetime
    moments = [0, last, renewed] if last else [0, renewed]
    assert lived(tokens, moments) == ["token-1"] * (len(moments) - 1) + ["token-2"]


def test_after_a_failure_it_is_asked_again_in_a_moment_and_not_at_once(tokens):
    tokens.answer = Answer(503)
    clock = Clock()

    async def run():
        async with Client(LOOPBACK) as client:
            kept = Tokens(client.post, clock)
            asked = []
            for moment in (0, 0, oauth.REST - 0.1, oauth.REST + 0.1):
                clock.now = 1000.0 + moment
                with pytest.raises(NoToken, match="503"):
                    await kept.get(credentials(tokens), 5.0)
                asked.append(len(tokens.posted))
            return asked

    assert asyncio.run(run()) == [1, 1, 1, 2]


def test_the_longer_it_fails_the_more_rarely_it_is_asked(tokens):
    """Nobody has asked the token endpoint whether it wants to be posted to."""
    give, tokens.answer = tokens.answer, Answer(503)
    clock = Clock()

    async def run():
        async with Client(LOOPBACK) as client:
            kept = Tokens(client.post, clock)
            for moment in range(600):
                clock.now = 1000.0 + moment
                with contextlib.suppress(NoToken):
                    await kept.get(credentials(tokens), 5.0)
            failed = len(tokens.posted)
            tokens.answer = give
            clock.now += oauth.MOST_REST
            await kept.get(credentials(tokens), 5.0)
            tokens.answer = Answer(503)
            clock.now += 10_000  # it has ended, and the count begins anew
            for moment in (0, oauth.REST + 0.1):
                clock.now += moment
                with pytest.raises(NoToken):
                    await kept.get(credentials(tokens), 5.0)
            return failed, len(tokens.posted) - failed

    assert asyncio.run(run()) == (14, 3)


def test_few_are_kept(tokens, monkeypatch):
    monkeypatch.setattr("egress.oauth.MAX_KEPT", 2)

    async def run():
        async with Client(LOOPBACK) as client:
            return [
                await client.tokens.get(credentials(tokens, owner), 5.0) for owner in ("a", "b", "a", "c", "a", "b")
            ]

    assert asyncio.run(run()) == ["token-1", "token-2", "token-1", "token-3", "token-1", "token-4"]


# What is understood of an answer


def answered(status=200, **document) -> Outcome:
    return Outcome(status, body=json.dumps(document).encode())


def test_a_token_type_is_told_in_any_case_or_not_at_all():
    for kind in ({"token_type": "bearer"}, {"token_type": "BEARER"}, {}):
        assert read_answer(answered(access_token="t", expires_in=60, **kind)) == ("t", 60.0)


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (answered(), "holds no access_token"),
        (answered(access_token=""), "holds no access_token"),
        (answered(access_token=7), "holds no access_token"),
        (answered(access_token="t", token_type="mac"), "not a bearer token"),
        (answered(access_token="t", token_type=None), "not a bearer token"),
        (answered(access_token="a\r\nX-B: c"), "cannot be sent"),
        (answered(access_token="a b"), "cannot be sent"),
        (answered(access_token="é"), "cannot be sent"),
        (answered(access_token="t" * 9000), "cannot be sent"),
        (Outcome(200, body=b""), "holds no access_token"),
        (Outcome(200, body=b"access_token=t"), "holds no access_token"),
        (Outcome(200, body=b'["t"]'), "holds no access_token"),
        (Outcome(200, body=b"[" * 16000), "holds no access_token"),
        (Outcome(200, body=b'{"access_token":"t","expires_in":' + b"9" * 9000), "holds no access_token"),
        (Outcome(200, body=b"\xff\xfe"), "holds no access_token"),
        (answered(400, error="invalid_grant"), r"answered 400 \(invalid_grant\)"),
        (answered(400, error="what you sent"), "answered 400$"),
        (answered(400, error=["x"]), "answered 400$"),
        (answered(302), "answered 302$"),
        (Outcome(None, error="tls"), "TLS session"),
        (Outcome(200, body=b'{"access_token":"t"}', error="reset"), "closed the connection"),
        (Outcome(None, error="client_certificate"), "failed"),
    ],
)
def test_what_is_no_token(outcome, words):
    with pytest.raises(NoToken, match=words):
        read_answer(outcome)


def test_no_representation_shows_a_secret(tokens, receiver):
    made = credentials(tokens)

    async def run():
        async with Client(LOOPBACK) as client:
            await client.tokens.get(made, 5.0)
            return repr(list(client.tokens._asked.items())) + repr(made) + repr(Authorization("Basic", "c3Vwcg"))

    shown = asyncio.run(run())
    assert not any(word in shown for word in (SECRET, "token-1", "c3Vwcg"))
