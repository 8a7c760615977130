"""The self-signed TLS certificate of a sandbox that speaks `wss`.

Rule: its key is drawn from the seed's stream and kept with the state, so that who trusted it once trusts it after a
restart.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from whatisup.crypto import Entropy

_VALID: Final = timedelta(days=3650)
_RENEW: Final = timedelta(days=30)
# The group order of P-256, below which a private key must be.
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

# Python 3.13 verifies strictly: a certificate authority states its usage and names its key.
_KEY_USAGE: Final = x509.KeyUsage(
    digital_signature=True,
    key_cert_sign=True,
    crl_sign=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True, slots=True, repr=False)
class TlsIdentity:
    """A private key and the certificate for it, both PEM."""

    key: bytes
    certificate: bytes

    @classmethod
    def generate(cls, hosts: tuple[str, ...], unix_now: float, entropy: Entropy) -> TlsIdentity:
        """Make a certificate for these names and addresses."""
        key = ec.derive_private_key(int.from_bytes(entropy(40), "big") % (_ORDER - 1) + 1, ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "WhatIsUp sandbox")])
        since = datetime.fromtimestamp(unix_now, UTC) - timedelta(days=1)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(int.from_bytes(entropy(16), "big") >> 1 | 1)
            .not_valid_before(since)
            .not_valid_after(since + _VALID)
            .add_extension(x509.SubjectAlternativeName([_san(host) for host in hosts]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_KEY_USAGE, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return cls(private, certificate.public_bytes(serialization.Encoding.PEM))

    @classmethod
    def decode(cls, data: bytes) -> TlsIdentity:
        """Read what `encode` wrote."""
        key, _, certificate = data.partition(b"\0")
        return cls(key, certificate)

    def encode(self) -> bytes:
        """Return both, to be stored."""
        return self.key + b"\0" + self.certificate

    def fits(self, hosts: tuple[str, ...], unix_now: float) -> bool:
        """Whether it names these hosts and stays valid for a while."""
        certificate = x509.load_pem_x509_certificate(self.certificate)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        until = certificate.not_valid_after_utc
        return set(names) >= {_san(host) for host in hosts} and until - _RENEW > datetime.fromtimestamp(unix_now, UTC)

    def context(self) -> ssl.SSLContext:
        """Return a server's TLS context."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        # The ssl module reads files only; this one is ours alone and gone at once.
        with tempfile.TemporaryDirectory(prefix="whatisup-") as folder:
            path = os.path.join(folder, "identity.pem")
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(self.key + self.certificate)
            context.load_cert_chain(path)
        return context


def _san(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
