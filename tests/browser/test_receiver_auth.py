"""Authentication to a receiver on the pages: the fields of the chosen kind, and nothing secret afterwards."""

import pytest
from playwright.sync_api import Page, expect

from tests.authorities import Authority
from tests.receiver import Receiver

SECRET = "s3cret-arst-qwfp"


@pytest.fixture
def receiver():
    with Receiver() as running:
        yield running


def begin(page: Page, name: str, url: str, method: str) -> None:
    page.goto("/subscriptions/new/")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("URL", exact=True).fill(url)
    page.get_by_label("Authentication").select_option(method)


def create(page: Page) -> None:
    page.get_by_role("button", name="Create subscription").click()


def open_it(page: Page) -> None:
    expect(page.locator("#created")).to_be_visible()
    page.locator("#created-value + button").click()
    page.get_by_role("button", name="Go to the subscription").click()
    page.wait_for_url("**/subscriptions/*-*/")


@pytest.mark.spec("T3")
def test_the_fields_of_the_kind_are_there_and_can_be_replaced(page, receiver):
    begin(page, "Behind a gateway", receiver.url, "oauth2")
    expect(page.get_by_label("Password", exact=True)).to_be_hidden()
    page.get_by_label("Client id").fill("portal-1")
    page.get_by_label("Client secret").fill(SECRET)
    page.get_by_label("Token URL").fill("ftp://127.0.0.1:9/token")
    create(page)
    expect(page.get_by_text("The URL must start with https://.")).to_be_visible()
    page.get_by_label("Token URL").fill("https://127.0.0.1:9/token")
    create(page)
    open_it(page)
    fact = page.locator("div", has=page.locator("dt", has_text="Authentication")).last
    expect(fact).to_contain_text("OAuth 2 client credentials")
    expect(fact).to_contain_text("https://127.0.0.1:9/token")
    assert SECRET not in page.content()
    page.get_by_role("link", name="Edit").click()
    expect(page.get_by_label("Client secret")).to_be_hidden()
    page.get_by_label("Replace the authentication").check()
    expect(page.get_by_label("Client id")).to_have_value("portal-1")
    expect(page.get_by_label("Client secret")).to_have_value("")
    page.get_by_label("Authentication", exact=True).select_option("basic")
    page.get_by_label("User name").fill("portal")
    page.get_by_label("Password", exact=True).fill(SECRET)
    page.get_by_role("button", name="Save").click()
    page.wait_for_url("**/subscriptions/*-*/")
    expect(fact).to_contain_text("as portal")


def test_a_certificate_is_pasted_and_its_particulars_stay(page, tmp_path):
    certificate, key = Authority(tmp_path).issue("portal.example", ends=20)
    begin(page, "Certified", "https://127.0.0.1:9/in", "mtls")
    page.get_by_label("Certificate", exact=True).fill(certificate)
    page.get_by_label("Private key").fill(certificate)
    create(page)
    expect(page.get_by_text("This is no private key in PEM")).to_be_visible()
    page.get_by_label("Private key").fill(key)
    create(page)
    open_it(page)
    expect(page.get_by_text("CN=portal.example")).to_be_visible()
    expect(page.get_by_text("The client certificate expires in")).to_be_visible()
    assert "BEGIN" not in page.content()
