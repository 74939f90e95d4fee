"""Receivers in Python (3.9 and later). What belongs to all of them stands in `_FRAME`."""

_FRAME = """\
import hashlib
import hmac
%(imports)s
SECRET = @KEY@
%(tolerance)s

def verify(headers, body):
    # body: the bytes as received, before any parsing.
    given = {name.lower(): value for name, value in dict(headers).items()}
%(lines)s"""
_TOLERANCE = "TOLERANCE = 300  # seconds\n"


def _receiver(lines: str, imports: str = "", *, timed: bool = True) -> str:
    modules = f"{imports}import time\n" if timed else imports
    return _FRAME % {"imports": modules, "tolerance": _TOLERANCE if timed else "", "lines": lines}


_STANDARD_LIBRARY = """\
from standardwebhooks import Webhook  # pip install standardwebhooks

webhook = Webhook(@KEY@)


def verify(headers, body):
    # body: the bytes as received, before any parsing. Raises
    # WebhookVerificationError if not genuine or older than 5 minutes.
    return webhook.verify(body, dict(headers))
"""

_STANDARD = "import base64\n" + _receiver("""\
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
""")

_STANDARD_ED25519 = """\
import base64
import time

from cryptography.exceptions import InvalidSignature  # pip install cryptography
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

PUBLIC_KEY = @KEY@
TOLERANCE = 300  # seconds

key = Ed25519PublicKey.from_public_bytes(base64.b64decode(PUBLIC_KEY.removeprefix("whpk_")))


def verify(headers, body):
    # body: the bytes as received, before any parsing.
    given = {name.lower(): value for name, value in dict(headers).items()}
    message_id, timestamp = given["webhook-id"], given["webhook-timestamp"]
    signed = ".".join([message_id, timestamp, ""]).encode() + body
    # During a rotation there are several signatures: one has to fit.
    genuine = any(fits(one, signed) for one in given["webhook-signature"].split(" "))
    return genuine and abs(time.time() - int(timestamp)) <= TOLERANCE


def fits(signature, signed):
    if not signature.startswith("v1a,"):
        return False
    try:
        key.verify(base64.b64decode(signature.removeprefix("v1a,")), signed)
    except (InvalidSignature, ValueError):
        return False
    return True
"""

_STRIPE = _receiver("""\
    elements = [element.partition("=") for element in given["@SIGNATURE@"].split(",")]
    timestamp = next((value for name, _, value in elements if name == "t"), "")
    expected = hmac.new(SECRET.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    # During a rotation there are several signatures: one has to fit.
    genuine = any(hmac.compare_digest(expected.encode(), value.encode()) for name, _, value in elements if name == "v1")
    return genuine and abs(time.time() - int(timestamp)) <= TOLERANCE
""")

_TIMESTAMP_AND_BODY = _receiver("""\
    timestamp = given["@TIMESTAMP@"]
    expected = hmac.new(SECRET.encode(), timestamp.encode() + b":" + body, hashlib.sha256).hexdigest()
    genuine = hmac.compare_digest(expected.encode(), given["@SIGNATURE@"].encode())
    return genuine and abs(time.time() - int(timestamp)) <= TOLERANCE
""")

_SLACK = _receiver("""\
    timestamp = given["@TIMESTAMP@"]
    signed = b"v0:" + timestamp.encode() + b":" + body
    expected = "v0=" + hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    genuine = hmac.compare_digest(expected.encode(), given["@SIGNATURE@"].encode())
    return genuine and abs(time.time() - int(timestamp)) <= TOLERANCE
""")

_GITHUB = _receiver(
    """\
    expected = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    # No time is signed: remember the ids of what you have dealt with, or it can be played again.
    return hmac.compare_digest(expected.encode(), given["@SIGNATURE@"].encode())
""",
    timed=False,
)

_TIMESTAMPED_BODY = _receiver(
    """\
    expected = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), given["@SIGNATURE@"].encode()):
        return False
    # The signed time is the one in the body; the @TIMESTAMP@ header only repeats it.
    return abs(time.time() - json.loads(body)["timestamp"]) <= TOLERANCE
""",
    "import json\n",
)

RECEIVERS = {
    "standard_webhooks": _STANDARD_LIBRARY,
    "standard_webhooks_ed25519": _STANDARD_ED25519,
    "stripe": _STRIPE,
    "timestamp_and_body": _TIMESTAMP_AND_BODY,
    "slack": _SLACK,
    "github": _GITHUB,
    "timestamped_body": _TIMESTAMPED_BODY,
}
WITHOUT_LIBRARY = {"standard_webhooks": _STANDARD}
