"""What an instance actor changes about messages, as data: the part of a `Unit` that is about what is said.

Rule: an operation says what was seen, never what follows from it. Whether a message is new, a duplicate or the answer
to an undecryptable one, and whether a status moved, is decided inside the transaction; events are appended there too,
for what really changed. Repeating an operation changes nothing.

JIDs are canonical texts without a device: the LID form where the LID is known. Phones and LIDs are digits alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from msgspec import Struct
from msgspec import field as struct_field

from whatisup.crypto import Secret


class Identity(Struct, frozen=True):
    """Which message: the WhatsApp message id, its chat and its author, with every form of their names we know."""

    wa_id: str
    chat: str
    author: str
    chat_phone: str | None = None
    chat_lid: str | None = None
    author_phone: str | None = None
    author_lid: str | None = None


class IngestMessage(Secret, frozen=True):
    """A message was read: from somebody else (`source` "contact"), or typed on our own phone ("phone").

    The same identity with the same `plaintext_hash` (32 bytes) is a duplicate: nothing happens. An undecryptable row of
    that identity becomes this message and keeps its id. Another hash is a message of its own, flagged. A new row is
    told as `message.received` or `message.sent`; `context` is added to what the event says and holds no content.

    `original` is the serialized Message, kept beside the body for quoting it later. `server_at` and `received_at` are
    unix milliseconds: WhatsApp's time of the message, and ours. `trace` is the traceparent of the stanza's span.
    """

    identity: Identity
    kind: str
    body: Mapping[str, Any] | None
    plaintext_hash: bytes
    server_at: int
    received_at: int
    source: Literal["contact", "phone"] = "contact"
    push_name: str | None = None
    is_backlog: bool = False
    original: bytes | None = None
    context: Mapping[str, Any] = struct_field(default_factory=dict)
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class NoteUndecryptable:
    """A message came and could not be read.

    Told as `message.undecryptable` when first noted, and once more when `retry_state` becomes "ended". A message that
    was read meanwhile stays read. `reason` is a slug; `phone_asked_at` (unix ms) says when our phone was asked for it,
    None leaves what is known. `hide` says that the sender wants no placeholder shown.
    """

    identity: Identity
    reason: str
    retry_count: int
    server_at: int
    received_at: int
    retry_state: Literal["pending", "ended"] = "pending"
    source: Literal["contact", "phone"] = "contact"
    phone_asked_at: int | None = None
    push_name: str | None = field(default=None, repr=False)
    is_backlog: bool = False
    hide: bool = False
    trace: str | None = None


class RememberCiphertexts(Secret, frozen=True):
    """These ciphertexts (hashes of 32 bytes) have been decrypted: never try them again until `expires_at`."""

    hashes: tuple[bytes, ...]
    expires_at: int


@dataclass(frozen=True, slots=True)
class LearnPair:
    """A phone number and a LID (digits both) are one user: chats and authors under the number move to the LID.

    Where that makes two rows one message, the older one stays and what was told of the newer one points to it.
    """

    pn_user: str
    lid_user: str


class SealedMessage(Secret, frozen=True):
    """What goes out for one accepted message: `stanza` is the encoded node, the same bytes on every resend.

    `message` is the serialized Message that answers to retry receipts are made of; None keeps the one that is there.
    """

    message_id: str
    stanza: bytes
    message: bytes | None = None
    stanza_type: str = "text"
    edit: str | None = None
    unix_t: int = 0


class SealMessages(Struct, frozen=True):
    """These messages are encrypted; nothing of them may be sent before this is committed.

    A message that left the outbox meanwhile (expired, failed, wiped) is not sealed: `Committed.refused` names it, and
    it must not be sent.
    """

    items: tuple[SealedMessage, ...]


class AckMessage(Struct, frozen=True):
    """The server took a message of ours at `server_at` (unix ms): `message.sent`.

    With `resync_devices` (device JIDs) the server knows of devices that we did not encrypt for; the message stays in
    the outbox until they are served or `CloseOutbox` says there are none. An empty tuple says that they are not known
    yet: then the stanza stays as well, which tells who was served, until the message is acked once more, with the
    devices or with None where there turned out to be none.
    """

    wa_id: str
    server_at: int
    resync_devices: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class CloseOutbox:
    """Nothing is left to send for these messages (by id); their status stays, and queued ones stay in the outbox."""

    message_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FailMessage:
    """A message of ours (`msg_…`, or its WhatsApp id) cannot be sent: `message.failed`, unless it was sent already."""

    message: str
    reason: str
    detail: str
    at: int


ReceiptKind: TypeAlias = Literal["sent", "delivered", "read", "played"]


class RecordReceipt(Struct, frozen=True):
    """Somebody's device has our messages, or its user has seen them; also proves that the server took them.

    Unknown ids are ignored. `chat` None means any. `participant` is who says so (a JID), "" in a chat of two.
    """

    wa_ids: tuple[str, ...]
    kind: ReceiptKind
    at: int
    chat: str | None = None
    participant: str = ""


@dataclass(frozen=True, slots=True)
class NoteResend:
    """A retry receipt of `requester` (a device JID) for one message is about to be answered; kept for 14 days.

    `asked` and `registration_id` are what the receipt says, `stanza` is the answer: should the receipt come again, it
    gets the same bytes.
    """

    wa_id: str
    requester: str
    expires_at: int
    asked: int = 1
    registration_id: int = 0
    stanza: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class ForgetPrekeys:
    """These one-time prekeys are used up."""

    key_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class KeepPoison:
    """A stanza (its encoded bytes) that failed twice: kept sealed, and acked like any other."""

    raw: bytes = field(repr=False)
    reason: str
    at: int


@dataclass(frozen=True, slots=True)
class AddJob:
    """Work for later, such as a history to fetch; a second one of the same kind and key is dropped."""

    kind: str
    key: str
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class FinishJob:
    """A job is done."""

    kind: str
    key: str


@dataclass(frozen=True, slots=True)
class FailQueued:
    """Nothing queued goes out any more: the outbox is emptied, `message.failed` for what was queued."""

    reason: str


MessageOp: TypeAlias = (
    IngestMessage
    | NoteUndecryptable
    | RememberCiphertexts
    | LearnPair
    | SealMessages
    | AckMessage
    | CloseOutbox
    | FailMessage
    | RecordReceipt
    | NoteResend
    | ForgetPrekeys
    | KeepPoison
    | AddJob
    | FinishJob
    | FailQueued
)
