"""Whose request it is, behind proxies that add to X-Forwarded-For and clients that make entries up."""

import pytest

from tenants.addresses import address_behind, client_address

PEER = "10.0.0.1"


@pytest.mark.parametrize(
    ("proxies", "forwarded", "client"),
    [
        (0, [], PEER),
        (0, [b"203.0.113.9"], PEER),
        (1, [b"203.0.113.9"], "203.0.113.9"),
        (1, [b"6.6.6.6, 203.0.113.9"], "203.0.113.9"),
        (1, [b"6.6.6.6", b"203.0.113.9"], "203.0.113.9"),
        (1, [b"nonsense,,203.0.113.9 "], "203.0.113.9"),
        (2, [b"6.6.6.6, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        (2, [b"6.6.6.6, 203.0.113.9", b"10.0.0.2"], "203.0.113.9"),
        (1, [b"203.0.113.9:4711"], "203.0.113.9"),
        (1, [b"2001:DB8::1"], "2001:db8::1"),
        (1, [b"[2001:db8::1]:443"], "2001:db8::1"),
        (1, [b"[2001:db8::1]"], "2001:db8::1"),
        (1, [b"::ffff:203.0.113.9"], "203.0.113.9"),
        (1, [b"fe80::1%eth0"], "fe80::1"),
        # Fewer entries than proxies, or none that is an address: it came another way than it should.
        (1, [], None),
        (2, [b"203.0.113.9"], None),
        (10, [b"1.1.1.1, 203.0.113.9"], None),
        (1, [b""], None),
        (1, [b"203.0.113.9,"], None),
        (1, [b"203.0.113.9, unknown"], None),
        (1, [b"203.0.113.9, _hidden"], None),
        (2, [b"6.6.6.6, , 10.0.0.2"], None),
        (1, [b"203.0.113.9\xff"], None),
        (1, [b"203.0.113.9:port"], None),
        (1, [b"[203.0.113.9"], None),
        (1, [b'"203.0.113.9"'], None),
    ],
    ids=str,
)
def test_the_client_is_counted_from_the_right(proxies, forwarded, client):
    assert address_behind(PEER, forwarded, proxies) == client


@pytest.mark.parametrize(("peer", "told"), [("::ffff:192.0.2.7", "192.0.2.7"), ("::1", "::1"), ("", None), ("a", None)])
def test_the_other_end_of_the_connection(peer, told):
    assert address_behind(peer, [], 0) == told


def test_of_a_request(rf, settings):
    request = rf.get("/", REMOTE_ADDR=PEER, HTTP_X_FORWARDED_FOR="6.6.6.6, 203.0.113.9")
    assert client_address(request) == PEER
    settings.TRUSTED_PROXIES = 1
    assert client_address(request) == "203.0.113.9"
    settings.TRUSTED_PROXIES = 3
    assert client_address(request) == ""
