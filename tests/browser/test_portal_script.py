"""static/portcullis/portal.js, attribute by attribute (docs/look.md), on the pages that use it."""

import re

import pytest
from playwright.sync_api import Page, expect


@pytest.fixture
def source(portal, acme, request) -> dict:
    name = request.node.name[:80]
    return acme.api("POST", "sources/", {"name": name, "auth": {"method": "bearer"}})


@pytest.fixture
def event(portal, acme) -> str:
    return acme.api("POST", "events/", {"type": "panel.opened", "payload": {"a": 1}})["id"]


def clipboard(page: Page) -> str:
    """What a person would paste: into a field of the page itself."""
    page.evaluate("""() => {
        const field = document.createElement("textarea");
        field.id = "pasted";
        document.body.append(field);
        field.focus();
    }""")
    page.keyboard.press("Control+V")
    text = page.locator("#pasted").input_value()
    page.evaluate("document.getElementById('pasted').remove()")
    return text


def test_an_error_stands_beside_its_field_which_is_focused(page):
    page.goto("/sources/create/")
    page.get_by_label("Name", exact=True).fill("Too short")
    page.get_by_role("radio", name="HMAC").check(force=True)
    page.get_by_role("radio", name="Use one that the sender already has").check()
    secret = page.get_by_label("Secret", exact=True)
    secret.fill("abc")
    page.get_by_role("button", name="Create source").click()
    expect(page.locator("[data-error-for=secret]:visible")).to_have_count(1)
    expect(page.locator("#f-secret-error")).to_be_visible()
    expect(secret).to_be_focused()
    expect(secret).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Name", exact=True)).to_have_value("Too short")


def test_parts_follow_the_choice_and_hidden_ones_are_not_sent(page):
    page.goto("/sources/create/")
    username = page.locator("[name='auth.username']")
    page.get_by_role("radio", name="Bearer token").check(force=True)
    expect(username).to_be_hidden()
    page.get_by_role("radio", name="Basic").check(force=True)
    expect(username).to_be_visible()
    page.get_by_role("radio", name="Bearer token").check(force=True)
    page.get_by_label("Name", exact=True).fill("Sent as chosen")
    with page.expect_request("**/api/v1/sources/") as sent:
        page.get_by_role("button", name="Create source").click()
    assert sent.value.post_data_json["auth"] == {"method": "bearer"}
    page.locator("#created-value + button").click()


def test_rows_of_keys_and_values_become_an_object(page):
    page.goto("/subscriptions/new/")
    add = page.get_by_role("button", name="Add header")
    add.click()
    page.get_by_label("Header", exact=True).fill("X-Team")
    page.get_by_label("Value", exact=True).fill("blue")
    add.click()
    page.get_by_label("Header", exact=True).nth(1).fill("Host")
    page.get_by_label("Value", exact=True).nth(1).fill("elsewhere")
    page.get_by_label("Name", exact=True).fill("Rows")
    page.get_by_label("URL", exact=True).fill("https://hooks.example.com/rows")
    with page.expect_request("**/api/v1/subscriptions/") as sent:
        page.get_by_role("button", name="Create subscription").click()
    assert sent.value.post_data_json["headers"] == {"X-Team": "blue", "Host": "elsewhere"}
    expect(page.locator("[data-error-for=headers]")).to_be_visible()  # Host is ours to set

    page.get_by_role("button", name="Remove").nth(1).click()
    with page.expect_request("**/api/v1/subscriptions/") as sent:
        page.get_by_role("button", name="Create subscription").click()
    assert sent.value.post_data_json["headers"] == {"X-Team": "blue"}
    expect(page.locator("#created")).to_be_visible()
    page.locator("#created-value + button").click()


def test_deleting_asks_for_the_name(page, source):
    page.goto(f"/sources/{source['id']}/")
    page.locator("main details.menu summary").click()
    page.get_by_role("button", name="Delete…").click()
    dialog = page.locator("#confirm")
    yes = dialog.get_by_role("button", name="Delete source")
    expect(yes).to_be_disabled()
    dialog.get_by_role("textbox").fill(source["name"][:-1])
    expect(yes).to_be_disabled()
    page.keyboard.press("Enter")
    expect(dialog).to_be_visible()
    dialog.get_by_role("textbox").fill(source["name"])
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name="Sources")).to_be_visible()
    expect(page.get_by_text("Deleted", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name=source["name"])).to_have_count(0)


@pytest.mark.parametrize("has_clipboard", [True, False])
def test_copying_works_with_and_without_the_clipboard_api(session, acme, source, has_clipboard):
    context = session(acme.owner)
    if has_clipboard:
        context.grant_permissions(["clipboard-read", "clipboard-write"])
    else:  # as on plain http, where browsers leave it out
        context.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page = context.new_page()
    page.goto(f"/sources/{source['id']}/")
    page.locator("#url + button").click()
    expect(page.locator("#url + button")).to_contain_text("Copied")
    assert clipboard(page) == source["url"]


