"""Data keys as rows: made, fetched, destroyed, and wrapped anew when `SECRETS_KEY` changes.

Rule: a data key is destroyed before the rows it sealed, so that whatever else survives a crash opens for nobody.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from whatisup.errors import SealBroken, StoreError
from whatisup.store.prepared import Prepared
from whatisup.store.tables import canary, data_keys
from whatisup.store.vault import DataKey, Vault, Wrapped

_BY_ID = Prepared(select(data_keys).where(data_keys.c.id.in_(bindparam("ids", expanding=True))))
_BY_OWNER = Prepared(select(data_keys).where(data_keys.c.owner == bindparam("owner")))


def create(connection: Connection, vault: Vault, owner: str, now: int) -> DataKey:
    """Make and store the data key of an instance or a customer that has none."""
    key, wrapped = vault.make_key(owner)
    row = {"id": key.id, "owner": owner, "kek_id": wrapped.kek_id, "wrapped": wrapped.blob, "created_at": now}
    connection.execute(insert(data_keys), row)
    return key


def ensure(connection: Connection, vault: Vault, owner: str, now: int) -> None:
    """Make the data key of an owner that has none yet."""
    if _BY_OWNER.one_or_none(connection, owner=owner) is None:
        create(connection, vault, owner, now)


def fetch(connection: Connection, vault: Vault, ids: Collection[int]) -> dict[int, DataKey]:
    """Unwrap data keys by id, reading only those that are not in the vault's cache; missing ones are left out."""
    found = {key_id: key for key_id in ids if (key := vault.cached(key_id)) is not None}
    wanted = [key_id for key_id in ids if key_id not in found]
    if wanted:
        for row in _BY_ID.rows(connection, ids=wanted):
            found[row.id] = vault.unwrap(_wrapped(row))
    return found


def of_row(connection: Connection, vault: Vault, key_id: int, owner: str) -> DataKey:
    """Unwrap the data key that a row of `owner` names.

    Raises:
        SealBroken: that key is gone, or somebody else's: the row was moved, or outlived a wipe.
    """
    key = fetch(connection, vault, [key_id]).get(key_id)
    if key is None or key.owner != owner:
        raise SealBroken(f"a row of {owner} names a data key that is not {owner}'s")
    return key


def of_owner(connection: Connection, vault: Vault, owner: str) -> DataKey:
    """Unwrap the data key of an instance or a customer.

    Raises:
        StoreError: it has none.
    """
    row = _BY_OWNER.one_or_none(connection, owner=owner)
    if row is None:
        raise StoreError(f"{owner} has no data key")
    return vault.cached(row.id) or vault.unwrap(_wrapped(row))


def destroy(connection: Connection, owners: Collection[str]) -> list[int]:
    """Delete the data keys of these owners, and return their ids."""
    gone = connection.execute(delete(data_keys).where(data_keys.c.owner.in_(owners)).returning(data_keys.c.id))
    return list(gone.scalars())


def foreign_keks(connection: Connection, vault: Vault) -> list[str]:
    """Ids of key-encrypting keys that wrap data keys here and are not configured."""
    return [kek for kek in connection.execute(select(data_keys.c.kek_id).distinct()).scalars() if not vault.knows(kek)]


def rewrap_all(connection: Connection, vault: Vault) -> int:
    """Wrap every data key and the canary under the current key; returns how many data keys changed."""
    old = connection.execute(select(data_keys).where(data_keys.c.kek_id != vault.current_kek_id)).all()
    fresh = [vault.rewrap(_wrapped(row)) for row in old]
    if fresh:
        connection.execute(
            update(data_keys)
            .where(data_keys.c.id == bindparam("key_id"))
            .values(kek_id=bindparam("new_kek_id"), wrapped=bindparam("new_wrapped")),
            [{"key_id": one.id, "new_kek_id": one.kek_id, "new_wrapped": one.blob} for one in fresh],
        )
    kek_id, sealed = vault.make_canary()
    connection.execute(update(canary).values(kek_id=kek_id, sealed=sealed))
    return len(fresh)


def _wrapped(row: Any) -> Wrapped:
    return Wrapped(row.id, row.owner, row.kek_id, row.wrapped)
