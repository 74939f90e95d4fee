"""XML documents, or the elements of one name in a document, as events. Pure.

Constraints first:
- Nothing outside the body is ever fetched and nothing in it is defined: a document type declaration is refused, and
  with it entities, whether internal, external or parameters. It is refused before expat sees it, and again by handlers
  in expat, so that neither alone has to be right.
- UTF-8 only, declared or not: what the body's bytes mean must not depend on who reads them.
- Nesting, elements and attributes are counted. Nothing recurses.
- `Item.raw` is the slice of the body from the element's `<` to its last `>`. Prefixes that are declared further out are
  not declared in it. A whole document is the whole body.

The projection, which is JSON: `{name: value}` with the event's element. A value is
- text, for an element without attributes and children; white space at both ends is left out;
- else an object: attributes as `"@name"`, then children by name, then text as `"#text"` where there is any. A child
  that is repeated is an array, in order.
Names are kept as they are written, prefix and all; namespace declarations are attributes. CDATA is text. Comments and
processing instructions are left out.
"""

import re
from dataclasses import dataclass, field
from typing import NoReturn
from xml.parsers import expat

from events.streams.items import MAX_DEPTH, MAX_PARSE_DEPTH, XML_TYPE, Item, Limits, StreamError, too_deep

MAX_NODES = 100_000  # elements and attributes of a body

_FED = 1 << 18  # bytes at a time: the rest of a piece is still parsed after a handler has refused
_PROLOG = re.compile(rb"(?:\xef\xbb\xbf)?(?:[ \t\r\n]+|<\?.*?\?>|<!--.*?-->)*+", re.DOTALL)
_READABLE = frozenset(("utf-8", "utf8", "us-ascii", "ascii"))

Value = str | dict[str, object]


@dataclass(slots=True)
class _Element:
    """One that is open. `content` is what its object will hold."""

    name: str
    start: int
    content: dict[str, object] = field(default_factory=dict)
    text: list[str] = field(default_factory=list)


def documents(body: bytes, limits: Limits, root: str = "") -> list[Item]:
    """The body as one event, or with ``root`` each element of that name that is in no other such.

    A document whose own element is empty has no events. Raises ``StreamError``: 400 ``not_xml``, ``xml_forbidden``,
    ``not_utf8``; 422 ``xml_root_missing``, ``too_deep``; 413 ``too_many_nodes``.
    """
    if not root:
        limits.check_size(body, None)
    prolog = _PROLOG.match(body)
    if prolog and body.startswith(b"<!DOCTYPE", prolog.end()):
        raise _forbidden()
    return _Events(body, limits, root).read()


