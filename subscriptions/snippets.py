"""Ready-made receivers: how a message is verified, in code that runs when pasted (B4, S4, N6).

Pure: text out. docs/signatures.md shows the same code, and tests run it against `signing.py`.
The first two of each scheme are Python and Node.js: the page that reveals a secret has a tab for
each, filled from the API's answer.
"""

from dataclasses import dataclass

SECRET_VARIABLE = "WEBHOOK_SECRET"  # noqa: S105 - the name of a variable


@dataclass(frozen=True)
class Snippet:
    """`language` is one a highlighter knows; `label` is what its tab says."""

    label: str
    language: str
    code: str


_STANDARD_LIBRARY = """\
from standardwebhooks import Webhook  # pip install standardwebhooks

webhook = Webhook(@SECRET@)


def verify(headers, body):
    # body: the bytes as received, before any parsing. Raises
    # WebhookVerificationError if not genuine or older than 5 minutes.
    return webhook.verify(body, dict(headers))
"""

_STANDARD_PYTHON = """\
import base64
import hashlib
import hmac
import time

SECRET = @SECRET@
TOLERANCE = 300  # seconds


def verify(headers, body):
    # body: the bytes as received, before any parsing.
    given = {name.lower(): value for name, value in dict(headers).items()}
    message_id, timestamp = given["webhook-id"], given["webhook-timestamp"]
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    signed = ".".join([message_id, timestamp, ""]).encode() + body
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    # During a rotation there are several signatures: one has to fit.
    genuine = any(
        hmac.compare_digest(expected.encode(), signature.encode())
        for signature in given["webhook-signature"].split(" ")
    )
    return genuine and abs(time.time() - int(timestamp)) <= TOLERANCE
"""

_STANDARD_NODE = """\
import { createHmac, timingSafeEqual } from "node:crypto";

const secret = @SECRET@;

// headers: as Node gives them; body: a Buffer, before any parsing.
export function verify(headers, body) {
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const start = [headers["webhook-id"], headers["webhook-timestamp"], ""].join(".");
  const expected = createHmac("sha256", key).update(start).update(body).digest();
  const genuine = headers["webhook-signature"].split(" ").some((signature) => {
    const given = Buffer.from(signature.replace(/^v1,/, ""), "base64");
    return given.length === expected.length && timingSafeEqual(given, expected);
  });
  const age = Math.abs(Date.now() / 1000 - Number(headers["webhook-timestamp"]));
  return genuine && age <= 300;
}
"""

_TIMESTAMPED_PYTHON = """\
import hashlib
import hmac
import json
import time

SECRET = @SECRET@
TOLERANCE = 300  # seconds


def verify(headers, body):
    # body: the bytes as received, before any parsing.
    given = {name.lower(): value for name, value in dict(headers).items()}
    expected = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), given["x-signature"].encode()):
        return False
    # The signed time is the one in the body; the X-Timestamp header only repeats it.
    return abs(time.time() - json.loads(body)["timestamp"]) <= TOLERANCE
"""

_TIMESTAMPED_NODE = """\
import { createHmac, timingSafeEqual } from "node:crypto";

const secret = @SECRET@;

// headers: as Node gives them; body: a Buffer, before any parsing.
export function verify(headers, body) {
  const expected = createHmac("sha256", secret).update(body).digest();
  const given = Buffer.from(headers["x-signature"], "hex");
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return false;
  return Math.abs(Date.now() / 1000 - JSON.parse(body).timestamp) <= 300;
}
"""

_RECEIVERS = {
    "standard_webhooks": (
        Snippet("Python", "python", _STANDARD_LIBRARY),
        Snippet("Node.js", "javascript", _STANDARD_NODE),
        Snippet("Plain Python", "python", _STANDARD_PYTHON),
    ),
    "timestamped_body": (
        Snippet("Python", "python", _TIMESTAMPED_PYTHON),
        Snippet("Node.js", "javascript", _TIMESTAMPED_NODE),
    ),
}


def snippets(scheme: str, secret: str | None = None) -> list[Snippet]:
    """Verifiers for what `scheme` signs. Without a secret they read it from the environment.

    Raises KeyError for an unknown scheme.
    """
    return [Snippet(one.label, one.language, _with_secret(one, secret)) for one in _RECEIVERS[scheme]]


def _with_secret(snippet: Snippet, secret: str | None) -> str:
    if secret is not None:
        return snippet.code.replace("@SECRET@", f'"{secret}"')
    if snippet.language == "javascript":
        return snippet.code.replace("@SECRET@", f"process.env.{SECRET_VARIABLE}")
    return "import os\n" + snippet.code.replace("@SECRET@", f'os.environ["{SECRET_VARIABLE}"]')
