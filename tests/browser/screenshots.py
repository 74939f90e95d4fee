"""`make screenshots`: every page of the demo, light and dark, wide and narrow, into var/screenshots/ to be looked at.

Files are called <page>-<light|dark>-<1280|360>.png. `--only source` takes the pages whose name begins so. Four of
the wide light ones, cut to the window, become docs/screenshots/ with --readme.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.browser.conftest import FLAGS, PASSWORD, post_form, sign_in, wait_for
from tests.browser.install import find
from tests.portal import ROOT, Portal, Tenant

THEMES = ("light", "dark")
WIDTHS = {1280: 800, 360: 740}
README = {"dashboard": "dashboard", "source": "source", "delivery-retried": "delivery", "subscription": "subscription"}
BUSY_SECONDS = 75  # of work before the pages have something to show
Act = Callable[[Page], object]


@dataclass(frozen=True)
class Shot:
    """One page. `act` brings it into the state that is shown: a dialog opened, a form filled in wrongly."""

    name: str
    path: str
    person: str | None = "owner"
    act: Act | None = None


def click(selector: str) -> Act:
    return lambda page: page.locator(selector).locator("visible=true").first.click()


def reveal_source(page: Page) -> None:
    page.locator("#f-name").fill("Payments (production)")
    page.get_by_role("radio", name="HMAC").check(force=True)
    page.get_by_role("button", name="Create source").click()
    page.locator("#created-value").wait_for()


def choose_github(page: Page) -> None:
    page.locator("#f-name").fill("GitHub")
    page.locator("#find-preset").fill("git")
    page.locator("[name=preset][value=github]").check(force=True)
    page.get_by_text("At GitHub", exact=True).click()


def wrong_source(page: Page) -> None:
    page.locator("#f-name").fill("Payments (production)")
    page.get_by_role("radio", name="Basic").check(force=True)
    page.get_by_role("radio", name="Use one that the sender already has").check()
    page.locator("[name='auth.username']").fill("a:b")
    page.get_by_label("Secret", exact=True).fill("short")
    page.get_by_role("button", name="Create source").click()
    page.locator("[data-error-for]:not([hidden])").first.wait_for()


def reveal_subscription(page: Page) -> None:
    page.locator("#f-name").fill("Incident desk (production)")
    page.locator("#f-url").fill("https://hooks.example.com/portcullis")
    page.get_by_role("button", name="Create subscription").click()
    page.locator("#created-value").wait_for()


def reveal_key(page: Page) -> None:
    page.get_by_role("button", name="Create API key").first.click()
    page.locator("dialog#create [name=name]").fill("Nightly export")
    page.locator("dialog#create").get_by_role("button", name="Create API key").click()
    page.locator("#secret-value").wait_for()


def invite(page: Page) -> None:
    page.get_by_role("button", name="Invite").first.click()
    page.locator("dialog#invite [name=email]").fill(f"someone.{time.monotonic_ns()}@northwind.example")
    page.locator("dialog#invite").get_by_role("button", name="Invite").click()
    page.locator("#invitation-url").wait_for()


def wrong_password(page: Page) -> None:
    page.locator("[name=login]").fill("owner@northwind.example")
    page.locator("[name=password]").fill("not it")
    page.get_by_role("button", name="Sign in").click()
    page.locator(".callout, .errorlist, .field-error").first.wait_for()


def verify_nothing(page: Page) -> None:
    page.locator("#check-headers").fill(
        f"webhook-id: msg_1\nwebhook-timestamp: 1777863721\nwebhook-signature: v1,{'A' * 43}="
    )
    page.locator("#check-body").fill('{"type": "user.created"}')
    page.get_by_role("button", name="Verify", exact=True).click()
    page.locator("#verdict").wait_for()


def resend_chosen(page: Page) -> None:
    page.locator("input[name=delivery]").first.check()
    page.locator("#resend-chosen").click()
    page.locator("#replay-count").wait_for()


def delete_dialog(page: Page) -> None:
    page.locator("main details.menu summary").click()
    page.get_by_role("button", name="Delete…").click()


def shots(ids: dict[str, str]) -> list[Shot]:
    menu = click("header details.menu-end summary")
    return [
        Shot("dashboard", "/?window=hour"),
        Shot("dashboard-day", "/"),
        Shot("dashboard-new", "/", "newcomer"),
        Shot("dashboard-menu", "/", act=menu),
        Shot("sources", "/sources/"),
        Shot("sources-empty", "/sources/", "newcomer"),
        Shot("alarms", "/alarms/"),
        Shot("alarms-none-rings", "/alarms/?state=alarm"),
        Shot("sources-nothing-fits", "/sources/?search=zzz"),
        Shot("source", f"/sources/{ids['hmac']}/"),
        Shot("source-jwt", f"/sources/{ids['jwt']}/"),
        Shot("source-none", f"/sources/{ids['none']}/"),
        Shot("source-paused", f"/sources/{ids['paused']}/"),
        Shot("source-viewer", f"/sources/{ids['hmac']}/", "viewer"),
        Shot("source-rotate", f"/sources/{ids['hmac']}/", act=click("button:has-text('Rotate secret')")),
        Shot("source-delete", f"/sources/{ids['hmac']}/", act=delete_dialog),
        Shot("source-edit", f"/sources/{ids['hmac']}/edit/"),
        Shot("source-create", "/sources/create/"),
        Shot("source-create-preset", "/sources/create/", act=choose_github),
        Shot("source-create-wrong", "/sources/create/", act=wrong_source),
        Shot("source-revealed", "/sources/create/", act=reveal_source),
        Shot("source-edit-jwt", f"/sources/{ids['jwt']}/edit/"),
        Shot("events", "/events/"),
        Shot("events-more", f"/events/?range=24h&source={ids['learned']}&where=door%3Dgate-1"),
        Shot("events-nothing-fits", "/events/?type=nothing.*"),
        Shot("events-empty", "/events/", "newcomer"),
        Shot("events-panel", "/events/", act=click("a.row-link")),
        Shot("event", f"/events/{ids['event']}/"),
        Shot("event-classified", f"/events/{ids['classified']}/"),
        Shot("event-text", f"/events/{ids['event']}/", act=click("#tab-text")),
        Shot("schemas", "/schemas/"),
        Shot("schemas-empty", "/schemas/", "newcomer"),
        Shot("schema", f"/schemas/{ids['schema']}/"),
        Shot("schema-create", "/schemas/create/"),
        Shot("schema-infer", "/schemas/infer/"),
        Shot("schema-infer-empty", "/schemas/infer/", "newcomer"),
        Shot("schema-inferred", f"/schemas/infer/?source={ids['learned']}&range=24h"),
        Shot("event-types", "/event-types/"),
        Shot("event-types-empty", "/event-types/", "newcomer"),
        Shot("receipts", "/receipts/"),
        Shot("receipts-refused", "/receipts/?status=refused"),
        Shot("refusals", "/refusals/"),
        Shot("refusals-empty", "/refusals/", "newcomer"),
        Shot("receipts-empty", "/receipts/", "newcomer"),
        Shot("receipts-panel", "/receipts/?status=refused", act=click("a.row-link")),
        Shot("receipt-accepted", f"/receipts/{ids['accepted']}/"),
        Shot("receipt-refused", f"/receipts/{ids['refused']}/"),
        Shot("subscriptions", "/subscriptions/"),
        Shot("subscriptions-empty", "/subscriptions/", "newcomer"),
        Shot("subscription", f"/subscriptions/{ids['idle']}/"),
        Shot("subscription-pending", f"/subscriptions/{ids['pending']}/"),
        Shot("subscription-disabled", f"/subscriptions/{ids['disabled']}/"),
        Shot("subscription-viewer", f"/subscriptions/{ids['idle']}/", "viewer"),
        Shot("subscription-rotate", f"/subscriptions/{ids['idle']}/", act=click("button:has-text('Rotate secret')")),
        Shot("subscription-verify", f"/subscriptions/{ids['idle']}/", act=verify_nothing),
        Shot("subscription-test", f"/subscriptions/{ids['idle']}/", act=click("button:has-text('Send test')")),
        Shot("subscription-replay", f"/subscriptions/{ids['idle']}/", act=click("button:has-text('Replay…')")),
        Shot("subscription-cancel", f"/subscriptions/{ids['idle']}/", act=click("button:has-text('Cancel pending…')")),
        Shot("subscription-edit", f"/subscriptions/{ids['idle']}/edit/"),
        Shot("subscription-create", "/subscriptions/new/"),
        Shot("subscription-revealed", "/subscriptions/new/", act=reveal_subscription),
        Shot("subscription-unconfirmed", "/confirm/nothing", None),
        Shot("deliveries", "/deliveries/"),
        Shot("deliveries-resend", f"/deliveries/?subscription={ids['idle']}", act=click("#resend-these")),
        Shot("deliveries-more", "/deliveries/?range=24h&status=failed", act=click(".filters-more summary")),
        Shot("deliveries-chosen", f"/deliveries/?status=delivered&subscription={ids['idle']}", act=resend_chosen),
        Shot("replay", f"/replays/{ids['replay']}/"),
        Shot("deliveries-empty", "/deliveries/", "newcomer"),
        Shot("deliveries-panel", "/deliveries/", act=click("a.row-link")),
        Shot("delivery", f"/deliveries/{ids['delivered']}/"),
        Shot("delivery-retried", f"/deliveries/{ids['retried']}/"),
        Shot("delivery-attempt", f"/deliveries/{ids['retried']}/", act=click(".timeline details summary")),
        Shot("members", "/members/"),
        Shot("members-invite", "/members/", act=click("button:has-text('Invite')")),
        Shot("members-invited", "/members/", act=invite),
        Shot("members-invitations", "/members/invitations/"),
        Shot("members-viewer", "/members/", "viewer"),
        Shot("api-keys", "/api-keys/"),
        Shot("api-keys-create", "/api-keys/", act=click("button:has-text('Create API key')")),
        Shot("api-keys-revealed", "/api-keys/", act=reveal_key),
        Shot("audit", "/audit/"),
        Shot("settings", "/settings/"),
        Shot("operators", "/operators/tenants/", "operator"),
        Shot("operators-create", "/operators/tenants/", "operator", click("button:has-text('Create tenant')")),
        Shot("operators-pulse", "/operators/pulse/", "operator"),
        Shot("suspended", "/", "suspended"),
        Shot("not-found", "/no/such/page/"),
        Shot("not-found-signed-out", "/no/such/page/", None),
        Shot("refused", "/operators/tenants/"),
        Shot("sign-in", "/accounts/login/", None),
        Shot("sign-in-wrong", "/accounts/login/", None, wrong_password),
        Shot("password-reset", "/accounts/password/reset/", None),
        Shot("password-change", "/accounts/password/change/"),
        Shot("email", "/accounts/email/"),
        Shot("invitation", ids["invitation"], None),
        Shot("invitation-over", "/invitations/nothing/", None),
        Shot("api-docs", "/api/v1/docs/", act=lambda page: page.locator(".opblock").first.wait_for()),
    ]


class Demo:
    """The running demo, as the screenshots need it: who may sign in, and one object of each kind."""

    def __init__(self, portal: SimpleNamespace | Portal) -> None:
        self.portal = portal
        memory = wait_for(self._memory, 60)
        self.key, password = memory["owner"]["api_key"], memory["owner"]["password"]
        self.people = {
            "owner": SimpleNamespace(email="owner@northwind.example", password=password),
            "viewer": SimpleNamespace(email="viewer@northwind.example", password=password),
        }

    def _memory(self) -> dict | None:
        path = Path(self.portal.var) / "demo.json"
        memory = json.loads(path.read_text()) if path.exists() else {}
        return memory if memory.get("owner", {}).get("password") else None

    def api(self, method: str, path: str, body: object = None) -> dict:
        return Tenant(self.portal.url, self.key).api(method, path, body)

    def first(self, path: str) -> str:
        """The newest object that the list gives; waits for one."""
        return wait_for(lambda: self.api("GET", path)["results"], 180)[0]["id"]

    def ids(self) -> dict[str, str]:
        retried = wait_for(self._retried, 180)
        idle = self.api("GET", f"deliveries/{self.first('deliveries/?status=delivered')}/")["subscription"]
        learned, schema = self._learn()
        invited = {"email": f"guest.{time.monotonic_ns()}@northwind.example", "role": "member"}
        return {
            **{name: self.first(f"sources/?method={name}&status=active") for name in ("hmac", "jwt", "none")},
            "paused": self.first("sources/?status=paused"),
            "event": self.first("events/?severity=high"),
            "learned": learned,
            "schema": schema,
            "classified": self.first(f"events/?schema={schema}"),
            "accepted": self.first("receipts/?status=accepted"),
            "refused": self.first("receipts/?status=refused"),
            "idle": idle,
            "replay": self.api("POST", "replays/", {"subscription": idle, "kind": "deliveries"})["id"],
            "pending": self.first("subscriptions/?state=pending"),
            "disabled": self.first("subscriptions/?state=disabled"),
            "delivered": self.first("deliveries/?status=delivered"),
            "retried": retried,
            "invitation": self.api("POST", "invitations/", invited)["url"],
        }

    def _learn(self) -> tuple[str, str]:
        """A source and the schema that was inferred of its events."""
        source = self.first("sources/?method=none&status=active")
        if made := self.api("GET", f"schemas/?source={source}")["results"]:
            return source, made[0]["id"]
        window = {"source": source, "range": "24h"}
        document = self.api("POST", "schemas/infer/", window)["document"]
        schema = {"name": "Badge reader", "document": document, "publish": True, "attach": [source]}
        return source, self.api("POST", "schemas/", schema)["id"]

    def _retried(self) -> str | None:
        delivered = self.api("GET", "deliveries/?status=delivered&kind=event")["results"]
        return next((one["id"] for one in delivered if one["attempt_count"] > 1), None)

    def add_people(self, browser: Browser) -> None:
        """An operator, the owner of a tenant that has nothing yet, and that of a suspended one."""
        email, password = self.portal.operator
        operator = self.people["operator"] = SimpleNamespace(email=email, password=PASSWORD)
        context = browser.new_context()
        sign_in(context, self.portal, SimpleNamespace(email=email, password=password))
        change = f"{self.portal.url}/accounts/password/change/"
        post_form(context, change, {"oldpassword": password, "password1": PASSWORD, "password2": PASSWORD})
        context.close()
        for person, name in (("newcomer", "Initech"), ("suspended", "Globex")):
            made = self.portal.create_tenant(name, f"owner@{name.lower()}.example")
            self.people[person] = SimpleNamespace(email=made.owner, password=made.password)
        context = browser.new_context(base_url=self.portal.url)
        sign_in(context, self.portal, operator)
        token = next(cookie["value"] for cookie in context.cookies() if cookie["name"] == "csrftoken")
        path = f"/api/v1/tenants/{made.id}/suspend/"
        answer = context.request.post(path, headers={"X-CSRFToken": token, "Referer": self.portal.url})
        assert answer.ok, answer.text()
        context.close()


@contextmanager
def running_demo() -> Iterator[Demo]:
    with Portal("demo", EMAIL_BACKEND="django.core.mail.backends.dummy.EmailBackend") as portal:
        demo = Demo(portal)
        try:
            time.sleep(BUSY_SECONDS)
            yield demo
        except Exception:
            print(portal.log()[-4000:], file=sys.stderr)
            raise


def take(context: BrowserContext, shot: Shot, file: Path, *, whole: bool = True) -> str:
    """The picture, and a complaint if something is not as it should be."""
    page = context.new_page()
    heard: list[str] = []
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("console", lambda message: heard.append(message.text) if message.type == "error" else None)
    page.on("dialog", lambda dialog: dialog.accept())
    try:
        page.goto(shot.path)
        settle(page)
        if shot.act:
            shot.act(page)
            settle(page)
        page.evaluate("scrollTo(0, 0)")  # what is fixed to the window would else stand in the middle of the picture
        over = page.locator("dialog[open], .panel").count()  # these cover the window, not the page
        page.screenshot(path=file, full_page=whole and not over, animations="disabled")
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        heard += [f"{wide} px too wide"] if wide > 0 else []
    except Exception as error:
        heard.append(f"{type(error).__name__}: {str(error).splitlines()[0]}")
    page.close()
    return "; ".join(heard)


def settle(page: Page) -> None:
    page.wait_for_load_state("load")
    page.locator(".htmx-request, [hx-trigger=load] .skeleton").first.wait_for(state="detached")
    page.wait_for_timeout(250)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="only pages whose name begins so")
    parser.add_argument("--readme", action="store_true", help="only the four of the README, into docs/screenshots/")
    options = parser.parse_args()
    executable = find()
    if executable is None:
        sys.exit("No Chromium: run tests/browser/install.py, or set CHROMIUM to its path.")
    with running_demo() as demo, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        demo.add_people(browser)
        photograph(browser, demo, options)
        browser.close()


def photograph(browser: Browser, demo: Demo, options: argparse.Namespace) -> None:
    folder = ROOT / ("docs/screenshots" if options.readme else "var/screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [shot for shot in shots(demo.ids()) if not options.only or shot.name.startswith(tuple(options.only))]
    if options.readme:
        wanted = [shot for shot in wanted if shot.name in README]
    states: dict[str | None, dict | None] = {None: None}
    for theme in THEMES[:1] if options.readme else THEMES:
        for width in (1280,) if options.readme else WIDTHS:
            for shot in wanted:
                person = demo.people.get(shot.person)
                context = browser.new_context(
                    base_url=demo.portal.url,
                    viewport={"width": width, "height": WIDTHS[width]},
                    color_scheme=theme,
                    storage_state=states.get(shot.person),
                )
                if person and shot.person not in states:
                    sign_in(context, demo.portal, person)
                    states[shot.person] = context.storage_state()
                name = README[shot.name] if options.readme else f"{shot.name}-{theme}-{width}"
                complaint = take(context, shot, folder / f"{name}.png", whole=not options.readme)
                context.close()
                print(f"{name}{': ' + complaint if complaint else ''}", flush=True)


if __name__ == "__main__":
    main()
