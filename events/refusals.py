"""Why senders fail, in one look (B5): refusals by source and reason, and for one of them what was expected beside
what came.

Nothing here knows a secret. `Receipt.evidence` holds names, counts and the beginnings of signatures, headers are
stored masked, and of the body the first 4 KB are kept.
"""

import re
import zlib
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings

from events.looking import look
from events.models import Receipt
from events.reasons import explain
from events.search import ReceiptFilter
from sources.models import Source
from tenants.ids import time_of

LOOKED = 20_000  # of the newest refusals that fit
FIRST_BYTES = 64
EXCERPT = 30  # characters on either side of a mistake

_COMPARE = (
    "Compare the secret that the sender holds with the last four characters shown at the source. If in doubt, rotate "
    "the source's secret with an overlap and give the sender the new one."
)
_CLOCK = (
    "Set the sender's clock by a time server, and see that it signs each attempt anew instead of repeating an old one."
)
_SCRIPT = "See how the sender makes its tokens: the source's page has a script that works."
_FORM = "See the body in the receipt. Correct what the sender writes, or choose another format at the source."
_COMPRESSED = (
    "Have the sender compress the body once, with gzip, zstd or deflate, and declare just that; or not at all."
)
_SMALLER = "Have the sender send less at a time."

NEXT_STEPS = {
    "header_missing": "Set up the sender to send this header. If it does, look whether a proxy on the way removes it: "
    "its receipt lists the headers that came.",
    "header_duplicated": "Find what adds the header a second time, often a proxy, and have it sent once.",
    "header_malformed": "Compare the header's form with the source's settings: its prefix, its encoding, its parts.",
    "scheme_wrong": "Have the sender use the scheme that the source's page names, or change the source's method.",
    "credentials_malformed": "Have the sender write them as RFC 7617 says: base64 of user:password in UTF-8.",
    "secret_mismatch": _COMPARE,
    "signature_mismatch": "Sign the body's bytes just as they are sent, before anything reformats them. " + _COMPARE,
    "signature_ambiguous": "Have the sender send one signature.",
    "algorithm_mismatch": "Choose the same algorithm at the sender and at the source.",
    "no_secret": "Rotate the source's secret to make a new one, and give it to the sender.",
    "secret_unreadable": "Restore the portal's keyring, or rotate the source's secret.",
    "url_unknown": "Set PORTAL_URL to the address that senders use: it is part of what is signed.",
    "timestamp_malformed": "Compare the form of the sender's timestamp with the source's settings.",
    "timestamp_too_old": _CLOCK,
    "timestamp_ahead": _CLOCK,
    "key_unknown": "Give the sender the source's present key id: it changes when the secret is rotated.",
    "token_malformed": _SCRIPT,
    "token_expired": _CLOCK,
    "token_too_old": _CLOCK,
    "token_not_yet_valid": _CLOCK,
    "token_unbounded": "Have the sender put iat, exp or Timestamp into the token.",
    "token_replayed": "Have the sender make a new token, with a jti of its own, for each request.",
    "jti_missing": "Have the sender put a jti into each token, or switch off that tokens are accepted once only.",
    "jwt_required": "The workspace demands a token of every sender: see Settings.",
    "claim_malformed": _SCRIPT,
    "claims_mismatch": "Claims that are named like fields of the body must have just their values. Have the sender "
    "make the token from the body that it sends.",
    "address_not_allowed": "Add the sender's address to the source's allowed networks, if it is the sender's.",
    "rate_limited": "Raise the source's limit, or have the sender slow down: it was told when to come again.",
    "content_type_not_allowed": "Have the sender declare one of the source's content types, or allow this one.",
    "site_unknown": "Create the site, or correct the end of the URL that the sender uses.",
    "source_paused": "Resume the source. Senders that try again lose nothing.",
    "tenant_suspended": "Ask the portal's operators.",
    "method_not_allowed": "Have the sender use POST.",
    "length_missing": "Have the sender tell the length in Content-Length, or serve the portal through ASGI.",
    "request_too_large": _SMALLER,
    "body_too_large": _SMALLER,
    "body_empty": "Have the sender send a body. A redirect on the way may drop it: use the very URL of the source.",
    "body_corrupt": _COMPRESSED,
    "encoding_wrong": _COMPRESSED,
    "encoding_unsupported": _COMPRESSED,
    "encoding_nested": _COMPRESSED,
    "too_many_members": _COMPRESSED,
    "window_too_large": _COMPRESSED,
    "not_utf8": "Have the sender write UTF-8.",
    "not_json": _FORM,
    "not_an_array": _FORM,
    "envelope_missing": "Compare the place of the events at the source with the body in the receipt.",
    "not_xml": _FORM,
    "xml_forbidden": "Have the sender leave out the DOCTYPE.",
    "xml_root_missing": "Compare the element's name at the source with the body in the receipt.",
    "too_many_nodes": _SMALLER,
    "too_many_fields": _SMALLER,
    "too_deep": "Have the sender nest less.",
    "too_many_events": _SMALLER,
    "event_too_large": _SMALLER,
}

