"""A secret that is seen for as long as a button is held, by its holders; the demand for tokens; the sites."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import make_tenant, shown

MASK = "••••••••••••"


def create_token_source(page: Page, name: str, reveal: str = "holders", assigned: str = "") -> str:
    """Create it in the page; its secret. The page is then that of the source."""
    page.goto("/sources/create/")
    page.get_by_label("Name", exact=True).fill(name)
    page.locator('input[name="auth.method"][value="jwt"]').check(force=True)
    if assigned:
        page.locator('select[name="assigned_to"]').select_option(label=assigned)
    page.locator(f'input[name="reveal"][value="{reveal}"]').check()
    page.get_by_role("button", name="Create source").click()
    secret = shown(page.locator("#created-value"))
    page.locator("#created-value + button").click()
    page.get_by_role("button", name="Go to the source").click()
    page.wait_for_url(re.compile(r"/sources/[0-9a-f-]{36}/$"))
    return secret


def audited(page: Page) -> list[str]:
    page.goto("/audit/?action=source.secret_revealed")
    return page.locator("tbody tr").all_inner_texts()


@pytest.mark.spec("D4")
def test_held_with_the_pointer_it_shows_and_let_go_it_hides(page, acme, session):
    secret = create_token_source(page, "Held by pointer", assigned=acme.member.email)
    place, button = page.locator("#held-secret"), page.get_by_role("button", name="Hold to show")
    expect(place).to_have_text(MASK)
    assert secret not in page.content()
    button.hover()
    page.mouse.down()
    expect(place).to_have_text(secret)
    page.mouse.up()
    expect(place).to_have_text(MASK)
    assert secret not in page.content()

    page.mouse.down()  # moved away and let go elsewhere
    expect(place).to_have_text(secret)
    page.mouse.move(5, 5)
    page.mouse.up()
    expect(place).to_have_text(MASK)

    theirs = session(acme.member).new_page()
    theirs.goto(page.url)
    theirs.get_by_role("button", name="Hold to show").hover()
    theirs.mouse.down()
    expect(theirs.locator("#held-secret")).to_have_text(secret)
    theirs.mouse.up()
    others = session(acme.viewer).new_page()
    others.goto(page.url)
    expect(others.get_by_role("heading", level=1, name="Held by pointer")).to_be_visible()
    expect(others.get_by_role("button", name="Hold to show")).to_have_count(0)

    rows = audited(page)
    ours = [row for row in rows if "Held by pointer" in row]
    assert len(ours) == 3, rows
    assert sum(acme.member.email in row for row in ours) == 1
    assert secret not in page.content()


@pytest.mark.spec("D4")
def test_held_with_the_keyboard(page):
    secret = create_token_source(page, "Held by key")
    place, button = page.locator("#held-secret"), page.get_by_role("button", name="Hold to show")
    for key in ("Space", "Enter"):
        button.focus()
        page.keyboard.down(key)
        expect(place).to_have_text(secret)
        page.keyboard.up(key)
        expect(place).to_have_text(MASK)
    page.keyboard.down("Space")
    expect(place).to_have_text(secret)
    page.get_by_role("button", name="Copy the secret").focus()
    expect(place).to_have_text(MASK)
    page.keyboard.up("Space")
    assert len([row for row in audited(page) if "Held by key" in row]) >= 3


@pytest.mark.spec("D4")
def test_a_mere_click_shows_nothing_and_is_no_look(page):
    create_token_source(page, "Clicked")
    page.get_by_role("button", name="Hold to show").click()
    expect(page.get_by_text("Keep it pressed to see the secret.")).to_be_visible()
    expect(page.locator("#held-secret")).to_have_text(MASK)
    assert not [row for row in audited(page) if "Clicked" in row]


@pytest.mark.spec("D4")
def test_it_is_copied_without_being_shown(page):
    secret = create_token_source(page, "Taken unseen")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy the secret").click()
    expect(page.locator("#toasts").get_by_text("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == secret
    expect(page.locator("#held-secret")).to_have_text(MASK)
    assert len([row for row in audited(page) if "Taken unseen" in row]) == 1


@pytest.mark.spec("D4", "P10")
def test_once_is_what_is_chosen_unless_somebody_chooses_otherwise(page):
    page.goto("/sources/create/")
    expect(page.locator('input[name="reveal"]:checked')).to_have_value("once")
    create_token_source(page, "Once", reveal="once")
    expect(page.get_by_role("button", name="Hold to show")).to_have_count(0)


@pytest.mark.spec("D3", "D7")
def test_fields_of_a_pasted_body_become_the_payload(page):
    create_token_source(page, "Commands", reveal="once")
    page.get_by_role("button", name="Choose fields").click()
    dialog = page.locator("#token-fields")
    dialog.get_by_label("A sample body").fill("{nonsense")
    dialog.get_by_role("button", name="Save fields").click()
    expect(dialog.get_by_text("This is not valid JSON.")).to_be_visible()
    dialog.get_by_label("A sample body").fill('{"Username": "Admin", "Site": "Security Operations"}')
    dialog.get_by_role("button", name="Save fields").click()
    expect(page.locator("figure.payload", has_text="Payload")).to_contain_text("<Site of the body>")
    expect(page.locator("figure.payload", has_text="Header").first).to_contain_text('"kid"')
    assert "Security Operations" not in page.content()
    for label in ("curl", "Python (PyJWT)", "Node", "Go"):
        page.get_by_role("tab", name=label, exact=True).click()
        expect(page.get_by_role("tabpanel", name=label, exact=True)).to_contain_text("Username")


@pytest.mark.spec("P13", "D7")
def test_the_success_screen_has_a_tab_for_each_language_that_there_is(page):
    page.goto("/sources/create/")
    page.get_by_label("Name", exact=True).fill("Languages")
    page.locator('input[name="auth.method"][value="jwt"]').check(force=True)
    page.get_by_role("button", name="Create source").click()
    secret = shown(page.locator("#created-value"))
    page.get_by_role("tab", name="Node").click()
    expect(page.get_by_role("tabpanel", name="Node")).to_contain_text(secret)
    page.locator("#created-value + button").click()
    page.goto("/sources/create/")
    page.get_by_label("Name", exact=True).fill("Fewer languages")
    page.locator('input[name="auth.method"][value="bearer"]').check(force=True)
    page.get_by_role("button", name="Create source").click()
    shown(page.locator("#created-value"))
    assert "{snippets" not in page.locator("#created").inner_text()
    page.locator("#created-value + button").click()


@pytest.mark.spec("D5")
def test_a_site_is_selected_and_its_url_shown(page, acme):
    acme.api("POST", "sites/", {"name": "Night shift", "slug": "night"})
    create_token_source(page, "With sites", reveal="once")
    plain = page.locator("#url").inner_text()
    page.get_by_label("Site", exact=True).select_option(label="Night shift")
    expect(page.locator("#url")).to_have_text(f"{plain}/night")
    expect(page.locator("#send-code-1")).to_contain_text(f"{plain}/night")


@pytest.mark.spec("D2")
def test_requiring_tokens_asks_first_and_says_who_stops(session, portal):
    tenant = make_tenant(portal, "Tokens only", "owner@tokens.example")
    tenant.api("POST", "sources/", {"name": "Keyed", "auth": {"method": "shared_secret"}})
    page = session(tenant.owner).new_page()
    page.goto("/settings/")
    page.get_by_role("button", name="Turn on…").click()
    dialog = page.locator("#require-jwt")
    expect(dialog).to_contain_text("1 source without tokens would stop accepting at once")
    expect(dialog.get_by_role("link", name="Keyed")).to_be_visible()
    dialog.get_by_role("button", name="Cancel").click()
    assert tenant.api("GET", "tenant/")["require_jwt"] is False
    page.get_by_role("button", name="Turn on…").click()
    dialog.get_by_role("button", name="Require tokens").click()
    expect(page.get_by_text("1 source without tokens is refused because of it")).to_be_visible()
    assert tenant.api("GET", "tenant/")["require_jwt"] is True
    page.goto("/sources/")
    expect(page.get_by_text("Refused: no token")).to_be_visible()
    page.get_by_role("link", name="Keyed").click()
    expect(page.get_by_text("Everything sent to it is refused.")).to_be_visible()
    page.goto("/settings/")
    page.get_by_role("button", name="Turn off…").click()
    page.locator("#confirm-yes").click()
    expect(page.get_by_role("button", name="Turn on…")).to_be_visible()
    assert tenant.api("GET", "tenant/")["require_jwt"] is False
