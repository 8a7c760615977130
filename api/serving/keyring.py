"""Keys that were shown before: who holds them, without asking the store again while nothing in it has changed.

Rule: a key is taken from here only if nobody, this process or another, has committed anything since its row was read.
So a key that is revoked, by the API or by `whatisup keys revoke`, opens nothing from that commit on, and the same holds
for limits and whatever else decides. Where the store cannot say cheaply whether it changed, every key is read.

What is remembered of a secret is its hash under a key that this process made up.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Final

from api.auth import Principal
from whatisup.store import Database, KeyRefusal, keys

MAX_KEYS: Final = 4096
_HASH_KEY_LENGTH: Final = 32


class Keyring:
    """The keys of one process; `entropy` gives random bytes."""

    def __init__(self, database: Database, entropy: Callable[[int], bytes], *, max_keys: int = MAX_KEYS) -> None:
        self._database = database
        self._store = database.store
        self._hash_key = entropy(_HASH_KEY_LENGTH)
        self._max = max_keys
        self._version: tuple[int, int] | None = None
        self._known: dict[bytes, Principal] = {}
        """Keys whose rows were read when the store was at `_version`."""

    def __len__(self) -> int:
        return len(self._known)

    async def authenticate(self, secret: str, now: int) -> Principal | KeyRefusal:
        """Say who holds a secret at `now` (unix milliseconds), or why it opens nothing."""
        version = self._store.version()
        if version is None or version != self._version:
            self._known.clear()
            self._version = version
        name = blake2b(secret.encode(), key=self._hash_key, digest_size=32).digest()
        known = self._known.get(name)
        if known is not None and (known.expires_at is None or known.expires_at > now):
            return known
        found = await self._database.look(keys.authenticate, secret, now)
        if isinstance(found, KeyRefusal):
            return found
        principal = Principal.of(found)
        # Read after the version was asked for: of what has changed in between the row may tell already, never less.
        if version is not None and version == self._version:
            self._keep(name, principal)
        return principal

    def _keep(self, name: bytes, principal: Principal) -> None:
        if len(self._known) >= self._max:
            del self._known[next(iter(self._known))]
        self._known[name] = principal
