"""Bodies that somebody might send to break things, and what may come of each (P3, P4).

    for case in BODIES:
        body, headers = case.build(), case.headers      # bytes; {name: value}
        # to a source with case.stream_type and case.reading
        # the answer's status is one of case.statuses; a refusal has case.reason, where there is only one

Each fits into a request of 1 MB. Bombs are written by hand, so that a gigabyte need not be compressed first. 202 stands
where the body is kept: raw, and without a projection where PostgreSQL could not take it.
"""

import gzip
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

ROOM = 980_000  # bytes: a request of 1 MB with its headers
MIB = 1 << 20


@dataclass(frozen=True)
class BodyCase:
    """`reading` are the source's settings for reading a post."""

    name: str
    build: Callable[[], bytes]
    statuses: frozenset[int]
    reason: str = ""
    stream_type: str = "auto"
    headers: Mapping[str, str] = field(default_factory=dict)
    reading: Mapping[str, str] = field(default_factory=dict)


def kept(name: str, build: Callable[[], bytes], **fields) -> BodyCase:
    return BodyCase(name, cache(build), frozenset([202]), **fields)


def refused(name: str, build: Callable[[], bytes], status: int, reason: str, **fields) -> BodyCase:
    return BodyCase(name, cache(build), frozenset([status]), reason, **fields)


