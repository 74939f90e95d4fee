"""Those who look after the portal: a tenant is opened, suspended and resumed."""

import re

import pytest
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


@pytest.mark.spec("S1")
def test_webhooks_are_switched_off_and_on(session, operator, globex):
    page = session(operator).new_page()
    page.goto("/operators/tenants/")
    row = page.get_by_role("row", name=re.compile("Globex"))
    row.get_by_role("button", name="Webhooks off…").click()
    page.locator("#confirm").get_by_role("button", name="Switch off").click()
    expect(row.get_by_role("button", name="Webhooks on")).to_be_visible()

    owner_page = session(globex.owner).new_page()
    owner_page.goto("/")
    expect(owner_page.get_by_role("link", name="Subscriptions")).to_have_count(0)
    assert owner_page.goto("/subscriptions/").status == 403
    expect(owner_page.get_by_role("heading", level=1, name="Webhooks are switched off")).to_be_visible()

    row.get_by_role("button", name="Webhooks on").click()
    expect(row.get_by_role("button", name="Webhooks off…")).to_be_visible()
    owner_page.goto("/subscriptions/")
    expect(owner_page.get_by_role("heading", level=1, name="Subscriptions")).to_be_visible()


def test_owners_are_no_operators(page):
    assert page.goto("/operators/tenants/").status == 403
    expect(page.get_by_role("link", name="Tenants")).to_have_count(0)
