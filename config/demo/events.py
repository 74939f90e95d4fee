"""What Northwind's systems send: one function a kind of event, each made up anew at every call."""

import json
import random
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from config.demo import company
from config.demo.company import SourceSpec

_any = random.Random()  # noqa: S311 (nothing secret is drawn from it)

PEOPLE = ("a.whitfield", "m.novak", "v.santos", "j.okafor", "l.petit", "s.tanaka", "d.ruiz", "svc-backup")
HOSTS = ("ber-lt-0142", "ber-srv-db01", "rtm-lt-0077", "rtm-plc-gw2", "aus-lt-0311", "aus-srv-web03")
ADDRESSES = ("203.0.113.24", "198.51.100.7", "192.0.2.118", "203.0.113.201", "198.51.100.66")
COUNTRIES = ("DE", "NL", "US", "BR", "VN", "NG")
REPOSITORIES = ("northwind/platform", "northwind/agent", "northwind/website")
COMMITS = (
    "Rotate the staging certificates",
    "Refuse tokens without an expiry",
    "Bound the size of uploaded reports",
    "Fix the time zone of the weekly report",
    "Update dependencies",
)
FLAWS = (
    ("CVE-2024-3094", "xz-utils", "critical", 10.0),
    ("CVE-2023-44487", "nghttp2", "high", 7.5),
    ("CVE-2021-44228", "log4j-core", "critical", 10.0),
    ("CVE-2023-38545", "curl", "medium", 6.5),
    ("CVE-2022-3602", "openssl", "low", 3.7),
)
ALERTS = (
    ("edr.malware_detected", "critical", "Trojan blocked before it ran", "T1204.002"),
    ("edr.suspicious_process", "high", "Word started PowerShell", "T1059.001"),
    ("edr.credential_access", "high", "A process read LSASS memory", "T1003.001"),
    ("edr.usb_inserted", "low", "Unknown mass storage device", "T1091"),
)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def push() -> dict[str, Any]:
    """A GitHub push, which has no type of its own: the source gives it one."""
    before, after, who = secrets.token_hex(20), secrets.token_hex(20), _any.choice(PEOPLE)
    repository = _any.choice(REPOSITORIES)
    return {
        "ref": _any.choice(("refs/heads/main", "refs/heads/main", "refs/heads/release-4.2")),
        "before": before,
        "after": after,
        "repository": {"full_name": repository, "private": True, "html_url": f"https://github.com/{repository}"},
        "pusher": {"name": who, "email": f"{who}@northwind.example"},
        "commits": [{"id": after, "message": _any.choice(COMMITS), "timestamp": now(), "author": {"username": who}}],
    }


def alert() -> dict[str, Any]:
    kind, severity, title, technique = _any.choice(ALERTS)
    return {
        "type": kind,
        "severity": severity,
        "title": title,
        "host": {"name": _any.choice(HOSTS), "os": _any.choice(("Windows 11", "Ubuntu 24.04", "macOS 15"))},
        "user": _any.choice(PEOPLE),
        "process": {"pid": _any.randint(400, 40000), "sha256": secrets.token_hex(32)},
        "attack": [technique],
        "detected_at": now(),
    }


def sign_in() -> dict[str, Any]:
    failed = _any.random() < 0.6
    attempts = _any.choice((1, 1, 2, 3, 12, 48)) if failed else 1
    return {
        "type": "login.failed" if failed else "login.succeeded",
        "severity": "high" if attempts > 10 else "medium" if attempts > 2 else "low",
        "user": _any.choice(PEOPLE),
        "attempts": attempts,
        "source_ip": _any.choice(ADDRESSES),
        "country": _any.choice(COUNTRIES),
        "mfa": not failed,
        "at": now(),
    }


def flaws() -> list[dict[str, Any]]:
    """A scan's findings come together, as one JSON array."""
    found = _any.sample(FLAWS, _any.randint(1, 3))
    host = _any.choice(HOSTS)
    return [
        {
            "type": "vulnerability.found",
            "severity": severity,
            "cve": cve,
            "cvss": score,
            "package": package,
            "host": host,
            "found_at": now(),
        }
        for cve, package, severity, score in found
    ]


def payment() -> dict[str, Any]:
    kind = _any.choice(("payment.succeeded", "payment.succeeded", "payment.succeeded", "payment.disputed"))
    return {
        "type": kind,
        "severity": "medium" if kind == "payment.disputed" else "low",
        "payment_id": "pay_" + secrets.token_hex(8),
        "amount": {"value": f"{_any.randint(900, 240000) / 100:.2f}", "currency": "EUR"},
        "customer": f"cus_{_any.randint(1000, 9999)}",
        "created": now(),
    }


def badges() -> list[dict[str, Any]]:
    """Readers report a few at a time, one JSON object a line."""
    return [
        {
            "type": "badge.denied" if _any.random() < 0.15 else "badge.granted",
            "badge": f"B-{_any.randint(1000, 1400)}",
            "door": _any.choice(("gate-1", "server-room", "lab-2", "loading-dock")),
            "at": now(),
        }
        for _ in range(_any.randint(1, 4))
    ]


def incident() -> dict[str, Any]:
    kind = _any.choice(("incident.opened", "incident.opened", "incident.escalated", "incident.resolved"))
    return {
        "type": kind,
        "severity": {"incident.escalated": "high", "incident.opened": "medium"}.get(kind, "low"),
        "ticket": f"INC-{_any.randint(2400, 2999)}",
        "summary": _any.choice(
            ("Phishing mail reported by three people", "Laptop lost on a train", "VPN certificate expires in 7 days")
        ),
        "assignee": _any.choice(PEOPLE),
        "updated_at": now(),
    }


def build() -> dict[str, Any]:
    return {"event": "build.finished", "job": "nightly", "number": _any.randint(4000, 4999), "result": "SUCCESS"}


def backup() -> dict[str, Any]:
    """What Northwind's own backend publishes through the API."""
    return {
        "job": "nightly-backup",
        "bytes": _any.randint(10**9, 10**11),
        "seconds": _any.randint(60, 900),
        "at": now(),
    }


# Source, what it sends, and how often beside the others.
KINDS: Sequence[tuple[SourceSpec, Callable[[], Any], int]] = (
    (company.GITHUB, push, 4),
    (company.ENDPOINTS, alert, 4),
    (company.SIGN_INS, sign_in, 6),
    (company.SCANNER, flaws, 2),
    (company.PAYMENTS, payment, 4),
    (company.SENSORS, badges, 2),
    (company.SERVICE_DESK, incident, 3),
)


def as_body(content: Any, stream_type: str) -> tuple[bytes, str]:
    """The bytes to post, and their Content-Type."""
    if stream_type == "lines":
        return "".join(json.dumps(one) + "\n" for one in content).encode(), "application/x-ndjson"
    return json.dumps(content).encode(), "application/json"
