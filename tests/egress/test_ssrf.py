"""Every spelling × every place where the portal is told where to connect: nobody is connected to (S8).

Typed URLs go through the API. The others stand in the database already, past validation, and are sent to by the real
dispatcher: once under the whole guard, and once under its check of the socket alone, which has to be enough.

The canaries' port counts as one of https's here, so that it is the address which refuses and not the port.
"""

import re
from collections.abc import Iterator

import pytest

from deliveries.dispatch import Dispatcher
from deliveries.models import Attempt
from egress.guard import HTTPS_PORTS, Guard
from subscriptions.verification import portal_guard
from tenants.scope import system_scope
from tests.egress.canaries import Canaries, CorpusResolver, SocketCheckAlone, listening
from tests.egress.corpus import CORPUS, HIDDEN_BY_DNS, PORTAL
from tests.egress.places import SENT, TYPED, Portal, deliver
from tests.egress.posting import LOOPBACK, post
from tests.egress.proxy import proxying
from tests.egress.receivers import Receiver, answering, http, read_request, receiver

REDIRECTS = (300, 301, 302, 303, 305, 306, 307, 308)


@pytest.fixture
def canaries(monkeypatch) -> Iterator[Canaries]:
    with listening() as canaries:
        monkeypatch.setattr("egress.guard.HTTPS_PORTS", HTTPS_PORTS | {canaries.port})
        yield canaries


@pytest.fixture
def portal(api, cast, settings, monkeypatch):
    """portal(guard) → a Portal. Names lead where the corpus says."""
    settings.PORTAL_URL = f"https://{PORTAL}"
    settings.EGRESS_ALLOW = []
    monkeypatch.setattr("egress.client.PooledResolver", CorpusResolver)
    # A drain lets its event loop rest while it writes what came of a hundred requests: on a busy machine for seconds.
    monkeypatch.setattr("deliveries.sending.TIMEOUT", 4.0)
    dispatchers = []

    def make(guard: Guard | None = None) -> Portal:
        dispatchers.append(Dispatcher(guard))
        return Portal(api("admin"), cast.tenant, cast.owner, dispatchers[-1])

    yield make
    for dispatcher in dispatchers:
        dispatcher.close()


NO_TOKEN = "No access token: the portal does not send to the token URL."


def is_refused(answer) -> bool:
    fields = [error["field"] for error in answer.json()["errors"]] if answer.status_code == 400 else []
    return fields in (["url"], ["auth.token_url"])


def was_refused(attempt: Attempt) -> bool:
    """By the guard; of a token URL the attempt says so in its words."""
    return attempt.error == "refused" or (attempt.error, attempt.detail) == ("oauth_token", NO_TOKEN)


def attempts() -> list[Attempt]:
    with system_scope():
        return list(Attempt.objects.order_by("id"))


def urls_at(canaries: Canaries, *corpora) -> list[str]:
    return [spelling.at(canaries.port) for corpus in corpora for spelling in corpus]


def test_the_corpus_is_not_thinned_out():
    assert len({spelling.url for spelling in CORPUS}) == len(CORPUS) >= 100
    assert len({spelling.kind for spelling in CORPUS}) >= 25


@pytest.mark.spec("S8")
@pytest.mark.parametrize("place", TYPED)
def test_no_spelling_can_be_typed(portal, canaries, place):
    portal = portal()
    taken = [url for url in urls_at(canaries, CORPUS) if not is_refused(TYPED[place](portal, url))]
    portal.work()
    assert taken == []
    assert (canaries.accepts(), canaries.connects) == (0, [])


@pytest.mark.spec("S8")
@pytest.mark.parametrize("place", TYPED)
def test_a_public_name_that_leads_inside_can_be_typed_and_is_not_connected_to(portal, canaries, place):
    portal = portal()
    for url in urls_at(canaries, HIDDEN_BY_DNS):
        answer = TYPED[place](portal, url)
        assert answer.status_code in (200, 201), answer.content
        portal.work()
    made = attempts()
    assert len(made) == len(HIDDEN_BY_DNS)
    assert [(one.error, one.detail) for one in made if not was_refused(one)] == []
    assert (canaries.accepts(), canaries.connects) == (0, [])


@pytest.mark.spec("S8")
@pytest.mark.parametrize("place", SENT)
def test_what_got_into_the_database_is_not_connected_to(portal, canaries, place):
    portal = portal(portal_guard())
    urls = urls_at(canaries, CORPUS, HIDDEN_BY_DNS)
    each = SENT[place](portal, urls)
    made = attempts()
    assert len(made) == each * len(urls)
    assert [(one.error, one.detail) for one in made if not was_refused(one)] == []
    assert {(attempt.status_code, attempt.address) for attempt in made} == {(None, "")}
    assert (canaries.accepts(), canaries.connects) == (0, [])


