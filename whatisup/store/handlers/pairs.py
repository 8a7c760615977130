"""Learning that a phone number and a LID are one user: what stood under the number moves to the LID.

Rule: a message has one identity. Where the move makes two rows the same message, the older row stays, and what was
told of the newer one shows the older one's body from then on.

Receipts that came under the other name before it was known to be one (`progress.py` holds them) count from here on.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Table, and_, bindparam, case, delete, or_, select, union, update

from whatisup.jid import LID_SERVER, PN_SERVER
from whatisup.store.handlers import progress
from whatisup.store.message_ops import LearnPair
from whatisup.store.prepared import Prepared
from whatisup.store.tables import events, message_history, messages, outbox
from whatisup.store.target import Target, Work, fetch_keys
from whatisup.store.transaction import Tx

_INSTANCE: Any = bindparam("instance")
_PN: Any = bindparam("pn")
_LID: Any = bindparam("lid")

_MOVING = union(
    select(messages.c.position).where(messages.c.instance_id == _INSTANCE, messages.c.chat == _PN),
    select(messages.c.position).where(
        messages.c.instance_id == _INSTANCE,
        messages.c.author == _PN,
        messages.c.author_lid.is_(None),
        messages.c.author_phone.is_not(None),
    ),
)


def _moved(column: Any) -> Any:
    """What a chat or an author is called after the move."""
    return case((column == _PN, _LID), else_=column)


def _same() -> Any:
    """Rows on the move with every row, moving or not, that will be the same message."""
    one, other = messages.alias("one"), messages.alias("other")
    return select(one.c.position, other.c.position).where(
        one.c.position.in_(_MOVING),
        other.c.instance_id == one.c.instance_id,
        other.c.wa_id == one.c.wa_id,
        other.c.plaintext_hash == one.c.plaintext_hash,
        other.c.position != one.c.position,
        _moved(other.c.chat) == _moved(one.c.chat),
        _moved(other.c.author) == _moved(one.c.author),
    )


_SAME: Final = Prepared(_same())
_MOVE: Final = Prepared(
    update(messages)
    .where(messages.c.position.in_(_MOVING))
    .values(
        chat=_moved(messages.c.chat),
        author=_moved(messages.c.author),
        chat_lid=case((messages.c.chat == _PN, bindparam("lid_user")), else_=messages.c.chat_lid),
        author_lid=case((messages.c.author == _PN, bindparam("lid_user")), else_=messages.c.author_lid),
    )
)
# What was said before the number was known is somebody's whose number is known now.
_NAME: Final = Prepared(
    update(messages)
    .where(messages.c.instance_id == _INSTANCE, messages.c.chat == _LID, messages.c.chat_phone.is_(None))
    .values(
        chat_phone=bindparam("pn_user"),
        author_phone=case((messages.c.author == _LID, bindparam("pn_user")), else_=messages.c.author_phone),
    )
)
_MOVE_OUTBOX: Final = Prepared(
    update(outbox).where(outbox.c.instance_id == _INSTANCE, outbox.c.chat == _PN).values(chat=_LID)
)

_HELD: Final = Prepared(
    select(message_history.c.message_id, message_history.c.kind, message_history.c.participant, message_history.c.at)
    .join_from(messages, message_history, message_history.c.message_id == messages.c.id)
    .where(
        messages.c.instance_id == _INSTANCE,
        or_(
            and_(messages.c.chat == _PN, message_history.c.participant == _LID),
            and_(messages.c.chat == _LID, messages.c.chat_phone.is_(None), message_history.c.participant == _PN),
        ),
        message_history.c.kind.startswith(progress.HELD),
    )
    .order_by(message_history.c.at)
)


def renamed(target: Target) -> dict[str, str]:
    """What a unit learns: JID of the number -> digits of the LID."""
    return {f"{op.pn_user}@{PN_SERVER}": op.lid_user for op in target.ops if type(op) is LearnPair}


def learn(tx: Tx, work: Work) -> None:
    """Move chats and authors from the phone number to the LID, and tell the number of whoever wrote under the LID."""
    pairs: dict[tuple[str, str, str], tuple[Target, LearnPair]] = {}
    for target, op in work:
        pairs.setdefault((target.id, op.pn_user, op.lid_user), (target, op))
    for (instance_id, pn_user, lid_user), (target, op) in pairs.items():
        names = {"instance": instance_id, "pn": f"{pn_user}@{PN_SERVER}", "lid": f"{lid_user}@{LID_SERVER}"}
        held = [progress.HeldReceipt(*row) for row in _HELD.rows(tx.conn, **names)]
        _merge(tx, instance_id, names)
        _MOVE.run(tx.conn, **names, lid_user=lid_user)
        _MOVE_OUTBOX.run(tx.conn, **names)
        _NAME.run(tx.conn, **names, pn_user=pn_user)
        if held:
            fetch_keys(tx, (), [target])
            progress.prove(tx, target, held, op)


def _merge(tx: Tx, instance_id: str, names: dict[str, str]) -> None:
    """Take the newer ones of rows that become one message out of the way."""
    older: dict[int, int] = {}
    for one, other in _SAME.rows(tx.conn, **names):
        newer = max(one, other)
        older[newer] = min(older.get(newer, newer), one, other)
    if not older:
        return
    ids = {row.position: row.id for row in tx.conn.execute(_ids({*older, *older.values()}))}
    for position, kept in older.items():
        tx.conn.execute(
            update(events)
            .where(events.c.instance_id == instance_id, events.c.message_id == ids[position])
            .values(message_id=ids[kept])
        )
    for table, column, gone in ((messages, "position", older), (message_history, "message_id", map(ids.get, older))):
        tx.conn.execute(_delete(table, column, list(gone)))


def _ids(positions: set[int]) -> Any:
    return select(messages.c.position, messages.c.id).where(messages.c.position.in_(positions))


def _delete(table: Table, column: str, values: list[Any]) -> Any:
    return delete(table).where(table.c[column].in_(values))
