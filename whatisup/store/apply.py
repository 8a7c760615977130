"""Units to statements: the operations of a whole batch, grouped by handler, one `executemany` for each table.

Rule: one SELECT fences a wave of units, before anything is written for them. A wave holds at most one unit of an
instance, so grouping never reorders what two units of one instance do.

`HANDLERS` is the whole vocabulary: operation type -> handler, in the order in which handlers are applied. Types that
share a handler are given to it together, in the order of the unit. A new kind of operation is a class in `unit.py` or
`message_ops.py`, a handler in `handlers/`, and a row here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection

from whatisup.errors import Fenced, StoreError
from whatisup.store.handlers import auth, inbound, instance, logs, memory, outbound, pairs, progress
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
    NoteResend,
    NoteUndecryptable,
    RecordReceipt,
    RememberCiphertexts,
    SealMessages,
)
from whatisup.store.target import Handler, Target, fetch_keys, load, write_told
from whatisup.store.transaction import Tx
from whatisup.store.unit import (
    AppendAudit,
    AppendEvent,
    Committed,
    DeleteAuth,
    MarkDeleted,
    MarkPrekeys,
    NewAuth,
    PutAuth,
    PutPrekeys,
    SetIntent,
    SetStatus,
    Touch,
    Unit,
    WipeAuth,
)

HANDLERS: Final[Mapping[type, Handler]] = {
    WipeAuth: auth.wipe,
    NewAuth: auth.new,
    PutAuth: auth.put,
    DeleteAuth: auth.delete_named,
    PutPrekeys: auth.put_prekeys,
    MarkPrekeys: auth.mark_prekeys,
    ForgetPrekeys: auth.forget_prekeys,
    LearnPair: pairs.learn,
    IngestMessage: inbound.take_in,
    NoteUndecryptable: inbound.take_in,
    RememberCiphertexts: memory.remember_ciphertexts,
    SealMessages: outbound.seal,
    AckMessage: progress.move,
    RecordReceipt: progress.move,
    FailMessage: progress.move,
    CloseOutbox: progress.move,
    FailQueued: outbound.fail_all,
    NoteResend: memory.note_resend,
    KeepPoison: memory.keep_poison,
    AddJob: memory.add_job,
    FinishJob: memory.finish_job,
    SetStatus: instance.set_status,
    SetIntent: instance.set_intent,
    Touch: instance.touch,
    MarkDeleted: instance.mark_deleted,
    AppendEvent: logs.append_events,
    AppendAudit: logs.append_audit,
}

_ORDER: Final = tuple(dict.fromkeys(HANDLERS.values()))
_SEALED_BY_INSTANCE: Final = frozenset({PutAuth, PutPrekeys, SealMessages, NoteResend, KeepPoison, AddJob})
_SEALED_BY_CUSTOMER: Final = frozenset({
    WipeAuth, NewAuth, IngestMessage, NoteUndecryptable, AckMessage, RecordReceipt, FailMessage, FailQueued, AppendEvent
})  # fmt: skip


def apply_units(tx: Tx, units: Sequence[Unit]) -> list[Committed | Fenced]:
    """Write units; one that is fenced off writes nothing. Any error is the whole call's: undo the transaction."""
    results: dict[int, Committed | Fenced] = {}
    for wave in _waves(units):
        targets = _fence(tx.conn, [unit for _, unit in wave])
        _fetch_keys(tx, targets.values())
        _apply(tx, targets.values())
        for index, unit in wave:
            target = targets.get(unit.instance_id)
            results[index] = _committed(target) if target else Fenced(_fenced(unit))
    return [results[index] for index in range(len(units))]


def _committed(target: Target) -> Committed:
    return Committed(tuple(target.events), tuple(target.refused))


def _fenced(unit: Unit) -> str:
    return f"incarnation {unit.incarnation} of {unit.instance_id} is no longer the current one"


def _waves(units: Sequence[Unit]) -> Iterator[list[tuple[int, Unit]]]:
    """Split into runs in which no instance occurs twice, with each unit's index."""
    wave: list[tuple[int, Unit]] = []
    seen: set[str] = set()
    for index, unit in enumerate(units):
        if unit.instance_id in seen:
            yield wave
            wave, seen = [], set()
        wave.append((index, unit))
        seen.add(unit.instance_id)
    if wave:
        yield wave


def _fence(connection: Connection, units: Iterable[Unit]) -> dict[str, Target]:
    """The instances whose units are of the current incarnation, in the order of the units."""
    by_id = {unit.instance_id: unit for unit in units}
    found = load(connection, by_id)
    targets = {}
    for unit in by_id.values():
        target = found.get(unit.instance_id)
        if target is not None and target.incarnation == unit.incarnation:
            target.ops = unit.ops
            targets[unit.instance_id] = target
    return targets


def _fetch_keys(tx: Tx, targets: Collection[Target]) -> None:
    """Unwrap the data keys that the operations will seal with."""
    kinds = [(target, {type(op) for op in target.ops}) for target in targets]
    sealing = [target for target, types in kinds if not types.isdisjoint(_SEALED_BY_INSTANCE)]
    telling = [target for target, types in kinds if not types.isdisjoint(_SEALED_BY_CUSTOMER)]
    fetch_keys(tx, sealing, telling)


def _apply(tx: Tx, targets: Collection[Target]) -> None:
    work: dict[Handler, list[tuple[Target, Any]]] = {}
    for target in targets:
        for op in target.ops:
            handler = HANDLERS.get(type(op))
            if handler is None:
                raise StoreError(f"no handler for {type(op).__name__}")
            work.setdefault(handler, []).append((target, op))
    for handler in _ORDER:
        if handler in work:
            handler(tx, work[handler])
    write_told(tx, targets)