def test_the_theme_is_kept_and_drawn_by_the_server(session, acme):
    page = session(acme.owner).new_page()
    page.goto("/sources/")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(ground)
    toggle = page.get_by_role("button", name="Theme")
    toggle.click()
    toggle.click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.evaluate(ground) != light
    answer = page.goto("/events/")
    assert 'data-theme="dark"' in answer.text()
    page.get_by_role("button", name="Theme").click()
    expect(page.locator("html")).not_to_have_attribute("data-theme", re.compile("."))


def test_a_source_is_created_with_the_keyboard_alone(page):
    page.goto("/sources/create/")
    reached = []

    def tab_to(selector: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            focused = page.evaluate("document.activeElement.outerHTML.slice(0, 120)")
            reached.append(focused)
            if page.locator(selector).evaluate("node => node === document.activeElement"):
                return
        raise AssertionError("Tab never reaches " + selector + "\n" + "\n".join(reached))

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    tab_to("#f-name")
    page.keyboard.type("By keyboard")
    tab_to("[name='auth.method']:checked")
    page.keyboard.press("ArrowDown")  # the next tile
    chosen = page.locator("[name='auth.method']:checked")
    assert chosen.get_attribute("value") != "shared_secret"
    ring = "getComputedStyle(document.activeElement.closest('.tile')).outlineStyle"
    assert page.evaluate(ring) != "none", "the focused tile can be seen"
    tab_to("form[data-api] .form-actions button")
    page.keyboard.press("Enter")
    expect(page.locator("#created")).to_be_visible()
    expect(page.locator("#created-title")).to_be_focused()
    page.locator("[data-acknowledge]").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name="By keyboard")).to_be_visible()


def test_a_panel_has_a_url_and_closes_with_escape_and_back(page, event):
    page.goto("/events/")
    link = page.locator(f"a.row-link[href='/events/{event}/']")
    link.click()
    panel = page.locator("#panel")
    expect(panel.get_by_role("heading", level=2).first).to_be_focused()
    expect(page).to_have_url(re.compile(event))
    page.keyboard.press("Escape")
    expect(panel).to_be_empty()
    expect(page).to_have_url(re.compile("/events/$"))
    expect(link).to_be_focused()

    link.click()
    expect(panel).not_to_be_empty()
    page.go_back()
    expect(page).to_have_url(re.compile("/events/$"))
    expect(panel).to_be_empty()
    expect(link).to_be_visible()

    page.goto(f"/events/{event}/")  # shared with somebody, or opened in another tab
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text("panel.opened")


def test_a_row_is_clickable_as_a_whole(page, event):
    page.goto("/events/")
    page.get_by_role("row", name=re.compile("panel.opened")).first.locator("td").last.click()
    expect(page.locator("#panel")).not_to_be_empty()


def test_filters_stay_in_the_url_and_the_list_follows(page, event, portal, acme):
    acme.api("POST", "events/", {"type": "filter.other", "payload": {}})
    page.goto("/events/")
    page.get_by_role("textbox", name="Event type").fill("panel.*")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"type=panel\.\*|type=panel\.%2A"))
    expect(page.locator("#results").get_by_text("filter.other")).to_have_count(0)
    expect(page.locator("#results").get_by_text("panel.opened").first).to_be_visible()
    page.reload()
    expect(page.locator("#results").get_by_text("filter.other")).to_have_count(0)
    page.get_by_role("link", name="Clear").click()
    expect(page.locator("#results").get_by_text("filter.other").first).to_be_visible()


def test_the_menu_opens_on_a_narrow_screen(session, acme):
    page = session(acme.owner, viewport={"width": 360, "height": 740}).new_page()
    page.goto("/sources/")
    expect(page.get_by_role("link", name="Deliveries")).not_to_be_in_viewport()
    page.get_by_role("button", name="Menu").click()
    page.get_by_role("link", name="Deliveries").click()
    expect(page.get_by_role("heading", level=1, name="Deliveries")).to_be_visible()
    expect(page.get_by_role("link", name="Deliveries")).not_to_be_in_viewport()


def test_closing_a_panel_keeps_the_filters(page, event):
    page.goto("/events/?type=panel.opened")
    page.locator(f"a.row-link[href='/events/{event}/']").click()
    expect(page.locator("#panel")).not_to_be_empty()
    page.locator("#panel").get_by_role("link", name="Close").click()
    expect(page).to_have_url(re.compile(r"/events/\?type=panel\.opened$"))
    expect(page.locator("#panel")).to_be_empty()
