"""Why a sender fails, in one look (B5): groups with what to do; of one refusal what was expected and what came."""

import gzip
import hashlib
import hmac
import json

import pytest

from events import refusals
from events.models import Receipt
from events.reasons import EXPLANATIONS
from events.refusals import Line, checks_of, comparison_of, next_step
from tenants.scope import tenant_scope

pytestmark = pytest.mark.spec("B5")

SECRET = "a-secret-of-the-sender-0123456789"
BODY = {"a": 1}


@pytest.fixture
def viewer(browser, cast):
    return browser(cast.viewer)


@pytest.fixture
def billing(source_of):
    return source_of("hmac", config={"header": "X-Signature"}, secret=SECRET, name="Billing")[0]


def receipt_of(**values) -> Receipt:
    return Receipt(**({"status": "refused", "status_code": 401, "body": b"{}"} | values))


def text(page) -> str:
    return " ".join(page.content.decode().split())


# ── The view of all ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_refusals_are_grouped_by_source_and_reason_the_most_frequent_first(viewer, post, billing, source):
    for _ in range(3):
        post(billing, BODY)
    post(billing, BODY, headers={"X-Signature": "sha256=" + "ab" * 32})
    post(source, b"{")
    page = viewer.get("/refusals/")
    groups = page.context["summary"].groups
    assert [(group.source.name, group.reason, group.count) for group in groups] == [
        ("Billing", "header_missing", 3),
        ("Door log", "not_json", 1),
        ("Billing", "signature_mismatch", 1),
    ]
    assert groups[0].first_seen < groups[0].last_seen
    for group in groups:
        assert group.explanation in page.content.decode().replace("&#x27;", "'")
        assert group.next_step in page.content.decode().replace("&#x27;", "'")
        assert f"/receipts/{group.example}/" in page.content.decode()


def test_of_one_source_alone(viewer, post, billing, source):
    post(billing, BODY)
    post(source, b"{")
    groups = viewer.get(f"/refusals/?source={billing.pk}").context["summary"].groups
    assert [group.reason for group in groups] == ["header_missing"]


def test_the_source_page_asks_for_its_own(viewer, post, billing):
    assert f'hx-get="/refusals/?source={billing.pk}"' in text(viewer.get(f"/sources/{billing.pk}/"))
    post(billing, BODY)
    part = viewer.get(f"/refusals/?source={billing.pk}", headers={"HX-Request": "true"})
    assert b"<html" not in part.content
    assert b"header_missing" in part.content


def test_what_was_only_counted_counts(viewer, post, billing, kept):
    post(billing, BODY)
    with tenant_scope(billing.tenant_id):
        Receipt.objects.update(suppressed=40)
    page = viewer.get("/refusals/")
    assert page.context["summary"].groups[0].suppressed == 40
    assert "at least 40 more" in text(page)


def test_nothing_refused(viewer, post, source):
    post(source, BODY)
    assert b"Nothing was refused" in viewer.get("/refusals/").content


def test_only_so_many_are_looked_at_and_the_page_says_so(viewer, post, source, monkeypatch):
    monkeypatch.setattr(refusals, "LOOKED", 2)
    for _ in range(3):
        post(source, b"{")
    page = viewer.get("/refusals/")
    assert page.context["summary"].groups[0].count == 2
    assert "the newest 2 refusals, back to" in text(page)


def test_a_stranger_sees_none_of_it(browser, cast, post, billing):
    post(billing, BODY)
    assert b"Billing" not in browser(cast.stranger).get("/refusals/").content


def test_as_many_queries_for_many_groups_as_for_few(viewer, post, source_of, django_assert_max_num_queries):
    for number in range(6):
        post(source_of(name=f"S{number}")[0], b"{")
    with django_assert_max_num_queries(30):
        assert len(viewer.get("/refusals/").context["summary"].groups) == 6


def test_every_reason_says_what_to_do():
    assert [reason for reason in EXPLANATIONS if not next_step(reason)] == []


# ── One refusal ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_missing_header_is_named_and_what_came_in_its_place(viewer, post, billing, kept):
    post(billing, BODY, headers={"X-Hub-Signature-256": "sha256=0011", "X-Other": "1"})
    page = text(viewer.get(f"/receipts/{kept().receipts[0].pk}/"))
    assert "missing. Similar ones that came: x-hub-signature-256" in page
    assert "Set up the sender to send this header" in page
    assert "sha256=0011" not in page


def test_a_wrong_signature_stands_beside_the_right_one_and_neither_is_whole(viewer, post, billing, kept):
    right = hmac.new(SECRET.encode(), json.dumps(BODY).encode(), hashlib.sha256).hexdigest()
    wrong = hmac.new(b"another", json.dumps(BODY).encode(), hashlib.sha256).hexdigest()
    post(billing, BODY, headers={"X-Signature": f"sha256={wrong}"})
    page = text(viewer.get(f"/receipts/{kept().receipts[0].pk}/"))
    assert f"{right[:8]}…" in page
    assert f"{wrong[:8]}…" in page
    assert right[:9] not in page
    assert wrong[:9] not in page
    assert SECRET not in page
    assert f"{len(json.dumps(BODY))} bytes in this request" in page


