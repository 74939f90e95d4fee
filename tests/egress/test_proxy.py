"""What the portal asks its proxy for, and what it does not (docs/decisions/0010-egress-proxy.md)."""

import asyncio
import socket
import ssl
import time

import pytest
import uvloop

from egress.guard import Guard
from tests.egress.canaries import listening
from tests.egress.posting import post
from tests.egress.proxy import proxying
from tests.egress.receivers import FixedResolver, answering, goes_stale, http, receiver, self_signed

PUBLIC, OTHER_PUBLIC = "93.184.216.34", "93.184.216.35"
PUBLIC_V6 = "2606:2800:220:1:248:1893:25c8:1946"
URL = "https://hooks.example.com/in?a=b"


@pytest.fixture
def far(tmp_path):
    """A receiver whose certificate says hooks.example.com, as `far.trust` knows."""
    server, certificate = self_signed(tmp_path)
    seen: list[bytes] = []
    with receiver(answering(http(200, b"over TLS"), seen), server) as running:
        running.requests = seen
        running.trust = ssl.create_default_context(cafile=str(certificate))
        yield running


@pytest.fixture
def proxy(far):
    """Every tunnel leads to `far`: what is public stays on this machine."""
    with proxying(lambda target: ("127.0.0.1", far.port)) as running:
        yield running


def post_by(proxy, far, url=URL, addresses=(PUBLIC,), **kw):
    kw = {"guard": Guard(), "resolver": FixedResolver(*addresses), "ssl_context": far.trust, **kw}
    return post(url, proxy=proxy.address, **kw)


@pytest.mark.spec("S8")
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_https_is_asked_for_by_the_address_that_was_checked(far, proxy, loop):
    outcome = post_by(proxy, far, loop=loop)
    assert (outcome.status, outcome.body) == (200, b"over TLS")
    assert proxy.asked[0].split("\r\n")[:2] == [f"CONNECT {PUBLIC}:443 HTTP/1.1", f"Host: {PUBLIC}"]


def test_the_receiver_sees_the_request_as_without_a_proxy(far, proxy):
    post_by(proxy, far, headers=[("X-A", "b")])
    head = far.requests[0].decode().partition("\r\n\r\n")[0]
    assert head.split("\r\n") == [
        "POST /in?a=b HTTP/1.1",
        "Host: hooks.example.com",
        "X-A: b",
        "User-Agent: Portcullis",
        "Content-Length: 2",
    ]


def test_a_port_stays_with_the_address_and_the_host(far, proxy):
    post_by(proxy, far, "https://hooks.example.com:8443/")
    assert proxy.targets == [f"{PUBLIC}:8443"]
    assert b"\r\nHost: hooks.example.com:8443\r\n" in far.requests[0]


def test_an_ipv6_address_is_asked_for_in_brackets(far, proxy):
    outcome = post_by(proxy, far, addresses=[PUBLIC_V6])
    assert proxy.targets == [f"[{PUBLIC_V6}]:443"]
    assert outcome.address == f"[{PUBLIC_V6}]:443"


def test_the_attempt_tells_the_receivers_address_and_not_the_proxys(far, proxy):
    assert post_by(proxy, far).address == f"{PUBLIC}:443"


def test_of_the_way_through_a_proxy_only_the_whole_is_timed(far, proxy):
    outcome = post_by(proxy, far)
    assert (outcome.dns_ms, outcome.tls_ms) == (None, None)
    assert outcome.connect_ms > 0
    assert outcome.first_byte_ms > 0


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_certificate_for_another_name_is_tls(far, proxy, loop):
    outcome = post_by(proxy, far, "https://other.example.com/", loop=loop)
    assert (outcome.error, outcome.status) == ("tls", None)
    assert far.requests == []


def test_tunnels_are_reused(far, proxy):
    outcomes = post_by(proxy, far, times=3)
    assert [outcome.ok for outcome in outcomes] == [True] * 3
    assert len(proxy.asked) == 1


def test_a_stale_tunnel_is_replaced_at_once(tmp_path):
    server, certificate = self_signed(tmp_path)
    with receiver(goes_stale(socket.socket.close), server) as far:
        far.trust = ssl.create_default_context(cafile=str(certificate))
        with proxying(lambda target: ("127.0.0.1", far.port)) as proxy:
            first, second = post_by(proxy, far, times=2)
    assert (first.body, second.body) == (b"1", b"2")
    assert len(proxy.asked) == 2


@pytest.mark.spec("S8")
@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1"])
def test_a_name_that_leads_inside_is_not_asked_for(far, proxy, address):
    outcome = post_by(proxy, far, addresses=[address])
    assert (outcome.error, outcome.address) == ("refused", "")
    assert proxy.connections == 0


@pytest.mark.spec("S8")
@pytest.mark.parametrize("url", ["https://127.0.0.1/", "https://localhost/", "http://hooks.example.com/"])
def test_a_url_that_is_refused_is_refused(far, proxy, url):
    assert post_by(proxy, far, url).error == "refused"
    assert proxy.connections == 0


@pytest.mark.spec("S8")
def test_of_a_names_addresses_only_the_public_ones_are_asked_for(far, proxy):
    assert post_by(proxy, far, addresses=["10.0.0.1", PUBLIC]).ok
    assert proxy.targets == [f"{PUBLIC}:443"]


def test_an_address_without_a_tunnel_gives_way_to_the_next(far):
    led = {f"{PUBLIC}:443": 502, f"{OTHER_PUBLIC}:443": ("127.0.0.1", far.port)}
    with proxying(led.__getitem__) as proxy:
        outcome = post_by(proxy, far, addresses=[PUBLIC, OTHER_PUBLIC])
    assert outcome.ok
    assert outcome.address == f"{OTHER_PUBLIC}:443"


