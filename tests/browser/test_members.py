"""People join by a link, programs by a key; both with a role, both to be taken away again."""

import json
import re
import urllib.error
import urllib.request

from playwright.sync_api import expect

from tests.browser.conftest import PASSWORD, shown


def ask(portal, key: str) -> tuple[int, dict]:
    request = urllib.request.Request(f"{portal.url}/api/v1/tenant/", headers={"Authorization": f"Bearer {key}"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_invited_by_link_with_a_role(page, session):
    page.goto("/members/")
    page.get_by_role("button", name="Invite").click()
    dialog = page.locator("dialog#invite")
    dialog.get_by_label("Email").fill("mia@acme.example")
    dialog.get_by_label("Role").select_option("member")
    dialog.get_by_role("button", name="Invite").click()
    link = shown(page.locator("#invitation-url"))

    theirs = session().new_page()
    theirs.goto(link)
    expect(theirs.get_by_role("heading", level=1, name="Join Acme")).to_be_visible()
    theirs.get_by_label("Your name").fill("Mia")
    theirs.get_by_label("Password").fill(PASSWORD)
    theirs.get_by_role("button", name="Create account and join").click()
    expect(theirs.get_by_role("heading", level=1, name="Dashboard")).to_be_visible()
    expect(theirs.get_by_role("link", name="API keys")).to_have_count(0)
    theirs.goto("/sources/create/")
    expect(theirs.get_by_role("heading", level=1)).not_to_have_text("Create source")

    page.goto("/members/")
    row = page.get_by_role("row", name=re.compile("mia@acme.example"))
    expect(row).to_contain_text("Member")

    again = session().new_page()
    assert again.goto(link).status == 410
    expect(again.get_by_role("heading", level=1)).to_have_text("This invitation was used already")


def test_invitations_are_followed_live_and_ended_ones_are_asked_for(page, acme):
    page.goto("/members/")
    page.get_by_role("link", name="Invitations").click()
    page.get_by_role("button", name="Live").click()
    made = acme.api("POST", "invitations/", {"email": "live@new.example", "role": "viewer"})
    row = page.get_by_role("row", name=re.compile("live@new.example"))
    expect(row).to_contain_text("Open")
    acme.api("POST", f"invitations/{made['id']}/revoke/")
    expect(row).to_have_count(0)
    page.get_by_label("State").select_option("Revoked")
    expect(row).to_contain_text("Revoked")
    expect(page).to_have_url(re.compile(r"/members/invitations/\?state=revoked$"))


def test_a_dialog_in_a_live_list_stays_open(page, acme):
    page.goto("/members/")
    page.get_by_role("button", name="Change role").first.click()
    dialog = page.locator("dialog[open]")
    dialog.get_by_role("heading").click()  # the focus is in none of its controls
    page.evaluate("document.querySelector('[data-live]').click()")
    page.locator("#results").evaluate("""(region) => new Promise((resolve) => {
        new MutationObserver(resolve).observe(region, { childList: true });
        setTimeout(resolve, 3500);
    })""")
    expect(dialog).to_be_visible()


def test_a_mistake_in_an_invitation_stands_beside_the_field(page):
    page.goto("/members/")
    page.get_by_role("button", name="Invite").click()
    dialog = page.locator("dialog#invite")
    dialog.get_by_label("Email").fill("not an address")
    dialog.get_by_role("button", name="Invite").click()
    expect(dialog.locator("[data-error-for=email]")).to_be_visible()
    expect(dialog.get_by_label("Email")).to_be_focused()


def test_an_api_key_is_shown_once_works_and_is_revoked(page, portal):
    page.goto("/api-keys/")
    page.get_by_role("button", name="Create API key").first.click()
    dialog = page.locator("dialog#create")
    dialog.get_by_label("Name").fill("Nightly job")
    dialog.get_by_label("Role").select_option("viewer")
    dialog.get_by_role("button", name="Create API key").click()
    key = shown(page.locator("#secret-value"))
    status, answer = ask(portal, key)
    assert status == 200
    assert answer["name"] == "Acme"

    page.locator("#secret-value + button").click()
    page.get_by_role("button", name="Done").click()
    row = page.get_by_role("row", name=re.compile("Nightly job"))
    expect(row).to_contain_text("Live")
    assert key not in page.content()

    row.get_by_role("button", name="Revoke…").click()
    page.locator("#confirm").get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("row", name=re.compile("Nightly job"))).to_contain_text("Revoked")
    assert ask(portal, key)[0] == 401


def test_what_was_done_stands_in_the_audit_log(page, portal, acme):
    acme.api("POST", "api-keys/", {"name": "Audited key", "role": "viewer"})
    page.goto("/audit/")
    row = page.get_by_role("row", name=re.compile("Audited key"))
    expect(row).to_contain_text("api_key.created")
