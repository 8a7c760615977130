"""Messages read back: one, a page, its history, the one that another is about, the ones nobody could read.

Rule: whoever asks for a customer names customer and mode, and what is not theirs does not exist for them.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, bindparam, literal_column, select, tuple_

from whatisup.errors import BadCursor
from whatisup.store import retained
from whatisup.store.accept import Sender, accept, sender_of
from whatisup.store.cursor import decode_cursor, encode_cursor
from whatisup.store.handlers.progress import HELD
from whatisup.store.message_records import Direction, Message, Moment, TargetMessage, Unread
from whatisup.store.message_rows import body_of, message_of, original_of
from whatisup.store.names import names_of
from whatisup.store.prepared import Prepared, Row
from whatisup.store.records import Mode
from whatisup.store.tables import message_history, messages
from whatisup.store.vault import Vault

__all__ = [
    "Sender",
    "accept",
    "by_wa_id",
    "find_target",
    "get",
    "history",
    "page",
    "sender_of",
    "unread",
    "unread_pending",
]

_ONE: Final = Prepared(select(messages).where(messages.c.id == bindparam("message")))
_HISTORY: Final = Prepared(
    select(message_history.c.kind, message_history.c.participant, message_history.c.at).where(
        message_history.c.message_id == bindparam("message")
    )
)

# Receipts carry whole seconds: of two steps in one second, this one came first.
_STEPS: Final = ("sent", "delivered", "read", "played")


def get(
    conn: Connection,
    vault: Vault,
    message_id: str,
    *,
    customer_id: str,
    mode: Mode,
    instance_id: str | None = None,
) -> Message | None:
    """One message (`msg_…`), or None if there is none or it is somebody else's."""
    row = _ONE.one_or_none(conn, message=message_id)
    if row is None or (row.customer_id, row.mode) != (customer_id, mode.value):
        return None
    return _opened(conn, vault, row) if instance_id in (None, row.instance_id) else None


def _opened(conn: Connection, vault: Vault, row: Row) -> Message:
    return message_of(row, body_of(conn, vault, row))


@cache
def _under(name: str, in_chat: bool) -> Prepared:
    """The statement for messages of an instance under an id of ours (`id`) or of WhatsApp's (`wa_id`)."""
    query = select(messages).where(
        messages.c.instance_id == bindparam("instance"), messages.c[name] == bindparam("reference")
    )
    if in_chat:
        query = query.where(_IN_CHAT)
    return Prepared(query.order_by(messages.c.position).limit(bindparam("most")))


_IN_CHAT: Final = messages.c.chat.in_(bindparam("chats", expanding=True))


def by_wa_id(conn: Connection, vault: Vault, instance_id: str, wa_id: str, chat: str | None = None) -> list[Message]:
    """All messages of an instance under one WhatsApp message id, oldest first; `chat` is a JID in either form."""
    more = {} if chat is None else {"chats": _forms(conn, vault, instance_id, chat)}
    found = _under("wa_id", chat is not None).rows(conn, instance=instance_id, reference=wa_id, most=100, **more)
    return [_opened(conn, vault, row) for row in found]


def _forms(conn: Connection, vault: Vault, instance_id: str, chat: str) -> tuple[str, str]:
    """What a chat may be called in the rows."""
    return chat, names_of(conn, vault, instance_id, chat).jid


@cache
def _page(in_chat: bool, of_direction: bool, is_since: bool, is_behind: bool) -> Prepared:
    """The statement for a page, built once for each way of asking."""
    query = select(messages).where(
        messages.c.instance_id == bindparam("instance"),
        messages.c.customer_id == bindparam("customer"),
        messages.c.mode == bindparam("mode_"),
    )
    if in_chat:
        query = query.where(_IN_CHAT)
    if of_direction:
        query = query.where(messages.c.direction == bindparam("direction_"))
    if is_since:
        query = query.where(messages.c.created_at >= bindparam("since"))
    if is_behind:
        place = tuple_(bindparam("behind_at", type_=BigInteger), bindparam("behind", type_=BigInteger))
        query = query.where(tuple_(messages.c.created_at, messages.c.position) < place)
    return Prepared(query.order_by(messages.c.created_at.desc(), messages.c.position.desc()).limit(bindparam("most")))


