"""Idempotency keys: the first request with a key acts, the others get its answer.

Rule: a claim is a row inserted if there is none, in the transaction of the effect where the effect is in the store.
What is not committed was never claimed, so an error before the effect leaves the key free.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar

from msgspec import msgpack
from sqlalchemy import Connection, and_, bindparam, delete, select, tuple_, update

from whatisup.crypto import constant_time_equal
from whatisup.errors import StoreError
from whatisup.store import datakeys
from whatisup.store.prepared import Prepared, Row
from whatisup.store.records import Mode
from whatisup.store.tables import data_keys, idempotency
from whatisup.store.transaction import Tx
from whatisup.store.upsert import upsert
from whatisup.store.vault import DataKey, Vault

T = TypeVar("T")

LIFETIME_MS: Final = 24 * 3600 * 1000
EXPIRED_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Scope:
    """Within what a key is unique."""

    customer_id: str
    mode: Mode
    method: str
    path: str

    def row(self, key: str) -> dict[str, str]:
        """The primary key of a claim."""
        return {
            "customer_id": self.customer_id,
            "mode": self.mode.value,
            "method": self.method,
            "path": self.path,
            "key": key,
        }


@dataclass(frozen=True, slots=True)
class Fresh:
    """Nobody used this key before: act, then `complete`."""


@dataclass(frozen=True, slots=True)
class Replay:
    """The answer that the first request got."""

    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class InProgress:
    """The first request has not ended yet."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The key was used with another body."""


Claim: TypeAlias = Fresh | Replay | InProgress | Mismatch

_COLUMNS: Final = ("body_hmac", "data_key_id", "reply", "created_at", "expires_at")
_IS: Final = and_(*(idempotency.c[column.name] == bindparam(f"is_{column.name}") for column in idempotency.primary_key))
_LOOK: Final = Prepared(select(idempotency).where(_IS, idempotency.c.expires_at > bindparam("now")))
_LOOK_WITH_KEY: Final = Prepared(
    select(data_keys.c.id.label("owners_key_id"), *(column.label(column.name) for column in idempotency.c))
    .select_from(data_keys.outerjoin(idempotency, and_(_IS, idempotency.c.expires_at > bindparam("now"))))
    .where(data_keys.c.owner == bindparam("is_customer_id"))
)
_COMPLETE: Final = Prepared(
    update(idempotency).where(_IS).values(data_key_id=bindparam("new_key_id"), reply=bindparam("new_reply"))
)
_RELEASE: Final = Prepared(delete(idempotency).where(_IS, idempotency.c.reply.is_(None)))
_CLAIM: Final = Prepared(
    lambda dialect: upsert(
        dialect, idempotency, update=_COLUMNS, where=idempotency.c.expires_at <= bindparam("now")
    ).returning(idempotency.c.key)
)
"""Takes a key that is free or expired."""
_ANSWER: Final = Prepared(lambda dialect: upsert(dialect, idempotency, update=_COLUMNS))
"""Takes a key together with its answer."""


def claim(tx: Tx, scope: Scope, key: str, body_hmac: bytes, now: int) -> Claim:
    """Claim a key, or say what it already stands for. An expired claim counts as none."""
    if _CLAIM.rows(tx.conn, **_row(scope, key, body_hmac, now), data_key_id=None, reply=None, now=now):
        return Fresh()
    return look(tx.conn, tx.vault, scope, key, body_hmac, now) or Fresh()


def once(
    tx: Tx, scope: Scope, key: str, body_hmac: bytes, now: int, act: Callable[[], tuple[T, int, bytes]]
) -> T | Replay | InProgress | Mismatch:
    """Let `act` write what a request asks for, and keep its answer; or say what the key stands for already.

    `act` gives what to return, and the answer's status and body. One statement less than `claim` and `complete`, which
    are for effects that end in another transaction; writers take turns, so nobody takes the key meanwhile.
    """
    row = _LOOK_WITH_KEY.one_or_none(tx.conn, **_named(scope, key), now=now)
    if row is None:
        raise StoreError(f"{scope.customer_id} has no data key")
    if row.key is not None:
        return _claimed(tx.conn, tx.vault, scope, row, body_hmac)
    value, status, body = act()
    data_key = datakeys.of_row(tx.conn, tx.vault, row.owners_key_id, scope.customer_id)
    reply = _sealed(tx, data_key, scope, key, (status, body, {}))
    _ANSWER.run(tx.conn, **_row(scope, key, body_hmac, now), data_key_id=data_key.id, reply=reply)
    return value


