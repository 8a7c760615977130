"""Which ciphertexts were decrypted already, by hash: what spares a ratchet a second try, for 14 days."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import Connection, bindparam, select

from whatisup.store.prepared import Prepared
from whatisup.store.tables import ciphertexts
from whatisup.store.vault import Vault

LIFETIME_MS: Final = 14 * 24 * 3600 * 1000

_KNOWN: Final = Prepared(
    select(ciphertexts.c.hash).where(
        ciphertexts.c.instance_id == bindparam("instance"), ciphertexts.c.hash.in_(bindparam("hashes", expanding=True))
    )
)


def known(conn: Connection, _vault: Vault | None, instance_id: str, hashes: Collection[bytes]) -> frozenset[bytes]:
    """Those of `hashes` (32 bytes each) that were decrypted before."""
    if not hashes:
        return frozenset()
    return frozenset(map(bytes, _KNOWN.scalars(conn, instance=instance_id, hashes=hashes)))