def test_a_name_with_many_addresses_does_not_keep_the_proxy_busy(far):
    with proxying(lambda target: 502) as proxy:
        outcome = post_by(proxy, far, addresses=[f"93.184.216.{n}" for n in range(1, 50)])
    assert len(proxy.asked) == 3
    assert outcome.error == "connect"


@pytest.mark.parametrize("status", [403, 407, 502])
def test_a_proxy_that_opens_no_tunnel_is_connect(far, status):
    with proxying(lambda target: status) as proxy:
        outcome = post_by(proxy, far)
    assert (outcome.error, outcome.status) == ("connect", None)
    assert outcome.detail == f"The portal's own proxy opened no connection ({status})."


def test_a_proxy_that_is_away_is_connect_and_is_not_named(far):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    outcome = post(URL, guard=Guard(), resolver=FixedResolver(PUBLIC), proxy=f"http://127.0.0.1:{port}")
    assert (outcome.error, outcome.address) == ("connect", "")
    assert "127.0.0.1" not in outcome.detail


def test_a_proxy_whose_name_does_not_resolve_is_connect(far):
    class OnlyReceivers(FixedResolver):
        async def resolve(self, host, port=0, family=socket.AF_INET):
            if host == "proxy.example.com":
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return await super().resolve(host, port, family)

    outcome = post(URL, guard=Guard(), resolver=OnlyReceivers(PUBLIC), proxy="http://proxy.example.com:3128")
    assert outcome.error == "connect"
    assert outcome.detail == "The portal's own proxy cannot be reached."


def test_a_receivers_name_that_does_not_resolve_is_dns(far, proxy):
    class Nowhere(FixedResolver):
        async def resolve(self, host, port=0, family=socket.AF_INET):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    assert post_by(proxy, far, resolver=Nowhere()).error == "dns"
    assert post_by(proxy, far, resolver=FixedResolver()).error == "dns"
    assert proxy.connections == 0


def test_a_proxy_that_does_not_answer_is_a_timeout(far):
    with receiver(lambda conn: time.sleep(5)) as silent:
        outcome = post(
            URL, guard=Guard(), resolver=FixedResolver(PUBLIC), proxy=f"http://127.0.0.1:{silent.port}", timeout=0.3
        )
    assert outcome.error == "timeout"


def test_the_operators_password_reaches_the_proxy_and_nobody_else(far, proxy):
    with_password = proxy.address.replace("//", "//portal:hunter2@")
    post(URL, guard=Guard(), resolver=FixedResolver(PUBLIC), ssl_context=far.trust, proxy=with_password)
    assert "Proxy-Authorization: Basic cG9ydGFsOmh1bnRlcjI=" in proxy.asked[0].split("\r\n")
    assert b"authorization" not in far.requests[0].lower()


@pytest.mark.parametrize("name", ["Proxy-Authorization", "Proxy-Connection"])
def test_a_header_for_the_proxy_is_nobodys_to_set(far, proxy, name):
    assert post_by(proxy, far, headers=[(name, "x")]).error == "refused"
    assert proxy.connections == 0


# http, which only leads into networks that the operator has opened

OPENED = Guard(allow=["127.0.0.0/8"])


def test_http_is_forwarded_by_name_after_its_address_was_checked():
    seen = []
    with receiver(answering(http(200, b"plain"), seen)) as far:
        with proxying(lambda target: ("127.0.0.1", far.port)) as proxy:
            outcome = post(
                far.url("/h", host="receiver.internal"),
                guard=OPENED,
                resolver=FixedResolver("127.0.0.1"),
                proxy=proxy.address.replace("//", "//portal:hunter2@"),
            )
        assert (outcome.status, outcome.body) == (200, b"plain")
        assert outcome.address == f"127.0.0.1:{far.port}"
        assert proxy.targets == [far.url("/h", host="receiver.internal")]
        assert f"\r\nHost: receiver.internal:{far.port}\r\n".encode() in seen[0]
    assert "hunter2" not in seen[0].decode()
    assert "Proxy-Authorization: Basic cG9ydGFsOmh1bnRlcjI=" in proxy.asked[0].split("\r\n")


@pytest.mark.spec("S8")
def test_for_http_every_address_of_the_name_has_to_pass():
    with proxying() as proxy:
        resolver = FixedResolver("127.0.0.1", "10.0.0.1")
        outcome = post("http://receiver.internal:9000/", guard=OPENED, resolver=resolver, proxy=proxy.address)
        assert proxy.connections == 0
    assert outcome.error == "refused"


@pytest.mark.spec("S8")
def test_every_socket_leads_to_the_proxy():
    """The canary stands in for a proxy that accepts and says nothing."""
    with receiver(answering(http(200))) as plain, listening() as canaries:
        proxy = f"http://127.0.0.1:{canaries.port}"
        post(plain.url(), guard=OPENED, proxy=proxy, timeout=0.3)
        post(URL, guard=Guard(), resolver=FixedResolver(PUBLIC), proxy=proxy, timeout=0.3)
        assert canaries.connects == [("127.0.0.1", canaries.port)] * 2
        assert plain.connections == 0


def test_a_redirect_is_not_followed_by_way_of_the_proxy_either():
    with receiver(answering(http(204))) as other:
        with receiver(answering(http(307, b"", f"Location: {other.url()}\r\n"))) as far, proxying() as proxy:
            assert post(far.url(), guard=OPENED, proxy=proxy.address).status == 307
        assert other.connections == 0
