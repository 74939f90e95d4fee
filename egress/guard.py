"""Which addresses the portal refuses to talk to (S8).

A URL is looked at twice. `Guard.check_url` reads it as text: when a subscription is saved, and
again before each send. `Guard.check_address` looks at the address a socket is about to be
connected to, which is the check that cannot be dodged: a name may resolve to anything, and to
something else a second later.

The tables are ours. `ipaddress.is_global` is True on Python 3.11 for a dozen networks that lead
inside (NAT64, 6to4, site-local, a cloud's wire server), and its answers change between releases.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote

import idna

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_URL_LENGTH = 2048
HTTPS_PORTS = frozenset({443, 8443})

DENIED_IPV4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this host, RFC 791
        "10.0.0.0/8",  # private, RFC 1918
        "100.64.0.0/10",  # carrier-grade NAT, RFC 6598 (and one cloud's metadata service)
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's wire server: inside, at a public-looking address
        "169.254.0.0/16",  # link-local, RFC 3927: the clouds' metadata services
        "172.16.0.0/12",  # private, RFC 1918
        "192.0.0.0/24",  # IETF protocol assignments, RFC 6890
        "192.0.2.0/24",  # documentation, RFC 5737
        "192.31.196.0/24",  # AS112, RFC 7535
        "192.52.193.0/24",  # AMT relays, RFC 7450
        "192.88.99.0/24",  # 6to4 relays, RFC 7526
        "192.168.0.0/16",  # private, RFC 1918
        "192.175.48.0/24",  # AS112, RFC 7534
        "198.18.0.0/15",  # benchmarking, RFC 2544
        "198.51.100.0/24",  # documentation, RFC 5737
        "203.0.113.0/24",  # documentation, RFC 5737
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and the broadcast address 255.255.255.255
    )
)

# Only 2000::/3 is handed out as global unicast. Everything outside it is refused without a list:
# ::1, v4-mapped ::ffff:0:0/96, v4-compatible ::/96, NAT64 64:ff9b::/96 and 64:ff9b:1::/48,
# discard 100::/64, ULA fc00::/7, link-local fe80::/10, site-local fec0::/10, multicast ff00::/8.
GLOBAL_IPV6 = ipaddress.IPv6Network("2000::/3")

DENIED_IPV6 = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # IETF assignments: Teredo 2001::/32, benchmarking 2001:2::/48, ORCHID, …
        "2001:db8::/32",  # documentation, RFC 3849
        "2002::/16",  # 6to4, RFC 3056: carries any IPv4 address inside
        "2620:4f:8000::/48",  # AS112, RFC 7534
        "3ffe::/16",  # the retired 6bone, RFC 3701
        "3fff::/20",  # documentation, RFC 9637
    )
)

LOOPBACKS = (ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1"))

LOCAL_SUFFIXES = (
    "localhost",
    "localdomain",
    "local",
    "internal",
    "intranet",
    "lan",
    "home",
    "home.arpa",
    "corp",
    "private",
    "onion",
)

# Deliberately narrower than RFC 3986: what does not match is refused rather than interpreted,
# so that no second parser can read the same text differently.
_URL = re.compile(
    r"""
    (?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*)://
    (?P<authority>[^/?]*)
    (?P<rest>.*)
    """,
    re.VERBOSE | re.DOTALL,
)
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_\-]{0,61}[a-z0-9_])?")
# WHATWG URL, "ends in a number": such a host can only be a spelling of an IPv4 address.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class UrlRefused(ValueError):
    """A URL the portal will not post to. `code` is for programs, `sentence` for people."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class AddressRefused(OSError):
    """An address the portal will not connect to.

    An OSError so that connecting code moves on to the name's next address, and because it is
    raised from inside a socket factory. The message does not name the address: what an inside
    name resolves to is nothing a tenant should learn.
    """


