"""The server's certificate chain: how a client knows that it speaks with the WhatsApp it means.

    CertChain = leaf, intermediate;  each = details (serialized), signature (XEdDSA, 64 bytes, over those very bytes)

The root (serial 0, known beforehand) signs the intermediate, the intermediate signs the leaf, and the leaf's key is the
server's static Noise key.

Rule: whatsmeow's full set of checks, in its order. (Baileys makes three of them and ignores what its signature checks
say, so that it accepts any chain: never compare with it.)
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from whatisup.crypto import (
    KEY_LENGTH,
    SIGNATURE_LENGTH,
    Entropy,
    KeyPair,
    constant_time_equal,
    xeddsa_sign,
    xeddsa_verify,
)
from whatisup.errors import CertificateError, RemoteProtocolError
from whatisup.wire.proto import CertChain, NoiseCertificate, NoiseCertificateDetails, parse

WHATSAPP_ROOT_PUBLIC: Final = bytes.fromhex("142375574d0a587166aae71ebe516437c4a28b73e3695c6ce1f7f9545da8ee6b")
"""The root key (Curve25519, 32 bytes) of the real WhatsApp, there called `WhatsAppLongTerm1`."""

ROOT_SERIAL: Final = 0
_INTERMEDIATE_SERIAL: Final = 1
_LEAF_SERIAL: Final = 2

# Where datetime ends; dates beyond (they are 64-bit numbers of the peer's choice) are shown as numbers.
_LAST_SECOND: Final = 253_402_300_799


def verify_chain(chain_bytes: bytes, *, server_static: bytes, root_public: bytes, unix_now: float) -> None:
    """Check a serialized `CertChain` against the server's static key (32 bytes) and the root's (32 bytes).

    Raises `CertificateError` with a reason of `malformed`, `wrong_root`, `wrong_serial`, `bad_signature`,
    `not_yet_valid`, `expired` or `wrong_leaf_key`.
    """
    try:
        chain = parse(CertChain, chain_bytes)
    except RemoteProtocolError:
        raise CertificateError("malformed", "the certificate chain is broken") from None
    _check_shape("leaf", chain.leaf)
    _check_shape("intermediate", chain.intermediate)
    if not xeddsa_verify(root_public, chain.intermediate.details, chain.intermediate.signature):
        raise CertificateError("wrong_root", "the intermediate certificate is not signed by the root key we trust")
    intermediate = _details("intermediate", chain.intermediate)
    if intermediate.issuerSerial != ROOT_SERIAL:
        raise CertificateError("wrong_serial", "the intermediate certificate names another issuer than the root")
    if len(intermediate.key) != KEY_LENGTH:
        raise CertificateError("malformed", "the intermediate certificate's key has a wrong length")
    if not xeddsa_verify(intermediate.key, chain.leaf.details, chain.leaf.signature):
        raise CertificateError("bad_signature", "the leaf certificate is not signed by the intermediate's key")
    _check_dates("intermediate", intermediate, unix_now)
    leaf = _details("leaf", chain.leaf)
    if leaf.issuerSerial != intermediate.serial:
        raise CertificateError("wrong_serial", "the leaf certificate names another issuer than the intermediate")
    if not constant_time_equal(leaf.key, server_static):
        raise CertificateError("wrong_leaf_key", "the leaf certificate is for another key than the server's")
    _check_dates("leaf", leaf, unix_now)


def _check_shape(name: str, certificate: NoiseCertificate) -> None:
    if not (certificate.HasField("details") and certificate.HasField("signature")):
        raise CertificateError("malformed", f"the {name} certificate has no details or no signature")
    if len(certificate.signature) != SIGNATURE_LENGTH:
        raise CertificateError("malformed", f"the {name} certificate's signature has a wrong length")


def _details(name: str, certificate: NoiseCertificate) -> NoiseCertificateDetails:
    try:
        return parse(NoiseCertificateDetails, certificate.details)
    except RemoteProtocolError:
        raise CertificateError("malformed", f"the {name} certificate's details are broken") from None


def _check_dates(name: str, details: NoiseCertificateDetails, unix_now: float) -> None:
    if details.notBefore <= unix_now <= details.notAfter:
        return
    reason = "not_yet_valid" if unix_now < details.notBefore else "expired"
    window = f"valid from {_date(details.notBefore)} to {_date(details.notAfter)}"
    raise CertificateError(reason, f"the {name} certificate is {window}; our clock says {_date(int(unix_now))}")


def _date(unix: int) -> str:
    if not 0 <= unix <= _LAST_SECOND:
        return f"second {unix}"
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def mint_chain(
    root: KeyPair,
    intermediate: KeyPair,
    server_static_public: bytes,
    *,
    not_before: int,
    not_after: int,
    entropy: Entropy,
    leaf_key: bytes | None = None,
) -> bytes:
    """Return a serialized `CertChain` for a server with that static key (32 bytes), valid between two unix seconds.

    `leaf_key` replaces the static key in the leaf, for a chain that clients must refuse.
    """

    def sign(signer: KeyPair, serial: int, issuer: int, key: bytes) -> NoiseCertificate:
        # Serial 0 is set and not left out: Baileys refuses an intermediate without its issuer's serial.
        details = NoiseCertificateDetails(
            serial=serial, issuerSerial=issuer, key=key, notBefore=not_before, notAfter=not_after
        ).SerializeToString()
        return NoiseCertificate(details=details, signature=xeddsa_sign(signer.private, details, entropy))

    return CertChain(
        leaf=sign(intermediate, _LEAF_SERIAL, _INTERMEDIATE_SERIAL, leaf_key or server_static_public),
        intermediate=sign(root, _INTERMEDIATE_SERIAL, ROOT_SERIAL, intermediate.public),
    ).SerializeToString()
