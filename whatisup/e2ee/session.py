"""One session with a device: what X3DH agreed on, how far each ratchet has turned, and its packed form.

Rule: a value. The packed form is what is stored, equal sessions give equal bytes, and reading it costs microseconds.
"""

from __future__ import annotations

import struct
from typing import Final

from msgspec import Struct

from whatisup.crypto import KeyPair, Secret
from whatisup.e2ee.chain import KeyChain
from whatisup.errors import InvalidRecord

MAX_RECEIVING: Final = 5
"""How many of the peer's chains a session keeps; the oldest is dropped."""

# flags, base key, remote identity, root key, our ratchet (private, public), remote ratchet, registration id, previous
_FIXED: Final = struct.Struct(">B32s32s32s32s32s32sII")
MIN_LENGTH: Final = _FIXED.size
"""No packed session is shorter, in bytes."""
_PENDING: Final = struct.Struct(">II")  # signed prekey id, prekey id
_SENDING: Final = struct.Struct(">32sI")
_RECEIVING: Final = struct.Struct(">B32sII")  # flags, ratchet key, counter, bytes of kept keys
_KEY: Final = 32

_BASE_OURS, _HAS_PENDING, _HAS_PREKEY, _HAS_SENDING = 1, 2, 4, 8
_HAS_KEY = 1


class Pending(Struct, frozen=True):
    """Which prekeys of the peer's we used, to be named until they have answered."""

    signed_prekey_id: int
    prekey_id: int | None


class Receiving(Secret, frozen=True):
    """The chain that belongs to one ratchet key (32 bytes) of the peer's."""

    ratchet: bytes
    chain: KeyChain


class Session(Secret, frozen=True):
    """The state of one double ratchet. Keys have 32 bytes; `receiving` has the newest chain last.

    `base_key` names the session on both sides; `base_ours` says which side made it. `previous_counter` is the last
    counter we sent on the chain before this one.
    """

    base_key: bytes
    base_ours: bool
    remote_identity: bytes
    remote_registration_id: int
    root_key: bytes
    ratchet: KeyPair
    remote_ratchet: bytes
    previous_counter: int = 0
    pending: Pending | None = None
    sending: KeyChain | None = None
    receiving: tuple[Receiving, ...] = ()


def pack(session: Session) -> bytes:
    """Return the session's stored form."""
    pending, sending = session.pending, session.sending
    flags = _BASE_OURS if session.base_ours else 0
    tail = []
    if pending is not None:
        flags |= _HAS_PENDING if pending.prekey_id is None else _HAS_PENDING | _HAS_PREKEY
        tail.append(_PENDING.pack(pending.signed_prekey_id, pending.prekey_id or 0))
    if sending is not None and sending.key is not None:
        flags |= _HAS_SENDING
        tail.append(_SENDING.pack(sending.key, sending.counter))
    for receiving in session.receiving:
        chain = receiving.chain
        key = chain.key or b""
        tail += (_RECEIVING.pack(len(key) // _KEY, receiving.ratchet, chain.counter, len(chain.kept)), key, chain.kept)
    fixed = _FIXED.pack(
        flags,
        session.base_key,
        session.remote_identity,
        session.root_key,
        session.ratchet.private,
        session.ratchet.public,
        session.remote_ratchet,
        session.remote_registration_id,
        session.previous_counter,
    )
    return fixed + b"".join(tail)


def unpack(data: bytes) -> Session:
    """Read what `pack` wrote. Raises `InvalidRecord`."""
    try:
        return _unpack(data)
    except struct.error:
        raise InvalidRecord("a stored session is cut off") from None


def begun_with(packed: bytes) -> bytes | None:
    """Return the base key of a packed session that the peer began, without unpacking it; None where we did."""
    return None if packed[0] & _BASE_OURS else packed[1:33]


def identity_in(packed: bytes) -> bytes:
    """Return the remote identity (32 bytes) of a packed session, without unpacking it."""
    return packed[33:65]


def _unpack(data: bytes) -> Session:
    flags, base, identity, root, private, public, remote, registration, previous = _FIXED.unpack_from(data)
    at = _FIXED.size
    pending = sending = None
    if flags & _HAS_PENDING:
        signed_id, prekey_id = _PENDING.unpack_from(data, at)
        pending = Pending(signed_id, prekey_id if flags & _HAS_PREKEY else None)
        at += _PENDING.size
    if flags & _HAS_SENDING:
        key, counter = _SENDING.unpack_from(data, at)
        sending = KeyChain(key, counter)
        at += _SENDING.size
    return Session(
        base_key=base,
        base_ours=bool(flags & _BASE_OURS),
        remote_identity=identity,
        remote_registration_id=registration,
        root_key=root,
        ratchet=KeyPair(private, public),
        remote_ratchet=remote,
        previous_counter=previous,
        pending=pending,
        sending=sending,
        receiving=_unpack_receiving(data, at),
    )


def _unpack_receiving(data: bytes, at: int) -> tuple[Receiving, ...]:
    chains: list[Receiving] = []
    while at < len(data):
        flags, ratchet, counter, kept_length = _RECEIVING.unpack_from(data, at)
        key_at = at + _RECEIVING.size
        kept_at = key_at + (_KEY if flags & _HAS_KEY else 0)
        at = kept_at + kept_length
        if at > len(data):
            raise InvalidRecord("a stored session is cut off")
        chains.append(Receiving(ratchet, KeyChain(data[key_at:kept_at] or None, counter, data[kept_at:at])))
    return tuple(chains)
