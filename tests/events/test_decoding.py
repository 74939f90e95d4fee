"""Opening compressed bodies (spec P3)."""

import gzip
import tracemalloc
import zlib

import pytest

from events.decoding import MAX_MEMBERS, DecodeError, open_body

MEGABYTE = 1_048_576
TEXT = b'{"hello": "world"}'


def refusal(body, encoding=None, max_output=MEGABYTE):
    with pytest.raises(DecodeError) as caught:
        open_body(body, encoding, max_output)
    assert caught.value.detail
    return caught.value.status, caught.value.code


@pytest.mark.parametrize("encoding", [None, b"", b"identity", b" Identity "])
def test_a_plain_body_stays_as_it_is(encoding):
    assert open_body(TEXT, encoding, MEGABYTE) == TEXT


@pytest.mark.spec("P3")
@pytest.mark.parametrize("encoding", [None, b"identity", b"gzip", b"GZIP", b"x-gzip"])
def test_gzip_is_recognised_by_content(encoding):
    assert open_body(gzip.compress(TEXT), encoding, MEGABYTE) == TEXT


def test_members_follow_one_another():
    body = b"".join(gzip.compress(b"part %d " % number) for number in range(MAX_MEMBERS))
    assert open_body(body, b"gzip", MEGABYTE).startswith(b"part 0 part 1 ")
    assert refusal(body + gzip.compress(b""), b"gzip") == (413, "too_many_members")


def test_members_larger_than_a_chunk_follow_one_another():
    noise = bytes(range(256)) * 400
    stored = gzip.compress(noise, compresslevel=0)
    assert open_body(stored * 3, None, MEGABYTE) == noise * 3


def test_zero_padding_after_the_last_member_is_ignored():
    assert open_body(gzip.compress(TEXT) + b"\x00" * 600, None, MEGABYTE) == TEXT


@pytest.mark.spec("P3")
@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(TEXT)[:-1],
        gzip.compress(TEXT)[:12],
        gzip.compress(TEXT)[:-8] + b"\x00" * 8,
        gzip.compress(TEXT) + b"garbage",
        gzip.compress(TEXT) + gzip.compress(TEXT)[:-4],
        b"\x1f\x8b\x08",
        b"\x1f\x8b\x08" + b"\xff" * 100,
    ],
)
def test_a_damaged_body_is_400(body):
    assert refusal(body) == (400, "body_corrupt")


@pytest.mark.parametrize("body", [TEXT, zlib.compress(TEXT), b""])
def test_gzip_that_was_declared_but_is_not_there_is_400(body):
    assert refusal(body, b"gzip") == (400, "encoding_wrong")


@pytest.mark.parametrize(
    "encoding", [b"br", b"deflate", b"zstd", b"gzip, gzip", b"gzip, br", b"\xff\x00\n", b"g" * 999]
)
def test_other_codings_are_415_and_named_safely(encoding):
    with pytest.raises(DecodeError) as caught:
        open_body(TEXT, encoding, MEGABYTE)
    assert caught.value.status == 415
    assert caught.value.detail.isprintable()
    assert len(caught.value.detail) < 120


@pytest.mark.parametrize("compress", [gzip.compress, bytes])
def test_the_limit_is_exact(compress):
    assert len(open_body(compress(b"x" * 1000), None, 1000)) == 1000
    assert refusal(compress(b"x" * 1001), None, 1000) == (413, "body_too_large")


def test_the_limit_covers_all_members_together():
    assert refusal(gzip.compress(b"x" * 600) * 2, None, 1000) == (413, "body_too_large")
    assert open_body(gzip.compress(b"x" * 500) * 2 + gzip.compress(b""), None, 1000)


def test_a_bomb_costs_no_more_memory_than_the_limit():
    bomb = gzip.compress(b"\x00" * (64 * MEGABYTE))
    tracemalloc.start()
    try:
        assert refusal(bomb) == (413, "body_too_large")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * MEGABYTE
