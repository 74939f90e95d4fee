"""Tags, filters and components of the pages."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.template import Context, RequestContext, Template
from django.test import RequestFactory

from config.icons import ICONS
from config.templatetags import look

TEMPLATES = Path(settings.BASE_DIR, "templates")
NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


def render(source: str, path: str = "/", **values) -> str:
    return Template("{% load look %}" + source).render(Context({"request": RequestFactory().get(path), **values}))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "just now"),
        (4, "just now"),
        (59, "59 s ago"),
        (60, "1 min ago"),
        (3_599, "59 min ago"),
        (86_399, "23 h ago"),
        (86_400, "1 d ago"),
        (40 * 86_400, "23 Jan 2026"),
        (-4, "just now"),
        (-80, "in 1 min"),
        (-90, "in 2 min"),
        (-3_570, "in 1 h"),
        (-3_569, "in 59 min"),
        (-7_200, "in 2 h"),
        (-84_599, "in 23 h"),
        (-84_600, "in 1 d"),
        (-(3 * 86_400 - 1), "in 3 d"),
        (-(7 * 86_400 - 1), "in 7 d"),
    ],
)
def test_an_age_in_words(seconds, words):
    assert look.describe_age(NOW - timedelta(seconds=seconds), NOW) == words


def test_a_relative_time_carries_the_exact_one_in_utc():
    at = datetime(2026, 3, 4, 13, 5, 6, 789_000, tzinfo=UTC).astimezone()
    html = look.relative_time(at)
    assert 'datetime="2026-03-04T13:05:06.789Z"' in html
    assert 'title="2026-03-04 13:05:06.789 UTC"' in html


def test_no_time_is_a_word():
    assert "not yet" in look.relative_time(None, "not yet")


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (None, "–"),
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (99_960, "100 kB"),
        (999_960, "1.0 MB"),
        (3_400_000, "3.4 MB"),
    ],
)
def test_a_size_in_words(size, words):
    assert look.bytesize(size) == words


def test_a_short_id_keeps_the_end_that_differs():
    html = look.short_id("0193a5b2-77aa-7c31-9d2e-1f2e3d4c5b6a")
    assert "…3d4c5b6a" in html
    assert 'title="0193a5b2-77aa-7c31-9d2e-1f2e3d4c5b6a"' in html


def test_pretty_json_is_escaped_by_the_template():
    assert "&lt;script&gt;" in render("{{ value|prettyjson }}", value={"a": "<script>"})


def test_pretty_json_is_bounded():
    assert look.prettyjson(["x"] * 100_000).endswith("… (truncated)")


def test_changing_a_filter_keeps_the_others_and_drops_the_cursor():
    html = render('{% query_replace status="dead" %}', "/events/?q=a&status=ok&cursor=xyz")
    assert html == "?q=a&amp;status=dead"


def test_none_takes_a_filter_away():
    assert render("{% query_replace q=None %}", "/?q=a&status=ok") == "?status=ok"


def test_an_unknown_status_kind_is_idle():
    assert 'class="status status-idle"' in look.status_dot('x" onclick="', "Odd")


def test_templates_name_only_icons_that_exist():
    named = re.compile(r'{% icon "([^"]+)"|icon="([^"]+)"')
    wanted = {
        (template.name, first or second)
        for template in TEMPLATES.rglob("*.html")
        for first, second in named.findall(template.read_text())
    }
    assert {pair for pair in wanted if pair[1] not in ICONS} == set()


def test_every_icon_is_well_formed():
    for name in ICONS:
        assert look.icon(name).endswith("</svg>")


@pytest.mark.parametrize(
    ("here", "entry", "under"),
    [
        ("sources", "sources", True),
        ("source_detail", "sources", True),
        ("delivery_detail", "deliveries", True),
        ("sources-new", "sources", True),
        ("sourcery", "sources", False),
        ("events", "sources", False),
        ("", "dashboard", False),
    ],
)
def test_the_navigation_knows_where_it_is(here, entry, under):
    assert look._is_under(here, entry) is under


def test_a_component_sees_nothing_of_the_page():
    html = render('{% panel title="Event" close="/" %}{{ subtitle }}{% endpanel %}', subtitle="outer")
    assert html.count("outer") == 1


def test_what_stands_in_a_block_is_escaped_once():
    html = render('{% dialog id="d" title=name %}{{ name }}{% enddialog %}', name="<b>&")
    assert html.count("&lt;b&gt;&amp;") == 2


def test_filters_remember_the_search():
    html = render('{% filters target="results" search="q" %}{% endfilters %}', "/events/?q=%22x")
    assert 'value="&quot;x"' in html


def test_a_reveal_panel_starts_hidden_and_empty():
    html = render('{% reveal id="s" title="Key" %}{% endreveal %}')
    assert re.search(r"<section[^>]*data-guard-leave[^>]* hidden>", html)
    assert 'data-fill="secret"></code>' in html


def test_a_field_ties_label_help_and_error_to_its_control():
    html = render(
        '{% include "components/field.html" with name="auth.header" label="Header" help="H" error="E" only %}'
    )
    assert '<label for="f-auth.header">' in html
    assert 'aria-describedby="f-auth.header-help f-auth.header-error"' in html
    assert 'data-error-for="auth.header"' in html
    assert 'aria-invalid="true"' in html


def test_a_payload_is_shown_escaped():
    html = render('{% include "components/payload.html" with body=body only %}', body=b'{"a":"</pre><script>"}')
    assert "<script>" not in html
    assert "&quot;a&quot;: &quot;&lt;/pre&gt;" in html


def test_the_theme_comes_from_the_cookie_so_that_nothing_flashes():
    request = RequestFactory().get("/")
    request.COOKIES["theme"] = "dark"
    html = Template('{% extends "base_signed_out.html" %}').render(RequestContext(request, {}))
    assert '<html lang="en" data-theme="dark">' in html


@pytest.mark.parametrize("theme", ['x"><script>', "system"])
def test_any_other_theme_cookie_is_ignored(theme):
    request = RequestFactory().get("/")
    request.COOKIES["theme"] = theme
    html = Template('{% extends "base_signed_out.html" %}').render(RequestContext(request, {}))
    assert '<html lang="en">' in html


def test_the_500_page_needs_no_context():
    html = Template((TEMPLATES / "500.html").read_text()).render(Context())
    assert "Something broke" in html


def test_no_template_needs_a_looser_content_security_policy():
    forbidden = re.compile(r"\sstyle=|<style|<script(?![^>]*\ssrc=)|\son[a-z]+=|hx-on|https?://(?!www\.w3\.org)")
    found = {
        str(path.relative_to(TEMPLATES)): match.group()
        for path in TEMPLATES.rglob("*.html")
        if (match := forbidden.search(re.sub(r"placeholder=\"[^\"]*\"", "", path.read_text())))
    }
    assert found == {}
