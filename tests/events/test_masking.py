"""What of a header is kept."""

import pytest

from events.masking import MAX_TOTAL, masked_headers


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
    assert masked_headers([(name.encode(), b"hush-hush")]) == [[name, "•••• (9 bytes)"]]


@pytest.mark.parametrize("name", ["user-agent", "idempotency-key", "x-github-event", "content-type", "x-request-id"])
def test_others_are_shown(name):
    assert masked_headers([(name.encode(), b"value")]) == [[name, "value"]]


def test_the_sources_own_header_is_hidden():
    assert masked_headers([(b"x-proof", b"abc")], auth_headers=["X-Proof"]) == [["x-proof", "•••• (3 bytes)"]]


def test_bytes_become_text_that_can_be_stored():
    assert masked_headers([(b"x\x00", b"\xe9\x00")]) == [["x�", "é�"]]


def test_the_whole_is_bounded():
    kept = masked_headers([(b"x-%d" % n, b"v" * 5000) for n in range(100)])
    assert sum(len(name) + len(value) for name, value in kept) <= MAX_TOTAL + 100
    assert kept[-1][0] == "…"
