"""How the sender of each kind of source proves itself, and how senders fail to.

Written from the outside, like a sender's own code: nothing of `sources/` is used.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jwt

from config.demo.portal import request

HOURS_BEHIND = 2 * 3600  # of the clock that makes outdated tokens
OLD_SECRET = "pcl_key_the-one-from-before-the-migration"  # noqa: S105 (it never was one)


@dataclass(frozen=True)
class Sender:
    """One source as its sender knows it. `auth` is the API's, `url` can be reached from here."""

    name: str
    url: str
    auth: Mapping[str, object]
    secret: str
    key_id: str = ""

    def send(self, body: bytes, *, site: str = "", content_type: str = "application/json") -> int:
        """Post a body with the right proof; returns the status."""
        return self._post(body, self.proof(body), site=site, content_type=content_type)

    def proof(self, body: bytes) -> dict[str, str]:
        return PROOFS[str(self.auth["method"])](self, body)

    def _post(
        self, body: bytes, proof: Mapping[str, str], *, site: str = "", content_type: str = "application/json"
    ) -> int:
        headers = {"Content-Type": content_type, "User-Agent": self.name.split(" ")[0] + "-hooks/1.4", **proof}
        headers = {name: value.encode("ascii", "ignore").decode() for name, value in headers.items()}
        url = f"{self.url}/{site}" if site else self.url
        return request(url, method="POST", headers=headers, body=body)[0]

    # How it goes wrong in practice -------------------------------------------------------------------------------

    def send_without_proof(self, body: bytes) -> int:
        """A sender that is not set up yet, or a proxy that drops the header."""
        return self._post(body, {})

    def send_with_wrong_secret(self, body: bytes) -> int:
        """A sender that was forgotten in a rotation."""
        stale = Sender(self.name, self.url, self.auth, OLD_SECRET, self.key_id)
        return stale.send(body)

    def send_with_changed_body(self, body: bytes) -> int:
        """Signed, and then written anew on the way."""
        return self._post(body.replace(b'":', b'": '), self.proof(body))

    def send_with_slow_clock(self, body: bytes) -> int:
        """A token whose time is hours ago."""
        return self._post(body, _jwt(self, body, time.time() - HOURS_BEHIND))

    def send_broken_json(self, body: bytes) -> int:
        """Cut off in the middle, and signed like that."""
        return self.send(body[: len(body) // 2])

    def send_to_unknown_site(self, body: bytes) -> int:
        return self.send(body, site="atlantis")


def _hmac(sender: Sender, body: bytes) -> dict[str, str]:
    algorithm = str(sender.auth["algorithm"])
    digest = hmac.new(sender.secret.encode(), body, getattr(hashlib, algorithm)).hexdigest()
    return {str(sender.auth["header"]): f"{algorithm}={digest}"}


def _shared_secret(sender: Sender, body: bytes) -> dict[str, str]:
    return {str(sender.auth["header"]): sender.secret}


def _bearer(sender: Sender, body: bytes) -> dict[str, str]:
    return {"Authorization": f"Bearer {sender.secret}"}


def _basic(sender: Sender, body: bytes) -> dict[str, str]:
    pair = f"{sender.auth['username']}:{sender.secret}".encode()
    return {"Authorization": "Basic " + base64.b64encode(pair).decode()}


def _jwt(sender: Sender, body: bytes, at: float | None = None) -> dict[str, str]:
    claims = json.loads(body) if sender.auth.get("claims_match_body") else {}
    claims["iat"] = int(time.time() if at is None else at)
    key = sender.secret.ljust(32, "-")  # what is shorter is refused before it is looked at
    token = jwt.encode(claims, key, algorithm="HS256", headers={"kid": sender.key_id})
    return {str(sender.auth["header"]): token}


def _none(sender: Sender, body: bytes) -> dict[str, str]:
    return {}


PROOFS: Mapping[str, Callable[[Sender, bytes], dict[str, str]]] = {
    "hmac": _hmac,
    "shared_secret": _shared_secret,
    "bearer": _bearer,
    "basic": _basic,
    "jwt": _jwt,
    "none": _none,
}
