"""Who is who: the phone number and the LID of one user, as far as an instance has learned that they are one.

Rule: a pair is what the instance's auth state says, or its own row where it is about the account itself. Nothing is
guessed from what a peer claims.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import Connection, bindparam, select

from whatisup.jid import LID_SERVER, PN_SERVER
from whatisup.store import datakeys
from whatisup.store.prepared import Prepared
from whatisup.store.tables import auth_state, instances
from whatisup.store.vault import Vault

_OWN: Final = Prepared(select(instances.c.phone_number, instances.c.lid).where(instances.c.id == bindparam("instance")))
_PAIR: Final = Prepared(
    select(auth_state.c.sealed, auth_state.c.data_key_id).where(
        auth_state.c.instance_id == bindparam("instance"),
        auth_state.c.kind == bindparam("kind"),
        auth_state.c.name == bindparam("name"),
    )
)

_KINDS: Final = {PN_SERVER: "lid", LID_SERVER: "pn"}
"""Under which kind of auth state the other name of a user is kept, by the server of the name at hand."""


class Names(NamedTuple):
    """What a chat is called: the canonical JID, and the digits of its phone number and LID where they are known."""

    jid: str
    phone: str | None
    lid: str | None


def is_user(jid: str) -> bool:
    """Whether a JID (without device) is somebody who may have another name."""
    return jid.rpartition("@")[2] in _KINDS


def names_of(conn: Connection, vault: Vault, instance_id: str, jid: str) -> Names:
    """Find the other name of a user (a JID without device) as far as the instance has learned it."""
    if not is_user(jid):
        return Names(jid, None, None)
    other = learned(conn, vault, instance_id, jid)
    if other is None:
        row = _OWN.one_or_none(conn, instance=instance_id)
        other = None if row is None else own_other(row.phone_number, row.lid, jid)
    return paired(jid, other)


def paired(jid: str, other: str | None) -> Names:
    """A user by a JID of either kind and the digits of the other name."""
    user, _, server = jid.rpartition("@")
    if server == LID_SERVER:
        return Names(jid, other, user)
    return Names(jid if other is None else f"{other}@{LID_SERVER}", user, other)


def learned(conn: Connection, vault: Vault, instance_id: str, jid: str) -> str | None:
    """The other name (digits) of a user, or None while the instance has not learned it.

    Raises:
        SealBroken: the row was moved here from elsewhere, or changed.
    """
    kind, user = kept_under(jid)
    row = _PAIR.one_or_none(conn, instance=instance_id, kind=kind, name=user)
    return None if row is None else opened(conn, vault, instance_id, jid, row.data_key_id, row.sealed)


def kept_under(jid: str) -> tuple[str, str]:
    """Kind and name of the auth state in which the other name of a JID is kept; the kind is "" for what has none."""
    user, _, server = jid.rpartition("@")
    return _KINDS.get(server, ""), user


def opened(conn: Connection, vault: Vault, instance_id: str, jid: str, key_id: int, sealed: bytes) -> str:
    """The other name (digits) of a user, as auth state holds it.

    Raises:
        SealBroken: the row was moved here from elsewhere, or changed.
    """
    key = datakeys.of_row(conn, vault, key_id, instance_id)
    return vault.open(key, "auth_state", "sealed", kept_under(jid), sealed).decode()


def own_other(phone: str | None, lid_jid: str | None, jid: str) -> str | None:
    """The other name (digits) of an instance's own account, which is no contact and is kept in the instance's row."""
    if phone is None or lid_jid is None:
        return None
    lid = lid_jid.rpartition("@")[0]
    return {f"{phone}@{PN_SERVER}": lid, f"{lid}@{LID_SERVER}": phone}.get(jid)
