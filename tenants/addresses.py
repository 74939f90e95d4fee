"""Where a request came from."""

import ipaddress

from django.conf import settings


def client_address(request) -> str:
    """The client's IP address as text, or "" where it cannot be known.

    `X-Forwarded-For` is believed only behind the proxy that `BEHIND_TLS_PROXY` tells of, and then only its last
    entry, the one that proxy wrote itself: everything before it is whatever the client sent.
    """
    text = request.META.get("REMOTE_ADDR", "")
    if getattr(settings, "SECURE_PROXY_SSL_HEADER", None):
        forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")
        text = forwarded.rsplit(",", 1)[-1].strip() or text
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""
