"""What the guard refuses and what it lets pass (S8)."""

import ipaddress

import pytest

from egress.guard import AddressRefused, Guard, UrlRefused

pytestmark = pytest.mark.spec("S8")

REFUSED = {
    "scheme": [
        "http://example.com/",
        "HTTP://example.com/",
        "ftp://example.com/",
        "file://example.com/etc/passwd",
        "gopher://example.com/",
        "ws://example.com/",
    ],
    "malformed": ["", "example.com", "//example.com/", "https:example.com", "javascript:alert(1)"],
    "userinfo": [
        "https://user@example.com/",
        "https://user:password@example.com/",
        "https://example.com:443@127.0.0.1/",
        "https://@example.com/",
    ],
    "port": [
        "https://example.com:80/",
        "https://example.com:22/",
        "https://example.com:0/",
        "https://example.com:65536/",
        "https://example.com:/",
        "https://example.com:4\u096a3/",
        "https://example.com:-443/",
    ],
    "fragment": ["https://example.com/#x", "https://example.com/a?b#@127.0.0.1"],
    "characters": [
        " https://example.com/",
        "https://example.com/ ",
        "https://example.com/a b",
        "https://exam\tple.com/",
        "https://example.com/\r\nHost: x",
        "https://example.com/\x00",
        "https://example.com\\@127.0.0.1/",
        "https://example.com/\u00a0",
        "https://exam\u200bple.com/",
        "https://example.com/\u202ex",
    ],
    "local_host": [
        "https://localhost/",
        "https://LOCALHOST/",
        "https://localhost:8443/",
        "https://app.localhost/",
        "https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/",
        "https://\uff4c\uff4f\uff43\uff41\uff4c\uff48\uff4f\uff53\uff54/",
        "https://printer.local/",
        "https://metadata.google.internal/",
        "https://vault.corp/",
        "https://nas.lan/",
        "https://router.home.arpa/",
        "https://intranet/",
        "https://localhost.localdomain/",
    ],
    "ip_literal": [
        "https://127.0.0.1/",
        "https://8.8.8.8/",
        "https://127.1/",
        "https://127.0.1/",
        "https://0/",
        "https://2130706433/",
        "https://017700000001/",
        "https://0x7f000001/",
        "https://0X7F.1/",
        "https://0x7f.0.0.1/",
        "https://0177.0.0.1/",
        "https://127.0.0.01/",
        "https://127.0.0.1./",
        "https://2130706433./",
        "https://999.999.999.999/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::1]/",
        "https://[::]/",
        "https://[0:0:0:0:0:0:0:1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:7f00:1]/",
        "https://[::127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://[2606:4700:4700::1111]/",
        "https://[fd00::1]:8443/",
        "https://\uff11\uff12\uff17.\uff10.0.1/",
        "https://127。0。0。1/",
        "https://127\uff0e0\uff0e0\uff0e1/",
        "https://①②⑦.⓪.⓪.①/",
        "https://127｡0｡0｡1/",
        "https://\uff10\uff58\uff17\uff46\uff0e\uff11/",
    ],
    "host": [
        "https:///path",
        "https://[::1/",
        "https://[fe80::1%25eth0]/",
        "https://[fe80::1%eth0]/",
        "https://[::1]x/",
        "https://[v1.x]/",
        "https://%6c%6f%63%61%6c%68%6f%73%74/",
        "https://127%2e0%2e0%2e1/",
        "https://example.com./",
        "https://localhost./",
        "https://.example.com/",
        "https://example..com/",
        "https://-example.com/",
        "https://exa$mple.com/",
        "https://" + "a" * 64 + ".com/",
        "https://::1/",
    ],
    "too_long": ["https://example.com/" + "a" * 2048],
}
SPELLINGS = [(code, url) for code, urls in REFUSED.items() for url in urls]


def test_the_corpus_is_not_thinned_out():
    assert len(SPELLINGS) >= 60


@pytest.mark.parametrize(("code", "url"), SPELLINGS)
def test_refuses(code, url):
    with pytest.raises(UrlRefused) as refusal:
        Guard().check_url(url)
    assert refusal.value.code == code
    assert refusal.value.sentence.endswith(".")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com/",
        "HTTPS://EXAMPLE.com/Path?q=1&r=%20",
        "https://example.com:443/hook",
        "https://example.com:8443/hook",
        "https://hooks.my_app.example.com/a/b;c?x=[1]",
        "https://bücher.example/straße",
        "https://xn--bcher-kva.example/",
        "https://3com.com/",
        "https://1.2.3.4.example.com/",
        "https://0x7f.example.com/",
        "https://localhost.example.com/",
        "https://mylocalhost.com/",
        "https://internal.example.com/",
        "https://face.cafe/",
        "https://example.com?only=query",
    ],
)
def test_lets_a_public_https_url_pass(url):
    Guard().check_url(url)


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://EXAMPLE.com", "https://example.com/"),
        ("https://bücher.example/straße", "https://xn--bcher-kva.example/stra%C3%9Fe"),
        ("https://example.com?a=b+c%20d", "https://example.com/?a=b+c%20d"),
        ("https://example.com:8443/%2F%7e", "https://example.com:8443/%2F%7e"),
    ],
)
def test_normalises_the_host_and_leaves_the_path_as_typed(url, sent):
    assert Guard().parse(url).url == sent


