"""allauth's pages in the portal's own templates, as a person meets them."""

import pytest
from django.urls import reverse


@pytest.mark.parametrize(
    ("name", "heading"),
    [
        ("account_login", "Sign in"),
        ("account_reset_password", "Reset your password"),
        ("account_reset_password_done", "Check your email"),
        ("account_reset_password_from_key_done", "Password changed"),
        ("account_email_verification_sent", "Check your email"),
        ("account_inactive", "This account is switched off"),
    ],
)
def test_signed_out_pages_wear_the_portals_look(client, db, name, heading):
    html = client.get(reverse(name)).content.decode()
    assert f"<h1>{heading}</h1>" in html
    assert 'class="door"' in html


def test_a_stale_reset_link_says_so(client, db):
    response = client.get(reverse("account_reset_password_from_key", args=["1", "x-y"]))
    assert "This link no longer works" in response.content.decode()


def test_a_wrong_password_is_explained_beside_the_form(client, db):
    response = client.post(reverse("account_login"), {"login": "a@b.example", "password": "x"})
    html = response.content.decode()
    assert 'class="errorlist nonfield"' in html
    assert "x</" not in html


@pytest.mark.parametrize(
    ("name", "heading"),
    [("account_change_password", "Change password"), ("account_email", "Email address")],
)
def test_account_pages_stand_in_the_shell(browser, cast, name, heading):
    html = browser(cast.owner).get(reverse(name)).content.decode()
    assert f"<h1>{heading}</h1>" in html
    assert 'aria-label="Main"' in html


def test_signing_out_asks_first(browser, cast):
    html = browser(cast.owner).get(reverse("account_logout")).content.decode()
    assert "<h1>Sign out?</h1>" in html


def test_a_page_that_is_not_there_is_the_portals_own_404(client, db):
    response = client.get("/no/such/page/")
    assert response.status_code == 404
    assert "There is nothing here" in response.content.decode()


def test_signing_in_starts_in_the_first_field_and_repeats_no_label(client, db):
    html = client.get(reverse("account_login")).content.decode()
    first = html.index('name="login"')
    assert "autofocus" in html[html.rindex("<input", 0, first) : html.index(">", first)]
    assert html.count("autofocus") == 1
    assert "placeholder" not in html
    assert "Stay signed in" in html


def test_who_must_change_the_password_is_told_why(browser, cast):
    cast.owner.must_change_password = True
    cast.owner.save()
    page = browser(cast.owner).get("/", follow=True)
    assert "one-time password" in page.content.decode()
    assert "Current password" in page.content.decode()


def test_a_changed_password_is_confirmed(browser, cast):
    cast.owner.set_password("correct horse battery")
    cast.owner.must_change_password = True
    cast.owner.save()
    new = "staple battery horse"
    values = {"oldpassword": "correct horse battery", "password1": new, "password2": new}
    page = browser(cast.owner).post(reverse("account_change_password"), values, follow=True).content.decode()
    assert "data-toast-shown" in page
    assert "Password changed" in page


def test_search_engines_are_sent_away(client, db):
    response = client.get("/robots.txt")
    assert response["Content-Type"] == "text/plain"
    assert response.content.decode() == "User-agent: *\nDisallow: /\n"


def test_the_icon_is_where_browsers_look(client, db):
    assert client.get("/favicon.ico")["Location"].startswith("/static/portcullis/favicon")


def test_the_api_documentation_leads_back_and_needs_no_inline_style(client, db):
    html = client.get(reverse("api_docs")).content.decode()
    assert ">Back to the portal</a>" in html
    assert "<style" not in html
