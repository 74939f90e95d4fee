"""What a receiver repeats of what it was sent in confidence is blotted out of its answer, since answers are kept."""

import json
from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import quote

from egress.exchange import Outcome

MASK = "••••"
LEAST = 6  # characters: what is shorter can be guessed, and would be blotted out of much else


def spellings(secrets: Iterable[str]) -> tuple[str, ...]:
    """Each as it is, and as JSON (with and without escaped slashes) and URLs have it; those that hold others first."""
    found: set[str] = set()
    for secret in secrets:
        if len(secret) >= LEAST:
            escaped = json.dumps(secret)[1:-1]
            found |= {secret, escaped, escaped.replace("/", "\\/"), quote(secret), quote(secret, safe="")}
    return tuple(sorted(found, key=len, reverse=True))


def blotted(outcome: Outcome, spelled: tuple[str, ...]) -> Outcome:
    """The outcome without these, nor the beginning of one that a body which was cut ends with."""
    headers, body = outcome.headers, outcome.body
    said = "\n".join([text for pair in headers for text in pair])  # as a rule none is in it
    if any(secret in said for secret in spelled):
        headers = tuple((_without(name, spelled), _without(value, spelled)) for name, value in headers)
    if body:
        for secret in spelled:
            body = body.replace(secret.encode(), MASK.encode())
        if outcome.body_truncated:
            body = _without_beginning(body, spelled)
    if headers is outcome.headers and body == outcome.body:
        return outcome
    return replace(outcome, headers=headers, body=body)


def _without(text: str, spelled: tuple[str, ...]) -> str:
    for secret in spelled:
        if secret in text:
            text = text.replace(secret, MASK)
    return text


def _without_beginning(body: bytes, spelled: tuple[str, ...]) -> bytes:
    for secret in (text.encode() for text in spelled):
        for length in range(len(secret) - 1, LEAST - 1, -1):
            if body.endswith(secret[:length]):
                return body[:-length] + MASK.encode()
    return body