def full(piece: bytes, start: bytes = b"", end: bytes = b"") -> Callable[[], bytes]:
    """As many pieces as a request has room for."""
    return lambda: start + piece * ((ROOM - len(start) - len(end)) // len(piece)) + end


# Compressed


def zeros_deflated() -> bytes:
    """Raw deflate of 16 MB of zeros, 1,000:1, that can be repeated: a full flush ends it."""
    stream = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return stream.compress(bytes(16 * MIB)) + stream.flush(zlib.Z_FULL_FLUSH)


GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
LAST_DEFLATE_BLOCK = b"\x03\x00"


def gzip_bomb() -> bytes:
    block = zeros_deflated()
    return GZIP_HEADER + block * (ROOM // len(block) - 1) + LAST_DEFLATE_BLOCK + bytes(8)


def gzip_liar() -> bytes:
    """Says in its trailer that it is ten bytes long."""
    return GZIP_HEADER + zeros_deflated() * 4 + LAST_DEFLATE_BLOCK + bytes(4) + (10).to_bytes(4, "little")


def deflate_bomb() -> bytes:
    block = zeros_deflated()
    return b"\x78\x9c" + block * (ROOM // len(block) - 1) + LAST_DEFLATE_BLOCK + bytes(4)


ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
RAW, RLE = 0, 1


def zstd_block(kind: int, size: int, content: bytes = b"", *, last: bool = False) -> bytes:
    return (size << 3 | kind << 1 | last).to_bytes(3, "little") + content


def zstd_frame(blocks: bytes, window_log: int = 17, header: bytes = b"") -> bytes:
    """`blocks` lacks the last one, which is empty. `header` takes the place of the usual one."""
    usual = bytes([0, window_log - 10 << 3])
    return ZSTD_MAGIC + (header or usual) + blocks + zstd_block(RAW, 0, last=True)


RLE_BLOCK = zstd_block(RLE, 128 * 1024, b" ")  # 4 bytes for 128 KB
SKIPPABLE = b"\x50\x2a\x4d\x18"
CLAIMED = b"\xc0\x38" + (1 << 60).to_bytes(8, "little")  # a size of an exabyte


def twice(compress: Callable[[bytes], bytes]) -> Callable[[], bytes]:
    return lambda: compress(compress(bytes(50 * MIB)))


COMPRESSED = (
    refused("gzip 1,000:1", gzip_bomb, 413, "body_too_large"),
    refused("gzip that lies about its size", gzip_liar, 413, "body_too_large"),
    refused("gzip, 49,000 empty members", full(gzip.compress(b"", mtime=0)), 413, "too_many_members"),
    refused("gzip, zeros for padding between members", full(b"\x00", gzip.compress(b"{}", mtime=0), b"\x1f"), 400,
            "body_corrupt"),
    refused("gzip, a header and no end", full(b"a", GZIP_HEADER[:3] + b"\x08" + bytes(6)), 400, "body_corrupt"),
    refused("deflate 1,000:1", deflate_bomb, 413, "body_too_large", headers={"Content-Encoding": "deflate"}),
    refused("zstd 32,000:1", lambda: zstd_frame(RLE_BLOCK * 8192), 413, "body_too_large"),
    refused("zstd 32,000:1, window_log 23", lambda: zstd_frame(RLE_BLOCK * 8192, 23), 413, "body_too_large"),
    refused("zstd, window_log 27", lambda: zstd_frame(RLE_BLOCK, 27), 413, "window_too_large"),
    refused("zstd, window_log 31", lambda: zstd_frame(RLE_BLOCK, 31), 413, "window_too_large"),
    refused("zstd, window_log 41", lambda: zstd_frame(RLE_BLOCK, 41), 400, "body_corrupt"),
    refused("zstd, window_log 27 in the second frame", lambda: zstd_frame(b"") + zstd_frame(RLE_BLOCK, 27), 413,
            "window_too_large"),
    refused("zstd, a size that is not true", lambda: zstd_frame(RLE_BLOCK, header=CLAIMED), 413, "body_too_large"),
    refused("zstd, a size that is too small", lambda: zstd_frame(RLE_BLOCK * 99, header=b"\x40\x38\x00\x00"), 400,
            "body_corrupt"),
    refused("zstd, empty frames", full(zstd_frame(b"")), 413, "too_many_members"),
    refused("zstd, skippable frames", full(SKIPPABLE + bytes(4)), 413, "too_many_members"),
    refused("zstd, a skippable frame of 4 GB", lambda: SKIPPABLE + b"\xff" * 4 + b"{}", 400, "body_corrupt"),
    refused("zstd, empty blocks", full(zstd_block(RAW, 0), zstd_frame(b"")[:6]), 413, "too_many_members"),
    refused("zstd, blocks of one byte", full(zstd_block(RLE, 1, b" "), zstd_frame(b"")[:6]), 413, "too_many_members"),
    refused("zstd with a dictionary", lambda: zstd_frame(b"", header=b"\x01\x38\x07"), 400, "encoding_unsupported"),
    refused("gzip in gzip", twice(gzip.compress), 400, "encoding_nested"),
    refused("zstd in gzip", lambda: gzip.compress(zstd_frame(RLE_BLOCK * 8192)), 400, "encoding_nested"),
    refused("gzip in gzip, both declared", twice(gzip.compress), 415, "encoding_unsupported",
            headers={"Content-Encoding": "gzip, gzip"}),
    refused("a thousand codings", lambda: b"{}", 415, "encoding_unsupported",
            headers={"Content-Encoding": ",".join(["gzip"] * 1000)}),
)  # fmt: skip


# JSON

EVERY = ("auto", "json", "json_array")
DEEP = 100_000


def for_each_type(case: Callable[[str], BodyCase]) -> tuple[BodyCase, ...]:
    return tuple(case(stream_type) for stream_type in EVERY)


JSON = (
    *for_each_type(lambda kind: refused(
        f"{DEEP} open arrays ({kind})", lambda: b"[" * DEEP, 422, "too_deep", stream_type=kind)),
    *for_each_type(lambda kind: refused(
        f"{DEEP} arrays ({kind})", lambda: b"[" * DEEP + b"]" * DEEP, 422, "too_deep", stream_type=kind)),
    *for_each_type(lambda kind: refused(
        f"{DEEP} objects ({kind})", lambda: b'{"":' * DEEP + b"1" + b"}" * DEEP, 422, "too_deep", stream_type=kind)),
    refused("arrays and objects in turns", full(b'[{"":'), 422, "too_deep"),
    refused("deep behind a quotation mark in an escape", lambda: b'["\\\\\\"",' + b"[" * DEEP, 422, "too_deep"),
    kept("499 arrays", lambda: b"[" * 499 + b"]" * 499, stream_type="json"),
    kept("deep lines are text", lambda: b"[" * DEEP + b"\n" + b'{"":' * DEEP, stream_type="lines"),
    kept("a number of 5,000 digits", lambda: b'{"n":' + b"1" * 5000 + b"}"),
    kept("numbers of 5,000 digits", full(b"1" * 5000 + b",", b"[", b"1]"), stream_type="json"),
    kept("a number of a megabyte", full(b"1"), stream_type="json"),
    kept("a fraction of a megabyte", full(b"1", b"0."), stream_type="json"),
    kept("an exponent of a megabyte", full(b"1", b"1e"), stream_type="json"),
    kept("1e131071 again and again", full(b"1e131071,", b"[", b"1]"), stream_type="json"),
    kept("1e131071 as events", lambda: b"[" + b"1e131071," * 9000 + b"1]"),
    kept("1e308 again and again", full(b"1e308,", b"[", b"1]"), stream_type="json"),
    kept("1e-308 as lines", lambda: b"1e-308\n" * 9000),
    kept("-0, 1E+2, 1.000000000000000001", lambda: b"[-0,-0.0,1E+2,1.000000000000000001,0e0]", stream_type="json"),
    kept("NUL in a text", lambda: b'{"a":"\\u0000","\\u0000":1}'),
    kept("NUL in a text, as a line", lambda: b'{"a":"\\u0000"}\nx\x00y', stream_type="lines"),
    refused("NUL as it is", lambda: b'{"a":"\x00"}', 400, "not_json"),
    kept("lone surrogates", lambda: b'{"a":"\\ud800","b":"\\uDFFF\\ud800x"}'),
    refused("surrogates in UTF-8", lambda: b'{"a":"\xed\xa0\x80"}', 400, "not_utf8"),
    refused("overlong UTF-8", lambda: b'{"a":"\xc0\xaf"}', 400, "not_utf8"),
    kept("NaN and both infinities", lambda: b'{"a":NaN,"b":[Infinity,-Infinity]}'),
    kept("noncharacters", lambda: b'{"a":"\\uffff\xef\xbf\xbe\xf4\x8f\xbf\xbf"}'),
    kept("repeated keys", lambda: b'{"a":1,"a":2,"a":{"b":1,"b":[]}}'),
    kept("a key repeated a hundred thousand times", full(b'"a":1,', b"{", b'"a":2}')),
    kept("keys without end", lambda: json.dumps({str(number): 1 for number in range(60_000)}).encode()),
    refused("a megabyte of [] (auto)", full(b"[],", b"[", b"[]]"), 413, "too_many_events"),
    kept("a megabyte of [] (json)", full(b"[],", b"[", b"[]]"), stream_type="json"),
    refused("a megabyte of [] without commas", full(b"[]"), 400, "not_json"),
    refused("a megabyte of {}", full(b"{}"), 413, "too_many_events", stream_type="json"),
    refused("a megabyte of {}, broken at its end", full(b"{}", b"", b"{"), 413, "too_many_events"),
    refused("a megabyte of lines", full(b"1\n"), 413, "too_many_events", stream_type="lines"),
    kept("a megabyte of line feeds", full(b"\n", b"", b"1"), stream_type="lines"),
    kept("a megabyte of carriage returns", full(b"\r", b"", b"1"), stream_type="lines"),
    refused("a megabyte of blank space", full(b" \r\n\t"), 400, "body_empty"),
    refused("nine thousand good lines and a broken one", lambda: b'{"a":1}\n' * 9000 + b"{", 400, "not_json"),
    kept("a megabyte of escapes", full(b"\\u00e9", b'"', b'"'), stream_type="json"),
    kept("a megabyte of escaped pairs", full(b"\\ud83d\\ude00", b'["', b'"]')),
    kept("a megabyte of backslashes", full(b"\\\\", b'["', b'"]')),
    refused("a megabyte of backslashes without an end", full(b"\\", b'["'), 400, "not_json"),
    refused("a megabyte of quotation marks", full(b'"', b"["), 400, "not_json"),
    refused("a megabyte of commas", full(b",", b"["), 400, "not_json"),
    refused("a megabyte of colons", full(b'{"":'), 422, "too_deep"),
    refused("UTF-16", lambda: '{"a": "é"}'.encode("utf-16"), 400, "not_utf8"),
    refused("UTF-32 without a mark", lambda: '{"a": "é"}'.encode("utf-32-be"), 400, "not_utf8"),
    kept("UTF-8 with a mark", lambda: b'\xef\xbb\xbf{"a": 1}'),
    refused("an envelope that is deep", lambda: b'{"a":' * DEEP, 422, "too_deep", stream_type="json_array",
            reading={"envelope": "a.a.a"}),
    refused("an envelope of many keys", full(b'"b":0,', b"{", b'"c":1}'), 413, "too_many_fields",
            stream_type="json_array", reading={"envelope": "a.0"}),
    refused("a form of many fields", full(b"a=1&"), 413, "too_many_fields",
            headers={"Content-Type": "application/x-www-form-urlencoded"}),
    refused("a form whose payload is deep", lambda: b"payload=" + b"%5B" * DEEP, 422, "too_deep",
            headers={"Content-Type": "application/x-www-form-urlencoded"}),
    kept("equals signs that make no form", full(b"=", b"", b" x"),
         headers={"Content-Type": "application/x-www-form-urlencoded"}),
    kept("a form with NUL", lambda: b"a=%00&%00=b", headers={"Content-Type": "application/x-www-form-urlencoded"}),
)  # fmt: skip


# XML


def laughs(levels: int = 12) -> bytes:
    entities = "".join(f'<!ENTITY l{level} "{f"&l{level - 1};" * 10}">' for level in range(1, levels))
    return f'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY l0 "ha">{entities}]><l>&l{levels - 1};</l>'.encode()


def with_doctype(declarations: str, content: str = "x") -> Callable[[], bytes]:
    return lambda: f'<?xml version="1.0"?>\n<!-- > --><?p <!?>\n<!DOCTYPE r [{declarations}]><r>{content}</r>'.encode()


def forbidden(name: str, build: Callable[[], bytes]) -> tuple[BodyCase, ...]:
    return tuple(refused(f"{name} ({kind})", build, 400, "xml_forbidden", stream_type=kind) for kind in ("auto", "xml"))


XML_TREE = b"<a>" * 200_000 + b"</a>" * 100_000
XML = (
    *forbidden("billion laughs", laughs),
    *forbidden("quadratic blowup", with_doctype(f'<!ENTITY a "{"a" * 100_000}">', "&a;" * 100_000)),
    *forbidden("external entity", with_doctype('<!ENTITY x SYSTEM "file:///etc/passwd">', "&x;")),
    *forbidden("external entity over HTTP", with_doctype('<!ENTITY x SYSTEM "http://127.0.0.1/">', "&x;")),
    *forbidden("external DTD", lambda: b'<!DOCTYPE r SYSTEM "http://127.0.0.1/x.dtd"><r/>'),
    *forbidden("external DTD, public", lambda: b'\xef\xbb\xbf<!DOCTYPE r PUBLIC "-//x" "http://127.0.0.1/x.dtd"><r/>'),
    *forbidden("parameter entities", with_doctype('<!ENTITY % a SYSTEM "http://127.0.0.1/"> %a; %b;')),
    *forbidden("parameter entities that recurse", with_doctype('<!ENTITY % a "&#37;b;"><!ENTITY % b "&#37;a;"> %a;')),
    *forbidden("unparsed entity", with_doctype('<!NOTATION n SYSTEM "n"><!ENTITY x SYSTEM "f" NDATA n>')),
    *forbidden("default attributes", with_doctype('<!ATTLIST r a CDATA "x">')),
    *forbidden("a bare DOCTYPE", lambda: b"<!DOCTYPE r><r/>"),
    refused("an entity that nobody declared", lambda: b"<r>&x;</r>", 400, "not_xml"),
    refused("a second DOCTYPE after the end", lambda: b"<r/><!DOCTYPE r>", 400, "not_xml"),
    refused("depth 200,000", lambda: XML_TREE[:ROOM], 422, "too_deep", stream_type="xml"),
    refused("depth 200,000 inside events", lambda: b"<r>" + XML_TREE[: ROOM - 3], 422, "too_deep", stream_type="xml",
            reading={"xml_element": "a"}),
    kept("depth 499", lambda: b"<a>" * 499 + b"</a>" * 499),
    refused("a megabyte of attributes",
            lambda: b"<r " + b" ".join(b'a%05d=""' % number for number in range(97_000)) + b"/>" + b"<" * 9, 400,
            "not_xml"),
    kept("ninety thousand attributes",
         lambda: b"<r " + b" ".join(b'a%d=""' % number for number in range(90_000)) + b"/>"),
    refused("a repeated attribute", full(b' a=""', b"<r", b"/>"), 400, "not_xml"),
    refused("a megabyte of elements", full(b"<a/>", b"<r>", b"</r>"), 413, "too_many_nodes"),
    refused("a megabyte of events", full(b"<a/>", b"<r>", b"</r>"), 413, "too_many_events", stream_type="xml",
            reading={"xml_element": "a"}),
    kept("names without end", lambda: b"<r>" + b"".join(b"<a%d/>" % number for number in range(80_000)) + b"</r>"),
    kept("a name of a megabyte", full(b"a", b"<", b"/>")),
    kept("a text of a megabyte", full(b"x", b"<r>", b"</r>")),
    kept("a megabyte of character references", full(b"&#65;", b"<r>", b"</r>")),
    kept("namespaces without end",
         lambda: b"<r " + b" ".join(b'xmlns:a%d="u"' % number for number in range(45_000)) + b"/>"),
    kept("a prefix that nobody declared", lambda: b"<a:b c:d='e'/>"),
    kept("instructions without end", full(b"<?a?>", b"", b"<r/>")),
    kept("comments without end", full(b"<!---->", b"", b"<r/>")),
    refused("comments that are not closed", full(b"<!--"), 400, "not_xml"),
    refused("instructions that are not closed", full(b"<?a "), 400, "not_xml"),
    kept("CDATA without end", full(b"<![CDATA[]]>", b"<r>", b"</r>")),
    kept("CDATA that looks like a DOCTYPE", lambda: b"<r><![CDATA[<!DOCTYPE r [<!ENTITY a 'b'>]>]]></r>"),
    refused("CDATA that is not closed", full(b"<![CDATA[", b"<r>"), 400, "not_xml"),
    kept("a stylesheet from elsewhere", lambda: b'<?xml-stylesheet href="http://127.0.0.1/x.xsl"?><r/>'),
    kept("an inclusion from elsewhere",
         lambda: b'<r xmlns:i="http://www.w3.org/2001/XInclude"><i:include href="file:///etc/passwd"/></r>'),
    kept("a schema from elsewhere",
         lambda: b'<r xmlns:x="http://www.w3.org/2001/XMLSchema-instance" x:schemaLocation="u http://127.0.0.1/"/>'),
    refused("UTF-16 XML", lambda: '<?xml version="1.0" encoding="UTF-16"?><r/>'.encode("utf-16"), 400, "not_utf8"),
    refused("UTF-7, declared", lambda: b'<?xml version="1.0" encoding="UTF-7"?><r>+ADw-/r+AD4-</r>', 400, "not_utf8"),
    refused("Latin-1, declared", lambda: b'<?xml version="1.0" encoding="ISO-8859-1"?><r/>', 400, "not_utf8"),
    refused("a reference to NUL", lambda: b"<r>&#0;</r>", 400, "not_xml"),
    refused("a reference to a surrogate", lambda: b"<r>&#xD800;</r>", 400, "not_xml"),
)  # fmt: skip

BODIES = (*COMPRESSED, *JSON, *XML)
