"""The pages of sources: who sees what, and that they hold no secret."""

import re
from datetime import timedelta

import pytest
from django.utils.html import escape

from sources.authentication import METHODS
from sources.models import Source
from sources.presets import PRESETS
from tenants.models import Site
from tenants.scope import tenant_scope


@pytest.fixture
def make(cast):
    def make_source(name="Orders", method="hmac", config=None):
        with tenant_scope(cast.tenant.pk):
            later = not METHODS[method].makes_secret
            return Source.objects.create_with_secret(
                cast.tenant, cast.owner, name, method, config or {}, secret_later=later
            )[0]

    return make_source


def text(response) -> str:
    assert response.status_code == 200, response.status_code
    return response.content.decode()


def detail(source, tail="") -> str:
    return f"/sources/{source.pk}/{tail}"


def test_an_empty_list_says_what_to_do(browser, cast):
    assert 'href="/sources/create/"' in text(browser(cast.owner).get("/sources/"))
    assert "/sources/create/" not in text(browser(cast.viewer).get("/sources/"))


def test_the_list_shows_state_and_method(browser, cast, make):
    make("Quiet")
    stopped = make("Stopped", "bearer")
    with tenant_scope(cast.tenant.pk):
        stopped.pause()
    page = text(browser(cast.viewer).get("/sources/"))
    assert "Nothing received" in page
    assert "Paused" in page
    assert "Bearer token" in page


def test_filters_stay_in_the_url(browser, cast, make):
    make("Alpha")
    make("Beta", "bearer")
    page = text(browser(cast.owner).get("/sources/?method=bearer"))
    assert "Beta" in page
    assert "Alpha" not in page
    assert re.search(r'<option value="bearer"\s+selected', page)


def test_htmx_is_given_the_table_alone(browser, cast, make):
    make()
    page = text(browser(cast.owner).get("/sources/", HTTP_HX_REQUEST="true"))
    assert "Orders" in page
    assert "<html" not in page


def test_a_long_list_has_pages(browser, cast, make):
    for number in range(51):
        make(f"Source {number:03}")
    client = browser(cast.owner)
    first = text(client.get("/sources/"))
    assert "Source 050" in first
    assert "Source 000" not in first
    older = re.search(r'href="(/sources/\?before=[^"]+)"', first)[1]
    assert "Source 000" in text(client.get(older))


def test_a_deleted_source_is_on_no_page(browser, cast, make):
    source = make()
    with tenant_scope(cast.tenant.pk):
        source.delete()
    client = browser(cast.owner)
    assert "Orders" not in text(client.get("/sources/"))
    assert client.get(detail(source)).status_code == 404
    assert client.get(detail(source, "edit/")).status_code == 404


@pytest.mark.spec("P18")
def test_there_is_a_tile_for_each_method(browser, cast):
    page = text(browser(cast.owner).get("/sources/create/"))
    for method in METHODS.values():
        assert f'value="{method.name}"' in page
        assert method.title in page
        for setting in method.settings:
            assert f'id="f-{method.name}-{setting.name}"' in page


@pytest.mark.spec("P18", "B3")
def test_there_is_a_tile_for_each_preset_that_asks_for_what_it_needs(browser, cast):
    page = text(browser(cast.owner).get("/sources/create/"))
    for preset in PRESETS.values():
        assert f'name="preset" value="{preset.name}"' in page
        part = page.split(f'data-show-when="preset={preset.name}"')[1].split("</details>")[0]
        assert ("secret_later" in part) is (preset.secret_from == "sender")
        assert ("Generate a strong secret" in part) is (preset.secret_from == "portal")
        assert escape(preset.asks_for) in part
        assert preset.docs in part


@pytest.mark.spec("B3")
def test_a_source_that_waits_for_its_secret_says_so(browser, cast):
    with tenant_scope(cast.tenant.pk):
        source, secret = Source.objects.create_with_secret(
            cast.tenant, cast.owner, "Pay", "hmac", PRESETS["stripe"].config, secret_later=True, preset="stripe"
        )
    assert secret is None
    client = browser(cast.owner)
    assert "Its secret is missing" in text(client.get(detail(source)))
    with tenant_scope(cast.tenant.pk):
        source.rotate_secret(timedelta(0), "whsec_0123456789abcdef")
    page = text(client.get(detail(source)))
    assert "Its secret is missing" not in page
    assert "Stripe" in page
    assert "{timestamp}.{body}" in page


