"""The audit log's changes, in words for people."""

import pytest

from tenants.models import AuditEntry
from tenants.wording import field_in_words, value_in_words


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("event_types", ["edr.*", "user.created"], "edr.*, user.created"),
        ("event_types", [], "—"),
        ("name", "", "—"),
        ("name", None, "—"),
        ("name", "Desk", "Desk"),
        ("require_timestamp", True, "yes"),
        ("require_timestamp", False, "no"),
        ("overlap_seconds", 604_800, "7 days"),
        ("overlap_seconds", 86_400, "1 day"),
        ("overlap_seconds", 3_600, "1 hour"),
        ("overlap_seconds", 5_400, "90 minutes"),
        ("overlap_seconds", 0, "none"),
        ("api_keys_revoked", 0, "0"),
        ("expires_at", "2026-11-29T14:03:07.123456+00:00", "29 Nov 2026, 14:03 UTC"),
        ("expires_at", "2026-11-29T14:03:07+02:00", "29 Nov 2026, 12:03 UTC"),
        ("expires_at", "2026-11-29T14:03:07Z", "29 Nov 2026, 14:03 UTC"),
        ("name", "2026-11-29T99:03 is a name too", "2026-11-29T99:03 is a name too"),
        (
            "auth_config",
            {"header": "X-Key", "max_age_seconds": 300, "claims_match_body": False},
            "header: X-Key, max age: 5 minutes, claims match body: no",
        ),
    ],
)
def test_a_value_in_words(field, value, words):
    assert value_in_words(field, value) == words


@pytest.mark.parametrize(
    ("field", "words"), [("event_types", "event types"), ("overlap_seconds", "overlap"), ("name", "name")]
)
def test_a_field_in_words(field, words):
    assert field_in_words(field) == words


def test_a_pair_is_old_and_new_and_anything_else_one_word():
    entry = AuditEntry(change={"event_types": [["a.*"], ["a.*", "b.*"]], "url": "changed", "overlap_seconds": 3600})
    assert entry.change_lines == [
        {"field": "event types", "old": "a.*", "new": "a.*, b.*"},
        {"field": "url", "word": "changed"},
        {"field": "overlap", "word": "1 hour"},
    ]
