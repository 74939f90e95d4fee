"""Signature schemes as data: where the signature stands, and what was signed (spec P6, B3).

A *scheme* is a method's settings made ready for the hot path: everything that depends on them alone
is worked out once and kept. Two small languages, each a line of text in the settings:

    what is signed   a template over {body}, {timestamp}, {id}, {url} and {form}, such as
                     "{timestamp}.{body}" or "v0:{timestamp}:{body}"
    where it stands  "header:X-Timestamp", "element:t" (an item t=… of the signature's own header)
                     or "path:sent.at" (in the JSON body, which is signed)

{form} is Twilio's: name and value of every form field, sorted, glued together; for a body that is
no form it is empty, and the URL must then hold ``bodySHA256``, the hex SHA-256 of the body.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from sources.authentication.contract import InboundRequest, Refusal, clean_header_name

NOTHING = "none"  # a setting that is left out although it has a default
MAX_TEMPLATE = 128
MAX_SIGNATURES = 20  # in one header
MAX_ID_BYTES = 256
MAX_FORM_FIELDS = 1000

SEPARATORS = {"one": b"", "comma": b",", "space": b" "}

_DIGIT_BOUNDARIES = (("timestamp", "body"), ("body", "timestamp"))
_NEIGHBOURS = (*_DIGIT_BOUNDARIES, ("url", "body"), ("url", "form"))  # fields with nothing between them
_FIELDS = ("body", "timestamp", "id", "url", "form")
_FIELD = re.compile(r"\{([^{}]*)\}")
_WORD = re.compile(r"[A-Za-z0-9_-]{1,32}")
_PATH = re.compile(r"[^.\x00-\x1f]{1,64}(\.[^.\x00-\x1f]{1,64}){0,7}")


@dataclass(frozen=True)
class Place:
    """Where a value stands. ``kind`` is ``header``, ``element`` or ``path``."""

    kind: str
    name: str

    @classmethod
    def read(cls, text: str) -> "Place | None":
        kind, _, name = text.partition(":")
        return cls(kind, name) if name else None


class Presented(NamedTuple):
    """What a request brings to prove itself: its signatures without prefix, and what else was signed."""

    signatures: tuple[bytes, ...]
    timestamp: bytes = b""
    id: bytes = b""


@dataclass(frozen=True)
class Scheme:
    """How one source's signatures are read. ``parts`` alternates literal bytes and names of fields.

    ``width`` is the length of an encoded signature. ``implied`` is the prefix that may stand before
    it, in any case, where ``prefix`` is empty: ``sha256=``.
    """

    header: str
    prefix: bytes
    implied: bytes
    separator: bytes
    width: int
    template: str
    parts: tuple[bytes | str, ...]
    timestamp: Place | None
    id: Place | None
    tolerance: int

    @property
    def signs_body_alone(self) -> bool:
        return self.parts == ("body",)

    def read(self, request: InboundRequest) -> Presented:
        """The signatures of a request and the values signed with its body. Raises ``Refusal``."""
        value = request.only(self.header)
        elements = self._elements(value) if self.separator else ()
        signatures = self._signatures(elements) if self.separator else (self._unprefixed(value),)
        timestamp = identifier = b""
        if self.timestamp and self.timestamp.kind != "path":
            timestamp = self._timestamp(self.timestamp, request, elements)
        if self.id:
            identifier = self._id(self.id, request)
        return Presented(signatures, timestamp, identifier)

    def message(self, request: InboundRequest, presented: Presented) -> bytes:
        """The bytes that were signed. Raises ``Refusal``."""
        if self.signs_body_alone:
            return request.body
        pieces: list[bytes] = []
        for part in self.parts:
            if isinstance(part, bytes):
                pieces.append(part)
            elif part == "body":
                pieces.append(request.body)
            elif part == "timestamp":
                pieces.append(presented.timestamp)
            elif part == "id":
                pieces.append(presented.id)
            elif part == "url":
                pieces.append(_url(request))
            else:
                pieces.append(form_fields(request))
        self._check_apart(pieces)
        return b"".join(pieces)

    def moment(self, request: InboundRequest, presented: Presented) -> float | None:
        """When the request was signed, in POSIX seconds; None where the scheme does not tell."""
        if self.timestamp is None:
            return None
        text = presented.timestamp
        if self.timestamp.kind == "path":
            text = _number_at(self.timestamp.name, request.body)
        return int(text) / 1000 if len(text) > 11 else float(int(text))

    def check_age(self, request: InboundRequest, presented: Presented) -> None:
        """Refuse what was signed more than ``tolerance`` seconds ago, or ahead; 0 checks nothing."""
        if not self.tolerance:
            return
        moment = self.moment(request, presented)
        if moment is None:
            return
        ahead = moment - request.received_at
        if abs(ahead) <= self.tolerance:
            return
        reason = "timestamp_too_old" if ahead < 0 else "timestamp_ahead"
        words = f"{-ahead:.0f} s before" if ahead < 0 else f"{ahead:.0f} s after"
        raise Refusal(
            reason,
            f"It was signed {words} it arrived; {self.tolerance} s are allowed.",
            {"clock_difference": round(ahead), "tolerance": self.tolerance},
        )

    def _unprefixed(self, value: bytes) -> bytes:
        if self.prefix:
            if not value.startswith(self.prefix):
                raise Refusal(
                    "header_malformed",
                    f'The value of {self.header} ({len(value)} bytes) does not begin with "{self.prefix.decode()}".',
                )
            return value[len(self.prefix) :]
        if len(value) == self.width:
            return value
        head, equals, tail = value.partition(b"=")
        if equals and len(tail) >= self.width // 2:
            if head.lower() + equals == self.implied:
                return tail
            if re.fullmatch(rb"[A-Za-z0-9-]{1,16}", head):
                wanted = self.implied.decode().rstrip("=")
                raise Refusal("algorithm_mismatch", f"The signature was not made with {wanted}.")
        return value

    def _elements(self, value: bytes) -> tuple[bytes, ...]:
        found = tuple(item.strip(b" \t") for item in value.split(self.separator))
        if len(found) > MAX_SIGNATURES:
            raise Refusal("header_malformed", f"{self.header} has more than {MAX_SIGNATURES} elements.")
        return found

    def _signatures(self, elements: tuple[bytes, ...]) -> tuple[bytes, ...]:
        cut = len(self.prefix)
        found = tuple(item[cut:] for item in elements if item.startswith(self.prefix) and len(item) > cut)
        if not found:
            raise Refusal(
                "header_malformed",
                f'None of the {len(elements)} elements of {self.header} begins with "{self.prefix.decode()}".',
            )
        return found

    def _timestamp(self, place: Place, request: InboundRequest, elements: tuple[bytes, ...]) -> bytes:
        if place.kind == "header":
            text = request.only(place.name)
        else:
            start = place.name.encode() + b"="
            found = [item[len(start) :] for item in elements if item.startswith(start)]
            if len(found) != 1:
                raise Refusal(
                    "header_malformed", f"{self.header} has {len(found)} elements {place.name}=; one is needed."
                )
            text = found[0]
        return _posix(text, f"the {place.kind} {place.name}")

    def _id(self, place: Place, request: InboundRequest) -> bytes:
        """The message's id; what divides it from the rest of what is signed cannot stand in it."""
        found = request.only(place.name)
        if len(found) > MAX_ID_BYTES or not found.isascii() or any(one in found for one in self._id_dividers):
            raise Refusal("header_malformed", f"The value of {place.name} ({len(found)} bytes) is no message id.")
        return found

    @cached_property
    def _id_dividers(self) -> tuple[bytes, ...]:
        """The characters next to {id} in the template."""
        at = self.parts.index("id")
        before = b"".join(part[-1:] for part in self.parts[max(at - 1, 0) : at] if isinstance(part, bytes))
        after = b"".join(part[:1] for part in self.parts[at + 1 : at + 2] if isinstance(part, bytes))
        return tuple(one for one in (before, after) if one)

    def _check_apart(self, pieces: list[bytes]) -> None:
        """Refuse where bytes could move from one field into the next: both would be signed alike.

        A body next to a timestamp must not have a digit there; a URL has no query (which could
        swallow what follows it) and is followed by nothing that would continue it.
        """
        for left, right, before, after in zip(self.parts, self.parts[1:], pieces, pieces[1:], strict=False):
            digits = (left, right) in _DIGIT_BOUNDARIES and before[-1:].isdigit() and after[:1].isdigit()
            continued = left == "url" and after != b"" and (b"?" in before or after[:1] in (b"?", b"/"))
            if digits or continued:
                raise Refusal("signature_ambiguous", f"Where the {left!s} ends and what follows begins cannot be told.")


