"""Messages, accepted and read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection

from whatisup.store.message_records import Direction, Message, Moment, TargetMessage, Unread
from whatisup.store.records import Mode
from whatisup.store.transaction import Tx
from whatisup.store.vault import Vault


def accept(
    tx: Tx,
    *,
    instance_id: str,
    customer_id: str,
    mode: Mode,
    to: str,
    body: Mapping[str, Any],
    kind: str,
    target: Mapping[str, Any] | None,
    client_ref: str | None,
    wa_id: str,
    expires_at: int,
    request_id: str | None,
    now: int,
) -> Message:
    """Take a message into the outbox; `to` is a JID without device and becomes the LID form where that is known.

    Raises:
        UnknownInstance: there is none for this customer and mode.
        NotConnected: it is neither connected nor reconnecting, or is being logged out.
    """
    raise NotImplementedError


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
    raise NotImplementedError


def by_wa_id(conn: Connection, vault: Vault, instance_id: str, wa_id: str, chat: str | None = None) -> list[Message]:
    """All messages of an instance under one WhatsApp message id, oldest first."""
    raise NotImplementedError


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
    raise NotImplementedError


def history(conn: Connection, _vault: Vault | None, message_id: str) -> list[Moment]:
    """The steps of one message's delivery, in order of time."""
    raise NotImplementedError


def find_target(conn: Connection, vault: Vault, instance_id: str, chat: str, reference: str) -> TargetMessage | None:
    """The message that `reference` (`msg_…` or a WhatsApp message id) names in `chat` (a JID in either form)."""
    raise NotImplementedError


def unread(
    conn: Connection, _vault: Vault | None, instance_id: str, wa_ids: Collection[str]
) -> dict[tuple[str, str, str], Unread]:
    """Undecryptable messages under these WhatsApp ids, by (chat, author, wa_id)."""
    raise NotImplementedError


def unread_pending(conn: Connection, _vault: Vault | None, instance_id: str, limit: int = 100) -> list[Unread]:
    """Undecryptable messages whose retries have not ended, oldest first."""
    raise NotImplementedError
