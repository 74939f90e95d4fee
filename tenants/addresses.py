"""Where a request came from."""

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache

from django.conf import settings

# An address as proxies write it, some with the port: 192.0.2.7:4711, [2001:db8::1]:443
_WITH_PORT = re.compile(r"(?:\[([^\[\]]+)\]|([0-9.]+))(?::[0-9]{1,5})?")


def client_address(request) -> str:
    """The client's IP address as text, or "" where it cannot be known. `TRUSTED_PROXIES` stand in front of us."""
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR")
    values = [] if forwarded is None else [forwarded.encode("latin-1", "replace")]
    return address_behind(request.META.get("REMOTE_ADDR", ""), values, settings.TRUSTED_PROXIES) or ""


def address_behind(peer: str, forwarded_for: Sequence[bytes], proxies: int) -> str | None:
    """The address of the client behind so many proxies of ours; None where it cannot be known.

    `peer` is the other end of the connection, `forwarded_for` are the values of `X-Forwarded-For` in wire order.
    Each proxy adds the address of whom it was asked by at the right end, so the client is the last but `proxies - 1`:
    what stands left of it the client may have made up. Fewer entries than proxies, or one that is no address in that
    place, mean that the request came another way than it should: then nobody knows whose it is. An IPv4 address
    inside an IPv6 one is told as IPv4.
    """
    if not proxies:
        return _address(peer)
    entries = b",".join(forwarded_for).split(b",")
    if len(entries) < proxies:
        return None
    return _address(entries[-proxies].decode("latin-1").strip())


@lru_cache(maxsize=4096)
def _address(text: str) -> str | None:
    found = _WITH_PORT.fullmatch(text)
    try:
        address = ipaddress.ip_address((found[1] or found[2] if found else text).partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
