"""XML as events (spec P4): slices of the body, and the JSON form. `tests/attack/bodies.py` has the attacks."""

import random
from xml.etree import ElementTree

import pytest

from events.streams import MAX_DEPTH, Limits, StreamError, split, xml

DECLARED = b'<?xml version="1.0" encoding="UTF-8"?>\n'


def only(body, **settings):
    [item] = split(body, "xml", **settings)
    return item


def refusal(body, stream_type="xml", **settings):
    with pytest.raises(StreamError) as caught:
        split(body, stream_type, **settings)
    assert caught.value.detail
    return caught.value.status, caught.value.code, caught.value.index


@pytest.mark.spec("P4")
@pytest.mark.parametrize("stream_type", ["auto", "xml"])
@pytest.mark.parametrize(
    "body",
    [
        b"<a/>",
        b" \n<a></a>\n",
        DECLARED + b"<!-- c --><?pi x?><a/><!-- d -->\n",
        b"\xef\xbb\xbf" + DECLARED + b"<a/>",
        b"<?xml version='1.0' encoding='us-ascii' standalone='yes'?><a/>",
        b"<?xml version='1.0'?><a/>",
    ],
)
def test_a_document_is_one_event_byte_for_byte(body, stream_type):
    [item] = split(body, stream_type)
    assert (item.raw, item.content_type, item.problem, item.plain) == (body, "application/xml", "", False)
    assert item.parsed == {"a": ""}


@pytest.mark.spec("P4")
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"<a>text</a>", {"a": "text"}),
        (b"<a> \n text \t</a>", {"a": "text"}),
        (b"<a>1</a>", {"a": "1"}),
        (b'<a b="1"/>', {"a": {"@b": "1"}}),
        (b'<a b=" 1 ">text</a>', {"a": {"@b": " 1 ", "#text": "text"}}),
        (b"<a><b/></a>", {"a": {"b": ""}}),
        (b"<a>\n  <b>1</b>\n  <c>2</c>\n</a>", {"a": {"b": "1", "c": "2"}}),
        (b"<a><b>1</b><c/><b>2</b><b c='3'/></a>", {"a": {"b": ["1", "2", {"@c": "3"}], "c": ""}}),
        (b"<a>x<b/>y<b/>z</a>", {"a": {"b": ["", ""], "#text": "xyz"}}),
        (b"<a>&lt;&#233;&#x1F600;&amp;</a>", {"a": "<\u00e9\U0001f600&"}),
        (b"<a><![CDATA[<b>&amp;</b>]]> and</a>", {"a": "<b>&amp;</b> and"}),
        (b"<a>1<!-- 2 -->3<?p 4?></a>", {"a": "13"}),
        (b'<x:a xmlns:x="u" xmlns="v"><x:b/><c x:d="e"/></x:a>',
         {"x:a": {"@xmlns:x": "u", "@xmlns": "v", "x:b": "", "c": {"@x:d": "e"}}}),
        ("<\u00e9l\u00e9ment \u00e0='\u65e5'/>".encode(), {"\u00e9l\u00e9ment": {"@\u00e0": "\u65e5"}}),
    ],
)  # fmt: skip
def test_the_json_form(body, expected):
    assert only(body).parsed == expected


EVENTS = (
    DECLARED
    + """<r at="1">\n  <e/><e>\u00e9/></e ><e k="/"></e\n><f><e><e>in</e></e></f><e><![CDATA[</e>]]></e>
    <e><?p />?></e><e><!-- /> --></e><E/><x:e/> text <e k='>'>1</e></r>""".encode()
)


