"""What a row says that this portal cannot read: it was damaged, or written by another version."""

from collections.abc import Collection

from events.models import Severity
from subscriptions import flow, receiver_auth
from subscriptions.messages import SHAPES
from subscriptions.models import Subscription
from subscriptions.policies import CUSTOM, POLICIES
from subscriptions.signing import SCHEMES

KNOWN: dict[str, Collection[str]] = {
    "state": Subscription.State.values,
    "delivery": Subscription.Way.values,
    "verification": Subscription.Verification.values,
    "min_severity": Severity.values,
    "signing": SCHEMES,
    "shape": SHAPES,
    "policy": POLICIES,
    "mode": flow.MODES,
    "auth_method": receiver_auth.METHODS,
}


def unreadable(subscription: Subscription) -> list[tuple[str, str]]:
    """Fields with their senseless values, as people call them; empty for one that is sound."""
    wrong = [(name, value) for name, known in KNOWN.items() if (value := getattr(subscription, name)) not in known]
    for name in ("signing_options", "rules"):
        if not isinstance(value := getattr(subscription, name), dict):
            wrong.append((name, str(value)))
    if subscription.policy == CUSTOM and not subscription.delays:
        wrong.append(("delays", str(subscription.delays)))
    return [(name.replace("_", " "), value) for name, value in wrong]