def page(
    conn: Connection,
    vault: Vault,
    *,
    customer_id: str,
    mode: Mode,
    instance_id: str,
    chat: str | None = None,
    direction: Direction | None = None,
    since: int | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> tuple[list[Message], str | None]:
    """A page of an instance's messages, newest first, and the cursor of the next page.

    `chat` is a JID in either form; `since` (unix ms) leaves out what was created before.

    Raises:
        BadCursor: no page gave out this cursor.
    """
    asked: dict[str, Any] = {"instance": instance_id, "customer": customer_id, "mode_": mode.value, "most": limit + 1}
    if chat is not None:
        asked["chats"] = _forms(conn, vault, instance_id, chat)
    if direction is not None:
        asked["direction_"] = direction
    if since is not None:
        asked["since"] = since
    if cursor is not None:
        asked["behind_at"], asked["behind"] = _place(cursor)
    query = _page(chat is not None, direction is not None, since is not None, cursor is not None)
    rows = query.rows(conn, **asked)
    found = [_opened(conn, vault, row) for row in rows[:limit]]
    has_more = len(rows) > limit
    return found, encode_cursor(found[-1].created_at, str(found[-1].position)) if has_more else None


def _place(cursor: str) -> tuple[int, int]:
    """Take a cursor apart: a time and a position.

    Raises:
        BadCursor: it is none of ours.
    """
    created_at, position = decode_cursor(cursor)
    if not (position.isascii() and position.isdigit() and len(position) < 19):
        raise BadCursor("not a cursor of ours")
    return created_at, int(position)


def history(conn: Connection, _vault: Vault | None, message_id: str) -> list[Moment]:
    """The steps of one message's delivery, in order of time."""
    rows = _HISTORY.rows(conn, message=message_id)
    moments = [Moment(*row) for row in rows if not row.kind.startswith(HELD)]
    return sorted(moments, key=lambda one: (one.at, _step(one.kind), one.participant))


def _step(kind: str) -> int:
    return _STEPS.index(kind) if kind in _STEPS else len(_STEPS)


def find_target(conn: Connection, vault: Vault, instance_id: str, chat: str, reference: str) -> TargetMessage | None:
    """The message that `reference` (`msg_…` or a WhatsApp message id) names in `chat` (a JID in either form).

    Several messages under one WhatsApp id: the first one.
    """
    chats = _forms(conn, vault, instance_id, chat)
    query = _under("id" if reference.startswith("msg_") else "wa_id", True)
    row = query.one_or_none(conn, instance=instance_id, reference=reference, chats=chats, most=1)
    if row is None:
        return None
    original = original_of(conn, vault, row)
    if original is None and row.source == "api" and (kept := retained.get(conn, vault, instance_id, row.wa_id)):
        original = kept.message
    return TargetMessage(
        message_id=row.id,
        wa_id=row.wa_id,
        chat=row.chat,
        from_me=row.direction == "out",
        author=row.author,
        kind=row.kind,
        body=body_of(conn, vault, row),
        original=original,
    )


# --- what nobody could read -----------------------------------------------------------------------------------------

_UNREAD = select(
    messages.c.id,
    messages.c.wa_id,
    messages.c.chat,
    messages.c.author,
    messages.c.source,
    messages.c.reason,
    messages.c.retry_count,
    messages.c.retry_state,
    messages.c.phone_asked_at,
    messages.c.created_at,
    messages.c.server_at,
).where(messages.c.status == literal_column("'undecryptable'"))


_UNREAD_OF: Final = Prepared(
    _UNREAD.where(
        messages.c.instance_id == bindparam("instance"), messages.c.wa_id.in_(bindparam("wa_ids", expanding=True))
    )
)
_PENDING: Final = Prepared(
    _UNREAD.where(messages.c.instance_id == bindparam("instance"), messages.c.retry_state == "pending")
    .order_by(messages.c.position)
    .limit(bindparam("most"))
)


def unread(
    conn: Connection, _vault: Vault | None, instance_id: str, wa_ids: Collection[str]
) -> dict[tuple[str, str, str], Unread]:
    """Undecryptable messages under these WhatsApp ids, by (chat, author, wa_id)."""
    if not wa_ids:
        return {}
    found = [Unread(*row) for row in _UNREAD_OF.rows(conn, instance=instance_id, wa_ids=wa_ids)]
    return {(one.chat, one.author, one.wa_id): one for one in found}


def unread_pending(conn: Connection, _vault: Vault | None, instance_id: str, limit: int = 100) -> list[Unread]:
    """Undecryptable messages whose retries have not ended, oldest first."""
    return [Unread(*row) for row in _PENDING.rows(conn, instance=instance_id, most=limit)]
