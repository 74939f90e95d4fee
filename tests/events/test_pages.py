"""The pages: lists that htmx refreshes, details beside them, all of it escaped."""

import re
from html import unescape
from urllib.parse import urlencode

import pytest

from events import looking
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


@pytest.mark.spec("P17")
def test_a_search_that_stopped_says_how_far_it_looked_and_goes_on(viewer, post, source, monkeypatch):
    monkeypatch.setattr(looking, "FIRST_SLICE", 2)
    monkeypatch.setattr(looking, "PAGE", looking.Budget(2, 60.0))
    for word in ("Ada", "Bea", "Cleo"):
        post(source, {"type": "door.opened", "who": word})
    page = viewer.get("/events/?q=ada")
    assert "Nothing found among the newest 2 looked at" in page.content.decode()
    older = viewer.get(page.context["page"].older)
    assert "Ada" in older.content.decode()
    assert "looked at" not in older.content.decode()


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("where=a..b", "<strong>where</strong> was left out"),
        ("since=garbage", "<strong>since</strong> was left out"),
        ("severity=urgent", "<strong>severity</strong> was left out"),
    ],
)
def test_a_filter_that_cannot_be_read_is_not_left_out_silently(viewer, source, post, query, words):
    post(source, {"a": 1})
    assert words in viewer.get(f"/events/?{query}").content.decode()


@pytest.mark.spec("P17")
def test_the_builder_makes_a_condition_of_the_url(viewer, post, source):
    post(source, {"user": {"id": 42}})
    answer = viewer.get("/events/?field=user.id&operator=%3D&value=42&add=1&severity=low&before=x")
    assert answer.status_code == 302
    assert answer.url == "/events/?severity=low&where=user.id%3D42"
    page = viewer.get(answer.url).content.decode()
    assert "user.id is 42" in page
    assert 'name="where" value="user.id=42" form="filters-results"' in page
    assert 'href="?severity=low"' in page


@pytest.mark.parametrize(
    ("operator", "where"),
    [("!=", "a!=7"), ("exists", "a"), ("absent", "!a"), ("", "a=7")],
    ids=["not", "is", "no", "eq"],
)
def test_every_comparison_of_the_builder(viewer, source, operator, where):
    asked = {"field": "a", "operator": operator, "value": "7", "add": "1"}
    assert viewer.get("/events/", asked).url == f"/events/?{urlencode({'where': where})}"
    pushed = viewer.get("/events/", asked, headers=HTMX)
    assert pushed["HX-Push-Url"] == f"/events/?{urlencode({'where': where})}"
    assert 'id="condition-builder" hx-swap-oob="true"' in pushed.content.decode()


def test_typing_in_the_builder_asks_nothing_yet(viewer, post, source):
    post(source, {"type": "door.opened"})
    page = viewer.get("/events/?field=nowhere&operator=exists&value=", headers=HTMX)
    assert "door.opened" in page.content.decode()
    assert "HX-Push-Url" not in page


@pytest.mark.spec("P17")
def test_what_is_new_is_counted_with_the_filters(viewer, post, source):
    post(source, {"type": "door.opened"})
    marker = viewer.get("/events/?type=door.*").context["marker"]
    assert viewer.get(marker.url).context["marker"].count == 0
    post(source, {"type": "door.shut"})
    post(source, {"type": "order.paid"})
    again = viewer.get(marker.url)
    assert again.context["marker"].count == 1
    assert "1 new" in again.content.decode()
    assert 'href="/events/?type=door.%2A"' in again.content.decode()


def test_what_is_new_while_nothing_is_shown(viewer, post, source):
    marker = viewer.get("/events/?q=door").context["marker"]
    assert viewer.get(marker.url).context["marker"].count == 0
    post(source, {"type": "door.shut"})
    assert viewer.get(marker.url).context["marker"].count == 1


def test_what_is_new_on_an_older_page(viewer, post, source, kept):
    for _ in range(3):
        post(source, {"a": 1})
    page = viewer.get(f"/events/?before={kept().events[2].pk}")
    assert "data-paged" in page.content.decode()
    marker = page.context["marker"]
    first = viewer.get(marker.url)
    assert first.context["marker"].count == 0
    assert "data-paged" in first.content.decode()  # what asks next is this answer, not the page
    post(source, {"a": 2})
    again = viewer.get(first.context["marker"].url).context["marker"]
    assert (again.count, again.query) == (1, "")


@pytest.mark.parametrize("query", ["", "floor=x&known=-1", "known=99999999", "floor=" + "f" * 32])
def test_a_made_up_marker_is_no_error(viewer, source, post, query):
    post(source, {"a": 1})
    for path in ("/events/new/", "/receipts/new/"):
        assert viewer.get(f"{path}?{query}").status_code == 200


def test_the_tree_leads_to_events_like_it(viewer, post, source, kept):
    post(source, {"user": {"id": "42", "name": "Ada & Bea"}, "n": [1.5, None, True], "e": {}})
    page = viewer.get(f"/events/{kept().events[0].pk}/").content.decode()
    links = [unescape(link) for link in re.findall(r'href="(/events/\?where=[^"]+)"', page)]
    assert len(links) == 5
    for link in links:
        assert [row.pk for row in viewer.get(link).context["page"].rows] == [kept().events[0].pk], link


def test_a_huge_payload_is_a_page_of_bounded_size(viewer, post, source, kept):
    post(source, {f"field{number}": [number] * 5 for number in range(4000)})
    page = viewer.get(f"/events/{kept().events[0].pk}/").content.decode()
    assert page.count('class="leaf"') + page.count('class="node"') <= 1000
    assert "more, in the downloaded payload" in page


@pytest.mark.spec("P17")
def test_binary_is_shown_as_a_hexdump_of_the_first_64_kb(viewer, post, source_of, kept):
    source, _ = source_of(stream_type="lines")
    post(source, b"\x00\xffA" * 30_000)
    page = viewer.get(f"/events/{kept().events[0].pk}/").content.decode()
    assert "00000000  00 ff 41" in page
    assert "0000fff0  " in page
    assert "00010000  " not in page
    assert "the first 64 KB" in page


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
