"""Spellings of what the portal must never connect to: data, for whoever has a place where a URL goes in.

`{port}` is the canaries' port; a spelling without it stands for an address nobody may listen on here. What a careless
client would connect to is `leads_to`, or "" where no socket address is meant (other schemes). A name is looked up as
`NAMES` says, so that nothing asks a real name server.
"""

from dataclasses import dataclass

CANARY_V4, CANARY_V6 = "127.0.0.1", "::1"
PORTAL = "portal.example.com"
METADATA = "169.254.169.254"


@dataclass(frozen=True)
class Spelling:
    kind: str
    url: str
    leads_to: str = CANARY_V4

    def at(self, port: int) -> str:
        return self.url.replace("{port}", str(port))


def _spellings(kind: str, *urls: str, leads_to: str = CANARY_V4) -> tuple[Spelling, ...]:
    return tuple(Spelling(kind, url, leads_to) for url in urls)


def _hosts(kind: str, *hosts: str, leads_to: str = CANARY_V4) -> tuple[Spelling, ...]:
    return _spellings(kind, *(f"https://{host}:{{port}}/hook" for host in hosts), leads_to=leads_to)


# What names lead to. Everything else has no address.
NAMES = {
    "localhost": [CANARY_V4, CANARY_V6],
    "app.localhost": [CANARY_V4],
    "localhost.localdomain": [CANARY_V4],
    "ip6-localhost": [CANARY_V6],
    "printer.local": [CANARY_V4],
    "vault.corp": [CANARY_V4],
    "intranet": [CANARY_V4],
    "metadata": [METADATA],
    "metadata.google.internal": [METADATA],
    "instance-data.ec2.internal": [METADATA],
    "metadata.internal.example": [METADATA],
    PORTAL: [CANARY_V4],
    # Public names, and only their addresses give them away.
    "127.0.0.1.nip.example": [CANARY_V4],
    "localtest.example": [CANARY_V4, CANARY_V6],
    "six.example": [CANARY_V6],
    "mapped.example": ["::ffff:127.0.0.1"],
    "nat64.example": ["64:ff9b::7f00:1"],
    "sixtofour.example": ["2002:7f00:1::"],
    "cloud.example": [METADATA],
    "azure.example": ["168.63.129.16"],
    "alibaba.example": ["100.100.100.200"],
    "private.example": ["10.0.0.1", "172.16.0.1", "192.168.0.1"],
    "zero.example": ["0.0.0.0"],  # noqa: S104 - refused, not bound
}

