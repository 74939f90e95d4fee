"""Every spelling × every place where the portal is told where to connect: nobody is connected to (S8).

Typed URLs go through the API. The others stand in the database already, past validation, and are sent to by the real
dispatcher: once under the whole guard, and once under its check of the socket alone, which has to be enough.

The canaries' port counts as one of https's here, so that it is the address which refuses and not the port.
"""

import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from django.utils import timezone

from deliveries.dispatch import Dispatcher
from deliveries.models import Attempt, Outbox
from deliveries.routing import route
from egress.guard import HTTPS_PORTS, Guard
from events.models import Event, Inbox
from subscriptions.models import Subscription
from subscriptions.receiver_auth import ReceiverAuth
from subscriptions.verification import portal_guard
from tenants.scope import system_scope, tenant_scope
from tests.egress.canaries import Canaries, CorpusResolver, SocketCheckAlone, listening
from tests.egress.corpus import CORPUS, HIDDEN_BY_DNS, PORTAL
from tests.egress.posting import LOOPBACK, post
from tests.egress.proxy import proxying
from tests.egress.receivers import Receiver, answering, http, read_request, receiver

REDIRECTS = (300, 301, 302, 303, 305, 306, 307, 308)
LIST = "/api/v1/subscriptions/"


@pytest.fixture
def canaries(monkeypatch) -> Iterator[Canaries]:
    with listening() as canaries:
        monkeypatch.setattr("egress.guard.HTTPS_PORTS", HTTPS_PORTS | {canaries.port})
        yield canaries


@dataclass
class Portal:
    """What a place needs to be driven: the API as an admin uses it, and the worker with one guard."""

    api: object
    tenant: object
    owner: object
    dispatcher: Dispatcher

    def work(self) -> None:
        """Route what is in the inbox and send what is due, as the worker does."""
        while route().claimed:
            pass
        self.dispatcher.drain()

    def subscribe(self, urls: list[str], auths: list[ReceiverAuth] | None = None) -> list[Subscription]:
        """Idle subscriptions whose URLs nobody has looked at."""
        made = []
        with tenant_scope(self.tenant.pk):
            for number, url in enumerate(urls):
                subscription = Subscription(
                    tenant=self.tenant, name=f"Hook {number}", url=url, state="idle", event_types=["*"]
                )
                if auths:
                    subscription.seal_auth(auths[number])
                subscription.save(force_insert=True)
                subscription.issue_secret()
                made.append(subscription)
        return made

    def happen(self) -> None:
        with tenant_scope(self.tenant.pk):
            event = Event.objects.create(
                tenant=self.tenant, type="user.created", body=b"{}", content_type="application/json"
            )
            Inbox.objects.create(event=event, tenant=self.tenant)


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


# Where a URL is typed: (portal, url) → the answer to it.


def create(portal: Portal, url: str):
    return portal.api.post(LIST, {"name": f"Desk {uuid.uuid4()}", "url": url})


def update(portal: Portal, url: str):
    with tenant_scope(portal.tenant.pk):
        there = Subscription.objects.first()
    there = there or portal.subscribe(["https://hooks.example.com/"])[0]
    return portal.api.patch(f"{LIST}{there.pk}/", {"url": url})


def oauth2(url: str) -> dict[str, str]:
    return {"method": "oauth2", "token_url": url, "client_id": "portal", "client_secret": "s3cret"}


def create_token_url(portal: Portal, url: str):
    hook = {"name": f"Desk {uuid.uuid4()}", "url": "https://hooks.example.com/"}
    return portal.api.post(LIST, hook | {"auth": oauth2(url)})


def update_token_url(portal: Portal, url: str):
    """Changing it sends nothing, so a test is sent."""
    with tenant_scope(portal.tenant.pk):
        there = Subscription.objects.first() or portal.subscribe(["https://hooks.example.com/"])[0]
    answer = portal.api.patch(f"{LIST}{there.pk}/", {"auth": oauth2(url)})
    if answer.status_code == 200:
        portal.api.post(f"{LIST}{there.pk}/test/")
    return answer


# Where a URL is sent to: (portal, urls) → how many requests were tried with each.


def confirm(portal: Portal, urls: list[str], verification: str = "link") -> int:
    with tenant_scope(portal.tenant.pk):
        for number, url in enumerate(urls):
            Subscription.objects.create_pending(
                portal.tenant,
                portal.owner,
                name=f"Hook {number}",
                url=url,
                event_types=["*"],
                verification=verification,
            )
    portal.work()
    return 1


def challenge(portal: Portal, urls: list[str]) -> int:
    return confirm(portal, urls, "challenge")


def deliver(portal: Portal, urls: list[str]) -> int:
    portal.subscribe(urls)
    portal.happen()
    portal.work()
    return 1


def send_test(portal: Portal, urls: list[str]) -> int:
    subscriptions = portal.subscribe(urls)
    with tenant_scope(portal.tenant.pk):
        for subscription in subscriptions:
            subscription.send_test()
    portal.work()
    return 1


def retry(portal: Portal, urls: list[str]) -> int:
    deliver(portal, urls)
    with system_scope():
        Outbox.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    portal.work()
    return 2


def fetch_token(portal: Portal, urls: list[str]) -> int:
    auths = []
    for url in urls:
        secrets = oauth2(url)
        config = {name: secrets.pop(name) for name in ("token_url", "client_id")}
        auths.append(ReceiverAuth(secrets.pop("method"), config, secrets))
    portal.subscribe(["https://hooks.example.com/"] * len(urls), auths)
    portal.happen()
    portal.work()
    return 1


# A later place is one more line.
TYPED: dict[str, Callable] = {
    "create": create,
    "update": update,
    "create, token URL": create_token_url,
    "update, token URL": update_token_url,
}
SENT: dict[str, Callable] = {
    "confirm": confirm,
    "challenge": challenge,
    "deliver": deliver,
    "test": send_test,
    "retry": retry,
    "token URL": fetch_token,
}
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
