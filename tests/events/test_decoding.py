"""Opening compressed bodies (spec P3)."""

import gzip
import random
import zlib

import pytest
import zstandard

from events import decoding
from events.decoding import KEPT_BYTES, MAX_BLOCKS, MAX_MEMBERS, MAX_WINDOW, DecodeError, open_body

MEGABYTE = 1_048_576
TEXT = b'{"hello": "world"}'


def raw_deflate(data):
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


def zstd_stream(data, piece=0, **parameters):
    """Written as a stream, so its header does not tell its size; flushed after each `piece` bytes."""
    stream = zstandard.ZstdCompressor(**parameters).compressobj()
    output = b""
    for position in range(0, len(data), piece) if piece else ():
        output += stream.compress(data[position : position + piece]) + stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    return output + (b"" if piece else stream.compress(data)) + stream.flush()


def with_window(log):
    return zstandard.ZstdCompressionParameters.from_level(3, window_log=log)


def zstd_frame(*blocks, header=b"\x00\x58"):
    """A frame of blocks `(type, size, content)`; the header has a window of 2 MB, no size and no checksum."""
    output = b"\x28\xb5\x2f\xfd" + header
    for number, (kind, size, content) in enumerate(blocks, 1):
        output += (size << 3 | kind << 1 | (number == len(blocks))).to_bytes(3, "little") + content
    return output


SKIPPABLE = b"\x5f\x2a\x4d\x18\x03\x00\x00\x00any"


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


@pytest.mark.spec("P3")
@pytest.mark.parametrize("encoding", [None, b"identity", b"zstd", b" ZSTD ", b"identity, zstd"])
@pytest.mark.parametrize(
    "body",
    [
        zstandard.compress(TEXT),
        zstandard.ZstdCompressor(write_checksum=True).compress(TEXT),
        zstandard.ZstdCompressor(write_content_size=False).compress(TEXT),
        zstd_stream(TEXT),
        zstd_stream(TEXT, piece=5),
        zstd_stream(TEXT, level=19),
        zstandard.compress(TEXT, 22),
        SKIPPABLE + zstandard.compress(TEXT) + SKIPPABLE,
        zstandard.compress(TEXT[:7]) + SKIPPABLE + zstd_stream(TEXT[7:], write_checksum=True),
        zstd_frame((0, 7, TEXT[:7]), (0, 0, b""), (0, 11, TEXT[7:])),
    ],
    ids=[
        "one",
        "checksum",
        "no size",
        "stream",
        "flushed",
        "level 19",
        "level 22",
        "skippable",
        "frames",
        "raw blocks",
    ],
)
def test_zstd_is_recognised_by_content(body, encoding):
    assert open_body(body, encoding, MEGABYTE) == TEXT


@pytest.mark.spec("P3")
@pytest.mark.parametrize("compress", [zlib.compress, raw_deflate], ids=["zlib", "raw"])
def test_deflate_has_to_be_declared(compress):
    assert open_body(compress(TEXT), b"deflate", MEGABYTE) == TEXT
    assert open_body(compress(TEXT), None, MEGABYTE) == compress(TEXT)


@pytest.mark.parametrize("level", range(10))
@pytest.mark.parametrize("strategy", range(5))
def test_raw_deflate_is_never_taken_for_zlib(level, strategy):
    for data in (b"", b"{}", TEXT * 9, bytes(range(256)) * 300):
        stream = zlib.compressobj(level, wbits=-zlib.MAX_WBITS, strategy=strategy)
        assert open_body(stream.compress(data) + stream.flush(), b"deflate", MEGABYTE) == data


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
        zstandard.compress(TEXT)[:-1],
        zstandard.compress(TEXT)[:5],
        zstandard.compress(TEXT) + b"garbage",
        zstandard.compress(TEXT) + b"\x00",
        zstandard.compress(TEXT) + zstandard.compress(TEXT)[:-1],
        zstandard.ZstdCompressor(write_checksum=True).compress(TEXT)[:-1],
        zstandard.ZstdCompressor(write_checksum=True).compress(TEXT)[:-4] + b"\x00" * 4,
        zstd_frame((0, 18, TEXT))[:-1],
        zstd_frame((0, 18, TEXT), header=b"\x20\x11"),  # said to be 17 bytes
        zstd_frame((0, 18, TEXT), header=b"\x20\x13"),
        zstd_frame((3, 18, TEXT)),  # a reserved type of block
        zstd_frame((2, 18, TEXT)),
        b"\x28\xb5\x2f\xfd",
        b"\x28\xb5\x2f\xfd" + b"\x08" * 30,
        SKIPPABLE[:-1],
        SKIPPABLE[:6],
    ],
)
def test_a_damaged_body_is_400(body):
    assert refusal(body) == (400, "body_corrupt")


@pytest.mark.parametrize(
    "body", [zlib.compress(TEXT)[:-1], zlib.compress(TEXT) + b"x", raw_deflate(TEXT)[:-1], b"\xff" * 9, b"", TEXT]
)
def test_damaged_deflate_is_400(body):
    assert refusal(body, b"deflate") == (400, "body_corrupt")