CORPUS: tuple[Spelling, ...] = (
    *_hosts("plain", "127.0.0.1", "127.0.0.2", "127.255.255.254", "127.000.000.001"),
    *_hosts("short", "127.1", "127.0.1", "127.65535.1", "0", "0.0.0.0"),  # noqa: S104 - refused, not bound
    *_hosts("decimal", "2130706433", "2130706433."),
    *_hosts("octal", "0177.0.0.1", "017700000001", "0177.1", "127.0.0.01", "00000000177.0.0.1"),
    *_hosts("hex", "0x7f000001", "0X7F.1", "0x7f.0.0.1", "0x7f.0x0.0x0.0x1", "0x000000007f000001"),
    *_hosts("mixed", "0x7f.0.1", "0177.0x0.1", "0x7f.00.0.01"),
    *_hosts("overflowing", "4429185537", "127.0.0.257", "383.0.0.1"),
    *_hosts("fullwidth", "１２７.０.０.１", "１２７．０．０．１", "127。0。0。1", "127｡0｡0｡1", "０ｘ７ｆ．１"),
    *_hosts("circled", "①②⑦.⓪.⓪.①", "①②⑦。⓪。⓪。①", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ"),
    *_hosts("other digits", "١٢٧.٠.٠.١", "𝟏𝟐𝟕.𝟎.𝟎.𝟏", "¹²⁷.⁰.⁰.¹"),
    *_hosts("trailing dot", "127.0.0.1.", "localhost.", "127.1."),
    *_hosts("v6", "[::1]", "[0:0:0:0:0:0:0:1]", "[0000::0001]", "[::0.0.0.1]", "[::]", leads_to=CANARY_V6),
    *_hosts("v6 zone", "[fe80::1%25lo]", "[::1%25lo]", "[fe80::1%lo]", leads_to="fe80::1"),
    *_hosts("v4-mapped", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]"),
    *_hosts("v4-compatible", "[::127.0.0.1]", "[::7f00:1]", leads_to="::7f00:1"),
    *_hosts("NAT64", "[64:ff9b::127.0.0.1]", "[64:ff9b::7f00:1]", leads_to="64:ff9b::7f00:1"),
    *_hosts("NAT64, local", "[64:ff9b:1::7f00:1]", leads_to="64:ff9b:1::7f00:1"),
    *_hosts("6to4", "[2002:7f00:1::]", "[2002:a9fe:a9fe::1]", leads_to="2002:7f00:1::"),
    *_hosts("Teredo", "[2001::7f00:1]", "[2001:0:53aa:64c:0:0:80ff:fffe]", leads_to="2001::7f00:1"),
    *_hosts("ISATAP", "[fe80::5efe:127.0.0.1]", leads_to="fe80::5efe:7f00:1"),
    *_hosts("link-local v6", "[fe80::1]", "[fec0::1]", leads_to="fe80::1"),
    *_hosts("unique local", "[fc00::1]", "[fd00:ec2::254]", leads_to="fd00:ec2::254"),
    *_hosts("multicast", "224.0.0.1", "[ff02::1]", "255.255.255.255", leads_to="224.0.0.1"),
    *_hosts("private", "10.0.0.1", "172.16.0.1", "192.168.0.1", "198.18.0.1", leads_to="10.0.0.1"),
    *_hosts("CGNAT", "100.64.0.1", "100.127.255.254", leads_to="100.64.0.1"),
    *_hosts("link-local", METADATA, "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", leads_to=METADATA),
    *_hosts("link-local, mapped", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", leads_to="::ffff:a9fe:a9fe"),
    *_hosts("metadata", "100.100.100.200", "192.0.0.192", "168.63.129.16", "169.254.170.2", leads_to="100.100.100.200"),
    *_hosts("metadata name", "metadata", "metadata.google.internal", "instance-data.ec2.internal", leads_to=METADATA),
    *_hosts("local name", "localhost", "LOCALHOST", "app.localhost", "localhost.localdomain", "printer.local"),
    *_hosts("local name", "vault.corp", "intranet"),
    *_hosts("local name", "ip6-localhost", leads_to=CANARY_V6),
    *_hosts("own host", PORTAL, "PORTAL.example.com", "ⓟortal.example.com"),
    *_hosts("userinfo", "user@127.0.0.1", "user:pass@localhost", "hooks.example.com@127.0.0.1", "@127.0.0.1"),
    *_spellings(
        "parsers at odds",
        "https://127.0.0.1:{port}\\@hooks.example.com/",
        "https://hooks.example.com:443@127.0.0.1:{port}/",
        "https://hooks.example.com\\@127.0.0.1:{port}/",
        "https://127.0.0.1:{port}#@hooks.example.com/",
        "https://127.0.0.1:{port}?@hooks.example.com/",
        "https:127.0.0.1:{port}/",
        "https:///127.0.0.1:{port}/",
        "//127.0.0.1:{port}/",
        "https://127.0.0.1:{port}\t/",
        "https://127.0.0.1%2f:{port}/",
        "https://%31%32%37.0.0.1:{port}/",
        "https://loc\u00adalhost:{port}/",
        "https://127.0.0.1\u200b:{port}/",
        " https://127.0.0.1:{port}/",
        "https://127.0.0.1:{port}/\r\nHost: x",
        leads_to="",
    ),
    *_spellings(
        "http",
        "http://127.0.0.1:{port}/",
        "HTTP://localhost:{port}/",
        "http://127.1:{port}/",
        "http://localtest.example:{port}/",
    ),
    *_spellings(
        "other scheme",
        "unix:/var/run/docker.sock",
        "unix:///var/run/docker.sock",
        "http+unix://%2Fvar%2Frun%2Fdocker.sock/info",
        "file:///etc/passwd",
        "file://localhost/etc/passwd",
        "gopher://127.0.0.1:{port}/_GET%20/",
        "dict://127.0.0.1:{port}/info",
        "ftp://127.0.0.1:{port}/",
        "ldap://127.0.0.1:{port}/",
        "ws://127.0.0.1:{port}/",
        "wss://127.0.0.1:{port}/",
        "tcp://127.0.0.1:{port}/",
        "jar:https://127.0.0.1:{port}/!/",
        "data:text/plain,x",
        "javascript:alert(1)",
        leads_to="",
    ),
)

# Nothing in these gives them away: they are accepted when typed, and refused by the address when connected to.
HIDDEN_BY_DNS: tuple[Spelling, ...] = (
    *_hosts("public name", "127.0.0.1.nip.example", "localtest.example", "zero.example"),
    *_hosts("public name", "six.example", leads_to=CANARY_V6),
    *_hosts("public name, mapped", "mapped.example", leads_to="::ffff:127.0.0.1"),
    *_hosts("public name, NAT64", "nat64.example", leads_to="64:ff9b::7f00:1"),
    *_hosts("public name, 6to4", "sixtofour.example", leads_to="2002:7f00:1::"),
    *_hosts("public name, metadata", "cloud.example", "metadata.internal.example", leads_to=METADATA),
    *_hosts("public name, metadata", "azure.example", leads_to="168.63.129.16"),
    *_hosts("public name, metadata", "alibaba.example", leads_to="100.100.100.200"),
    *_hosts("public name, private", "private.example", leads_to="10.0.0.1"),
)
