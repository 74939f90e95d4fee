"""Reading and rules on the pages of a source: in words, and as fields that hold what is stored."""

import pytest

from sources.models import Source
from sources.rules import clean
from sources.setting_forms import rules_fields, rules_in_words
from tenants.scope import tenant_scope

HOSTILE = '<script>alert("x")</script>'


@pytest.fixture
def source(cast):
    with tenant_scope(cast.tenant.pk):
        return Source.objects.create_with_secret(
            cast.tenant,
            None,
            "Guarded",
            "none",
            {},
            rules=clean({"allowed_addresses": ["10.0.0.0/8", "::1"], "response": {"body": HOSTILE}}),
            reading={"title": "<b>.text"},
        )[0]


def test_rules_in_words():
    source = Source(
        rules=clean(
            {
                "allowed_addresses": ["10.0.0.0/8"],
                "rate_limit_per_minute": 6000,
                "content_types": ["text/*"],
                "cors_origins": ["*"],
                "response": {"status": 204},
            }
        )
    )
    assert rules_in_words(source) == [
        ("Only from", ["10.0.0.0/8"]),
        ("At most", ["6,000 posts a minute"]),
        ("Only as", ["text/*"]),
        ("Pages that may post", ["every page"]),
        ("Answers", ["204 text/plain; charset=utf-8", "without a body"]),
    ]
    assert rules_in_words(Source()) == []


def test_a_long_answer_is_cut_on_the_page():
    words = dict(rules_in_words(Source(rules=clean({"response": {"body": "x" * 4096}}))))
    assert len(words["Answers"][1]) == 201


def test_fields_hold_what_is_stored(source):
    fields = {field["name"]: field["value"] for group in rules_fields(source).values() for field in group}
    assert fields["rules.allowed_addresses"] == "10.0.0.0/8\n::1"
    assert fields["rules.rate_limit_per_minute"] is None
    assert fields["rules.response.body"] == HOSTILE


@pytest.mark.spec("P18")
def test_what_was_typed_is_escaped_on_both_pages(browser, cast, source):
    for path in (f"/sources/{source.pk}/", f"/sources/{source.pk}/edit/"):
        page = browser(cast.owner).get(path).content.decode()
        assert HOSTILE not in page
        assert "&lt;script&gt;" in page
        assert "&lt;b&gt;.text" in page


def test_who_only_looks_is_offered_no_change(browser, cast, source):
    page = browser(cast.viewer).get(f"/sources/{source.pk}/").content.decode()
    assert "10.0.0.0/8" in page
    assert f"/sources/{source.pk}/edit/#reading" not in page
    assert f"/sources/{source.pk}/edit/#reading" in browser(cast.owner).get(f"/sources/{source.pk}/").content.decode()


def test_a_source_without_rules_says_so(browser, cast, source):
    with tenant_scope(cast.tenant.pk):
        Source.objects.filter(pk=source.pk).update(rules={}, reading={})
    assert (
        "From every address, as often as it likes"
        in browser(cast.viewer).get(f"/sources/{source.pk}/").content.decode()
    )
