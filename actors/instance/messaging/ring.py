"""How an instance's keyring is filled from the store and written back.

Rule: what is read goes through the cache, in one read for a whole batch; what changed becomes operations of the unit
that also holds what was read or sealed with it, and enters the cache only when that unit is committed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from actors.instance.cache import NO_LEASE, KeyCache, KeyName
from whatisup.protocol.messaging.keyring import LID, PN, PREKEY, Keyring, Own, Wanted
from whatisup.store import DeleteAuth, ForgetPrekeys, Op, PutAuth, auth, ciphertexts
from whatisup.store.database import Database

FEW: Final = 64
"""How many keys are looked up at once without leaving the turn to others."""
# Prekeys come into being outside of keyrings, and each is used once.
_UNCACHED = frozenset({PREKEY})
_NAMES = frozenset({LID, PN})


class KeyShelf:
    """The keys of one instance, as one connection uses them; `renamings` counts commits that gave users other names."""

    __slots__ = ("_cache", "_database", "_instance_id", "_lease", "renamings")

    def __init__(self, database: Database, cache: KeyCache, instance_id: str) -> None:
        self._database = database
        self._cache = cache
        self._instance_id = instance_id
        self._lease = NO_LEASE
        self.renamings = 0

    def reopen(self) -> None:
        """Forget what is cached: another account may be behind the same names."""
        self.close()
        self._lease = self._cache.lease()

    def close(self) -> None:
        """Forget what is cached, and remember nothing until it is opened again."""
        self._cache.end(self._lease)
        self._lease = NO_LEASE

    def ring(self, own: Own) -> Keyring:
        """A keyring that knows who we are and has loaded nothing else."""
        ring = Keyring()
        ring.pin(own.pn, own.lid)
        return ring

    async def fill(self, ring: Keyring, wanted: Wanted) -> frozenset[bytes]:
        """Load what `ring` misses of `wanted`; returns those of the wanted ciphertext hashes that are stored.

        Raises:
            StoreUnavailable: the store cannot be read.
        """
        missing = ring.missing(wanted)
        found, unknown = self._cache.find(self._lease, missing.keys)
        known: frozenset[bytes] = frozenset()
        if unknown or missing.prefixes or wanted.hashes:
            ask = self._database.look if len(unknown) + len(wanted.hashes) <= FEW else self._database.read
            read, known = await ask(_load, self._instance_id, frozenset(unknown), missing.prefixes, wanted.hashes)
            fresh = {name: read.get(name) for name in unknown}
            self._keep(fresh)
            # What a prefix found may be staler than nothing in here: the cache changes with each commit of ours.
            found = {**read, **found, **fresh}
        ring.add(found, missing)
        return known

    def remember(self, changes: Mapping[KeyName, bytes | None]) -> None:
        """These values were committed."""
        self.renamings += any(kind in _NAMES for kind, _ in changes)
        self._keep(changes)

    def _keep(self, changes: Mapping[KeyName, bytes | None]) -> None:
        kept = {name: value for name, value in changes.items() if name[0] not in _UNCACHED}
        self._cache.put(self._lease, kept)


def _load(
    conn: Any,
    vault: Any,
    instance_id: str,
    names: frozenset[KeyName],
    prefixes: frozenset[KeyName],
    hashes: frozenset[bytes],
) -> tuple[dict[KeyName, bytes | None], frozenset[bytes]]:
    read = auth.load(conn, vault, instance_id, names, prefixes) if names or prefixes else {}
    known = ciphertexts.known(conn, None, instance_id, hashes) if hashes else frozenset()
    return read, known


def ops_of(changes: Mapping[KeyName, bytes | None]) -> list[Op]:
    """What writes a keyring's changes."""
    ops: list[Op] = []
    used: list[int] = []
    for (kind, name), value in changes.items():
        if kind == PREKEY:
            used.append(int(name))
        elif value is None:
            ops.append(DeleteAuth(kind, name))
        else:
            ops.append(PutAuth(kind, name, value))
    if used:
        ops.append(ForgetPrekeys(tuple(used)))
    return ops