@pytest.mark.spec("P4")
@pytest.mark.parametrize("stream_type", ["auto", "xml"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"], ids=["", "mark"])
def test_each_element_of_the_name_is_an_event_byte_for_byte(stream_type, bom):
    items = split(bom + EVENTS, stream_type, xml_root="e")
    assert [item.raw for item in items] == [
        b"<e/>",
        "<e>\u00e9/></e >".encode(),
        b'<e k="/"></e\n>',
        b"<e><e>in</e></e>",
        b"<e><![CDATA[</e>]]></e>",
        b"<e><?p />?></e>",
        b"<e><!-- /> --></e>",
        b"<e k='>'>1</e>",
    ]
    assert [item.parsed["e"] for item in items] == [
        "", "\u00e9/>", {"@k": "/"}, {"e": "in"}, "</e>", "", "", {"@k": ">", "#text": "1"},
    ]  # fmt: skip


def test_a_prefix_belongs_to_the_name():
    assert [item.raw for item in split(b"<r><x:e>1</x:e><e/></r>", "xml", xml_root="x:e")] == [b"<x:e>1</x:e>"]


def test_the_document_itself_may_be_of_the_name():
    assert only(DECLARED + b"<e><e/></e>\n", xml_root="e").raw == b"<e><e/></e>"


@pytest.mark.parametrize("body", [b"<r/>", b"<r>\n</r>", b"<r a='1'><!-- --></r>"])
def test_a_document_that_is_empty_holds_no_events(body):
    assert split(body, "xml", xml_root="e") == []


@pytest.mark.parametrize("body", [b"<r><f/></r>", b"<r>text</r>", b"<r><E/></r>"])
def test_a_document_without_the_element_is_422(body):
    assert refusal(body, xml_root="e") == (422, "xml_root_missing", None)


@pytest.mark.spec("P4")
@pytest.mark.parametrize("stream_type", ["auto", "xml"])
@pytest.mark.parametrize(
    "body", [b"<a>", b"<a></b>", b"<a/><b/>", b"<a/>text", b"<a b=1/>", b"<a>&x;</a>", b"<a>\x00</a>", b"<a>\x01</a>"]
)
def test_broken_xml_is_400(body, stream_type):
    assert refusal(body, stream_type) == (400, "not_xml", None)


@pytest.mark.parametrize("body", [b"text", b'{"a":1}', b"<34>Oct 11", b"[]"])
def test_what_is_no_xml_is_400_where_xml_is_expected(body):
    assert refusal(body) == (400, "not_xml", None)


def test_a_broken_event_is_named():
    assert refusal(b"<r><e/><e><f></e></r>", xml_root="e") == (400, "not_xml", 1)


@pytest.mark.parametrize("encoding", ["ISO-8859-1", "UTF-16", "windows-1252", "UTF-7"])
def test_another_declared_encoding_is_refused_by_name(encoding):
    with pytest.raises(StreamError, match=encoding) as caught:
        split(f'<?xml version="1.0" encoding="{encoding}"?><a/>'.encode(), "xml")
    assert (caught.value.status, caught.value.code) == (400, "not_utf8")


def test_a_document_type_is_refused_in_expat_too(monkeypatch):
    """The search in front of the parser is one net; its handlers are the other."""
    monkeypatch.setattr(xml, "_PROLOG", xml.re.compile(rb"(?!)"))
    for body in (b"<!DOCTYPE a><a/>", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', b'<!DOCTYPE a SYSTEM "b"><a/>'):
        assert refusal(body) == (400, "xml_forbidden", None)


def test_a_document_type_is_refused_before_expat(monkeypatch):
    monkeypatch.setattr(xml.expat, "ParserCreate", None)
    for start in (b"", b"\xef\xbb\xbf", DECLARED, b"\n<!-- <a> --><?p ??>\r\n", b"<!---->" * 9):
        assert refusal(start + b"<!DOCTYPE a><a/>") == (400, "xml_forbidden", None)


# Bounds


def nested(levels):
    return b"<a>" * levels + b"</a>" * levels


def test_nesting_is_bounded():
    assert only(nested(MAX_DEPTH)).problem == ""
    assert "nested" in only(nested(MAX_DEPTH + 1)).problem
    assert "nested" in only(nested(500)).problem
    assert refusal(nested(501)) == (422, "too_deep", None)
    assert refusal(b"<r><e/>" + nested(500) + b"</r>", xml_root="e")[:2] == (422, "too_deep")


def test_the_nesting_of_a_projection_counts_arrays():
    def with_twins(levels):
        return b"<a/><a>" * levels + b"x" + b"</a>" * levels

    # {"r": {"a": ["", {"a": ["", ... "x"]}]}}: two for the document, two for each pair of twins but the last one's text
    assert only(b"<r>" + with_twins(31) + b"</r>").problem == ""
    assert "nested" in only(b"<r>" + with_twins(32) + b"</r>").problem


@pytest.mark.parametrize("body", [b"<a><b c='' d=''/></a>", b"<a><b/><c/><d/></a>"])
def test_elements_and_attributes_are_counted(body, monkeypatch):
    monkeypatch.setattr(xml, "MAX_NODES", 4)
    assert only(body)
    monkeypatch.setattr(xml, "MAX_NODES", 3)
    assert refusal(body) == (413, "too_many_nodes", None)


def test_events_are_counted_and_measured():
    body = b"<r><e/><e>12345</e></r>"
    assert len(split(body, "xml", xml_root="e", limits=Limits(items=2, item_bytes=12))) == 2
    assert refusal(body, xml_root="e", limits=Limits(items=1)) == (413, "too_many_events", 1)
    assert refusal(body, xml_root="e", limits=Limits(item_bytes=11)) == (413, "event_too_large", 1)
    assert refusal(body, limits=Limits(item_bytes=11)) == (413, "event_too_large", None)
    assert "larger" in only(body, limits=Limits(projection_bytes=11)).problem


@pytest.mark.parametrize("part", [b"<a " + b" " * 8_000_000, b"<a><!--" + b"-x" * 4_000_000])
def test_one_part_of_the_document_is_not_read_without_end(part):
    assert refusal(b"<r>" + part, xml_root="e")[:2] == (413, "event_too_large")


# An independent reading


def as_json(element):
    children = {}
    for child in element:
        children.setdefault(child.tag, []).append(as_json(child))
    value = {f"@{name}": text for name, text in element.attrib.items()}
    value |= {name: found[0] if len(found) == 1 else found for name, found in children.items()}
    text = ((element.text or "") + "".join(child.tail or "" for child in element)).strip()
    return (value | {"#text": text} if text else value) if value else text


def outermost(element, name):
    if element.tag == name:
        return [element]
    return [found for child in element for found in outermost(child, name)]


def test_random_documents_are_read_as_the_standard_library_reads_them():
    chance = random.Random(6)  # noqa: S311 - reproducible, not secret
    texts = [
        "",
        " ",
        "x",
        "/>",
        "\u00e9\n",
        "&lt;e/&gt;",
        "<![CDATA[</e>]]>",
        "<!-- <e> -->",
        "<?p <e/> />?>",
        "]]&gt;",
    ]

    def element(level):
        name = chance.choice("eab")
        tag = name + "".join(
            f" {key}='{chance.choice(['', '/', 'v>', '&quot;'])}'" for key in "kl" if chance.random() < 0.3
        )
        space = chance.choice(["", " ", "\n"])
        content = "".join(
            chance.choice(texts) + (element(level + 1) if level < 5 and chance.random() < 0.7 else "")
            for _ in range(chance.randrange(4))
        )
        return (
            f"<{tag}{space}/>" if not content and chance.random() < 0.5 else f"<{tag}{space}>{content}</{name}{space}>"
        )

    found = 0
    for _ in range(1500):
        body = f"<r>{element(0)}{element(0)}</r>".encode()
        document = ElementTree.fromstring(body)  # noqa: S314 - made here
        assert only(body).parsed == {"r": as_json(document)}
        expected = outermost(document, "e")
        if not expected:
            assert refusal(body, xml_root="e") == (422, "xml_root_missing", None)
            continue
        items = split(body, "xml", xml_root="e")
        assert [item.parsed for item in items] == [{"e": as_json(one)} for one in expected]
        for item in items:
            assert {"e": as_json(ElementTree.fromstring(item.raw))} == item.parsed  # noqa: S314 - made here
        found += len(items)
    assert found > 1500
