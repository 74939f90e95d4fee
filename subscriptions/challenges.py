"""A question that only who holds the URL can answer at once (N1–N3). Pure.

The portal posts {"challenge": "<value>"}. Right is a complete answer of status 200 whose body is the value and nothing
else: no quotes, no white space around it, no line end, not compressed. Its Content-Type is not looked at, since many
frameworks call plain text HTML.
"""

import json
import secrets
from dataclasses import dataclass
from datetime import timedelta

VALUE_BYTES = 24
VALIDITY = timedelta(hours=24)

MINUTE, HOUR = 60.0, 3600.0
# Seconds to wait after each attempt that failed. A receiver that has not agreed is not to be hammered; one that did,
# and is down, holds up its messages for as long as it takes.
DELAYS = (5.0, MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, 24 * HOUR)


@dataclass(frozen=True)
class Failure:
    """Why a challenge failed, as programs and as people read it (N3)."""

    code: str
    sentence: str


UNREACHABLE = Failure("40012", "Webhook URL validation failed")
WRONG_ANSWER = Failure("42201", "Webhook returned incorrect challenge response")
FAILURES = {failure.code: failure for failure in (UNREACHABLE, WRONG_ANSWER)}


def new_value() -> str:
    """Letters, digits, - and _: the same in JSON, in a header and as plain text."""
    return secrets.token_urlsafe(VALUE_BYTES)


def body(value: str) -> bytes:
    return json.dumps({"challenge": value}).encode()


def failure_of(value: str, *, status: int | None, error: str, answer: bytes, truncated: bool) -> Failure | None:
    """What is wrong with an answer; None if it is right. `error` as in `egress.client.Outcome`."""
    if status is None or error:
        return UNREACHABLE
    right = status == 200 and not truncated and secrets.compare_digest(answer, value.encode())
    return None if right else WRONG_ANSWER


def delay_after(attempt: int) -> float | None:
    """Seconds until the next attempt; None after the last."""
    return DELAYS[attempt - 1] if attempt <= len(DELAYS) else None
