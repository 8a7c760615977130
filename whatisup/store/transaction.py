"""An open write transaction, as the store's functions see it.

Rule: the transaction begins by locking the head of the event log, so writers take turns on both databases. From then on
positions are counted here and written back once, at the end; a savepoint that is undone takes its positions back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from msgspec import json
from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from whatisup.errors import UnknownInstance
from whatisup.store import datakeys
from whatisup.store.ids import new_id
from whatisup.store.prepared import Prepared, execute_plain
from whatisup.store.records import Event, Mode, Origin
from whatisup.store.tables import audit, events, instances, log_head
from whatisup.store.vault import DataKey, Vault
from whatisup.store.webhook_records import Due

_LOCK_HEAD = Prepared(select(log_head.c.position, log_head.c.webhook_revision).with_for_update())
_MOVE_HEAD = Prepared(update(log_head).values(position=bindparam("head")))
_MOVE_BOTH = Prepared(update(log_head).values(position=bindparam("head"), webhook_revision=bindparam("revision")))
_ADD_EVENT = Prepared(insert(events))
_ADD_AUDIT = Prepared(insert(audit))
_NEXT_SEQ = Prepared(
    update(instances)
    .where(instances.c.id == bindparam("instance"))
    .values(last_seq=instances.c.last_seq + 1)
    .returning(instances.c.customer_id, instances.c.mode, instances.c.last_seq)
)


class TransactionLost(Exception):
    """The database has ended the transaction by itself, as SQLite does when the disk is full; its cause says why.

    Whatever is executed on the connection from here on would stand on its own, so nothing may be.
    """


class Tx:
    """One write transaction: `conn` and `vault`, the time `now` (unix ms), and what every write may need."""

    def __init__(self, conn: Connection, vault: Vault, now: int, entropy: Callable[[int], bytes]) -> None:
        self.conn = conn
        self.vault = vault
        self.now = now
        self.entropy = entropy
        self.events: list[Event] = []
        self.deliveries: list[Due] = []
        """What entered the queue of webhooks, in its order."""
        self.destroyed_keys: list[int] = []
        self.wiped = False
        head = _LOCK_HEAD.one(conn)
        self._head: int = head.position
        self._stored_head = self._head
        self.webhook_revision: int = head.webhook_revision
        """The revision of webhook endpoints that this transaction found."""
        self.has_changed_webhooks = False

    def new_id(self, prefix: str) -> str:
        """Name a row made now."""
        return new_id(prefix, self.now, self.entropy)

    def take_position(self) -> int:
        """The next place in the event log."""
        self._head += 1
        return self._head

    def finish(self) -> None:
        """Write back the head of the log; the caller commits next."""
        if self.has_changed_webhooks:
            _MOVE_BOTH.run(self.conn, head=self._head, revision=self.webhook_revision + 1)
        elif self._head != self._stored_head:
            _MOVE_HEAD.run(self.conn, head=self._head)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what the block did if it raises, and let the error out.

        Raises:
            TransactionLost: the database has undone more than that.
        """
        head, count, queued = self._head, len(self.events), len(self.deliveries)
        has_changed_webhooks = self.has_changed_webhooks
        # Plain statements: SQLAlchemy compiles its own savepoints anew each time, for a millisecond each.
        execute_plain(self.conn, "SAVEPOINT item")
        try:
            yield
            execute_plain(self.conn, "RELEASE SAVEPOINT item")
        except BaseException as error:
            self._head = head
            del self.events[count:]
            del self.deliveries[queued:]
            self.has_changed_webhooks = has_changed_webhooks
            try:
                execute_plain(self.conn, "ROLLBACK TO SAVEPOINT item")
                execute_plain(self.conn, "RELEASE SAVEPOINT item")
            except (DBAPIError, PendingRollbackError):
                # The savepoint is gone, and with it whatever else the transaction did.
                raise TransactionLost from error
            raise

    def append_event(
        self,
        instance_id: str,
        kind: str,
        data: Mapping[str, Any],
        *,
        occurred_at: int | None = None,
        expires_at: int | None = None,
    ) -> Event:
        """Append to the event log what happened to an instance.

        Raises:
            UnknownInstance: there is no such row.
        """
        row = _NEXT_SEQ.one_or_none(self.conn, instance=instance_id)
        if row is None:
            raise UnknownInstance(f"no instance {instance_id}")
        event = Event(
            position=self.take_position(),
            id=self.new_id("evt"),
            customer_id=row.customer_id,
            mode=Mode(row.mode),
            instance_id=instance_id,
            seq=row.last_seq,
            type=kind,
            occurred_at=self.now if occurred_at is None else occurred_at,
            data=dict(data),
            expires_at=expires_at,
        )
        return self._append(event)

    def append_customer_event(
        self,
        customer_id: str,
        mode: Mode,
        kind: str,
        data: Mapping[str, Any],
        *,
        occurred_at: int | None = None,
        expires_at: int | None = None,
    ) -> Event:
        """Append to the event log what happened to a customer as a whole, and to none of its instances.

        Raises:
            StoreError: the customer has no data key: there is no such row.
        """
        event = Event(
            position=self.take_position(),
            id=self.new_id("evt"),
            customer_id=customer_id,
            mode=mode,
            instance_id=None,
            seq=None,
            type=kind,
            occurred_at=self.now if occurred_at is None else occurred_at,
            data=dict(data),
            expires_at=expires_at,
        )
        return self._append(event)

    def _append(self, event: Event) -> Event:
        key = datakeys.of_owner(self.conn, self.vault, event.customer_id)
        _ADD_EVENT.run(self.conn, **event_row(self.vault, key, event))
        self.events.append(event)
        return event

    def append_audit(
        self,
        *,
        customer_id: str,
        mode: Mode | None,
        origin: Origin,
        action: str,
        target_type: str,
        target_id: str,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
        at: int | None = None,
    ) -> None:
        """Append to the audit log."""
        row = audit_row(
            audit_id=self.new_id("aud"),
            customer_id=customer_id,
            mode=mode,
            origin=origin,
            action=action,
            target=(target_type, target_id),
            before=before,
            after=after,
            at=self.now if at is None else at,
        )
        _ADD_AUDIT.run(self.conn, **row)


def event_row(vault: Vault, key: DataKey, event: Event) -> dict[str, Any]:
    """An event as its row holds it, `data` sealed under the customer's key and without a message's body."""
    data = event.data if event.message_id is None or event.data is None else event.data | {"body": None}
    return {
        "position": event.position,
        "id": event.id,
        "customer_id": event.customer_id,
        "mode": event.mode.value,
        "instance_id": event.instance_id,
        "seq": event.seq,
        "type": event.type,
        "occurred_at": event.occurred_at,
        "data_key_id": key.id,
        "data": vault.seal(key, "events", "data", (event.id,), json.encode(data)),
        "expires_at": event.expires_at,
        "message_id": event.message_id,
        "trace": event.trace,
    }


def audit_row(
    *,
    audit_id: str,
    customer_id: str,
    mode: Mode | None,
    origin: Origin,
    action: str,
    target: tuple[str, str],
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    at: int,
) -> dict[str, Any]:
    """An audit entry as its row holds it; `target` is a type and an id."""
    return {
        "id": audit_id,
        "customer_id": customer_id,
        "mode": None if mode is None else mode.value,
        "actor": origin.actor,
        "api_key_id": origin.api_key_id,
        "request_id": origin.request_id,
        "action": action,
        "target_type": target[0],
        "target_id": target[1],
        "before": None if before is None else json.encode(before).decode(),
        "after": None if after is None else json.encode(after).decode(),
        "created_at": at,
    }
