"""What an instance actor changes together, as data: a `Unit` is committed whole or not at all.

Rule: the operations of a unit are a set. Whatever their order in the tuple, they are applied in the order of the
classes below (wiping before new keys, new keys before what they seal, the row before the events that tell of it).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct

from whatisup.crypto import Secret
from whatisup.lifecycle import Reason, State
from whatisup.store.message_ops import (
    AckMessage,
    AddJob,
    CloseOutbox,
    FailMessage,
    FailQueued,
    FinishJob,
    ForgetPrekeys,
    IngestMessage,
    KeepPoison,
    LearnPair,
    MessageOp,
    NoteResend,
    NoteUndecryptable,
    RecordReceipt,
    RememberCiphertexts,
    SealMessages,
)
from whatisup.store.records import Event, Intent, Origin


class Keep(Enum):
    """The type of `KEEP`."""

    KEEP = "keep"


KEEP: Final = Keep.KEEP
"""Stands for "leave this column as it is", where None would clear it."""


@dataclass(frozen=True, slots=True)
class WipeAuth:
    """Destroy the instance's data key, then its auth and prekey rows; nothing opens copies of them afterwards."""


@dataclass(frozen=True, slots=True)
class NewAuth:
    """Make a fresh data key for the instance (the first step of pairing); whatever was there before is wiped."""


class PutAuth(Secret, frozen=True):
    """Store one piece of auth state under (`kind`, `key`), replacing what stood there."""

    kind: str
    key: str
    value: bytes


class DeleteAuth(Struct, frozen=True):
    """Forget one piece of auth state; a missing one is no error."""

    kind: str
    key: str


@dataclass(frozen=True, slots=True)
class PutPrekeys:
    """Store new prekeys (id, private key of 32 bytes) as "generated"; the instance's next prekey id goes past them."""

    prekeys: tuple[tuple[int, bytes], ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class MarkPrekeys:
    """Record how far prekeys got: "offered" before they are sent, "uploaded" once the server confirmed."""

    key_ids: tuple[int, ...]
    state: Literal["offered", "uploaded"]


@dataclass(frozen=True, slots=True)
class SetStatus:
    """Write the public state and everything that is told with it."""

    status: State
    has_account: bool
    reason: Reason | None = None
    detail: str | None = None
    expires_at: int | None = None
    phone_number: str | Keep | None = KEEP
    lid: str | Keep | None = KEEP


@dataclass(frozen=True, slots=True)
class SetIntent:
    """Record a wish before it is carried out, or None once it is done."""

    intent: Intent | None


@dataclass(frozen=True, slots=True)
class Touch:
    """Record when the last frame came."""

    last_seen_at: int


@dataclass(frozen=True, slots=True)
class MarkDeleted:
    """Hide the instance for good; its events and audit rows stay."""

    at: int


@dataclass(frozen=True, slots=True)
class AppendEvent:
    """Append to the event log; `data` is forgotten at `expires_at` (unix milliseconds), if given."""

    type: str
    data: Mapping[str, Any] = field(repr=False)
    occurred_at: int
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class AppendAudit:
    """Append to the audit log what was done to this instance, by whom."""

    origin: Origin
    action: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    at: int


Op: TypeAlias = (
    WipeAuth
    | NewAuth
    | PutAuth
    | DeleteAuth
    | PutPrekeys
    | MarkPrekeys
    | SetStatus
    | SetIntent
    | Touch
    | MarkDeleted
    | MessageOp
    | AppendEvent
    | AppendAudit
)

_ROW_OVERHEAD: Final = 128
"""What an operation costs beside its contents, in bytes; an estimate, for the writer's bounds."""

_SEALED_ROW: Final = 1024
"""What a row takes while it is being sealed and bound, in bytes: the bounds are there for memory, not for the disk."""

_MESSAGE_ROW: Final = 2048
"""What a message's row and the event that tells of it take beside their contents, in bytes."""


def _weight(value: object) -> int:
    """Estimate the bytes of a JSON-like value without encoding it."""
    if isinstance(value, (str, bytes)):
        return len(value) + 2
    if isinstance(value, Mapping):
        return 2 + sum(_weight(k) + _weight(v) for k, v in value.items())
    if isinstance(value, Sequence):
        return 2 + sum(map(_weight, value))
    return 8


_WEIGHTS: Mapping[type, Callable[[Any], int]] = {
    PutAuth: lambda op: len(op.key) + len(op.value),
    PutPrekeys: lambda op: len(op.prekeys) * _SEALED_ROW,
    MarkPrekeys: lambda op: len(op.key_ids) * _ROW_OVERHEAD,
    AppendEvent: lambda op: _weight(op.data),
    AppendAudit: lambda op: _weight(op.before) + _weight(op.after),
    IngestMessage: lambda op: _MESSAGE_ROW + _weight(op.body) + _weight(op.context) + len(op.original or b""),
    NoteUndecryptable: lambda op: _MESSAGE_ROW,
    RememberCiphertexts: lambda op: len(op.hashes) * _ROW_OVERHEAD,
    SealMessages: lambda op: sum(_SEALED_ROW + len(i.stanza) + len(i.message or b"") for i in op.items),
    RecordReceipt: lambda op: len(op.wa_ids) * 2 * _SEALED_ROW,
    AckMessage: lambda op: 2 * _SEALED_ROW,
    FailMessage: lambda op: 2 * _SEALED_ROW,
    CloseOutbox: lambda op: len(op.message_ids) * _ROW_OVERHEAD,
    ForgetPrekeys: lambda op: len(op.key_ids) * _ROW_OVERHEAD,
    KeepPoison: lambda op: len(op.raw),
    AddJob: lambda op: len(op.payload),
    LearnPair: lambda op: _SEALED_ROW,
    NoteResend: lambda op: _SEALED_ROW + len(op.stanza),
    FinishJob: lambda op: _ROW_OVERHEAD,
    FailQueued: lambda op: _SEALED_ROW,
}


class Unit(Struct, frozen=True):
    """Changes of one instance made under one incarnation; an older incarnation is refused with `Fenced`."""

    instance_id: str
    incarnation: int
    ops: tuple[Op, ...]

    @property
    def size(self) -> int:
        """About how many bytes the unit will write."""
        return sum(_ROW_OVERHEAD + (_WEIGHTS[type(op)](op) if type(op) in _WEIGHTS else 0) for op in self.ops)


class Committed(Struct, frozen=True):
    """A unit is durable; `events` are the ones it appended, in order, with their positions.

    `refused` are the messages (ids) that `SealMessages` did not find in the outbox any more: they must not be sent.
    """

    events: tuple[Event, ...] = ()
    refused: tuple[str, ...] = ()


class Call(Struct, frozen=True):
    """A function of the open transaction, `fn(tx, *args)`, run in a savepoint of its own within a batch.

    What it raises undoes only itself and goes back to whoever asked. `lane` is who it is queued fairly with. What is
    `anywhere` may be applied after units that stand behind it in its batch, so that those share their statements: for
    calls that come by the hundred and care for no unit that is committed together with them.
    """

    fn: Callable[..., Any]
    args: tuple[Any, ...] = ()
    lane: str = ""
    anywhere: bool = False

    @property
    def size(self) -> int:
        """A call's arguments are small; it counts as 1 KiB."""
        return 1024