@pytest.mark.spec("P3")
@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (TEXT, b"gzip"),
        (zlib.compress(TEXT), b"gzip"),
        (b"", b"gzip"),
        (zstandard.compress(TEXT), b"gzip"),
        (TEXT, b"zstd"),
        (b"", b"zstd"),
        (gzip.compress(TEXT), b"zstd"),
        (gzip.compress(TEXT), b"deflate"),
        (zstandard.compress(TEXT), b"deflate"),
    ],
)
def test_a_coding_that_was_declared_but_is_not_there_is_400(body, encoding):
    assert refusal(body, encoding) == (400, "encoding_wrong")


@pytest.mark.parametrize(
    "encoding", [b"br", b"compress", b"gzip, gzip", b"gzip, zstd", b"deflate,gzip", b"\xff\x00\n", b"g" * 999]
)
def test_other_codings_are_415_and_named_safely(encoding):
    with pytest.raises(DecodeError) as caught:
        open_body(TEXT, encoding, MEGABYTE)
    assert caught.value.status == 415
    assert caught.value.detail.isprintable()
    assert len(caught.value.detail) < 120


@pytest.mark.parametrize("inner", [gzip.compress, zstandard.compress], ids=["gzip inside", "zstd inside"])
@pytest.mark.parametrize("outer", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_what_is_compressed_twice_is_opened_once_and_refused(inner, outer):
    assert refusal(outer(inner(TEXT))) == (400, "encoding_nested")


def test_a_zstd_body_that_needs_a_dictionary_is_refused():
    assert refusal(zstd_frame((0, 18, TEXT), header=b"\x01\x58\x07")) == (400, "encoding_unsupported")


@pytest.mark.parametrize(
    "compress", [gzip.compress, bytes, zstandard.compress, zstd_stream], ids=["gzip", "none", "zstd", "zstd stream"]
)
def test_the_limit_is_exact(compress):
    assert len(open_body(compress(b"x" * 1000), None, 1000)) == 1000
    assert refusal(compress(b"x" * 1001), None, 1000) == (413, "body_too_large")


def test_the_limit_covers_all_members_together():
    assert refusal(gzip.compress(b"x" * 600) * 2, None, 1000) == (413, "body_too_large")
    assert open_body(gzip.compress(b"x" * 500) * 2 + gzip.compress(b""), None, 1000)


@pytest.mark.parametrize("size", [KEPT_BYTES - 1, KEPT_BYTES, KEPT_BYTES + 1, 2 * KEPT_BYTES - 1])
@pytest.mark.parametrize("compress", [gzip.compress, zstd_stream], ids=["gzip", "zstd"])
def test_what_was_only_counted_at_first_is_there_in_the_end(compress, size):
    data = bytes(range(256)) * (size // 256 + 1)
    assert open_body(compress(data[:size]), None, 2 * KEPT_BYTES) == data[:size]


# What a few bytes may ask for; `test_bombs` has the rest


def test_a_window_is_bounded_before_it_is_made():
    body = zstd_stream(TEXT, compression_params=with_window(23))
    assert zstandard.get_frame_parameters(body).window_size == MAX_WINDOW
    assert open_body(body, None, MEGABYTE) == TEXT
    assert refusal(zstd_stream(TEXT, compression_params=with_window(24))) == (413, "window_too_large")
    assert refusal(body + zstd_stream(TEXT, compression_params=with_window(27))) == (413, "window_too_large")


def test_a_size_that_a_frame_claims_is_refused_at_once(monkeypatch):
    monkeypatch.setattr(decoding, "_frames", None)
    claimed = zstd_frame((0, 18, TEXT), header=b"\xc0\x58" + (2**62).to_bytes(8, "little"))
    assert refusal(claimed) == (413, "body_too_large")


def test_frames_and_blocks_are_counted():
    frame = zstandard.compress(b"a")
    assert open_body(frame * MAX_MEMBERS, None, MEGABYTE) == b"a" * MAX_MEMBERS
    assert refusal(frame * (MAX_MEMBERS + 1)) == (413, "too_many_members")
    assert refusal(SKIPPABLE * (MAX_MEMBERS + 1)) == (413, "too_many_members")
    blocks = zstd_frame(*[(0, 1, b"a")] * MAX_BLOCKS)
    assert open_body(blocks, None, MEGABYTE) == b"a" * MAX_BLOCKS
    assert refusal(blocks + frame) == (413, "too_many_members")


def test_the_walk_over_zstd_agrees_with_the_library_on_random_bodies():
    """What the walk lets through is opened without an error, but for damage inside of blocks."""
    chance = random.Random(5)  # noqa: S311 - reproducible, not secret
    opened = 0
    for _ in range(400):
        expected, body = b"", b""
        for _ in range(chance.randrange(1, 5)):
            if chance.random() < 0.2:
                size = chance.randrange(9)
                body += b"\x50\x2a\x4d\x18" + size.to_bytes(4, "little") + chance.randbytes(size)
                continue
            data = chance.randbytes(chance.randrange(50)) * chance.randrange(4000)
            expected += data
            parameters = {"level": chance.randrange(1, 12), "write_checksum": chance.random() < 0.5}
            body += zstd_stream(data, piece=chance.choice((0, 5000)), **parameters)
        assert open_body(body, None, MEGABYTE) == expected
        with pytest.raises(DecodeError) as caught:
            open_body(body[:-1], None, MEGABYTE)
        assert caught.value.code in ("body_corrupt", "encoding_wrong")
        opened += len(expected)
    assert opened > MEGABYTE
