"""Those who look after the portal: a tenant is opened, suspended and resumed."""

import re

from playwright.sync_api import expect

from tests.browser.conftest import PASSWORD, shown


def test_a_tenant_is_opened_suspended_and_resumed(session, operator):
    page = session(operator).new_page()
    page.goto("/")
    expect(page.get_by_role("heading", level=1, name="Tenants")).to_be_visible()
    page.get_by_role("button", name="Create tenant").click()
    dialog = page.locator("dialog#create")
    dialog.get_by_label("Name").fill("Initech")
    dialog.get_by_label("Owner's email").fill("bill@initech.example")
    dialog.get_by_role("button", name="Create tenant").click()
    link = shown(page.locator("#link-url"))
    expect(page.get_by_role("row", name=re.compile("Initech"))).to_be_visible()  # the list below knows it already

    owner_page = session().new_page()
    owner_page.goto(link)
    owner_page.get_by_label("Your name").fill("Bill")
    owner_page.get_by_label("Password").fill(PASSWORD)
    owner_page.get_by_role("button", name="Create account and join").click()
    expect(owner_page.get_by_role("heading", level=1, name="Dashboard")).to_be_visible()

    page.get_by_role("button", name="Done").click()
    row = page.get_by_role("row", name=re.compile("Initech"))
    row.get_by_role("button", name="Suspend…").click()
    page.locator("#confirm").get_by_role("button", name="Suspend").click()
    expect(row).to_contain_text("Suspended")
    assert owner_page.goto("/sources/").status == 403
    expect(owner_page.get_by_role("heading", level=1, name="Initech is suspended")).to_be_visible()

    row.get_by_role("button", name="Resume").click()
    expect(row).to_contain_text("Active")
    owner_page.goto("/sources/")
    expect(owner_page.get_by_role("heading", level=1, name="Sources")).to_be_visible()


def test_owners_are_no_operators(page):
    assert page.goto("/operators/tenants/").status == 403
    expect(page.get_by_role("link", name="Tenants")).to_have_count(0)
