"""Every page: fits a telephone, has one h1, names all its controls, and no id twice."""

import urllib.request

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import wait_for
from tests.receiver import Receiver

FINDINGS = """() => {
    const found = [];
    const root = document.documentElement;
    if (root.scrollWidth > innerWidth) {
        const beyond = (node) => node.getBoundingClientRect().right > innerWidth + 1;
        const reaches = (node) => beyond(node) && !node.closest(".table-wrap, pre");
        const wide = [...document.querySelectorAll("body *")].filter(reaches);
        const shown = wide.slice(-3).map((node) => node.outerHTML.slice(0, 90));
        found.push(`scrolls sideways (${root.scrollWidth} > ${innerWidth}): ` + shown.join(" | "));
    }
    const h1 = document.querySelectorAll("h1").length;
    if (h1 !== 1) found.push(`${h1} h1`);
    const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
    const twice = ids.filter((id, at) => ids.indexOf(id) !== at);
    if (twice.length) found.push("ids twice: " + twice.join(" "));
    for (const control of document.querySelectorAll("input:not([type=hidden]), select, textarea")) {
        const named = control.labels?.length || control.matches("[aria-label], [aria-labelledby]");
        if (!named) found.push("no label: " + control.outerHTML.slice(0, 120));
    }
    for (const node of document.querySelectorAll("button, a[href], summary")) {
        const named = node.textContent.trim() || node.getAttribute("aria-label");
        if (!named) found.push("no name: " + node.outerHTML.slice(0, 120));
    }
    for (const node of document.querySelectorAll("[aria-describedby], [aria-labelledby], [aria-controls]")) {
        for (const name of ["aria-labelledby", "aria-controls"]) {
            for (const id of (node.getAttribute(name) ?? "").split(" ").filter(Boolean)) {
                if (!document.getElementById(id)) found.push(`${name}=${id} points nowhere`);
            }
        }
    }
    return found;
}"""
PAGES = [
    "/",
    "/sources/",
    "/sources/create/",
    "/sources/{source}/",
    "/sources/{source}/edit/",
    "/schemas/",
    "/schemas/create/",
    "/schemas/infer/?source={source}",
    "/schemas/{schema}/",
    "/event-types/",
    "/alarms/",
    "/events/",
    "/events/{event}/",
    "/receipts/",
    "/refusals/",
    "/receipts/{receipt}/",
    "/subscriptions/",
    "/subscriptions/new/",
    "/subscriptions/{subscription}/",
    "/subscriptions/{subscription}/edit/",
    "/deliveries/",
    "/deliveries/{delivery}/",
    "/members/",
    "/members/invitations/",
    "/api-keys/",
    "/audit/",
    "/settings/",
    "/accounts/password/change/",
    "/accounts/email/",
    "/no/such/page/",
    "/operators/tenants/",  # refused to an owner: the 403 page
]
SIGNED_OUT_PAGES = ["/accounts/login/", "/accounts/password/reset/", "/invitations/nothing/", "/confirm/nothing"]


@pytest.fixture(scope="module")
def ids(portal, acme) -> dict[str, str]:
    """One of everything, with names as long as they may be."""

    def api(method: str, path: str, body: object = None) -> dict:
        return acme.api(method, path, body)

    name = ("Averylongnamewithoutanyspace" * 4)[:100]
    source = api("POST", "sources/", {"name": name, "auth": {"method": "basic", "username": "u" * 60}})
    post = urllib.request.Request(source["url"], b'{"type": "x"}', {"Content-Type": "application/json"})  # noqa: S310
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(post, timeout=10)  # noqa: S310
    with Receiver() as receiver:
        made = api(
            "POST",
            "subscriptions/",
            {"name": name, "hint": "h" * 200, "url": receiver.url, "event_types": ["a" * 60 + ".*", "b" * 60]},
        )
        wait_for(lambda: receiver.posted)
    event = api("POST", "events/", {"type": "long." + "t" * 100, "payload": {"long": "x" * 2000}})
    schema = api("POST", "schemas/", {"name": name, "event_type": "t" * 128, "document": {}, "attach": [source["id"]]})
    return {
        "source": source["id"],
        "schema": schema["id"],
        "event": event["id"],
        "subscription": made["id"],
        "receipt": api("GET", f"receipts/?source={source['id']}")["results"][0]["id"],
        "delivery": wait_for(lambda: api("GET", f"deliveries/?subscription={made['id']}")["results"])[0]["id"],
    }


def findings(page: Page, path: str) -> list[str]:
    page.goto(path)
    page.locator(".htmx-request, [hx-trigger=load] .skeleton").first.wait_for(state="detached")
    return page.evaluate(FINDINGS)


@pytest.mark.parametrize("width", [360, 1280])
def test_pages(session, acme, ids, width):
    page = session(acme.owner, viewport={"width": width, "height": 740}).new_page()
    found = {path: findings(page, path.format(**ids)) for path in PAGES}
    assert {path: wrong for path, wrong in found.items() if wrong} == {}


def test_signed_out_pages(session, acme):
    page = session(viewport={"width": 360, "height": 740}).new_page()
    found = {path: findings(page, path) for path in SIGNED_OUT_PAGES}
    assert {path: wrong for path, wrong in found.items() if wrong} == {}


def test_operators_page(session, operator, acme):
    page = session(operator, viewport={"width": 360, "height": 740}).new_page()
    assert findings(page, "/operators/tenants/") == []


def test_panels(session, acme, ids):
    page = session(acme.owner, viewport={"width": 360, "height": 740}).new_page()
    found = {}
    for path in ("/events/", "/receipts/", "/deliveries/"):
        page.goto(path)
        page.locator("a.row-link").first.click()
        page.locator("#panel-title").wait_for()
        found[path] = page.evaluate(FINDINGS)
    assert {path: wrong for path, wrong in found.items() if wrong} == {}
