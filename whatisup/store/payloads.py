"""What `message.*` events say: the one place where their shapes are written down.

Rule: built from what the row holds, by the transaction that changed it, and only for a row that really changed.

Every one has `message_id`, `wa_message_id`, and `chat` {`jid`, `phone`, `lid`, `type`: user, group, broadcast,
newsletter}; phone and LID are digits or null. `timestamp` is unix seconds, WhatsApp's time where there is one;
`received_at` is ours. Whoever has no known phone number is called `<lid>@lid`.

    message.received       from, phone, lid, push_name, body, received_at, timestamp, is_backlog, is_flagged + context
    message.undecryptable  from, phone, lid, push_name, reason, retry {count, state: pending | ended}, hide, source,
                           received_at, timestamp, is_backlog
    message.sent           to, client_ref, status, source: api | phone, request_id, timestamp; typed on our own phone
                           (source: phone) also body, received_at, is_backlog, is_flagged + context
    message.delivered      as message.sent without body, and participant: who said so, "" in a chat of two
    message.read, .played  the same
    message.failed         as message.sent without body, and error {code, message}

`body` is not kept with the event: it is put in when the event is read, from the message's row, and becomes null beside
`body_expired: true` once it is dropped there.

A message of ours is told as sent at most once, and before it is told as delivered, read or played: a receipt proves
what a lost ack did not, and then both are told. It may be read without having been delivered. `failed` is the end,
unless a receipt proves that the message did arrive: then it is told as sent, and as what the receipt says.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

RECEIVED: Final = "message.received"
SENT: Final = "message.sent"
UNDECRYPTABLE: Final = "message.undecryptable"
FAILED: Final = "message.failed"

_CHAT_TYPES: Final = {"g.us": "group", "broadcast": "broadcast", "newsletter": "newsletter"}


def iso(unix_ms: int) -> str:
    """A time as the API writes it: ISO 8601, UTC, milliseconds."""
    return f"{datetime.fromtimestamp(unix_ms // 1000, UTC).isoformat()[:19]}.{unix_ms % 1000:03}Z"


def name_of(jid: str, phone: str | None) -> str:
    """What the API calls somebody: the phone number's digits, else the JID."""
    return phone or jid


def chat_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The chat of a message."""
    kind = _CHAT_TYPES.get(row["chat"].rpartition("@")[2], "user")
    return {"jid": row["chat"], "phone": row["chat_phone"], "lid": row["chat_lid"], "type": kind}


def received(row: Mapping[str, Any], body: Mapping[str, Any] | None, context: Mapping[str, Any]) -> dict[str, Any]:
    """What somebody sent us, or (source "phone") what was typed on our own phone."""
    said = {
        "body": body,
        "received_at": iso(row["created_at"]),
        "is_backlog": row["is_backlog"],
        "is_flagged": row["is_flagged"],
    }
    if row["source"] == "contact":
        return {**context, **_from(row), **said}
    return {**context, **progress(row, "sent", row["server_at"]), **said}


def undecryptable(row: Mapping[str, Any], *, hide: bool) -> dict[str, Any]:
    """A message that came and could not be read."""
    return {
        **_from(row),
        "reason": row["reason"],
        "retry": {"count": row["retry_count"], "state": row["retry_state"]},
        "hide": hide,
        "source": row["source"],
        "received_at": iso(row["created_at"]),
        "is_backlog": row["is_backlog"],
    }


def _from(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "message_id": row["id"],
        "wa_message_id": row["wa_id"],
        "from": name_of(row["author"], row["author_phone"]),
        "phone": row["author_phone"],
        "lid": row["author_lid"],
        "chat": chat_of(row),
        "push_name": row["push_name"],
        "timestamp": row["server_at"] // 1000,
    }


def progress(row: Mapping[str, Any], status: str, at: int) -> dict[str, Any]:
    """How far a message of ours got, at what time (unix ms)."""
    return {
        "message_id": row["id"],
        "wa_message_id": row["wa_id"],
        "client_ref": row["client_ref"],
        "to": name_of(row["chat"], row["chat_phone"]),
        "chat": chat_of(row),
        "status": status,
        "source": row["source"],
        "request_id": row["request_id"],
        "timestamp": at // 1000,
    }


def failed(row: Mapping[str, Any], reason: str, detail: str, at: int) -> dict[str, Any]:
    """Why a message of ours was not sent."""
    return {**progress(row, "failed", at), "error": {"code": reason, "message": detail}}
