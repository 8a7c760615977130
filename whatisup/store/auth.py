"""Auth state, read by key: one sealed value at a time, never a session whole.

Rule: it is written by units alone (`apply.py`), under the incarnation of the actor that owns it; the one exception is
wiping what has no owner any more.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import Connection, and_, bindparam, or_, select

from whatisup.store import datakeys
from whatisup.store.handlers.auth import wipe_auth
from whatisup.store.prepared import Prepared
from whatisup.store.tables import auth_state, data_keys, instances, prekeys
from whatisup.store.transaction import Tx
from whatisup.store.vault import Vault
from whatisup.store.wanted import ask, both

_VALUE: Final = Prepared(
    select(auth_state.c.sealed, auth_state.c.data_key_id).where(
        auth_state.c.instance_id == bindparam("instance"),
        auth_state.c.kind == bindparam("kind"),
        auth_state.c.name == bindparam("name"),
    )
)
_PREKEY: Final = Prepared(
    select(prekeys.c.private, prekeys.c.data_key_id).where(
        prekeys.c.instance_id == bindparam("instance"), prekeys.c.prekey_id == bindparam("prekey")
    )
)


_BY_NAME = both(
    lambda wanted: select(auth_state).select_from(
        wanted.outerjoin(
            auth_state,
            and_(
                auth_state.c.instance_id == bindparam("instance"),
                auth_state.c.kind == wanted.c.kind,
                auth_state.c.name == wanted.c.name,
            ),
        )
    ),
    "kind",
    "name",
)
_BY_PREFIX = both(
    lambda wanted: select(auth_state).select_from(
        wanted.outerjoin(
            auth_state,
            and_(
                auth_state.c.instance_id == bindparam("instance"),
                auth_state.c.kind == wanted.c.kind,
                auth_state.c.name >= wanted.c.prefix,
                auth_state.c.name < wanted.c.prefix.concat(bindparam("top")),
            ),
        )
    ),
    "kind",
    "prefix",
)
_PREKEYS: Final = Prepared(
    select(prekeys).where(
        prekeys.c.instance_id == bindparam("instance"), prekeys.c.prekey_id.in_(bindparam("ids", expanding=True))
    )
)
_NEXT_PREKEY_ID: Final = Prepared(select(instances.c.next_prekey_id).where(instances.c.id == bindparam("instance")))
_IN_STATE: Final = Prepared(
    select(prekeys.c.prekey_id)
    .where(prekeys.c.instance_id == bindparam("instance"), prekeys.c.state == bindparam("state_"))
    .order_by(prekeys.c.prekey_id)
    .limit(bindparam("most"))
)

PREKEY: Final = "prekey"
_TOP: Final = "\U0010ffff"
"""After every character a name may hold."""


def get(conn: Connection, vault: Vault, instance_id: str, kind: str, key: str) -> bytes | None:
    """One piece of auth state, or None.

    Raises:
        SealBroken: the row was moved here from elsewhere, or changed.
    """
    row = _VALUE.one_or_none(conn, instance=instance_id, kind=kind, name=key)
    if row is None:
        return None
    data_key = datakeys.of_row(conn, vault, row.data_key_id, instance_id)
    return vault.open(data_key, "auth_state", "sealed", (kind, key), row.sealed)


def load(
    conn: Connection,
    vault: Vault,
    instance_id: str,
    keys: Collection[tuple[str, str]],
    prefixes: Collection[tuple[str, str]] = (),
) -> dict[tuple[str, str], bytes | None]:
    """Many pieces of auth state by (kind, name), None for each that is not there; a statement for each way of asking.

    ("prekey", "17") is the private key of prekey 17. `prefixes` add every row of a kind whose name starts so.

    Raises:
        SealBroken: a row was moved here from elsewhere, or changed.
    """
    names = [key for key in keys if key[0] != PREKEY]
    found: dict[tuple[str, str], bytes | None] = dict.fromkeys(keys)
    rows = [
        *ask(conn, _BY_NAME, names, instance=instance_id),
        *ask(conn, _BY_PREFIX, prefixes, instance=instance_id, top=_TOP),
    ]
    for row in rows:
        data_key = datakeys.of_row(conn, vault, row.data_key_id, instance_id)
        found[row.kind, row.name] = vault.open(data_key, "auth_state", "sealed", (row.kind, row.name), row.sealed)
    ids = [int(name) for kind, name in keys if kind == PREKEY]
    for row in _PREKEYS.rows(conn, instance=instance_id, ids=ids) if ids else ():
        data_key = datakeys.of_row(conn, vault, row.data_key_id, instance_id)
        private = vault.open(data_key, "prekeys", "private", (str(row.prekey_id),), row.private)
        found[PREKEY, str(row.prekey_id)] = private
    return found


def next_prekey_id(conn: Connection, _vault: Vault | None, instance_id: str) -> int:
    """The first prekey id that was never used by this instance's keys; 1 at first."""
    return _NEXT_PREKEY_ID.scalar(conn, instance=instance_id) or 1


def prekey(conn: Connection, vault: Vault, instance_id: str, prekey_id: int) -> bytes | None:
    """The private key (32 bytes) of one prekey, or None."""
    row = _PREKEY.one_or_none(conn, instance=instance_id, prekey=prekey_id)
    if row is None:
        return None
    data_key = datakeys.of_row(conn, vault, row.data_key_id, instance_id)
    return vault.open(data_key, "prekeys", "private", (str(prekey_id),), row.private)


def prekey_ids(conn: Connection, _vault: Vault | None, instance_id: str, state: str, limit: int = 1000) -> list[int]:
    """The ids of an instance's prekeys in one state: "generated", "offered" or "uploaded"."""
    return _IN_STATE.scalars(conn, instance=instance_id, state_=state, most=limit)


_ORPHANS = (
    select(data_keys.c.owner)
    .select_from(data_keys.outerjoin(instances, instances.c.id == data_keys.c.owner))
    .where(
        data_keys.c.owner.startswith("inst_", autoescape=True),
        or_(instances.c.id.is_(None), instances.c.deleted_at.is_not(None)),
    )
)


def orphans(conn: Connection, _vault: Vault | None) -> list[str]:
    """Ids of instances that are gone or deleted and whose data key still exists."""
    return list(conn.execute(_ORPHANS).scalars())


def wipe_orphans(tx: Tx, instance_ids: Sequence[str]) -> None:
    """Destroy the auth state of those among `instance_ids` that are orphans still."""
    found = set(tx.conn.execute(_ORPHANS).scalars())
    if doomed := [instance_id for instance_id in instance_ids if instance_id in found]:
        wipe_auth(tx, doomed)