@dataclass(frozen=True)
class Target:
    """A URL taken apart and normalised. `host` is ASCII, lower case, without brackets."""

    scheme: str
    host: str
    port: int
    explicit_port: int | None
    rest: str
    ip: IPAddress | None

    @property
    def plain_http(self) -> bool:
        return self.scheme == "http"

    @cached_property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.explicit_port is None else f":{self.explicit_port}"
        return f"{self.scheme}://{host}{port}{self.rest}"


class Guard:
    """The rules of one deployment.

    `allow` names networks opened on purpose (EGRESS_ALLOW: a demo, tests, a receiver in the same
    data centre). To addresses inside them http and every port are permitted; IP literals and
    local names may be written. Everything else stays as strict as without them: where a name
    leads is only known when it is connected to, so an odd port after a name passes `check_url`
    and is refused by `check_address` unless the address lies inside. http to a public name is
    refused by both.

    `own_hosts` are the portal's own addresses, as `host` (refused on every port) or `host:port`
    (refused on that port only; the form for a portal that runs on a loopback address next to its
    receivers). The network location of PORTAL_URL fits as it is.
    """

    def __init__(self, allow: Iterable[str | IPNetwork] = (), own_hosts: Iterable[str] = ()) -> None:
        self._allow: tuple[IPNetwork, ...] = tuple(
            ipaddress.ip_network(network, strict=False) if isinstance(network, str) else network for network in allow
        )
        self._own = frozenset(_own_host(text) for text in own_hosts if text)

    def check_url(self, url: str) -> None:
        """Refuse by what the text alone shows; raises UrlRefused."""
        self.parse(url)

    def parse(self, url: str) -> Target:
        """`check_url`, and the normalised parts of the URL that passed."""
        target = _split(url)
        if target.scheme not in ("https", "http") or (target.plain_http and not self._allow):
            raise UrlRefused("scheme", "The URL must start with https://.")
        self._check_host(target)
        if target.port not in HTTPS_PORTS and not self._allow:
            raise UrlRefused("port", "Only the ports 443 and 8443 are allowed.")
        if target.ip is not None:
            self._check_literal(target, target.ip)
        elif target.plain_http and not _is_local_name(target.host):
            raise UrlRefused(
                "scheme", "A public name needs https://; http is for localhost, local names and opened addresses."
            )
        return target

    def check_address(self, ip: str, *, plain_http: bool, port: int) -> None:
        """Refuse the address a socket is about to be connected to; raises AddressRefused."""
        try:
            address = ipaddress.ip_address(ip)
        except ValueError:
            raise AddressRefused("The host's address could not be read.") from None
        if self._allowed(address):
            # A local name may lead to the portal itself, and its text does not show it.
            if self._is_own(_canonical(str(address)), port):
                raise AddressRefused("The URL leads back to this portal.")
            return
        if plain_http:
            raise AddressRefused("http is only allowed to networks this portal has opened.")
        if port not in HTTPS_PORTS:
            raise AddressRefused("Ports other than 443 and 8443 are not allowed.")
        if denied(address):
            raise AddressRefused("The host's address is not a public one.")

    def _allowed(self, address: IPAddress) -> bool:
        return any(address in network for network in self._allow)

    def _is_own(self, host: str, port: int) -> bool:
        return (host, None) in self._own or (host, port) in self._own

    def _check_host(self, target: Target) -> None:
        if self._is_own(_canonical(target.host), target.port):
            raise UrlRefused("own_host", "The URL leads back to this portal.")
        if target.ip is not None:
            return
        if _is_localhost(target.host):
            if not any(self._allowed(address) for address in LOOPBACKS):
                raise UrlRefused("local_host", "localhost is not reachable from the portal.")
            return
        # With opened networks a local name may well lead into one; its address decides.
        if self._allow:
            return
        if _is_local_name(target.host):
            raise UrlRefused("local_host", "The host must be a public name, not a local one.")

    def _check_literal(self, target: Target, address: IPAddress) -> None:
        if not self._allowed(address):
            raise UrlRefused("ip_literal", "The host must be a name, not an IP address.")


