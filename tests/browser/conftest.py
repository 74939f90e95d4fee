"""A real Chromium in front of a real portal.

portal            the portal as a process, one for all of these tests
acme              a tenant with an owner, a member and a viewer; SimpleNamespace(id, api_key, owner, member, viewer)
globex            another tenant, with its owner: the stranger
session(person)   a browser context that is signed in (None: signed out); what goes wrong in it fails the test

All share one xdist group, so one worker starts one portal. Scopes end with this package: Playwright's event loop
would make Django refuse the database to the tests that come after.
"""

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TypeVar

import psutil
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from tests.browser.install import find
from tests.portal import Portal

Found = TypeVar("Found")
PASSWORD = "correct horse battery"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
# Chromium writes a line for every answer of 400 and more. Those of the portal are judged by their status below.
ANSWERED = re.compile(r"Failed to load resource: the server responded with a status of 4\d\d")
PATIENCE = 30_000  # ms: Playwright's own, for a machine that stalls
expect.set_options(timeout=PATIENCE)


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/browser/" in item.nodeid:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A page that did not come may be the portal's fault or the machine's: what can be known of both is shown."""
    report = yield
    running = getattr(item, "funcargs", {}).get("portal")
    if report.failed and running is not None:
        report.sections.append(("The portal said last", running.log()[-3000:]))
        report.sections.append(
            ("Load of the machine, and the portal's processes", f"{os.getloadavg()}\n{_state(running)}")
        )
    return report


def _state(portal: Portal) -> str:
    lines = []
    for process in portal.processes():
        with contextlib.suppress(psutil.Error):
            lines.append(
                f"{process.pid} {process.status()} {process.cpu_times()[:2]} {' '.join(process.cmdline())[:100]}"
            )
    return "\n".join(lines)


@dataclass
class Watch:
    """Everything that must not happen in a page."""

    mistakes: list[str] = field(default_factory=list)

    def over(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.mistakes.append(f"page error: {error}"))
        page.on("console", self._heard)
        page.on("response", self._answered)
        page.on("requestfailed", self._failed)

    def _heard(self, message) -> None:
        if message.type in {"error", "warning"} and not ANSWERED.match(message.text):
            self.mistakes.append(f"console {message.type}: {message.text}")

    def _answered(self, response) -> None:
        missing = "/static/" in response.url and response.status >= 400
        if response.status >= 500 or missing:
            self.mistakes.append(f"{response.request.method} {response.url} answered {response.status}")

    def _failed(self, request) -> None:
        # A page that is left cancels what it was loading; everything else is a connection that broke.
        if "ERR_ABORTED" not in (request.failure or ""):
            self.mistakes.append(f"{request.method} {request.url}: {request.failure}")


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    executable = find()
    if executable is None:
        missed = "NO CHROMIUM: nothing is proven about the pages in a browser. Run tests/browser/install.py."
        pytest.fail(missed) if os.environ.get("CI") else pytest.skip(missed)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def portal(chromium) -> Iterator[Portal]:
    with Portal() as running:
        yield running


def post_form(context: BrowserContext, url: str, values: dict[str, str]) -> None:
    """Submit a Django form as a page would, without drawing it. Accepted means a redirect."""
    context.request.get(url)
    token = next(cookie["value"] for cookie in context.cookies(url) if cookie["name"] == "csrftoken")
    answer = context.request.post(
        url, form={"csrfmiddlewaretoken": token, **values}, headers={"Referer": url}, max_redirects=0
    )
    assert answer.status == 302, f"{url} answered {answer.status}: {answer.text()}"


def sign_in(context: BrowserContext, portal: Portal, person: SimpleNamespace) -> None:
    post_form(context, f"{portal.url}/accounts/login/", {"login": person.email, "password": person.password})


def change_password(context: BrowserContext, portal: Portal, old: str, new: str = PASSWORD) -> None:
    post_form(
        context,
        f"{portal.url}/accounts/password/change/",
        {"oldpassword": old, "password1": new, "password2": new},
    )


def make_tenant(portal: Portal, name: str, owner: str) -> SimpleNamespace:
    made = portal.create_tenant(name, owner)
    person = SimpleNamespace(email=made.owner, password=made.password)
    return SimpleNamespace(id=made.id, name=name, api=made.api, api_key=made.api_key, owner=person)


def make_member(chromium: Browser, portal: Portal, tenant: SimpleNamespace, email: str, role: str) -> SimpleNamespace:
    invited = tenant.api("POST", "invitations/", {"email": email, "role": role})
    context = chromium.new_context()
    post_form(context, invited["url"], {"name": role.title(), "password": PASSWORD})
    context.close()
    return SimpleNamespace(email=email, password=PASSWORD)


def shown(locator: Locator) -> str:
    """The text of what has just been revealed."""
    expect(locator).to_be_visible()
    expect(locator).not_to_be_empty()
    return locator.inner_text()


def wait_for(found: Callable[[], Found], seconds: float = 30) -> Found:
    """What `found` gives as soon as it gives something."""
    deadline = time.monotonic() + seconds
    while not (thing := found()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)
    return thing


@pytest.fixture(scope="package")
def acme(chromium, portal) -> SimpleNamespace:
    tenant = make_tenant(portal, "Acme", "owner@acme.example")
    tenant.member = make_member(chromium, portal, tenant, "member@acme.example", "member")
    tenant.viewer = make_member(chromium, portal, tenant, "viewer@acme.example", "viewer")
    return tenant


@pytest.fixture(scope="package")
def globex(portal) -> SimpleNamespace:
    return make_tenant(portal, "Globex", "stranger@globex.example")


@pytest.fixture(scope="package")
def operator(chromium, portal) -> SimpleNamespace:
    email, password = portal.operator
    person = SimpleNamespace(email=email, password=password)
    context = chromium.new_context()
    sign_in(context, portal, person)
    change_password(context, portal, password)
    context.close()
    person.password = PASSWORD
    return person


@pytest.fixture(scope="package")
def signed_in_state() -> dict[str, dict]:
    """Who has signed in already: cookies by address, so that each does it once."""
    return {}


@pytest.fixture
def session(chromium, portal, signed_in_state) -> Iterator[Callable[..., BrowserContext]]:
    watch, contexts = Watch(), []

    def open_for(person: SimpleNamespace | None = None, **options) -> BrowserContext:
        known = signed_in_state.get(person.email) if person else None
        options = {"viewport": {"width": 1280, "height": 800}, **options}
        context = chromium.new_context(base_url=portal.url, storage_state=known, **options)
        context.set_default_timeout(PATIENCE)
        context.on("page", watch.over)
        contexts.append(context)
        if person and known is None:
            sign_in(context, portal, person)
            signed_in_state[person.email] = context.storage_state()
        return context

    yield open_for
    for context in contexts:
        context.close()
    assert not watch.mistakes, "\n".join([*watch.mistakes, "", "The portal said:", portal.log()[-3000:]])


@pytest.fixture
def page(session, acme) -> Page:
    """A page of Acme's owner."""
    return session(acme.owner).new_page()