@pytest.mark.spec("S8")
@pytest.mark.parametrize("place", SENT)
def test_the_check_of_the_socket_is_enough_by_itself(portal, canaries, place):
    guard = SocketCheckAlone()
    urls = urls_at(canaries, CORPUS, HIDDEN_BY_DNS)
    each = SENT[place](portal(guard), urls)
    made = attempts()
    assert len(made) == each * len(urls)
    assert all(attempt.error and attempt.status_code is None and not attempt.address for attempt in made)
    # The others do not even get as far as an address.
    assert sum(was_refused(attempt) for attempt in made) >= each * 90
    assert (canaries.accepts(), canaries.connects) == (0, [])


@pytest.mark.spec("S8")
@pytest.mark.parametrize("place", SENT)
def test_the_canaries_do_hear_what_a_guard_lets_through(portal, canaries, place):
    """The other way round: with the loopback opened the same spellings lead to the canaries, so they can hear."""
    guard = SocketCheckAlone(allow=["127.0.0.0/8"])
    urls = [spelling.at(canaries.port) for spelling in CORPUS if spelling.kind in {"short", "octal", "circled"}]
    SENT[place](portal(guard), urls)
    assert canaries.accepts() >= 8


# Redirects


def redirecting(locations: list[str]):
    """Answers POST /<status>/<n> with a redirect to the n-th location."""

    def behave(conn) -> None:
        while request := read_request(conn):
            _, status, number = request.split(b" ")[1].decode().split("/")
            conn.sendall(http(int(status), b"", f"Location: {locations[int(number)]}\r\n"))

    return behave


def redirects(far: Receiver, locations: list[str]) -> list[str]:
    return [far.url(f"/{status}/{number}") for status in REDIRECTS for number in range(len(locations))]


@pytest.mark.spec("S8")
def test_no_redirect_to_any_spelling_is_followed(canaries):
    """Even the loopback is open here: what keeps us from it is that redirects are not followed."""
    locations = urls_at(canaries, CORPUS, HIDDEN_BY_DNS)
    with receiver(redirecting(locations)) as far:
        urls = redirects(far, locations)
        outcomes = post(urls, guard=LOOPBACK, resolver=CorpusResolver())
        assert {address for address in canaries.connects} == {("127.0.0.1", far.port)}
    assert len(outcomes) == len(urls)
    assert {outcome.status for outcome in outcomes} == set(REDIRECTS)
    assert canaries.accepts() == 0


@pytest.mark.spec("S8")
@pytest.mark.parametrize("place", SENT)
def test_a_delivery_is_not_redirected(portal, canaries, place):
    locations = [f"http://127.0.0.1:{canaries.port}/", f"http://[::1]:{canaries.port}/"]
    with receiver(redirecting(locations)) as far:
        urls = redirects(far, locations)
        each = SENT[place](portal(LOOPBACK), urls)
        assert {address for address in canaries.connects} == {("127.0.0.1", far.port)}
    made = attempts()
    assert len(made) == each * len(urls)
    answered = {attempt.status_code or int(re.search(r"answered (\d+)", attempt.detail)[1]) for attempt in made}
    assert answered == set(REDIRECTS)
    assert canaries.accepts() == 0


# By way of a proxy


@pytest.mark.spec("S8")
@pytest.mark.parametrize("place", SENT)
@pytest.mark.parametrize("guard", [None, SocketCheckAlone()], ids=["whole guard", "address check alone"])
def test_a_proxy_is_not_asked_for_any_of_them(portal, canaries, settings, place, guard):
    urls = urls_at(canaries, CORPUS, HIDDEN_BY_DNS)
    with proxying() as proxy:
        settings.EGRESS_PROXY = proxy.address
        each = SENT[place](portal(guard), urls)
        assert proxy.asked == []
    made = attempts()
    assert len(made) == each * len(urls)
    assert all(attempt.error and attempt.status_code is None for attempt in made)
    assert canaries.accepts() == 0


def test_deliveries_go_through_the_proxy_of_the_settings(portal, settings):
    with receiver(answering(http(200))) as far, proxying() as proxy:
        settings.EGRESS_PROXY = proxy.address
        deliver(portal(LOOPBACK), [far.url()])
        assert proxy.targets == [far.url()]
    assert [attempt.outcome for attempt in attempts()] == ["delivered"]
