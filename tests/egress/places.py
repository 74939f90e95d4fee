"""Every place where the portal is told where to connect, as a test drives it."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from deliveries.dispatch import Dispatcher
from deliveries.models import Outbox
from deliveries.routing import route
from events.models import Event, Inbox
from subscriptions.models import Subscription
from subscriptions.receiver_auth import ReceiverAuth
from tenants.scope import system_scope, tenant_scope

LIST = "/api/v1/subscriptions/"


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
