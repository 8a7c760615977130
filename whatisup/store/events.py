"""The event log, read: pages after a position, and what a client's cursor stands for.

Rule: positions follow commit order and never appear late, so a reader that goes on after the last position it saw
misses nothing and sees nothing twice. (Every writing transaction locks the head of the log before it takes positions;
see `transaction.py`.) What retention has deleted lies below the floor of the log; a cursor from down there is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from msgspec import json
from sqlalchemy import ColumnElement, Connection, bindparam, func, or_, select, update

from whatisup.errors import CursorExpired, SealBroken
from whatisup.store import datakeys
from whatisup.store.ids import made_at
from whatisup.store.prepared import Prepared, Row
from whatisup.store.records import Event, Mode
from whatisup.store.tables import events, log_head, messages
from whatisup.store.transaction import Tx
from whatisup.store.vault import DataKey, Vault

EXPIRED_AT_ONCE: Final = 500

_MAX_POSITION = (1 << 63) - 1

_WITH_BODY = select(events, messages.c.body, messages.c.data_key_id.label("body_key_id")).select_from(
    events.outerjoin(messages, messages.c.id == events.c.message_id)
)
_BY_ID: Final = Prepared(_WITH_BODY.where(events.c.id.in_(bindparam("ids", expanding=True))))
_HEAD: Final = Prepared(select(log_head.c.position))
_FLOOR: Final = Prepared(select(log_head.c.floor))


_WINDOW_END: Final = Prepared(
    select(events.c.position)
    .where(
        events.c.customer_id == bindparam("customer"),
        events.c.mode == bindparam("mode_"),
        events.c.position > bindparam("after"),
    )
    .order_by(events.c.position)
    .limit(1)
    .offset(bindparam("skipped"))
)


@cache
def _page(of_instance: bool, has_names: bool, prefixes: int, is_bounded: bool) -> Prepared:
    """The statement for a page: a text for each number of prefixes, never for what clients make up."""
    query = _WITH_BODY.where(
        events.c.customer_id == bindparam("customer"),
        events.c.mode == bindparam("mode_"),
        events.c.position > bindparam("after"),
    )
    if is_bounded:  # by what comes next in the log, and not by all that the instance ever had
        query = query.where(events.c.position <= bindparam("until"))
    if of_instance:
        whose = func.coalesce(events.c.instance_id, "") if is_bounded else events.c.instance_id
        query = query.where(whose == bindparam("instance"))
    kinds: list[ColumnElement[bool]] = [events.c.type.in_(bindparam("names", expanding=True))] if has_names else []
    kinds += [events.c.type.startswith(bindparam(f"prefix_{n}"), escape="/") for n in range(prefixes)]
    if kinds:
        query = query.where(or_(*kinds))
    return Prepared(query.order_by(events.c.position).limit(bindparam("most")))


def page(
    conn: Connection,
    vault: Vault,
    *,
    customer_id: str,
    mode: Mode,
    after: int,
    limit: int,
    instance_id: str | None = None,
    types: Sequence[str] = (),
    until: int | None = None,
) -> list[Event]:
    """A customer's events after a position, oldest first, and up to `until` if that is given.

    `types` are names, `instance.*` or `*`; none means all. Events whose data has expired come with `data=None`; bodies
    of messages are put in from their rows, in the same statement, and are None beside `body_expired` once dropped.
    """
    asked: dict[str, Any] = {"customer": customer_id, "mode_": mode.value, "after": after, "most": limit}
    if instance_id is not None:
        asked["instance"] = instance_id
    if until is not None:
        asked["until"] = until
    names, prefixes = _kinds(types)
    if names:
        asked["names"] = names
    asked |= {f"prefix_{n}": prefix for n, prefix in enumerate(prefixes)}
    statement = _page(instance_id is not None, bool(names), len(prefixes), until is not None)
    rows = statement.rows(conn, **asked)
    ids = {key_id for row in rows for key_id in _key_ids(row)}
    keys = {key_id: datakeys.of_row(conn, vault, key_id, customer_id) for key_id in ids}
    return [_from_row(vault, keys, row) for row in rows]


def _kinds(types: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names and the prefixes of a filter, a power of two of the latter; `*` is no filter."""
    if "*" in types:
        return [], []
    names = sorted({one for one in types if not one.endswith("*")})
    prefixes = sorted({_escaped(one.removesuffix("*")) for one in types if one.endswith("*")})
    if prefixes:
        prefixes += prefixes[-1:] * ((1 << (len(prefixes) - 1).bit_length()) - len(prefixes))
    return names, prefixes


def _escaped(prefix: str) -> str:
    return "".join(f"/{one}" if one in "/%_" else one for one in prefix)


@dataclass(frozen=True, slots=True)
class Stretch:
    """A piece of the log: its events, and the position up to which nothing of it is missing."""

    events: list[Event]
    until: int


def follow(conn: Connection, vault: Vault, *, after: int | None, limit: int, **filters: Any) -> Stretch:
    """Read on from a position (None = from the beginning of what is kept); `filters` are those of `page`.

    The head is read before the events and the floor after them: on a database whose statements see one another's
    commits, nothing is then passed over, and nothing that was deleted meanwhile goes unnoticed.

    Raises:
        CursorExpired: events after the position have been deleted.
    """
    head = latest_position(conn, vault)
    found = page(conn, vault, after=after or 0, limit=limit, **filters)
    if after is not None and after < _floor(conn):
        raise CursorExpired("events after this position have been deleted")
    last = found[-1].position if found else 0
    return Stretch(found, last if len(found) == limit else max(head, last, after or 0))