def form_fields(request: InboundRequest) -> bytes:
    """What stands for {form}. Raises ``Refusal`` for a body that is not covered by it."""
    query = parse_qsl(urlsplit(_url(request).decode("latin-1")).query, keep_blank_values=True)
    digests = [value for name, value in query if name == "bodySHA256"]
    types = request.values("Content-Type")
    form = len(types) == 1 and types[0].partition(b";")[0].strip().lower() == b"application/x-www-form-urlencoded"
    if digests and digests != [sha256(request.body).hexdigest()]:
        raise Refusal("signature_mismatch", "The bodySHA256 of the URL is not that of the body received.")
    if digests or not request.body:
        return b""
    if not form:
        raise Refusal("header_malformed", "The body is no form, and the URL does not tell its SHA-256 (bodySHA256).")
    try:
        fields = parse_qsl(
            request.body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS
        )
    except ValueError:
        raise Refusal("signature_ambiguous", "The form could not be read.") from None
    # A repeated field counts once for each of its values, as in Twilio's own libraries.
    return "".join(name + value for name, value in sorted(set(fields))).encode("utf-8", "replace")


def _url(request: InboundRequest) -> bytes:
    if not request.url:
        raise Refusal("url_unknown", "The URL is part of what is signed, and the server did not tell it.")
    return request.url.encode("utf-8", "replace")


