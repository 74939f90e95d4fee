"""How a received body is shown: unchanged in substance, bounded in size."""

import json

import pytest

from config.payloads import HEXDUMP_BYTES, SHOWN_BYTES, hexdump, present, reindent


@pytest.mark.parametrize(
    "value", [{}, [], {"a": 1, "b": [1, {"c": None}], "d": {}}, ["x, y", "{", '"'], {"é": "☃"}, [[[]]], {"a:b": "c"}]
)
def test_indenting_gives_what_json_dumps_gives(value):
    text = json.dumps(value, ensure_ascii=False)
    assert reindent(text) == (json.dumps(value, indent=2, ensure_ascii=False), False)


def test_numbers_and_duplicate_keys_are_shown_as_they_were_sent():
    shown = present(b'{"n":1e131071,"n":0.10,"long":' + b"9" * 5000 + b"}")
    assert shown.kind == "json"
    assert '"n": 1e131071,\n  "n": 0.10,' in shown.text
    assert "9" * 5000 in shown.text


def test_a_long_body_is_cut_and_says_so():
    shown = present(json.dumps(["x" * 10] * 50_000).encode())
    assert shown.truncated
    assert len(shown.text) <= SHOWN_BYTES


def test_a_bomb_of_brackets_is_bounded():
    shown = present(b"[" * 500_000)
    assert len(shown.text) <= SHOWN_BYTES


def test_text_is_shown_as_text():
    assert present("héllo\n{".encode()).kind == "text"


@pytest.mark.parametrize("body", [b"\xff\xfe", b"\x1f\x8b\x08\x00", b"a\x00b"])
def test_what_is_no_text_is_dumped(body):
    assert present(body).kind == "binary"


def test_a_hexdump_line_has_offset_bytes_and_characters():
    assert hexdump(b"Hello, world\n\x00\xff.") == (
        "00000000  48 65 6c 6c 6f 2c 20 77  6f 72 6c 64 0a 00 ff 2e  |Hello, world...." + "|"
    )


def test_a_hexdump_is_bounded():
    shown = present(bytes(1_000_000))
    assert shown.truncated
    assert shown.text.count("\n") == HEXDUMP_BYTES // 16 - 1


def test_lone_surrogates_do_not_break_the_page():
    assert present({"a": "\ud800"}).text.encode()


@pytest.mark.parametrize("body", [None, b"", ""])
def test_nothing_is_empty(body):
    assert present(body).kind == "empty"
