"""Makes what is missing of Northwind, through the API. Started again, it finds most of it there.

People do what people would do, signed in; the API key does what a script would: it looks, and sets up the sources.

Secrets are told once. Those the memory holds are used again; of those it has lost, new ones are drawn by rotating.
"""

import itertools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from config.demo import company
from config.demo.company import SourceSpec, SubscriptionSpec
from config.demo.memory import Memory, write_private
from config.demo.portal import Api, Browser, Person, Refused, SignInFailed, at
from config.demo.senders import Sender

WEEK, DAY = 7 * 86400, 86400
CONFIRMED_WITHIN = 20  # seconds


class Setup:
    """`receivers` are the addresses of company.ReceiverName; `secret_file` is what the good receiver reads."""

    def __init__(self, api: Api, memory: Memory, receivers: Mapping[str, str], secret_file: Path) -> None:
        self.api = api
        self.memory = memory
        self.receivers = receivers
        self.secret_file = secret_file
        self.is_first = not memory["done"]
        self._signed_in: dict[str, Api] = {}

    def run(self) -> dict[str, Sender]:
        """Everything, in the order that a person would do it in. Returns the senders by their source's name."""
        self.people()
        self.sites()
        senders = self.sources()
        self.subscriptions()
        if self.is_first:
            self.what_time_brings(senders)
            self.memory["done"]["at"] = time.time()
            self.memory.save()
        return senders

    def acting(self, email: str) -> Api:
        """Somebody at the pages; the API key in their stead if they have chosen another password since."""
        if email not in self._signed_in:
            try:
                self._signed_in[email] = Person(self.api.base, email, self.memory["owner"]["password"])
            except SignInFailed:
                self._signed_in[email] = self.api
        return self._signed_in[email]

    def people(self) -> None:
        """Colleagues follow their invitations as in a browser; one has not done so yet."""
        members = {member["user"]["email"] for member in self.api.all("members/")}
        invited = {one["email"] for one in self.api.all("invitations/") if one["state"] == "open"}
        for email, name, role in company.COLLEAGUES:
            if email not in members:
                password = self.memory["owner"]["password"]
                link = self.acting(company.OWNER).post("invitations/", {"email": email, "role": role})["url"]
                self._join(link, name, password)
        email, role = company.INVITED
        if email not in members | invited:
            self.acting(company.ADMIN).post("invitations/", {"email": email, "role": role})

    def _join(self, link: str, name: str, password: str) -> None:
        path = at("", link)
        Browser(self.api.base).submit(path, name=name, password=password)

    def sites(self) -> None:
        there = {site["name"] for site in self.api.all("sites/")}
        for name in company.SITES:
            if name not in there:
                self.acting(company.OWNER).post("sites/", {"name": name})

    # Sources -----------------------------------------------------------------------------------------------------

    def sources(self) -> dict[str, Sender]:
        there = {source["name"]: source for source in self.api.all("sources/")}
        return {spec.name: self._source(spec, there.get(spec.name)) for spec in company.SOURCES}

    def _source(self, spec: SourceSpec, source: dict[str, Any] | None) -> Sender:
        if source is None:
            asked = {name: getattr(spec, name) for name in ("name", "auth", "event_type", "kind", "stream_type")}
            source = self.api.post("sources/", asked)
            if spec.paused:
                self.acting(company.ADMIN).post(f"sources/{source['id']}/pause/")
            self._remember("sources", source)
        elif source["id"] not in self.memory["sources"] and source["auth"]["method"] != "none":
            rotated = self.api.post(f"sources/{source['id']}/rotate-secret/", {"overlap_seconds": 0})
            self._remember("sources", {**rotated, "id": source["id"]})
        known = self.memory["sources"].get(source["id"], {})
        return Sender(
            name=spec.name,
            url=at(self.api.base, source["url"]),
            auth=source["auth"],
            secret=known.get("secret") or "",
            key_id=known.get("key_id") or "",
        )

    def _remember(self, kind: str, told: Mapping[str, Any]) -> None:
        """At once, because it is not told again."""
        self.memory[kind][told["id"]] = {"secret": told.get("secret"), "key_id": told.get("key_id")}
        self.memory.save()

    # Subscriptions -----------------------------------------------------------------------------------------------

    def subscriptions(self) -> None:
        """Their receivers agree by themselves: this waits until they have."""
        there = {one["name"]: one for one in self.api.all("subscriptions/")}
        for spec in company.SUBSCRIPTIONS:
            self._subscription(spec, there.get(spec.name))
        agreeing = {spec.name for spec in company.SUBSCRIPTIONS if spec.receiver != "silent"}
        asked_again: set[str] = set()

        def all_agreed() -> bool:
            waiting = [one for one in self.api.all("subscriptions/?state=pending") if one["name"] in agreeing]
            for one in waiting:
                if one["name"] in there and one["id"] not in asked_again:
                    asked_again.add(one["id"])
                    self._ask_again(one["id"])
            return not waiting

        wait_for(all_agreed, "the receivers open their confirmation links", CONFIRMED_WITHIN)

    def _subscription(self, spec: SubscriptionSpec, subscription: dict[str, Any] | None) -> None:
        url = self.receivers[spec.receiver]
        known = self.memory["subscriptions"]
        if subscription is None:
            made = self.acting(company.ADMIN).post(
                "subscriptions/",
                {"name": spec.name, "hint": spec.hint, "url": url, "event_types": list(spec.event_types)}
                | spec.settings,
            )
            known[made["id"]] = {"secrets": [made["secret"]], "url": url}
        elif subscription["id"] not in known:
            rotated = self.api.post(f"subscriptions/{subscription['id']}/rotate-secret/", {"overlap_seconds": 0})
            known[subscription["id"]] = {"secrets": [rotated["secret"]]}
            self._move(subscription, spec, url)
        elif known[subscription["id"]]["url"] != url:
            self._move(subscription, spec, url)
        self._tell_the_receiver()

    def _move(self, subscription: dict[str, Any], spec: SubscriptionSpec, url: str) -> None:
        """The receivers' ports may be others than the last time. Headers have to be given again with a URL."""
        change = {"url": url} | {name: spec.settings[name] for name in ("headers",) if name in spec.settings}
        self.api.patch(f"subscriptions/{subscription['id']}/", change)
        self.memory["subscriptions"][subscription["id"]]["url"] = url
        self._tell_the_receiver()

    def _ask_again(self, identifier: str) -> None:
        try:
            self.api.post(f"subscriptions/{identifier}/send-confirmation/")
        except Refused as refused:
            if refused.status not in (409, 429):  # it has just agreed, or was asked a moment ago
                raise

    def _tell_the_receiver(self) -> None:
        """The good receiver knows the secrets of all that is sent to it; it reads them at each request."""
        self.memory.save()
        known = self.memory["subscriptions"].values()
        secrets = [secret for one in known for secret in one["secrets"]]
        write_private(self.secret_file, "\n".join(secrets) + "\n")

    # A little history --------------------------------------------------------------------------------------------

    def what_time_brings(self, senders: Mapping[str, Sender]) -> None:
        """Rotations under way, test events, keys: what the pages of a used portal show."""
        source = next(s for s in self.api.all("sources/") if s["name"] == company.SIGN_INS.name)
        admin, member = self.acting(company.ADMIN), self.acting(company.MEMBER)
        rotated = admin.post(f"sources/{source['id']}/rotate-secret/", {"overlap_seconds": WEEK})
        previous = senders[company.SIGN_INS.name]
        senders[company.SIGN_INS.name] = Sender(previous.name, previous.url, previous.auth, rotated["secret"])
        self._remember("sources", {**rotated, "id": source["id"]})
        by_name = {one["name"]: one for one in self.api.all("subscriptions/")}
        for spec in company.SUBSCRIPTIONS[:3]:
            member.post(f"subscriptions/{by_name[spec.name]['id']}/test/")
        lake = by_name[company.SUBSCRIPTIONS[0].name]["id"]
        secret = admin.post(f"subscriptions/{lake}/rotate-secret/", {"overlap_seconds": DAY})["secret"]
        self.memory["subscriptions"][lake]["secrets"].insert(0, secret)
        self._tell_the_receiver()
        admin.post("api-keys/", {"name": "Grafana", "role": "viewer"})
        retired = admin.post("api-keys/", {"name": "Import of last year", "role": "member"})
        self.acting(company.OWNER).post(f"api-keys/{retired['id']}/revoke/")


def wait_for(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Ask again and again. Raises TimeoutError, which says what was waited for."""
    deadline = time.monotonic() + seconds
    for attempt in itertools.count():
        if condition():
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"Waited {seconds} s in vain: {what}.")
        time.sleep(min(0.1 * 1.3**attempt, 1))
