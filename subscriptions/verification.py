"""Whether a receiver may be posted to, and whether it has agreed to that.

A subscription is sent nothing but a confirmation link until somebody has opened that link (T4).
The link is a secret of the receiver's: it is posted to the URL, and here only the SHA-256 of its
token is kept.
"""

import hashlib
import secrets
from datetime import timedelta
from urllib.parse import urlsplit

from django.conf import settings

from egress.guard import Guard

TOKEN_BYTES = 32
LIFETIME = timedelta(hours=72)

# A link is posted to a URL that has not agreed to anything yet, so the portal must not become a
# way to hammer a stranger's server: not by asking again and again, nor by making subscriptions in
# a loop.
RESEND_INTERVAL = timedelta(seconds=10)
PERIOD = timedelta(days=1)
MAX_PER_SUBSCRIPTION = 20  # in PERIOD
MAX_PER_TENANT = 1000  # in PERIOD


def portal_guard() -> Guard:
    """This deployment's rules for outgoing requests: for URLs typed and for sockets opened."""
    host = f"[{settings.HOST}]" if ":" in settings.HOST else settings.HOST
    own = {urlsplit(settings.PORTAL_URL).netloc, f"127.0.0.1:{settings.PORT}", f"{host}:{settings.PORT}"}
    return Guard(allow=settings.EGRESS_ALLOW, own_hosts=own)


def new_token() -> str:
    return secrets.token_urlsafe(TOKEN_BYTES)


def digest(token: str) -> bytes:
    """What is kept of a token. It was drawn at random, so a plain hash cannot be turned round."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def confirmation_url(token: str) -> str:
    return f"{settings.PORTAL_URL}/confirm/{token}"
