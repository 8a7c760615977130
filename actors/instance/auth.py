"""Which auth rows one connection needs, and how they are read and written.

Rule: a connection loads four rows by key and nothing else; prekeys and, later, session records are read when used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from whatisup.crypto import Entropy, generate_keypair
from whatisup.protocol.credentials import Account, Credentials
from whatisup.store import MarkPrekeys, Op, PutAuth, PutPrekeys, auth

CREDENTIALS = "credentials"
ACCOUNT = "account"
ROUTING_INFO = "routing_info"
PROPS_HASH = "props_hash"
OWN = "own"


@dataclass(frozen=True, slots=True, repr=False)
class AuthState:
    """What one connection starts from. `account` is None until a phone has linked this device."""

    credentials: Credentials
    account: Account | None
    routing_info: bytes | None
    props_hash: str | None


_NAMES: Final = ((CREDENTIALS, OWN), (ACCOUNT, OWN), (ROUTING_INFO, OWN), (PROPS_HASH, OWN))


def load(conn: Any, vault: Any, instance_id: str) -> AuthState | None:
    """Read the auth state of one instance in a store's read, by one statement; None when there is none."""
    found = auth.load(conn, vault, instance_id, _NAMES)
    credentials, account, routing_info, props_hash = (found[name] for name in _NAMES)
    if credentials is None:
        return None
    return AuthState(
        Credentials.decode(credentials),
        None if account is None else Account.decode(account),
        routing_info,
        None if props_hash is None else props_hash.decode(),
    )


def put_credentials(credentials: Credentials) -> Op:
    """Store the device's own keys."""
    return PutAuth(CREDENTIALS, OWN, credentials.encode())


def put_account(account: Account) -> Op:
    """Store the account this device belongs to."""
    return PutAuth(ACCOUNT, OWN, account.encode())


def put_routing_info(routing_info: bytes) -> Op:
    """Store what the next connection's prologue shall carry."""
    return PutAuth(ROUTING_INFO, OWN, routing_info)


def put_props_hash(props_hash: str) -> Op:
    """Store the hash of the server's properties, to be sent with the next question for them."""
    return PutAuth(PROPS_HASH, OWN, props_hash.encode())


@dataclass(frozen=True, slots=True, repr=False)
class PrekeyBatch:
    """New one-time prekeys: `stored` are (id, private) rows, `public` the (id, public) pairs to upload."""

    stored: tuple[tuple[int, bytes], ...]
    public: tuple[tuple[int, bytes], ...]

    @property
    def key_ids(self) -> tuple[int, ...]:
        """The ids, in order."""
        return tuple(key_id for key_id, _ in self.stored)

    def ops(self) -> tuple[Op, ...]:
        """Store the privates and mark them as offered: should the answer never come, they are not offered again."""
        return PutPrekeys(self.stored), MarkPrekeys(self.key_ids, "offered")


# Prekey ids have 24 bits; 0 is not used and the count starts over before the limit.
MAX_PREKEY_ID = (1 << 24) - 1


def generate_prekeys(first_id: int, count: int, entropy: Entropy) -> PrekeyBatch:
    """Make `count` one-time prekeys from `first_id` on (about 45 microseconds each: call it in a thread)."""
    ids: Sequence[int] = [(first_id - 1 + index) % MAX_PREKEY_ID + 1 for index in range(count)]
    pairs = [(key_id, generate_keypair(entropy)) for key_id in ids]
    return PrekeyBatch(
        tuple((key_id, pair.private) for key_id, pair in pairs),
        tuple((key_id, pair.public) for key_id, pair in pairs),
    )