def denied(address: IPAddress) -> bool:
    """Whether the address is anything but public unicast."""
    if isinstance(address, ipaddress.IPv4Address):
        return any(address in network for network in DENIED_IPV4)
    # A scope ("fe80::1%eth0") only exists inside.
    if address.scope_id is not None or address not in GLOBAL_IPV6:
        return True
    return any(address in network for network in DENIED_IPV6)


def _split(url: str) -> Target:
    if len(url) > MAX_URL_LENGTH:
        raise UrlRefused("too_long", f"The URL may have at most {MAX_URL_LENGTH} characters.")
    if any(not char.isprintable() or char.isspace() or char == "\\" for char in url):
        raise UrlRefused("characters", "The URL contains spaces, backslashes or invisible characters.")
    found = _URL.fullmatch(url)
    if found is None:
        raise UrlRefused("malformed", "The URL must look like https://example.com/path.")
    if "#" in url:
        raise UrlRefused("fragment", "The URL may not contain a fragment (#…).")
    scheme = found["scheme"].lower()
    if "@" in found["authority"]:
        raise UrlRefused("userinfo", "The URL may not contain a user name or password.")
    host_text, explicit_port = _split_port(found["authority"])
    host, ip = _normalise_host(host_text)
    default = 80 if scheme == "http" else 443
    try:
        # Characters that may stand in a URL stay as they are, so that what was typed is what is
        # requested; the others are percent-encoded as UTF-8 (RFC 3987 section 3.1).
        rest = quote(found["rest"], safe="!$%&'()*+,-./:;=?@[]_~")
    except UnicodeEncodeError:
        raise UrlRefused("characters", "The URL contains characters that no URL has.") from None
    if not rest.startswith("/"):
        rest = "/" + rest
    port = default if explicit_port is None else explicit_port
    return Target(scheme, host, port, explicit_port, rest, ip)


def _split_port(authority: str) -> tuple[str, int | None]:
    host, colon, port = authority.rpartition(":")
    if not colon or "]" in port:
        return authority, None
    if not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) or not 0 < int(port) < 65536:
        raise UrlRefused("port", "The port must be a number between 1 and 65535.")
    return host, int(port)


def _normalise_host(text: str) -> tuple[str, IPAddress | None]:
    if text.startswith("["):
        try:
            if not text.endswith("]") or "%" in text:
                raise ValueError
            ip = ipaddress.IPv6Address(text[1:-1])
        except ValueError:
            raise UrlRefused("host", "The host is not a valid name.") from None
        return str(ip), ip
    host = _to_ascii(text)
    labels = host.split(".")
    # "127.0.0.1." is an address as well; an empty last label hides the number before it.
    if _NUMBER.fullmatch(labels[-1] or labels[-2 if len(labels) > 1 else -1]):
        try:
            return host, ipaddress.IPv4Address(host)
        except ValueError:
            raise UrlRefused("ip_literal", "The host must be a name, not an IP address.") from None
    if host.endswith("."):
        raise UrlRefused("host", "Leave out the dot at the end of the host.")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise UrlRefused("host", "The host is not a valid name.")
    return host, None


def _to_ascii(text: str) -> str:
    """IDNA 2008 with the UTS 46 mapping, which also folds fullwidth and circled digits."""
    try:
        mapped = text.lower() if text.isascii() else idna.uts46_remap(text, std3_rules=False)
        return mapped if mapped.isascii() else idna.encode(mapped).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError):
        raise UrlRefused("host", "The host is not a valid name.") from None


def _is_localhost(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")


def _is_local_name(host: str) -> bool:
    return "." not in host or any(host == suffix or host.endswith("." + suffix) for suffix in LOCAL_SUFFIXES)


def _canonical(host: str) -> str:
    """The host, or "loopback" for one of the many names of this machine's loopback."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "loopback" if _is_localhost(host) else host
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    # Connecting to 0.0.0.0 or :: is connecting to this machine.
    return "loopback" if address.is_loopback or address.is_unspecified else str(address)


def _own_host(text: str) -> tuple[str, int | None]:
    host_text, port = _split_port(text)
    host, _ = _normalise_host(host_text)
    return _canonical(host), port
