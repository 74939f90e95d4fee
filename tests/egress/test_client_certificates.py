"""Client certificates: what is taken, when one is presented, and that nobody uses another's connection."""

import asyncio
import datetime
import secrets
import ssl
from pathlib import Path

import pytest
import uvloop
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from egress import certificates
from egress.authentication import authenticated_post
from egress.certificates import CertificateRefused, ClientCertificate, Contexts, read
from egress.client import Client, OutgoingRequest
from egress.guard import Guard
from tests.authorities import Authority, pem
from tests.egress.posting import LOOPBACK
from tests.egress.proxy import proxying
from tests.egress.receivers import FixedResolver, http, read_request, receiver

NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def demanding(authority):
    """A receiver that lets in who has a certificate, and answers whose it was."""

    def behave(conn):
        who = conn.getpeercert()["subject"][0][0][1].encode()
        while read_request(conn):
            conn.sendall(http(200, who))

    with receiver(behave, authority.server()) as far:
        yield far


@pytest.fixture(params=["asyncio", "uvloop"])
def post(request, authority):
    """post(url, *certificates) → the outcomes, one after another over one client."""
    loop = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}[request.param]

    def send(url, *owned, guard=LOOPBACK, **options):
        async def run():
            async with Client(guard, ssl_context=authority.trust(), **options) as client:
                outgoing = OutgoingRequest(url, (), b"{}", 5.0)
                return [await authenticated_post(client, outgoing, certificate) for certificate in owned]

        with asyncio.Runner(loop_factory=loop) as runner:
            return runner.run(run())

    return send


def owned(authority: Authority, owner: str = "one", name: str = "client-one", ends: float = 365) -> ClientCertificate:
    chain, key = authority.issue(name, begins=min(-1, ends - 1), ends=ends)
    return ClientCertificate(owner, NOW + datetime.timedelta(days=ends), chain, key)


def not_let_in(outcome) -> bool:
    """Whether the alert is read before the connection is reset is a race, on the machine as on the net."""
    return outcome.status is None and outcome.error in {"tls", "reset"} and "client certificate" in outcome.detail


def https(far) -> str:
    return far.url(scheme="https")


def test_a_receiver_that_demands_a_certificate_gets_it(demanding, authority, post):
    (outcome,) = post(https(demanding), owned(authority))
    assert (outcome.status, outcome.body) == (200, b"client-one")


def test_without_a_certificate_nothing_gets_in_and_the_record_says_what_is_missing(demanding, post):
    (outcome,) = post(https(demanding), None)
    assert not_let_in(outcome)


def test_one_of_another_authority_does_not_get_in(demanding, tmp_path, post):
    strange = Authority(tmp_path, "Somebody else")
    (outcome,) = post(https(demanding), owned(strange))
    assert not_let_in(outcome)


def test_the_receiver_still_has_to_prove_itself(demanding, authority, tmp_path):
    async def run():
        async with Client(LOOPBACK, ssl_context=Authority(tmp_path, "Somebody else").trust()) as client:
            return await authenticated_post(client, OutgoingRequest(https(demanding), (), b"{}"), owned(authority))

    outcome = asyncio.run(run())
    assert (outcome.status, outcome.error) == (None, "tls")


def test_a_connection_is_kept_for_its_owner_and_not_used_for_another(demanding, authority, post):
    one = owned(authority)
    same_of_another = ClientCertificate("two", one.not_after, one.chain, one.key)
    other = owned(authority, "three", "client-three")
    outcomes = post(https(demanding), one, one, same_of_another, other, one, None)
    assert [outcome.body for outcome in outcomes] == [b"client-one"] * 3 + [b"client-three", b"client-one", b""]
    assert [outcome.connect_ms is None for outcome in outcomes[:5]] == [False, True, False, False, True]
    assert not_let_in(outcomes[5])


def test_a_changed_certificate_is_presented_at_once(demanding, authority, post):
    outcomes = post(https(demanding), owned(authority), owned(authority, name="client-renewed"))
    assert [outcome.body for outcome in outcomes] == [b"client-one", b"client-renewed"]


def test_an_expired_one_is_not_presented_and_says_so(demanding, authority, post):
    (outcome,) = post(https(demanding), owned(authority, ends=-1))
    assert (outcome.status, outcome.error) == (None, "client_certificate")
    assert "expired on" in outcome.detail
    assert demanding.connections == 0


def test_over_plain_http_nothing_is_sent(authority, post):
    with receiver(lambda conn: None) as far:
        (outcome,) = post(far.url(), owned(authority))
        assert far.connections == 0
    assert (outcome.status, outcome.error) == (None, "client_certificate")


def test_one_that_tls_does_not_take_is_an_outcome(authority, post):
    (outcome,) = post("https://127.0.0.1:1/", ClientCertificate("x", NOW + datetime.timedelta(days=1), "", "x"))
    assert (outcome.status, outcome.error) == (None, "client_certificate")


def test_the_guard_looks_at_the_address_all_the_same(demanding, authority, post):
    url = demanding.url(scheme="https", host="hooks.example.com")
    (outcome,) = post(url, owned(authority), guard=Guard(), resolver=FixedResolver("127.0.0.1"))
    assert outcome.error == "refused"
    assert demanding.connections == 0


def test_it_is_presented_through_a_proxy(demanding, authority, post):
    with proxying() as proxy:
        (outcome,) = post(https(demanding), owned(authority), proxy=proxy.address)
        assert proxy.targets == [f"127.0.0.1:{demanding.port}"]
    assert outcome.body == b"client-one"


