"""What Northwind Security has. Data only; `setup` makes it."""

from dataclasses import dataclass, field
from typing import Literal

NAME = "Northwind Security"
OWNER = "owner@northwind.example"
ADMIN = "admin@northwind.example"
MEMBER = "member@northwind.example"
COLLEAGUES = (
    (ADMIN, "Ada Whitfield", "admin"),
    (MEMBER, "Marek Novak", "member"),
    ("viewer@northwind.example", "Vera Santos", "viewer"),
)
INVITED = ("new.colleague@northwind.example", "member")  # who has not followed the link yet
SITES = ("Berlin", "Rotterdam", "Austin")

ReceiverName = Literal["good", "flaky", "slow", "busy", "gone", "silent"]


@dataclass(frozen=True)
class SourceSpec:
    """`auth` is what the API takes; `paused` sources refuse what is sent to them."""

    name: str
    auth: dict[str, object]
    event_type: str = ""
    kind: str = "event"
    stream_type: str = "auto"
    paused: bool = False


@dataclass(frozen=True)
class SubscriptionSpec:
    """`receiver` is who stands at its URL; `settings` are further fields of the API."""

    name: str
    hint: str
    receiver: ReceiverName
    event_types: tuple[str, ...] = ("*",)
    settings: dict[str, object] = field(default_factory=dict)


GITHUB = SourceSpec(
    "GitHub · northwind/platform",
    {"method": "hmac", "header": "X-Hub-Signature-256", "algorithm": "sha256"},
    event_type="repository.push",
)
ENDPOINTS = SourceSpec("Endpoint detection (EDR)", {"method": "bearer"}, event_type="edr.alert")
SIGN_INS = SourceSpec(
    "Identity provider", {"method": "shared_secret", "header": "X-Webhook-Key"}, event_type="login.event"
)
SCANNER = SourceSpec(
    "Vulnerability scanner",
    {"method": "basic", "username": "scanner"},
    event_type="vulnerability.found",
    stream_type="json_array",
)
PAYMENTS = SourceSpec("Payments", {"method": "jwt"}, event_type="payment.event")
SENSORS = SourceSpec("Badge readers (plant network)", {"method": "none"}, event_type="badge.read", stream_type="lines")
SERVICE_DESK = SourceSpec(
    "Service desk",
    {"method": "shared_secret", "header": "X-Desk-Token"},
    event_type="incident.opened",
    kind="incident",
)
OLD_CI = SourceSpec(
    "Build server (old)", {"method": "hmac", "algorithm": "sha1"}, event_type="build.finished", paused=True
)

SOURCES = (GITHUB, ENDPOINTS, SIGN_INS, SCANNER, PAYMENTS, SENSORS, SERVICE_DESK, OLD_CI)

SUBSCRIPTIONS = (
    SubscriptionSpec("Security data lake", "Everything, for the analysts", "good"),
    SubscriptionSpec(
        "On-call pager",
        "Wakes whoever is on call",
        "good",
        settings={"min_severity": "high", "signing": "timestamped_body", "headers": {"X-Pager-Team": "blue-team"}},
    ),
    SubscriptionSpec(
        "Chat channel #security",
        "The chat bot drops a message now and then",
        "flaky",
        ("login.*", "edr.*", "incident.*", "vulnerability.*"),
    ),
    SubscriptionSpec("Finance ledger", "Takes its time to book", "slow", ("payment.*",), {"policy": "exponential"}),
    SubscriptionSpec(
        "Public status board", "Told once, never again", "busy", ("incident.*", "repository.*"), {"policy": "post_once"}
    ),
    SubscriptionSpec("Old ticket system", "Switched off last spring", "gone", ("incident.*", "repository.*")),
    SubscriptionSpec("Partner SOC", "Waits for the partner to open the link", "silent", ("edr.*",), {"shape": "raw"}),
)