def follow_near(
    conn: Connection, vault: Vault, *, after: int | None, limit: int, window: int, **filters: Any
) -> tuple[Stretch, ...]:
    """As `follow`, looking at the next `window` of the customer's events alone; nothing where that does not decide.

    Raises:
        CursorExpired: events after the position have been deleted.
    """
    head = latest_position(conn, vault)
    whose = {"customer": filters["customer_id"], "mode_": filters["mode"].value}
    until = _WINDOW_END.scalar(conn, **whose, after=after or 0, skipped=window - 1)
    found = page(conn, vault, after=after or 0, limit=limit, until=_MAX_POSITION if until is None else until, **filters)
    if after is not None and after < _floor(conn):
        raise CursorExpired("events after this position have been deleted")
    last = found[-1].position if found else 0
    if len(found) == limit:
        return (Stretch(found, last),)
    return (Stretch(found, max(head, last, after or 0)),) if until is None else ()


def by_ids(conn: Connection, vault: Vault, ids: Collection[str]) -> dict[str, Event]:
    """Events by id with the bodies of messages put in, whosever they are: for who sends them, not for who asks.

    Deleted ones are left out, and so is one whose row was tampered with: it must not keep others from being sent.
    """
    rows = _BY_ID.rows(conn, ids=ids)
    datakeys.fetch(conn, vault, {key_id for row in rows for key_id in _key_ids(row)})  # all at once into the cache
    found = {}
    for row in rows:
        try:
            keys = {key_id: datakeys.of_row(conn, vault, key_id, row.customer_id) for key_id in _key_ids(row)}
            found[row.id] = _from_row(vault, keys, row)
        except SealBroken:
            continue
    return found


def _key_ids(row: Row) -> list[int]:
    return [key_id for key_id in (row.data_key_id, row.body_key_id) if key_id is not None]


def _from_row(vault: Vault, keys: dict[int, DataKey], row: Row) -> Event:
    return Event(
        position=row.position,
        id=row.id,
        customer_id=row.customer_id,
        mode=Mode(row.mode),
        instance_id=row.instance_id,
        seq=row.seq,
        type=row.type,
        occurred_at=row.occurred_at,
        data=_data(vault, keys, row),
        expires_at=row.expires_at,
        message_id=row.message_id,
        trace=row.trace,
    )


def _data(vault: Vault, keys: dict[int, DataKey], row: Row) -> dict[str, Any] | None:
    """What an event says, with the body of the message that it shows."""
    key = keys.get(row.data_key_id)
    if key is None:
        return None
    data: dict[str, Any] = json.decode(vault.open(key, "events", "data", (row.id,), row.data))
    if row.message_id is not None:
        if row.body is None:
            data["body_expired"] = True
        else:
            sealed = vault.open(keys[row.body_key_id], "messages", "body", (row.message_id,), row.body)
            data["body"] = json.decode(sealed)
    return data


_NAMED: Final = Prepared(
    select(events.c.position, events.c.customer_id, events.c.mode).where(events.c.id == bindparam("event"))
)
_LAST_BY = (
    select(events.c.position)
    .where(
        events.c.customer_id == bindparam("customer"),
        events.c.mode == bindparam("mode"),
        events.c.occurred_at <= bindparam("at"),
    )
    .order_by(events.c.position.desc())
    .limit(1)
)
_OLDEST = select(events.c.id).order_by(events.c.position).limit(1)


def resolve(conn: Connection, _vault: Vault | None, cursor: str, customer_id: str, mode: Mode) -> int | None:
    """The position that a client's cursor stands for: an event id of its own, or a position in digits; else None.

    Raises:
        CursorExpired: it lies below the floor, or names an event that was made before all that are kept.
    """
    floor = _floor(conn)
    if cursor.isascii() and cursor.isdigit():
        position = int(cursor[:20])
        if position < floor:
            raise CursorExpired("events after this position have been deleted")
        return position if position <= _MAX_POSITION else None
    row = _NAMED.one_or_none(conn, event=cursor)
    if row is not None:
        return row.position if (row.customer_id, row.mode) == (customer_id, mode.value) else None
    if floor and _is_older_than_all(conn, cursor):
        raise CursorExpired("this event has been deleted")
    return None


def _is_older_than_all(conn: Connection, event_id: str) -> bool:
    at = made_at(event_id) if event_id.startswith("evt_") else None
    oldest = conn.execute(_OLDEST).scalar_one_or_none()
    return at is not None and (oldest is None or at <= (made_at(oldest) or 0))


def _floor(conn: Connection) -> int:
    floor: int = _FLOOR.one(conn).floor
    return floor


def position_at(conn: Connection, _vault: Vault | None, *, customer_id: str, mode: Mode, at: int) -> int:
    """The position of the last that happened to a customer up to a time (unix ms); 0 where that was nothing."""
    asked = {"customer": customer_id, "mode": mode.value, "at": at}
    return conn.execute(_LAST_BY, asked).scalar_one_or_none() or 0


def latest_position(conn: Connection, _vault: Vault | None) -> int:
    """The last position given out in the whole store; 0 before the first event."""
    position: int = _HEAD.one(conn).position
    return position


def expire(tx: Tx, now: int, limit: int = EXPIRED_AT_ONCE) -> int:
    """Forget the data of events whose time has passed (QR contents among them), `limit` at most; returns how many."""
    due = (
        select(events.c.position)
        .where(events.c.expires_at <= now, events.c.expires_at.is_not(None), events.c.data.is_not(None))
        .order_by(events.c.expires_at)
        .limit(limit)
    )
    query = update(events).where(events.c.position.in_(due)).values(data=None, data_key_id=None)
    return tx.conn.execute(query).rowcount
