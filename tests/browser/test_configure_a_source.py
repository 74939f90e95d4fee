"""From a one-time password to the first event: what a new owner does, and what a sender sees."""

import re
import subprocess
import time
from types import SimpleNamespace

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PASSWORD, shown


def send(snippet: str) -> str:
    """Paste a shell snippet into a shell: what it prints."""
    done = subprocess.run(["bash", "-c", snippet], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def create_hmac_source(page: Page, name: str) -> SimpleNamespace:
    """Create it in the page; what the reveal panel shows: secret, URL and the curl snippet."""
    page.goto("/sources/create/")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_role("radio", name="HMAC").check(force=True)
    page.get_by_role("button", name="Create source").click()
    return SimpleNamespace(
        panel=page.locator("#created"),
        secret=shown(page.locator("#created-value")),
        url=page.locator("#revealed-url").inner_text(),
        curl=page.locator("#revealed-code-1").inner_text(),
    )


def test_a_one_time_password_has_to_be_changed_first(session, portal):
    made = portal.create_tenant("Newcomers", "new@newcomers.example", "--one-time-password")
    page = session().new_page()
    page.goto("/sources/")
    page.get_by_label("Email").fill(made.owner)
    page.get_by_label("Password", exact=True).fill(made.password)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(re.compile("/accounts/password/change/"))
    page.goto("/sources/")
    expect(page).to_have_url(re.compile("/accounts/password/change/"))
    page.locator("#id_oldpassword").fill(made.password)
    page.locator("#id_password1").fill(PASSWORD)
    page.locator("#id_password2").fill(PASSWORD)
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_role("heading", level=1, name="Dashboard")).to_be_visible()


@pytest.mark.spec("P6", "P10", "P13")
def test_from_the_tile_to_the_event(page):
    made = create_hmac_source(page, "Payments")
    assert made.secret in made.curl
    assert made.url in made.curl

    page.get_by_role("button", name="Copy curl").click()  # the snippet holds the secret: it counts as copied
    assert " 202 " in send(made.curl).splitlines()[0]

    page.get_by_role("button", name="Go to the source").click()
    expect(page.get_by_role("heading", level=1, name="Payments")).to_be_visible()
    expect(page.locator("#receipts").get_by_text("Accepted")).to_be_visible()
    page.goto("/events/")
    page.get_by_role("link", name="login.failed").first.click()
    expect(page.locator("#panel")).to_contain_text("attempts")
    expect(page.locator("#panel")).to_contain_text("Payments")


@pytest.mark.spec("P10", "P18")
def test_the_secret_is_nowhere_after_a_reload(page):
    made = create_hmac_source(page, "Shown once")
    page.locator("#created-value + button").click()
    page.get_by_role("button", name="Go to the source").click()
    page.wait_for_url(re.compile(r"/sources/[0-9a-f-]{36}/$"))
    identifier = page.url.rstrip("/").rsplit("/", 1)[1]
    for path in (page.url, f"/sources/{identifier}/edit/", "/sources/", f"/api/v1/sources/{identifier}/", "/audit/"):
        page.goto(path)
        assert made.secret not in page.content(), path
    kept = page.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}, history.state, document.cookie])")
    assert made.secret not in kept
    page.goto(f"/sources/{identifier}/")
    expect(page.get_by_text(f"••••{made.secret[-4:]}")).to_be_visible()


@pytest.mark.spec("P10")
def test_leaving_without_the_secret_asks_first(page):
    made = create_hmac_source(page, "Left too early")
    page.get_by_role("link", name="Events", exact=True).click()
    dialog = page.locator("#confirm")
    expect(dialog).to_contain_text("Leave without the secret?")
    dialog.get_by_role("button", name="Cancel").click()
    expect(made.panel).to_be_visible()
    expect(page.locator("#created-value")).to_have_text(made.secret)

    asked = []
    page.once("dialog", lambda shown: (asked.append(shown.type), shown.accept()))
    page.reload()
    assert asked == ["beforeunload"]
    assert made.secret not in page.content()


@pytest.mark.spec("P10")
def test_whoever_copied_the_secret_leaves_unasked(page):
    create_hmac_source(page, "Copied")
    page.locator("#created-value + button").click()
    page.get_by_role("link", name="Events", exact=True).click()
    expect(page.get_by_role("heading", level=1, name="Events")).to_be_visible()


@pytest.mark.spec("B5", "P17")
def test_a_refusal_shows_its_reason_in_the_live_list(page):
    made = create_hmac_source(page, "Mis-signed")
    page.locator("#created-value + button").click()
    page.goto("/receipts/?status=refused")
    page.get_by_role("button", name="Live").click()
    answer = send(made.curl.replace(made.secret, "f" * len(made.secret)))
    assert " 401 " in answer.splitlines()[0]
    assert "signature" not in answer.partition("\n\n")[2].lower(), "the sender is not told why"
    row = page.get_by_role("row", name=re.compile("Mis-signed"))
    expect(row.get_by_text("signature_mismatch")).to_be_visible()
    row.get_by_role("link", name="Refused").click()
    expect(page.locator("#panel")).to_contain_text("The signature does not fit the body")


@pytest.mark.spec("B1", "P6")
def test_both_secrets_are_accepted_until_the_overlap_ends(page):
    made = create_hmac_source(page, "Rotating")
    page.locator("#created-value + button").click()
    page.get_by_role("button", name="Go to the source").click()
    page.get_by_role("button", name="Rotate secret").click()
    page.locator("dialog#rotate").get_by_role("button", name="Rotate secret").click()
    second = shown(page.locator("#rotated-value"))
    assert second != made.secret
    assert " 202 " in send(made.curl)
    assert " 202 " in send(made.curl.replace(made.secret, second))

    page.locator("#rotated-value + button").click()
    page.locator("#rotated").get_by_role("button", name="Done").click()
    expect(page.get_by_text("Still accepted")).to_be_visible()
    page.get_by_role("button", name="End overlap now").click()
    page.locator("#confirm").get_by_role("button", name="End overlap").click()
    expect(page.get_by_text("Still accepted")).to_have_count(0)
    assert " 202 " in send(made.curl.replace(made.secret, second))
    # Another process may know the old one for a moment: the registry is refreshed by a notification.
    deadline = time.monotonic() + 15
    while " 401 " not in send(made.curl).splitlines()[0]:
        assert time.monotonic() < deadline, "the previous secret is still accepted"