def _posix(text: bytes, where: str) -> bytes:
    """POSIX seconds or milliseconds, as text without sign or fraction."""
    if not text.isdigit() or len(text) not in (9, 10, 11, 12, 13, 14):
        raise Refusal("timestamp_malformed", f"The value of {where} ({len(text)} bytes) is no POSIX time.")
    return text


def _number_at(path: str, body: bytes) -> bytes:
    """A whole number in a JSON body, by keys and array indexes joined by dots."""
    try:
        found: object = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal("timestamp_malformed", "The body is not JSON, so it has no timestamp.") from None
    for step in path.split("."):
        if isinstance(found, dict):
            found = found.get(step)
        elif isinstance(found, list) and step.isdigit() and int(step) < len(found):
            found = found[int(step)]
        else:
            found = None
    if isinstance(found, bool) or not isinstance(found, int | str):
        raise Refusal("timestamp_malformed", f"The body has no timestamp at {path}.")
    return _posix(str(found).encode("ascii", "replace"), path)


# ── What an admin types ──────────────────────────────────────────────────────────────────────────


def clean_template(given: object) -> str:
    """A template that covers the body, each field at most once."""
    if not isinstance(given, str):
        raise ValueError("Enter text.")
    text = given.strip()
    if len(text) > MAX_TEMPLATE:
        raise ValueError(f"Use at most {MAX_TEMPLATE} characters.")
    if not re.fullmatch(r"[\x20-\x7e]*", text):
        raise ValueError("Use letters, digits and ASCII punctuation.")
    fields = _FIELD.findall(text)
    if re.search(r"[{}]", _FIELD.sub("", text)):
        raise ValueError("A brace is not closed. Write {body}.")
    for name in fields:
        if name not in _FIELDS:
            known = ", ".join(f"{{{one}}}" for one in _FIELDS)
            raise ValueError(f"There is no {{{name}}}. Use {known}.")
        if fields.count(name) > 1:
            raise ValueError(f"Use {{{name}}} once.")
    if ("body" in fields) == ("form" in fields):
        raise ValueError(
            "Use either {body} or {form}."
            if "body" in fields
            else "It must have {body} in it, or {form} for form posts: what is not signed can be changed on the way."
        )
    parts = template_parts(text)
    for left, right in zip(parts, parts[1:], strict=False):
        if isinstance(left, str) and isinstance(right, str) and (left, right) not in _NEIGHBOURS:
            raise ValueError(f"Put a character, such as a full stop, between {{{left}}} and {{{right}}}.")
    if re.search(r"\{timestamp\}[0-9]|[0-9]\{timestamp\}", text):
        raise ValueError("A digit cannot stand next to {timestamp}.")
    return text


