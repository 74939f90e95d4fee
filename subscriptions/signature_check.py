"""Is this signature ours? What a receiver got, judged under the live secrets of its subscription.

Pure. Nothing it tells holds a secret, and of a signature only the beginning: who could ask for the right signature of
any text could write messages in the portal's name. What is presented is repeated only where it has the form of a
signature, since people also paste a secret where a signature belongs.

Bounded: `MAX_VARIANTS` other forms of the body are tried, for the newest secret, and none of bodies above
`MAX_VARIED_BYTES`.
"""

import base64
import binascii
import hmac
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from subscriptions.signing import NO_OPTIONS, SCHEMES, HeaderNames, sign

SHOWN = 4  # characters of a signature
TOLERANCE = 300  # seconds; what the snippets and the libraries take
MAX_VARIANTS = 5
MAX_VARIED_BYTES = 262_144

_TIMESTAMP = re.compile(r"0|[1-9][0-9]{0,11}")
_BEFORE = re.compile(r"\A(?:t=[0-9]+,v1=|sha256=|v0=|v1a?,)")
_HEX = re.compile(r"[0-9a-f]{64}")
_HEADER_LINE = re.compile(r"\s*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)\s*:\s*(.*?)\s*")
_LAST_TIMESTAMP = re.compile(rb',"timestamp":(0|[1-9][0-9]{0,11})\}\Z')

Pairs = Sequence[tuple[str, str]]

_SIGNED = {
    "standard_webhooks": "<id>.<timestamp>.<body>",
    "standard_webhooks_ed25519": "<id>.<timestamp>.<body>",
    "stripe": "<timestamp>.<body>",
    "timestamp_and_body": "<timestamp>:<body>",
    "slack": "v0:<timestamp>:<body>",
    "github": "<body>",
    "timestamped_body": "<body>",
}
_FORMS = {
    "standard_webhooks": "v1,<base64>, several of them separated by spaces",
    "standard_webhooks_ed25519": "v1a,<base64>, several of them separated by spaces",
    "stripe": "t=<timestamp>,v1=<hex>",
    "timestamp_and_body": "64 hexadecimal digits in small letters",
    "slack": "v0= and 64 hexadecimal digits in small letters",
    "github": "sha256= and 64 hexadecimal digits in small letters",
    "timestamped_body": "64 hexadecimal digits in small letters",
}


@dataclass(frozen=True)
class Verdict:
    """`proof` says by which secret it is right, `problem` why it is not: one of them is empty.

    `age_seconds` is that of the signature, negative where it lies ahead. `hint` is what would have matched.
    """

    proof: str = ""
    problem: str = ""
    hint: str = ""
    missing_headers: tuple[str, ...] = ()
    signed: str = ""
    signed_bytes: int | None = None
    body_bytes: int = 0
    timestamp: int | None = None
    age_seconds: int | None = None
    secrets_tried: int = 0
    presented_begins: str = ""
    expected_begins: str = ""

    @property
    def is_valid(self) -> bool:
        return bool(self.proof)


@dataclass(frozen=True)
class _Read:
    """What the headers say. `signatures` are those of the scheme's form, without what stands before them."""

    message_id: str = ""
    timestamp: str = ""
    signatures: tuple[str, ...] = field(default=(), repr=False)


class _Unreadable(Exception):
    """The text is a sentence for people, and repeats nothing that was pasted."""


def read_headers(text: str) -> list[tuple[str, str]]:
    """Headers as people have them: lines `Name: value`, or a JSON object. Raises ValueError with a sentence.

    A line without a colon is passed over where it is the first: logs begin with `POST /hook HTTP/1.1`.
    """
    if text.lstrip().startswith("{"):
        return _from_json(text)
    pairs = []
    for number, line in enumerate(line for line in text.splitlines() if line.strip()):
        if match := _HEADER_LINE.fullmatch(line):
            pairs.append((match[1], match[2]))
        elif number:
            raise ValueError("Give one header a line, as Name: value.")
    return pairs


