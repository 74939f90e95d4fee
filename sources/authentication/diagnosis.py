"""Why a sender fails, for the admin who looks at the refusal (spec B5).

Runs for refused requests only, and is bounded: at most ``MAX_ATTEMPTS`` more signatures, of bodies
up to ``MAX_BODY_BYTES``. What it tells holds no secret and only the beginning of a signature.
"""

import hmac
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice, repeat

from sources.authentication.contract import InboundRequest, LiveSecret, Refusal
from sources.authentication.encodings import decode, encode
from sources.authentication.scheme import Presented, Scheme

MAX_ATTEMPTS = 4
MAX_BODY_BYTES = 65_536
SHOWN = 8  # characters of a signature

_NAMES = {"sha1": "SHA-1", "sha256": "SHA-256", "sha512": "SHA-512"}
_ALGORITHM_OF_SIZE = {20: "sha1", 32: "sha256", 64: "sha512"}
_AFTER_A_LABEL = re.compile(rb"(?:[A-Za-z0-9_-]{1,16}[=,: ])?([A-Za-z0-9+/]{16,128}={0,2})")
_SIGNATURE_IS_WRONG = ("signature_mismatch", "header_malformed", "algorithm_mismatch")
_QUOTES = b"\"'`"


def presented_evidence(scheme: Scheme, request: InboundRequest, secrets: Sequence[bytes] = ()) -> dict[str, str | int]:
    """What the request brought, and what was looked for.

    Senders put a secret where the signature belongs, this source's (``secrets``) or another's: of what cannot be a
    signature, or is in a secret, nothing is told.
    """
    evidence: dict[str, str | int] = {"header": scheme.header, "signed": scheme.template}
    values = request.values(scheme.header)
    core = _core(values[0], scheme) if len(values) == 1 else b""
    if any(_readings(core)) and not any(core in secret for secret in secrets):
        evidence["presented"] = _beginning(core)
    presented, message = _read(scheme, request)
    if message is not None:
        evidence["signed_bytes"] = len(message)
    moment = _moment(scheme, request, presented)
    if moment is not None:
        evidence |= {"clock_difference": round(moment - request.received_at), "tolerance": scheme.tolerance}
    return evidence


def evidence_of(
    scheme: Scheme,
    request: InboundRequest,
    *,
    reason: str,
    algorithm: str,
    encoding: str,
    key_encoding: str,
    key: bytes,
    ended: Sequence[bytes],
    secrets: Sequence[bytes],
) -> dict[str, str | int]:
    """The same for an HMAC, with what was computed, and what would have matched.

    ``key`` is the current one, empty if there is none; ``ended`` are keys accepted before.
    """
    evidence = presented_evidence(scheme, request, secrets)
    presented, message = _read(scheme, request)
    if message is None or not key or reason not in _SIGNATURE_IS_WRONG:
        return evidence
    computed = hmac.digest(key, message, algorithm)
    evidence["computed"] = encode(computed, encoding)[:SHOWN].decode()
    values = request.values(scheme.header)
    if len(values) != 1 or len(request.body) > MAX_BODY_BYTES:
        return evidence
    core = _core(values[0], scheme)
    for raw, written in _readings(core):
        used = _ALGORITHM_OF_SIZE[len(raw)]
        differences = [f"with {_NAMES[used]}"] if used != algorithm else []
        differences += [f"in {written} instead of {encoding}"] if written != encoding else []
        if used == algorithm and hmac.compare_digest(raw, computed):
            around = f"with {scheme.prefix.decode()} before it" if scheme.prefix else "without what stands around it"
            evidence["hint"] = _sentence(differences or [around])
            return evidence
        same = [(key, message, "")] if used != algorithm else []
        padding = repeat((key, message, ""))  # as many for every key: the time must not tell one source from another
        others = _attempts(scheme, request, presented, message, key, ended, key_encoding)
        for other_key, other_message, difference in islice(chain(same, others, padding), MAX_ATTEMPTS):
            if hmac.compare_digest(raw, hmac.digest(other_key, other_message, used)):
                evidence["hint"] = _sentence([*differences, difference])
                return evidence
    return evidence