DENIED = [
    "0.0.0.0",  # noqa: S104 - refused, not bound
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:7f00:1::",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "3ffe::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700::1%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "not an address",
]


@pytest.mark.parametrize("address", DENIED)
def test_denies_an_address_that_is_not_public(address):
    with pytest.raises(AddressRefused):
        Guard().check_address(address, plain_http=False, port=443)


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "128.0.0.1",
        "168.63.129.15",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.1",
        "198.17.255.255",
        "198.20.0.0",
        "203.0.112.255",
        "223.255.255.255",
        "2001:4860:4860::8888",
        "2606:4700:4700::1111",
        "2a00:1450:4001:800::200e",
    ],
)
def test_does_not_block_a_public_address(address):
    Guard().check_address(address, plain_http=False, port=443)


@pytest.mark.parametrize(("plain_http", "port"), [(True, 443), (True, 80), (False, 22)])
def test_a_public_address_is_reached_by_https_on_its_ports_only(plain_http, port):
    with pytest.raises(AddressRefused):
        Guard(allow=["127.0.0.0/8"]).check_address("8.8.8.8", plain_http=plain_http, port=port)


def test_a_refusal_does_not_tell_the_address():
    with pytest.raises(AddressRefused) as refusal:
        Guard().check_address("10.1.2.3", plain_http=False, port=443)
    assert "10.1.2.3" not in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9000/hook",
        "https://127.0.0.1/",
        "http://localhost:9000/",
        "http://app.localhost/",
        "http://receiver:9000/",
        "http://receiver.internal/",
        "https://example.com:9000/",
    ],
)
def test_an_opened_network_opens_http_ports_and_literals(url):
    Guard(allow=["127.0.0.0/8"]).check_url(url)


def test_an_opened_network_may_be_given_as_an_object():
    guard = Guard(allow=[ipaddress.ip_network("10.0.0.0/8")])
    guard.check_address("10.1.2.3", plain_http=True, port=9000)


def test_an_opened_network_opens_its_addresses_to_http_on_any_port():
    Guard(allow=["::1/128"]).check_address("::1", plain_http=True, port=9000)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://8.8.8.8/", "ip_literal"),
        ("http://127.0.0.1/", "ip_literal"),
        ("http://127.1/", "ip_literal"),
        ("http://localhost/", "local_host"),
        ("ftp://10.0.0.1/", "scheme"),
        ("http://example.com/h", "scheme"),
        ("http://example.com:9000/", "scheme"),
        ("http://user@10.0.0.1/", "userinfo"),
    ],
)
def test_an_opened_network_opens_nothing_else(url, code):
    with pytest.raises(UrlRefused) as refusal:
        Guard(allow=["10.0.0.0/8"]).check_url(url)
    assert refusal.value.code == code


def test_an_opened_network_does_not_open_other_private_addresses():
    with pytest.raises(AddressRefused):
        Guard(allow=["10.0.0.0/8"]).check_address("192.168.0.1", plain_http=False, port=443)


@pytest.mark.parametrize("url", ["https://portal.example.com/in/x", "https://PORTAL.example.com:8443/"])
def test_refuses_the_portal_itself(url):
    with pytest.raises(UrlRefused) as refusal:
        Guard(own_hosts=["Portal.example.com"]).check_url(url)
    assert refusal.value.code == "own_host"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/",
        "http://localhost:8000/",
        "http://[::1]:8000/",
        "http://0.0.0.0:8000/",
        "http://[::]:8000/",
        "http://[::ffff:127.0.0.1]:8000/",
    ],
)
def test_refuses_a_loopback_portal_under_each_of_its_names(url):
    guard = Guard(allow=["0.0.0.0/0", "::/0"], own_hosts=["127.0.0.1:8000"])
    with pytest.raises(UrlRefused) as refusal:
        guard.check_url(url)
    assert refusal.value.code == "own_host"


def test_a_receiver_beside_a_loopback_portal_is_another_host():
    Guard(allow=["127.0.0.0/8"], own_hosts=["127.0.0.1:8000"]).check_url("http://127.0.0.1:9000/")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0", "::ffff:127.0.0.1"])  # noqa: S104 - refused, not bound
def test_refuses_a_loopback_portal_by_its_address_whatever_the_name(address):
    guard = Guard(allow=["0.0.0.0/0", "::/0"], own_hosts=["127.0.0.1:8000"])
    with pytest.raises(AddressRefused, match="leads back"):
        guard.check_address(address, plain_http=True, port=8000)
    guard.check_address(address, plain_http=True, port=9000)