def _from_json(text: str) -> list[tuple[str, str]]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("This begins like a JSON object and is none.") from None
    pairs = []
    for name, value in found.items():
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str | int) for one in values):
            raise ValueError("The values of the headers must be texts.")
        pairs += [(name, str(one)) for one in values]
    return pairs


def check(
    scheme: str,
    secrets: Sequence[str],
    headers: Pairs,
    body: bytes,
    *,
    at: float,
    options: Mapping[str, str] = NO_OPTIONS,
) -> Verdict:
    """Judge one message. `secrets` are the live ones, newest first; `at` is now, in POSIX seconds.

    Raises ValueError where the scheme signs nothing or there is no secret.
    """
    if not SCHEMES[scheme].signs or not secrets:
        raise ValueError("There is nothing to verify with.")
    names = SCHEMES[scheme].headers(options)
    given: dict[str, list[str]] = {}
    for name, value in headers:
        given.setdefault(name.lower(), []).append(value)
    known: dict[str, Any] = {
        "missing_headers": tuple(name for name in names.all() if name.lower() not in given),
        "signed": _SIGNED[scheme],
        "body_bytes": len(body),
        "secrets_tried": len(secrets),
    }
    try:
        read = _read(scheme, names, given, body)
    except _Unreadable as problem:
        return Verdict(problem=str(problem), **known)
    signed = {"signed_bytes": _signed_bytes(scheme, read, body)}
    if read.timestamp:
        signed |= {"timestamp": int(read.timestamp), "age_seconds": round(at) - int(read.timestamp)}
    known |= signed
    for place, secret in enumerate(secrets):
        expected = _expected(scheme, secret, read, body, options)
        if _is_among(expected, read.signatures):
            which = "the current one" if place == 0 else "an earlier one, which still signs"
            kind = "key" if SCHEMES[scheme].has_public_key else "secret"
            return Verdict(
                proof=f"The signature is right. It was made with this subscription's {kind}: {which}.", **known
            )
    return Verdict(
        problem="The signature is not one of this subscription's for these headers and this body.",
        hint=_hint(scheme, secrets, read, body, options),
        presented_begins=read.signatures[0][:SHOWN],
        expected_begins=_expected(scheme, secrets[0], read, body, options)[:SHOWN],
        **known,
    )


def _read(scheme: str, names: HeaderNames, given: Mapping[str, list[str]], body: bytes) -> _Read:
    """Raises _Unreadable where a part that is signed is missing or has not its form."""
    signature = _only(names.signature, given)
    if scheme == "stripe":
        parts = [element.strip().partition("=") for element in signature.split(",")]
        timestamp = next((value for name, _, value in parts if name == "t"), "")
        cores = [value for name, _, value in parts if name == "v1"]
        return _Read("", _a_time(timestamp, names.signature), _of_form(scheme, cores, names))
    if scheme == "timestamped_body":
        found = _LAST_TIMESTAMP.search(body)
        if found is None:
            raise _Unreadable(
                'The body does not end with ,"timestamp":<seconds>} as this scheme\'s bodies do. Verify the bytes as '
                "they came, not JSON that was written anew."
            )
        return _Read("", found[1].decode(), _of_form(scheme, [signature], names))
    if scheme == "github":
        cores = [signature.removeprefix("sha256=")] if signature.startswith("sha256=") else []
        return _Read("", "", _of_form(scheme, cores, names))
    timestamp = _a_time(_only(names.timestamp, given), names.timestamp)
    if scheme == "slack":
        cores = [signature.removeprefix("v0=")] if signature.startswith("v0=") else []
        return _Read("", timestamp, _of_form(scheme, cores, names))
    if scheme == "timestamp_and_body":
        return _Read("", timestamp, _of_form(scheme, [signature], names))
    start = "v1a," if SCHEMES[scheme].has_public_key else "v1,"
    cores = [one.removeprefix(start) for one in signature.split(" ") if one.startswith(start)]
    return _Read(_only(names.id, given), timestamp, _of_form(scheme, cores, names))