def test_many_at_once_make_one_context_and_few_are_kept(authority, monkeypatch):
    made = []

    def count(certificate, trust=None):
        made.append(certificate.owner)
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    monkeypatch.setattr("egress.certificates.context_for", count)
    monkeypatch.setattr("egress.certificates.MAX_CONTEXTS", 3)

    async def run():
        contexts = certificates.Contexts(None)
        await asyncio.gather(*(contexts.of(ClientCertificate("one", NOW, "", "")) for _ in range(50)))
        assert made == ["one"]
        for owner in ("two", "three", "four"):
            await contexts.of(ClientCertificate(owner, NOW, "", ""))
        await contexts.of(ClientCertificate("one", NOW, "", ""))

    asyncio.run(run())
    assert made == ["one", "two", "three", "four", "one"]


def test_a_private_key_never_lies_open_in_a_file(authority, monkeypatch):
    written = []
    load = ssl.SSLContext.load_cert_chain

    def look(self, certfile, *rest, **named):
        written.append((certfile, Path(certfile).read_text()))
        return load(self, certfile, *rest, **named)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", look)
    certificate = owned(authority)
    certificates.context_for(certificate)
    ((name, text),) = written
    assert "BEGIN ENCRYPTED PRIVATE KEY" in text
    assert certificate.key.split("\n")[1] not in text
    assert not Path(name).exists()


# What is taken


def test_what_is_taken_is_written_anew_with_its_particulars(authority):
    certificate, key = authority.issue("client-one", ends=10)
    chain, plain, told = read(f"Bag Attributes\n{certificate}{authority.certificate}\n{key}", f"\n{key}", NOW)
    assert chain == certificate + authority.certificate
    assert plain == key
    assert (told.subject, told.issuer) == ("CN=client-one", "CN=Test authority")
    assert NOW < told.not_after < NOW + datetime.timedelta(days=11)
    assert len(told.fingerprint.split(":")) == 32


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)])
def test_a_key_of_another_certificate_is_refused(authority, key):
    refused(authority.issue("a")[0], pem(key), "private_key", "does not belong")


def test_a_chain_in_the_wrong_order_is_refused(authority):
    certificate, key = authority.issue("a")
    refused(authority.certificate + certificate, key, "private_key", "the first one")


@pytest.mark.parametrize(
    ("begins", "ends", "words"), [(-5, -1, "The certificate expired on"), (2, 5, "is not valid before")]
)
def test_one_that_is_not_valid_now_is_refused(authority, begins, ends, words):
    refused(*authority.issue("a", begins=begins, ends=ends), "certificate", words)


@pytest.mark.parametrize(
    "chain",
    ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "-----BEGIN CERTIFICATE-----", "é" * 50],
)
def test_what_is_no_certificate_is_refused(authority, chain):
    refused(chain, authority.issue("a")[1], "certificate", "no certificate in PEM")


def test_too_much_is_refused(authority):
    certificate, key = authority.issue("a")
    refused(certificate * 9, key, "certificate", "at most 8 certificates")
    refused(certificate + "x" * 40_000, key, "certificate", "at most 32 KB")
    refused(certificate, key + "x" * 40_000, "private_key", "at most 32 KB")


@pytest.mark.parametrize("key", ["", "x", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"])
def test_what_is_no_key_is_refused(authority, key):
    refused(authority.issue("a")[0], key, "private_key", "no private key in PEM")


def test_a_locked_key_is_refused_and_says_why(authority):
    locked = pem(ec.generate_private_key(ec.SECP256R1()), b"passphrase")
    refused(authority.issue("a")[0], locked, "private_key", "without one")


def refused(chain: str, key: str, part: str, words: str) -> None:
    with pytest.raises(CertificateRefused, match=words) as caught:
        read(chain, key, NOW)
    assert caught.value.part == part


def large(bits: int = 16_384) -> rsa.RSAPrivateKey:
    """No primes at all, which are asked for last: they take long to find, and to be known for what they are."""
    p, q = (secrets.randbits(bits // 2) | 1 | 3 << bits // 2 - 2 for _ in range(2))
    public = rsa.RSAPublicNumbers(65537, p * q)
    return rsa.RSAPrivateNumbers(p, q, 3, 3, 3, 3, public).private_key(unsafe_skip_rsa_key_validation=True)


@pytest.mark.spec("B8")
def test_an_rsa_key_of_any_size_is_not_even_looked_at(authority, monkeypatch):
    """It would take the time of everybody's requests, here and at each handshake."""
    asked, real = [], certificates.load_pem_private_key

    def load(*given, **options):
        asked.append(options)
        return real(*given, **options)

    monkeypatch.setattr(certificates, "load_pem_private_key", load)
    refused(authority.issue("a")[0], pem(large()), "private_key", "at most 4096 bits")
    assert asked == [{"unsafe_skip_rsa_key_validation": True}]
    refused(authority.issue("a", key=large(8192))[0], pem(large()), "certificate", "at most 4096 bits")


def test_no_more_time_is_spent_on_a_certificate_than_the_request_has(authority, monkeypatch):
    certificate, key = authority.issue("a")
    never = asyncio.Event()
    monkeypatch.setattr(Contexts, "of", lambda self, certificate: never.wait())
    given = ClientCertificate("me", NOW + datetime.timedelta(days=1), certificate, key)
    request = OutgoingRequest("https://127.0.0.1:1/", (), b"", timeout=0.2, certificate=given)

    async def run():
        async with Client(LOOPBACK) as client:
            return await client.post(request)

    outcome = asyncio.run(run())
    assert (outcome.error, outcome.status) == ("timeout", None)
    assert outcome.total_ms >= 200
