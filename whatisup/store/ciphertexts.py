"""Which ciphertexts were decrypted already, by hash."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection

from whatisup.store.vault import Vault


def known(conn: Connection, _vault: Vault | None, instance_id: str, hashes: Collection[bytes]) -> frozenset[bytes]:
    """Those of `hashes` (32 bytes each) that were decrypted before."""
    raise NotImplementedError