_MAGIC = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\xef\xbb\xbf", "text with a byte order mark"))
_WIDE = ((b"\xff\xfe", "UTF-16 or UTF-32"), (b"\xfe\xff", "UTF-16"), (b"\x00\x00\xfe\xff", "UTF-32"))
_POSITION = re.compile(r"\(character (\d{1,9})\)")


def next_step(reason: str) -> str:
    """What an admin does about it; empty where nobody can say."""
    return NEXT_STEPS.get(reason, "")


@dataclass(frozen=True)
class Group:
    """Refusals of one source for one reason. `example` is the newest."""

    source: Source | None
    reason: str
    status_code: int
    count: int
    suppressed: int
    first_seen: datetime
    last_seen: datetime
    example: UUID

    @property
    def explanation(self) -> str:
        return explain(self.reason)

    @property
    def next_step(self) -> str:
        return next_step(self.reason)


@dataclass(frozen=True)
class Summary:
    """`searched_to` is the moment back to which was looked, where there are more than that."""

    groups: list[Group]
    looked: int
    searched_to: datetime | None


def groups_of(asked: ReceiptFilter) -> Summary:
    """Of the newest LOOKED refusals that fit, the most frequent first. Raises TooSlow."""
    rows = Receipt.objects.only("pk", "source_id", "reason", "status_code", "suppressed")
    query = asked.data.copy()
    query["status"] = Receipt.Status.REFUSED
    found = look(ReceiptFilter(query, queryset=rows), LOOKED)
    gathered: dict[tuple[UUID, str], list[Receipt]] = {}
    for receipt in found.rows:
        gathered.setdefault((receipt.source_id, receipt.reason), []).append(receipt)
    sources = Source.objects.in_bulk({source_id for source_id, _ in gathered})
    groups = [
        Group(
            sources.get(source_id),
            reason,
            receipts[0].status_code,
            len(receipts),
            sum(receipt.suppressed for receipt in receipts),
            receipts[-1].received_at,
            receipts[0].received_at,
            receipts[0].pk,
        )
        for (source_id, reason), receipts in gathered.items()
    ]
    groups.sort(key=lambda group: (-(group.count + group.suppressed), -group.last_seen.timestamp()))
    is_cut = len(found.rows) == LOOKED
    edge = found.stopped_at or (found.rows[-1].pk if is_cut else None)
    return Summary(groups, len(found.rows), time_of(edge) if edge else None)


@dataclass(frozen=True)
class Line:
    """One row of “expected and received”. `fits` is None where there is nothing to compare."""

    what: str
    expected: str
    received: str
    fits: bool | None = None


def comparison_of(receipt: Receipt) -> list[Line]:
    """What the source expected, beside what came."""
    evidence = dict(receipt.evidence or {})
    lines = [*_header_lines(evidence, receipt.reason), *_signature_lines(evidence), *_clock_lines(evidence)]
    if receipt.reason == "method_not_allowed":
        lines.append(Line("Method", "POST", receipt.detail, False))
    if receipt.reason == "request_too_large":
        bound = settings.INGEST_MAX_BYTES
        lines.append(Line("Size", f"at most {bound:,} bytes with the headers", f"{receipt.body_size:,} bytes", False))
    evidence.pop("hint", None)
    return lines + [Line(_words(name), "", str(value)) for name, value in evidence.items()]