class _Events:
    def __init__(self, body: bytes, limits: Limits, root: str) -> None:
        self.body = body
        self.limits = limits
        self.root = root
        self.items: list[Item] = []
        self._level = 0
        self._nodes = 0
        self._is_bare = True  # the document's element has neither text nor children
        self._open: list[_Element] = []  # from the event's own element inwards; empty outside of events
        self._deepest = 0
        self._parser = parser = expat.ParserCreate("UTF-8", intern={})
        parser.buffer_text = True
        parser.ordered_attributes = True
        parser.XmlDeclHandler = self._declaration
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = _refuse
        parser.EntityDeclHandler = _refuse
        parser.UnparsedEntityDeclHandler = _refuse
        parser.ExternalEntityRefHandler = _refuse
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)

    def read(self) -> list[Item]:
        try:
            for position in range(0, len(self.body), _FED):
                self._parser.Parse(self.body[position : position + _FED], False)
                self._check_tag(position + _FED)
            self._parser.Parse(b"", True)
        except expat.ExpatError as error:
            what = expat.errors.messages.get(error.code, "malformed")
            detail = f"The body is not XML: {what} (line {error.lineno}, column {error.offset + 1})."
            raise StreamError(400, "not_xml", detail, self._index) from None
        if not self.items and not self._is_bare:
            detail = f"The source expects its events as elements “{self.root}”, and there are none."
            raise StreamError(422, "xml_root_missing", detail)
        return self.items

    def _check_tag(self, read: int) -> None:
        """One tag, comment or instruction is taken in whole: it must not be larger than an event."""
        waiting = read - self._parser.CurrentByteIndex
        if waiting > self.limits.item_bytes + _FED:
            detail = f"A part of the XML is larger than {self.limits.item_bytes} bytes."
            raise StreamError(413, "event_too_large", detail, self._index)

    @property
    def _index(self) -> int | None:
        return len(self.items) if self._open and self.root else None

    def _declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        if encoding is not None and encoding.lower() not in _READABLE:
            raise StreamError(400, "not_utf8", f"The XML is declared as {encoding[:40]}. Send it as UTF-8.")

    def _start(self, name: str, attributes: list[str]) -> None:
        self._level += 1
        self._nodes += 1 + len(attributes) // 2
        if self._nodes > MAX_NODES:
            detail = f"The XML has more than {MAX_NODES} elements and attributes."
            raise StreamError(413, "too_many_nodes", detail, self._index)
        if self._level > MAX_PARSE_DEPTH:
            raise too_deep(self._index)
        if self._level > 1:
            self._is_bare = False
        if not self._open:
            if self.root and name != self.root:
                return
            self.limits.check_count(len(self.items) + 1)
            self._deepest = 0
        element = _Element(name, self._parser.CurrentByteIndex)
        for number in range(0, len(attributes), 2):
            element.content["@" + attributes[number]] = attributes[number + 1]
        self._open.append(element)
        self._deepest = max(self._deepest, len(self._open))

    def _text(self, text: str) -> None:
        if self._open:
            self._open[-1].text.append(text)
        elif self._level == 1 and not text.isspace():
            self._is_bare = False

    def _end(self, name: str) -> None:
        self._level -= 1
        if not self._open:
            return
        element = self._open.pop()
        text = "".join(element.text).strip()
        value: Value = text
        if element.content:
            value = element.content
            if text:
                value["#text"] = text
        if self._open:
            _add(self._open[-1].content, name, value)
        else:
            self._finish(element, value)

    def _finish(self, element: _Element, value: Value) -> None:
        raw = self.body
        if self.root:
            raw = self.body[element.start : self._end_of(element)]
            self.limits.check_size(raw, len(self.items))
        document = {element.name: value}
        problem = ""
        if len(raw) > self.limits.projection_bytes:
            problem = self.limits.too_large()
        elif self._deepest * 2 >= MAX_DEPTH and _depth(document) > MAX_DEPTH:
            problem = f"The XML is nested deeper than the {MAX_DEPTH} levels kept for search."
        self.items.append(Item(raw, XML_TYPE, None if problem else document, problem))

    def _end_of(self, element: _Element) -> int:
        """Where the element ends. Expat tells where its end tag starts, or where `<name/>` has ended."""
        index = self._parser.CurrentByteIndex
        is_empty = not element.text and not any(not key.startswith("@") for key in element.content)
        if is_empty and self.body.endswith(b"/>", 0, index):
            return index
        return self.body.index(b">", index) + 1


def _add(content: dict[str, object], name: str, value: Value) -> None:
    known = content.get(name)
    if known is None:
        content[name] = value
    elif isinstance(known, list):
        known.append(value)
    else:
        content[name] = [known, value]


def _depth(value: object) -> int:
    """How deep objects and arrays nest. Iterative."""
    deepest = 0
    pending = [(value, 0)]
    while pending:
        one, level = pending.pop()
        deepest = max(deepest, level)
        if isinstance(one, dict):
            pending.extend((child, level + 1) for child in one.values())
        elif isinstance(one, list):
            pending.extend((child, level + 1) for child in one)
    return deepest


def _refuse(*_: object) -> NoReturn:
    raise _forbidden()


def _forbidden() -> StreamError:
    detail = "The XML has a document type declaration or entities, which are never read. Send it without."
    return StreamError(400, "xml_forbidden", detail)