def template_fields(template: str) -> list[str]:
    return _FIELD.findall(template)


def template_parts(template: str) -> tuple[bytes | str, ...]:
    """Literal bytes and field names, in order: "v0:{body}" becomes (b"v0:", "body")."""
    parts: list[bytes | str] = []
    for index, piece in enumerate(_FIELD.split(template)):
        if index % 2:
            parts.append(piece)
        elif piece:
            parts.append(piece.encode())
    return tuple(parts)


def clean_timestamp(given: object) -> str:
    """``header:…``, ``element:…`` or ``path:…``; a bare name is a header."""
    return _clean_place(given, ("header", "element", "path"))


def clean_id(given: object) -> str:
    """``header:…``; a bare name is a header."""
    return _clean_place(given, ("header",))


def _clean_place(given: object, kinds: tuple[str, ...]) -> str:
    if not isinstance(given, str):
        raise ValueError("Enter text.")
    if given.strip().lower() == NOTHING:
        return NOTHING
    kind, colon, name = given.strip().partition(":")
    if not colon:
        kind, name = "header", kind
    name = name.strip()
    if kind not in kinds:
        raise ValueError(f"Write {' or '.join(f'{one}:…' for one in kinds)}.")
    if kind == "header":
        return f"header:{clean_header_name(name)}"
    if kind == "element" and not _WORD.fullmatch(name):
        raise ValueError("An element has a name of letters and digits: element:t.")
    if kind == "path" and not _PATH.fullmatch(name):
        raise ValueError("A path is made of keys joined by dots: path:sent.at.")
    return f"{kind}:{name}"


def clean_prefix(given: object) -> str:
    """What stands before a signature, exactly; a space at its end counts."""
    if not isinstance(given, str):
        raise ValueError("Enter text.")
    text = given.lstrip()
    if text.strip().lower() == NOTHING:
        return NOTHING
    if not re.fullmatch(r"[\x21-\x7e][\x20-\x7e]{0,31}", text):
        raise ValueError("Use at most 32 letters, digits and ASCII punctuation.")
    return text


def disagreements(cleaned: Mapping[str, object]) -> dict[str, str]:
    """What the settings of a scheme demand of one another."""
    errors: dict[str, str] = {}
    fields = template_fields(str(cleaned["signed"]))
    place = Place.read(str(cleaned["timestamp"]))
    if "timestamp" in fields and (place is None or place.kind == "path"):
        errors["timestamp"] = "Say where it stands: what is signed has {timestamp} in it."
    if place and place.kind != "path" and "timestamp" not in fields:
        errors["timestamp"] = "Add {timestamp} to what is signed, or anybody can change it on the way."
    if place and place.kind == "path" and "body" not in fields:
        errors["timestamp"] = "A path leads into a signed body: what is signed has no {body} in it."
    if place and place.kind == "element" and cleaned["signatures"] == "one":
        errors["signatures"] = "An element of the header is one of several: choose how they are divided."
    if ("id" in fields) != bool(Place.read(str(cleaned["id"]))):
        errors["id"] = (
            "Say where it stands: what is signed has {id} in it."
            if "id" in fields
            else "Add {id} to what is signed, or anybody can change it on the way."
        )
    separator = SEPARATORS.get(str(cleaned["signatures"]), b"").decode()
    if separator and separator in str(cleaned["prefix"]).replace(NOTHING, ""):
        errors["prefix"] = f"It cannot have a {cleaned['signatures']} in it, which divides the signatures."
    return errors
