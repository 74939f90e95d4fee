"""Signing in: no sign-up, no telling who has an account, a one-time password opens nothing."""

import re

import pytest
from django.core import mail
from django.core.cache import cache
from django.test import Client

from tenants.models import User

PASSWORD = "correct horse battery"
NEW = "a brass lantern"


@pytest.fixture(autouse=True)
def _no_attempts_counted():
    cache.clear()
    yield
    cache.clear()


def sign_in(client, email="owner@acme.example", password=PASSWORD):
    return client.post("/accounts/login/", {"login": email, "password": password})


def test_signing_in_and_out(client, cast):
    assert sign_in(client).url == "/"
    assert client.get("/members/").status_code == 200
    client.post("/accounts/logout/")
    assert client.get("/members/").status_code == 302


def test_the_case_of_the_address_does_not_matter(client, cast):
    assert sign_in(client, "Owner@ACME.example").status_code == 302


def test_nobody_signs_up(client, db):
    client.post("/accounts/signup/", {"email": "x@example.com", "password1": NEW, "password2": NEW})
    assert not User.objects.filter(email="x@example.com").exists()


def test_a_wrong_password_and_an_unknown_address_look_alike(client, cast):
    wrong = sign_in(client, password="wrong").content.decode()
    unknown = sign_in(client, email="nobody@acme.example").content.decode()

    def plain(page):
        page = re.sub(r'name="csrfmiddlewaretoken" value="[^"]*"', "", page)
        return page.replace("nobody@acme.example", "owner@acme.example")

    assert plain(wrong) == plain(unknown)


def test_a_reset_looks_alike_for_an_unknown_address(client, cast):
    known = client.post("/accounts/password/reset/", {"email": "owner@acme.example"})
    unknown = client.post("/accounts/password/reset/", {"email": "nobody@acme.example"})
    assert (known.status_code, known.url) == (unknown.status_code, unknown.url)


def test_guessing_is_slowed_down(cast):
    for _ in range(5):
        sign_in(Client(), password="wrong")
    assert sign_in(Client()).status_code == 200  # the right one, too late: the form again
    assert sign_in(Client(), "admin@acme.example").status_code == 302


def test_an_inactive_person_does_not_sign_in(client, cast):
    User.objects.filter(pk=cast.owner.pk).update(is_active=False)
    sign_in(client)
    assert client.get("/members/").status_code == 302


def test_deactivating_ends_a_session(browser, cast):
    client = browser(cast.owner)
    User.objects.filter(pk=cast.owner.pk).update(is_active=False)
    assert client.get("/api/v1/tenant/").status_code == 401


@pytest.fixture
def newcomer(cast):
    User.objects.filter(pk=cast.owner.pk).update(must_change_password=True)
    return cast.owner


def change(client, old=PASSWORD, new=NEW):
    return client.post("/accounts/password/change/", {"oldpassword": old, "password1": new, "password2": new})


def test_a_one_time_password_opens_no_page_and_no_endpoint(client, newcomer):
    sign_in(client)
    for url in ("/members/", "/settings/", "/audit/", "/sources/"):
        assert client.get(url).url == "/accounts/password/change/", url
    answer = client.get("/api/v1/tenant/")
    assert answer.status_code == 403
    assert "password" in answer.json()["detail"]
    assert client.post("/switch-tenant/", {"tenant": "x"}).url == "/accounts/password/change/"


def test_changing_it_opens_the_portal(client, newcomer):
    sign_in(client)
    assert change(client).url == "/"
    assert client.get("/members/").status_code == 200
    assert sign_in(Client(), password=NEW).status_code == 302


def test_a_change_that_failed_opens_nothing(client, newcomer):
    sign_in(client)
    change(client, old="wrong")
    assert client.get("/members/").url == "/accounts/password/change/"


def test_changing_it_ends_the_other_sessions(browser, cast):
    here, elsewhere = browser(cast.owner), browser(cast.owner)
    change(here)
    assert here.get("/members/").status_code == 200
    assert elsewhere.get("/members/").status_code == 302


def test_a_reset_by_mail_sets_a_password_of_ones_own(client, newcomer):
    client.post("/accounts/password/reset/", {"email": newcomer.email})
    link = re.search(r"http\S+/accounts/password/reset/key/\S+", mail.outbox[0].body).group()
    form = client.get(link, follow=True)
    client.post(form.request["PATH_INFO"], {"password1": NEW, "password2": NEW})
    assert sign_in(Client(), password=NEW).status_code == 302
    newcomer.refresh_from_db()
    assert not newcomer.must_change_password


def test_the_one_time_password_cannot_be_chosen_again(client, newcomer):
    sign_in(client)
    assert "one-time password" in change(client, new=PASSWORD).text
    newcomer.refresh_from_db()
    assert newcomer.must_change_password


@pytest.mark.parametrize("host", ["localhost:6666", "127.0.0.1"])
def test_mailed_links_lead_to_the_portal_whatever_host_was_asked(client, browser, cast, settings, host):
    client.post("/accounts/password/reset/", {"email": "owner@acme.example"}, headers={"Host": host})
    browser(cast.owner).post(
        "/accounts/email/", {"email": "new@acme.example", "action_add": ""}, headers={"Host": host}
    )
    links = [re.search(r"http\S+/accounts/(?:password/reset/key|confirm-email)/\S+", m.body) for m in mail.outbox]
    links = [link.group() for link in links if link]
    assert len(links) == 2
    assert all(link.startswith(f"{settings.PORTAL_URL}/accounts/") for link in links)


def test_the_address_of_the_client_is_the_proxys_word_only_behind_one(rf, settings):
    from tenants.addresses import client_address

    request = rf.get("/", REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR="6.6.6.6, 192.0.2.9")
    assert client_address(request) == "10.0.0.1"
    settings.TRUSTED_PROXIES = 1
    assert client_address(request) == "192.0.2.9"
    assert client_address(rf.get("/", REMOTE_ADDR="", HTTP_X_FORWARDED_FOR="nonsense")) == ""


def test_a_new_address_counts_once_its_link_was_opened(browser, cast):
    client = browser(cast.owner)
    client.post("/accounts/email/", {"email": "new@acme.example", "action_add": ""})
    cast.owner.refresh_from_db()
    assert cast.owner.email == "owner@acme.example"
    message = next(message for message in mail.outbox if message.to == ["new@acme.example"])
    link = re.search(r"http\S+/accounts/confirm-email/\S+", message.body).group()
    client.post(link)
    cast.owner.refresh_from_db()
    assert cast.owner.email == "new@acme.example"
    assert sign_in(Client(), "new@acme.example").status_code == 302