def _only(name: str, given: Mapping[str, list[str]]) -> str:
    values = given.get(name.lower(), [])
    if not values:
        raise _Unreadable(f"The header {name} is missing.")
    if len(values) > 1:
        raise _Unreadable(f"The header {name} is there {len(values)} times.")
    return values[0].strip()


def _a_time(text: str, name: str) -> str:
    if not _TIMESTAMP.fullmatch(text):
        raise _Unreadable(f"{name} has no time in it: it is written in whole seconds since 1970.")
    return text


def _of_form(scheme: str, cores: Sequence[str], names: HeaderNames) -> tuple[str, ...]:
    formed = tuple(core for core in cores if _has_form(scheme, core))
    if not formed:
        raise _Unreadable(f"{names.signature} holds no signature of this scheme, which is written as {_FORMS[scheme]}.")
    return formed


def _has_form(scheme: str, core: str) -> bool:
    if not scheme.startswith("standard_webhooks"):
        return bool(_HEX.fullmatch(core.lower()))
    try:
        size = len(base64.b64decode(core, validate=True))
    except (binascii.Error, ValueError):
        return False
    return size == (64 if SCHEMES[scheme].has_public_key else 32)


def _signed_bytes(scheme: str, read: _Read, body: bytes) -> int:
    """How many bytes are signed: the body, and with one joining character each what stands before it."""
    if scheme in ("github", "timestamped_body"):
        return len(body)
    version = "v0" if scheme == "slack" else ""
    before = [part for part in (version, read.message_id, read.timestamp) if part]
    return sum(len(part.encode()) + 1 for part in before) + len(body)


def _expected(scheme: str, secret: str, read: _Read, body: bytes, options: Mapping[str, str]) -> str:
    """The signature that this secret makes, as it stands in a header; "" where there can be none."""
    try:
        made = sign(
            scheme,
            [secret],
            message_id=read.message_id or "none",
            timestamp=int(read.timestamp or 0),
            body=body,
            options=options,
        )
    except ValueError:
        return ""
    return _BEFORE.sub("", made.headers[-1][1], count=1)


def _is_among(expected: str, signatures: Sequence[str]) -> bool:
    matches = [hmac.compare_digest(expected.encode(), one.encode()) for one in signatures]
    return bool(expected) and any(matches)


def _hint(scheme: str, secrets: Sequence[str], read: _Read, body: bytes, options: Mapping[str, str]) -> str:
    """What would have made it right: the usual things that happen to a message on the way here."""
    lowered = tuple(one.lower() for one in read.signatures)
    if any(_is_among(_expected(scheme, secret, read, body, options), lowered) for secret in secrets):
        return "It matches in small letters."
    if len(body) > MAX_VARIED_BYTES:
        return ""
    for other, words in islice(_variants(body), MAX_VARIANTS):
        for secret in secrets:
            if _is_among(_expected(scheme, secret, read, other, options), read.signatures):
                return f"It matches {words}."
    return ""


def _variants(body: bytes) -> Iterator[tuple[bytes, str]]:
    if body.endswith(b"\n"):
        yield body.rstrip(b"\r\n"), "for the body without the line break at its end"
    else:
        yield body + b"\n", "for the body with a line break at its end"
    if b"\n" in body.rstrip(b"\r\n"):
        yield (
            re.sub(rb"\r?\n", b"\r\n", body),
            "for the body with CR and LF at the ends of its lines",
        )
    try:
        document = json.loads(body)
        compact = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
        loose = json.dumps(document, ensure_ascii=False).encode()
        escaped = json.dumps(document, separators=(",", ":")).encode()
    except (ValueError, RecursionError):
        return
    for other in (compact, loose, escaped):
        yield other, "for the same JSON written differently: something reformatted the body after it was received"
