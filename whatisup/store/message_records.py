"""What the store gives back about messages: frozen values, one per kind of row.

Rule: a time is an integer of unix milliseconds in a field that ends in `_at`; an absent one is None. JIDs are canonical
texts without a device (LID form where it is known), phones and LIDs digits alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, TypeAlias

from whatisup.crypto import Secret
from whatisup.store.records import Mode


class MessageStatus(StrEnum):
    """How far a message got. Ours go from `queued` on, others' are `received` or (not yet) `undecryptable`."""

    QUEUED = "queued"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    PLAYED = "played"
    FAILED = "failed"
    RECEIVED = "received"
    UNDECRYPTABLE = "undecryptable"


Direction: TypeAlias = Literal["in", "out"]
Source: TypeAlias = Literal["api", "phone", "contact"]
Stage: TypeAlias = Literal["queued", "sealed", "resync"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `body` is None for one that was never read, and once it expired (`is_body_expired`).

    `reason` and `detail` say why it failed or could not be read. `author` is ours for what goes out.
    """

    id: str
    position: int
    customer_id: str
    mode: Mode
    instance_id: str
    direction: Direction
    source: Source
    wa_id: str
    chat: str
    author: str
    chat_phone: str | None
    chat_lid: str | None
    author_phone: str | None
    author_lid: str | None
    kind: str
    status: MessageStatus
    reason: str | None
    detail: str | None
    client_ref: str | None
    request_id: str | None
    push_name: str | None = field(repr=False)
    is_flagged: bool
    is_backlog: bool
    body: dict[str, Any] | None = field(repr=False)
    is_body_expired: bool
    created_at: int
    server_at: int | None
    expires_at: int | None
    retry_count: int
    retry_state: Literal["pending", "ended"] | None
    phone_asked_at: int | None
    settled_at: int | None


@dataclass(frozen=True, slots=True)
class Moment:
    """A step of a message's delivery: what happened, whose receipt told it ("" where there is only one), and when."""

    kind: str
    participant: str
    at: int


@dataclass(frozen=True, slots=True)
class TargetMessage:
    """A message that another one is about (a reply, a reaction, an edit).

    `original` is its serialized Message for quoting, None once that expired.
    """

    message_id: str
    wa_id: str
    chat: str
    from_me: bool
    author: str
    kind: str
    body: dict[str, Any] | None = field(repr=False)
    original: bytes | None = field(repr=False)


class OutboxItem(Secret, frozen=True):
    """A message that is not off our hands.

    `body` is None once it expired, which is never before it is sealed; `target` is what was resolved when it was
    accepted. `stanza` is there once it is sealed; at stage "resync" it is the stanza for `resync_devices`. At stage
    "sealed" these are empty where the server has the message and some devices, not known yet, have not.
    """

    position: int
    message_id: str
    wa_id: str
    chat: str
    chat_phone: str | None
    chat_lid: str | None
    kind: str
    body: dict[str, Any] | None
    target: dict[str, Any] | None
    stage: Stage
    stanza: bytes | None
    resync_devices: tuple[str, ...] | None
    request_id: str | None
    created_at: int
    expires_at: int
    sealed_at: int | None
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class Retained:
    """What answers to retry receipts for one message of ours are made of."""

    wa_id: str
    message_id: str
    chat: str
    message: bytes = field(repr=False)
    stanza_type: str
    edit: str | None
    unix_t: int


@dataclass(frozen=True, slots=True)
class Unread:
    """An undecryptable message that nobody has sent again yet."""

    message_id: str
    wa_id: str
    chat: str
    author: str
    source: Source
    reason: str
    retry_count: int
    retry_state: Literal["pending", "ended"]
    phone_asked_at: int | None
    created_at: int
    server_at: int


@dataclass(frozen=True, slots=True)
class Job:
    """Work for later."""

    id: str
    instance_id: str
    kind: str
    key: str
    payload: bytes = field(repr=False)
    created_at: int


@dataclass(frozen=True, slots=True)
class Poison:
    """A stanza that could not be processed, as it came."""

    id: str
    instance_id: str
    raw: bytes = field(repr=False)
    reason: str
    at: int
