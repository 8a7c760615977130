"""The sandbox's certificate authority: the root that clients are told to trust, and the chain under it.

Rule: the good chain is good in every respect (dates, serials, leaf key); each bad one is bad in exactly one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from whatisup.crypto import Entropy, KeyPair, generate_keypair, keypair_from_private
from whatisup.wire import mint_chain

Variant: TypeAlias = Literal["expired", "wrong-leaf-key", "wrong-root"]

_DAY: Final = 86_400
_VALID_DAYS: Final = 365
_RENEW_DAYS: Final = 30
_KEYS: Final = 4


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """What the server shows of itself in a handshake: its static key pair and the serialized certificate chain."""

    static: KeyPair
    chain: bytes


class Authority:
    """Mints chains for the server's static key; the good one is kept and renewed a month before its end."""

    def __init__(self, root: KeyPair, intermediate: KeyPair, static: KeyPair, stranger: KeyPair) -> None:
        self._root = root
        self._intermediate = intermediate
        self._static = static
        self._stranger = stranger
        self._good: ServerIdentity | None = None
        self._renew_at = 0.0

    @classmethod
    def generate(cls, entropy: Entropy) -> Authority:
        """Make a new authority."""
        root, intermediate, static, stranger = (generate_keypair(entropy) for _ in range(_KEYS))
        return cls(root, intermediate, static, stranger)

    def encode(self) -> bytes:
        """Return the private keys (128 bytes), to be stored."""
        return b"".join(pair.private for pair in (self._root, self._intermediate, self._static, self._stranger))

    @classmethod
    def decode(cls, data: bytes) -> Authority:
        """Read what `encode` wrote."""
        root, intermediate, static, stranger = (
            keypair_from_private(data[start : start + 32]) for start in range(0, 32 * _KEYS, 32)
        )
        return cls(root, intermediate, static, stranger)

    @property
    def root_public(self) -> bytes:
        """The root key (32 bytes) that clients must trust."""
        return self._root.public

    def identity(self, unix_now: float, entropy: Entropy) -> ServerIdentity:
        """Return the good identity."""
        if self._good is None or unix_now >= self._renew_at:
            self._good = ServerIdentity(self._static, self._mint(unix_now - _DAY, _VALID_DAYS, entropy))
            self._renew_at = unix_now + (_VALID_DAYS - _RENEW_DAYS) * _DAY
        return self._good

    def bad_identity(self, variant: Variant, unix_now: float, entropy: Entropy) -> ServerIdentity:
        """Return an identity which clients must refuse, for that one reason."""
        since = unix_now - _DAY
        match variant:
            case "expired":
                chain = self._mint(unix_now - _VALID_DAYS * _DAY, _VALID_DAYS - 1, entropy)
            case "wrong-leaf-key":
                chain = self._mint(since, _VALID_DAYS, entropy, leaf_key=self._stranger.public)
            case _:
                chain = self._mint(since, _VALID_DAYS, entropy, root=self._stranger)
        return ServerIdentity(self._static, chain)

    def _mint(
        self, since: float, days: int, entropy: Entropy, *, root: KeyPair | None = None, leaf_key: bytes | None = None
    ) -> bytes:
        return mint_chain(
            root or self._root,
            self._intermediate,
            self._static.public,
            not_before=int(since),
            not_after=int(since) + days * _DAY,
            entropy=entropy,
            leaf_key=leaf_key,
        )
