"""What a receiver's answer means, and when to try again. Pure.

    answer                        standard   exponential   post_once
    2xx, completely received      delivered  delivered     delivered
    410 Gone                      disable    disable       disable
    401, 403                      retry      retry         disable
    any other, or none at all     retry      retry         failed

`custom` is `standard` with waits of the subscription's own (`subscriptions.schedules`). Rules of the subscription's own
(`subscriptions.answers`) come before this table, except before its first two lines.

Redirects are not followed, so 3xx is "any other". A URL or address that the guard refuses
(error "refused") is treated like any other failure: nothing is sent, and what a name resolves to
may be right again by the next attempt; a schedule that slow does no harm. An answer that broke
off (a 2xx with an error) was not received completely and counts as none, but a 401, 403 or 410
has said its say in the status line.

A delivery ends as `delivered`, as `failed` (refused once, and it is not sent again) or
as `dead` (the last attempt failed). `disable` ends the delivery as `failed` and the subscription
as `disabled`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Literal

from subscriptions import schedules
from subscriptions.answers import action_for

Kind = Literal["delivered", "retry", "failed", "dead", "disable"]

MINUTE, HOUR = 60.0, 3600.0
JITTER = 0.2
CUSTOM = "custom"
GONE = 410
UNWELCOME = frozenset({401, 403})
NO_RULES: Mapping[str, str] = MappingProxyType({})
FIXED, OWN, USUAL = "cannot be changed", "rule of its own", "as the policy says"


@dataclass(frozen=True)
class Policy:
    """`delays[n]` is the wait in seconds after attempt n + 1 failed; the last has none.

    `jitter` is the fraction by which a wait may be shorter or longer, so that the messages a
    receiver missed in one outage do not come back in one instant.
    """

    name: str
    title: str
    summary: str
    delays: tuple[float, ...]
    jitter: float
    disable_on: frozenset[int]

    @property
    def max_attempts(self) -> int:
        return len(self.delays) + 1

    @property
    def retries(self) -> bool:
        return bool(self.delays)


@dataclass(frozen=True)
class Decision:
    """What to do now. `delay` is in seconds, set for a retry only; `reason` is for people."""

    kind: Kind
    delay: float | None
    reason: str


DELIVERED = Decision("delivered", None, "")

POLICIES: Mapping[str, Policy] = MappingProxyType(
    {
        policy.name: policy
        for policy in (
            Policy(
                name="standard",
                title="Standard",
                summary="Up to ten attempts over three days: at once, then after 5 s, 5 min, "
                "30 min, 2 h, 5 h, 10 h, 14 h, 20 h and 24 h.",
                delays=(
                    5.0,
                    5 * MINUTE,
                    30 * MINUTE,
                    2 * HOUR,
                    5 * HOUR,
                    10 * HOUR,
                    14 * HOUR,
                    20 * HOUR,
                    24 * HOUR,
                ),
                jitter=JITTER,
                disable_on=frozenset({GONE}),
            ),
            # S5: 2**retries minutes, counting the retries already made; six attempts in all.
            Policy(
                name="exponential",
                title="Exponential",
                summary="Up to six attempts: after 1, 2, 4, 8 and 16 minutes.",
                delays=tuple(2**retries * MINUTE for retries in range(5)),
                jitter=0.0,
                disable_on=frozenset({GONE}),
            ),
            Policy(
                name="post_once",
                title="Post once",
                summary="One attempt. 401 and 403 disable the subscription; other failures are "
                "ignored and not sent again.",
                delays=(),
                jitter=0.0,
                disable_on=UNWELCOME | {GONE},
            ),
            Policy(
                name=CUSTOM,
                title="Custom",
                summary="Waits of your own, such as 5s, 5m, 1h: up to 30 of them, of 1 second to 7 days.",
                delays=(),
                jitter=0.0,
                disable_on=frozenset({GONE}),
            ),
        )
    }
)


def policy_of(name: str, delays: Sequence[float] | None = None) -> Policy:
    """The policy of that name, `custom` with these waits. Raises ValueError if unknown, or custom without waits."""
    if name not in POLICIES:
        raise ValueError(f"There is no delivery policy {name!r}.")
    policy = POLICIES[name]
    if name != CUSTOM:
        return policy
    if not delays:
        raise ValueError("The custom policy has no waits.")
    return replace(policy, delays=tuple(map(float, delays)), summary=schedules.summary(delays))


def decide(
    policy: Policy,
    attempt: int,
    *,
    status: int | None,
    error: str,
    rules: Mapping[str, str] = NO_RULES,
    retry_after: float | None = None,
    random: Callable[[], float],
) -> Decision:
    """What attempt number `attempt` (from 1) means.

    `status` and `error` are those of an `egress.client.Outcome`, `rules` are clean. `retry_after` is the receiver's
    wish in seconds, followed as far as the schedule's wait and at most twice that. `random`
    gives a number in [0, 1). Raises ValueError for an attempt before the first.
    """
    if attempt < 1:
        raise ValueError("Attempts are counted from 1.")
    if status is not None and 200 <= status < 300 and not error:
        return DELIVERED
    what = _what_happened(status, error)
    action = "disable" if status == GONE else action_for(rules, status, error)
    if action == "deliver":
        return Decision("delivered", None, f"{what} By the subscription's rules that counts as received.")
    if action == "disable" or (action is None and status in policy.disable_on):
        return Decision("disable", None, what)
    if action == "fail":
        return Decision("failed", None, f"{what} By the subscription's rules it is not sent again.")
    if not policy.retries:
        return Decision("failed", None, f"{what} The policy does not send again.")
    if attempt >= policy.max_attempts:
        return Decision("dead", None, f"{what} That was the last of {attempt} attempts.")
    delay = _delay(policy.delays[attempt - 1], policy.jitter, retry_after, random)
    return Decision("retry", delay, what)


def meanings(policy: Policy, rules: Mapping[str, str] = NO_RULES) -> list[tuple[str, str, str]]:
    """`(match, action, whose)` as `decide` has it: what is fixed, the subscription's own, then the policy's."""
    fixed = [("2xx", "deliver", FIXED), (str(GONE), "disable", FIXED)]
    own = [(match, action, OWN) for match, action in rules.items()]
    unwelcome = [str(status) for status in sorted(policy.disable_on - {GONE})]
    usual = [(status, "disable", USUAL) for status in unwelcome if action_for(rules, int(status), "") is None]
    return [*fixed, *own, *usual, ("anything else", "retry" if policy.retries else "fail", USUAL)]


def parse_retry_after(value: str, now: datetime) -> float | None:
    """Seconds from a Retry-After header, a number or a date (RFC 9110 section 10.2.3).

    None when it is neither; never negative. `now` has a time zone.
    """
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=now.tzinfo)
    return max(0.0, (moment - now).total_seconds())


def _delay(base: float, jitter: float, retry_after: float | None, random: Callable[[], float]) -> float:
    if retry_after is not None and math.isfinite(retry_after) and retry_after > 0:
        return min(max(retry_after, base), 2 * base)
    return base * (1 + jitter * (2 * random() - 1))


_ERRORS: Mapping[str, str] = MappingProxyType(
    {
        "refused": "The portal does not send to this address.",
        "dns": "The host's name did not resolve.",
        "connect": "No connection to the receiver.",
        "tls": "No trustworthy TLS session with the receiver.",
        "timeout": "The receiver did not answer in time.",
        "reset": "The receiver closed the connection before its answer was complete.",
        "protocol": "The receiver's answer was not valid HTTP.",
        "too_large": "The receiver's answer was too large.",
        "oauth_token": "There was no access token to send with.",
        "client_certificate": "The client certificate cannot be presented.",
        "unsendable": "The portal could not make the message.",
    }
)


def _what_happened(status: int | None, error: str) -> str:
    if error:
        return _ERRORS.get(error, "The request failed.")
    if status is not None and 300 <= status < 400:
        return f"The receiver answered {status}; redirects are not followed."
    return f"The receiver answered {status}." if status is not None else "There was no answer."
