"""Client certificates (mTLS): read and checked when they are given, presented where a receiver asks for one.

A context is made for each certificate of each owner, and the pool keys its connections by context: one that was opened
with somebody's certificate is never used for anybody else, not even for the same certificate.

Python's ssl reads a private key from a file only. The file it is given holds the key sealed with a passphrase that is
drawn for that moment and never written down.
"""

import asyncio
import secrets
import ssl
import tempfile
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

MAX_PEM = 32 * 1024
MAX_RSA = 4096  # bits: what larger ones cost, at each handshake, is taken from everybody
MAX_CHAIN = 8
MAX_CONTEXTS = 64  # each holds the system's certificate authorities once more, about a megabyte


class CertificateRefused(ValueError):
    """`part` is "certificate" or "private_key"; the sentence repeats nothing of either."""

    def __init__(self, part: str, sentence: str) -> None:
        super().__init__(sentence)
        self.part = part
        self.sentence = sentence


@dataclass(frozen=True)
class ClientCertificate:
    """A chain in PEM, the client's own certificate first, and its private key. `owner` is whose it is."""

    owner: str
    not_after: datetime
    chain: str = field(repr=False)
    key: str = field(repr=False)


@dataclass(frozen=True)
class Particulars:
    """What a certificate says of itself. `fingerprint` is the SHA-256 of its DER."""

    subject: str
    issuer: str
    not_after: datetime
    fingerprint: str


def read(chain: str, key: str, at: datetime) -> tuple[str, str, Particulars]:
    """What was pasted, checked and written anew, so that nothing else of it is kept. Raises CertificateRefused."""
    certificates = _certificates(chain)
    own = certificates[0]
    try:
        particulars = Particulars(
            subject=own.subject.rfc4514_string(),
            issuer=own.issuer.rfc4514_string(),
            not_after=own.not_valid_after_utc,
            fingerprint=own.fingerprint(SHA256()).hex(":").upper(),
        )
        begins = own.not_valid_before_utc
        _bound(own.public_key(), "certificate")
        public = own.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except CertificateRefused:
        raise
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateRefused("certificate", "The certificate cannot be read.") from None
    if particulars.not_after <= at:
        raise CertificateRefused("certificate", f"The certificate expired on {_day(particulars.not_after)}.")
    if begins > at:
        raise CertificateRefused("certificate", f"The certificate is not valid before {_day(begins)}.")
    private, plain = _private_key(key)
    if private != public:
        raise CertificateRefused(
            "private_key",
            "The private key does not belong to the certificate (the first one, where there are several).",
        )
    written = "".join(one.public_bytes(Encoding.PEM).decode() for one in certificates)
    certificate = ClientCertificate("", particulars.not_after, written, plain)
    try:
        context_for(certificate)
    except (ssl.SSLError, ValueError):
        raise CertificateRefused("certificate", "TLS does not take this certificate, or its key is too weak.") from None
    return written, plain, particulars


def context_for(certificate: ClientCertificate, trust: ssl.SSLContext | None = None) -> ssl.SSLContext:
    """A client's context that presents the certificate. It trusts what `trust` does, else the system's authorities.

    Reads and derives for some hundredths of a second, so not in the event loop. Raises SSLError, ValueError.
    """
    context = ssl.create_default_context()
    if trust is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=b"".join(trust.get_ca_certs(binary_form=True)))
    context.set_alpn_protocols(["http/1.1"])
    passphrase = secrets.token_urlsafe(32)
    key = load_pem_private_key(certificate.key.encode(), None, unsafe_skip_rsa_key_validation=True)  # `read` has
    sealed = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase.encode()))
    with tempfile.NamedTemporaryFile(prefix="certificate-") as file:
        file.write(certificate.chain.encode() + sealed)
        file.flush()
        context.load_cert_chain(file.name, password=passphrase)
    return context


class Contexts:
    """The contexts of one client, the last used MAX_CONTEXTS of them. Many that ask at once get the same."""

    def __init__(self, trust: ssl.SSLContext | None) -> None:
        self._trust = trust
        self._made: OrderedDict[ClientCertificate, asyncio.Future[ssl.SSLContext]] = OrderedDict()

    async def of(self, certificate: ClientCertificate) -> ssl.SSLContext:
        """Raises SSLError, ValueError."""
        making = self._made.get(certificate)
        if making is None or (making.done() and (making.cancelled() or making.exception())):
            loop = asyncio.get_running_loop()
            making = loop.run_in_executor(None, context_for, certificate, self._trust)
            self._made[certificate] = making
        self._made.move_to_end(certificate)
        if len(self._made) > MAX_CONTEXTS:
            self._made.popitem(last=False)
        return await asyncio.shield(making)


def _certificates(chain: str) -> list[x509.Certificate]:
    if len(chain) > MAX_PEM:
        raise CertificateRefused("certificate", f"The chain may have at most {MAX_PEM // 1024} KB.")
    try:
        certificates = x509.load_pem_x509_certificates(chain.encode())
    except ValueError:
        raise CertificateRefused(
            "certificate", "This is no certificate in PEM: it begins with -----BEGIN CERTIFICATE-----."
        ) from None
    if len(certificates) > MAX_CHAIN:
        raise CertificateRefused("certificate", f"The chain may have at most {MAX_CHAIN} certificates.")
    return certificates


def _bound(key: object, part: str) -> None:
    if isinstance(key, RSAPublicKey | RSAPrivateKey) and key.key_size > MAX_RSA:
        raise CertificateRefused(part, f"RSA keys may have at most {MAX_RSA} bits.")


def _private_key(key: str) -> tuple[bytes, str]:
    """Its public half in DER, and the key itself in PKCS#8."""
    if len(key) > MAX_PEM:
        raise CertificateRefused("private_key", f"The key may have at most {MAX_PEM // 1024} KB.")
    try:
        # Whether its primes are any is asked when it is known to be no larger than it may.
        _bound(load_pem_private_key(key.encode(), None, unsafe_skip_rsa_key_validation=True), "private_key")
        private = load_pem_private_key(key.encode(), None)
        public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        plain = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    except CertificateRefused:
        raise
    except TypeError:
        raise CertificateRefused("private_key", "The key is locked with a passphrase: paste it without one.") from None
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateRefused(
            "private_key", "This is no private key in PEM: it begins with -----BEGIN PRIVATE KEY----- or alike."
        ) from None
    return public, plain.decode()


def _day(moment: datetime) -> str:
    return f"{moment.day} {moment:%B %Y}"