def _header_lines(evidence: dict, reason: str) -> list[Line]:
    name, seen = evidence.pop("header", ""), evidence.pop("headers_seen", "")
    if isinstance(seen, list):
        seen = ", ".join(map(str, seen))
    if not name:
        return [Line("Headers like it", "", str(seen))] if seen else []
    if reason != "header_missing":
        return [Line("Header", str(name), str(name), True)]
    similar = f"missing. Similar ones that came: {seen}" if seen else "missing, and none that looks like it"
    return [Line("Header", str(name), similar, False)]


def _signature_lines(evidence: dict) -> list[Line]:
    presented, computed = evidence.pop("presented", ""), evidence.pop("computed", "")
    signed, size = evidence.pop("signed", ""), evidence.pop("signed_bytes", None)
    tried, begins = evidence.pop("secrets_tried", None), evidence.pop("begins", "")
    lines = []
    if presented or computed:
        fits = presented == computed if presented and computed else None
        lines.append(
            Line("Signature begins", f"{computed}…" if computed else "", f"{presented}…" if presented else "", fits)
        )
    if signed:
        lines.append(Line("What is signed", str(signed), "" if size is None else f"{size:,} bytes in this request"))
    elif size is not None:
        lines.append(Line("What is signed", f"{size:,} bytes", ""))
    if begins:
        lines.append(Line("Secret begins", "", str(begins)))
    if tried is not None:
        lines.append(Line("Secrets tried", "", str(tried)))
    return lines


def _clock_lines(evidence: dict) -> list[Line]:
    difference, tolerance = evidence.pop("clock_difference", None), evidence.pop("tolerance", None)
    if not isinstance(difference, int | float):
        return []
    seconds = abs(round(difference))
    received = "the same second" if not seconds else f"{seconds:,} s {'ahead' if difference > 0 else 'behind'}"
    expected = f"within {tolerance} s of the portal's clock" if tolerance is not None else ""
    return [Line("Time", expected, received, seconds <= tolerance if isinstance(tolerance, int | float) else None)]


@dataclass(frozen=True)
class Checks:
    """What the kept bytes of a body show. `mistake` is (before, at, after) of where it stops being JSON."""

    declared: str
    seen: str
    fits: bool
    first_bytes: bytes
    mistake: tuple[str, str, str] | None


def checks_of(receipt: Receipt) -> Checks | None:
    """None where no body is kept."""
    body = receipt.kept_bytes
    if not body:
        return None
    codings = [value.strip().lower() for name, value in receipt.headers if name.lower() == "content-encoding"]
    declared = ", ".join(codings) or "none"
    seen = _kind_of(body)
    is_packed = seen in ("gzip", "zstd", "deflate")
    fits = declared in ("none", "identity", seen) if is_packed else declared in ("none", "identity")
    return Checks(declared, seen, fits, body[:FIRST_BYTES], _mistake(receipt.detail, body, seen))


def _kind_of(body: bytes) -> str:
    """What the first bytes say they are."""
    for magic, kind in (*_MAGIC, *_WIDE):
        if body.startswith(magic):
            return kind
    if body[:1] == b"\x78" and int.from_bytes(body[:2], "big") % 31 == 0 and _inflates(body):
        return "deflate"
    try:
        body.decode()
    except UnicodeDecodeError as error:
        if error.end < len(body) or len(body) < 4096:
            return "bytes that are no UTF-8 text"
    return "text"


def _inflates(body: bytes) -> bool:
    try:
        zlib.decompressobj().decompress(body, 1)
    except zlib.error:
        return False
    return True


def _mistake(detail: str, body: bytes, kind: str) -> tuple[str, str, str] | None:
    """The surroundings of the character that the reason's detail names, if it lies in what was kept."""
    found = _POSITION.search(detail)
    text = _text_of(body, kind)
    if found is None or text is None or int(found[1]) > len(text):
        return None
    at = int(found[1])
    before, after = text[max(0, at - EXCERPT) : at], text[at + 1 : at + 1 + EXCERPT]
    plain = [_visible(part) for part in (before, text[at : at + 1] or "end", after)]
    return plain[0], plain[1], plain[2]


def _text_of(body: bytes, kind: str) -> str | None:
    if kind == "gzip":
        try:
            body = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(body, 65_536)
        except zlib.error:
            return None
    elif kind not in ("text", "text with a byte order mark"):
        return None
    return body.decode("utf-8-sig", "replace")


def _visible(text: str) -> str:
    return "".join(letter if letter.isprintable() else "␤" if letter == "\n" else "·" for letter in text)


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()
