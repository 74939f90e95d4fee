"""What of a header is kept."""

import json

import pytest

from events.masking import MAX_TOTAL, REMEMBERED, HeaderMask


def masked(headers, **options):
    return json.loads(HeaderMask(**options).json(headers))


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "proxy-authorization",
        "cookie",
        "x-api-key",
        "x-webhook-key",
        "x-hub-signature-256",
        "x-gitlab-token",
        "my-secret",
        "x-webhook-jwt",
    ],
)
def test_names_that_sound_like_secrets_are_hidden(name):
    assert masked([(name.encode(), b"hush-hush")]) == [[name, "•••• (9 bytes)"]]


@pytest.mark.parametrize("name", ["user-agent", "idempotency-key", "x-github-event", "content-type", "x-request-id"])
def test_others_are_shown(name):
    assert masked([(name.encode(), b"value")]) == [[name, "value"]]


def test_the_sources_own_header_is_hidden():
    assert masked([(b"x-proof", b"abc")], auth_headers=["X-Proof"]) == [["x-proof", "•••• (3 bytes)"]]


def test_a_secret_is_hidden_whatever_its_name():
    hidden = masked([(b"x-a", b" s3cret\t"), (b"x-b", b"other")], is_secret=lambda value: value == b"s3cret")
    assert hidden == [["x-a", "•••• (8 bytes)"], ["x-b", "other"]]


def test_bytes_become_text_that_can_be_stored():
    assert masked([(b"x\x00", b"\xe9\x00")]) == [["x�", "é�"]]


def test_the_whole_is_bounded():
    kept = masked([(b"x-%d" % n, b"v" * 5000) for n in range(100)])
    assert sum(len(name) + len(value) for name, value in kept) <= MAX_TOTAL + 100
    assert kept[-1] == ["…", f"{100 - (len(kept) - 1)} more headers"]


def test_order_and_duplicates_are_kept_and_a_second_look_is_the_same():
    mask = HeaderMask()
    headers = [(b"x-one", b"1"), (b"x-two", b"2"), (b"x-one", b"\xff"), (b"cookie", b"a=b")]
    first = mask.json(headers)
    assert json.loads(first) == [["x-one", "1"], ["x-two", "2"], ["x-one", "ÿ"], ["cookie", "•••• (3 bytes)"]]
    assert mask.json(headers) == first


def test_what_is_remembered_is_bounded():
    mask = HeaderMask()
    for number in range(3 * REMEMBERED):
        mask.json([(b"x-id", b"%d" % number), (b"x-long", b"v" * (REMEMBERED + 1) + b"%d" % number)])
    assert len(mask._known) <= REMEMBERED
    assert all(len(value) <= REMEMBERED for _, value in mask._known)


def test_what_is_remembered_is_small():
    mask = HeaderMask()
    mask.json([(b"x" * REMEMBERED, b"1"), (b"x-one", b"1" * REMEMBERED)])
    mask.json([(b"x-%d" % number, b"1") for number in range(3 * REMEMBERED)])
    assert len(mask._known) <= REMEMBERED
    assert all(len(name) + len(value) <= REMEMBERED for name, value in mask._known)