def test_the_api_gives_the_evidence(api, post, billing, kept):
    post(billing, BODY)
    one = api("viewer").get(f"/api/v1/receipts/{kept().receipts[0].pk}/").json()
    assert one["evidence"]["header"] == "X-Signature"
    assert "evidence" not in api("viewer").get("/api/v1/receipts/").json()["results"][0]


@pytest.mark.parametrize(
    ("difference", "tolerance", "received", "fits"),
    [
        (-412, 300, "412 s behind", False),
        (9000, 300, "9,000 s ahead", False),
        (-3, 300, "3 s behind", True),
        (0, 300, "the same second", True),
        (-5, None, "5 s behind", None),
    ],
)
def test_the_clock(difference, tolerance, received, fits):
    evidence = {"clock_difference": difference} | ({} if tolerance is None else {"tolerance": tolerance})
    [line] = comparison_of(receipt_of(evidence=evidence))
    assert (line.received, line.fits) == (received, fits)


def test_what_nobody_has_words_for_is_shown_all_the_same():
    evidence = {"header": "X-A", "secrets_tried": 2, "begins": "pcl_key_", "new_thing": "<b>", "hint": "so"}
    lines = comparison_of(receipt_of(reason="secret_mismatch", evidence=evidence))
    assert lines == [
        Line("Header", "X-A", "X-A", True),
        Line("Secret begins", "", "pcl_key_"),
        Line("Secrets tried", "", "2"),
        Line("New thing", "", "<b>"),
    ]


def test_an_old_refusal_has_no_evidence():
    assert comparison_of(receipt_of(reason="signature_mismatch", evidence=None)) == []


def test_hint_and_what_senders_wrote_are_escaped(viewer, post, billing, kept):
    post(billing, BODY, headers={"X-Signature": "<script>alert(1)</script>"})
    with tenant_scope(billing.tenant_id):
        Receipt.objects.update(evidence={"hint": "<script>alert(2)", "header": "<script>", "odd": ["<script>"]})
    page = viewer.get(f"/receipts/{kept().receipts[0].pk}/").content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(2)" in page


# ── The body ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "coding", "seen", "fits"),
    [
        (b'{"a":1}', None, "text", True),
        (b'{"a":1}', "gzip", "text", False),
        (gzip.compress(b"{}", mtime=0), "gzip", "gzip", True),
        (gzip.compress(b"{}", mtime=0), None, "gzip", True),
        (gzip.compress(b"{}", mtime=0), "deflate", "gzip", False),
        (b"\x28\xb5\x2f\xfd\x00", None, "zstd", True),
        (b"x\x9c\xff\xff", "deflate", "bytes that are no UTF-8 text", False),
        ('{"ä":1}'.encode("utf-16"), None, "UTF-16 or UTF-32", True),
        (b"\xef\xbb\xbf{}", None, "text with a byte order mark", True),
        (b"\xff\x00", None, "bytes that are no UTF-8 text", True),
        (("a" + "ä" * 2048).encode()[:4096], None, "text", True),
    ],
    ids=["json", "not-gzip", "gzip", "gzip-found", "wrong", "zstd", "no-deflate", "utf-16", "bom", "bytes", "cut"],
)
def test_what_the_body_looks_like(body, coding, seen, fits):
    headers = [["Content-Encoding", coding]] if coding else []
    checks = checks_of(receipt_of(body=body, headers=headers))
    assert (checks.seen, checks.fits) == (seen, fits)
    assert checks.first_bytes == body[:64]


def test_the_place_where_it_stops_being_json(viewer, post, source, kept):
    post(source, b'{"name": "Ada",, "n": 1}')
    receipt = kept().receipts[0]
    checks = checks_of(receipt)
    assert checks.mistake == ('{"name": "Ada",', ",", ' "n": 1}')
    page = text(viewer.get(f"/receipts/{receipt.pk}/"))
    assert "<mark>,</mark>" in page
    assert "7b 22 6e 61 6d 65" in page


def test_a_mistake_beyond_what_was_kept_is_not_guessed():
    receipt = receipt_of(reason="not_json", detail="… (character 9000)", body=b"{" * 4096, headers=[])
    assert checks_of(receipt).mistake is None


def test_the_mistake_in_a_compressed_body():
    packed = gzip.compress(b'{"a": oops}', mtime=0)
    receipt = receipt_of(reason="not_json", detail="… (character 6)", body=packed, headers=[])
    assert checks_of(receipt).mistake == ('{"a": ', "o", "ops}")


def test_of_a_bomb_only_the_beginning_is_opened():
    packed = gzip.compress(b"[" * 50_000_000, mtime=0)[:4096]
    for position, is_found in ((5, True), (65_536, True), (65_537, False)):
        receipt = receipt_of(detail=f"… (character {position})", body=packed, headers=[])
        assert bool(checks_of(receipt).mistake) is is_found


def test_without_a_body_there_is_nothing_to_look_at():
    assert checks_of(receipt_of(body=b"", headers=[])) is None
