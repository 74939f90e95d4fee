"""The pages: lists that htmx refreshes, details beside them, all of it escaped."""

import pytest

from tenants.scope import tenant_scope

HTMX = {"HX-Request": "true"}
PANEL = {"HX-Request": "true", "HX-Target": "panel"}
EVIL = '<script>alert("x")</script>'


@pytest.fixture
def viewer(browser, cast):
    return browser(cast.viewer)


def test_empty_lists_say_what_to_do_next(viewer):
    assert "curl" in viewer.get("/events/").content.decode()
    assert "Nothing came yet" in viewer.get("/receipts/").content.decode()


@pytest.mark.parametrize("path", ["/events/", "/receipts/"])
def test_htmx_gets_the_table_only(viewer, post, source, path):
    post(source, {"type": "door.opened"})
    whole, part = viewer.get(path), viewer.get(path, headers=HTMX)
    assert b"<html" in whole.content
    assert b"<html" not in part.content
    assert source.name in part.content.decode()
    assert "HX-Request" in part["Vary"]


def test_the_list_of_events(viewer, post, source):
    post(source, {"type": "door.opened", "who": "Ada"})
    page = viewer.get("/events/").content.decode()
    assert "door.opened" in page
    assert "&quot;who&quot;: &quot;Ada&quot;" in page


def test_filters_stay_in_the_form(viewer, post, source):
    post(source, {"type": "door.opened"})
    page = viewer.get(f"/events/?q=door&range=7d&source={source.pk}&severity=low&type=door.*").content.decode()
    assert 'value="7d" selected' in page
    assert f'value="{source.pk}" selected' in page
    assert "door.opened" in page
    assert "Nothing fits" in viewer.get("/events/?severity=high").content.decode()


def test_a_search_without_a_time_says_how_far_it_looked(viewer, post, source):
    post(source, {"type": "door.opened"})
    assert b"last 24 hours" in viewer.get("/events/?q=door", headers=HTMX).content
    assert b"last 24 hours" not in viewer.get("/events/?q=door&range=7d", headers=HTMX).content


@pytest.mark.parametrize(
    "query", ["since=garbage", "source=1", "before=x", "after=%00", "q=%00", "range=9", "type=%00"]
)
def test_a_wrong_query_is_no_error(viewer, source, post, query):
    post(source, {"a": 1})
    for path in ("/events/", "/receipts/"):
        assert viewer.get(f"{path}?{query}").status_code == 200


def test_an_event_as_page_and_panel(viewer, post, source, kept):
    post(source, {"type": "door.opened", "who": "Ada"}, headers={"X-Trace": "t-1"})
    event = kept().events[0]
    page = viewer.get(f"/events/{event.pk}/").content.decode()
    panel = viewer.get(f"/events/{event.pk}/", headers=PANEL).content.decode()
    for shown in (page, panel):
        assert "Ada" in shown
        assert "t-1" in shown
        assert f"/receipts/{event.receipt_id}/" in shown
        assert f"?event={event.pk}" in shown
    assert "<html" not in panel


def test_a_published_event_has_no_source(viewer, api, kept):
    api("owner").post("/api/v1/events/", {"type": "order.paid", "payload": {"a": 1}})
    page = viewer.get(f"/events/{kept().events[0].pk}/").content.decode()
    assert "Published by API" in page
    assert "Published by API" in viewer.get("/events/").content.decode()


def test_a_binary_line_is_shown_in_hexadecimal(viewer, post, source_of, kept):
    source, _ = source_of(stream_type="lines")
    post(source, b"\xff\xfe\x00\x01")
    assert "ff fe 00 01" in viewer.get(f"/events/{kept().events[0].pk}/").content.decode()


@pytest.mark.spec("B5")
def test_a_refused_receipt_says_why_in_plain_words(viewer, post, source_of, kept):
    source, _ = source_of("bearer")
    post(source, {"a": 1}, headers={"Authorization": "Bearer guessed-by-somebody"})
    page = viewer.get(f"/receipts/{kept().receipts[0].pk}/").content.decode()
    assert "is not one that this source accepts now" in page
    assert "secret_mismatch" in page
    assert "The request does not prove who sends it." in page
    assert "guessed-by-somebody" not in page


def test_an_accepted_receipt_lists_its_events(viewer, post, source, kept):
    post(source, b'{"type":"one.x"}\n{"type":"two.x"}\n')
    post(source, {"type": "other.x"})
    page = viewer.get(f"/receipts/{kept().receipts[0].pk}/").content.decode()
    assert "one.x" in page
    assert "two.x" in page
    assert "other.x" not in page


def test_what_senders_write_is_escaped(viewer, post, source, source_of, kept):
    named, _ = source_of(name=EVIL)
    post(named, {"type": EVIL, EVIL: EVIL}, content_type=EVIL, headers={"X-Evil": EVIL, EVIL: "1"})
    post(named, EVIL.encode(), site="'\"><script>")
    pages = ["/events/", "/receipts/"]
    pages += [f"/events/{event.pk}/" for event in kept().events]
    pages += [f"/receipts/{receipt.pk}/" for receipt in kept().receipts]
    assert len(pages) >= 4
    for page in pages:
        assert "<script>alert" not in viewer.get(page).content.decode()
        assert '"><script>' not in viewer.get(page).content.decode()


def test_an_event_whose_receipt_is_gone_still_shows(viewer, post, source, kept, cast):
    post(source, {"a": 1})
    with tenant_scope(cast.tenant.pk):
        kept().receipts[0].delete()
    assert b"no longer kept" in viewer.get(f"/events/{kept().events[0].pk}/").content


def test_nobody_is_asked_to_sign_in(client, db):
    assert client.get("/events/").status_code == 302
