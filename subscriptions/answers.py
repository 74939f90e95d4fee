"""What a subscription says itself about its receiver's answers. Pure.

A rule is a match and an action. The most particular one decides, whatever their order:

    404           one status
    4xx           its class: 1xx, 3xx, 4xx or 5xx
    timeout       one reason why there was no whole answer (REASONS)
    no_answer     any of these

    retry         try again, as long as the schedule goes
    fail          do not try again; the delivery ends as failed
    disable       the same, and disable the subscription
    deliver       count it as received

Two things no rule can change: 2xx, completely received, is delivered; 410 disables. A receiver that says it is gone
must not be posted to for ever, and one that says 2xx has the message. What no rule names means what the policy says.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, cast, get_args

Action = Literal["retry", "fail", "disable", "deliver"]

MAX_RULES = 30
NO_ANSWER = "no_answer"
CLASSES = ("1xx", "3xx", "4xx", "5xx")
ACTIONS: Mapping[str, str] = MappingProxyType(
    {
        "retry": "Try again",
        "fail": "Do not try again",
        "disable": "Disable the subscription",
        "deliver": "Count as received",
    }
)
# The errors of `egress.client.Outcome` that a rule may be about.
REASONS: Mapping[str, str] = MappingProxyType(
    {
        "timeout": "no answer in time",
        "connect": "no connection",
        "dns": "the host's name does not resolve",
        "tls": "no trustworthy TLS session",
        "reset": "the connection broke off",
        "protocol": "no valid HTTP",
        "too_large": "the answer was too large",
        "refused": "an address the portal does not send to",
    }
)
# Where the whole message may have arrived all the same.
_MAY_HAVE_ARRIVED = frozenset({"timeout", "reset", "protocol", "too_large"})


class RulesRefused(ValueError):
    """`errors` has a sentence for each match that is wrong."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__(" ".join(errors.values()))
        self.errors = errors


def clean_rules(given: Mapping[str, str], *, retries: bool) -> dict[str, str]:
    """The rules with clean matches, statuses first. `retries`: has the schedule any waits? Raises RulesRefused."""
    if len(given) > MAX_RULES:
        raise RulesRefused({"": f"A subscription has at most {MAX_RULES} rules."})
    rules: dict[str, str] = {}
    errors: dict[str, str] = {}
    for written, action in given.items():
        match = written.strip().lower().replace(" ", "_")
        if sentence := _why_not(match, action, retries=retries):
            errors[written] = sentence
        elif match in rules:
            errors[written] = f"There are two rules about {match}."
        else:
            rules[match] = action
    if errors:
        raise RulesRefused(errors)
    return {match: rules[match] for match in sorted(rules, key=_particular_first)}


def action_for(rules: Mapping[str, str], status: int | None, error: str) -> Action | None:
    """What the rules say; None where they say nothing.

    A status is known as soon as its line has come, whatever became of the rest; a 2xx that broke off is no answer.
    """
    asked = []
    if status is not None and not 200 <= status < 300:
        asked += [str(status), f"{status // 100}xx"]
    if error in REASONS:  # others are no receiver's
        asked += [error, NO_ANSWER]
    found = next((rules[match] for match in asked if match in rules), None)
    return cast(Action, found) if found in get_args(Action) else None


def in_words(match: str) -> str:
    """A match for people: `404`, `any 4xx`, `no answer in time`."""
    if match == NO_ANSWER:
        return "no answer at all"
    return f"any {match}" if match in CLASSES or match == "2xx" else REASONS.get(match, match)


def _why_not(match: str, action: str, *, retries: bool) -> str:
    if match == "410":
        return "410 always disables the subscription: the receiver says that it is gone."
    if match == "2xx" or (match.isascii() and match.isdigit() and len(match) == 3 and match[0] == "2"):
        return f"{match} is always delivered: the receiver has the message."
    is_status = match.isascii() and match.isdigit() and 100 <= int(match[:4]) <= 599 and len(match) == 3
    if not is_status and match not in CLASSES and match not in REASONS and match != NO_ANSWER:
        names = ", ".join([*REASONS, NO_ANSWER])
        return f"“{match[:40]}” is no answer: use a status such as 404, a class such as 4xx, or one of {names}."
    if action not in ACTIONS:
        return f"“{action[:40]}” is no action: use {', '.join(ACTIONS)}."
    if action == "retry" and not retries:
        return "This policy sends once: it has no waits to try again after."
    if action == "deliver" and not is_status and match not in CLASSES and match not in _MAY_HAVE_ARRIVED:
        return f"{in_words(match).capitalize()}: nothing was received, so it cannot count as received."
    return ""


def _particular_first(match: str) -> tuple[int, str]:
    if match.isdigit():
        return 0, match
    return (1 if match in CLASSES else 2 if match != NO_ANSWER else 3), match