@pytest.mark.spec("P9")
def test_none_has_a_warning_that_must_be_ticked(browser, cast):
    page = text(browser(cast.owner).get("/sources/create/"))
    part = page.split('data-show-when="auth.method=none"')[1]
    assert METHODS["none"].warning in part
    assert '<input type="checkbox" required>' in part


def test_names_are_escaped(browser, cast, make):
    source = make("<script>alert(1)</script>", "basic", {"username": '"><img src=x>'})
    client = browser(cast.owner)
    for url in ("/sources/", detail(source), detail(source, "edit/")):
        page = text(client.get(url))
        assert "<script>alert" not in page
        assert "<img src=x>" not in page


@pytest.mark.spec("P13")
def test_the_detail_shows_url_and_snippets_with_a_placeholder(browser, cast, make):
    source = make()
    page = text(browser(cast.member).get(detail(source)))
    assert source.url in page
    assert "PORTCULLIS_SECRET" in page


def test_a_viewer_sees_neither_url_nor_buttons(browser, cast, make):
    source = make()
    page = text(browser(cast.viewer).get(detail(source)))
    assert source.ingest_key not in page
    assert "data-api=" not in page
    assert "rotate-secret" not in page


def test_a_member_sees_no_buttons_that_change_it(browser, cast, make):
    assert "data-api=" not in text(browser(cast.member).get(detail(make())))


@pytest.mark.spec("D5")
def test_the_url_of_a_chosen_site(browser, cast, make):
    source = make()
    with tenant_scope(cast.tenant.pk):
        Site.objects.create(tenant=cast.tenant, name="Berlin")
    client = browser(cast.owner)
    assert f"{source.url}/berlin" not in text(client.get(detail(source)))
    assert f"{source.url}/berlin" in text(client.get(detail(source, "?site=berlin")))


@pytest.mark.spec("B1")
def test_the_overlap_can_be_ended_while_there_is_one(browser, cast, make):
    source = make()
    client = browser(cast.owner)
    assert "End overlap now" not in text(client.get(detail(source)))
    with tenant_scope(cast.tenant.pk):
        source.rotate_secret(timedelta(days=1))
    page = text(client.get(detail(source)))
    assert "End overlap now" in page
    assert "Still accepted" in page


@pytest.mark.spec("D3")
def test_a_token_source_shows_templates_to_copy(browser, cast, make):
    source = make("Tokens", "jwt")
    with tenant_scope(cast.tenant.pk):
        key_id = source.current_credential.key_id
    page = text(browser(cast.owner).get(detail(source)))
    assert page.count(key_id) >= 3
    assert "Timestamp" in page
    assert "Payload, for example" in page
    assert "Choose fields" in page
    assert "Choose fields" not in text(browser(cast.member).get(detail(source)))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_pages(browser, cast, make, method):
    source = make("Any", method, {"username": "ada"} if method == "basic" else None)
    client = browser(cast.owner)
    assert METHODS[method].title in text(client.get(detail(source)))
    text(client.get(detail(source, "edit/")))


@pytest.mark.parametrize("tail", ["", "edit/"])
def test_a_stranger_finds_nothing(browser, cast, make, tail):
    source = make()
    client = browser(cast.stranger)
    assert client.get(detail(source, tail)).status_code == 404
    assert "Orders" not in text(client.get("/sources/"))


@pytest.mark.parametrize("role", ["viewer", "member"])
def test_forms_are_for_those_who_may_configure(browser, cast, make, role):
    client = browser(getattr(cast, role))
    assert client.get("/sources/create/").status_code == 403
    assert client.get(detail(make(), "edit/")).status_code == 403


def test_nobody_is_sent_to_sign_in(client, make):
    for url in ("/sources/", "/sources/create/", detail(make())):
        response = client.get(url)
        assert response.status_code == 302
        assert "/accounts/login/" in response["Location"]