def comparison_hint(presented: bytes, live: Sequence[LiveSecret], ended: Sequence[LiveSecret]) -> dict[str, str | int]:
    """What would have made a presented secret match. Says nothing of how long any secret is."""
    bare = presented.strip(b" \t\r\n\xa0")
    unquoted = bare.strip(_QUOTES)
    unlabelled = re.sub(rb"(?i)^(bearer|token|basic)[ :=]+", b"", unquoted)
    for other, words in (
        (bare, "without the white space around it"),
        (unquoted, "without the quotes around it"),
        (unlabelled, "without the word before it"),
    ):
        if other != presented and any([secret.matches(other) for secret in live]):
            return {"hint": _sentence([words])}
    if any([secret.matches(presented) for secret in ended]):
        return {"hint": "It is a secret that this source accepted before: the sender was not given the new one."}
    other_kind = re.match(rb"pcl_(key|hmac|bearer|pass|jwt)_", presented)
    return {"begins": other_kind[0].decode()} if other_kind else {}


def _attempts(
    scheme: Scheme,
    request: InboundRequest,
    presented: Presented,
    message: bytes,
    key: bytes,
    ended: Sequence[bytes],
    key_encoding: str,
) -> Iterator[tuple[bytes, bytes, str]]:
    """Usual mistakes, the likeliest first: key, message, and how that differs from what is right."""
    if ended:
        yield ended[0], message, "with a secret that this source accepted before"
    body = request.body
    if body.endswith(b"\n"):
        other, words = body.rstrip(b"\r\n"), "for the body without the line break at its end"
    else:
        other, words = body + b"\n", "for the body with a line break at its end"
    changed = request._replace(body=other)
    yield key, _message(scheme, changed, presented) or b"", words
    if key_encoding == "utf-8":
        with suppress(ValueError):
            yield decode(key.removeprefix(b"whsec_"), "base64"), message, "with the key decoded from base64"
    yield key + b"\n", message, "with a line break at the end of the sender's copy of the secret"
    if not scheme.signs_body_alone:
        yield key, body, "for the body alone"


def _readings(core: bytes) -> Iterator[tuple[bytes, str]]:
    """The bytes of a signature and how they are written, where a known hash has as many."""
    for encoding in ("hex", "base64"):
        try:
            raw = decode(core, encoding)
        except ValueError:
            continue
        if len(raw) in _ALGORITHM_OF_SIZE:
            yield raw, encoding


def _core(value: bytes, scheme: Scheme) -> bytes:
    """The signature in a header value, whatever stands around it."""
    items = [item.strip(b" \t") for item in value[:2048].split(scheme.separator)] if scheme.separator else [value]
    prefixed = [item.removeprefix(scheme.prefix) for item in items if scheme.prefix and item.startswith(scheme.prefix)]
    core = (prefixed or items)[0]
    found = _AFTER_A_LABEL.fullmatch(core.strip(_QUOTES))
    return found[1] if found else core


def _read(scheme: Scheme, request: InboundRequest) -> tuple[Presented, bytes | None]:
    """What is signed, as far as it can be told without a readable signature."""
    try:
        presented = scheme.read(request)
    except Refusal:
        presented = Presented(())
        if "timestamp" in scheme.parts or "id" in scheme.parts:
            return presented, None
    return presented, _message(scheme, request, presented)


def _message(scheme: Scheme, request: InboundRequest, presented: Presented) -> bytes | None:
    try:
        return scheme.message(request, presented)
    except Refusal:
        return None


def _moment(scheme: Scheme, request: InboundRequest, presented: Presented) -> float | None:
    if scheme.timestamp is None or scheme.timestamp.kind == "path" or not presented.timestamp:
        return None
    return scheme.moment(request, presented)


def _beginning(text: bytes) -> str:
    return re.sub(rb"[^\x21-\x7e]", b"?", text[:SHOWN]).decode()


def _sentence(differences: Sequence[str]) -> str:
    return f"It matches {' and '.join(one for one in differences if one)}."