def _row(scope: Scope, key: str, body_hmac: bytes, now: int) -> dict[str, Any]:
    return {**scope.row(key), "body_hmac": body_hmac, "created_at": now, "expires_at": now + LIFETIME_MS}


def _sealed(tx: Tx, key: DataKey, scope: Scope, name: str, answer: tuple[int, bytes, dict[str, str]]) -> bytes:
    return tx.vault.seal(key, "idempotency", "reply", _place(scope, name), msgpack.encode(answer))


def look(
    conn: Connection, vault: Vault, scope: Scope, key: str, body_hmac: bytes, now: int
) -> Replay | InProgress | Mismatch | None:
    """What a key stands for by now, without claiming it; None if it is free."""
    row = _LOOK.one_or_none(conn, **_named(scope, key), now=now)
    return None if row is None else _claimed(conn, vault, scope, row, body_hmac)


def _claimed(
    conn: Connection, vault: Vault, scope: Scope, row: Row, body_hmac: bytes
) -> Replay | InProgress | Mismatch:
    if not constant_time_equal(row.body_hmac, body_hmac):
        return Mismatch()
    return InProgress() if row.reply is None else _open(conn, vault, scope, row)


def _named(scope: Scope, key: str) -> dict[str, str]:
    """The parameters of `_IS`."""
    return {f"is_{name}": value for name, value in scope.row(key).items()}


def _place(scope: Scope, key: str) -> tuple[str, ...]:
    """What names a claim in the seal of its answer, besides its owner, the customer."""
    return (scope.mode.value, scope.method, scope.path, key)


def _open(conn: Connection, vault: Vault, scope: Scope, row: Row) -> Replay:
    data_key = datakeys.of_row(conn, vault, row.data_key_id, scope.customer_id)
    plain = vault.open(data_key, "idempotency", "reply", _place(scope, row.key), row.reply)
    status, body, headers = msgpack.decode(plain, type=tuple[int, bytes, dict[str, str]])
    return Replay(status, body, headers)


def complete(
    tx: Tx, scope: Scope, key: str, status: int, body: bytes, headers: Mapping[str, str] | None = None
) -> None:
    """Record the answer of a claimed request.

    Raises:
        StoreError: the claim is not there, so the answer has nowhere to stand.
    """
    data_key = datakeys.of_owner(tx.conn, tx.vault, scope.customer_id)
    reply = _sealed(tx, data_key, scope, key, (status, body, dict(headers or {})))
    if _COMPLETE.run(tx.conn, **_named(scope, key), new_key_id=data_key.id, new_reply=reply) != 1:
        raise StoreError("an idempotent request ended without its claim")


def release(tx: Tx, scope: Scope, key: str) -> None:
    """Free a key whose request failed before it had an effect; an answered one stays."""
    _RELEASE.run(tx.conn, **_named(scope, key))


def release_unfinished(tx: Tx) -> int:
    """Free the keys of requests that a dead process left unanswered; only for who owns the database, at start."""
    return tx.conn.execute(delete(idempotency).where(idempotency.c.reply.is_(None))).rowcount


def expire(tx: Tx, now: int, limit: int = EXPIRED_AT_ONCE) -> int:
    """Forget claims past their 24 hours, `limit` at most; returns how many."""
    key = idempotency.primary_key.columns
    due = select(*key).where(idempotency.c.expires_at <= now).order_by(idempotency.c.expires_at).limit(limit)
    return tx.conn.execute(delete(idempotency).where(tuple_(*key).in_(due))).rowcount
