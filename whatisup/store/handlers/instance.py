"""The instance's own row: status, intent, last sign of life, and its end."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import bindparam, update

from whatisup.store.prepared import Prepared
from whatisup.store.tables import instances
from whatisup.store.target import Work
from whatisup.store.transaction import Tx
from whatisup.store.unit import KEEP

_OPTIONAL = ("phone_number", "lid")


def set_status(tx: Tx, work: Work) -> None:
    """Update rows, grouped by which of the optional columns they keep."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for target, op in work:
        given = tuple(name for name in _OPTIONAL if getattr(op, name) is not KEEP)
        groups.setdefault(given, []).append(
            {
                "instance": target.id,
                "new_status": op.status.value,
                "new_has_account": op.has_account,
                "new_reason": None if op.reason is None else op.reason.value,
                "new_detail": op.detail,
                "new_expires_at": op.expires_at,
                "at": tx.now,
                **{f"new_{name}": getattr(op, name) for name in given},
            }
        )
    for given, rows in groups.items():
        _status_update(given).many(tx.conn, rows)


@cache
def _status_update(given: tuple[str, ...]) -> Prepared:
    columns = ("status", "has_account", "reason", "detail", "expires_at", *given)
    values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in columns}
    values |= {"status_at": bindparam("at"), "updated_at": bindparam("at")}
    return Prepared(update(instances).where(instances.c.id == bindparam("instance")).values(values))


def _updating(**columns: str) -> Prepared:
    """An UPDATE of one instance's row: column -> parameter."""
    values: dict[str, Any] = {column: bindparam(parameter) for column, parameter in columns.items()}
    return Prepared(update(instances).where(instances.c.id == bindparam("instance")).values(values))


_SET_INTENT = _updating(intent="new_intent")
_TOUCH = _updating(last_seen_at="seen_at")
_MARK_DELETED = _updating(deleted_at="at", updated_at="at")


def set_intent(tx: Tx, work: Work) -> None:
    """Record or clear wishes."""
    rows = [{"instance": t.id, "new_intent": None if op.intent is None else op.intent.value} for t, op in work]
    _SET_INTENT.many(tx.conn, rows)


def touch(tx: Tx, work: Work) -> None:
    """Record when the last frames came."""
    _TOUCH.many(tx.conn, [{"instance": t.id, "seen_at": op.last_seen_at} for t, op in work])


def mark_deleted(tx: Tx, work: Work) -> None:
    """Hide instances for good."""
    _MARK_DELETED.many(tx.conn, [{"instance": t.id, "at": op.at} for t, op in work])
