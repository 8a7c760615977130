"""X3DH: two sides that never spoke agree on a root key, from the prekeys of one of them.

Rule: both sides concatenate the same secrets in the same order; a bundle whose signed prekey is not signed is refused.

Source: Signal's X3DH, as whatsmeow and Baileys do it. (libsignal for Node skips the signature check; we do not.)
"""

from __future__ import annotations

from typing import Final

from whatisup.crypto import KEY_LENGTH, Entropy, KeyPair, generate_keypair, hkdf_sha256, xeddsa_verify
from whatisup.e2ee.chain import KeyChain
from whatisup.e2ee.envelope import PrekeyHeader, typed
from whatisup.e2ee.identity import OwnIdentity, PeerBundle
from whatisup.e2ee.ratchet import agree, turn
from whatisup.e2ee.session import Pending, Session
from whatisup.errors import InvalidKey, InvalidSignature

_DISCONTINUITY: Final = b"\xff" * KEY_LENGTH


def initiate(own: OwnIdentity, bundle: PeerBundle, entropy: Entropy) -> Session:
    """Return the session that a bundle of the peer's starts; takes a base key, then a ratchet key, from entropy.

    Raises `InvalidSignature` or `InvalidKey`.
    """
    _check(bundle)
    base, ratchet = generate_keypair(entropy), generate_keypair(entropy)
    secrets = [
        agree(own.pair.private, bundle.signed_prekey),
        agree(base.private, bundle.identity),
        agree(base.private, bundle.signed_prekey),
    ]
    if bundle.prekey is not None:
        secrets.append(agree(base.private, bundle.prekey))
    root_key, chain_key = turn(_root_key(secrets), ratchet.private, bundle.signed_prekey)
    return Session(
        base_key=base.public,
        base_ours=True,
        remote_identity=bundle.identity,
        remote_registration_id=bundle.registration_id,
        root_key=root_key,
        ratchet=ratchet,
        remote_ratchet=bundle.signed_prekey,
        pending=Pending(bundle.signed_prekey_id, bundle.prekey_id),
        sending=KeyChain(chain_key),
    )


def respond(own: OwnIdentity, header: PrekeyHeader, signed_prekey: KeyPair, prekey: KeyPair | None) -> Session:
    """Return the session that a peer's prekey message starts, before its first message was read. Raises `InvalidKey`.

    `prekey` is the one-time prekey that the header names.
    """
    secrets = [
        agree(signed_prekey.private, header.identity),
        agree(own.pair.private, header.base_key),
        agree(signed_prekey.private, header.base_key),
    ]
    if prekey is not None:
        secrets.append(agree(prekey.private, header.base_key))
    return Session(
        base_key=header.base_key,
        base_ours=False,
        remote_identity=header.identity,
        remote_registration_id=header.registration_id,
        root_key=_root_key(secrets),
        ratchet=signed_prekey,
        remote_ratchet=header.base_key,
    )


def _check(bundle: PeerBundle) -> None:
    if (bundle.prekey is None) != (bundle.prekey_id is None):
        raise InvalidKey("a one-time prekey comes with its id")
    if not xeddsa_verify(bundle.identity, typed(bundle.signed_prekey), bundle.signature):
        raise InvalidSignature("a signed prekey is not signed by its device's identity")


def _root_key(secrets: list[bytes]) -> bytes:
    return hkdf_sha256(_DISCONTINUITY + b"".join(secrets), info=b"WhisperText", length=2 * KEY_LENGTH)[:KEY_LENGTH]
